"""A trained model, as evaluators, pictures and notebooks see it."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax import families
from gen_jax import keys as keys_lib
from gen_jax.data.spec import DataSpec
from gen_jax.families.base import Autoencoder, Batch, Family, Posterior, Sampler


@dataclasses.dataclass(frozen=True)
class Subject:
    """A trained model under evaluation. Its abilities are compiled once and refused if missing.

    Attributes:
      family: the model family.
      spec: the data that it was trained on.
      params: {network: tree}, moving averages where there are any.
      extra: mutable collections of the family.
    """

    family: Family
    spec: DataSpec
    params: dict
    extra: dict

    def sample(
        self,
        num: int,
        label: np.ndarray | None = None,
        seed: int = 0,
        temperature: float = 1.0,
    ) -> np.ndarray:
        """Samples [num, *shape] in model units.

        Without `label` [num] a class-conditional model goes round its classes.
        """
        family = families.require(self.family, Sampler, "sample")
        if label is None:
            label = np.arange(num) % max(family.num_classes, 1)
        key = keys_lib.stream(seed, "sample")
        model = (self.params, self.extra)
        return np.asarray(_sample(family, num, *model, key, jnp.asarray(label), temperature))

    def encode(self, batch: Batch) -> Posterior:
        """q(z|x) of a batch: mean and log variance [B, latent_dim]."""
        family = families.require(self.family, Autoencoder, "encode")
        return _encode(family, self.params, self.extra, batch)

    def decode(self, z: jax.Array, label: jax.Array | None = None) -> jax.Array:
        """Latents [N, latent_dim] -> mean of p(x|z) [N, *shape] in model units."""
        family = families.require(self.family, Autoencoder, "decode")
        return _decode(family, self.params, self.extra, z, label)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _sample(family, num, params, extra, key, label, temperature):
    return family.sample(params, extra, key, num, label, temperature)


@functools.partial(jax.jit, static_argnums=0)
def _encode(family, params, extra, batch):
    return family.encode(params, extra, batch)


@functools.partial(jax.jit, static_argnums=0)
def _decode(family, params, extra, z, label):
    return family.decode(params, extra, z, label)
