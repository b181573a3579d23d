"""`gen_jax.load`: the way into a notebook; and replicas through the command line."""

import dataclasses
import json

import cli
import jax
import numpy as np
import pytest

import gen_jax
from gen_jax import config as config_lib
from gen_jax import experiment, measurements
from gen_jax.applications import gallery
from gen_jax.data.examples import chosen_rows
from gen_jax.errors import UserError
from gen_jax.families import alarms
from gen_jax.report import html
from gen_jax.workdir.claim import read_config
from gen_jax.workdir.logs import read_metrics


def train(workdir, *arguments):
    path = cli.TINY[0].removeprefix("--config=")
    config = config_lib.load_file(str(cli.ROOT / path))
    config = config_lib.override(config, [*cli.TINY[1:], *arguments])
    experiment.train(config, workdir)
    return config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    train(workdir, "--config.optim.ema_half_life=1")
    return gen_jax.load(workdir)


def test_sample(run):
    x = run.sample(16)
    assert x.shape == (16, 8, 8, 1) and 0 <= x.min() < x.max() <= 16
    np.testing.assert_array_equal(x, run.sample(16))
    np.testing.assert_array_equal(x[:4], run.sample(4))
    assert (x != run.sample(16, seed=1)).any()


def test_log_prob_is_a_bound_that_rises_with_samples(run):
    x = (np.random.default_rng(0).random((12, 8, 8, 1)) < 0.5).astype(np.float32)
    with pytest.raises(gen_jax.UserError, match="integers from 0 to 16"):
        run.log_prob(x + 0.5)
    one, many = run.log_prob(x, num_samples=1), run.log_prob(x, num_samples=500)
    assert one.shape == (12,) and (many < 0).all()
    assert many.mean() > one.mean()


def test_encode_and_decode(run):
    x = run.experiment.dataset.splits["test"].gather(np.arange(5))["x"]
    posterior = run.encode(x)
    assert posterior.mean.shape == posterior.log_variance.shape == (5, 2)
    assert run.decode(posterior.mean).shape == (5, 8, 8, 1)


def test_examples_are_moved_along_an_attribute(run):
    x, label = (run.data("test", 20)[name] for name in ("x", "label"))
    thicker = run.direction("mass")
    same, more = run.move(x, thicker, 0.0), run.move(x, thicker, 1.0)
    np.testing.assert_allclose(same, run.decode(run.encode(x).mean), rtol=1e-5)
    assert more.shape == same.shape and np.abs(more - same).max() > 1e-4
    sevens = run.direction(label == 7, x, method="regression")
    assert sevens.step.shape == (2,)
    refused = [
        (lambda: run.direction("weight"), "no attribute 'weight' is measured; those are: mass"),
        (lambda: run.direction(np.zeros(3), x), r"values have shape \[3\]; .* \[20\]"),
        (lambda: run.direction(np.zeros(20), x), "it has no direction"),
        (lambda: run.direction("mass", method="guess"), "valid are: means, regression"),
        (lambda: run.move(x, dataclasses.replace(sevens, step=np.ones(3))), "has 3 numbers"),
        (lambda: run.move(x, sevens, float("nan")), "a finite amount"),
    ]
    for call, told in refused:
        with pytest.raises(UserError, match=told):
            call()


def test_evaluate_is_what_the_command_writes(run):
    cli.launch("evaluate", f"--workdir={run.workdir}", "--metrics=nll,elbo")
    written = json.loads((run.workdir / "evaluation.json").read_text())["metrics"]
    figures = run.evaluate("nll", "elbo")
    for name, figure in figures.items():
        assert figure.value == pytest.approx(written[name]["value"], rel=1e-6)
    assert figures["nll"].value < -figures["elbo"].value
    assert figures["elbo"].value == pytest.approx(
        -(figures["rate"].value + figures["distortion"].value), rel=1e-5
    )


def test_evaluation_warns_where_validation_would(run, monkeypatch, capsys):
    import launch

    at = f"--workdir={run.workdir}"
    path = run.workdir / "evaluation.json"
    for nats, expected in ((0.0, 0), (1e9, 1)):
        monkeypatch.setattr(alarms, "INFORMED", nats)
        assert launch.main(["evaluate", at, "--metrics=elbo"]) == 0
        assert capsys.readouterr().out.count("warning: posterior collapse: ") == expected
        assert len(json.loads(path.read_text())["alarms"]) == expected
        assert html.write_report(run.workdir).read_text().count("posterior collapse") == expected


def test_the_moving_average_is_what_is_evaluated(run):
    leaves = cli.leaves(run.workdir, 20)
    name = "['posterior']['kernel']"
    kernel = np.asarray(run.subject.params["vae"]["posterior"]["kernel"])
    averaged = next(v for k, v in leaves.items() if k.startswith(".ema") and k.endswith(name))
    raw = next(v for k, v in leaves.items() if k.startswith(".params") and k.endswith(name))
    np.testing.assert_array_equal(kernel, averaged)
    assert (kernel != raw).any()


def test_wrong_shape_is_named(run):
    with pytest.raises(gen_jax.UserError, match=r"\[3, 28, 28\].* \[N, 8, 8, 1\]"):
        run.encode(np.zeros((3, 28, 28)))


def test_latent_plane_has_a_map(run):
    names = {path.name for path in (run.workdir / "samples").glob("*.png")}
    assert {"samples.png", "reconstructions.png", "interpolation.png", "latent_map.png"} <= names


def test_replica_equals_the_run_alone_with_that_seed(tmp_path):
    config = train(tmp_path / "three", "--config.num_replicas=3", "--config.seed=5")
    assert config.num_replicas == 3
    rows = read_metrics(tmp_path / "three")
    for replica in range(3):
        alone = tmp_path / str(replica)
        train(alone, f"--config.seed={5 + replica}")
        for mine, theirs in zip(rows, read_metrics(alone), strict=True):
            for name in {"loss/vae", "validation/elbo"} & set(theirs):
                each = [mine[f"{name}/replica_{r}"] for r in range(3)]
                np.testing.assert_allclose(each[replica], theirs[name], rtol=1e-5)
                np.testing.assert_allclose(mine[name], np.mean(each), rtol=1e-5)
        together = gen_jax.load(tmp_path / "three", replica)
        np.testing.assert_allclose(
            together.sample(4), gen_jax.load(alone).sample(4), rtol=1e-4, atol=1e-5
        )
    cli.launch("sample", f"--workdir={tmp_path / 'three'}", "--replica=2", "--num=2")
    assert (tmp_path / "three" / "samples" / "seed_0_replica_2.npz").exists()
    cli.launch("evaluate", f"--workdir={tmp_path / 'three'}", "--replica=2", "--metrics=elbo")
    written = json.loads((tmp_path / "three" / "evaluation.json").read_text())
    assert written["replica"] == 2


def test_a_run_is_evaluated_on_any_number_of_devices(run, monkeypatch):
    config = read_config(run.workdir)
    monkeypatch.setattr(experiment.parallel, "num_devices", lambda: 3)
    assert gen_jax.load(run.workdir).step == config.steps
    with pytest.raises(gen_jax.UserError, match="batch_size=16 does not divide over 3 devices"):
        experiment.train(config, run.workdir)


def test_data_may_lie_elsewhere_when_a_run_is_evaluated_or_goes_on(run, tmp_path):
    here = f"--config.data.data_dir={tmp_path}"
    cli.launch("evaluate", f"--workdir={run.workdir}", "--metrics=elbo", here)
    changed = config_lib.override(read_config(run.workdir), [here])
    assert experiment.train(changed, run.workdir) is False  # finished, and not another config


def test_conditional_samples_by_label(tmp_path):
    train(tmp_path, "--config.model.conditional=True")
    run = gen_jax.load(tmp_path)
    assert (run.sample(2, label=3) != run.sample(2, label=4)).any()
    with pytest.raises(gen_jax.UserError, match="no label 10; valid are 0 to 9"):
        run.sample(2, label=10)
    names = ("cat", "dog", *"01234567")
    spec = dataclasses.replace(run.spec, class_names=names)
    named = dataclasses.replace(run, experiment=dataclasses.replace(run.experiment, spec=spec))
    for label, number in (("dog", 1), (9, 9), ("3", 5), ("9", 9)):  # a class is called 3
        assert (named.sample(2, label=label) == run.sample(2, label=number)).all()
    for label in ("bird", -1, "10"):
        with pytest.raises(gen_jax.UserError, match=rf"no label {label}; .* cat, dog, 0, 1"):
            named.sample(2, label=label)
    x = run.experiment.dataset.splits["test"].gather(np.arange(3))["x"]
    three, four = (run.log_prob(x, np.full(3, label)) for label in (3, 4))
    assert (three != four).all()
    for label, word in (
        (None, "give one of each x, 0 to 9"),
        (np.array([0, 1]), r"label has shape \[2\]"),
        (np.array([0, 1, 10]), "no label 10; valid are 0 to 9"),
    ):
        with pytest.raises(gen_jax.UserError, match=word):
            run.log_prob(x, label)


def test_a_metric_that_the_model_lacks_is_refused_before_it_trains(tmp_path):
    with pytest.raises(
        gen_jax.UserError, match=r"config\.eval\.validation_metrics: elbo needs log_weights"
    ):
        train(tmp_path / "run", "--config.model.autoencoder=True")
    assert not (tmp_path / "run").exists()


def test_autoencoder_trains_and_is_refused_what_it_lacks(tmp_path, monkeypatch):
    train(
        tmp_path,
        "--config.model.autoencoder=True",
        "--config.eval.validation_metrics=('mse',)",
        "--config.eval.metrics=('mse',)",
    )
    run = gen_jax.load(tmp_path)
    test = run.experiment.dataset.splits["test"]
    x = test.gather(chosen_rows(test, 32))["x"].astype(np.float32)
    by_hand = np.square(run.decode(run.encode(x).mean) - x).mean()
    assert run.evaluate()["mse"].value == pytest.approx(by_hand, rel=1e-4)
    with pytest.raises(
        gen_jax.UserError, match=r"nll needs log_prob or log_weights, .*lacks; .*VAE"
    ):
        run.evaluate("nll")
    with pytest.raises(gen_jax.UserError, match="PlainAutoencoder lacks"):
        run.sample(3)
    # Unless a prior is fitted to its latents. (An older version's config does not have the key.)
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"fitted_components": 0', '"fitted_components": 3'))
    assert gen_jax.load(tmp_path).sample(3).shape == (3, 8, 8, 1)
    # What it lacks is said before the prior is fitted, and of what was trained.
    with monkeypatch.context() as patched:
        patched.setattr(experiment.fitted_prior, "fit", None)
        with pytest.raises(
            gen_jax.UserError, match="nll needs log_prob or log_weights, which PlainAuto"
        ):
            experiment.evaluate(read_config(tmp_path), tmp_path, ("nll",))
    config = json.loads(path.read_text())
    del config["eval"]["fitted_components"]
    path.write_text(json.dumps(config))
    with pytest.raises(gen_jax.UserError, match="PlainAutoencoder lacks"):
        gen_jax.load(tmp_path).sample(3)


def test_what_has_no_shape_of_the_run_is_refused_in_a_line(tmp_path):
    train(tmp_path)
    run, image = gen_jax.load(tmp_path), np.zeros((2, 8, 8, 1), np.float32)
    width = run.subject.family.latent_dim
    shape, empty = r"x has shape .* data are \[N, 8, 8, 1\]", image[:0]
    refused = [
        (lambda: run.log_prob(empty), shape),
        (lambda: run.encode(empty), shape),
        (lambda: run.encode(image[0]), shape),
        (lambda: run.encode(image[:, :7]), shape),
        (lambda: run.show(empty), shape),
        (lambda: run.show(image[:, 0]), shape),
        (lambda: run.show(image, columns=0), "columns=0 must be a whole number"),
        (lambda: run.decode(np.zeros((0, width))), rf"z has shape \[0, 2\].* \[N, {width}\]"),
        (lambda: run.decode(np.zeros((3, width + 1))), "z has shape"),
        (lambda: run.decode(np.zeros(width)), "z has shape"),
        (lambda: run.decode(np.zeros((3, width)), label=np.zeros(2)), r"give one of each z, \[3\]"),
        (lambda: run.log_prob(image, num_samples=0), "num_samples=0 must be a whole number"),
        (lambda: run.sample(2.5), r"num=2\.5 must be a whole number"),
        (lambda: run.sample(2, seed=-1), "seed=-1 must be a whole number"),
        (lambda: run.evaluate("elbo", split="tset"), "no split 'tset'; valid are: train"),
    ]
    for call, told in refused:
        with pytest.raises(gen_jax.UserError, match=told):
            call()
    assert run.encode(image[:1]).mean.shape == (1, width)


def test_samples_given_vectors(tmp_path):
    config = config_lib.load_file(str(cli.ROOT / "experiments/flow_posterior.py:smoke"))
    assert experiment.train(config, tmp_path / "run")
    run = gen_jax.load(tmp_path / "run")
    vector = run.experiment.dataset.batch("test", np.arange(3))["observation"]
    by_default = run.sample(3)
    np.testing.assert_array_equal(by_default, run.sample(3, given={"observation": vector}))
    one = run.sample(3, given={"observation": vector[0]})
    np.testing.assert_array_equal(one[0], by_default[0])
    assert (one[1] != by_default[1]).any()
    with pytest.raises(UserError, match=r"given\['observation'\] has shape \[5\]; .* needs \[2\]"):
        run.sample(3, given={"observation": np.zeros(5)})
    with pytest.raises(UserError, match="samples of this model need a condition: its observation"):
        run.subject.sample(3)


def test_a_run_restores_what_was_measured(tmp_path):
    config = config_lib.load_file(
        str(cli.ROOT / "experiments/diffusion_digits.py:conditional,smoke")
    )
    # Of all networks the one that is compiled soonest.
    config_lib.override(config, ["--config.model.network=transformer", "--config.model.layers=1"])
    assert experiment.train(config, tmp_path / "run")
    run = gen_jax.load(tmp_path / "run")
    x, label = run.data("test", 5)["x"], [0, 1, 2, 3, 4]
    known = np.indices((8, 8))[1] < 4
    measurement = measurements.mask(known)
    y = measurement.apply(run.spec.center(x))
    found = run.restore(y, measurement, label, restoration="ddrm")
    np.testing.assert_allclose(found[:, known], x[:, known], atol=1e-4)
    again = run.restore(y[:2], measurement, label[:2], restoration="ddrm", batch_size=1)
    np.testing.assert_allclose(again, found[:2], atol=1e-5)
    same = run.edit(x, 1e-3, label)
    np.testing.assert_allclose(same, x, atol=0.05)
    assert np.abs(run.edit(x, 1.0, label) - x).mean() > 0.05
    with pytest.raises(UserError, match=r"noise_level=0 must be a number above 0"):
        run.edit(x, 0, label)
    assert run.sampling_calls(steps=7, guidance=2.0) == 14
    drawn = run.sample(5, label)
    np.testing.assert_allclose(run.guide(label, 5, strength=0.0), drawn, atol=1e-4)
    assert np.abs(run.guide(label, 5, strength=50.0) - drawn).max() > 0.01
    with pytest.raises(UserError, match="no label 10; valid are 0 to 9"):
        run.guide(10)
    with pytest.raises(UserError, match="strength=-1 must be a number from 0 up"):
        run.guide(3, strength=-1)
    with pytest.raises(UserError, match="no judge 'none'"):
        run.guide(3, judge="none")
    with pytest.raises(UserError, match="given the label"):
        run.restore(y, measurement)
    with pytest.raises(UserError, match=r"needs \[N, 32, 1\] of 64 places"):
        run.restore(y[:, :3], measurement, label)
    with pytest.raises(UserError, match="of 16 places"):
        run.restore(y, measurements.mask(np.ones((4, 4))), label)
    with pytest.raises(UserError, match="unknown restoration 'guess'; valid are"):
        run.restore(y, measurement, label, restoration="guess")


def test_what_training_compiles_is_there_for_evaluation(tmp_path, monkeypatch):
    def program(subject):
        return jax.jit(lambda *model: model).lower(subject.params, subject.extra).as_text()

    programs, draw = [], gallery.write
    monkeypatch.setattr(
        gallery,
        "write",
        lambda context, *rest: (programs.append(program(context.subject)), draw(context, *rest)),
    )
    train(tmp_path / "run")
    assert programs == [program(gen_jax.load(tmp_path / "run").subject)]
