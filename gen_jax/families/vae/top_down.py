"""A VAE's networks where each layer of latents is drawn given x and the layer above."""

import itertools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from gen_jax import keys as keys_lib
from gen_jax.families.requirements import Requirement, not_empty, only
from gen_jax.families.vae.networks import (
    LOG_VARIANCE,
    NETWORKS,
    DenseLayer,
    GaussianNetwork,
    VAENetwork,
)
from gen_jax.likelihoods import DiagonalGaussian

_TOP_DOWN = {"top_down": only(True)}

REQUIREMENTS = (
    Requirement(_TOP_DOWN, {"upper_latent_dims": not_empty((40,))}, "there is nothing above z1"),
    Requirement(_TOP_DOWN, {"network": only("mlp")}, "it is of dense layers"),
    Requirement(_TOP_DOWN, {"flow_steps": only(0)}, "a flow is of z1 given x alone"),
    Requirement(_TOP_DOWN, {"autoencoder": only(False)}, "one has one layer of latents"),
)


class TopDownNetwork(VAENetwork):
    """q(z|x) = q(zD|x) ... q(z1|x, z2), and p(x|z) is of all layers.

    Tomczak and Welling 2018 (arXiv 1705.07120), equations 12 to 15, for any number of layers. The
    latents of an example are those of all layers, from the data up, in one vector: what `encode`,
    `decode` and `sample_prior` have as z.
    """

    def setup(self):
        encoder, decoder = NETWORKS["mlp"]
        style = {"activation": self.activation, "dtype": self.dtype}
        bounded = style | {"log_variance": self.log_variance or LOG_VARIANCE}
        *lower, width = self.hidden
        *sizes, top = self.latent_dims
        self.encoder = encoder(hidden=self.hidden, **style)
        self.top_gaussian = GaussianNetwork(top, (), **bounded)
        self.readers = [encoder(hidden=tuple(lower), **style) for _ in sizes]
        self.links = [DenseLayer(width, **style) for _ in sizes]
        self.posteriors = [GaussianNetwork(size, (width,), **bounded) for size in sizes]
        self.downward = [
            GaussianNetwork(size, hidden[::-1], **bounded)
            for size, (_, hidden) in zip(sizes, self.upper, strict=True)
        ]
        self.parts = [DenseLayer(width, **style) for _ in self.latent_dims]
        self.decoder = decoder(
            shape=self.spec.shape, num_params=self.num_params, hidden=tuple(lower), **style
        )
        self.top = self._prior()

    @property
    def code_size(self) -> int:
        return sum(self.latent_dims)

    @nn.nowrap
    def code(self, latents: Sequence[jax.Array]) -> jax.Array:
        return jnp.concatenate(latents, -1)

    def encode(self, x: jax.Array, label: jax.Array) -> DiagonalGaussian:
        """Of every layer, where those above it have their means: [B, code_size]."""
        found = [self._top_posterior(x, label)]
        for index in reversed(range(len(self.posteriors))):
            found.insert(0, self._posterior(index, x, label, found[0].mean))
        return DiagonalGaussian(*(self.code(part) for part in zip(*found, strict=True)))

    def sample_posterior(self, x: jax.Array, label: jax.Array, noise: list) -> list[jax.Array]:
        *noise, last = noise
        latents = [self._top_posterior(x, label).from_noise(last)]
        for index in reversed(range(len(self.posteriors))):
            posterior = self._posterior(index, x, label, latents[0])
            latents.insert(0, posterior.from_noise(noise[index]))
        return latents

    def transform(
        self, x: jax.Array, label: jax.Array, latents: Sequence[jax.Array]
    ) -> tuple[Sequence[jax.Array], jax.Array]:
        return latents, jnp.zeros(latents[0].shape[:-1])

    def log_posterior(
        self, x: jax.Array, label: jax.Array, latents: Sequence[jax.Array]
    ) -> jax.Array:
        terms = [
            self._posterior(index, x, label, above).log_prob(z)
            for index, (z, above) in enumerate(itertools.pairwise(latents))
        ]
        top = self._top_posterior(x, label)
        return jnp.stack([*terms, top.log_prob(latents[-1])])

    def sample_prior(
        self, keys: jax.Array, label: jax.Array, temperature: jax.typing.ArrayLike
    ) -> jax.Array:
        latents = [self._sample_top(keys_lib.named(keys, "top"), label, temperature)]
        for index in reversed(range(len(self.downward))):
            latents.insert(0, self._sample_below(index, keys, latents[0], temperature))
        return self.code(latents)

    def decode(self, z: jax.Array, label: jax.Array) -> jax.Array:
        ends = list(itertools.accumulate(self.latent_dims))[:-1]
        layers = zip(self.parts, jnp.split(z, ends, -1), strict=True)
        return self._decode([part(own) for part, own in layers], label)

    def _posterior(self, index: int, x: jax.Array, label: jax.Array, above: jax.Array):
        """q(z|x, z above) of a layer below the topmost."""
        features = self.readers[index](self.spec.center(x), self._one_hot(label))
        link = self.links[index](above)
        features = jnp.broadcast_to(features, (*link.shape[:-1], features.shape[-1]))
        return self.posteriors[index](jnp.concatenate([features, link], -1))

    def _top_posterior(self, x: jax.Array, label: jax.Array) -> DiagonalGaussian:
        return self.top_gaussian(self._features(x, label))
