"""A resumed run equals an uninterrupted one, bit for bit, however it was stopped."""

import contextlib
import json
import random
import signal
import time

import cli
import pytest

from gen_jax import config as config_lib
from gen_jax import experiment, signals
from gen_jax.logs import read_metrics

STEPS = ("--config.steps=100", "--config.log_every=10", "--config.checkpoint_every=20")
LONG = ("--config.steps=2000", "--config.log_every=10", "--config.checkpoint_every=20")
LONG += ("--config.eval_every=500",)


RUNS = {"vae": (*cli.TINY, "--config.optim.ema_half_life=6"), "gan": cli.TINY_GAN}


def config(run):
    path = RUNS[run][0].removeprefix("--config=")
    return config_lib.override(config_lib.load_file(path), [*RUNS[run][1:], *STEPS])


@pytest.fixture(scope="module", params=RUNS)
def whole(tmp_path_factory, request):
    workdir = tmp_path_factory.mktemp("whole") / request.param
    assert experiment.train(config(request.param), workdir)
    return workdir


def test_stopped_at_60_and_resumed(whole, tmp_path, monkeypatch):
    request = signals.Request()
    write = experiment.MetricsWriter.write

    def stop_at_60(self, step, metrics):
        write(self, step, metrics)
        request.requested = signal.SIGTERM if step == 60 else 0

    same = config(whole.name)
    with monkeypatch.context() as patch:
        patch.setattr(signals, "catch", lambda: contextlib.nullcontext(request))
        patch.setattr(experiment.MetricsWriter, "write", stop_at_60)
        with pytest.raises(signals.Stopped) as stopped:
            experiment.train(same, tmp_path)
    assert stopped.value.step == 60
    assert read_metrics(tmp_path)[-1]["step"] == 60
    assert experiment.train(same, tmp_path)
    cli.assert_same_checkpoint(whole, tmp_path, 100)
    # The log, too, is that of one run: its speed aside.
    logs = [read_metrics(whole), read_metrics(tmp_path)]
    for row in logs[0] + logs[1]:
        row.pop("examples_per_second", None)
    assert logs[0] == logs[1]


def test_its_log_goes_to_the_trackers_of_its_config(whole):
    events = [file.read_bytes() for file in (whole / "tensorboard").iterdir()]
    for name in ("examples_per_second", "samples"):
        assert any(name.encode() in event for event in events), name


def test_a_finished_run_is_left_alone(whole):
    before = (whole / "metrics.jsonl").read_text()
    assert not experiment.train(config(whole.name), whole)
    assert (whole / "metrics.jsonl").read_text() == before


@pytest.fixture(scope="module")
def whole_long(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("long")
    cli.launch("train", *cli.TINY, *LONG, f"--workdir={workdir}")
    return workdir


def wait_for_rows(workdir, process, rows):
    deadline = time.time() + 120
    while len(read_metrics(workdir)) < rows:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.time() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_at_a_random_moment_and_resumed(whole_long, tmp_path, signum):
    process = cli.start("train", *cli.TINY, *LONG, f"--workdir={tmp_path}")
    moment = random.randint(3, 80)
    wait_for_rows(tmp_path, process, moment)
    time.sleep(random.random() * 0.1)
    code = cli.kill(process, signum)
    assert code == (-9 if signum == signal.SIGKILL else 128 + signum)
    step = read_metrics(tmp_path)[-1]["step"]
    assert 0 < step < 2000
    cli.launch("train", *cli.TINY, *LONG, f"--workdir={tmp_path}")
    cli.assert_same_checkpoint(whole_long, tmp_path, 2000)
    steps = [row["step"] for row in read_metrics(tmp_path) if "loss/vae" in row]
    assert steps == list(range(10, 2001, 10))
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        json.loads(line)
