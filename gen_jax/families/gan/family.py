"""The GAN as a family: two players, their losses, and what evaluators ask of them."""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from gen_jax import keys as keys_lib
from gen_jax import schedules
from gen_jax.data.spec import Batch, DataSpec
from gen_jax.errors import UserError
from gen_jax.families import conditions
from gen_jax.families.adversarial import LOSSES
from gen_jax.families.base import Extra, Params
from gen_jax.families.gan.networks import Discriminator, Generator
from gen_jax.families.gan.penalties import PENALTIES, logits_and_penalty
from gen_jax.nn.augment import augment

# A slope of the generator's loss in a logit under which it counts as flat; unsaturated ones are
# about 1.
FLAT = 1e-4


@dataclasses.dataclass(frozen=True)
class GAN:
    """A generator that learns from a discriminator (Goodfellow et al. 2014, arXiv 1406.2661).

    Any loss goes with any penalty, any conditioning and any order of turns. Where both players
    are updated in one turn the generator's forward pass is computed once for both.

    Attributes:
      spec: the data.
      generator, discriminator: linen modules.
      latent_dim: L; z ~ N(0, I).
      given: ("label",) if both players are conditioned on it, else ().
      turns: who is updated, in order, within a step.
      loss: a key of `LOSSES`.
      penalty: a key of `PENALTIES`.
      penalty_weight: at the start, and after `burn_in_steps`.
      augmentations: of all that the discriminator sees, keys of `AUGMENTATIONS`.
      augment_probability: at the start, and after `burn_in_steps`.
      burn_in_steps: of the two schedules, cosines.
      pack: examples that the discriminator sees side by side (PacGAN, arXiv 1712.04086).
    """

    spec: DataSpec
    generator: Generator
    discriminator: Discriminator
    latent_dim: int
    given: tuple[str, ...]
    turns: tuple[tuple[str, ...], ...]
    loss: str
    penalty: str
    penalty_weight: tuple[float, float]
    augmentations: tuple[str, ...]
    augment_probability: tuple[float, float]
    burn_in_steps: int
    pack: int

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Extra]:
        keys = jax.random.split(key)
        label = self._one_hot(batch["label"])
        z = jnp.zeros((len(label), self.latent_dim))
        generator = self.generator.init(keys[0], z, label)
        x = self._packed(self.spec.center(batch["x"])[: self.pack])
        discriminator = self.discriminator.init(keys[1], x, label[:1])
        networks = {"generator": generator, "discriminator": discriminator}
        params = {name: variables.pop("params") for name, variables in networks.items()}
        return params, networks  # batch statistics, and the vectors of spectral norm

    def losses(self, turn, params, extra, batch, keys, step):
        label = self._one_hot(batch["label"])
        real = self.spec.center(batch["x"])
        z = keys_lib.normal(keys_lib.named(keys, "latents"), (self.latent_dim,))
        fake, generator_stats = self.generator.apply(
            {"params": params["generator"], **extra["generator"]},
            *(z, label),
            train=True,
            mutable=list(extra["generator"]),
        )
        learns = "discriminator" in turn
        # Only a network that is updated moves its statistics.
        stats = dict(extra)
        if "generator" in turn:
            stats["generator"] = generator_stats
        if learns and self.discriminator.spectral_norm:
            stats["discriminator"] = self._power_iteration(params, extra, real, label)
        variables = {"params": params["discriminator"], **stats["discriminator"]}

        def critic(x: jax.Array) -> dict[str, jax.Array]:
            labels = jnp.tile(label[:: self.pack], (len(x) * self.pack // len(label), 1))
            return self.discriminator.apply(variables, x, labels)

        penalty = PENALTIES[self.penalty if learns else "none"]
        seen = [
            self._packed(self._augmented(x, keys_lib.named(keys, name), step))
            for x, name in ((real, "augment real"), (fake, "augment fake"))
        ]
        penalty_keys = keys_lib.named(keys, "penalty")[:: self.pack]
        # Most losses of a generator read nothing of the real examples.
        at_real, at_fake, cost = logits_and_penalty(critic, *seen, penalty, penalty_keys, learns)
        real_logits, fake_logits = at_real["logits"], at_fake["logits"]
        discriminator_loss, generator_loss = LOSSES[self.loss](real_logits, fake_logits)
        weight = schedules.cosine(*self.penalty_weight, self.burn_in_steps, step)
        discriminator_loss += weight * cost
        metrics = {}
        if learns:
            metrics = {
                "logits/real": real_logits.mean(),
                "logits/fake": fake_logits.mean(),
                "margin": (real_logits - fake_logits).mean(),
                "penalty": cost,
            }
            # The part of the samples from which the generator learns next to nothing.
            slope = jax.grad(lambda fake: LOSSES[self.loss](real_logits, fake)[1])(fake_logits)
            metrics["saturated"] = (jnp.abs(slope) * len(slope) < FLAT).mean()
        if "label_logits" in at_real:
            of_real, of_fake = (
                optax.softmax_cross_entropy(at["label_logits"], label).mean()
                for at in (at_real, at_fake)
            )
            discriminator_loss += of_real + of_fake  # each player wants the labels right, of both
            generator_loss += of_fake
            metrics["label_loss/fake"] = of_fake
            if learns:
                metrics["label_loss/real"] = of_real
        values = {"discriminator": discriminator_loss, "generator": generator_loss}
        return {name: values[name] for name in turn}, stats, metrics

    def sample(self, params, extra, keys, condition, options):
        """G(z), z ~ N(0, temperature^2 I), in model units."""
        z = options["temperature"] * keys_lib.normal(keys, (self.latent_dim,))
        return self.decode(params, extra, z, condition)

    def decode(self, params, extra, z, condition):
        """G(z) in model units: see `base.Decoder`."""
        label = condition.get("label", jnp.zeros(len(z), jnp.int32))
        variables = {"params": params["generator"], **extra["generator"]}
        return self.spec.uncenter(self.generator.apply(variables, z, self._one_hot(label)))

    def discriminate(self, params, extra, batch: Batch) -> jax.Array:
        """Logits of examples in model units, without augmentation: [B // pack]."""
        variables = {"params": params["discriminator"], **extra["discriminator"]}
        whole = len(batch["x"]) // self.pack * self.pack
        x = self._packed(self.spec.center(batch["x"][:whole]))
        label = self._one_hot(batch["label"][: whole : self.pack])
        return self.discriminator.apply(variables, x, label)["logits"]

    def _one_hot(self, label: jax.Array) -> jax.Array:
        return conditions.one_hot(label, self.spec.num_classes if self.given else 0)

    def _augmented(self, x: jax.Array, keys: jax.Array, step: jax.Array) -> jax.Array:
        probability = schedules.cosine(*self.augment_probability, self.burn_in_steps, step)
        return augment(x, keys, self.augmentations, probability)

    def _packed(self, x: jax.Array) -> jax.Array:
        """[B, ..., C] -> [B / pack, ..., pack * C]."""
        if len(x) % self.pack:
            raise UserError(
                f"a device's part of the batch is {len(x)} examples, which model.pack={self.pack} "
                f"does not divide; choose a batch_size that it does"
            )
        groups = x.reshape(-1, self.pack, *x.shape[1:])
        return jnp.concatenate([groups[:, i] for i in range(self.pack)], -1)

    def _power_iteration(self, params, extra, x, label):
        """One more step of spectral norm's power iteration. One example is enough: it sees the
        weights alone."""
        variables = {"params": params["discriminator"], **extra["discriminator"]}
        x, label = self._packed(x[: self.pack]), label[:1]
        _, stats = self.discriminator.apply(
            variables, x, label, update_stats=True, mutable=["batch_stats"]
        )
        return jax.lax.stop_gradient(stats)
