"""How far a long computation on the devices is, told from within it to whoever shows it."""

import contextlib
from collections.abc import Callable, Iterator

import jax

_listeners: list[Callable[[int, int], None]] = []


@contextlib.contextmanager
def shown_by(listener: Callable[[int, int], None]) -> Iterator[None]:
    """Within it `listener(done, total)` is told."""
    _listeners.append(listener)
    try:
        yield
    finally:
        jax.effects_barrier()  # what is still on its way
        _listeners.remove(listener)


def tick(number: jax.Array, total: int, times: int = 50) -> None:
    """Within a compiled loop: step `number` of `total` begins. It tells about `times` of them."""
    every = max(1, total // times)
    jax.lax.cond(
        number % every == 0,
        lambda: jax.debug.callback(_tell, number, total),
        lambda: None,
    )


def _tell(number, total) -> None:
    for listener in _listeners:
        listener(int(number), int(total))
