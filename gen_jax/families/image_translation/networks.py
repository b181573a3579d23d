"""Networks that make a picture of another one, and those that judge it part by part."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from gen_jax.nn.attention import dropout
from gen_jax.nn.conv import Conv, ConvTranspose
from gen_jax.nn.resnet import halvings, leaky_relu

_normal = nn.initializers.normal(0.02)


def _norm(h: jax.Array) -> jax.Array:
    """Each channel of each picture by itself (Ulyanov et al. 2016, arXiv 1607.08022)."""
    return nn.GroupNorm(num_groups=None, group_size=1, use_bias=False, use_scale=False)(h)


class UNet(nn.Module):
    """Down to a small map and up again, with all sizes handed across.

    Isola et al. 2017 (pix2pix, arXiv 1611.07004), section 6.1.1, as deep as the picture is large.
    Its noise is dropout, in samples too.

    Attributes:
      channels: of what it makes.
      widths: from the picture inwards; no more are used than there are sizes.
      dropout: of the two smallest maps on the way up.
    """

    channels: int
    widths: tuple[int, ...]
    dropout: float = 0.0

    @nn.compact
    def __call__(self, source: jax.Array, keys: jax.Array | None) -> jax.Array:
        """Pictures [B, H, W, C] in [-1, 1] -> [B, H, W, C'], likewise.

        With keys [B] there is dropout.
        """
        sizes = halvings(source.shape[1:3], smallest=2)
        depth = max(min(len(self.widths), len(sizes) - 1), 1)
        h, passed = source, []
        for index, width in enumerate(self.widths[:depth]):
            passed.append(h)
            h = Conv(width, (4, 4), (2, 2), kernel_init=_normal)(leaky_relu(h) if index else h)
            if 0 < index < depth - 1:  # of the smallest map little would be left
                h = _norm(h)
        for index in reversed(range(depth)):
            rows, columns = passed[index].shape[1:3]
            outputs = self.widths[index - 1] if index else self.channels
            up = ConvTranspose(outputs, (4, 4), (2, 2), kernel_init=_normal)
            h = up(nn.relu(h))[:, :rows, :columns]
            if index:
                h = _norm(h)
                if index >= depth - 2:
                    h = dropout(h, self.dropout, keys, f"dropout {index}")
                h = jnp.concatenate([h, passed[index]], -1)
        return jnp.tanh(h)


class ResNet(nn.Module):
    """Two halvings, residual blocks, and back.

    Zhu et al. 2017 (CycleGAN, arXiv 1703.10593), section 7.2.

    Attributes:
      channels: of what it makes.
      widths: three, from the picture inwards.
      blocks: residual ones.
    """

    channels: int
    widths: tuple[int, ...]
    blocks: int

    @nn.compact
    def __call__(self, source: jax.Array, keys: jax.Array | None = None) -> jax.Array:
        """Pictures [B, H, W, C] in [-1, 1] -> [B, H, W, C'] in [-1, 1]; keys are not read."""
        h = nn.relu(_norm(Conv(self.widths[0], (7, 7), kernel_init=_normal)(source)))
        sizes = [h.shape[1:3]]
        for width in self.widths[1:]:
            h = nn.relu(_norm(Conv(width, (3, 3), (2, 2), kernel_init=_normal)(h)))
            sizes.append(h.shape[1:3])
        for _ in range(self.blocks):
            inner = nn.relu(_norm(Conv(h.shape[-1], (3, 3), kernel_init=_normal)(h)))
            h += _norm(Conv(h.shape[-1], (3, 3), kernel_init=_normal)(inner))
        for width, (rows, columns) in zip(self.widths[-2::-1], sizes[-2::-1], strict=True):
            up = ConvTranspose(width, (3, 3), (2, 2), kernel_init=_normal)
            h = nn.relu(_norm(up(h)[:, :rows, :columns]))
        return jnp.tanh(Conv(self.channels, (7, 7), kernel_init=_normal)(h))


class StyleEncoder(nn.Module):
    """Convolutions without a normalisation, which would take the style away.

    Attributes:
      widths: from the picture inwards; each but the first halves it.
    """

    widths: tuple[int, ...]

    @nn.compact
    def __call__(self, x: jax.Array) -> list[jax.Array]:
        """Pictures [B, H, W, C] in [-1, 1] -> features [B, H', W', widths[i]] of each layer."""
        h, features = x, []
        for index, width in enumerate(self.widths):
            sides, stride = ((4, 4), (2, 2)) if index else ((3, 3), (1, 1))
            h = nn.relu(Conv(width, sides, stride)(h))
            features.append(h)
        return features


class StyleDecoder(nn.Module):
    """The mirror image of a `StyleEncoder`.

    Attributes:
      shape: of the pictures that it makes.
      widths: of the encoder.
    """

    shape: Sequence[int]
    widths: tuple[int, ...]

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        """The last layer's features [B, H', W', C'] -> pictures [B, H, W, C] in [-1, 1]."""
        sizes = [tuple(self.shape[:2])]
        for _ in self.widths[1:]:
            sizes.append(tuple(-(-side // 2) for side in sizes[-1]))
        h = features
        for width, (rows, columns) in zip(self.widths[-2::-1], sizes[-2::-1], strict=True):
            h = nn.relu(ConvTranspose(width, (4, 4), (2, 2))(h)[:, :rows, :columns])
        return jnp.tanh(Conv(self.shape[-1], (3, 3))(h))


class PatchDiscriminator(nn.Module):
    """Logits of overlapping parts of a picture (PatchGAN; Isola et al. 2017, section 3.2.2).

    Attributes:
      widths: of stride-2 convolutions.
    """

    widths: tuple[int, ...]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Pictures [B, H, W, C] -> logits [B, H', W']."""
        h = x
        for index, width in enumerate(self.widths):
            h = Conv(width, (4, 4), (2, 2), kernel_init=_normal)(h)
            h = leaky_relu(_norm(h) if index else h)
        h = leaky_relu(_norm(Conv(2 * self.widths[-1], (3, 3), kernel_init=_normal)(h)))
        return Conv(1, (3, 3), kernel_init=_normal)(h)[..., 0]
