"""gen_jax: generative models in JAX and Flax, trained by one loop, measured by one evaluator."""

from pathlib import Path
from typing import TYPE_CHECKING

from gen_jax.errors import UserError

if TYPE_CHECKING:
    from gen_jax.run import Run

__all__ = ["UserError", "load"]


def load(workdir: str | Path, replica: int = 0) -> "Run":
    """A trained run: `run.sample(16)`, `run.log_prob(x)`, `run.encode(x)`; see `gen_jax.run`."""
    from gen_jax import run  # so that `import gen_jax` is quick

    return run.load(workdir, replica)
