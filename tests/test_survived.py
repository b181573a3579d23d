"""What goes wrong in a validation costs no training: it is refused before, or told in a line."""

import os
import signal

import cli
import numpy as np
import own_data
import pytest

import gen_jax
from gen_jax import config as config_lib
from gen_jax import evaluation, experiment
from gen_jax.errors import UserError
from gen_jax.evaluation import Metric
from gen_jax.training import signals
from gen_jax.workdir import logs

FIGURE = Metric(1.0, None, "nats", "exact", 1, {})


def config(arguments=cli.TINY, **changes):
    path, *own = arguments
    loaded = config_lib.load_file(str(cli.ROOT / path.removeprefix("--config=")))
    own += [f"--config.{key}={value}" for key, value in changes.items()]
    return config_lib.override(loaded, own)


def validations(workdir):
    rows = logs.read_metrics(workdir)
    return {row["step"]: row for row in rows if any(name.startswith("validation/") for name in row)}


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (({"elbo": FIGURE}, {"nll": ZeroDivisionError("x\ny")}), "ZeroDivisionError: x y"),
        (({"elbo": FIGURE}, {"nll": UserError("take more")}), "no nll at step 10: take more"),
        (
            ({"elbo": FIGURE, "nll": Metric(np.nan, None, "nats", "exact", 1, {})}, {}),
            "no nll at step 10: it is not finite",
        ),
    ],
)
def test_a_metric_that_fails_is_a_warning(tmp_path, monkeypatch, capsys, result, told):
    for error in result[1].values():
        try:
            raise error
        except (ZeroDivisionError, UserError):
            pass
    monkeypatch.setattr(evaluation, "measure", lambda context, names: result)
    own = config(steps=10, eval_every=10)
    assert experiment.train(own, tmp_path)
    assert told in " ".join(capsys.readouterr().out.split())
    row = validations(tmp_path)[10]
    assert row["validation/elbo"] == 1.0 and "validation/nll" not in row
    assert gen_jax.load(tmp_path).step == 10


def test_a_picture_that_fails_is_a_warning(tmp_path, monkeypatch, capsys):
    def fail(context):
        raise IndexError("out of pictures")

    monkeypatch.setattr(experiment.gallery, "sample_picture", fail)
    kinds = [experiment.gallery.Picture("map", str, (), fail), *experiment.gallery.PICTURES]
    monkeypatch.setattr(experiment.gallery, "PICTURES", kinds)
    assert experiment.train(config(steps=10), tmp_path)
    told = " ".join(capsys.readouterr().out.split())
    assert "no picture of samples at step 10: IndexError: out of pictures" in told
    assert "no picture of map: IndexError" in told
    assert (tmp_path / "samples" / "reconstructions.png").exists()


def test_a_validation_that_was_cut_off_is_made_up_for(tmp_path, monkeypatch):
    """The last one too: a finished run that lacks it has it after the same command."""
    own, measure = config(steps=20, eval_every=10, checkpoint_every=10), evaluation.measure

    calls = []

    def killed(context, names):
        calls.append(names)
        if len(calls) != 2:
            raise KeyboardInterrupt
        return measure(context, names)

    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "measure", killed)
        for step in (10, 20):
            with pytest.raises(KeyboardInterrupt):
                experiment.train(own, tmp_path)
            assert step not in validations(tmp_path)
            assert gen_jax.load(tmp_path).step == step
    assert not experiment.train(own, tmp_path)
    assert list(validations(tmp_path)) == [10, 20]
    assert (tmp_path / "samples" / "pictures.json").exists()
    calls = []
    monkeypatch.setattr(evaluation, "measure", lambda *a: calls.append(a) or measure(*a))
    assert not experiment.train(own, tmp_path) and not calls


def test_the_first_row_after_a_stop_is_of_all_its_steps(tmp_path, monkeypatch):
    own = config(steps=40, log_every=20, steps_per_dispatch=5, eval_every=1_000)
    assert experiment.train(own, tmp_path / "whole")
    save = experiment.Checkpoints.save

    def stop(self, state, beside=None):
        save(self, state, beside)
        if int(state.step) == 30:
            self.wait()
            os.kill(os.getpid(), signal.SIGTERM)

    own = config(steps=40, log_every=20, steps_per_dispatch=5, eval_every=1_000, checkpoint_every=5)
    with monkeypatch.context() as patch:
        patch.setattr(experiment.Checkpoints, "save", stop)
        with pytest.raises(signals.Stopped) as stopped:
            experiment.train(own, tmp_path / "stopped")
    assert 30 < stopped.value.step < 40
    assert experiment.train(own, tmp_path / "stopped")
    rows = [
        {row["step"]: row for row in logs.read_metrics(tmp_path / name) if "elbo" in row}
        for name in ("whole", "stopped")
    ]
    assert list(rows[0]) == list(rows[1]) == [20, 40]
    for name in ("elbo", "rate", "loss/vae", "grad_norm/vae"):
        assert rows[1][40][name] == rows[0][40][name], name
    # The time before the stop is counted too.
    seconds = [logs.training_seconds(own.batch_size, tmp_path / n) for n in ("whole", "stopped")]
    assert min(seconds) > 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    own_data.write_images(root, [(8, 8)] * 30)
    return root


def gan(folder, **changes):
    own = {"data.name": f"folder:{folder}", "data.image_size": 8, "data.num_validation": 6}
    own |= {"eval.validation_metrics": "('fid',)", "steps": 10, "eval_every": 10}
    return config(cli.TINY_GAN, **(own | changes))


def test_data_without_a_judge_are_refused_before_the_first_step(folder, tmp_path, capsys):
    with pytest.raises(UserError, match=r"no judge .*eval\.judge=auto"):
        experiment.train(gan(folder), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_judge_is_trained_on_the_labels(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(evaluation.judges, "STEPS", 20)
    auto = gan(folder, **{"eval.judge": "auto"})
    assert experiment.train(auto, tmp_path)
    out = " ".join(capsys.readouterr().out.split())
    assert out.count("eval.judge=auto: the judge is trained on the labels of") == 1
    assert validations(tmp_path)[10]["validation/fid"] >= 0
    first = experiment.evaluate(auto, tmp_path, ("fid",))["fid"]
    assert first.spec["judge"].startswith("auto-cnn@")
    assert "judge is trained" not in capsys.readouterr().out
    again = gen_jax.load(tmp_path).evaluate("fid")["fid"]
    assert again.value == first.value and again.spec == first.spec


def test_a_workdir_takes_another_judge_at_any_time(folder, tmp_path, monkeypatch):
    """In training, in evaluation: what is measured is no part of what a run is."""
    monkeypatch.setattr(evaluation.judges, "STEPS", 20)
    none = gan(folder, **{"eval.validation_metrics": "()", "optim.decay_steps": 10})
    assert experiment.train(none, tmp_path)
    longer = gan(folder, **{"eval.judge": "auto", "optim.decay_steps": 10, "steps": 20})
    assert experiment.train(longer, tmp_path)
    assert 20 in validations(tmp_path)


def test_without_labels_the_judge_has_random_weights(tmp_path, capsys):
    own_data.write_images(tmp_path / "flat", [(8, 8)] * 40, folders=(".",))
    none = {f"model.{network}_condition": "none" for network in ("generator", "discriminator")}
    auto = gan(tmp_path / "flat", **{"eval.judge": "auto"}, **none)
    assert experiment.train(auto, tmp_path / "run")
    assert "has random weights" in " ".join(capsys.readouterr().out.split())
    figure = experiment.evaluate(auto, tmp_path / "run", ("fid",))["fid"]
    assert figure.spec["judge"].startswith("random-cnn@") and np.isfinite(figure.value)


def test_one_picture_in_validation_and_in_a_class(tmp_path, capsys):
    """Neither a mixture for each class nor lines between two pictures can be made of them."""
    for split, count in (("train", 12), ("validation", 1), ("test", 3)):
        own_data.write_images(tmp_path / "data" / split, [(8, 8)] * count, folders=("a",))
    own_data.write_images(tmp_path / "data" / "train", [(8, 8)], folders=("b",))
    changes = {"data.name": f"folder:{tmp_path / 'data'}", "eval.fitted_components": 2}
    changes |= {"data.image_size": 8, "steps": 10, "eval_every": 10, "model.conditional": True}
    own = config(**changes)
    assert experiment.train(own, tmp_path / "run")
    assert "no fitted prior: eval.fitted_components: of the label 1" in " ".join(
        capsys.readouterr().out.split()
    )
    assert validations(tmp_path / "run")[10]
    # The prior can be left out afterwards.
    free = own.copy_and_resolve_references()
    free.eval.fitted_components = 0
    assert experiment.evaluate(free, tmp_path / "run", ("elbo",))


def test_what_could_be_measured_is_written_though_another_fails(tmp_path, monkeypatch):
    assert experiment.train(config(steps=10), tmp_path)
    measure = evaluation.measure

    def one_fails(context, names):
        figures, _ = measure(context, ("elbo",))
        return figures, {"nll": UserError("nll: too few")}

    monkeypatch.setattr(evaluation, "measure", one_fails)
    with pytest.raises(UserError, match="nll: too few"):
        experiment.evaluate(config(steps=10), tmp_path, ("elbo", "nll"))
    assert '"elbo"' in (tmp_path / "evaluation.json").read_text()
