"""The VAE as a family: objective, sampling, and what evaluators ask of it."""

import dataclasses

import jax
import jax.numpy as jnp

from gen_jax import keys as keys_lib
from gen_jax import likelihoods
from gen_jax.data.spec import DataSpec
from gen_jax.families.base import Batch, Extra, LogWeights, Params, Posterior
from gen_jax.families.vae.networks import VAENetwork


@dataclasses.dataclass(frozen=True)
class PlainAutoencoder:
    """Encoder and decoder without noise and without KL: the loss is the distortion.

    Attributes:
      spec: the data.
      network: encoder and decoder.
      likelihood: p(x|z), whose negative logarithm is the distortion.
    """

    spec: DataSpec
    network: VAENetwork
    likelihood: likelihoods.Likelihood

    turns = (("vae",),)

    @property
    def latent_dim(self) -> int:
        return self.network.latent_dim

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Extra]:
        """Glorot-uniform kernels; a Bernoulli decoder starts at the batch's mean image.

        The latter as in the code of Burda et al. 2016 (arXiv 1509.00519), clipped alike.
        """
        params = self.network.init(key, batch["x"], batch["label"])["params"]
        if isinstance(self.likelihood, likelihoods.Bernoulli):
            output = params["decoder"]["output"]
            mean = jnp.clip(batch["x"].mean(0), 0.001, 0.999)
            logits = jnp.log(mean) - jnp.log1p(-mean)
            whole = output["bias"].size == logits.size  # else one bias for each channel
            output["bias"] = logits.reshape(-1) if whole else logits.mean((0, 1))
        return {"vae": params}, {}

    def losses(self, turn, params, extra, batch, keys, step):
        mean, _ = self.encode(params, extra, batch)
        distortion = -self._log_likelihood(params, mean, batch).mean()
        return {"vae": distortion}, extra, {"distortion": distortion}

    def encode(self, params: Params, extra: Extra, batch: Batch) -> Posterior:
        return Posterior(*self._apply("encode", params, batch["x"], batch["label"]))

    def decode(self, params, extra, z, label=None):
        label = jnp.zeros(len(z), jnp.int32) if label is None else label
        return self.likelihood.mean(self._apply("decode", params, z, label))

    def _log_likelihood(self, params: Params, z: jax.Array, batch: Batch) -> jax.Array:
        """log p(x|z) in nats: z [..., B, L] -> [..., B]."""
        label = jnp.broadcast_to(batch["label"], z.shape[:-1])
        return self.likelihood.log_prob(self._apply("decode", params, z, label), batch["x"])

    def _apply(self, method: str, params: Params, *inputs: jax.Array):
        return self.network.apply({"params": params["vae"]}, *inputs, method=method)


@dataclasses.dataclass(frozen=True)
class VAE(PlainAutoencoder):
    """log p(x) >= E_q(z|x)[log p(x|z)] - KL(q(z|x) || p(z)), with p(z) = N(0, I).

    Kingma and Welling 2014 (arXiv 1312.6114), equation 10, with one sample of z; the KL is
    weighted by beta (Higgins et al. 2017, equation 4) and may be warmed up (Sønderby et al.
    2016, arXiv 1602.02282, section 2.3).

    Attributes:
      beta: weight of the KL.
      beta_warmup_steps: it rises linearly from 0 over so many steps; 0: at once.
    """

    beta: float = 1.0
    beta_warmup_steps: int = 0

    @property
    def num_classes(self) -> int:
        return self.network.num_classes

    def losses(self, turn, params, extra, batch, keys, step):
        """Negative ELBO, split into rate (the KL) and distortion, in nats an example."""
        mean, log_variance = self.encode(params, extra, batch)
        noise = keys_lib.normal(keys_lib.named(keys, "posterior"), (self.latent_dim,))
        z = mean + jnp.exp(log_variance / 2) * noise
        rate = likelihoods.gaussian_kl(mean, log_variance).mean()
        distortion = -self._log_likelihood(params, z, batch).mean()
        warmup = jnp.minimum(1.0, (step + 1) / max(self.beta_warmup_steps, 1))
        loss = distortion + self.beta * warmup * rate
        metrics = {"elbo": -(distortion + rate), "rate": rate, "distortion": distortion}
        return {"vae": loss}, extra, metrics

    def sample(self, params, extra, key, num, condition=None, temperature=1.0):
        """Decoded draws z ~ N(0, temperature^2 I): the mean of p(x|z), as is the custom."""
        keys = keys_lib.per_example(key, jnp.arange(num))
        z = temperature * keys_lib.normal(keys, (self.latent_dim,))
        return self.decode(params, extra, z, condition)

    def log_weights(self, params, extra, batch, keys, num_samples) -> LogWeights:
        mean, log_variance = self.encode(params, extra, batch)
        noise = keys_lib.normal(keys, (num_samples, self.latent_dim)).swapaxes(0, 1)
        z = mean + jnp.exp(log_variance / 2) * noise
        zero = jnp.zeros_like(mean)
        log_prior = likelihoods.gaussian_log_prob(z, zero, zero)
        log_posterior = likelihoods.gaussian_log_prob(z, mean, log_variance)
        return LogWeights(self._log_likelihood(params, z, batch), log_prior - log_posterior)
