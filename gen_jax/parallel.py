"""The only file that knows of devices: pmap, the split of a batch, means over devices.

State and resident data are one replicated array each and not a stack of copies: there is no
`replicate`, no `x[0]`, and checkpoints do not know how many devices wrote them.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "batch"


def setup() -> None:
    """Turns on the persistent compile cache; the environment's own setting wins."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "gen_jax" / "xla"
        jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def num_devices() -> int:
    """Devices over which a global batch is split, of all processes together."""
    return jax.device_count()


def is_main() -> bool:
    """Whether this process writes logs, pictures and messages."""
    return jax.process_index() == 0


def local_rows(batch_size: int) -> slice:
    """The part of a global batch that this process reads."""
    share = batch_size // jax.process_count()
    return slice(jax.process_index() * share, (jax.process_index() + 1) * share)


# Inside the compiled step


def global_index(local_batch: int) -> jax.Array:
    """Place of each local example in the global batch, int32 [local_batch]."""
    return jax.lax.axis_index(AXIS) * local_batch + jnp.arange(local_batch)


def mean(tree: Any) -> Any:
    """The mean over devices. What a step returns must have passed here: the compiled step
    returns one device's copy, and does not notice if the copies differ."""
    return jax.lax.pmean(tree, AXIS)


def gather(tree: Any) -> Any:
    """Local arrays [B / devices, ...] -> those of the global batch, [B, ...], in its order."""
    return jax.tree.map(lambda x: jax.lax.all_gather(x, AXIS, tiled=True), tree)


# Around it


def compile_train(step: Callable) -> Callable:
    """`step(state, data, seed, batch) -> (state, metrics)` over all devices.

    `batch` is split (see `split`), all else is replicated. The state that is passed in is
    given up: its memory is used for the state that comes out.
    """
    axes = (None, None, None, 0)
    return jax.pmap(step, axis_name=AXIS, in_axes=axes, out_axes=(None, None), donate_argnums=0)


def split(batch: Any, axis: int) -> Any:
    """Host arrays with the batch on `axis` -> a leading device axis, for `compile_train`."""
    devices = jax.local_device_count()

    def move(x: np.ndarray) -> np.ndarray:
        shape = (*x.shape[:axis], devices, x.shape[axis] // devices, *x.shape[axis + 1 :])
        return np.moveaxis(x.reshape(shape), axis, 0)

    return jax.tree.map(move, batch)


def replicated(tree: Any) -> Any:
    """Host arrays -> one array each, present on every device."""
    sharding = NamedSharding(Mesh(np.array(jax.devices()), (AXIS,)), PartitionSpec())
    return jax.tree.map(lambda x: jax.device_put(x, sharding), tree)


def compile_eval(function: Callable) -> Callable:
    """`function(params, batch) -> arrays [B, ...]` over this process's devices.

    The returned function takes and gives host arrays with any batch size: rows are added to
    fill the devices, and taken off the result.
    """
    devices = jax.local_device_count()
    mapped = jax.pmap(function, axis_name=AXIS, in_axes=(None, 0), devices=jax.local_devices())

    def call(params: Any, batch: dict[str, np.ndarray]) -> Any:
        size = len(jax.tree.leaves(batch)[0])
        fill = -size % devices
        full = jax.tree.map(lambda x: np.concatenate([x, x[:1].repeat(fill, 0)]), batch)
        out = jax.device_get(mapped(params, split(full, 0)))
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:size], out)

    return call
