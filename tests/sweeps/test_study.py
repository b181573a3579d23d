"""Sweeps on Ray Tune: nothing is lost, whatever is killed."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cli
import numpy as np
import pytest
import waiting

import gen_jax
from gen_jax import config as config_lib
from gen_jax.errors import UserError
from gen_jax.sweeps import packs, study
from gen_jax.sweeps.spec import Choice, Sweep, grid

FAKE = Path(__file__).parent / "fake_launch.py"
RATES = (0.1, 0.2, 0.5, 1.0)


def fake(workdir, lr, replay=True):
    workdir.mkdir(exist_ok=True)
    command = [sys.executable, str(FAKE), "train", f"--workdir={workdir}"]
    return study.Process([*command, f"--config.optim.lr={lr}"], workdir, replay, {})


def rows_of(process):
    steps = []
    while row := process.next_row():
        steps.append(row["step"])
    return steps


def taken(workdir):
    return [int(line) for line in (workdir / "taken.txt").read_text().split()]


def test_a_process_gives_the_rows_of_its_run(tmp_path):
    assert rows_of(fake(tmp_path, 0.1)) == list(range(1, 11))
    # A finished run is asked again: its rows come back, and nothing is trained.
    assert rows_of(fake(tmp_path, 0.1)) == list(range(1, 11))
    assert rows_of(fake(tmp_path, 0.1, replay=False)) == []
    assert taken(tmp_path) == list(range(1, 11))


def test_an_error_of_the_run_and_a_kill_are_told_apart(tmp_path):
    diverging = fake(tmp_path / "a", 1.0)
    with pytest.raises(UserError, match=r"^loss/vae is not finite$"):
        rows_of(diverging)
    killed = fake(tmp_path / "b", 0.5)
    with pytest.raises(RuntimeError, match="exit code -9"):
        rows_of(killed)
    # It goes on after the rows that were given, from the checkpoint.
    assert rows_of(killed) == list(range(6, 11))
    assert taken(tmp_path / "b") == [1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10]


def test_a_stopped_process_is_gone(tmp_path):
    process = fake(tmp_path, 0.1)
    assert process.next_row()["step"] == 1
    process.stop()
    steps = len(taken(tmp_path))
    time.sleep(0.3)
    assert len(taken(tmp_path)) == steps < 10


def test_a_process_waits_for_one_that_saves_before_it_goes(tmp_path):
    code = "import fcntl, time\nf = open('lock', 'w')\nfcntl.flock(f, fcntl.LOCK_EX)\n"
    code += "print(flush=True)\ntime.sleep(1)\nopen('gone', 'w')"
    before = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE)
    before.stdout.readline()
    assert fake(tmp_path, 0.1).next_row()["step"] == 1
    assert (tmp_path / "gone").exists()
    before.wait()


def make_run(folder, name, overrides, rows, error=None):
    workdir = folder / "runs" / name
    study.write_overrides(workdir, overrides)
    (workdir / "config.json").write_text('{"family": "vae", "steps": 10}')
    (workdir / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    if error:
        (workdir / study.ERROR).write_text(error)


def test_trials_are_ranked_and_each_is_accounted_for(tmp_path):
    def row(step, value):
        return {"step": step, "validation/elbo": value}

    make_run(tmp_path, "000_lr=1", {"lr": 1}, [row(5, -3.0), row(10, -2.0)])
    make_run(tmp_path, "001_lr=2", {"lr": 2}, [row(5, -1.0)], error="not finite")
    make_run(tmp_path, "002_lr=3", {"lr": 3}, [row(5, -1.5)])
    make_run(tmp_path, "003_lr=4", {"lr": 4}, [])
    for mode, order in (("max", "201"), ("min", "021")):
        sweep = Sweep("validation/elbo", mode, trials=grid({"lr": (1, 2, 3, 4)}), stop_early=True)
        found = study.trials(tmp_path, sweep)
        assert [trial.name[2] for trial in found[:2]] == [c for c in order if c != "1"]
        status = {trial.overrides["lr"]: (trial.status, trial.value) for trial in found}
        assert status == {
            1: ("finished", -2.0),
            2: ("failed", None),
            3: ("stopped early", -1.5),
            4: ("stopped early", None),
        }
    assert next(t.outcome for t in found if t.status == "failed") == "failed (not finite)"


def test_trials_are_in_the_order_of_their_numbers(tmp_path):
    for index in (1_000, 9, 101):
        make_run(tmp_path, study.trial_name(index, {"lr": 1}), {"lr": 1}, [])
    assert [run.name for run in study._runs(tmp_path)] == ["009_lr=1", "101_lr=1", "1000_lr=1"]


def test_names_of_trials_are_names_of_folders():
    name = study.trial_name(3, {"optim.lr": 1e-3, "model.hidden": (20, 10), "data.name": "a/b"})
    assert name == "003_lr=0.001,hidden=-20,-10-,name=a-b"


def test_another_study_is_refused(tmp_path):
    study._claim(tmp_path, {"config": "a"})
    study._claim(tmp_path, {"config": "a"})
    with pytest.raises(UserError, match="holds another study"):
        study._claim(tmp_path, {"config": "b"})
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(UserError, match=r"study.json is damaged"):
        study._claim(tmp_path, {"config": "a"})


def test_a_share_of_a_gpu_is_a_share_of_its_memory():
    sweep = Sweep("m", "max", trials=[{"lr": 1}], cpus=2, gpus=0.5)
    assert study._share(sweep) == {"NPROC": "2", "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.450"}


DRIVER = """
import sys
from pathlib import Path
from gen_jax.sweeps import study
from gen_jax.sweeps.spec import Choice, Sweep, Uniform, grid
from gen_jax.sweeps import packs
study.LAUNCH = (sys.executable, {launch!r})
packs.SIZE = {size}
sweep = {sweep}
overrides = ["--config.eval_every=250", "--config.checkpoint_every=250"]
for trial in study.run("experiments/quickstart.py", overrides, sweep, Path({folder!r}), ""):
    print("trial", trial.name, trial.status, trial.step, trial.value, sep="|")
"""


def drive(folder, sweep, launch=FAKE, size=1):
    """Trials one by one, unless packs have another size."""
    code = DRIVER.format(launch=str(launch), sweep=sweep, folder=str(folder), size=size)
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        cwd=cli.ROOT,
        # Ray's own setting has runs give way to everything else on the machine.
        env=os.environ | {"RAY_worker_niceness": "0"},
    )


def wait_for(driver, folder, number, pattern):
    """Until so many files are there."""
    return waiting.until(
        lambda: len(found := list(folder.glob(pattern))) >= number and found, driver, pause=0.05
    )


def ended(driver):
    out, _ = driver.communicate(timeout=waiting.HANGS)
    assert driver.returncode == 0, out
    lines = [line.split("|")[1:] for line in out.splitlines() if line.startswith("trial|")]
    return {name: (status, int(step)) for name, status, step, _ in lines}


def test_a_killed_study_goes_on(tmp_path):
    pytest.importorskip("ray", reason="sweeps need the extra [sweep]")
    sweep = f"Sweep('validation/elbo', 'max', trials=grid({{'optim.lr': {RATES}}}))"
    driver = drive(tmp_path, sweep)
    wait_for(driver, tmp_path, 3, "runs/*/taken.txt")
    cli.kill(driver)
    trials = ended(drive(tmp_path, sweep))
    assert trials == {
        "000_lr=0.1": ("finished", 10),
        "001_lr=0.2": ("finished", 10),
        "002_lr=0.5": ("finished", 10),
        "003_lr=1": ("failed", 4),
    }
    for name, (status, _) in trials.items():
        steps = taken(tmp_path / "runs" / name)
        again = len(steps) - len(set(steps))
        # A kill costs the step under way at most: none is trained from the start again.
        assert steps.count(1) == 1 and again <= 3, (name, steps)
        assert sorted(set(steps)) == list(range(1, 11 if status == "finished" else 6))


# A value of every kind that a config has. Two alone are equal to another of the same choice.
KINDS = {
    "model.hidden": ((16,), (16, 8), ()),
    "model.prior": ("standard_normal", "mixture", "a'b", "1"),
    "model.beta": (1.0, 1, np.float32(0.5)),
    "model.conditional": (True, False),
    "replica_values": ((("seed", (0, 1)),), ()),
}


def test_a_choice_of_every_kind_comes_back_from_its_workdir(tmp_path):
    sweep = Sweep("m", "max", space={k: Choice(v) for k, v in KINDS.items()}, num_trials=1)
    for which in range(4):
        overrides = {key: values[which % len(values)] for key, values in KINDS.items()}
        study.write_overrides(tmp_path, overrides)
        drawn = study._as_drawn(sweep, json.loads((tmp_path / study.OVERRIDES).read_text()))
        assert all(isinstance(value, str) for value in drawn.values())
        again = study._overrides(sweep, drawn)
        assert again == overrides
        assert list(map(type, again.values())) == list(map(type, overrides.values()))


@pytest.mark.long
@pytest.mark.parametrize(
    "options", ["search='tpe'", "search='tpe', stop_early=True", "search='pbt'"]
)
def test_searches(tmp_path, options):
    pytest.importorskip("ray", reason="sweeps need the extra [sweep]")
    choices = ", ".join(
        f"{key!r}: Choice({values!r})".replace("np.float32(0.5)", "0.5")
        for key, values in KINDS.items()
    )
    space = f"{{'optim.lr': Uniform(1e-3, 1.0, log=True), {choices}}}"
    sweep = f"Sweep('validation/elbo', 'max', space={space}, num_trials=6, {options})"
    trials = ended(drive(tmp_path, sweep))
    assert len(trials) == 6
    assert all(status in ("finished", "stopped early") for status, _ in trials.values())
    # The same command again: the same trials, and nothing to do.
    before = {path: path.read_text() for path in tmp_path.glob("runs/*/taken.txt")}
    again = ended(drive(tmp_path, sweep))
    assert again.keys() == trials.keys()
    if "stop_early" not in options:
        assert before == {path: path.read_text() for path in tmp_path.glob("runs/*/taken.txt")}


@pytest.mark.long
def test_sixteen_trials_of_the_quickstart(tmp_path):
    """One diverges, one is killed, and half way the driver is."""
    pytest.importorskip("ray", reason="sweeps need the extra [sweep]")
    rates = [*np.geomspace(1e-4, 1e-2, 15).tolist(), 1e6]
    sweep = f"Sweep('validation/elbo', 'max', trials=grid({{'optim.lr': {rates}}}))"
    driver = drive(tmp_path, sweep, cli.ROOT / "launch.py")
    wait_for(driver, tmp_path, 1, "runs/003_*/checkpoints/1000")
    (victim,) = (pid for pid, command in processes() if f"{tmp_path}/runs/003_" in command)
    os.kill(victim, 9)
    wait_for(driver, tmp_path, 8, "runs/*/checkpoints/3000")
    wait_for(driver, tmp_path, 1, "runs/009_*/checkpoints/1000")
    cli.kill(driver)
    trials = ended(drive(tmp_path, sweep, cli.ROOT / "launch.py"))
    assert len(trials) == 16
    statuses = [status for status, _ in trials.values()]
    assert statuses.count("finished") == 15 and trials["015_lr=1e+06"][0] == "failed"
    starts = {}
    for name in trials:
        output = (tmp_path / "runs" / name / "output.txt").read_text()
        titles = [line for line in output.splitlines() if "on digits: 3,000 steps" in line]
        starts[name[:3]] = ["from step" in title for title in titles]
    assert starts["003"] == [False, True]
    assert sum(len(each) == 1 for each in starts.values()) >= 8
    assert all(each == [False] + [True] * (len(each) - 1) for each in starts.values()), starts


def processes():
    """(pid, command line) of each process of this machine."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            yield int(path.parent.name), path.read_bytes().replace(b"\0", b" ").decode()


# Packs


def quickstart(tmp_path, *arguments):
    """`launch.py sweep` of tiny runs."""
    command = [sys.executable, "launch.py", "sweep", "--config=experiments/quickstart.py:smoke"]
    changes = ["--config.model.hidden=(16,)", "--config.steps=20"]
    command += [*changes, *arguments, f"--workdir={tmp_path / 'sweep'}"]
    done = subprocess.run(
        command, cwd=cli.ROOT, env=cli.environment(), capture_output=True, text=True
    )
    return done, tmp_path / "sweep"


def test_trials_that_differ_in_numbers_are_one_program(tmp_path):
    values = ["--set", "optim.lr=1e-4,1e-3,3e-3", "--set", "seed=0,5", "--set", "model.beta=1.0"]
    done, folder = quickstart(tmp_path, *values)
    assert done.returncode == 0, done.stderr
    assert "6 trials differ in numbers alone: they are the replicas of 1 program" in done.stdout
    assert "pack_000: finished (6 of 6)" in done.stdout
    assert [path.name for path in (folder / "runs").iterdir()] == ["pack_000"]
    found = study.trials(folder, Sweep("validation/elbo", "max", trials=[{"x": 1}]))
    assert len(found) == 6 and {trial.status for trial in found} == {"finished"}
    assert found[0].value == max(trial.value for trial in found)
    # A trial is what a run of its own would be.
    best = found[0]
    run = gen_jax.load(folder / best.workdir, best.replica)
    changes = {"model.hidden": (16,), "steps": 20, **best.overrides}
    own = gen_jax.fit(
        str(cli.ROOT / "experiments" / "quickstart.py") + ":smoke",
        workdir=tmp_path / "own",
        **changes,
    )
    np.testing.assert_allclose(own.sample(3), run.sample(3), rtol=1e-4, atol=1e-4)
    rows = [row for row in own.metrics if "validation/elbo" in row]
    assert rows[-1]["validation/elbo"] == pytest.approx(best.value, rel=1e-4)
    # Each is in the table and in the report.
    assert len((folder / "results.csv").read_text().splitlines()) == 7
    assert "runs/pack_000 --replica=5" in (folder / "report.html").read_text()
    # Once more: nothing is started.
    before = (folder / "runs" / "pack_000" / "output.txt").read_bytes()
    again, _ = quickstart(tmp_path, *values)
    assert again.returncode == 0 and "replicas of" not in again.stdout
    assert (folder / "runs" / "pack_000" / "output.txt").read_bytes() == before


def test_packs_are_of_what_may_differ():
    config = config_lib.load_file(str(cli.ROOT / "experiments" / "quickstart.py"))
    values = {"optim.lr": (0.1, 0.2, 0.3), "model.latent_dim": (2, 4)}
    sweep = Sweep("m", "max", trials=grid(values))
    packed, alone = packs.divide(sweep, config)
    assert [len(pack.trials) for pack in packed] == [3, 3] and not alone
    assert packed[1].overrides == {
        "model.latent_dim": 4,
        "num_replicas": 3,
        "replica_values": (("optim.lr", (0.1, 0.2, 0.3)),),
    }
    every = [trial for pack in packed for trial in pack.every()]
    assert sorted(map(str, every)) == sorted(
        str({"model.latent_dim": d, "optim.lr": lr}) for d in (2, 4) for lr in (0.1, 0.2, 0.3)
    )
    sizes = Sweep("m", "max", trials=grid({"model.latent_dim": (2, 4)}))
    assert packs.divide(sizes, config) == ([], list(sizes.trials))
    early = Sweep("m", "max", trials=grid(values), stop_early=True)
    assert packs.divide(early, config) == ([], list(early.trials))
    many = Sweep("m", "max", trials=grid({"seed": range(40)}))
    assert [len(pack.trials) for pack in packs.divide(many, config)[0]] == [16, 16, 8]


def test_a_trial_that_diverges_does_not_take_the_others_with_it(tmp_path, monkeypatch, capfd):
    """Its pack is run one by one."""
    ran = []
    monkeypatch.setattr(study, "_run_on_ray", lambda command, sweep, *_: ran.extend(sweep.trials))
    monkeypatch.chdir(cli.ROOT)
    sweep = Sweep("validation/elbo", "max", trials=grid({"optim.lr": (1e-3, 1e6)}))
    arguments = ["--config.model.hidden=(16,)", "--config.optim.name=sgd", "--config.steps=40"]
    for _ in range(2):  # and so it is when the sweep goes on
        (tmp_path / study.FINISHED).unlink(missing_ok=True)
        study.run("experiments/quickstart.py:smoke", arguments, sweep, tmp_path, "")
        assert ran == [{"optim.lr": 1e-3}, {"optim.lr": 1e6}]
        ran.clear()
    assert "is not finite" in (tmp_path / "runs" / "pack_000" / study.ERROR).read_text()
    assert "its trials are run one by one" in capfd.readouterr().out


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_sweep_that_is_stopped_says_so_in_a_line(tmp_path, signum, code):
    command = [sys.executable, "launch.py", "sweep", "--config=experiments/quickstart.py"]
    command += ["--set", "optim.lr=1e-4,1e-3", "--config.steps=1000000"]
    process = subprocess.Popen(
        [*command, f"--workdir={tmp_path}"],
        cwd=cli.ROOT,
        env=cli.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    log = tmp_path / "runs" / "pack_000" / "metrics.jsonl"
    waiting.until(lambda: log.exists() and log.read_text().count("\n") > 3, process)
    process.send_signal(signum)
    out, error = process.communicate(timeout=waiting.HANGS)
    assert process.returncode == code, error
    assert f"the sweep was stopped by {signum.name}. The same command goes on from there." in out
    assert "Traceback" not in error
    # Its run has saved its state.
    assert list((tmp_path / "runs" / "pack_000" / "checkpoints").iterdir())


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["optim.lr=1e-4,1e-3"], [{"optim.lr": 1e-4}, {"optim.lr": 1e-3}]),
        (
            ["model.hidden=(16,),(16, 8)", "model.latent_dim=2"],
            [
                {"model.hidden": (16,), "model.latent_dim": 2},
                {"model.hidden": (16, 8), "model.latent_dim": 2},
            ],
        ),
        (
            ["model.activation=relu,tanh"],
            [{"model.activation": "relu"}, {"model.activation": "tanh"}],
        ),
    ],
)
def test_values_of_the_command_line(given, expected):
    path = str(cli.ROOT / "experiments" / "quickstart.py")
    sweep = study.of_values(path, [], given, "", "")
    assert list(sweep.trials) == expected
    assert (sweep.metric, sweep.mode) == ("validation/elbo", "max")
    own = study.of_values(path, [], given, "validation/distortion", "")
    assert (own.metric, own.mode) == ("validation/distortion", "min")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("optim.lr", "must be KEY=VALUE"),
        ("optim.lrr=1", "did you mean"),
        ("optim.lr=x", "optim.lr"),
    ],
)
def test_values_that_are_none_are_refused(given, told):
    with pytest.raises(UserError, match=told):
        study.of_values(str(cli.ROOT / "experiments" / "quickstart.py"), [], [given], "", "")
