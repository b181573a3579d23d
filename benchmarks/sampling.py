"""How long a sample takes by each decoding, against its length; writes results/sampling_speed.json.

    python -m benchmarks.sampling              all
    python -m benchmarks.sampling --models=made_mnist

Networks have the sizes of their experiments and random parameters: what is timed does not depend
on what was learned, but for the calls of Jacobi's decoding, which a trained run gives:

    python -m benchmarks.sampling --models=made_mnist --workdir=runs/made_mnist
"""

import argparse
import statistics
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

import gen_jax
from benchmarks import rows as rows_lib
from gen_jax import config as config_lib
from gen_jax import families, parallel
from gen_jax import keys as keys_lib
from gen_jax.data.spec import DataSpec
from gen_jax.report import charts, results

TABLE = results.ROOT / "results" / "sampling_speed.json"
PICTURE = results.ROOT / "docs" / "pictures" / "sampling_speed.png"
ROUNDS = 3
_IMAGES = DataSpec("binary", (28, 28, 1), 2, num_classes=10)
_SYMBOLS = tuple(map(chr, range(65)))
# Experiment, what its data are, samples at once, and the lengths at which it is timed.
MODELS = {
    "made_mnist": (_IMAGES, 16, (784,)),
    "pixelcnn_mnist": (_IMAGES, 16, (784,)),
    "pixel_transformer_mnist": (_IMAGES, 16, (784,)),
    "char_transformer:small": (
        DataSpec("tokens", (129,), vocabulary=_SYMBOLS, medium="text"),
        4,
        (256, 1_024),
    ),
    "wavenet_fsdd": (
        DataSpec("bytes", (3_072,), 256, num_classes=10, medium="sound", rate=8_000.0),
        1,
        (8_000, 32_000),
    ),
}
# By the whole network, an element takes as long as one call: so many calls as there are elements.


def build(name: str, spec: DataSpec):
    """The family of an experiment with the parameters before training, and options of sampling."""
    file, argument = config_lib.split_argument(name)
    config = config_lib.load_file(f"experiments/{file}.py{':' * bool(argument)}{argument}")
    family = families.build("autoregressive", config.model, spec)
    dtype = jnp.int32 if spec.kind == "tokens" else jnp.float32
    batch = {"x": jnp.zeros((1, *spec.shape), dtype), "label": jnp.zeros(1, jnp.int32)}
    params, _ = jax.jit(family.init)(jax.random.key(0), batch)
    return family, params, config.sample.to_dict()


def measure(family, params, options, num: int, length: int, decoding: str) -> tuple[float, int]:
    """The median time of `num` samples at once, and how often the network was asked."""
    model = family.of_length(length) if family.spec.medium else family
    keys = keys_lib.per_example(keys_lib.stream(0, "x"), jnp.arange(num))
    condition = {"label": jnp.arange(num) % max(family.spec.num_classes, 1)}
    options = {**options, "decoding": decoding, "length": 0}
    if decoding == "sequential":
        x = model.spec.prepare(np.zeros((num, *model.spec.shape), np.uint8), keys)
        ask = jax.jit(lambda params, x: model.element_log_probs(params, {}, {"x": x, **condition}))
        return length * _median(lambda: ask(params, x)), length
    draw = jax.jit(lambda params, keys: model.sample(params, {}, keys, condition, options))
    calls = length
    if decoding == "jacobi":
        count = jax.jit(lambda params, k: model.network_calls(params, k, condition, options))
        calls = int(count(params, keys))
    return _median(lambda: draw(params, keys)), calls


def _median(run) -> float:
    jax.block_until_ready(run())
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def rows_of(name: str, workdir: str | None) -> list[dict]:
    """The rows of a model: samples a second by its fastest decoding, and what it gains."""
    spec, num, lengths = MODELS[name]
    if workdir:
        subject = gen_jax.load(workdir).subject
        family, params, options = subject.family, subject.params, dict(subject.options)
    else:
        family, params, options = build(name, spec)
    found = []
    for length in lengths:
        start, times, calls = time.monotonic(), {}, {}
        for decoding in (
            ("cached",) * family.is_cached + ("jacobi",) * bool(workdir) + ("sequential",)
        ):
            taken = measure(family, params, options, num, length, decoding)
            times[decoding], calls[decoding] = taken
            print(f"{name}, {length:,} elements, {decoding}: {taken[0]:.3g} s, {taken[1]:,} calls")
        common = {
            "row": f"{name}@{length}:{rows_lib.platform()}",
            "n": num,
            "wall_clock_s": round(time.monotonic() - start),
            "command": f"python -m benchmarks.sampling --models={name}"
            + (f" --workdir=runs/{name}" if workdir else ""),
            "protocol": f"{num} samples at once, medians of {ROUNDS}. By the whole network an "
            "element takes one call, which is timed.",
        }
        slow = times.pop("sequential")
        for decoding, taken in times.items():
            metric = {"metric": f"samples_per_second_{decoding}", "unit": "samples/s"}
            found.append(rows_lib.measured(num / taken, None, **common, **metric))
            metric = {"metric": f"speedup_{decoding}", "unit": "times as fast as one by one"}
            found.append(rows_lib.measured(slow / taken, None, **common, **metric))
            if decoding == "jacobi":
                metric = {"metric": "calls_jacobi", "unit": f"calls of {length}"}
                found.append(rows_lib.measured(calls[decoding], None, **common, **metric))
    return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sampling")
    parser.add_argument("--models", default=",".join(MODELS), help="names with commas")
    parser.add_argument("--workdir", help="a trained run of the one model that is named")
    flags = parser.parse_args(arguments)
    parallel.setup()
    names = [name for name in flags.models.split(",") if name]
    unknown = [name for name in names if name not in MODELS]
    if unknown or (flags.workdir and len(names) != 1):
        print(f"error: --models takes {', '.join(MODELS)}; one of them with --workdir")
        return 1
    for name in names:
        new = rows_of(name, flags.workdir)
        rows_lib.write(TABLE, new)
        rows_lib.show(new)
    draw(results.read(TABLE))
    return 0


def draw(rows: list[dict]) -> None:
    """The picture of the table: seconds a sample against its length."""
    lines: dict[str, list[tuple[int, float]]] = {}
    by_row: dict[str, dict[str, float]] = {}
    for row in rows:
        by_row.setdefault(row["row"], {})[row["metric"]] = row["value"]
    for name, values in by_row.items():
        model, _, rest = name.partition("@")
        length = int(rest.partition(":")[0])
        for decoding in ("cached", "jacobi"):
            if rate := values.get(f"samples_per_second_{decoding}"):
                lines.setdefault(f"{model}, {decoding}", []).append((length, 1 / rate))
                slow = values[f"speedup_{decoding}"] / rate
                lines.setdefault(f"{model}, one by one", []).append((length, slow))
    PICTURE.write_bytes(charts.times(lines))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
