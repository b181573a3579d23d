"""The very deep VAE as a family: objective, sampling, and what evaluators ask of it."""

import dataclasses

import jax
import jax.numpy as jnp

from gen_jax import keys as keys_lib
from gen_jax import likelihoods, schedules
from gen_jax.data.spec import Batch, DataSpec
from gen_jax.families.base import Extra, LogWeights, Params
from gen_jax.families.vdvae.networks import Inference, VDVAENetwork
from gen_jax.likelihoods import DiagonalGaussian


@dataclasses.dataclass(frozen=True)
class VDVAE:
    """log p(x) >= E_q[log p(x|z)] - sum_l E_q[KL(q(z_l|x, z_<l) || p(z_l|z_<l))].

    Child 2021 (arXiv 2011.10650), with the KL of each layer in closed form given the
    layers above. The rate is weighted by beta (Higgins et al. 2017, equation 4) and may be warmed
    up (Sønderby et al. 2016, arXiv 1602.02282, section 2.3).

    Attributes:
      spec: the data.
      network: both paths.
      likelihood: p(x|z).
      beta: weight of the rate.
      beta_warmup_steps: it rises linearly from 0 over so many steps; 0: at once.
    """

    spec: DataSpec
    network: VDVAENetwork
    likelihood: likelihoods.Likelihood
    beta: float
    beta_warmup_steps: int

    turns = (("vdvae",),)
    given = ()

    @property
    def latent_dim(self) -> int:
        return self.network.latent_dim

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Extra]:
        return {"vdvae": self.network.init(key, batch["x"])["params"]}, {}

    def losses(self, turn, params, extra, batch, keys, step):
        """Distortion + beta * rate in nats an example; `rate/layer_1` is next to the data."""
        beta = schedules.warmup(self.beta, self.beta_warmup_steps, step)
        terms = self._infer(params, batch, self._noise(keys_lib.named(keys, "posterior")))
        distortion = -self.likelihood.log_prob(terms.outputs, batch["x"]).mean()
        rates = terms.kl.mean(1)
        rate = rates.sum()
        metrics = {"elbo": -(distortion + rate), "rate": rate, "distortion": distortion}
        metrics |= {f"rate/layer_{number}": each for number, each in enumerate(rates, 1)}
        return {"vdvae": distortion + beta * rate}, extra, metrics

    def sample(self, params, extra, keys, condition, options):
        """Decoded draws of the prior; the temperature multiplies all its standard deviations.

        What is returned is the mean of p(x|z), as is the custom.
        """
        outputs = self._apply("generate", params, self._noise(keys), options["temperature"])
        return self.likelihood.mean(outputs)

    def log_weights(self, params, extra, batch, keys, num_samples) -> LogWeights:
        each = jax.vmap(lambda index: keys_lib.fold(keys, index))(jnp.arange(num_samples))
        terms = self._infer(params, batch, self._noise(each.reshape(-1)))
        outputs = terms.outputs.reshape(num_samples, -1, *terms.outputs.shape[1:])
        log_likelihood = self.likelihood.log_prob(outputs, batch["x"])
        return LogWeights(log_likelihood, terms.log_ratios.reshape(-1, *log_likelihood.shape))

    def encode(self, params: Params, extra: Extra, batch: Batch) -> DiagonalGaussian:
        """q(z_l|x, z_<l) of all layers, from the top down, each given the means of those above."""
        noise = jnp.zeros((len(batch["x"]), self.latent_dim))
        return self._infer(params, batch, noise).posterior

    def sample_posterior(self, params, extra, batch, keys):
        """One draw of all layers, from the top down, each given the draws of those above."""
        noise = self._noise(keys)
        return self._infer(params, batch, noise).posterior.from_noise(noise)

    def decode(self, params, extra, z, condition):
        return self.likelihood.mean(self._apply("decode", params, z))

    def _infer(self, params: Params, batch: Batch, noise: jax.Array) -> Inference:
        """Noise [K * B, latent_dim], the batch K times over; the path up is gone once."""
        repeats = len(noise) // len(batch["x"])
        activations = self._apply("bottom_up", params, batch["x"])
        tiled = [jnp.tile(each, (repeats, 1, 1, 1)) for each in activations]
        return self._apply("infer", params, tiled, noise)

    def _noise(self, keys: jax.Array) -> jax.Array:
        return keys_lib.normal(keys, (self.latent_dim,))

    def _apply(self, method: str, params: Params, *inputs):
        return self.network.apply({"params": params["vdvae"]}, *inputs, method=method)
