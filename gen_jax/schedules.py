"""Values that change with the step of a run."""

import jax
import jax.numpy as jnp


def cosine(start: float, final: float, num_steps: int, step: jax.typing.ArrayLike) -> jax.Array:
    """From `start` at step 0 to `final` at `num_steps` along half a cosine, and `final` after.

    The burn-in of R3GAN (Huang et al. 2024, arXiv 2501.05441, appendix D) and, with `final` 0,
    the schedule of Loshchilov and Hutter 2017 (arXiv 1608.03983, equation 5, one cycle).
    """
    part = jnp.clip(step / max(num_steps, 1), 0, 1)
    return final + (start - final) * (1 + jnp.cos(jnp.pi * part)) / 2


def warmup(final: float, num_steps: int, step: jax.typing.ArrayLike) -> jax.Array:
    """Up to `final` in `num_steps` equal parts, the first of them at step 0; 0 steps: at once.

    For the weight of the rate: Sønderby et al. 2016 (arXiv 1602.02282, section 2.3).
    """
    return final * jnp.minimum(1.0, (step + 1) / max(num_steps, 1))
