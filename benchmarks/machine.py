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


def memory_rate(size: int = 2**26) -> float:
    """Bytes a second of a float32 sum of two vectors in place, which reads two and writes one."""
    add = jax.jit(jnp.add, donate_argnums=0)  # new memory would cost the time of its pages
    total, b = jnp.zeros(size), jnp.ones(size)

    def run():
        nonlocal total
        total = add(total, b).block_until_ready()

    return 3 * b.nbytes / _best(run)


def matmul_rate(size: int = 2_048) -> float:
    """Floating-point operations a second of a float32 product of square matrices."""
    a = jnp.ones((size, size))
    product = jax.jit(lambda a: a @ a)
    return 2 * size**3 / _best(lambda: product(a).block_until_ready())
