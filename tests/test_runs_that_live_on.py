"""The best checkpoint, early stopping, another run's networks, and what a workdir is claimed by."""

import cli
import jax
import numpy as np
import pytest

import gen_jax
import launch
from gen_jax import config as config_lib
from gen_jax import evaluation, experiment
from gen_jax.errors import UserError
from gen_jax.evaluation import Metric
from gen_jax.training.checkpoints import Checkpoints
from gen_jax.workdir import logs

PERIODS = {"log_every": 10, "eval_every": 10, "checkpoint_every": 10}
PERIODS["optim.schedule"] = "constant"  # so that a run may go on


def config(arguments=cli.TINY, **changes):
    path, *own = arguments
    loaded = config_lib.load_file(str(cli.ROOT / path.removeprefix("--config=")))
    own += [f"--config.{key}={value}" for key, value in (PERIODS | changes).items()]
    return config_lib.override(loaded, own)


@pytest.fixture
def scripted(monkeypatch):
    """Makes the validations of a run have the ELBOs that are given, by step."""

    def script(values):
        left = iter(values)
        monkeypatch.setattr(
            evaluation,
            "measure",
            lambda context, names: (
                {"elbo": Metric(next(left), None, "nats", "exact", 1, {})},
                {},
            ),
        )

    return script


def test_the_best_checkpoint_is_kept(tmp_path, scripted, monkeypatch, capsys):
    own = config(steps=60, keep_best="elbo")
    scripted([-5.0, -3.0, -4.0, -3.0, -9.0, -8.0])
    assert experiment.train(own, tmp_path)
    monkeypatch.undo()
    assert Checkpoints(tmp_path / "best").steps() == [20]
    assert Checkpoints(tmp_path / "checkpoints").steps() == [60, 50]
    best = gen_jax.load(tmp_path, step="best")
    assert best.step == 20 and gen_jax.load(tmp_path, step=50).step == 50
    # It is what a run of 20 steps ends with.
    assert experiment.train(config(steps=20), tmp_path / "short")
    jax.tree.map(
        np.testing.assert_array_equal,
        best.subject.params,
        gen_jax.load(tmp_path / "short").subject.params,
    )
    at = f"--workdir={tmp_path}"
    assert launch.main(["evaluate", at, "--step=best", "--metrics=elbo"]) == 0
    assert '"step": 20' in (tmp_path / "evaluation.json").read_text()
    assert launch.main(["sample", at, "--step=best", "--num=2"]) == 0
    drawn = np.load(tmp_path / "samples" / "seed_0_step_best.npz")["x"]
    np.testing.assert_allclose(drawn, best.sample(2), rtol=1e-5, atol=1e-6)
    capsys.readouterr()
    for step, told in (
        ("30", "no checkpoint of step 30; those that it has: 20, 50, 60"),
        ("x", "or best"),
    ):
        assert launch.main(["evaluate", at, f"--step={step}"]) == 1
        assert told in capsys.readouterr().err


def test_what_is_best_survives_a_stop(tmp_path, scripted):
    """The log knows it, and a run that goes on does not take the next one for the best."""
    scripted([-3.0, -5.0])
    assert experiment.train(config(steps=20, keep_best="elbo"), tmp_path)
    scripted([-4.0, -2.0])
    assert experiment.train(config(steps=30, keep_best="elbo"), tmp_path)
    assert Checkpoints(tmp_path / "best").steps() == [10]
    assert experiment.train(config(steps=40, keep_best="elbo"), tmp_path)
    assert Checkpoints(tmp_path / "best").steps() == [40]


def test_a_run_without_a_best_checkpoint_says_so(tmp_path):
    assert experiment.train(config(steps=10), tmp_path)
    with pytest.raises(UserError, match=r"no best checkpoint: .*--config\.keep_best=FIGURE"):
        gen_jax.load(tmp_path, step="best")


def test_a_run_ends_when_its_patience_does(tmp_path, scripted, capsys):
    own = config(steps=200, keep_best="elbo", patience=2)
    scripted([-5.0, -3.0, -4.0, -3.5, -1.0])
    assert experiment.train(own, tmp_path)
    step = gen_jax.load(tmp_path).step
    assert 40 < step <= 50 and Checkpoints(tmp_path / "best").steps() == [20]
    assert "elbo was best at step 20 and no better in 2 validations" in capsys.readouterr().out
    assert (tmp_path / "samples" / "reconstructions.png").exists()
    # It is finished: the same command does nothing. More patience goes on.
    assert not experiment.train(own, tmp_path)
    assert gen_jax.load(tmp_path).step == step
    scripted([-3.0] * 10)
    assert experiment.train(config(steps=100, keep_best="elbo", patience=100), tmp_path / "new")
    assert gen_jax.load(tmp_path / "new").step == 100


def test_patience_of_no_figure_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"--config\.keep_best=FIGURE names"):
        experiment.train(config(patience=3), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_figure_that_there_is_not_is_told(tmp_path, capsys):
    assert experiment.train(config(steps=10, keep_best="fid"), tmp_path)
    assert "no keep_best=fid; there are: elbo, rate, distortion" in capsys.readouterr().out


def test_a_run_starts_from_anothers_networks(tmp_path):
    assert experiment.train(config(steps=20), tmp_path / "first")
    first = gen_jax.load(tmp_path / "first").subject.params
    changes = {"init_from": tmp_path / "first", "optim.lr": 0.0, "steps": 10, "seed": 7}
    assert experiment.train(config(**changes), tmp_path / "second")
    second = gen_jax.load(tmp_path / "second").subject.params
    jax.tree.map(np.testing.assert_array_equal, second, first)
    # Several replicas start from the same, and a run that goes on does not start again.
    assert experiment.train(config(**changes, num_replicas=2), tmp_path / "several")
    for replica in (0, 1):
        own = gen_jax.load(tmp_path / "several", replica).subject.params
        jax.tree.map(np.testing.assert_array_equal, own, first)
    (tmp_path / "first").rename(tmp_path / "moved")
    assert experiment.train(config(**changes | {"steps": 20}), tmp_path / "second")


def test_averages_and_statistics_are_taken_too(tmp_path):
    assert experiment.train(config(cli.TINY_GAN, steps=20), tmp_path / "first")
    first = gen_jax.load(tmp_path / "first").subject
    changes = {"init_from": tmp_path / "first", "optim.lr": 0.0, "optim.final_lr": 0.0, "steps": 10}
    assert experiment.train(config(cli.TINY_GAN, **changes), tmp_path / "second")
    second = gen_jax.load(tmp_path / "second").subject
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        second.params["generator"],
        first.params["generator"],
    )


def test_networks_of_other_shapes_are_named(tmp_path):
    assert experiment.train(config(steps=10), tmp_path / "first")
    other = config(**{"init_from": tmp_path / "first", "model.latent_dim": 3})
    with pytest.raises(UserError, match="has other networks than this run") as refused:
        experiment.train(other, tmp_path / "second")
    assert "params/vae/posterior/kernel: [16, 4] -> [16, 6]" in refused.value.details
    with pytest.raises(UserError, match="no run in"):
        experiment.train(config(init_from=tmp_path / "none"), tmp_path / "third")


def test_a_start_that_came_to_nothing_bars_no_other(tmp_path, monkeypatch):
    def fail(self):
        raise UserError("something is wrong")

    with monkeypatch.context() as patch:
        patch.setattr(experiment.Experiment, "compile", fail)
        with pytest.raises(UserError, match="something is wrong"):
            experiment.train(config(steps=10), tmp_path)
    assert experiment.train(config(steps=10, **{"optim.lr": 0.5}), tmp_path)
    with pytest.raises(UserError, match="another config"):
        experiment.train(config(steps=10), tmp_path)


def test_a_workdir_alone_says_which_run_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(cli.ROOT)
    at = f"--workdir={tmp_path}"
    periods = [f"--config.{key}={value}" for key, value in PERIODS.items()]
    assert launch.main(["train", *cli.TINY, *periods, "--config.steps=10", at]) == 0
    assert launch.main(["train", at, "--config.steps=20"]) == 0
    assert gen_jax.load(tmp_path).step == 20
    assert gen_jax.load(tmp_path).subject.family.latent_dim == 2
    assert [row["step"] for row in logs.read_metrics(tmp_path) if "elbo" in row] == [10, 20]


def test_differences_of_a_config_are_a_line_each_the_first_ones_first(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(cli.ROOT)
    at = f"--workdir={tmp_path}"
    assert launch.main(["train", *cli.TINY, "--config.steps=10", at]) == 0
    capsys.readouterr()
    changes = {"seed": 3, "optim.lr": 0.5, "model.beta": 2.0, "batch_size": 32}
    arguments = [f"--config.{key}={value}" for key, value in changes.items()]
    assert launch.main(["train", *cli.TINY, "--config.steps=10", *arguments, at]) == 1
    line, *details = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and "another config" in line
    assert [each.split(":")[0].strip() for each in details] == [
        "model.beta",
        "optim.lr",
        "batch_size",
        "seed",
    ]
    many = [f"--config.optim.{key}=0.5" for key in ("b1", "b2", "eps", "clip_norm", "weight_decay")]
    assert launch.main(["train", *cli.TINY, "--config.steps=10", *arguments, *many, at]) == 1
    assert capsys.readouterr().err.splitlines()[-1].strip() == "and 1 more"
