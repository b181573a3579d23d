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
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gen_jax import config as config_lib
from gen_jax import evaluation, families, files, parallel, pictures
from gen_jax.applications import gallery
from gen_jax.data import sources
from gen_jax.data.batches import TrainBatches
from gen_jax.data.examples import fingerprint
from gen_jax.data.sources import Dataset
from gen_jax.data.spec import Batch, DataSpec
from gen_jax.errors import UserError, as_line, first
from gen_jax.evaluation import Context, Metric, Subject, fitted_prior, latent_prior, outliers
from gen_jax.families.alarms import Alarm, find_alarms
from gen_jax.families.base import Family, Student
from gen_jax.training import optimizers, replicas, signals
from gen_jax.training import step as step_lib
from gen_jax.training.best import Best
from gen_jax.training.checkpoints import Checkpoints
from gen_jax.training.optimizers import Optimizer
from gen_jax.training.profile import Profile
from gen_jax.training.state import State
from gen_jax.training.window import Window, with_replicas
from gen_jax.workdir import claim as claim_lib
from gen_jax.workdir import provenance, trackers
from gen_jax.workdir.console import Progress
from gen_jax.workdir.logs import MetricsWriter, read_metrics

# What `vmap` over replicas maps: all of the state but its step, which they share.
REPLICAS = State(step=None, params=0, opt_state=0, ema=0, extra=0)

# What processes agree on beside signals, which have smaller numbers.
OUT_OF_PATIENCE = 1_000


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A config, built: everything about a run that does not change while it trains.

    Attributes:
      config: of the run.
      spec: what an example is.
      family: the model.
      optimizer: of each network.
      load_dataset: reads the data, for what needs them.
      workdir: where what is made for the run is kept, None: nowhere.
    """

    config: ConfigDict
    spec: DataSpec
    family: Family
    optimizer: dict[str, Optimizer]
    load_dataset: Callable[[], Dataset]
    workdir: Path | None = None

    def __repr__(self) -> str:
        config = self.config
        return f"<Experiment: {config.experiment or config.family} on {config.data.name}>"

    @functools.cached_property
    def dataset(self) -> Dataset:
        """The data, which are read when they are asked for."""
        return self.load_dataset()

    @functools.cached_property
    def replica_values(self) -> replicas.Values:
        """What differs between replicas, with a leading axis [R] if there are several."""
        values = replicas.values(self.config)
        return values if self.config.num_replicas > 1 else replicas.of_replica(values, 0)

    @functools.cached_property
    def _init(self) -> Callable:
        """It is traced once, for the shapes and for the values."""
        init = step_lib.make_init(self.family, self.optimizer)
        if self.config.num_replicas > 1:
            init = jax.vmap(init, in_axes=(0, None), out_axes=REPLICAS)
        return jax.jit(init)

    @property
    def _init_examples(self) -> int:
        return families.definition(self.config.family).init_examples(self.config.model)

    def init(self) -> State:
        """The state before the first step."""
        index = np.arange(min(len(self.dataset.splits["train"]), self._init_examples))
        batch = self.dataset.batch("train", index)
        return self._init(self.replica_values["seed"], batch)

    def template(self) -> State:
        """The shapes of a state, without its values. It needs no data."""
        batch = self.spec.template(self._init_examples)
        return jax.eval_shape(self._init, self.replica_values["seed"], batch)

    def parameter_counts(self) -> dict[str, int]:
        """Of each network; of one replica."""
        return {
            name: sum(leaf.size for leaf in jax.tree.leaves(tree)) // self.config.num_replicas
            for name, tree in self.template().params.items()
        }

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
        # By way of the host they belong to no mesh, as those of a checkpoint: then what is compiled
        # while a run is trained is there when it is evaluated.
        model = jax.device_get((state.eval_params, state.extra))
        if self.config.num_replicas > 1:
            model = jax.tree.map(lambda x: x[replica], model)
        params, extra = jax.tree.map(jnp.asarray, model)
        return Subject(self.family, self.spec, params, extra, self.config.sample.to_dict())

    def trained_subject(self, state: State, replica: int = 0) -> Subject:
        """The same after training: with a prior of its latents if the config asks for one.

        It is another run, or one that is fitted; what was fitted is kept in the workdir.

        Raises:
          UserError: if both are asked for, or the other run is not of these latents.
        """
        subject, settings, step = self.subject(state, replica), self.config.eval, int(state.step)
        if settings.latent_prior:
            if settings.fitted_components:
                raise UserError("eval.latent_prior and eval.fitted_components: choose one of them")
            folder = claim_lib.folder(settings.latent_prior)
            other, trained = restore(claim_lib.read_config(folder), folder)
            return latent_prior.attach(subject, other.trained_subject(trained))
        if not settings.fitted_components:
            return subject
        path = self.workdir and self.workdir / f"fitted_prior_{replica}.npz"
        if path and (known := fitted_prior.load(path, subject, step, settings)) is not None:
            return known
        fitted = fitted_prior.fit(subject, self.dataset, settings)
        if path:
            fitted_prior.save(path, fitted, step, settings)
        return fitted

    @functools.cached_property
    def _known_of_data(self) -> dict[str, dict]:
        return collections.defaultdict(dict)

    def context(self, subject: Subject, split: str, settings: ConfigDict | None = None) -> Context:
        """A model on a split; what is computed of the split alone is computed once in a run."""
        settings = settings or self.config.eval
        known = self._known_of_data[f"{split} {settings}"]
        return Context(subject, self.dataset, split, settings, self.workdir, known)

    def find_alarms(self, row: Mapping[str, float]) -> list[Alarm]:
        """What figures warn of."""
        return find_alarms(families.definition(self.config.family).alarms, row)


def build(
    config: ConfigDict,
    num_devices: int = 1,
    arrays: Mapping[str, np.ndarray] | None = None,
    spec: DataSpec | None = None,
    check_data: Callable[[Dataset], None] = lambda dataset: None,
    workdir: Path | None = None,
) -> Experiment:
    """Config -> data, family, optimisers, to train on so many devices or to evaluate on any.

    Args:
      config: of the run.
      num_devices: that share each batch.
      arrays: the data, where `config.data.name` is "arrays".
      spec: what an example is, where that is known: the data are read when they are asked for.
      check_data: refuses the data when they have been read.
      workdir: where what is made for the run is kept, None: nowhere.

    Raises:
      UserError: for anything in the config that cannot run.
    """
    config_lib.check(config, num_devices)
    evaluation.check_names([*config.eval.validation_metrics, *config.eval.metrics])

    @functools.cache
    def load() -> Dataset:
        dataset = sources.load(config.data, arrays)
        check_data(dataset)
        return dataset

    spec = spec or load().spec
    family = families.build(config.family, config.model, spec)
    fitted_prior.family(family, config.eval)  # refuses what has no latents
    networks = {name for turn in family.turns for name in turn}
    optimizers.check_sections(config.optim, networks)
    undecayed = families.definition(config.family).undecayed
    optimizer = {
        name: optimizers.make(config.optim, config.steps, name, undecayed)
        for name in sorted(networks)
    }
    # Before anything is written: it refuses values that cannot differ.
    replicas.check(config, spec)
    replicas.apply(replicas.values(config), config, family, optimizer)
    return Experiment(config, spec, family, optimizer, load, workdir)


def train(
    config: ConfigDict,
    workdir: Path,
    arrays: Mapping[str, np.ndarray] | None = None,
    data_changed: bool = False,
    profile: int = 0,
) -> bool:
    """Trains a run to its end, from wherever its workdir stands.

    Args:
      config: of the run.
      workdir: where it is.
      arrays: the data, where `config.data.name` is "arrays".
      data_changed: whether they may be others of the same form than it was started with.
      profile: so many steps are traced into the workdir's folder `profile`.

    Returns:
      False if the run had been finished before.

    Raises:
      UserError: for bad input, a damaged workdir, one that another process trains in, or a loss
        that is not finite.
      signals.Stopped: after SIGTERM or Ctrl-C, with the state saved.
    """
    experiment = build(config, parallel.num_devices(), arrays, workdir=workdir)
    evaluation.check(
        experiment.family,
        experiment.dataset,
        config.eval,
        config.eval.validation_metrics,
        "eval.validation_metrics",
    )
    trackers.check(config.trackers)
    # The first process claims it for all of a run.
    claim = contextlib.nullcontext()
    if parallel.is_main():
        claim = claim_lib.claim(config, workdir, experiment.dataset, data_changed)
    with claim:
        return _train(experiment, workdir, profile)


def _train(experiment: Experiment, workdir: Path, profiled_steps: int) -> bool:
    config, main = experiment.config, parallel.is_main()
    checkpoints = Checkpoints(workdir / "checkpoints", config.keep_checkpoints)
    best_checkpoint = Checkpoints(workdir / "best", keep=1)

    # 1. The state: from the newest sound checkpoint, else from the seed.
    state = None
    if main:
        state = checkpoints.restore(experiment.template(), report=print)
        for each in (checkpoints, best_checkpoint):
            each.drop_after(int(state.step) if state else 0)
    state = parallel.from_main(state or _start(experiment))
    step = int(state.step)
    rows = [row for row in read_metrics(workdir) if row["step"] <= step] if main else []
    # Without its checkpoint what was best is forgotten.
    known = rows if best_checkpoint.steps() or not config.keep_best else []
    best = Best(config.keep_best, evaluation.lower_is_better(config.keep_best), known)
    finished = step >= config.steps or best.is_over(config.patience)
    finished = bool(parallel.from_main(np.int32(finished)))
    # A run that was ended between its checkpoint and the validation after it has that before it.
    due = step > 0 and (step % config.eval_every == 0 or step >= config.steps)
    missed = main and due and not _has_validation(rows, step)
    undrawn = main and finished and not (workdir / "samples" / gallery.INDEX).exists()
    if finished and not (missed or undrawn):
        return False
    if main:
        provenance.start(
            workdir,
            "train",
            experiment=config.experiment,
            overrides=list(config.overrides),
            from_step=step,
            parameters=experiment.parameter_counts(),
            data=fingerprint(experiment.dataset.splits),
        )
    state = parallel.replicated(state)

    # 2. What the compiled steps read: the whole training set on the devices, or a stream.
    batches = experiment.batches
    data, values = parallel.replicated((batches.data, experiment.replica_values))
    train_steps = experiment.compile()

    # 3. The loop. The host sees numbers at log steps only; in between it is a dispatch ahead.
    tracked = trackers.start(config.trackers, workdir, config, step) if main else ()
    writer = MetricsWriter(workdir, step, tracked, enabled=main)
    agree = parallel.agreement()
    newest = dict(collections.ChainMap(*reversed(rows)))  # for alarms
    title = f"{config.experiment or config.family} on {config.data.name}"
    window = Window(step, config.batch_size, checkpoints.beside(step) if main else None)
    progress = Progress(config.steps, step, title, enabled=main)
    profile = Profile(workdir / "profile", profiled_steps if main else 0)

    def validate_and_show() -> None:
        local = parallel.local(state)
        row = _show(experiment, local, newest, workdir, writer, progress)
        if config.keep_best and f"validation/{config.keep_best}" not in row:
            there = ", ".join(name.removeprefix("validation/") for name in row)
            progress.message(f"warning: no keep_best={config.keep_best}; there are: {there}")
        if best.add(step, row):
            best_checkpoint.save(local)

    def draw_all() -> None:
        _draw_all(experiment, parallel.local(state), workdir, progress)

    with signals.catch() as stop, checkpoints, best_checkpoint, writer, progress:
        if missed:
            validate_and_show()
            window.resume()
        if finished:
            if main:
                draw_all()
            return False
        for batch in batches.dispatches(step, config.steps):
            profile.before()
            state, metrics = train_steps(
                state, data, values, parallel.split(batch, experiment.batch_axis)
            )
            step += config.steps_per_dispatch
            if traced := profile.after(config.steps_per_dispatch, metrics):
                progress.message(traced)
            window.add(metrics)
            last = step == config.steps
            if step % config.log_every == 0 or last:
                row = window.close(step)
                newest |= row
                writer.write(step, row)
                progress.update(step, _total_loss(row), row["examples_per_second"])
            # Saved first: whatever goes wrong in a validation costs no training.
            over = main and best.is_over(config.patience)
            requested = agree(stop.requested or OUT_OF_PATIENCE * over)
            if step % config.checkpoint_every == 0 or last or requested:
                window.check(step)
                if main:
                    checkpoints.save(state, window.state())
                window.resume()
            if requested == OUT_OF_PATIENCE:
                progress.message(
                    f"{config.keep_best} was best at step {best.step:,} and no better in "
                    f"{best.since} validations: the run ends at step {step:,}"
                )
                last = True
            elif requested and not last:
                checkpoints.wait()
                raise signals.Stopped(requested, step)
            if step % config.eval_every == 0 or step == config.steps:
                window.check(step)
                if main:
                    validate_and_show()
                window.resume()
            if last:
                profile.close()
                if main:
                    draw_all()
                break
    return True


def _start(experiment: Experiment) -> State:
    """The state before the first step, with another run's networks if the config names one.

    Raises:
      UserError: if there is no such run, or its networks are not those of this one.
    """
    state, source = experiment.init(), experiment.config.init_from
    if not source:
        return state
    folder = claim_lib.folder(source)
    other, trained = restore(claim_lib.read_config(folder), folder)
    given, replicas_of = other.subject(trained), experiment.config.num_replicas
    found = {"params": given.params, "extra": given.extra}
    if families.has(experiment.family, Student) and type(experiment.family) is not type(
        given.family
    ):
        found = dict(zip(found, experiment.family.student_of(*found.values()), strict=True))
    own = {"params": state.params, "extra": state.extra}
    if replicas_of > 1:  # each starts from the same
        found = jax.tree.map(lambda x: np.broadcast_to(x, (replicas_of, *np.shape(x))), found)
    _check_alike(own, found, source)
    # Copies, as a step gives its state's memory away.
    found = jax.tree.map(jnp.array, found)
    ema = {network: jax.tree.map(jnp.array, found["params"][network]) for network in state.ema}
    return state.replace(params=found["params"], extra=found["extra"], ema=ema)


def _check_alike(own: Mapping, found: Mapping, source: str) -> None:
    """Refuses another run's arrays that are not of this model's shapes.

    Raises:
      UserError: naming those that differ, at most five.
    """
    shapes = [
        {
            jax.tree_util.keystr(path, simple=True, separator="/"): np.shape(leaf)
            for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
        }
        for tree in (own, found)
    ]
    differ = []
    for name in sorted(shapes[0].keys() | shapes[1].keys()):
        here, there = (
            "not there" if name not in each else str(list(each[name])) for each in shapes
        )
        if here != there:
            differ.append(f"{name}: {there} -> {here}")
    if differ:
        raise UserError(
            f"init_from={source} has other networks than this run: choose a run of the same model",
            *first(differ, 5),
        )


def _has_validation(rows: list[dict], step: int) -> bool:
    names = [name for row in rows if row["step"] == step for name in row]
    return any(name.startswith("validation/") for name in names)


def _show(
    experiment: Experiment,
    state: State,
    newest: dict[str, float],
    workdir: Path,
    writer: MetricsWriter,
    progress: Progress,
) -> dict[str, float]:
    """Validation figures, which are returned, alarms and a picture of a state.

    What cannot be measured or drawn is told in a line and left out.
    """
    step = int(state.step)

    def warn(what: str, error: Exception) -> None:
        progress.message(f"warning: no {what} at step {step:,}: {as_line(error)}")

    row, failed, alarms = validate(experiment, state)
    for name, error in failed.items():
        warn(name, error)
    writer.write(step, row)
    progress.message(_validation_line(step, row))
    alarms = experiment.find_alarms(newest | row) + alarms
    writer.alarms(step, alarms)
    for alarm in alarms:
        progress.message(f"warning: {alarm}")
    try:
        context = experiment.context(experiment.subject(state), "validation")
        picture = gallery.sample_picture(context)
    except Exception as error:
        warn("picture of samples", error)
        picture = None
    if picture is not None:
        pictures.save_png(workdir / "samples" / f"step_{step:08d}.png", picture)
        writer.image("samples", step, picture)
    return row


def _draw_all(experiment: Experiment, state: State, workdir: Path, progress: Progress) -> None:
    """All pictures of a trained run, of held-out data. The test split is left to `evaluate`."""
    try:
        subject = experiment.trained_subject(state)
    except Exception as error:
        progress.message(f"warning: no fitted prior: {as_line(error)}")
        subject = experiment.subject(state)
    context = experiment.context(subject, "validation")
    gallery.write(context, workdir, int(state.step), progress.message)


def validate(
    experiment: Experiment, state: State
) -> tuple[dict[str, float], dict[str, Exception], list[Alarm]]:
    """The config's validation metrics: the mean over replicas, and each replica's own.

    Besides, why there are none of some, by the name of the metric or of a figure that is not
    finite; and which of them a few outliers move.
    """
    settings, count = experiment.config.eval, experiment.config.num_replicas
    # As many samples as there are examples to compare them with: it is done often.
    few = min(settings.num_samples, len(experiment.dataset.splits["validation"]))
    settings = ConfigDict({**settings, "num_samples": few})
    state = jax.device_get(state)  # once for all replicas
    contexts = [
        experiment.context(experiment.subject(state, r), "validation", settings)
        for r in range(count)
    ]
    measured = [evaluation.measure(context, settings.validation_metrics) for context in contexts]
    figures, failed = zip(*measured, strict=True)
    failed = dict(collections.ChainMap(*failed))
    values = {}
    for name in {n: None for each in figures for n in each}:
        value = np.array([each[name].value if name in each else np.nan for each in figures])
        if np.isfinite(value).all():
            values[f"validation/{name}"] = value if count > 1 else value[0]
        elif all(name in each for each in figures):
            failed[name] = UserError("it is not finite")
    moved = outliers.alarms(
        [{n: (f.value, f.without_outliers) for n, f in each.items()} for each in figures]
    )
    return with_replicas(values), failed, moved


def evaluate(
    config: ConfigDict,
    workdir: Path,
    names: tuple[str, ...],
    replica: int | None = None,
    data_changed: bool = False,
    step: int | str | None = None,
) -> dict[str, Metric]:
    """Measures a run on the test split and writes `evaluation.json` and test pictures.

    Pictures are drawn with the config's own metrics. Others are measured alone: a diffusion draws
    for minutes. Without `replica` all of a run's replicas are measured: a figure is then their
    mean.
    """
    experiment, state = restore(config, workdir, replica or 0, data_changed=data_changed, step=step)
    family = fitted_prior.family(experiment.family, config.eval)
    evaluation.check(family, experiment.dataset, config.eval, names)
    chosen = range(config.num_replicas) if replica is None else [replica]
    contexts = [experiment.context(experiment.trained_subject(state, r), "test") for r in chosen]
    measured = [evaluation.measure(context, names) for context in contexts]
    failed = dict(collections.ChainMap(*(failed for _, failed in measured)))
    each = [figures for figures, _ in measured]
    figures = {name: each[0][name] for name in each[0] if all(name in own for own in each)}
    if failed and not figures:
        raise next(iter(failed.values()))
    if len(each) > 1:
        seeds = replicas.values(config)["seed"][list(chosen)]
        figures = {name: Metric.over_seeds([f[name] for f in each], seeds) for name in figures}
    what = {"step": int(state.step), "dataset": config.data.name, "split": "test"}
    if replica is not None and config.num_replicas > 1:
        what["replica"] = replica
    merged = _known_figures(workdir, what) | evaluation.to_json(figures)
    values = {name: np.array(row.get("each") or row["value"]) for name, row in merged.items()}
    alarms = experiment.find_alarms(with_replicas(values)) + outliers.alarms(
        [{name: (row["value"], row.get("without_outliers")) for name, row in merged.items()}]
    )
    result = what | {"metrics": merged, "alarms": [alarm.to_json() for alarm in alarms]}
    files.write_whole(workdir / "evaluation.json", json.dumps(result, indent=2))
    provenance.start(workdir, "evaluate", metrics=list(names), step=int(state.step))
    if tuple(names) == tuple(config.eval.metrics):
        gallery.write(contexts[0], workdir, int(state.step))
    for error in failed.values():  # when what could be measured is written
        raise error
    return figures


def _known_figures(workdir: Path, what: Mapping) -> dict[str, dict]:
    """Those that `evaluation.json` has of the same step, split and replica: they stay."""
    try:
        known = files.read_json(workdir / "evaluation.json")
        if {key: value for key, value in known.items() if key not in ("metrics", "alarms")} != what:
            return {}
        figures = dict(known["metrics"])
        for row in figures.values():
            float(row["value"]), list(row.get("each", ()))
            float(row.get("without_outliers", 0))
        return figures
    except (ValueError, TypeError, KeyError, AttributeError):  # none yet, or damaged
        return {}


def restore(
    config: ConfigDict,
    workdir: Path,
    replica: int = 0,
    arrays: Mapping[str, np.ndarray] | None = None,
    data_changed: bool = False,
    step: int | str | None = None,
) -> tuple[Experiment, State]:
    """A trained run: its experiment and a checkpoint.

    `step` is one that a checkpoint was kept of, or "best" (`config.keep_best`); the newest sound
    one if it is left out.

    Its data are read, and compared with those that it was trained on, when they are asked for.

    Raises:
      UserError: if there is no such checkpoint yet, or no such replica.
    """
    if not 0 <= replica < config.num_replicas:
        raise UserError(f"no replica {replica}; this run has 0 to {config.num_replicas - 1}")
    data = claim_lib.read_data(workdir)

    def check_data(dataset: Dataset) -> None:
        if data is not None:
            claim_lib.check_data(data, dataset, workdir, data_changed)

    spec = data and data.spec
    experiment = build(config, arrays=arrays, spec=spec, check_data=check_data, workdir=workdir)
    state = _find_checkpoint(workdir, step).restore(experiment.template(), print, step)
    if state is None:
        if not claim_lib.is_free(workdir):
            raise UserError(
                f"{workdir} has no checkpoint yet; the process that trains there writes the first "
                f"at step {min(config.checkpoint_every, config.steps):,}"
            )
        raise UserError(f"{workdir} has no checkpoint yet; train it first")
    return experiment, state


def _find_checkpoint(workdir: Path, step: int | str | None) -> Checkpoints:
    """Those that hold the step; the run's newest ones for None."""
    newest, best = Checkpoints(workdir / "checkpoints"), Checkpoints(workdir / "best")
    if step is None or step in newest.steps():
        return newest
    if step == "best" and best.steps():
        return best
    if step in best.steps():
        return best
    if step == "best":
        raise UserError(
            f"{workdir} has no best checkpoint: it is kept from the next validation on with "
            "--config.keep_best=FIGURE in training"
        )
    there = ", ".join(map(str, sorted({*newest.steps(), *best.steps()}))) or "none"
    raise UserError(f"{workdir} has no checkpoint of step {step}; those that it has: {there}")


def _total_loss(row: dict[str, float]) -> float:
    return math.fsum(v for n, v in row.items() if n.startswith("loss/") and n.count("/") == 1)


def _validation_line(step: int, row: dict[str, float]) -> str:
    hidden = ("/replica_", "_floor")
    shown = [f"{n} {v:.4g}" for n, v in row.items() if not any(part in n for part in hidden)]
    return f"step {step:,}: " + ", ".join(shown)
