"""VAEs with a second network: a discriminator of latents (FactorVAE) or of images (VAE-GAN)."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from gen_jax import keys as keys_lib
from gen_jax import parallel
from gen_jax.errors import UserError
from gen_jax.families.requirements import Requirement, above, only, other_than
from gen_jax.families.vae import objectives
from gen_jax.families.vae.family import VAE
from gen_jax.likelihoods import Likelihood, softplus
from gen_jax.nn.dense import Dense

_IMAGE = {"adversary": only("image")}

REQUIREMENTS = (
    Requirement(
        {"adversary": other_than("none")}, {"autoencoder": only(False)}, "it goes with a VAE"
    ),
    Requirement(
        {"adversary": other_than("none")},
        {"adversary_weight": above(0, 1.0)},
        "without weight it would learn for nothing",
    ),
    Requirement(_IMAGE, {"regularizer": only("kl")}, "a VAE-GAN has the plain rate"),
    Requirement(
        _IMAGE,
        {"estimator": only("analytic")},
        "a VAE-GAN has the closed-form KL",
        objectives.HOW_TO_CLOSED_FORM,
    ),
    Requirement(_IMAGE, {"num_bounds": only(1)}, "a VAE-GAN decodes one draw of z"),
)


class Discriminator(nn.Module):
    """x [N, ...] -> features [N, D] and the logit [N] of x being of the first kind."""

    body: nn.Module  # an encoder of networks.py

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        features = self.body(x, jnp.zeros((len(x), 0)))
        logit = Dense(1, name="output")(features)[..., 0]
        return features.astype(jnp.float32), logit.astype(jnp.float32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdversarialVAE(VAE):
    """A VAE and a discriminator, which are updated together from one minibatch.

    Attributes:
      discriminator: of what `_judged` says.
      adversary_weight: gamma of the papers.
    """

    discriminator: Discriminator
    adversary_weight: float

    turns = (("vae", "discriminator"),)

    def init(self, key, batch):
        params, extra = super().init(key, batch)
        variables = self.discriminator.init(
            keys_lib.named(key, "discriminator"), self._judged(batch)
        )
        return params | {"discriminator": variables["params"]}, extra

    @classmethod
    def check_likelihood(cls, likelihood: Likelihood) -> None:
        """Refuses what the loss would not train, by a `UserError`."""

    def _judged(self, batch) -> jax.Array:
        """What the discriminator looks at, of the right shape."""
        raise NotImplementedError

    def _judge(self, params, x) -> tuple[jax.Array, jax.Array]:
        return self.discriminator.apply({"params": params["discriminator"]}, x)


@dataclasses.dataclass(frozen=True)
class FactorVAE(AdversarialVAE):
    """ELBO - gamma TC(q(z)), with TC by the density-ratio trick.

    Kim and Mnih 2018 (arXiv 1802.05983), equations 2 and 3 and algorithm 2. The discriminator
    tells draws of q(z) from those whose dimensions were permuted over the global batch.
    """

    def _judged(self, batch):
        return jnp.zeros((len(batch["x"]), self.latent_dim))

    def losses(self, turn, params, extra, batch, keys, step):
        loss, extra, metrics, z = self._negative_bound(params, extra, batch, keys, step)
        _, logits = self._judge(params, jnp.concatenate([z, permute_dims(z, keys)]))
        joint, permuted = jnp.split(logits, 2)
        total_correlation = joint.mean()
        losses = {
            "vae": loss + self.adversary_weight * total_correlation,
            "discriminator": 0.5 * (softplus(-joint).mean() + softplus(permuted).mean()),
        }
        return losses, extra, metrics | {"total_correlation": total_correlation}


def permute_dims(z: jax.Array, keys: jax.Array) -> jax.Array:
    """Each dimension of z [B, L] permuted over the global batch by itself (algorithm 1)."""
    noise = keys_lib.uniform(keys_lib.named(keys, "permutation"), z.shape[1:])
    everyone, noise = parallel.gather((z, noise))
    permuted = jnp.take_along_axis(everyone, jnp.argsort(noise, 0), 0)
    return permuted[parallel.global_index(len(z))]


@dataclasses.dataclass(frozen=True)
class VAEGAN(AdversarialVAE):
    """A VAE whose distortion is measured in the features of a discriminator of images.

    Larsen et al. 2016 (arXiv 1512.09300), algorithm 1: the encoder minimises rate + feature
    distortion, the decoder gamma x feature distortion and the loss of a generator (the
    non-saturating one here), and the discriminator tells images from reconstructions and from
    decoded draws of the prior. The metrics' distortion is the likelihood's, as in every VAE.
    """

    @classmethod
    def check_likelihood(cls, likelihood):
        if likelihood.num_params != 1:
            raise UserError(
                "a VAE-GAN trains the mean of p(x|z) alone, and this likelihood has more to it; "
                "use bernoulli, continuous_bernoulli, or gaussian with --config.model.sigma=0.1 "
                "or --config.model.optimal_sigma=True"
            )

    def _judged(self, batch):
        return self.spec.center(batch["x"])

    def losses(self, turn, params, extra, batch, keys, step):
        _, extra, metrics, z = self._negative_bound(params, extra, batch, keys, step)
        prior = self._apply(
            "sample_prior", params, extra, keys_lib.named(keys, "prior"), batch["label"], 1.0
        )

        def decoded(z):
            return self.spec.center(self.decode(params, extra, z, batch))

        real = self.spec.center(batch["x"])
        # What flows back to the encoder is not multiplied by gamma.
        weight = self.adversary_weight
        slowed = objectives.scale_gradient(z, jnp.full_like(z, 1 / weight))
        features, _ = self._judge(params, decoded(slowed))
        target, logits_real = self._judge(params, real)
        difference = features - target
        feature_distortion = 0.5 * jnp.square(difference).sum(-1).mean()
        # The generator's loss reaches the decoder alone.
        fakes = jnp.concatenate([decoded(jax.lax.stop_gradient(z)), decoded(prior)])
        _, logits = self._judge(params, fakes)
        # The sum of two means, as in the discriminator's: reconstructions and draws of the prior.
        generator = 2 * softplus(-logits).mean()
        rate = self._warmed_up(step) * self.beta * metrics["rate"]
        losses = {
            "vae": rate + weight * feature_distortion + generator,
            "discriminator": softplus(-logits_real).mean() + 2 * softplus(logits).mean(),
        }
        return losses, extra, metrics | {"feature_distortion": feature_distortion}
