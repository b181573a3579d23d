"""Pictures made of other pictures: of pairs (pix2pix), and of two sets (CycleGAN)."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from gen_jax import keys as keys_lib
from gen_jax.data.spec import SOURCE, Batch, DataSpec
from gen_jax.families.adversarial import LOSSES
from gen_jax.families.base import Extra, Options, Params
from gen_jax.families.image_translation.pool import remembered


@dataclasses.dataclass(frozen=True)
class PairedTranslation:
    """Isola et al. 2017 (pix2pix, arXiv 1611.07004), equation 4.

    Attributes:
      spec: the data, whose `given` has the source.
      generator: `(source, keys) -> x`, in centered units.
      discriminator: of source and x, channel by channel -> logits [B, ...].
      loss: a key of `adversarial.LOSSES`.
      distance_weight: lambda, of the mean absolute difference.
    """

    spec: DataSpec
    generator: nn.Module
    discriminator: nn.Module
    loss: str
    distance_weight: float

    turns = (("discriminator",), ("generator",))
    given = (SOURCE,)

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Extra]:
        keys = jax.random.split(key)
        source, x = _centered(self.spec, batch)
        both = jnp.concatenate([source, x], -1)
        return {
            "generator": self.generator.init(keys[0], source, None)["params"],
            "discriminator": self.discriminator.init(keys[1], both)["params"],
        }, {}

    def losses(self, turn, params, extra, batch, keys, step):
        source, real = _centered(self.spec, batch)
        fake = self._generate(params, source, keys)
        both = jnp.concatenate([jnp.tile(source, (2, 1, 1, 1)), jnp.concatenate([real, fake])], -1)
        logits = self.discriminator.apply({"params": params["discriminator"]}, both)
        at_real, at_fake = jnp.split(logits, 2)
        discriminator, generator = LOSSES[self.loss](at_real, at_fake)
        distance = jnp.abs(real - fake).mean()
        values = {
            "discriminator": discriminator,
            "generator": generator + self.distance_weight * distance,
        }
        metrics = {"distance": distance} if "generator" in turn else {}
        return {name: values[name] for name in turn}, extra, metrics

    def sample(
        self, params: Params, extra: Extra, keys: jax.Array, condition: Batch, options: Options
    ) -> jax.Array:
        """x of `condition["source"]`, in model units."""
        source = self.spec.given[SOURCE].center(condition[SOURCE])
        return self.spec.uncenter(self._generate(params, source, keys))

    def _generate(self, params, source, keys):
        noise = keys_lib.named(keys, "dropout")
        return self.generator.apply({"params": params["generator"]}, source, noise)


@dataclasses.dataclass(frozen=True)
class UnpairedTranslation:
    """Zhu et al. 2017 (CycleGAN, arXiv 1703.10593), equation 3: there and back is where it began.

    Two networks each have two parts: `there` makes x of a source, `back` a source of x.

    Attributes:
      spec: the data, whose `given` has the source.
      there, back: generators, `(picture, keys) -> picture`.
      discriminator: of one picture -> logits [B, ...].
      loss: a key of `adversarial.LOSSES`.
      cycle_weight: lambda, of the mean absolute difference after both ways.
      identity_weight: of that of a picture which is there already (section 5.2), as a part of
        `cycle_weight`; 0 where the two have other channels.
      pool_size: pictures made earlier, one of which the discriminator sees half of the time
        (Shrivastava et al. 2017, arXiv 1612.07828, section 2.3).
    """

    spec: DataSpec
    there: nn.Module
    back: nn.Module
    discriminator: nn.Module
    loss: str
    cycle_weight: float
    identity_weight: float
    pool_size: int

    turns = (("discriminators",), ("generators",))
    given = (SOURCE,)

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Extra]:
        keys = jax.random.split(key, 4)
        source, x = _centered(self.spec, batch)
        params = {
            "generators": {
                "there": self.there.init(keys[0], source, None)["params"],
                "back": self.back.init(keys[1], x, None)["params"],
            },
            "discriminators": {
                "there": self.discriminator.init(keys[2], x)["params"],
                "back": self.discriminator.init(keys[3], source)["params"],
            },
        }
        pool = {
            "there": jnp.zeros((self.pool_size, *x.shape[1:])),
            "back": jnp.zeros((self.pool_size, *source.shape[1:])),
        }
        return params, {"pool": pool, "made": jnp.int32(0)}

    def losses(self, turn, params, extra, batch, keys, step):
        source, x = _centered(self.spec, batch)
        own = {"source": source, "x": x}
        make = lambda way, picture: self._make(params, way, picture)  # noqa: E731
        fake = {"there": make("there", source), "back": make("back", x)}
        real = {"there": x, "back": source}
        if "discriminators" in turn:
            seen = {way: self._or_earlier(extra, way, fake[way], keys) for way in fake}
            loss = sum(self._judged(params, way, real[way], seen[way])[0] for way in real)
            return {"discriminators": loss / 2}, self._remembered(extra, fake), {}
        loss = sum(self._judged(params, way, real[way], fake[way])[1] for way in real)
        again = {"source": make("back", fake["there"]), "x": make("there", fake["back"])}
        cycle = sum(jnp.abs(again[name] - own[name]).mean() for name in own)
        loss += self.cycle_weight * cycle
        if self.identity_weight:
            same = jnp.abs(make("there", x) - x).mean()
            same += jnp.abs(make("back", source) - source).mean()
            loss += self.cycle_weight * self.identity_weight * same
        return {"generators": loss}, extra, {"cycle": cycle}

    def sample(
        self, params: Params, extra: Extra, keys: jax.Array, condition: Batch, options: Options
    ) -> jax.Array:
        """x of `condition["source"]`, in model units."""
        source = self.spec.given[SOURCE].center(condition[SOURCE])
        return self.spec.uncenter(self._make(params, "there", source))

    def translate_back(self, params: Params, extra: Extra, x: jax.Array) -> jax.Array:
        """See `base.TwoWays`."""
        source = self.spec.given[SOURCE]
        return source.uncenter(self._make(params, "back", self.spec.center(x)))

    def _make(self, params, way, picture):
        network = self.there if way == "there" else self.back
        return network.apply({"params": params["generators"][way]}, picture, None)

    def _judged(self, params, way, real, fake):
        """What the discriminator of one way loses, and what its generator does."""
        variables = {"params": params["discriminators"][way]}
        logits = self.discriminator.apply(variables, jnp.concatenate([real, fake]))
        return LOSSES[self.loss](*jnp.split(logits, 2))

    def _or_earlier(self, extra, way, fake, keys):
        """Of each picture, itself or one that was made earlier."""
        draw = keys_lib.uniform(keys_lib.named(keys, f"pool {way}"), (2,))
        there = jnp.minimum(extra["made"], self.pool_size)
        place = jnp.floor(draw[:, 0] * there).astype(jnp.int32)
        earlier = (draw[:, 1] < 0.5) & (there > 0)
        return jnp.where(earlier[:, None, None, None], extra["pool"][way][place], fake)

    def _remembered(self, extra, fake):
        pool, made = remembered(extra["pool"], extra["made"], fake)
        return {"pool": pool, "made": made}


def _centered(spec: DataSpec, batch: Batch) -> tuple[jax.Array, jax.Array]:
    """The source and x of a batch, as networks read them."""
    return spec.given[SOURCE].center(batch[SOURCE]), spec.center(batch["x"])
