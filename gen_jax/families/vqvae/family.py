"""The VQ-VAE as a family: objective, and what evaluators ask of it."""

import dataclasses
import math

import jax
import jax.numpy as jnp

from gen_jax import likelihoods
from gen_jax.data.spec import Batch, DataSpec
from gen_jax.families.base import Extra, Params
from gen_jax.families.vqvae import quantize
from gen_jax.families.vqvae.networks import VQVAENetwork
from gen_jax.families.vqvae.quantizers import Quantizer
from gen_jax.likelihoods import DiagonalGaussian

# The encoder has no noise. This stands for none (a standard deviation of 5e-5) and is finite,
# so that densities and draws of q(z|x) can be computed.
_LOG_VARIANCE = -20.0


@dataclasses.dataclass(frozen=True)
class VQVAE:
    """An autoencoder whose latents are a grid of codes (van den Oord et al. 2017, 1711.00937).

    The loss is that of equation 3: the distortion -log p(x|z) and the weighted commitment. The
    gradient passes the quantiser straight through. What the codebook holds is no parameter: it is
    in `extra["codebook"]` and moves with each step.

    Attributes:
      spec: the data.
      network: encoder and decoder.
      quantizer: of each vector of the grid.
      likelihood: p(x|z).
    """

    spec: DataSpec
    network: VQVAENetwork
    quantizer: Quantizer
    likelihood: likelihoods.Likelihood

    turns = (("vqvae",),)
    given = ()

    @property
    def latent_dim(self) -> int:
        """Numbers of an encoded image, before quantisation."""
        return math.prod(self._grid)

    @property
    def codebook_size(self) -> int:
        return self.quantizer.codebook_size

    @property
    def _grid(self) -> tuple[int, int, int]:
        return (*self.network.grid, self.network.code_dim)

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Extra]:
        """The encoder starts with outputs of mean 0 and variance 1, the codebook at some of them.

        The former as in Salimans and Kingma 2016 (arXiv 1602.07868), section 3. Without it all
        images may have the code 0 of `fsq`, at which the decoder's relus pass no gradient.
        """
        keys = jax.random.split(key)
        params = {"vqvae": self.network.init(keys[0], batch["x"])["params"]}
        z = self._apply("encode", params, batch["x"])
        mean, scale = z.mean((0, 1, 2)), z.std((0, 1, 2)) + 1e-6
        output = params["vqvae"]["encoder"]["output"]
        output["kernel"] /= scale
        output["bias"] = (output["bias"] - mean) / scale
        z = (z - mean) / scale
        return params, self.quantizer.init(keys[1], z.reshape(-1, z.shape[-1]))

    def losses(self, turn, params, extra, batch, keys, step):
        """Nats an example. `usage` is the fraction of the codebook that the batch uses."""
        z = self._apply("encode", params, batch["x"])
        outputs = self._apply("decode", params, self.quantizer.quantize(extra, z))
        distortion = -self.likelihood.log_prob(outputs, batch["x"]).mean()
        codes = self.quantizer.codes(extra, z)
        penalty, extra, metrics = self.quantizer.learn(extra, z, codes, keys)
        frequency = quantize.frequencies(codes.reshape(-1), self.codebook_size)
        metrics |= {
            "distortion": distortion,
            "perplexity": quantize.perplexity(frequency),
            "usage": (frequency > 0).mean(),
        }
        return {"vqvae": distortion + penalty}, extra, metrics

    def encode(self, params: Params, extra: Extra, batch: Batch) -> DiagonalGaussian:
        """The encoder's output before quantisation as the mean, with hardly any variance."""
        mean = self._apply("encode", params, batch["x"]).reshape(-1, self.latent_dim)
        return DiagonalGaussian(mean, jnp.full_like(mean, _LOG_VARIANCE))

    def sample_posterior(self, params, extra, batch, keys):
        """The encoder's output itself: there is no noise."""
        return self.encode(params, extra, batch).mean

    def decode(self, params, extra, z, condition):
        """Quantises z [N, latent_dim] and decodes the codes."""
        quantized = self.quantizer.quantize(extra, z.reshape(-1, *self._grid))
        return self.likelihood.mean(self._apply("decode", params, quantized))

    def codes(self, params: Params, extra: Extra, batch: Batch) -> jax.Array:
        return self.quantizer.codes(extra, self._apply("encode", params, batch["x"]))

    def _apply(self, method: str, params: Params, *inputs):
        return self.network.apply({"params": params["vqvae"]}, *inputs, method=method)
