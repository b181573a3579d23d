"""What generated examples are worth to a classifier with few labels; writes
results/augmentation.json.

    python -m benchmarks.augmentation
    python -m benchmarks.augmentation --labels=50 --repeats=2

Of MNIST's training images each repeat has so many of each class, drawn anew. A class-conditional
VAE is trained on those alone, and its samples are added to them, as many as `GENERATED` says; the
same number of plain transformations, small shifts, turns and changes of size, are what they have
to be better than. All classifiers of a repeat begin alike and are trained for as many steps, on
batches in which real and added examples have the same share. A gain is one where the mean of the
differences within repeats exceeds two of its standard errors.
"""

import argparse
import functools
import sys
import time
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import rows as rows_lib
from gen_jax import config as config_lib
from gen_jax import families, parallel
from gen_jax import keys as keys_lib
from gen_jax.data import sources
from gen_jax.data.examples import all_rows
from gen_jax.data.spec import DataSpec
from gen_jax.families.base import Family
from gen_jax.report import results

TABLE = results.ROOT / "results" / "augmentation.json"
LABELS, REPEATS = (50, 100, 500), 20
GENERATED = 500  # samples of each class
STEPS = {"vae": 600, "classifier": 400}
BATCH = {"vae": 100, "classifier": 64}
KINDS = ("real", "transformed", "generated", "both")


def read(preprocess: str) -> tuple[DataSpec, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """MNIST: what an example is, the training and the test examples as they are stored."""
    data = config_lib.default_config("vae").data
    data.name, data.preprocess = "mnist", preprocess
    data.num_validation = 1  # Nothing here is chosen by validation examples.
    dataset = sources.load(data)
    return dataset.spec, *(all_rows(dataset.splits[split]) for split in ("train", "test"))


def build(name: str, spec: DataSpec) -> Family:
    """The models of this benchmark, small enough for seconds."""
    model = families.default_model(name)
    if name == "vae":
        # Without a prior for each label the latents say what the label should.
        model.update(hidden=(400,), latent_dim=8, conditional=True, prior="label")
    else:
        model.update(widths=(16, 32, 32), num_features=64, augmentations=())
    return families.build(name, model, spec)


@functools.partial(jax.jit, static_argnums=(0, 1))
def train(family: Family, name: str, data: Mapping[str, jax.Array], seed: jax.Array):
    """Parameters after training on examples x [M, H, W, C] and label [M], as they are stored."""
    key = jax.random.key(seed)
    steps, turn = STEPS[name], family.turns[0]
    optimizer = optax.adam(optax.cosine_decay_schedule(2e-3, steps))

    def batch(step):
        own = jax.random.fold_in(key, step)
        row = jax.random.randint(own, (BATCH[name],), 0, len(data["x"]))
        each = keys_lib.per_example(own, jnp.arange(BATCH[name]))
        given = family.spec.batch({k: v[row] for k, v in data.items()}, keys_lib.named(each, "x"))
        return given, each

    params, extra = family.init(jax.random.fold_in(key, 2**30), batch(0)[0])

    def step(carry, number):
        params, state = carry
        given, each = batch(number)

        def loss(params):
            return sum(family.losses(turn, params, extra, given, each, number)[0].values())

        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return (optax.apply_updates(params, updates), state), None

    start = params, optimizer.init(params)
    return jax.lax.scan(step, start, jnp.arange(steps))[0][0], extra


@functools.partial(jax.jit, static_argnums=0)
def generate(vae: Family, params, extra, label: jax.Array, seed: jax.Array) -> jax.Array:
    """Means of p(x|z, label) at z ~ p(z|label), uint8 [N, H, W, C]."""
    keys = keys_lib.per_example(jax.random.key(seed), jnp.arange(len(label)))
    x = vae.sample(params, extra, keys, {"label": label}, {"temperature": 1.0})
    return jnp.round(255 * jnp.clip(x, 0, 1)).astype(jnp.uint8)


@jax.jit
def transform(x: jax.Array, seed: jax.Array) -> jax.Array:
    """Shifts by up to two pixels, turns by up to ten degrees, sizes of .9 to 1.1."""
    height, width = x.shape[1:3]

    def one(key, image):
        amounts = jax.random.uniform(key, (4,), minval=-1, maxval=1)
        angle, size = jnp.deg2rad(10 * amounts[0]), 1 + 0.1 * amounts[1]
        turn = jnp.array([[jnp.cos(angle), -jnp.sin(angle)], [jnp.sin(angle), jnp.cos(angle)]])
        middle = jnp.array([height - 1, width - 1])[:, None, None] / 2
        place = jnp.stack(jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij"))
        place = jnp.einsum("ij,jhw->ihw", turn / size, place - middle) + middle
        place += 2 * amounts[2:, None, None]
        moved = jax.scipy.ndimage.map_coordinates(image[..., 0], place, 1)
        return moved[..., None]

    keys = jax.random.split(jax.random.key(seed), len(x))
    return jnp.round(jax.vmap(one)(keys, jnp.float32(x))).astype(jnp.uint8)


@functools.partial(jax.jit, static_argnums=0)
def _right(classifier: Family, params, extra, x: jax.Array, label: jax.Array) -> jax.Array:
    logits = classifier.classify(params, extra, classifier.spec.batch({"x": x}, None))
    return (logits.argmax(-1) == label).mean()


def accuracy(classifier: Family, params, extra, test: Mapping[str, np.ndarray]) -> float:
    """Of all test examples."""
    parts = [
        _right(classifier, params, extra, test["x"][i : i + 1_000], test["label"][i : i + 1_000])
        for i in range(0, len(test["x"]), 1_000)
    ]
    return float(np.mean(parts))


def repeat(number: int, labels: int) -> dict[str, float]:
    """Accuracies of classifiers that differ in what is added to the same real examples."""
    spec, train_set, test = _read("bytes")
    classifier, vae = build("classifier", spec), build("vae", _read("dynamic_binarization")[0])
    rng = np.random.default_rng((number, labels))
    classes = np.arange(spec.num_classes)
    rows = [np.flatnonzero(train_set["label"] == c) for c in classes]
    rows = np.concatenate([rng.choice(own, labels, replace=False) for own in rows])
    real = {"x": train_set["x"][rows], "label": train_set["label"][rows]}

    params, extra = train(vae, "vae", real, number)
    label = np.repeat(classes, GENERATED).astype(np.int32)
    samples = {"x": np.asarray(generate(vae, params, extra, label, number)), "label": label}
    again = rng.integers(0, len(rows), len(label))
    copies = {name: values[again] for name, values in real.items()}
    moved = {**copies, "x": np.asarray(transform(copies["x"], number))}
    parts = {
        "real": (real,),
        "transformed": (real, moved),
        "generated": (real, samples),
        "both": (real, moved, samples),
    }
    found = {}
    # Of one size, so that all are one program; each part has the same share of the examples.
    total = 6 * len(label)
    for kind in KINDS:
        share = total // len(parts[kind])
        data = {
            name: np.concatenate(
                [np.resize(part[name], (share, *part[name].shape[1:])) for part in parts[kind]]
            )
            for name in ("x", "label")
        }
        found[kind] = accuracy(classifier, *train(classifier, "classifier", data, number), test)
    return found


_read = functools.lru_cache(read)


def rows_of(labels: int, found: list[dict[str, float]], seconds: float) -> list[dict]:
    """Mean accuracies, and gains over the real examples alone and over plain transformations."""
    values = {kind: np.array([one[kind] for one in found]) for kind in KINDS}
    figures = {(kind, "accuracy"): values[kind] for kind in KINDS}
    figures |= {(kind, "gain"): values[kind] - values["real"] for kind in KINDS[1:]}
    figures["both", "gain_over_transformed"] = values["both"] - values["transformed"]
    return [
        rows_lib.measured(
            float(each.mean()),
            float(each.std(ddof=1) / len(each) ** 0.5),
            row=f"{kind}_{labels}",
            metric=metric,
            unit="fraction",
            n=len(each),
            seeds=list(range(len(each))),
            protocol=f"MNIST, {labels} labelled training images of each class, and {GENERATED} "
            "others of each; 10,000 test images; the mean over repeats with images of their own. "
            "A gain is a difference within repeats.",
            deviation="a convolutional classifier of 400 steps and a VAE of dense layers",
            wall_clock_s=round(seconds),
            command="python -m benchmarks.augmentation",
        )
        for (kind, metric), each in figures.items()
    ]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.augmentation")
    parser.add_argument("--labels", default=",".join(map(str, LABELS)), help="of each class")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="fewer: a try")
    flags = parser.parse_args(arguments)
    sizes = [part for part in flags.labels.split(",") if part]
    if not sizes or set(sizes) - set(map(str, LABELS)) or flags.repeats < 2:
        print(f"error: --labels takes {', '.join(map(str, LABELS))}, --repeats at least 2")
        return 1
    parallel.setup()
    for size in map(int, sizes):
        start, found = time.monotonic(), []
        for number in range(flags.repeats):
            found.append(repeat(number, size))
            print(f"{size} labels, repeat {number}: {found[-1]}", flush=True)
        rows = rows_of(size, found, time.monotonic() - start)
        rows_lib.show(rows)
        if flags.repeats == REPEATS:
            rows_lib.write(TABLE, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
