"""What this machine can do at most."""

import time

import jax
import jax.numpy as jnp


def _best(run, rounds: int = 7) -> float:
    run()
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def matmul_rate(size: int = 2_048) -> float:
    """Floating-point operations a second of a float32 product of square matrices."""
    a = jnp.ones((size, size))
    product = jax.jit(lambda a: a @ a)
    return 2 * size**3 / _best(lambda: product(a).block_until_ready())
