"""A model in one file: what is written is what is read; a stranger's file is looked at first."""

import json

import cli
import numpy as np
import pytest
import safetensors.numpy as safetensors_numpy
from safetensors import safe_open

import gen_jax
import launch
from gen_jax import config as config_lib
from gen_jax import experiment
from gen_jax.applications import gallery
from gen_jax.errors import UserError
from gen_jax.workdir import provenance


def config(arguments=cli.TINY, **changes):
    path, *own = arguments
    loaded = config_lib.load_file(str(cli.ROOT / path.removeprefix("--config=")))
    own += [f"--config.{key}={value}" for key, value in changes.items()]
    return config_lib.override(loaded, own)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    assert experiment.train(config(steps=20, num_replicas=2), workdir)
    experiment.evaluate(config(steps=20, num_replicas=2), workdir, ("elbo",), replica=1)
    return workdir


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "small.safetensors"
    assert launch.main(["export", f"--workdir={trained}", f"--out={path}", "--replica=1"]) == 0
    return path


def rewritten(exported, tmp_path, change_arrays=lambda a: a, change_text=lambda t: t):
    """A file like that one, with something changed."""
    with safe_open(exported, "numpy") as file:
        arrays, text = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    path = tmp_path / "changed.safetensors"
    path.write_bytes(safetensors_numpy.save(change_arrays(arrays), change_text(text)))
    return path


def test_what_is_read_is_what_was_written(trained, exported, monkeypatch):
    run, file = gen_jax.load(trained, 1), gen_jax.load(exported)
    np.testing.assert_array_equal(file.sample(5), run.sample(5))
    x = run.experiment.dataset.batch("test", np.arange(6))["x"]
    np.testing.assert_array_equal(file.log_prob(x), run.log_prob(x))
    np.testing.assert_array_equal(file.encode(x).mean, run.encode(x).mean)
    assert file.step == 20 and file.experiment.config.seed == 1
    assert file.experiment.config.num_replicas == 1
    # It reads the data that its config names, where there are any, and needs them for this alone.
    value = run.evaluate("elbo")["elbo"].value
    assert file.evaluate("elbo")["elbo"].value == pytest.approx(value)
    assert file.show().size[0] > 0


def test_it_is_sampled_and_applied_from_the_command_line(exported, capsys):
    own = f"--workdir={exported}"
    assert launch.main(["sample", own, "--num=3", "--options.temperature=0.5"]) == 0
    folder = exported.with_name("small_samples")
    drawn = np.load(folder / "seed_0_temperature_0.5.npz")["x"]
    expected = gen_jax.load(exported).sample(3, temperature=0.5)
    np.testing.assert_array_equal(drawn, expected)
    assert launch.main(["interpolate", own, "--seeds=0,1", "--steps=3"]) == 0
    assert (folder / "interpolate.png").exists()
    assert launch.main(["sample", own, "--options.warmth=2"]) == 1
    assert "warmth" in capsys.readouterr().err
    assert launch.main(["evaluate", own]) == 1
    error = capsys.readouterr().err
    assert "is an exported model, which has no folder of a run" in error and error.count("\n") == 1


def test_it_needs_no_data(trained, exported, tmp_path):
    def elsewhere(text):
        made = json.loads(text["config"])
        made["data"]["name"] = "folder:/nowhere"
        return text | {"config": json.dumps(made)}

    run = gen_jax.load(rewritten(exported, tmp_path, change_text=elsewhere))
    assert run.sample(2).shape == (2, 8, 8, 1)
    with pytest.raises(UserError, match="nowhere"):
        run.evaluate("elbo")


def test_the_card_says_what_it_is(exported):
    text = exported.with_suffix(".md").read_text()
    assert "family `vae`, trained on `digits` for 20 steps" in text
    assert "| elbo | -" in text and "lower bound" in text
    assert 'gen_jax.load("small.safetensors")' in text and "latent_dim=2" in text


def test_half_takes_half_the_room(trained, tmp_path, exported):
    run = gen_jax.load(trained, 1)
    path = run.export(tmp_path / "half.safetensors", half=True)
    assert path.stat().st_size < 0.75 * exported.stat().st_size
    read = gen_jax.load(path)
    np.testing.assert_allclose(read.sample(4), run.sample(4), atol=0.1)
    with pytest.raises(UserError, match="copy that file"):
        read.export(tmp_path / "again.safetensors")
    with pytest.raises(UserError, match=r"must end in \.safetensors"):
        run.export(tmp_path / "model.bin")


@pytest.mark.parametrize("arguments", [cli.TINY_GAN, cli.TINY_VQ])
def test_averages_statistics_and_codebooks_are_in_it(tmp_path, arguments):
    own = config(arguments, steps=10)
    assert experiment.train(own, tmp_path / "run")
    run = gen_jax.load(tmp_path / "run")
    file = gen_jax.load(run.export(tmp_path / "model.safetensors"))
    if arguments == cli.TINY_GAN:
        np.testing.assert_array_equal(file.sample(3), run.sample(3))
    else:
        x = run.experiment.dataset.batch("test", np.arange(6))["x"]
        mean = run.encode(x).mean
        np.testing.assert_array_equal(file.decode(mean), run.decode(mean))


def test_a_flow_whose_parts_have_parameters_of_their_own_is_in_it(tmp_path):
    own = config_lib.load_file(str(cli.ROOT / "experiments/flow_plane.py:smoke"))
    assert experiment.train(own, tmp_path / "run")
    run = gen_jax.load(tmp_path / "run")
    file = gen_jax.load(run.export(tmp_path / "model.safetensors"))
    np.testing.assert_array_equal(file.sample(3), run.sample(3))


def test_a_fitted_prior_is_in_it(tmp_path):
    own = config(steps=20, **{"eval.fitted_components": 2})
    assert experiment.train(own, tmp_path / "run")
    run = gen_jax.load(tmp_path / "run")
    path = run.export(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(gen_jax.load(path).sample(3), run.sample(3))

    def other(arrays):
        return arrays | {"extra/fitted_prior/center": np.zeros(7, np.float32)}

    with pytest.raises(UserError, match="fitted prior that is not of its model"):
        gen_jax.load(rewritten(path, tmp_path, other))


def test_a_strangers_file_is_refused_in_a_line(exported, tmp_path):
    def without(key):
        return lambda text: {k: v for k, v in text.items() if k != key}

    def first(arrays, change):
        name = next(iter(sorted(arrays)))
        return arrays | {name: change(arrays[name])}

    cases = [
        ({"change_text": without("config")}, "holds no model of gen_jax"),
        ({"change_text": lambda t: t | {"format": "other"}}, "holds no model of gen_jax"),
        ({"change_text": lambda t: t | {"config": "{"}}, "no sound model"),
        ({"change_text": lambda t: t | {"config": '{"family": "x"}'}}, "unknown family"),
        (
            {"change_text": lambda t: t | {"data": "[]"}},
            "does not have the parts",
        ),
        ({"change_text": lambda t: t | {"step": "x"}}, "no sound model"),
        ({"change_arrays": lambda a: first(a, lambda x: x[..., None])}, "does not fit its model"),
        ({"change_arrays": lambda a: first(a, lambda x: x.astype(np.int32))}, "of type int32"),
        ({"change_arrays": lambda a: a | {"params/more": np.zeros(3)}}, "does not fit its model"),
        ({"change_arrays": lambda a: dict(list(a.items())[1:])}, "is missing, not"),
    ]
    for changes, told in cases:
        with pytest.raises(UserError, match=told):
            gen_jax.load(rewritten(exported, tmp_path, **changes))
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(exported.read_bytes()[:1000])
    with pytest.raises(UserError, match="no sound model"):
        gen_jax.load(cut)
    with pytest.raises(UserError, match="no sound model"):
        gen_jax.load(tmp_path / "none.safetensors")


# Where figures come from


def test_each_command_has_a_row(trained):
    train, evaluate = provenance.read(trained)
    assert (train["kind"], evaluate["kind"]) == ("train", "evaluate")
    assert train["parameters"] == {"vae": 3332} and len(train["data"]) == 8
    assert "--config.steps=20" in train["overrides"] and train["hardware"].startswith("CPU")
    assert train["versions"]["jax"] and evaluate["metrics"] == ["elbo"]
    with open(trained / provenance.FILE, "a") as file:
        file.write('not json\n["a list"]\n')
    assert len(provenance.read(trained)) == 2


def test_figures_are_merged_by_what_they_measure(tmp_path):
    own = config(steps=20)
    assert experiment.train(own, tmp_path)
    path = tmp_path / "evaluation.json"

    def figures():
        return json.loads(path.read_text())["metrics"]

    experiment.evaluate(own, tmp_path, ("elbo",))
    first = figures()["elbo"]
    experiment.evaluate(own, tmp_path, ("active_units",))
    assert figures()["elbo"] == first and "active_units" in figures()
    # The same figure again takes the place of the old one.
    other = own.copy_and_resolve_references()
    other.eval.elbo_samples = 3
    experiment.evaluate(other, tmp_path, ("elbo",))
    assert figures()["elbo"]["details"]["samples"] == 3 and "active_units" in figures()
    # Those of another step go, and those of a damaged file too.
    made = json.loads(path.read_text()) | {"step": 10}
    for text in (json.dumps(made), '{"metrics": {"elbo": 3}}', "[]", "{"):
        path.write_text(text)
        experiment.evaluate(own, tmp_path, ("active_units",))
        assert list(figures()) == ["active_units"]


def test_pictures_are_drawn_with_the_configs_own_metrics(tmp_path):
    own = config(steps=20)
    own.eval.metrics = ("elbo",)
    assert experiment.train(own, tmp_path)
    index = tmp_path / "samples" / gallery.INDEX
    index.unlink()
    experiment.evaluate(own, tmp_path, ("active_units",))
    assert not index.exists()
    experiment.evaluate(own, tmp_path, own.eval.metrics)
    assert index.exists()


@pytest.mark.parametrize("path", sorted((cli.ROOT / "models").glob("*.safetensors")), ids=str)
def test_the_models_that_come_with_the_project(path):
    assert path.stat().st_size < 2_000_000 and path.with_suffix(".md").exists()
    run = gen_jax.load(path)
    pixels = np.asarray(run.show(run.sample(20, seed=1)))
    # Digits are neither black nor white all over, nor all the same.
    assert 10 < pixels.mean() < 128 and pixels.std() > 50
