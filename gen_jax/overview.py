"""What there is: `gen-jax list`, and what a run would be: `train --dry-run`."""

import inspect
import time

import jax
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from gen_jax import config as config_lib
from gen_jax import evaluation, experiment, families, parallel, settings
from gen_jax.data import sources
from gen_jax.experiment import Experiment
from gen_jax.report import results

TIMED_STEPS = 50


def print_list(which: str | None) -> None:
    """Everything that can be named, or the config keys of one experiment.

    Args:
      which: an experiment, FILE.py[:ARGUMENT], or None.
    """
    console = Console(highlight=False, markup=False)
    if which:
        _print_keys(console, which)
        return
    table = _table("experiment", "what it is")
    for path in config_lib.own_experiments():
        module = config_lib.load_module(str(path))
        function = getattr(module, "get_config", None)
        if function is not None:
            variants = ", ".join(getattr(function, "variants", ()))
            also = f" Variants: {variants}." if variants else ""
            table.add_row(f"experiments/{path.name}", _first_line(module) + also)
    console.print(table)
    table = _table("family", "what it is")
    for name in families.names():
        table.add_row(name, _first_line(inspect.getmodule(families.definition(name).build)))
    console.print(table)
    table = _table("metric", "what it is")
    for name, definition in evaluation.metrics().items():
        table.add_row(name, _first_line(definition.compute))
    console.print(table)
    table = _table("dataset", "what it is")
    for name, meaning in sources.NAMES.items():
        table.add_row(name, meaning)
    console.print(table)
    table = _table("table", "rows")
    for path in sorted((results.ROOT / "results").glob("*.json")):
        rows = dict.fromkeys(row["row"] for row in results.read(path))
        table.add_row(path.stem, ", ".join(rows))
    console.print(table)
    console.print(
        "gen-jax list experiments/FILE.py shows the config keys of one; "
        "gen-jax reproduce --table=TABLE what its rows cost."
    )


def _print_keys(console: Console, which: str) -> None:
    config = config_lib.load_file(which)
    values, keys = config_lib.flatten(config), settings.flat(config_lib.sections(config.family))
    table = _table("key", "value", "what it does")
    for key, setting in keys.items():
        if key in ("experiment", "overrides"):
            continue
        value = config
        for part in key.split("."):
            value = value[part]
        meaning = setting.meaning
        if setting.choices:
            meaning += f" ({', '.join(setting.choices)})"
        mark = "" if value == setting.default else "*"
        table.add_row(f"{key}{mark}", str(value), meaning)
    for key in sorted(values.keys() - keys.keys()):  # settings of one network
        table.add_row(f"{key}*", str(values[key]), "of this network alone")
    console.print(table)
    console.print(f"* set by {which}. Change any by --config.KEY=VALUE, as --config.optim.lr=3e-4.")


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(columns[0], no_wrap=True)
    for column in columns[1:-1]:
        table.add_column(column, overflow="fold")
    table.add_column(columns[-1], overflow="fold", ratio=1)
    return table


def _first_line(thing) -> str:
    text = inspect.getdoc(thing) or ""
    return " ".join(text.split("\n\n")[0].split())


def print_dry_run(config) -> None:
    """What a run of this config is, would hold and would take; nothing is written.

    Raises:
      UserError: for whatever the run itself would be refused for.
    """
    console = Console(highlight=False, markup=False)
    built = experiment.build(config, parallel.num_devices())
    evaluation.check(
        built.family, built.dataset, config.eval, config.eval.validation_metrics, "eval.metrics"
    )
    default = config_lib.flatten(config_lib.default_config(config.family))
    own = {k: v for k, v in config_lib.flatten(config).items() if default.get(k) != v}
    table = _table("key", "value", "default")
    for key, value in own.items():
        if key not in ("experiment", "overrides", "family"):
            table.add_row(key, str(value), str(default.get(key, "")))
    console.print(f"{config.experiment or config.family}: {config.family}, {config.steps:,} steps")
    console.print(table)

    spec, splits = built.spec, built.dataset.splits
    sizes = ", ".join(f"{len(examples):,} {name}" for name, examples in splits.items())
    console.print(f"data: {config.data.name}, {spec.kind} of shape {list(spec.shape)}, {sizes}")
    batch = {name: list(x.shape) for name, x in spec.template(config.batch_size).items()}
    console.print(f"batch: {', '.join(f'{name} {shape}' for name, shape in batch.items())}")
    template = built.template()
    counts = built.parameter_counts()
    console.print(f"parameters: {', '.join(f'{name} {n:,}' for name, n in counts.items())}")
    state = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(template))
    resident = sum(np.asarray(x).nbytes for x in built.batches.data.values())
    where = "on each device" if resident else "read from the host"
    console.print(
        f"memory: state {state / 2**20:,.1f} MiB, training set "
        f"{splits['train'].nbytes / 2**20:,.1f} MiB {where}"
    )
    compiled, seconds = _time_steps(built)
    total = seconds * config.steps
    console.print(
        f"time: {compiled:.0f} s to compile, {1000 * seconds:.3g} ms a step (of {TIMED_STEPS} "
        f"timed), so about {_duration(total)} of training, validations not counted"
    )


def _time_steps(built: Experiment) -> tuple[float, float]:
    """Seconds to compile, and of one step."""
    state, batches = parallel.replicated(built.init()), built.batches
    data, values = parallel.replicated((batches.data, built.replica_values))
    inner = built.config.steps_per_dispatch
    dispatches = 1 + -(-TIMED_STEPS // inner)
    train_steps, marks = built.compile(), [time.perf_counter()]
    for batch in batches.dispatches(0, inner * dispatches):
        state, metrics = train_steps(state, data, values, parallel.split(batch, built.batch_axis))
        jax.block_until_ready(metrics)
        marks.append(time.perf_counter())
    seconds = float(np.median(np.diff(marks[1:]))) / inner
    return marks[1] - marks[0] - seconds * inner, seconds


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"
