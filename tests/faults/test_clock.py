"""The clock of the wall jumps by hours: no number of the run depends on it."""

import itertools
import math
import signal
import time

import cli
import pytest

from gen_jax import experiment
from gen_jax.training import signals
from gen_jax.training.checkpoints import Checkpoints
from gen_jax.workdir import trackers
from gen_jax.workdir.logs import read_metrics, training_seconds

HOUR = 3600


@pytest.mark.parametrize("hours", [(0, -5, 7, -30), (-1, -2, -3, -4)], ids=["about", "back"])
def test_it_jumps(small, whole, tmp_path, monkeypatch, hours):
    real, real_ns, jumps = time.time, time.time_ns, itertools.cycle(hours)
    monkeypatch.setattr(time, "time", lambda: real() + next(jumps) * HOUR)
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() + next(jumps) * HOUR * 10**9)
    write = experiment.MetricsWriter.write

    def stop_at_20(self, step, metrics):
        write(self, step, metrics)
        if step == 20 and "loss/vae" in metrics:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(experiment.MetricsWriter, "write", stop_at_20)
        with pytest.raises(signals.Stopped):
            experiment.train(small, tmp_path)
    assert experiment.train(small, tmp_path)
    cli.assert_same_checkpoint(whole, tmp_path, 40)
    assert Checkpoints(tmp_path / "checkpoints").steps() == [40, 20]
    rates = [r["examples_per_second"] for r in read_metrics(tmp_path) if "loss/vae" in r]
    assert len(rates) == 4 and all(0 < rate < math.inf for rate in rates)
    assert 0 < training_seconds(small.batch_size, tmp_path) < 600
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2


def test_a_start_in_the_same_second_keeps_what_was_logged(small, tmp_path, monkeypatch):
    """Or in one that seems to be the same."""
    monkeypatch.setattr(time, "time", lambda: 1.7e9)
    for step in (0, 20):
        board = trackers.TensorBoard(tmp_path, small, step)
        board.scalars(step + 10, {"loss/vae": 1.0})
        board.close()
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2
