"""The only file that knows of devices: pmap, the split of a batch, means over devices.

State and resident data are one replicated array each and not a stack of copies: there is no
`replicate`, no `x[0]`, and checkpoints do not know how many devices wrote them. Of several
processes each feeds its own devices, and process 0 alone reads and writes the workdir.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gen_jax.errors import UserError

AXIS = "batch"


def setup() -> None:
    """Turns on the persistent compile cache; the environment's own setting wins."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        # Empty is the same as not set (XDG Base Directory Specification).
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gen_jax" / "xla"
        jax.config.update("jax_compilation_cache_dir", str(cache))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def check_devices() -> None:
    """Refuses an accelerator that is asked for and not there. After `processes.connect`.

    Raises:
      UserError: naming what JAX was told to use.
    """
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        asked = jax.config.jax_platforms or "an accelerator"
        said = " ".join(str(error).split())[:200]
        raise UserError(
            f"JAX has no device of {asked}, as JAX_PLATFORMS asks{': ' * bool(said)}{said}; set "
            "JAX_PLATFORMS=cpu, or install JAX for the accelerator, as pip install 'jax[cuda12]'"
        ) from None


def num_devices() -> int:
    """Devices over which a global batch is split, of all processes together."""
    return jax.device_count()


def is_main() -> bool:
    """Whether this process reads and writes the workdir and prints."""
    return jax.process_index() == 0


def local_rows(batch_size: int) -> slice:
    """The part of a global batch that this process reads."""
    share = batch_size // jax.process_count()
    return slice(jax.process_index() * share, (jax.process_index() + 1) * share)


# Several processes


def from_main(tree: Any) -> Any:
    """Process 0's arrays on every process; those that the others pass give the shapes."""
    if jax.process_count() == 1:
        return tree
    hosted = jax.tree.map(np.asarray, tree)
    # As bytes, since what is sent is a sum, and a sum of floats loses the sign of zero.
    sent = jax.tree.map(lambda x: np.frombuffer(x.tobytes(), np.uint8), hosted)
    came = multihost_utils.broadcast_one_to_all(sent)
    return jax.tree.map(lambda x, b: b.view(x.dtype).reshape(x.shape), hosted, came)


def agreement() -> Callable[[int], int]:
    """`agree(value)`: the largest value of all processes, the same for all at the same call.

    With several processes it is that of the call before, so that none waits for the devices.
    """
    if jax.process_count() == 1:
        return lambda value: value
    largest = jax.pmap(
        lambda x: jax.lax.pmax(x, AXIS), axis_name=AXIS, out_axes=None, devices=_devices()
    )
    asked = 0

    def agree(value: int) -> int:
        nonlocal asked
        before, asked = asked, largest(np.full(jax.local_device_count(), value, np.int32))
        return int(before)

    return agree


def _devices() -> list[jax.Device]:
    # By process, as `local_rows` are: on a TPU slice the ids of a host's devices can be scattered.
    return sorted(jax.devices(), key=lambda device: (device.process_index, device.id))


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
    return jax.pmap(
        step,
        axis_name=AXIS,
        in_axes=(None, None, None, 0),
        out_axes=(None, None),
        devices=_devices(),
        donate_argnums=0,
    )


def split(batch: Any, axis: int) -> Any:
    """Host arrays with the batch on `axis` -> a leading device axis, for `compile_train`."""
    devices = jax.local_device_count()

    def move(x: np.ndarray) -> np.ndarray:
        shape = (*x.shape[:axis], devices, x.shape[axis] // devices, *x.shape[axis + 1 :])
        return np.moveaxis(x.reshape(shape), axis, 0)

    return jax.tree.map(move, batch)


def replicated(tree: Any, local: bool = False) -> Any:
    """Arrays of this process -> one array each, present on every device.

    Args:
      tree: the same on all processes.
      local: for `compile_eval`, on this process's devices alone.
    """
    devices = jax.local_devices() if local else _devices()
    sharding = NamedSharding(Mesh(np.array(devices), (AXIS,)), PartitionSpec())

    def place(x):
        # Unlike `device_put`, it does not send everything to the others to compare.
        return jax.make_array_from_callback(np.shape(x), sharding, lambda _: x)

    return jax.tree.map(place, tree)


def local(tree: Any) -> Any:
    """Replicated arrays -> this process's copy, for what one process does alone."""
    return jax.tree.map(lambda x: x.addressable_data(0), tree)


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
