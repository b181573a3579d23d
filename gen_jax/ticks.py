"""How far a long computation is, told from within it to whoever shows it.

It has parts, which the host begins one after another (`parts`), and a part may have many steps, of
which the devices tell (`scan`, `tick`).
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

# Steps of what takes long enough to tell how far it is. A program that tells is compiled anew by
# each process.
LONG = 100

_listeners: list[Callable[[float], None]] = []
_parts: list[tuple[int, int]] = []  # which part is computed, of how many; then of that part


@contextlib.contextmanager
def shown_by(listener: Callable[[float], None]) -> Iterator[None]:
    """Within it `listener(share)` is told how much is done, from 0 to 1."""
    _listeners.append(listener)
    try:
        yield
    finally:
        jax.effects_barrier()  # what is still on its way
        _listeners.remove(listener)


def parts(count: int) -> Iterator[int]:
    """0 to `count` - 1; tells at each that all before it are done. A part may have parts."""
    if not _listeners:  # nothing to keep, and no reason for the host to wait for the devices
        yield from range(count)
        return
    depth = len(_parts)
    try:
        for number in range(count):
            _parts[depth:] = [(number, count)]
            if number:
                _tell(0, 1)
            yield number
            jax.effects_barrier()
    finally:
        jax.effects_barrier()
        del _parts[depth:]


def tick(number: jax.Array, total: int, times: int = 50) -> None:
    """Within a compiled loop: step `number` of `total` begins. It tells about `times` of them."""
    every = max(1, total // times)
    jax.lax.cond(
        number % every == 0,
        lambda: jax.debug.callback(_tell, number, total),
        lambda: None,
    )


def scan(
    step: Callable, start: Any, inputs: Any = None, length: int | None = None, before: int = 0
) -> Any:
    """`jax.lax.scan`, which tells how far it is where it has `LONG` steps or more.

    Args:
      step: as of `jax.lax.scan`, as are the others.
      start: the first carry.
      inputs: arrays [length, ...].
      length: of them, if there are none.
      before: steps that were taken before it, of one and the same work.
    """
    if length is None:
        length = len(jax.tree.leaves(inputs)[0])
    total = before + length
    if total < LONG:
        return jax.lax.scan(step, start, inputs, length)

    def told(carry, numbered):
        number, given = numbered
        tick(number, total)
        return step(carry, given)

    return jax.lax.scan(told, start, (jnp.arange(before, total), inputs))


def _tell(number, total) -> None:
    share = int(number) / int(total)
    for part, count in reversed(_parts):
        share = (part + share) / count
    for listener in _listeners:
        listener(share)
