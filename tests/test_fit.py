"""Training from Python, on arrays or on the config's data; loading where the data are not."""

import json
import re

import cli
import numpy as np
import pytest

import gen_jax
from gen_jax import config as config_lib
from gen_jax.errors import UserError
from gen_jax.evaluation import fitted_prior
from gen_jax.workdir.claim import read_config, read_data

RNG = np.random.default_rng(0)
IMAGES = (RNG.random((90, 6, 6)) < np.linspace(0.1, 0.9, 36).reshape(6, 6)).astype(np.uint8) * 255
LABELS = np.arange(90) % 3
SMALL = {"model.hidden": (16,), "model.latent_dim": 2, "eval.metrics": ("elbo",)}


def fit(workdir, **overrides):
    config = str(cli.ROOT / "experiments" / "vae_digits.py:smoke")
    options = {"arrays": {"x": IMAGES, "label": LABELS}, "data.num_validation": 10}
    arguments = options | SMALL | overrides
    arrays = arguments.pop("arrays")
    return gen_jax.fit(config, workdir=workdir, arrays=arrays, **arguments)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return fit(tmp_path_factory.mktemp("fit") / "run", steps=10, **{"optim.lr": 3e-4})


def test_it_returns_the_run_that_load_returns(run):
    config = read_config(run.workdir)
    assert (config.steps, config.optim.lr, config.data.name) == (10, 3e-4, "arrays")
    assert "--config.optim.lr=0.0003" in config.overrides
    assert run.spec.shape == (6, 6, 1) and run.spec.num_classes == 3
    loaded = gen_jax.load(run.workdir)
    assert loaded.step == run.step == 10
    np.testing.assert_array_equal(loaded.sample(4), run.sample(4))
    assert re.fullmatch(r"<Run of .*vae_digits\.py:smoke on arrays, step 10, in .*>", repr(run))


def test_without_the_arrays_all_but_evaluation_works(run):
    loaded = gen_jax.load(run.workdir)
    x = (IMAGES[:5, ..., None] > 0).astype(np.float32)
    assert loaded.log_prob(x).shape == (5,)
    assert loaded.decode(loaded.encode(x).mean).shape == (5, 6, 6, 1)
    assert loaded.show(x).size == (188, 126)
    with pytest.raises(UserError, match=r"arrays in memory, which are gone; give them again"):
        loaded.evaluate("elbo")
    given = gen_jax.load(run.workdir, arrays={"x": IMAGES, "label": LABELS})
    assert given.evaluate("elbo")["elbo"].value == pytest.approx(run.evaluate("elbo")["elbo"].value)
    with pytest.raises(UserError, match="holds a run of other data, which had shape"):
        gen_jax.load(run.workdir, arrays={"x": IMAGES[:, :5]}).evaluate("elbo")


def test_the_same_call_goes_on_or_finds_it_finished(run, capsys):
    again = fit(run.workdir, steps=10, **{"optim.lr": 3e-4})
    assert again.step == 10 and "steps" not in capsys.readouterr().out
    with pytest.raises(UserError, match=r"another config.*\n  optim\.lr: 0\.0003 -> 0\.001"):
        fit(run.workdir, steps=10)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": IMAGES[::-1], "label": LABELS}, "a run of other data, which had other values"),
        ({"x": IMAGES[:80], "label": LABELS[:80]}, "71 examples in train, and now 62"),
        ({"x": IMAGES[:, :5], "label": LABELS}, r"had shape \(6, 6, 1\), and now \(5, 6, 1\)"),
    ],
)
def test_a_workdir_is_of_its_data(run, arrays, message):
    before = (run.workdir / "data.json").read_bytes()
    with pytest.raises(UserError, match=message):
        fit(run.workdir, arrays=arrays, steps=10, **{"optim.lr": 3e-4})
    assert (run.workdir / "data.json").read_bytes() == before


def test_what_may_change_in_a_run_is_written_down(run):
    fit(run.workdir, steps=10, log_every=5, **{"optim.lr": 3e-4, "eval.importance_samples": 7})
    config = read_config(run.workdir)
    assert (config.log_every, config.eval.importance_samples) == (5, 7)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"optim.lrr": 1}, r"no config key 'optim\.lrr'; did you mean --config\.optim\.lr\?"),
        ({"steps": "many"}, r"steps"),
        ({"steps": 7}, r"steps=7 is not a multiple of steps_per_dispatch=5; nearest valid: .*5 or"),
        ({"arrays": {"y": LABELS}}, r"has no x of train"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(overrides, message, tmp_path):
    with pytest.raises(UserError, match=message):
        fit(tmp_path / "run", **overrides)
    assert not (tmp_path / "run").exists()


def test_a_config_may_be_given_itself(tmp_path):
    config = config_lib.load_file(str(cli.ROOT / "experiments" / "vae_digits.py:smoke"))
    before = config.to_dict()
    made = gen_jax.fit(config, workdir=tmp_path / "run", **SMALL)
    assert made.experiment.config.data.name == "digits" and config.to_dict() == before


def test_a_run_is_loaded_where_its_files_are_gone(tiny_idx, tmp_path, monkeypatch):
    monkeypatch.setenv("GEN_JAX_MANUAL_DIR", str(tiny_idx))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    config = str(cli.ROOT / "experiments" / "cvae_mnist.py:smoke")
    made = gen_jax.fit(config, workdir=tmp_path / "run", **SMALL)
    assert read_data(made.workdir).sizes == {"train": 128, "validation": 32, "test": 64}
    monkeypatch.setenv("GEN_JAX_MANUAL_DIR", str(tmp_path / "gone"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "gone"))
    run = gen_jax.load(made.workdir)
    np.testing.assert_array_equal(run.sample(2, label=1), made.sample(2, label=1))
    x = np.zeros((2, 28, 28, 1))
    assert run.log_prob(x, label=np.array([3, 4])).shape == (2,)
    with pytest.raises(UserError, match=r"mnist is not there\. Three ways"):
        run.evaluate("elbo")


def test_a_fitted_prior_is_kept_with_the_run(tmp_path, monkeypatch):
    made = fit(
        tmp_path / "run",
        **{
            "model.autoencoder": True,
            "eval.fitted_components": 2,
            "eval.metrics": ("mse",),
            "eval.validation_metrics": ("mse",),
        },
    )
    monkeypatch.setattr(fitted_prior, "fit", None)
    np.testing.assert_array_equal(gen_jax.load(made.workdir).sample(3), made.sample(3))
    cold = made.sample(3, temperature=0.0)
    assert cold.shape == (3, 6, 6, 1)
    # What a stranger's file holds is not taken for it.
    path = made.workdir / "fitted_prior_0.npz"
    np.savez(path, step=made.step, components=2, center=np.zeros(99, np.float32))
    with pytest.raises(UserError, match="arrays in memory"):  # it would be fitted anew
        gen_jax.load(made.workdir)


def test_options_of_sampling_on_the_command_line(run, monkeypatch, capsys):
    import launch

    at = f"--workdir={run.workdir}"
    assert launch.main(["sample", at, "--num=5", "--options.temperature=0"]) == 0
    cold = np.load(run.workdir / "samples" / "seed_0_temperature_0.0.npz")["x"]
    np.testing.assert_allclose(cold, np.broadcast_to(cold[:1], cold.shape), atol=1e-6)
    assert launch.main(["sample", at, "--num=5", "--options.batch_size=2"]) == 0
    np.testing.assert_allclose(
        np.load(run.workdir / "samples" / "seed_0.npz")["x"], run.sample(5), rtol=1e-5
    )
    # What training does not read may change here too.
    cooler = ["--config.sample.temperature=0", "--seed=1"]
    assert launch.main(["sample", at, "--num=5", *cooler]) == 0
    np.testing.assert_allclose(
        np.load(run.workdir / "samples" / "seed_1.npz")["x"], cold, rtol=1e-5, atol=1e-6
    )
    same = gen_jax.load(run.workdir, **{"sample.temperature": 0.0})
    np.testing.assert_allclose(same.sample(5), cold, rtol=1e-5, atol=1e-6)
    for arguments, message in (
        (["--options.temprature=1"], "'sample.temprature'; did you mean --options.temperature?"),
        (["--options.temperature=hot"], "hot"),
        (["--options.batch_size=0"], "batch_size=0 must be at least 1"),
        (["--config.steps=3"], "--config.steps=3: only --config.eval.*, --config.sample.* and"),
    ):
        assert launch.main(["sample", at, *arguments]) == 1
        line = capsys.readouterr().err
        assert message in line and line.count("\n") == 1, line


def test_the_data_of_a_run_are_described(run):
    described = json.loads((run.workdir / "data.json").read_text())
    assert described["name"] == "arrays" and len(described["fingerprint"]) == 8
    (run.workdir / "data.json").write_text('{"name": "x"}')
    with pytest.raises(UserError, match=r"data\.json is damaged \(it describes no data\)"):
        gen_jax.load(run.workdir)
    (run.workdir / "data.json").write_text(json.dumps(described))
