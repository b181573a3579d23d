"""A finished run is trained further, as if it had been that long from the start."""

import cli
import pytest

import launch
from gen_jax import config as config_lib
from gen_jax.workdir.logs import read_metrics


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch):
    monkeypatch.chdir(cli.ROOT)


def train(workdir, steps, *also):
    return launch.main(
        ["train", *cli.TINY, f"--config.steps={steps}", f"--workdir={workdir}", *also]
    )


PERIODS = ("--config.log_every=10", "--config.eval_every=20", "--config.checkpoint_every=20")


@pytest.mark.parametrize(
    "also",
    [
        ("--config.optim.schedule=constant",),
        ("--config.optim.schedule=cosine", "--config.optim.decay_steps=30"),
        ("--config.optim.final_b2=0.9", "--config.optim.decay_steps=20"),
    ],
    ids=["constant", "cosine that ends before", "b2 that ends with it"],
)
def test_it_goes_on_as_one_that_was_longer(tmp_path, also):
    steps = 40 if "--config.optim.decay_steps=20" not in also else 20
    assert train(tmp_path / "long", 2 * steps, *PERIODS, *also) == 0
    assert train(tmp_path / "run", steps, *PERIODS, *also) == 0
    assert train(tmp_path / "run", 2 * steps, *PERIODS, *also) == 0
    cli.assert_same_checkpoint(tmp_path / "long", tmp_path / "run", 2 * steps)
    rows = [[row["step"] for row in read_metrics(tmp_path / w)] for w in ("long", "run")]
    assert rows[0] == rows[1]


@pytest.mark.parametrize(
    "scheduled", ["--config.optim.schedule=cosine", "--config.optim.final_b2=0.9"]
)
def test_what_ends_with_the_run_is_refused_with_what_to_do(tmp_path, scheduled, capsys):
    assert train(tmp_path / "run", 20, *PERIODS, scheduled) == 0
    capsys.readouterr()
    assert train(tmp_path / "run", 40, *PERIODS, scheduled) == 1
    error = capsys.readouterr().err
    assert "steps: 20 -> 40" in error and "--config.optim.decay_steps=20" in error
    assert error.count("error:") == 1 and "Traceback" not in error
    assert train(tmp_path / "run", 40, *PERIODS, scheduled, "--config.optim.decay_steps=20") == 0
    assert read_metrics(tmp_path / "run")[-1]["step"] == 40


def test_a_network_of_its_own_schedule_counts_too():
    old = config_lib.load_file("experiments/gan_digits.py:smoke").unlock()
    new = old.copy_and_resolve_references()
    new.steps = 2 * old.steps
    old.optim.schedule = new.optim.schedule = "constant"
    old.optim.final_b2 = new.optim.final_b2 = 0.0
    assert config_lib.difference(old, new) == []
    for config in (old, new):
        config.optim.generator = {"schedule": "cosine"}
    (line,) = config_lib.difference(old, new)
    assert "steps: " in line and f"decay_steps={old.steps}" in line
    new.optim.generator.decay_steps = old.steps
    assert config_lib.difference(old, new) == []


def test_fewer_steps_are_another_run(tmp_path, capsys):
    assert train(tmp_path / "run", 40, *PERIODS) == 0
    assert train(tmp_path / "run", 20, *PERIODS) == 1
    assert "steps: 40 -> 20" in capsys.readouterr().err
