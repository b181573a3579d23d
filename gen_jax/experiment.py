"""One run, read top to bottom: data, family, state, loop, evaluation."""

import collections
import contextlib
import dataclasses
import functools
import json
import math
import time
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from gen_jax import config as config_lib
from gen_jax import (
    evaluation,
    families,
    files,
    gallery,
    optimizers,
    parallel,
    pictures,
    replicas,
    signals,
    trackers,
    train_step,
)
from gen_jax import workdir as workdir_lib
from gen_jax.checkpoints import Checkpoints
from gen_jax.data import sources
from gen_jax.data.batches import TrainBatches
from gen_jax.data.sources import Dataset
from gen_jax.data.spec import fixed_keys
from gen_jax.errors import UserError
from gen_jax.evaluation import Metric, Subject, fitted_prior
from gen_jax.evaluation.alarms import find_alarms
from gen_jax.families.base import Batch, Family
from gen_jax.logs import MetricsWriter, Progress, print_table, read_metrics
from gen_jax.optimizers import Optimizer
from gen_jax.state import State

# What `vmap` over replicas maps: all of the state but its step, which they share.
REPLICAS = State(step=None, params=0, opt_state=0, ema=0, extra=0)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A config, built: everything about a run that does not change while it trains."""

    config: ConfigDict
    dataset: Dataset
    family: Family
    optimizer: dict[str, Optimizer]

    @functools.cached_property
    def replica_values(self) -> replicas.Values:
        """What differs between replicas, with a leading axis [R] if there are several."""
        values = replicas.values(self.config)
        return values if self.config.num_replicas > 1 else replicas.of(values, 0)

    def init(self) -> State:
        """The state before the first step."""
        init, batch = train_step.make_init(self.family, self.optimizer), self._init_batch()
        if self.config.num_replicas > 1:
            init = jax.vmap(init, in_axes=(0, None), out_axes=REPLICAS)
        return jax.jit(init)(self.replica_values["seed"], batch)

    def template(self) -> State:
        """The shapes of a state, without its values."""
        init = train_step.make_init(self.family, self.optimizer)
        if self.config.num_replicas > 1:
            init = jax.vmap(init, in_axes=(0, None), out_axes=REPLICAS)
        return jax.eval_shape(init, self.replica_values["seed"], self._init_batch())

    def _init_batch(self) -> Batch:
        train, spec = self.dataset.splits["train"], self.dataset.spec
        index = np.arange(min(len(train), 1_024))
        stored = train.gather(index)
        x = spec.prepare(jax.numpy.asarray(stored["x"]), fixed_keys("train", index))
        return {"x": x, "label": stored["label"]}

    def batches(self) -> TrainBatches:
        """The minibatches of this process."""
        config = self.config
        return TrainBatches(
            self.dataset.splits["train"],
            seeds=self.replica_values["seed"].reshape(-1).tolist(),
            batch_size=config.batch_size,
            num_turns=len(self.family.turns),
            steps_per_dispatch=config.steps_per_dispatch,
            resident_limit_mb=config.data.resident_limit_mb,
            rows=parallel.local_rows(config.batch_size),
        )

    @property
    def batch_axis(self) -> int:
        """Where a dispatch's arrays [(R,) K, turns, B] have the examples."""
        return 2 if self.config.num_replicas == 1 else 3

    def compile(self):
        """The training function over all devices: see `train_step.make_steps`."""
        config, spec = self.config, self.dataset.spec

        def steps(state: State, data: Batch, values: replicas.Values, batch: Batch):
            made = replicas.apply(values, config, self.family, self.optimizer)
            inner = train_step.make_steps(*made, spec, config.optim.accumulate)
            return inner(state, data, values["seed"], batch)

        if self.config.num_replicas > 1:
            steps = jax.vmap(steps, in_axes=(REPLICAS, None, 0, 0), out_axes=(REPLICAS, 0))
        return parallel.compile_train(steps)

    def subject(self, state: State, replica: int = 0) -> Subject:
        """One replica's model, as evaluators see it during training."""
        params, extra = state.eval_params, state.extra
        if self.config.num_replicas > 1:
            params, extra = jax.tree.map(lambda x: x[replica], (params, extra))
        return Subject(self.family, self.dataset.spec, params, extra)

    def trained_subject(self, state: State, replica: int = 0) -> Subject:
        """The same after training: with a prior fitted to its latents if the config asks for it."""
        subject = self.subject(state, replica)
        if self.config.eval.fitted_components:
            return fitted_prior.fit(subject, self.dataset, self.config.eval)
        return subject


def build(config: ConfigDict, num_devices: int = 1) -> Experiment:
    """Config -> data, family, optimisers, to train on so many devices or to evaluate on any.

    Raises:
      UserError: for anything in the config that cannot run.
    """
    config_lib.check(config, num_devices)
    evaluation.check_names([*config.eval.validation_metrics, *config.eval.metrics])
    dataset = sources.load(config.data)
    family = families.build(config.family, config.model, dataset.spec)
    evaluation.check(family, dataset, config.eval.validation_metrics, "eval.validation_metrics")
    fitted_prior.family(family, config.eval)  # refuses what has no latents
    networks = {name for turn in family.turns for name in turn}
    optimizers.check_sections(config.optim, networks)
    optimizer = {n: optimizers.make(config.optim, config.steps, n) for n in sorted(networks)}
    # Before anything is written: it refuses values that cannot differ.
    replicas.check(config, dataset.spec)
    replicas.apply(replicas.values(config), config, family, optimizer)
    return Experiment(config, dataset, family, optimizer)


def train(config: ConfigDict, workdir: Path) -> bool:
    """Trains a run to its end, from wherever its workdir stands.

    Returns:
      False if the run had been finished before.

    Raises:
      UserError: for bad input, a damaged workdir, one that another process trains in, or a loss
        that is not finite.
      signals.Stopped: after SIGTERM or Ctrl-C, with the state saved.
    """
    experiment = build(config, parallel.num_devices())
    trackers.check(config.trackers)
    # The first process claims it for all of a run.
    claim = workdir_lib.claim(config, workdir) if parallel.is_main() else contextlib.nullcontext()
    with claim:
        return _train(experiment, workdir)


def _train(experiment: Experiment, workdir: Path) -> bool:
    config, main = experiment.config, parallel.is_main()
    checkpoints = Checkpoints(workdir / "checkpoints", config.keep_checkpoints)

    # 1. The state: from the newest sound checkpoint, else from the seed.
    state = None
    if main:
        state = checkpoints.restore(experiment.template(), report=print)
        checkpoints.drop_after(int(state.step) if state else 0)
    state = parallel.from_main(state or experiment.init())
    step = int(state.step)
    if step >= config.steps:
        return False
    state = parallel.replicated(state)

    # 2. What the compiled steps read: the whole training set on the devices, or a stream.
    batches = experiment.batches()
    data, values = parallel.replicated((batches.data, experiment.replica_values))
    train_steps = experiment.compile()

    # 3. The loop. The host sees numbers at log steps only; in between it is a dispatch ahead.
    tracked = trackers.start(config.trackers, workdir, config, step) if main else ()
    writer = MetricsWriter(workdir, step, tracked, enabled=main)
    agree = parallel.agreement()
    newest = dict(collections.ChainMap(*reversed(read_metrics(workdir))))  # for alarms
    title = f"{config.experiment or config.family} on {experiment.dataset.name}"
    window = _Window(step, config.batch_size)
    progress = Progress(config.steps, step, title, enabled=main)
    with signals.catch() as stop, checkpoints, writer, progress:
        for batch in batches.dispatches(step, config.steps):
            state, metrics = train_steps(
                state, data, values, parallel.split(batch, experiment.batch_axis)
            )
            step += config.steps_per_dispatch
            window.add(metrics)
            last = step == config.steps
            if step % config.log_every == 0 or last:
                row = window.close(step)
                newest |= row
                writer.write(step, row)
                progress.update(step, _total_loss(row), row["examples_per_second"])
            if step % config.eval_every == 0 or last:
                window.check(step)
                if main:
                    _look(experiment, parallel.local(state), newest, workdir, writer, progress)
                window.resume()
            requested = agree(stop.requested)
            if step % config.checkpoint_every == 0 or last or requested:
                window.check(step)
                if main:
                    checkpoints.save(state)
                window.resume()
            if requested and not last:
                checkpoints.wait()
                raise signals.Stopped(requested, step)
    return True


def _look(
    experiment: Experiment,
    state: State,
    newest: dict[str, float],
    workdir: Path,
    writer: MetricsWriter,
    progress: Progress,
) -> None:
    """Validation figures, alarms and pictures of a state; at the last step all its pictures."""
    step = int(state.step)
    row = validate(experiment, state)
    _check_finite(row, f"at step {step}")
    writer.write(step, row)
    progress.message(_validation_line(step, row))
    alarms = find_alarms(newest | row)
    writer.alarms(step, alarms)
    for line in alarms:
        progress.message(f"warning: {line}")
    picture = gallery.sample_picture(experiment.subject(state), experiment.dataset)
    if picture is not None:
        pictures.save_png(workdir / "samples" / f"step_{step:08d}.png", picture)
        writer.image("samples", step, picture)
    if step == experiment.config.steps:
        # Of held-out data. The test split is left to `evaluate`. The last checkpoint comes after
        # them, so a run that has it lacks nothing.
        subject = experiment.trained_subject(state)
        gallery.write(subject, experiment.dataset, "validation", workdir)


def validate(experiment: Experiment, state: State) -> dict[str, float]:
    """The config's validation metrics: the mean over replicas, and each replica's own."""
    settings, count = experiment.config.eval, experiment.config.num_replicas
    names, dataset = settings.validation_metrics, experiment.dataset
    # As many samples as there are examples to compare them with: it is done often.
    few = min(settings.num_samples, len(dataset.splits["validation"]))
    settings = ConfigDict({**settings, "num_samples": few})
    state = jax.device_get(state)
    figures = [
        evaluation.evaluate(experiment.subject(state, r), dataset, "validation", names, settings)
        for r in range(count)
    ]
    values = {f"validation/{n}": np.array([f[n].value for f in figures]) for n in figures[0]}
    return _with_replicas(values if count > 1 else {n: v[0] for n, v in values.items()})


def evaluate(
    config: ConfigDict, workdir: Path, names: tuple[str, ...], replica: int | None = None
) -> dict[str, Metric]:
    """Measures a run on the test split and writes `evaluation.json` and test pictures.

    Without `replica` all of a run's replicas are measured: a figure is then their mean.
    """
    experiment, state = restore(config, workdir, replica or 0)
    family = fitted_prior.family(experiment.family, config.eval)
    evaluation.check(family, experiment.dataset, names)
    chosen = range(config.num_replicas) if replica is None else [replica]
    subjects = [experiment.trained_subject(state, r) for r in chosen]
    each = [
        evaluation.evaluate(subject, experiment.dataset, "test", names, config.eval)
        for subject in subjects
    ]
    figures = each[0]
    values = {name: metric.value for name, metric in figures.items()}
    if len(each) > 1:
        figures = {name: Metric.over_seeds([f[name] for f in each]) for name in figures}
        values = {name: np.array(metric.each) for name, metric in figures.items()}
    result = {
        "step": int(state.step),
        "dataset": experiment.dataset.name,
        "split": "test",
        "metrics": evaluation.to_json(figures),
        "alarms": find_alarms(_with_replicas(values)),
    }
    if replica is not None and config.num_replicas > 1:
        result["replica"] = replica
    files.write_whole(workdir / "evaluation.json", json.dumps(result, indent=2))
    gallery.write(subjects[0], experiment.dataset, "test", workdir)
    return figures


def restore(config: ConfigDict, workdir: Path, replica: int = 0) -> tuple[Experiment, State]:
    """A trained run: its experiment and the newest sound checkpoint.

    Raises:
      UserError: if there is no checkpoint yet, or no such replica.
    """
    if not 0 <= replica < config.num_replicas:
        raise UserError(f"no replica {replica}; this run has 0 to {config.num_replicas - 1}")
    experiment = build(config)
    state = Checkpoints(workdir / "checkpoints").restore(experiment.template(), report=print)
    if state is None:
        raise UserError(f"{workdir} has no checkpoint yet; train it first")
    return experiment, state


class _Window:
    """Metrics between two log steps. They stay on the devices until they are asked for."""

    def __init__(self, step: int, examples_per_step: int):
        self._examples_per_step = examples_per_step
        self._first = self._counted = step
        self._on_device, self._on_host = [], []
        self._seconds, self._started = 0.0, time.perf_counter()

    def add(self, metrics: dict) -> None:
        """Takes a dispatch's metrics, and waits for the dispatch before it.

        So the devices have the next to do, and a signal waits for two dispatches at most and not
        for all that the host could send until the next log step.
        """
        if self._on_device:
            jax.block_until_ready(self._on_device[-1])
        self._on_device.append(metrics)

    def check(self, step: int) -> None:
        """Waits for the devices, and refuses to go on from numbers that are not finite.

        Raises:
          UserError: naming the metric, the interval and what to try.
        """
        for metrics in jax.device_get(self._on_device):
            _check_finite(metrics, f"between steps {self._counted} and {step}")
            self._on_host.append(metrics)
        self._on_device = []
        self._counted = step
        self._seconds += time.perf_counter() - self._started

    def resume(self) -> None:
        """Starts the clock again, after something that is not training."""
        self._started = time.perf_counter()

    def close(self, step: int) -> dict[str, float]:
        """The means over all steps since the last time, and the rate."""
        self.check(step)
        steps = step - self._first
        # [K] or [R, K] from each dispatch.
        joined = {
            name: np.concatenate([m[name] for m in self._on_host], -1) for name in self._on_host[0]
        }
        row = {"examples_per_second": steps * self._examples_per_step / self._seconds}
        row |= _with_replicas({n: v.mean(-1, dtype=np.float64) for n, v in joined.items()})
        self._first, self._on_host, self._seconds = step, [], 0.0
        self.resume()
        return row


def _check_finite(figures: dict, when: str) -> None:
    """Refuses what is not finite; the losses first, as they are what a user knows."""
    for name in sorted(figures, key=lambda name: not name.startswith("loss/")):
        if not np.isfinite(figures[name]).all():
            raise UserError(
                f"{name} is not finite {when}: try a lower --config.optim.lr, "
                "--config.optim.clip_norm=1 or --config.optim.warmup_steps; the last good "
                "checkpoint stays"
            )


def _with_replicas(values: dict[str, np.ndarray]) -> dict[str, float]:
    """Scalars as they are; arrays [R] as their mean and one entry for each replica."""
    row = {}
    for name, value in values.items():
        row[name] = float(np.mean(value))
        if np.ndim(value):
            row |= {f"{name}/replica_{r}": float(v) for r, v in enumerate(value)}
    return row


def _total_loss(row: dict[str, float]) -> float:
    return math.fsum(v for n, v in row.items() if n.startswith("loss/") and n.count("/") == 1)


def _validation_line(step: int, row: dict[str, float]) -> str:
    hidden = ("/replica_", "_floor")
    shown = [f"{n} {v:.4g}" for n, v in row.items() if not any(part in n for part in hidden)]
    return f"step {step:,}: " + ", ".join(shown)


def last_validation(workdir: Path) -> dict[str, float]:
    """The newest validation row of a run, {} if there is none."""
    rows = [row for row in read_metrics(workdir) if any(n.startswith("validation/") for n in row)]
    return rows[-1] if rows else {}


def training_seconds(config: ConfigDict, workdir: Path) -> float:
    """The time that training took, evaluation aside, over all its resumptions."""
    seconds, before = 0.0, 0
    for row in read_metrics(workdir):
        if "examples_per_second" in row:
            seconds += (row["step"] - before) * config.batch_size / row["examples_per_second"]
            before = row["step"]
    return seconds


def print_validation(workdir: Path) -> None:
    """The table at the end of a training run."""
    row = last_validation(workdir)
    figures = [(n, f"{v:.4f}") for n, v in row.items() if n != "step" and "/replica_" not in n]
    if figures:
        print_table(f"validation at step {row['step']:,}", ("metric", "value"), figures)
