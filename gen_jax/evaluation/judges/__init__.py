"""Judges: small classifiers that say how close samples are to the data they were trained on.

A judge is a `ConvClassifier`, and its file NAME.safetensors in this folder holds the parameters
(keys joined by "/") and how it came about. Figures are comparable under the same judge alone,
so a judge is known by its name and the hash of its file.
"""

import functools
import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import safetensors
from flax import traverse_util
from safetensors import numpy as safetensors_numpy

from gen_jax import keys as keys_lib
from gen_jax.data.batches import epoch_indices
from gen_jax.errors import UserError
from gen_jax.nn.classifier import ConvClassifier

FOLDER = Path(__file__).parent
METADATA = ("num_classes", "widths", "num_features", "accuracy", "command", "dataset")
# Of a judge that is made for data without one.
MAX_PICTURES, STEPS = 50_000, 2_000


class Judge(NamedTuple):
    """A classifier that was read from a file.

    Attributes:
      module: its architecture.
      params: its parameters.
      metadata: what the file says of it, see `METADATA`.
      hash: the first 8 hexadecimal digits of the file's SHA-256.
    """

    module: ConvClassifier
    params: dict
    metadata: dict[str, str]
    hash: str


def center(pictures: jax.Array) -> jax.Array:
    """Pictures uint8 -> float32 in [-1, 1], as judges read them."""
    return pictures / jnp.float32(255) * 2 - 1


def save(path: Path | str, params: dict, metadata: dict[str, str]) -> None:
    """Writes a judge; `metadata` has the keys of `METADATA`, with widths as "[32, 64, 64]"."""
    missing = [key for key in METADATA if key not in metadata]
    assert not missing, missing
    flat = traverse_util.flatten_dict(jax.device_get(params), sep="/")
    # safetensors writes the memory as it lies, so it must lie in order.
    tensors = {key: np.ascontiguousarray(leaf, np.float32) for key, leaf in flat.items()}
    safetensors_numpy.save_file(tensors, path, metadata)


def load(path_or_name: str) -> Judge:
    """The judge of that name, or the one in that file.

    Raises:
      UserError: if there is none, listing those there are, or if the file holds no judge.
    """
    own = FOLDER / f"{path_or_name}.safetensors"
    path = own if own.is_file() else Path(path_or_name)
    if not path.is_file():
        names = sorted(file.stem for file in FOLDER.glob("*.safetensors"))
        raise UserError(
            f"no judge {path_or_name!r}; set --config.eval.judge=auto to have one trained on these "
            f"data, or to the path of one, to inception or to one of: {', '.join(names) or 'none'}"
        )
    params, metadata, digest = read(path)
    missing = [key for key in METADATA if key not in metadata]
    if missing:
        raise UserError(f"{path} is no judge, it lacks {missing[0]}; write it by judges.save")
    module = ConvClassifier(
        num_classes=int(metadata["num_classes"]),
        widths=tuple(json.loads(metadata["widths"])),
        num_features=int(metadata["num_features"]),
    )
    return Judge(module, params, metadata, digest)


def make(path: Path, name: str, pictures: np.ndarray, labels: np.ndarray, num_classes: int) -> None:
    """Writes a judge of data that have none, and says so.

    With labels it is a classifier of them. Without, it is one as it was initialised: random
    features tell pictures apart too, if less sharply (Naeem et al. 2020, arXiv 2002.09797).

    Args:
      path: its file.
      name: of the data.
      pictures: uint8 [N, H, W, C], to train on.
      labels: [N].
      num_classes: 0 for data without labels.
    """
    module = ConvClassifier(max(num_classes, 1))
    steps = STEPS if num_classes > 1 else 0
    if steps:
        told = f"is trained on the labels of {len(pictures):,} pictures of {name}"
    else:
        told = f"has random weights, as {name} has no two classes to learn"
    print(f"eval.judge=auto: the judge {told}; kept in {path}", flush=True)
    params = fit(module, pictures, labels, steps) if steps else init(module, pictures)
    metadata = {
        "kind": "auto" if steps else "random",
        "dataset": name,
        "num_classes": str(module.num_classes),
        "widths": json.dumps(module.widths),
        "num_features": str(module.num_features),
        "accuracy": "unknown",
        "command": f"judges.make, {steps} steps",
    }
    whole = path.with_name(path.name + ".part")
    save(whole, params, metadata)
    whole.replace(path)


def read(path: Path) -> tuple[dict, dict[str, str], str]:
    """A safetensors file -> nested parameters, metadata, 8 hexadecimal digits of its SHA-256."""
    try:
        with safetensors.safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is no sound safetensors file ({reason}); fetch it anew") from None
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    return traverse_util.unflatten_dict(tensors, sep="/"), metadata, digest


def fit(
    module: ConvClassifier,
    pictures: np.ndarray,
    labels: np.ndarray,
    steps: int,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> dict:
    """Trains a classifier by Adam, with a cosine that falls to zero -> its parameters.

    Args:
      module: the classifier.
      pictures: uint8 [N, H, W, C].
      labels: [N].
      steps: number of updates.
      batch_size: pictures in each; they are drawn in shuffled epochs.
      learning_rate: at the start.
      seed: of the parameters and the order.
    """
    order = epoch_indices(seed, len(pictures), 0, steps * batch_size).reshape(steps, batch_size)
    key = keys_lib.stream(seed, "judge")
    return _fit(module, key, pictures, np.asarray(labels, np.int32), order, learning_rate)


def init(module: ConvClassifier, pictures: np.ndarray, seed: int = 0) -> dict:
    """The parameters before training."""
    key = keys_lib.stream(seed, "judge")
    return jax.jit(module.init)(key, center(pictures[:1]))["params"]


@functools.partial(jax.jit, static_argnums=0)
def _fit(module, key, pictures, labels, order, learning_rate):
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, len(order)))
    params = module.init(key, center(pictures[:1]))["params"]

    def step(carry, index):
        params, state = carry

        def loss(params):
            logits, _ = module.apply({"params": params}, center(pictures[index]))
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels[index])
            return losses.mean()

        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), order)
    return params
