"""How time and memory of a training step grow with the work, and the picture of it.

    python -m benchmarks.scaling                      all axes: results/scaling.json and the picture
    python -m benchmarks.scaling --axes=replicas

A row for each point, and one for the exponent of the power law fitted to an axis' points. Sizes
take turns, as contestants do, each in a process of its own. Memory is what XLA's compiled step
holds at once on a device, its arguments (state and resident data) included. The axis of devices
has one global batch; on a CPU they are virtual, and share its cores.
"""

import argparse
import dataclasses
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import jax
import numpy as np
from matplotlib.figure import Figure

from benchmarks import contest, training
from benchmarks import rows as rows_lib
from benchmarks.works import vae
from gen_jax.data.spec import DataSpec
from gen_jax.experiment import Experiment
from gen_jax.report import results

TABLE = results.ROOT / "results" / "scaling.json"
PICTURE = results.ROOT / "docs" / "pictures" / "scaling.png"
ROUNDS = 7
STEPS = 2  # of a dispatch
PROTOCOL = "Median over interleaved rounds ± half the distance of the quartiles."


@dataclasses.dataclass(frozen=True)
class Axis:
    """A size that grows.

    Attributes:
      work: what is trained.
      sizes: of the axis.
      build: size -> experiment.
      environment: size -> variables of the environment that it is measured in.
      largest: the largest size that this machine has.
    """

    work: str
    sizes: tuple[int, ...]
    build: Callable[[int], Experiment]
    environment: Callable[[int], dict[str, str]] = lambda size: {}
    largest: Callable[[], float] = lambda: math.inf


def _vae(image_size: int = 28, **changes) -> Experiment:
    spec = DataSpec("binary", (image_size, image_size, 1), levels=2)
    return training.build("vae", spec, steps_per_dispatch=STEPS, **changes)


def _conv(image_size: int = 28, batch_size: int = 64) -> Experiment:
    return _vae(image_size, batch_size=batch_size, **vae.CONV)


def _devices(count: int) -> dict[str, str]:
    return {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={count}",
        "NPROC": "32",  # with fewer threads than devices XLA's all-reduce waits for ever
        "CUDA_VISIBLE_DEVICES": ",".join(map(str, range(count))),
    }


def _most_devices() -> float:
    return math.inf if rows_lib.platform() == "cpu" else jax.device_count()


AXES = {
    "batch_size": Axis("vae_conv", (16, 32, 64, 128, 256), lambda n: _conv(batch_size=n)),
    "image_size": Axis("vae_conv", (28, 32, 64, 128), _conv),
    "depth": Axis(
        "vae_mlp", (1, 2, 4, 8, 16), lambda n: _vae(batch_size=128, model__hidden=(200,) * n)
    ),
    "importance_samples": Axis(
        "vae_mlp", (1, 5, 10, 20, 50), lambda n: _vae(batch_size=20, model__importance_samples=n)
    ),
    "replicas": Axis(
        "vae_mlp", (1, 2, 4, 8, 16, 32), lambda n: _vae(batch_size=128, num_replicas=n)
    ),
    "devices": Axis(
        "vae_conv", (1, 2, 4), lambda n: _conv(batch_size=256), _devices, _most_devices
    ),
}


def exponent(sizes: Sequence[float], values: np.ndarray) -> tuple[float, float]:
    """The slope of ln(value) in ln(size) by least squares, and its standard error."""
    x, y = np.log(sizes) - np.log(sizes).mean(), np.log(values) - np.log(values).mean()
    slope = (x @ y) / (x @ x)
    residual = y - slope * x
    freedom = max(len(x) - 2, 1)  # a line through two points leaves nothing
    return float(slope), float(np.sqrt(residual @ residual / freedom / (x @ x)))


def measure(name: str) -> list[dict]:
    """The rows of an axis."""
    axis, start = AXES[name], time.monotonic()
    sizes = [size for size in axis.sizes if size <= axis.largest()]
    points = {f"{name}={size}": axis.environment(size) for size in sizes}
    commands = {
        point: (("benchmarks.scaling", f"--serve={point}"), environment)
        for point, environment in points.items()
    }
    times = contest.compete(commands, starts=1, rounds=ROUNDS)
    timed = 1e3 / STEPS * np.array([times.median(point) for point in points])
    memory = np.array([_memory(point, environment) for point, environment in points.items()])
    row = f"{axis.work}:{rows_lib.platform()}:{name}"
    common = {
        "wall_clock_s": round(time.monotonic() - start),
        "command": f"python -m benchmarks.scaling --axes={name}",
    }
    made = []
    for size, milliseconds, megabytes in zip(sizes, timed, memory, strict=True):
        point = {**common, "row": f"{row}={size}"}
        step = {"metric": "step_milliseconds", "unit": "ms", "n": ROUNDS, "protocol": PROTOCOL}
        made.append(rows_lib.measured(*milliseconds, **point, **step))
        held = {"metric": "step_megabytes", "unit": "MiB", "n": 1}
        made.append(rows_lib.measured(megabytes, None, **point, **held))
    powers = (("time_exponent", timed[:, 0]), ("memory_exponent", memory))
    for metric, values in powers if len(sizes) > 1 else ():
        fit = {"row": row, "metric": metric, "unit": "power", "n": len(sizes)}
        made.append(rows_lib.measured(*exponent(sizes, values), **common, **fit))
    return made


def _memory(point: str, environment: dict[str, str]) -> float:
    """MiB that a step at a point holds on a device, as a process in that environment counts it."""
    command = [sys.executable, "-m", "benchmarks.scaling", f"--memory={point}"]
    output = subprocess.check_output(
        command, cwd=results.ROOT, env=os.environ | environment, text=True
    )
    return float(output.split()[-1])


def draw(rows: list[dict]) -> Figure:
    """Time and memory of a step against each size, with the fitted power."""
    points, powers = {}, {}
    for row in rows:
        name, _, size = row["row"].partition("=")
        if size:
            curve = points.setdefault(name, {}).setdefault(row["metric"], [])
            curve.append((int(size), row["value"]))
        else:
            powers[name, row["metric"]] = row["value"]
    figure = Figure((3.1 * len(points), 5.4), layout="constrained")
    metrics = {
        "step_milliseconds": ("time of a step (ms)", "time_exponent"),
        "step_megabytes": ("memory of a step (MiB)", "memory_exponent"),
    }
    grid = figure.subplots(len(metrics), len(points), squeeze=False, sharex="col")
    for axes_row, (metric, (label, power)) in zip(grid, metrics.items(), strict=True):
        for axes, (name, curves) in zip(axes_row, points.items(), strict=True):
            sizes, values = zip(*curves[metric], strict=True)
            axes.loglog(sizes, values, "o-", ms=4, lw=1.4, color="#2a6f97")
            axes.set_title(f"size to the {powers[name, power]:.2f}", fontsize=9, loc="left")
            axes.set_xticks(sizes, [str(size) for size in sizes])
            ends = sorted({values[0], values[-1]})
            axes.set_yticks(ends, [f"{end:.3g}" for end in ends])
            axes.minorticks_off()
            axes.tick_params(labelsize=8)
            axes.spines[["top", "right"]].set_visible(False)
        axes_row[0].set_ylabel(label, fontsize=9)
    for axes, name in zip(grid[-1], points, strict=True):
        work, _, size = name.split(":")
        axes.set_xlabel(f"{size.replace('_', ' ')} ({work})", fontsize=9)
    return figure


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling")
    parser.add_argument("--axes", default=",".join(AXES), help="names with commas; all by default")
    parser.add_argument("--serve", help=argparse.SUPPRESS)  # of the processes that are timed
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    flags = parser.parse_args(arguments)
    if point := flags.serve or flags.memory:
        name, _, size = point.partition("=")
        experiment = AXES[name].build(int(size))
        if flags.memory:
            print(training.cost(experiment).held / 2**20)
        else:
            contest.serve(training.runner(experiment))
        return 0
    names = flags.axes.split(",")
    if unknown := [name for name in names if name not in AXES]:
        print(f"no axis {unknown[0]!r}; there are: {', '.join(AXES)}", file=sys.stderr)
        return 1
    new = [row for name in names for row in measure(name)]
    rows_lib.show(new)
    rows_lib.write(TABLE, new)
    draw(results.read(TABLE)).savefig(PICTURE, dpi=110)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
