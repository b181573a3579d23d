"""One run, read top to bottom: data, family, state, loop, evaluation."""

import collections
import contextlib
import dataclasses
import functools
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from gen_jax import config as config_lib
from gen_jax import evaluation, families, files, parallel, pictures
from gen_jax.applications import gallery
from gen_jax.data import sources
from gen_jax.data.batches import TrainBatches
from gen_jax.data.sources import Dataset
from gen_jax.data.spec import Batch, DataSpec
from gen_jax.errors import UserError
from gen_jax.evaluation import Context, Metric, Subject, fitted_prior
from gen_jax.families.alarms import Alarm, find_alarms
from gen_jax.families.base import Family
from gen_jax.training import optimizers, replicas, signals
from gen_jax.training import step as step_lib
from gen_jax.training.checkpoints import Checkpoints
from gen_jax.training.optimizers import Optimizer
from gen_jax.training.state import State
from gen_jax.training.window import Window, check_finite, with_replicas
from gen_jax.workdir import claim as claim_lib
from gen_jax.workdir import trackers
from gen_jax.workdir.console import Progress
from gen_jax.workdir.logs import MetricsWriter, read_metrics

# What `vmap` over replicas maps: all of the state but its step, which they share.
REPLICAS = State(step=None, params=0, opt_state=0, ema=0, extra=0)

# The first training examples, which networks are initialised with.
INIT_EXAMPLES = 1_024


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A config, built: everything about a run that does not change while it trains.

    Attributes:
      config: of the run.
      spec: what an example is.
      family: the model.
      optimizer: of each network.
      load_dataset: reads the data, for what needs them.
    """

    config: ConfigDict
    spec: DataSpec
    family: Family
    optimizer: dict[str, Optimizer]
    load_dataset: Callable[[], Dataset]

    @functools.cached_property
    def dataset(self) -> Dataset:
        """The data, which are read when they are asked for."""
        return self.load_dataset()

    @functools.cached_property
    def replica_values(self) -> replicas.Values:
        """What differs between replicas, with a leading axis [R] if there are several."""
        values = replicas.values(self.config)
        return values if self.config.num_replicas > 1 else replicas.of_replica(values, 0)

    def _init(self) -> Callable:
        init = step_lib.make_init(self.family, self.optimizer)
        if self.config.num_replicas > 1:
            init = jax.vmap(init, in_axes=(0, None), out_axes=REPLICAS)
        return init

    def init(self) -> State:
        """The state before the first step."""
        index = np.arange(min(len(self.dataset.splits["train"]), INIT_EXAMPLES))
        batch = self.dataset.batch("train", index)
        return jax.jit(self._init())(self.replica_values["seed"], batch)

    def template(self) -> State:
        """The shapes of a state, without its values. It needs no data."""
        batch = self.spec.template(INIT_EXAMPLES)
        return jax.eval_shape(self._init(), self.replica_values["seed"], batch)

    @functools.cached_property
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

    def compile(self) -> Callable:
        """The training function over all devices: see `training/step.py`, `make_steps`."""
        config, fetch = self.config, self.batches.fetch

        def steps(state: State, data: Batch, values: replicas.Values, batch: Batch):
            made = replicas.apply(values, config, self.family, self.optimizer)
            inner = step_lib.make_steps(*made, self.spec, fetch, config.optim.accumulate)
            return inner(state, data, values["seed"], batch)

        if self.config.num_replicas > 1:
            steps = jax.vmap(steps, in_axes=(REPLICAS, None, 0, 0), out_axes=(REPLICAS, 0))
        return parallel.compile_train(steps)

    def subject(self, state: State, replica: int = 0) -> Subject:
        """One replica's model, as evaluators see it during training."""
        params, extra = state.eval_params, state.extra
        if self.config.num_replicas > 1:
            params, extra = jax.tree.map(lambda x: x[replica], (params, extra))
        return Subject(self.family, self.spec, params, extra, self.config.sample.to_dict())

    def trained_subject(self, state: State, workdir: Path, replica: int = 0) -> Subject:
        """The same after training: with a prior fitted to its latents if the config asks for it.

        What was fitted is kept in the workdir.
        """
        subject, settings, step = self.subject(state, replica), self.config.eval, int(state.step)
        if not settings.fitted_components:
            return subject
        path = workdir / f"fitted_prior_{replica}.npz"
        if (known := fitted_prior.load(path, subject, step, settings)) is not None:
            return known
        fitted = fitted_prior.fit(subject, self.dataset, settings)
        fitted_prior.save(path, fitted, step, settings)
        return fitted

    @functools.cached_property
    def _known_of_data(self) -> dict[str, dict]:
        return collections.defaultdict(dict)

    def context(self, subject: Subject, split: str, settings: ConfigDict | None = None) -> Context:
        """A model on a split; what is computed of the split alone is computed once in a run."""
        settings = settings or self.config.eval
        known = self._known_of_data[f"{split} {settings}"]
        return Context(subject, self.dataset, split, settings, known)

    def find_alarms(self, row: Mapping[str, float]) -> list[Alarm]:
        """What figures warn of."""
        return find_alarms(families.definition(self.config.family).alarms, row)


def build(
    config: ConfigDict,
    num_devices: int = 1,
    arrays: Mapping[str, np.ndarray] | None = None,
    spec: DataSpec | None = None,
) -> Experiment:
    """Config -> data, family, optimisers, to train on so many devices or to evaluate on any.

    Args:
      config: of the run.
      num_devices: that share each batch.
      arrays: the data, where `config.data.name` is "arrays".
      spec: what an example is, where that is known: the data are read when they are asked for.

    Raises:
      UserError: for anything in the config that cannot run.
    """
    config_lib.check(config, num_devices)
    evaluation.check_names([*config.eval.validation_metrics, *config.eval.metrics])
    load = functools.cache(functools.partial(_load_dataset, config, arrays, spec))
    spec = spec or load().spec
    family = families.build(config.family, config.model, spec)
    fitted_prior.family(family, config.eval)  # refuses what has no latents
    networks = {name for turn in family.turns for name in turn}
    optimizers.check_sections(config.optim, networks)
    optimizer = {n: optimizers.make(config.optim, config.steps, n) for n in sorted(networks)}
    # Before anything is written: it refuses values that cannot differ.
    replicas.check(config, spec)
    replicas.apply(replicas.values(config), config, family, optimizer)
    return Experiment(config, spec, family, optimizer, load)


def _load_dataset(
    config: ConfigDict, arrays: Mapping[str, np.ndarray] | None, spec: DataSpec | None
) -> Dataset:
    dataset = sources.load(config.data, arrays)
    if spec is not None and dataset.spec != spec:
        raise UserError(
            f"the data of {config.data.name} are not those that this run was trained on: their "
            "shape, kind or classes differ; put those back, or train a new run"
        )
    return dataset


def train(
    config: ConfigDict, workdir: Path, arrays: Mapping[str, np.ndarray] | None = None
) -> bool:
    """Trains a run to its end, from wherever its workdir stands.

    Args:
      config: of the run.
      workdir: where it is.
      arrays: the data, where `config.data.name` is "arrays".

    Returns:
      False if the run had been finished before.

    Raises:
      UserError: for bad input, a damaged workdir, one that another process trains in, or a loss
        that is not finite.
      signals.Stopped: after SIGTERM or Ctrl-C, with the state saved.
    """
    experiment = build(config, parallel.num_devices(), arrays)
    names = config.eval.validation_metrics
    evaluation.check(experiment.family, experiment.dataset, names, "eval.validation_metrics")
    trackers.check(config.trackers)
    # The first process claims it for all of a run.
    claim = contextlib.nullcontext()
    if parallel.is_main():
        claim = claim_lib.claim(config, workdir, experiment.dataset)
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
    batches = experiment.batches
    data, values = parallel.replicated((batches.data, experiment.replica_values))
    train_steps = experiment.compile()

    # 3. The loop. The host sees numbers at log steps only; in between it is a dispatch ahead.
    tracked = trackers.start(config.trackers, workdir, config, step) if main else ()
    writer = MetricsWriter(workdir, step, tracked, enabled=main)
    agree = parallel.agreement()
    newest = dict(collections.ChainMap(*reversed(read_metrics(workdir))))  # for alarms
    title = f"{config.experiment or config.family} on {config.data.name}"
    window = Window(step, config.batch_size)
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
                    _show(experiment, parallel.local(state), newest, workdir, writer, progress)
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


def _show(
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
    check_finite(row, f"at step {step}")
    writer.write(step, row)
    progress.message(_validation_line(step, row))
    alarms = experiment.find_alarms(newest | row)
    writer.alarms(step, alarms)
    for alarm in alarms:
        progress.message(f"warning: {alarm}")
    picture = gallery.sample_picture(experiment.context(experiment.subject(state), "validation"))
    if picture is not None:
        pictures.save_png(workdir / "samples" / f"step_{step:08d}.png", picture)
        writer.image("samples", step, picture)
    if step == experiment.config.steps:
        # Of held-out data. The test split is left to `evaluate`. The last checkpoint comes after
        # them, so a run that has it lacks nothing.
        subject = experiment.trained_subject(state, workdir)
        gallery.write(experiment.context(subject, "validation"), workdir)


def validate(experiment: Experiment, state: State) -> dict[str, float]:
    """The config's validation metrics: the mean over replicas, and each replica's own."""
    settings, count = experiment.config.eval, experiment.config.num_replicas
    # As many samples as there are examples to compare them with: it is done often.
    few = min(settings.num_samples, len(experiment.dataset.splits["validation"]))
    settings = ConfigDict({**settings, "num_samples": few})
    state = jax.device_get(state)
    contexts = [
        experiment.context(experiment.subject(state, r), "validation", settings)
        for r in range(count)
    ]
    figures = [evaluation.evaluate(context, settings.validation_metrics) for context in contexts]
    values = {f"validation/{n}": np.array([f[n].value for f in figures]) for n in figures[0]}
    return with_replicas(values if count > 1 else {n: v[0] for n, v in values.items()})


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
    contexts = [
        experiment.context(experiment.trained_subject(state, workdir, r), "test") for r in chosen
    ]
    each = [evaluation.evaluate(context, names) for context in contexts]
    figures = each[0]
    values = {name: metric.value for name, metric in figures.items()}
    if len(each) > 1:
        figures = {name: Metric.over_seeds([f[name] for f in each]) for name in figures}
        values = {name: np.array(metric.each) for name, metric in figures.items()}
    alarms = experiment.find_alarms(with_replicas(values))
    result = {
        "step": int(state.step),
        "dataset": config.data.name,
        "split": "test",
        "metrics": evaluation.to_json(figures),
        "alarms": [alarm.to_json() for alarm in alarms],
    }
    if replica is not None and config.num_replicas > 1:
        result["replica"] = replica
    files.write_whole(workdir / "evaluation.json", json.dumps(result, indent=2))
    gallery.write(contexts[0], workdir)
    return figures


def restore(
    config: ConfigDict,
    workdir: Path,
    replica: int = 0,
    arrays: Mapping[str, np.ndarray] | None = None,
) -> tuple[Experiment, State]:
    """A trained run: its experiment and the newest sound checkpoint. Its data may be elsewhere.

    Raises:
      UserError: if there is no checkpoint yet, or no such replica.
    """
    if not 0 <= replica < config.num_replicas:
        raise UserError(f"no replica {replica}; this run has 0 to {config.num_replicas - 1}")
    data = claim_lib.read_data(workdir)
    experiment = build(config, arrays=arrays, spec=data and data.spec)
    state = Checkpoints(workdir / "checkpoints").restore(experiment.template(), report=print)
    if state is None:
        raise UserError(f"{workdir} has no checkpoint yet; train it first")
    return experiment, state


def _total_loss(row: dict[str, float]) -> float:
    return math.fsum(v for n, v in row.items() if n.startswith("loss/") and n.count("/") == 1)


def _validation_line(step: int, row: dict[str, float]) -> str:
    hidden = ("/replica_", "_floor")
    shown = [f"{n} {v:.4g}" for n, v in row.items() if not any(part in n for part in hidden)]
    return f"step {step:,}: " + ", ".join(shown)
