"""Runs a sweep on Ray Tune. Each trial is an ordinary run, `launch.py train`, in its own workdir.

A study's folder holds `study.json` (what it is), `runs/TRIAL/` (workdirs), `ray/` (Tune's own
state), and at the end `results.csv` and `report.html`. The same command goes on with a study that
was killed, and runs resume from their checkpoints.
"""

import ctypes
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from gen_jax import config as config_lib
from gen_jax.errors import UserError
from gen_jax.logs import read_metrics
from gen_jax.sweep import Choice, Overrides, Sweep, Uniform

LAUNCH = Path(__file__).parents[1] / "launch.py"
RETRIES = 3  # of a run that was killed; one that ends in an error of its own is not tried again


@dataclasses.dataclass(frozen=True)
class Trial:
    """How a run stands.

    Attributes:
      name: of its workdir under `runs/`.
      overrides: config keys and values that make it.
      status: "finished", "stopped early", "failed" or "unfinished".
      step: of the last validation.
      value: of the sweep's metric there, None if there is none.
      error: why it failed.
    """

    name: str
    overrides: Overrides
    status: str
    step: int
    value: float | None
    error: str = ""


def arguments(overrides: Overrides) -> list[str]:
    """`--config.KEY=VALUE` for each."""
    return [f"--config.{key}={value}" for key, value in overrides.items()]


def trial_name(index: int, overrides: Overrides) -> str:
    """For example `003_lr=0.001,beta=4`: what tells the runs of a study apart."""
    parts = [
        f"{key.rpartition('.')[2]}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in overrides.items()
    ]
    name = f"{index:03}_{','.join(parts)}"
    return "".join(c if c.isalnum() or c in "=,._-" else "-" for c in name)[:120]


class Process:
    """A run's process, and the validation rows that it writes.

    Args:
      command: that trains the run; the same command resumes it.
      workdir: of the run.
      cwd: where the command starts.
      cpus: threads that it may use.
    """

    def __init__(self, command: list[str], workdir: Path, cwd: str, cpus: float):
        self.workdir = workdir
        self._command, self._cwd, self._threads = command, cwd, max(1, round(cpus))
        self._process = None
        self._reported = 0

    def start(self) -> None:
        """Goes on after the rows that there are."""
        self.workdir.mkdir(parents=True, exist_ok=True)
        self._reported = max((row["step"] for row in self._rows()), default=0)
        with open(self.workdir / "output.txt", "ab") as output:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._cwd,
                env=os.environ | {"NPROC": str(self._threads)},
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=_stop_with_parent,
            )

    def next_row(self) -> dict | None:
        """Waits for the next validation row; None at the end of the run.

        Raises:
          UserError: if the run ended in an error of its own, with its line.
          RuntimeError: if it was killed.
        """
        if self._process is None:
            self.start()
        while True:
            ended = self._process.poll()
            for row in self._rows():
                if row["step"] > self._reported:
                    self._reported = row["step"]
                    return row
            if ended is not None:
                break
            time.sleep(0.1)
        if ended == 1:
            raise UserError(self._last_line())
        if ended:
            raise RuntimeError(f"the process of {self.workdir} ended with {ended}")
        return None

    def stop(self) -> None:
        """Ends the process, which saves its state first."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None

    def last_row(self) -> dict:
        return (self._rows() or [{}])[-1]

    def _rows(self) -> list[dict]:
        rows = read_metrics(self.workdir)
        return [row for row in rows if any(name.startswith("validation/") for name in row)]

    def _last_line(self) -> str:
        lines = (self.workdir / "output.txt").read_text(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("error: ") if lines else "no output"


def _stop_with_parent() -> None:
    """So that no run goes on when the process that watches it is killed (Linux)."""
    if sys.platform == "linux":
        death_signal = 1
        ctypes.CDLL(None).prctl(death_signal, signal.SIGTERM)


def _trainable(sweep: Sweep, folder: Path, command: list[str], cwd: str):
    """The class of Tune's actors: each watches one run."""
    from ray import tune

    class Run(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            self._overrides = config["overrides"]
            workdir = folder / "runs" / self.trial_name
            full = [*command, f"--workdir={workdir}", *arguments(self._overrides)]
            self._process = Process(full, workdir, cwd, sweep.cpus)
            workdir.mkdir(parents=True, exist_ok=True)
            (workdir / "overrides.json").write_text(json.dumps(self._overrides))

        def step(self) -> dict[str, Any]:
            try:
                row = self._process.next_row()
            except UserError as error:
                (self._process.workdir / "error.txt").write_text(str(error))
                return {sweep.metric: _worst(sweep), "steps": 0, "done": True}
            if row is None:
                row = self._process.last_row()
                return {sweep.metric: row[sweep.metric], "steps": row["step"], "done": True}
            if sweep.metric not in row:
                there = ", ".join(name for name in row if name.startswith("validation/"))
                raise ValueError(
                    f"no metric {sweep.metric!r} in validation rows; there are: {there}"
                )
            return {sweep.metric: row[sweep.metric], "steps": row["step"]}

        def cleanup(self) -> None:
            self._process.stop()

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            """A copy of the run's newest checkpoint, for population-based training."""
            self._process.stop()
            source = self._process.workdir / "checkpoints"
            if source.is_dir():
                shutil.copytree(source, Path(checkpoint_dir) / "checkpoints")
            (Path(checkpoint_dir) / "from.txt").write_text(self._process.workdir.name)

        def load_checkpoint(self, checkpoint_dir: str) -> None:
            """Goes on from another run's checkpoint, with this trial's overrides."""
            workdir, given = self._process.workdir, Path(checkpoint_dir)
            parent = (given / "from.txt").read_text()
            if parent == workdir.name:
                return  # it resumes by itself, from a checkpoint that may be newer
            self._process.stop()
            shutil.rmtree(workdir / "checkpoints", ignore_errors=True)
            if (given / "checkpoints").is_dir():
                shutil.copytree(given / "checkpoints", workdir / "checkpoints")
            (workdir / "config.json").unlink(missing_ok=True)
            with open(workdir / "parents.jsonl", "a") as file:
                line = {"parent": parent, "overrides": self._overrides}
                file.write(json.dumps(line) + "\n")

    return Run


def _worst(sweep: Sweep) -> float:
    return float("-inf") if sweep.mode == "max" else float("inf")


def run(config: str, overrides: list[str], sweep: Sweep, folder: Path, address: str) -> list[Trial]:
    """Runs a study, or goes on with it, and returns its trials, the best first.

    Args:
      config: experiment file with its argument, as for `launch.py train`.
      overrides: `--config.KEY=VALUE` of all trials.
      sweep: what is tried.
      folder: of the study, where every node of a cluster can reach it.
      address: of a Ray cluster; "" starts Ray on this machine and stops it at the end.

    Raises:
      UserError: without Ray, or if the folder holds another study.
    """
    try:
        import ray
        from ray import tune
    except ImportError as error:
        raise UserError(f"a sweep needs Ray ({error}): pip install -e '.[sweep]'") from None

    built = config_lib.override(config_lib.load_file(config), overrides)
    folder = folder.absolute()
    _claim(folder, {"config": config, "overrides": overrides, "sweep": _described(sweep)})
    command = [sys.executable, str(LAUNCH), "train", f"--config={config}", *overrides]
    trainable = _trainable(sweep, folder, command, os.getcwd())
    resources = {"cpu": sweep.cpus, "gpu": sweep.gpus}
    trainable = tune.with_resources(trainable, resources)
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    ray.init(
        address=address or "local",
        include_dashboard=False if not address else None,
        log_to_driver=False,
        logging_level="error",
    )
    try:
        path = str(folder / "ray")
        if tune.Tuner.can_restore(path):
            tuner = tune.Tuner.restore(path, trainable, resume_errored=True)
        else:
            tuner = tune.Tuner(
                trainable,
                param_space={"overrides": _param_space(sweep, tune)},
                tune_config=_tune_config(sweep, built.eval_every, built.steps, tune),
                run_config=tune.RunConfig(
                    name="ray",
                    storage_path=str(folder),
                    failure_config=tune.FailureConfig(max_failures=RETRIES),
                    callbacks=[_progress(sweep, tune)],
                    verbose=0,
                ),
            )
        tuner.fit()
    finally:
        ray.shutdown()
    return trials(folder, sweep)


def _described(sweep: Sweep) -> dict:
    return json.loads(json.dumps(dataclasses.asdict(sweep), default=str))


def _claim(folder: Path, study: dict) -> None:
    """Writes study.json, or refuses a folder that holds another."""
    path = folder / "study.json"
    if path.exists():
        if json.loads(path.read_text()) != study:
            raise UserError(f"{folder} holds another study; choose another --workdir")
        return
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(study, indent=2) + "\n")
    part.replace(path)


def _param_space(sweep: Sweep, tune) -> Any:
    """What Tune draws a trial's overrides from."""
    if sweep.trials:
        return tune.grid_search(list(sweep.trials))
    space = {}
    for key, each in sweep.space.items():
        if isinstance(each, Choice):
            space[key] = tune.choice(list(each.values))
        elif isinstance(each, Uniform):
            space[key] = (tune.loguniform if each.log else tune.uniform)(each.low, each.high)
    return space


def _tune_config(sweep: Sweep, interval: int, steps: int, tune):
    from ray.tune.schedulers import ASHAScheduler, PopulationBasedTraining
    from ray.tune.search.optuna import OptunaSearch

    judged = {"metric": sweep.metric, "mode": sweep.mode}
    scheduler = search = None
    if sweep.search == "pbt" and not sweep.trials:
        scheduler = PopulationBasedTraining(
            time_attr="steps",
            perturbation_interval=interval,
            hyperparam_mutations={"overrides": _param_space(sweep, tune)},
            **judged,
        )
    elif sweep.stop_early:
        scheduler = ASHAScheduler(time_attr="steps", grace_period=interval, max_t=steps, **judged)
    if sweep.search == "tpe" and not sweep.trials:
        search = OptunaSearch(seed=0, **judged)
    return tune.TuneConfig(
        num_samples=1 if sweep.trials else sweep.num_trials,
        scheduler=scheduler,
        search_alg=search,
        trial_name_creator=_name_of,
        trial_dirname_creator=lambda trial: trial.trial_id,
        reuse_actors=False,
        **({} if scheduler else judged),
    )


def _name_of(trial) -> str:
    return trial_name(int(trial.trial_id.rpartition("_")[2]), trial.config["overrides"])


def _progress(sweep: Sweep, tune):
    class Progress(tune.Callback):
        """A line for each validation and each end."""

        def on_trial_result(self, iteration, trials, trial, result, **info):
            value = result.get(sweep.metric)
            print(f"{trial}: step {result['steps']:,}, {sweep.metric} {value:.4g}", flush=True)

        def on_trial_error(self, iteration, trials, trial, **info):
            print(f"{trial}: its process died; it is started again from its checkpoint", flush=True)

    return Progress()


def trials(folder: Path, sweep: Sweep) -> list[Trial]:
    """How every run of a study stands, the best first, read from their workdirs."""
    found = [_trial(workdir, sweep) for workdir in sorted((folder / "runs").iterdir())]
    sign = -1 if sweep.mode == "max" else 1
    return sorted(found, key=lambda t: (t.value is None, sign * (t.value or 0)))


def _trial(workdir: Path, sweep: Sweep) -> Trial:
    overrides = json.loads((workdir / "overrides.json").read_text())
    rows = [row for row in read_metrics(workdir) if sweep.metric in row]
    step, value = (rows[-1]["step"], rows[-1][sweep.metric]) if rows else (0, None)
    error = ""
    if (workdir / "error.txt").exists():
        status, error, value = "failed", (workdir / "error.txt").read_text(), None
    else:
        path = workdir / "config.json"
        steps = json.loads(path.read_text())["steps"] if path.exists() else None
        status = (
            "finished" if step == steps else "stopped early" if sweep.stop_early else "unfinished"
        )
    return Trial(workdir.name, overrides, status, step, value, error)
