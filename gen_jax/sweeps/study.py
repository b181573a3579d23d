"""Runs a sweep on Ray Tune. Each trial is an ordinary run, `launch.py train`, in its own workdir.

A study's folder holds `study.json` (what it is), `runs/TRIAL/` (workdirs), and at the end
`results.csv` and `report.html`. How far a study is stands in the workdirs alone: the same command
starts all trials again, each tells Ray what its log holds and goes on from its checkpoint. What
Ray writes for itself (`ray/`) holds pickles, and is never read.
"""

import contextlib
import ctypes
import dataclasses
import importlib.util
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from gen_jax import config as config_lib
from gen_jax import evaluation, files
from gen_jax.errors import UserError
from gen_jax.sweeps import packs
from gen_jax.sweeps.spec import Choice, Overrides, Sweep, Uniform, grid
from gen_jax.training import signals
from gen_jax.workdir import claim as workdir_lib
from gen_jax.workdir import console
from gen_jax.workdir.logs import read_metrics

LAUNCH = (sys.executable, "-m", "gen_jax")
OVERRIDES, ERROR = "overrides.json", "error.txt"  # in a trial's workdir
FINISHED = "finished.json"  # in the study's folder
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
      pack: the workdir under `runs/` that it is a replica of, "" for one of its own.
      replica: which.
    """

    name: str
    overrides: Overrides
    status: str
    step: int
    value: float | None
    error: str = ""
    pack: str = ""
    replica: int = 0

    @property
    def workdir(self) -> str:
        """Under the study's folder."""
        return f"runs/{self.pack or self.name}"

    @property
    def outcome(self) -> str:
        return f"{self.status} ({self.error})" if self.error else self.status


def trial_name(index: int, overrides: Overrides) -> str:
    """For example `003_lr=0.001,beta=4`: what tells the runs of a study apart."""
    parts = []
    for key, value in overrides.items():
        shown = f"{value:.4g}" if isinstance(value, float) else value
        parts.append(f"{key.rpartition('.')[2]}={shown}")
    name = f"{index:03}_{','.join(parts)}"
    return "".join(c if c.isalnum() or c in "=,._+-" else "-" for c in name)[:120]


def of_values(config: str, overrides: list[str], given: list[str], metric: str, mode: str) -> Sweep:
    """The grid of `--set KEY=VALUE,VALUE`, without a sweep() in the file.

    Args:
      config: experiment file with its argument.
      overrides: of all trials.
      given: each `KEY=VALUE,VALUE,...`; commas within brackets belong to a value.
      metric: of the validation rows; if "", the first of the config's validation metrics.
      mode: "max", "min", or "" for the better direction of the metric.

    Raises:
      UserError: for what is no key, or no value of it.
    """
    built = config_lib.override(config_lib.load_file(config), overrides)
    values: dict[str, list] = {}
    for argument in given:
        key, equals, text = argument.partition("=")
        if not equals or not text:
            raise UserError(f"--set={argument} must be KEY=VALUE,VALUE,...")
        for part in _split(text):
            own = config_lib.override(
                built.copy_and_resolve_references(), [f"--config.{key}={part}"]
            )
            value = own
            for name in key.split("."):
                value = value[name]
            values.setdefault(key, []).append(value)
    metrics = built.eval.validation_metrics
    if not metric and not metrics:
        raise UserError("name what runs are ranked by: --metric=validation/FIGURE")
    metric = metric or f"validation/{metrics[0]}"
    lower = evaluation.lower_is_better(metric.removeprefix("validation/"))
    return Sweep(metric, mode or ("min" if lower else "max"), trials=grid(values))


def _split(text: str) -> list[str]:
    """At commas outside brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "([") - (character in ")]")
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def load(path_and_argument: str) -> Sweep:
    """The `sweep(...)` of an experiment file, given the same as its `get_config`.

    Raises:
      UserError: if it has none, or no such argument.
    """
    path, argument = config_lib.split_argument(path_and_argument)
    get_config = config_lib.experiment_function(path)
    function = getattr(config_lib.load_module(path), "sweep", None)
    if function is None:
        raise UserError(f"{path} has no sweep(); see experiments/sweep_digits.py for one")
    return function(**get_config.values(argument))


class Process:
    """A run's process, and the validation rows that it writes.

    Args:
      command: that trains the run; the same command resumes it.
      workdir: of the run.
      replay: rows that the log holds already come first; otherwise only those after them.
      environment: variables that it has beside this process's own.
    """

    def __init__(
        self, command: list[str], workdir: Path, replay: bool, environment: dict[str, str]
    ):
        self.workdir = workdir
        self._command, self._environment = command, environment
        self._process = None
        self._reported = 0 if replay else max((row["step"] for row in self.rows()), default=0)

    def next_row(self) -> dict | None:
        """Waits for the next validation row; None at the end of the run.

        Raises:
          UserError: if the run ended in an error of its own, with its line.
          RuntimeError: if it was killed.
        """
        while True:
            # Asked before the log is read: a row may be the last thing that a process did.
            ended = self._process and self._process.poll()
            for row in self.rows():
                if row["step"] > self._reported:
                    self._reported = row["step"]
                    return row
            if self._process is None:
                self._start()
            elif ended == 0:
                return None
            elif ended is not None:
                self._process = None
                if ended == 1:
                    raise UserError(self._last_line())
                raise RuntimeError(f"its process ended with exit code {ended}")
            time.sleep(0.1)

    def rows(self) -> list[dict]:
        """Its validation rows so far."""
        rows = read_metrics(self.workdir)
        return [row for row in rows if any(name.startswith("validation/") for name in row)]

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

    def _start(self) -> None:
        # A sweep that was killed took its runs with it, which save before they go.
        while not workdir_lib.is_free(self.workdir):
            time.sleep(0.1)
        with open(self.workdir / "output.txt", "ab") as output:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment | os.environ | _importing_this_package(),
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=_stop_with_parent,
            )

    def _last_line(self) -> str:
        lines = (self.workdir / "output.txt").read_text(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("error: ") if lines else "no output"


def _importing_this_package() -> dict[str, str]:
    """So that `-m gen_jax` is this package wherever the sweep is started."""
    places = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, places))}


def _stop_with_parent() -> None:
    """So that no run goes on when the process that watches it is killed (Linux)."""
    if sys.platform == "linux":
        death_signal = 1
        ctypes.CDLL(None).prctl(death_signal, signal.SIGTERM)


def _trainable(sweep: Sweep, folder: Path, command: list[str]):
    """The class of Tune's actors: each watches one run."""
    from ray import tune

    class Run(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            self._overrides = _overrides(sweep, config)
            self._workdir = workdir = folder / "runs" / self.trial_name
            if sweep.search == "pbt":
                # Overrides change as it goes on, and with them the config that it is started by.
                (workdir / "config.json").unlink(missing_ok=True)
            write_overrides(workdir, self._overrides)
            (workdir / ERROR).unlink(missing_ok=True)
            full = [*command, f"--workdir={workdir}", *config_lib.as_arguments(self._overrides)]
            # Replayed rows would have a population exploit states of the past.
            replay = sweep.search != "pbt"
            self._process = Process(full, workdir, replay, _share(sweep))

        def step(self) -> dict[str, Any]:
            try:
                row = self._process.next_row()
                done = row is None
                row = (self._process.rows() or [{}])[-1] if done else row
                if sweep.metric not in row:
                    raise UserError(_no_metric(sweep, row))
            except UserError as error:
                (self._workdir / ERROR).write_text(str(error))
                return {sweep.metric: _worst(sweep), "steps": 0, "done": True}
            except RuntimeError as error:
                # Should it stay the last word: Ray tries again a few times.
                (self._workdir / ERROR).write_text(str(error))
                raise
            return {sweep.metric: row[sweep.metric], "steps": row["step"], "done": done}

        def cleanup(self) -> None:
            self._process.stop()

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            """A copy of the run's newest checkpoint, for population-based training."""
            self._process.stop()
            source = self._workdir / "checkpoints"
            if source.is_dir():
                shutil.copytree(source, Path(checkpoint_dir) / "checkpoints")
            (Path(checkpoint_dir) / "from.txt").write_text(self._workdir.name)

        def load_checkpoint(self, checkpoint_dir: str) -> None:
            """Goes on from another run's checkpoint, with this trial's overrides."""
            given = Path(checkpoint_dir)
            parent = (given / "from.txt").read_text()
            if parent == self._workdir.name:
                return  # it resumes by itself, from a checkpoint that may be newer
            self._process.stop()
            own, copy = self._workdir / "checkpoints", self._workdir / "checkpoints.copy"
            shutil.rmtree(copy, ignore_errors=True)
            if (given / "checkpoints").is_dir():
                shutil.copytree(given / "checkpoints", copy)
            shutil.rmtree(own, ignore_errors=True)
            if copy.is_dir():
                copy.rename(own)  # whole, whenever this is killed
            with open(self._workdir / "parents.jsonl", "a") as file:
                line = {"parent": parent, "overrides": self._overrides}
                file.write(json.dumps(line) + "\n")

    return Run


def _share(sweep: Sweep) -> dict[str, str]:
    """Variables that keep a run to its part of the machine."""
    share = {"NPROC": str(max(1, round(sweep.cpus)))}  # threads of XLA's pool
    if 0 < sweep.gpus < 1:
        share["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.9 * sweep.gpus:.3f}"
    return share


def write_overrides(workdir: Path, overrides: Overrides) -> None:
    workdir.mkdir(parents=True, exist_ok=True)
    files.write_whole(workdir / OVERRIDES, _as_json(overrides))


def _as_json(value: Any) -> str:
    """JSON of what may be an override; a tuple is a list there, and numpy's numbers are numbers."""
    return json.dumps(value, default=lambda array: array.tolist())


def _overrides(sweep: Sweep, config: dict[str, Any]) -> Overrides:
    """Of one of Tune's trials, whose values `_param_space` has made."""
    if "overrides" in config:
        return config["overrides"]
    chosen = {
        key: {_as_json(value): value for value in each.values}
        for key, each in sweep.space.items()
        if isinstance(each, Choice)
    }
    return {key: chosen[key][v] if key in chosen else v for key, v in config.items()}


def _as_drawn(sweep: Sweep, overrides: Overrides) -> dict[str, Any]:
    """The inverse of `_overrides`, of what a workdir holds."""
    return {
        key: _as_json(value) if isinstance(sweep.space.get(key), Choice) else value
        for key, value in overrides.items()
    }


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
      UserError: without Ray, or if the folder holds another study or is another sweep's now.
    """
    built = config_lib.override(config_lib.load_file(config), overrides)
    packed, alone = packs.divide(sweep, built)
    if not (packed and not alone) and importlib.util.find_spec("ray") is None:
        raise UserError("this sweep needs Ray: pip install -e '.[sweep]'")
    folder = folder.absolute()
    (folder / "runs").mkdir(parents=True, exist_ok=True)
    with workdir_lib.lock(folder):
        _claim(folder, {"config": config, "overrides": overrides, "sweep": _described(sweep)})
        if not (folder / FINISHED).exists():
            with _ending_on_signals():
                _run(config, overrides, sweep, folder, address, built)
            files.write_whole(folder / FINISHED, json.dumps({"trials": len(trials(folder, sweep))}))
    return trials(folder, sweep)


class Stopped(signals.Stopped):
    """A sweep was asked to stop; its runs save their states as they go."""

    def __init__(self, signum: int):
        Exception.__init__(self, f"the sweep was stopped by {signal.Signals(signum).name}")
        self.signum = signum


@contextlib.contextmanager
def _ending_on_signals() -> Iterator[None]:
    """Within it SIGTERM and Ctrl-C raise `Stopped`."""

    def stop(signum, frame):
        raise Stopped(signum)

    before = {signum: signal.signal(signum, stop) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _run(
    config: str, overrides: list[str], sweep: Sweep, folder: Path, address: str, built: ConfigDict
) -> None:
    command = [*LAUNCH, "train", f"--config={config}", *overrides]
    packed, alone = packs.divide(sweep, built)
    if _runs(folder) and not any((folder / "runs").glob(f"pack_*/{packs.TRIALS}")):
        packed, alone = [], list(sweep.trials)  # a study that was begun one by one goes on so
    if packed:
        count = sum(len(pack.trials) for pack in packed)
        print(
            f"{count} trials differ in numbers alone: they are the replicas of {len(packed)} "
            f"program{'s' * (len(packed) > 1)}, which compile once each",
            flush=True,
        )
    counter = _Counter(len(sweep.trials) or sweep.num_trials)
    for pack in packed:
        if not _run_pack(pack, command, folder, sweep, counter):
            alone += pack.every()
    if alone or sweep.space:
        own = dataclasses.replace(sweep, trials=alone) if alone else sweep
        _run_on_ray(command, own, folder, address, built, counter)


def _run_pack(
    pack: packs.Pack, command: list[str], folder: Path, sweep: Sweep, counter: "_Counter"
) -> bool:
    """Trains the trials of a pack to their end; False if they have to be run one by one."""
    workdir = packs.claim(folder, pack)
    if (workdir / ERROR).exists():
        return False
    full = [*command, f"--workdir={workdir}", *config_lib.as_arguments(pack.overrides)]
    process, kills = Process(full, workdir, False, {}), 0
    try:
        while True:
            try:
                row = process.next_row()
            except RuntimeError:
                kills += 1
                if kills > RETRIES:
                    raise
                print(f"{pack.name}: its process died; it goes on from its checkpoint", flush=True)
                continue
            if row is None:
                break
            if sweep.metric not in row:
                raise UserError(_no_metric(sweep, row))
            print(f"{pack.name}: step {row['step']:,}, {_spread(sweep, row)}", flush=True)
    except (UserError, RuntimeError) as error:
        (workdir / ERROR).write_text(str(error))
        print(f"{pack.name}: {error}; its trials are run one by one", flush=True)
        return False
    finally:
        process.stop()
    counter.add(len(pack.trials), f"{pack.name}: finished")
    return True


def _spread(sweep: Sweep, row: dict) -> str:
    own = [value for name, value in row.items() if name.startswith(f"{sweep.metric}/replica_")]
    return f"{sweep.metric} {min(own):.4g} to {max(own):.4g}"


def _no_metric(sweep: Sweep, row: dict) -> str:
    there = [name for name in row if name.startswith("validation/") and "/replica_" not in name]
    listed = ", ".join(there) or "nothing; output.txt says why"
    return f"no metric {sweep.metric!r}; validation has: {listed}"


class _Counter:
    """Says how many trials are done, and how long the others may take."""

    def __init__(self, total: int):
        self._total, self._done, self._began = total, 0, time.monotonic()

    def add(self, number: int, line: str) -> None:
        """To be called when so many are done."""
        self._done += number
        left = self._total - self._done
        time_left = (time.monotonic() - self._began) / self._done * left
        more = f", about {console.duration(time_left)} left" if left > 0 else ""
        print(f"{line} ({self._done} of {self._total}{more})", flush=True)


def _run_on_ray(
    command: list[str],
    sweep: Sweep,
    folder: Path,
    address: str,
    built: ConfigDict,
    counter: _Counter,
) -> None:
    import ray
    from ray import tune

    trainable = tune.with_resources(
        _trainable(sweep, folder, command), {"cpu": sweep.cpus, "gpu": sweep.gpus}
    )
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # see `_ending_on_signals`
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")  # so that a config's paths hold
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # runs have their own logs
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # `_progress` says it in a line
    shutil.rmtree(folder / "ray", ignore_errors=True)
    local = {"include_dashboard": False} if not address else {}
    ray.init(address=address or "local", log_to_driver=False, logging_level="error", **local)
    try:
        tuner = tune.Tuner(
            trainable,
            param_space=_param_space(sweep, tune),
            tune_config=_tune_config(sweep, folder, built.eval_every, built.steps, tune),
            run_config=tune.RunConfig(
                name="ray",
                storage_path=str(folder),
                failure_config=tune.FailureConfig(max_failures=RETRIES),
                callbacks=[_progress(sweep, folder, counter, tune)],
                verbose=0,
            ),
        )
        tuner.fit()
    finally:
        ray.shutdown()


def _described(sweep: Sweep) -> dict:
    return json.loads(json.dumps(dataclasses.asdict(sweep), default=str))


def _read(path: Path) -> Any:
    try:
        return files.read_json(path)
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); restore or remove its folder") from None


def _claim(folder: Path, study: dict) -> None:
    """Writes study.json, or refuses a folder that holds another."""
    path = folder / "study.json"
    if path.exists():
        if _read(path) != study:
            raise UserError(f"{folder} holds another study; choose another --workdir")
        return
    files.write_whole(path, json.dumps(study, indent=2) + "\n")


def _param_space(sweep: Sweep, tune) -> dict[str, Any]:
    """What Tune draws a trial's overrides from: see `_overrides`.

    A choice is one of texts, the JSON of its values: searches know no tuples, and a population
    would multiply numbers, which gives others than there are to choose from.
    """
    if sweep.trials:
        return {"overrides": tune.grid_search(list(sweep.trials))}
    space = {}
    for key, each in sweep.space.items():
        if isinstance(each, Choice):
            space[key] = tune.choice(list(dict.fromkeys(map(_as_json, each.values))))
        elif isinstance(each, Uniform):
            space[key] = (tune.loguniform if each.log else tune.uniform)(each.low, each.high)
    return space


def _tune_config(sweep: Sweep, folder: Path, interval: int, steps: int, tune):
    from ray.tune.schedulers import ASHAScheduler, PopulationBasedTraining
    from ray.tune.search import BasicVariantGenerator
    from ray.tune.search.optuna import OptunaSearch

    judged = {"metric": sweep.metric, "mode": sweep.mode}
    # Of a study that goes on: the same trials come first, in their order.
    known = [_as_drawn(sweep, _read(run / OVERRIDES)) for run in _runs(folder)]
    scheduler = search = None
    if sweep.search == "pbt":
        space = _param_space(sweep, tune)
        scheduler = PopulationBasedTraining(
            time_attr="steps", perturbation_interval=interval, hyperparam_mutations=space, **judged
        )
        search = BasicVariantGenerator(points_to_evaluate=known, random_state=0)
    elif sweep.stop_early:
        scheduler = ASHAScheduler(time_attr="steps", grace_period=interval, max_t=steps, **judged)
    if sweep.search == "tpe" and sweep.space:
        search = OptunaSearch(points_to_evaluate=known or None, seed=0, **judged)
    return tune.TuneConfig(
        num_samples=1 if sweep.trials else sweep.num_trials,
        scheduler=scheduler,
        search_alg=search,
        trial_name_creator=_names(sweep, folder),
        trial_dirname_creator=lambda trial: trial.trial_id,
        **({} if scheduler else judged),
    )


def _names(sweep: Sweep, folder: Path) -> Callable:
    """The function that names Tune's trials, in their order, and makes their folders."""
    given = {}

    def name_of(trial) -> str:
        if trial.trial_id not in given:
            index, runs = len(given), _runs(folder)
            overrides = _overrides(sweep, trial.config)
            if index < len(runs):
                given[trial.trial_id] = runs[index].name  # a population's overrides change
            else:
                name = given[trial.trial_id] = trial_name(index, overrides)
                write_overrides(folder / "runs" / name, overrides)
        return given[trial.trial_id]

    return name_of


def _runs(folder: Path) -> list[Path]:
    """Workdirs of the trials, in their order."""
    found = [path.parent for path in (folder / "runs").glob(f"*/{OVERRIDES}")]
    return sorted(found, key=lambda run: int(run.name.partition("_")[0]))


def _progress(sweep: Sweep, folder: Path, counter: _Counter, tune):
    class Progress(tune.Callback):
        """A line for each validation, and for whatever goes wrong."""

        def on_trial_result(self, iteration, trials, trial, result, **info):
            if not result["done"]:
                figure = f"{sweep.metric} {result[sweep.metric]:.4g}"
                print(f"{trial}: step {result['steps']:,}, {figure}", flush=True)

        def on_trial_complete(self, iteration, trials, trial, **info):
            outcome = _trial(folder / "runs" / str(trial), sweep).outcome
            counter.add(1, f"{trial}: {outcome}")

        def on_trial_recover(self, iteration, trials, trial, **info):
            print(f"{trial}: its process died; it goes on from its checkpoint", flush=True)

        def on_trial_error(self, iteration, trials, trial, **info):
            print(f"{trial}: its process died {RETRIES + 1} times; given up", flush=True)

    return Progress()


def trials(folder: Path, sweep: Sweep) -> list[Trial]:
    """How every run of a study stands, the best first, read from their workdirs."""
    found = [_trial(workdir, sweep) for workdir in _runs(folder)]
    for path in sorted((folder / "runs").glob(f"pack_*/{packs.TRIALS}")):
        if not (path.parent / ERROR).exists():  # else its trials are runs of their own
            found += _packed(path.parent, sweep)
    sign = -1 if sweep.mode == "max" else 1
    return sorted(found, key=lambda t: (t.value is None, sign * (t.value or 0)))


def _packed(workdir: Path, sweep: Sweep) -> list[Trial]:
    """The trials of a pack."""
    overrides = _read(workdir / packs.TRIALS)
    step, values = packs.values(workdir, sweep.metric)
    config = workdir / "config.json"
    done = config.exists() and step == workdir_lib.read_config(workdir).steps
    status = "finished" if done else "unfinished"
    first = int(workdir.name.rpartition("_")[2]) * packs.SIZE
    return [
        Trial(
            trial_name(first + replica, own),
            own,
            status,
            step,
            values[replica] if replica < len(values) else None,
            pack=workdir.name,
            replica=replica,
        )
        for replica, own in enumerate(overrides)
    ]


def _trial(workdir: Path, sweep: Sweep) -> Trial:
    overrides = _read(workdir / OVERRIDES)
    rows = [row for row in read_metrics(workdir) if sweep.metric in row]
    step, value = (rows[-1]["step"], rows[-1][sweep.metric]) if rows else (0, None)
    if (workdir / ERROR).exists():
        # Its last figure is not ranked: a run that diverged may have been good before.
        return Trial(workdir.name, overrides, "failed", step, None, (workdir / ERROR).read_text())
    config = workdir / "config.json"
    if config.exists() and step == workdir_lib.read_config(workdir).steps:
        status = "finished"
    else:
        status = "stopped early" if sweep.stop_early else "unfinished"
    return Trial(workdir.name, overrides, status, step, value)
