"""Pictures in the style of other pictures, which is the mean and spread of their features."""

import dataclasses

import jax
import jax.numpy as jnp

from gen_jax import keys as keys_lib
from gen_jax.data.spec import SOURCE, Batch, DataSpec
from gen_jax.families.base import Extra, Options, Params
from gen_jax.families.image_translation.networks import StyleDecoder, StyleEncoder
from gen_jax.families.image_translation.pool import remembered

_EPSILON = 1e-5  # of a variance, as of other normalisations


def statistics(features: jax.Array) -> jax.Array:
    """Mean and standard deviation of each channel of each picture: [B, H, W, C] -> [B, 2, C]."""
    spread = jnp.sqrt(features.var((1, 2)) + _EPSILON)
    return jnp.stack([features.mean((1, 2)), spread], 1)


def restyled(features: jax.Array, style: jax.Array) -> jax.Array:
    """Adaptive instance normalisation: features [B, H, W, C] with the statistics [B, 2, C].

    Huang and Belongie 2017 (arXiv 1703.06868), equation 8.
    """
    own, style = (part[:, :, None, None] for part in (statistics(features), style))
    return style[:, 1] * (features - own[:, 0]) / own[:, 1] + style[:, 0]


@dataclasses.dataclass(frozen=True)
class StyleTransfer:
    """Huang and Belongie 2017 (arXiv 1703.06868), with an encoder that is learned beside it.

    The source keeps its content and is given the style of x. Where the paper has the features of a
    large classifier, the encoder learns here, from both sets, to give back the picture that it was
    given; the decoder learns that too, and the content and the style losses (equations 12 and 13).

    Attributes:
      spec: the data, whose `given` has the source.
      encoder: `picture -> features of each layer`, in centered units.
      decoder: `features of the last layer -> picture`.
      style_weight: lambda, of the style loss.
      pool_size: styles seen last, from which samples take theirs.
    """

    spec: DataSpec
    encoder: StyleEncoder
    decoder: StyleDecoder
    style_weight: float
    pool_size: int

    turns = (("encoder", "decoder"),)
    given = (SOURCE,)

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Extra]:
        encoder, decoder = jax.random.split(key)
        x = self.spec.center(batch["x"])
        variables = self.encoder.init(encoder, x)
        features = self.encoder.apply(variables, x)[-1]
        params = {
            "encoder": variables["params"],
            "decoder": self.decoder.init(decoder, features)["params"],
        }
        pool = jnp.zeros((self.pool_size, 2, features.shape[-1]))
        return params, {"pool": pool, "made": jnp.int32(0)}

    def losses(self, turn, params, extra, batch, keys, step):
        source = self.spec.given[SOURCE].center(batch[SOURCE])
        both = jnp.concatenate([source, self.spec.center(batch["x"])])
        features = self._encode(params, both)
        known = jnp.square(self._decode(params, features[-1]) - both).mean()

        content, styles = jnp.split(features[-1], 2)[0], [jnp.split(f, 2)[1] for f in features]
        styles = [statistics(layer) for layer in styles]
        wanted = restyled(content, styles[-1])
        found = self._encode(params, self._decode(params, wanted))
        content_loss = jnp.square(found[-1] - wanted).mean()
        style_loss = sum(
            jnp.square(statistics(layer) - style).mean()
            for layer, style in zip(found, styles, strict=True)
        )
        pool, made = remembered(extra["pool"], extra["made"], styles[-1])
        # Were the encoder to learn from the last two, it would make all styles alike.
        losses = {
            "encoder": known,
            "decoder": known + content_loss + self.style_weight * style_loss,
        }
        metrics = {"reconstruction": known, "content": content_loss, "style": style_loss}
        return losses, {"pool": pool, "made": made}, metrics

    def sample(
        self, params: Params, extra: Extra, keys: jax.Array, condition: Batch, options: Options
    ) -> jax.Array:
        """`condition["source"]` in the style of some x of those that training saw last."""
        place = keys_lib.uniform(keys_lib.named(keys, "style"))
        count = jnp.clip(extra["made"], 1, self.pool_size)
        style = extra["pool"][jnp.floor(place * count).astype(jnp.int32)]
        return self._make(params, condition[SOURCE], style)

    def in_style(self, params: Params, extra: Extra, source: jax.Array, x: jax.Array) -> jax.Array:
        """See `base.Stylist`."""
        style = statistics(self._encode(params, self.spec.center(x))[-1])
        return self._make(params, source, style)

    def _make(self, params, source, style):
        content = self._encode(params, self.spec.given[SOURCE].center(source))[-1]
        made = self._decode(params, restyled(content, style))
        return self.spec.uncenter(made)

    def _encode(self, params, picture) -> list[jax.Array]:
        return self.encoder.apply({"params": params["encoder"]}, picture)

    def _decode(self, params, features) -> jax.Array:
        return self.decoder.apply({"params": params["decoder"]}, features)
