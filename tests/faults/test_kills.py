"""A resumed run equals an uninterrupted one, bit for bit, however it was stopped."""

import contextlib
import json
import random
import signal
import time

import cli
import pytest
import waiting

from gen_jax import config as config_lib
from gen_jax import experiment
from gen_jax.training import signals
from gen_jax.training.checkpoints import Checkpoints
from gen_jax.training.window import Window
from gen_jax.workdir.logs import read_metrics

STEPS = ("--config.steps=100", "--config.log_every=10", "--config.checkpoint_every=20")
LONG = (*cli.TINY, "--config.log_every=10", "--config.checkpoint_every=20")
LONG += ("--config.eval_every=200",)

RUNS = {"vae": (*cli.TINY, "--config.optim.ema_half_life=6"), "gan": cli.TINY_GAN}


def load(arguments):
    path = str(cli.ROOT / arguments[0].removeprefix("--config="))
    return config_lib.override(config_lib.load_file(path), arguments[1:])


@pytest.fixture(scope="module", params=RUNS)
def uninterrupted(tmp_path_factory, request):
    workdir = tmp_path_factory.mktemp("whole") / request.param
    assert experiment.train(load((*RUNS[request.param], *STEPS)), workdir)
    return workdir


def test_stopped_at_60_and_resumed(uninterrupted, tmp_path, monkeypatch):
    request = signals.Request()
    write = experiment.MetricsWriter.write

    def stop_at_60(self, step, metrics):
        write(self, step, metrics)
        request.requested = signal.SIGTERM if step == 60 else 0

    same = load((*RUNS[uninterrupted.name], *STEPS))
    with monkeypatch.context() as patch:
        patch.setattr(signals, "catch", lambda: contextlib.nullcontext(request))
        patch.setattr(experiment.MetricsWriter, "write", stop_at_60)
        with pytest.raises(signals.Stopped) as stopped:
            experiment.train(same, tmp_path)
    assert stopped.value.step == 60
    assert read_metrics(tmp_path)[-1]["step"] == 60
    assert experiment.train(same, tmp_path)
    cli.assert_same_checkpoint(uninterrupted, tmp_path, 100)
    # The log, too, is that of one run: its speed aside.
    logs = [read_metrics(uninterrupted), read_metrics(tmp_path)]
    for row in logs[0] + logs[1]:
        row.pop("examples_per_second", None)
    assert logs[0] == logs[1]


def test_a_finished_run_is_left_alone(uninterrupted):
    before = (uninterrupted / "metrics.jsonl").read_text()
    assert not experiment.train(load((*RUNS[uninterrupted.name], *STEPS)), uninterrupted)
    assert (uninterrupted / "metrics.jsonl").read_text() == before


def test_its_log_goes_to_the_trackers_of_its_config(uninterrupted):
    events = [file.read_bytes() for file in (uninterrupted / "tensorboard").iterdir()]
    for name in ("examples_per_second", "samples"):
        assert any(name.encode() in event for event in events), name


def newest(workdir):
    return max([0, *Checkpoints(workdir / "checkpoints").steps()])


class Moments:
    """Waits for a moment of a run at which to kill it."""

    def __init__(self, workdir, process, rng):
        self.workdir, self.process, self.rng = workdir, process, rng
        self.start = newest(workdir)

    def starting(self):
        """Before the first step, more often than not."""
        time.sleep(self.rng.uniform(0.2, 6))

    def training(self):
        """Some rows of the log and up to a tenth of a second after the first checkpoint."""
        self._wait(self._progress)
        rows = self._rows() + self.rng.randint(0, 6)
        self._wait(lambda: self._rows() >= rows)
        time.sleep(self.rng.random() * 0.1)

    def writing(self):
        """While a checkpoint has its temporary name."""
        self._wait(self._progress)
        self._wait(self._temporary)
        time.sleep(self.rng.random() * 0.03)

    def _progress(self):
        return newest(self.workdir) > self.start

    def _rows(self):
        return (self.workdir / "metrics.jsonl").read_bytes().count(b"\n")

    def _temporary(self):
        return any((self.workdir / "checkpoints").glob("*tmp*"))

    def _wait(self, condition):
        waiting.until(condition, self.process, pause=0.001)


def drill(folder, steps, plan):
    """Kills a run again and again, by a plan of (signal, moment), and then lets it end.

    Each restart must go on from the newest checkpoint that there is.

    Returns:
      The workdirs of a run without kills and of the one with them.
    """
    arguments = (*LONG, f"--config.steps={steps}")
    assert experiment.train(load(arguments), folder / "whole")
    seed = random.randrange(10**6)
    print(f"seed {seed}")  # pytest shows it if the drill fails
    rng, workdir, halves = random.Random(seed), folder / "run", 0
    for number, (signum, moment) in enumerate(plan):
        output = folder / f"{number}.txt"
        process = cli.start("train", *arguments, f"--workdir={workdir}", output=output)
        moments = Moments(workdir, process, rng)
        getattr(moments, moment)()
        code, said = cli.kill(process, signum), output.read_text()
        halves += any((workdir / "checkpoints").glob("*tmp*"))
        print(f"{signal.Signals(signum).name} {moment}: {moments.start} to {newest(workdir)}")
        # Whoever is killed before it can catch the signal dies of it.
        dies = signum == signal.SIGKILL or (moment == "starting" and code == -signum)
        assert code == (-signum if dies else 128 + signum), said
        assert moment == "starting" or newest(workdir) > moments.start
        assert "damaged" not in said and "Traceback" not in said
        if moments.start and moment != "starting":
            assert f", from step {moments.start:,}\n" in said
    start = newest(workdir)
    done = cli.launch("train", *arguments, f"--workdir={workdir}")
    assert f", from step {start:,}\n" in done.stdout
    print(f"{len(plan)} kills, of which {halves} left a half-written checkpoint")
    return folder / "whole", workdir


def logged(workdir):
    """Steps of the log's rows, each of which must be whole."""
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [row["step"] for row in rows if "loss/vae" in row]


def test_killed_and_resumed(tmp_path):
    plan = [(signal.SIGKILL, "writing"), (signal.SIGTERM, "training"), (signal.SIGINT, "training")]
    whole, workdir = drill(tmp_path, 600, plan)
    cli.assert_same_checkpoint(whole, workdir, 600)
    assert logged(workdir) == logged(whole) == list(range(10, 601, 10))
    assert not list(workdir.rglob("*tmp*"))


@pytest.mark.long
def test_killed_20_times_and_resumed(tmp_path):
    moments = ["starting", "training", "writing", "training", "writing"] * 4
    plan = [(signal.SIGKILL, moment) for moment in moments]
    whole, workdir = drill(tmp_path, 10_000, plan)
    cli.assert_same_checkpoint(whole, workdir, 10_000)
    assert logged(workdir) == logged(whole) == list(range(10, 10_001, 10))
    assert not list(workdir.rglob("*tmp*"))


def test_the_host_is_one_dispatch_ahead_and_no_more():
    """Or a signal would wait for all the dispatches until the next log step."""

    class Metric:
        waited = False

        def block_until_ready(self):
            self.waited = True
            return self

    window, metrics = Window(0, 1), [Metric() for _ in range(3)]
    for count, metric in enumerate(metrics, 1):
        window.add({"loss/vae": metric})
        assert [m.waited for m in metrics[:count]] == [True] * (count - 1) + [False]
