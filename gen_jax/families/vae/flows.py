"""Inverse autoregressive flows: a posterior that is more than a diagonal Gaussian."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from gen_jax.nn.masked import MaskedDense, masks


class InverseAutoregressiveFlow(nn.Module):
    """Steps z <- sigma z + (1 - sigma) m, where m_i and sigma_i depend on z before i.

    Kingma et al. 2016 (arXiv 1606.04934), algorithm 1 with equations 13 and 14; every other step
    goes through the dimensions in reverse.

    Attributes:
      num_steps: number of such steps.
      hidden: widths of each step's network.
      dtype: of its arithmetic; the flow itself is float32.
    """

    num_steps: int
    hidden: tuple[int, ...]
    dtype: str

    @nn.compact
    def __call__(self, z: jax.Array, context: jax.Array) -> tuple[jax.Array, jax.Array]:
        """z [..., B, L] and context [B, D] -> what becomes of z, and ln |det dz'/dz| [..., B]."""
        log_det = jnp.zeros(z.shape[:-1])
        *inner, last = masks(z.shape[-1], self.hidden)
        last = np.tile(last, 2)
        for _ in range(self.num_steps):
            h = z
            for index, mask in enumerate(inner):
                h = MaskedDense(mask.shape[1], self.dtype)(h, mask)
                if index == 0:
                    h += nn.Dense(h.shape[-1], use_bias=False, dtype=self.dtype)(context)
                h = nn.elu(h)
            both = MaskedDense(last.shape[1], self.dtype)(h, last)
            m, s = jnp.split(both.astype(jnp.float32), 2, -1)
            s += 2.0  # at first a step changes little
            sigma = nn.sigmoid(s)
            z = (sigma * z + (1 - sigma) * m)[..., ::-1]
            log_det += nn.log_sigmoid(s).sum(-1)
        return z, log_det
