"""What training has made lately, kept in the state of a run."""

from typing import TypeVar

import jax
import jax.numpy as jnp

from gen_jax import parallel

Tree = TypeVar("Tree")


def remembered(pool: Tree, made: jax.Array, new: Tree) -> tuple[Tree, jax.Array]:
    """The pool with what all devices have made in the place of the oldest, and how many were made.

    Args:
      pool: arrays [P, ...].
      made: how many there were before.
      new: arrays [B, ...] of each device.
    """
    size = len(jax.tree.leaves(pool)[0])
    new = jax.lax.stop_gradient(parallel.gather(new))
    count = min(len(jax.tree.leaves(new)[0]), size)
    places = (made + jnp.arange(count)) % size
    pool = jax.tree.map(lambda old, own: old.at[places].set(own[:count]), pool, new)
    return pool, made + count
