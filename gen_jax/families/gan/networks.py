"""Generators and discriminators: linen modules whose sizes come from the data."""

import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from gen_jax import parallel
from gen_jax.families.requirements import (
    IMAGES,
    LABELS,
    Requirement,
    Values,
    not_empty,
    only,
    other_than,
)
from gen_jax.nn.conv import Conv, ConvTranspose
from gen_jax.nn.dense import Dense
from gen_jax.nn.resnet import ResidualBlock, halvings, leaky_relu, resize

_normal = nn.initializers.normal(0.02)  # Radford et al. 2016 (DCGAN, arXiv 1511.06434)


class Norm(nn.Module):
    """Batch normalisation; with a label's one-hot vector its scale and offset depend on it.

    The statistics are those of the global batch, of all devices. Conditional: Dumoulin et al.
    2017 (arXiv 1610.07629), equation 5.
    """

    train: bool

    @nn.compact
    def __call__(self, x: jax.Array, label: jax.Array | None = None) -> jax.Array:
        plain = label is None
        norm = nn.BatchNorm(
            use_running_average=not self.train,
            momentum=0.9,
            axis_name=parallel.AXIS if self.train else None,
            use_bias=plain,
            use_scale=plain,
        )
        x = norm(x)
        if plain:
            return x
        shape = (len(x), *(1,) * (x.ndim - 2), x.shape[-1])
        scale = Dense(x.shape[-1], kernel_init=nn.initializers.zeros, name="scale")(label)
        offset = Dense(x.shape[-1], kernel_init=nn.initializers.zeros, name="offset")(label)
        return x * (1 + scale.reshape(shape)) + offset.reshape(shape)


class MLPGenerator(nn.Module):
    """z [B, L] -> x [B, *shape] through dense layers."""

    shape: tuple[int, ...]
    widths: tuple[int, ...]

    @nn.compact
    def __call__(self, z: jax.Array, norm: Callable) -> jax.Array:
        h = z
        for width in self.widths:
            h = leaky_relu(norm(Dense(width)(h)))
        return Dense(math.prod(self.shape), name="output")(h).reshape(-1, *self.shape)


class InfoGANGenerator(nn.Module):
    """Dense 1024, dense to a quarter of the size, two transposed convolutions.

    Chen et al. 2016 (arXiv 1606.03657), appendix C.1, as Lucic et al. 2018 (arXiv 1711.10337)
    use it; `widths` are (features of the last map, of the first, of the dense layer).
    """

    shape: tuple[int, ...]
    widths: tuple[int, ...] = (64, 128, 1024)

    @nn.compact
    def __call__(self, z: jax.Array, norm: Callable) -> jax.Array:
        rows, columns, channels = self.shape
        inner = (-(-rows // 4), -(-columns // 4), self.widths[1])
        h = leaky_relu(norm(Dense(self.widths[2], kernel_init=_normal)(z)))
        h = leaky_relu(norm(Dense(math.prod(inner), kernel_init=_normal)(h)))
        h = h.reshape(-1, *inner)
        h = ConvTranspose(self.widths[0], (4, 4), (2, 2), kernel_init=_normal)(h)
        h = leaky_relu(norm(h))
        h = ConvTranspose(channels, (4, 4), (2, 2), kernel_init=_normal, name="output")(h)
        return jnp.tanh(h[:, :rows, :columns])


class DCGANGenerator(nn.Module):
    """Transposed convolutions from a map of about 4x4, one for each width and one to the image.

    Radford et al. 2016 (arXiv 1511.06434). `widths` are those of the discriminator, mirrored.
    """

    shape: tuple[int, ...]
    widths: tuple[int, ...] = (64, 128, 256)

    @nn.compact
    def __call__(self, z: jax.Array, norm: Callable) -> jax.Array:
        sizes = halvings(self.shape[:2])
        sizes = sizes[: len(self.widths) + 1]
        widths = self.widths[: len(sizes) - 1]
        bottom = (*sizes[-1], widths[-1])
        h = Dense(math.prod(bottom), kernel_init=_normal)(z).reshape(-1, *bottom)
        outputs = [*widths[:-1][::-1], self.shape[-1]]
        for features, (rows, columns) in zip(outputs, sizes[-2::-1], strict=True):
            h = nn.relu(norm(h))
            h = ConvTranspose(features, (4, 4), (2, 2), kernel_init=_normal)(h)[:, :rows, :columns]
        return jnp.tanh(h)


class ResNetGenerator(nn.Module):
    """Residual blocks with bilinear upsampling, as deep as the image is large; no tanh.

    After R3GAN (Huang et al. 2024, arXiv 2501.05441, section 3.3). `widths` from the largest map
    down; the last repeats for smaller maps.
    """

    shape: tuple[int, ...]
    widths: tuple[int, ...] = (64, 128, 256)

    @nn.compact
    def __call__(self, z: jax.Array, norm: Callable) -> jax.Array:
        sizes = halvings(self.shape[:2])
        widths = [self.widths[min(i, len(self.widths) - 1)] for i in range(len(sizes))]
        bottom = (*sizes[-1], widths[-1])
        h = Dense(math.prod(bottom))(z).reshape(-1, *bottom)
        for index in reversed(range(len(sizes))):
            if h.shape[1:3] != sizes[index]:
                # Fewer features first, where that is cheaper.
                h = resize(Conv(widths[index], (1, 1), use_bias=False)(h), sizes[index])
            h = ResidualBlock(len(sizes))(h)
        return Conv(self.shape[-1], (1, 1), name="output")(h)


class MLPDiscriminator(nn.Module):
    """x [B, *shape] -> features [B, F] through dense layers."""

    widths: tuple[int, ...]

    @nn.compact
    def __call__(self, x: jax.Array, layer: Callable) -> jax.Array:
        h = x.reshape(len(x), -1)
        for width in self.widths:
            h = leaky_relu(layer(Dense(width), h))
        return h


class InfoGANDiscriminator(nn.Module):
    """The mirror of `InfoGANGenerator`, without normalisation."""

    widths: tuple[int, ...] = (64, 128, 1024)

    @nn.compact
    def __call__(self, x: jax.Array, layer: Callable) -> jax.Array:
        h = x
        for width in self.widths[:2]:
            h = leaky_relu(layer(Conv(width, (4, 4), (2, 2), kernel_init=_normal), h))
        h = h.reshape(len(h), -1)
        return leaky_relu(layer(Dense(self.widths[2], kernel_init=_normal), h))


class DCGANDiscriminator(nn.Module):
    """Stride-2 convolutions, one for each width until the map is about 4x4."""

    widths: tuple[int, ...] = (64, 128, 256)

    @nn.compact
    def __call__(self, x: jax.Array, layer: Callable) -> jax.Array:
        h = x
        for width in self.widths[: len(halvings(x.shape[1:3])) - 1]:
            h = leaky_relu(layer(Conv(width, (4, 4), (2, 2), kernel_init=_normal), h))
        return h.reshape(len(h), -1)


class ResNetDiscriminator(nn.Module):
    """The mirror of `ResNetGenerator`."""

    widths: tuple[int, ...] = (64, 128, 256)

    @nn.compact
    def __call__(self, x: jax.Array, layer: Callable) -> jax.Array:
        sizes = halvings(x.shape[1:3])
        widths = [self.widths[min(i, len(self.widths) - 1)] for i in range(len(sizes))]
        h = layer(Conv(widths[0], (1, 1)), x)
        for index, size in enumerate(sizes):
            if index:
                h = layer(Conv(widths[index], (1, 1), use_bias=False), resize(h, size))
            h = ResidualBlock(len(sizes))(h, layer)
        return layer(Dense(widths[-1]), h.reshape(len(h), -1))


GENERATOR_CONDITIONS = ("none", "concat", "norm")
DISCRIMINATOR_CONDITIONS = ("none", "concat", "projection", "auxiliary")

NETWORKS = {
    "mlp": (MLPGenerator, MLPDiscriminator),
    "infogan": (InfoGANGenerator, InfoGANDiscriminator),
    "dcgan": (DCGANGenerator, DCGANDiscriminator),
    "resnet": (ResNetGenerator, ResNetDiscriminator),
}


_WIDTHS = not_empty((64, 128, 256))
_THREE = Values(" with three numbers", lambda value: len(value) == 3, (64, 128, 1024))
_LARGE = Values(
    "images of more than 4x4", lambda spec: spec.is_image and min(spec.shape[:2]) > 4, None
)
_PLAYERS = ("generator", "discriminator")


def _of_both(needs: Callable[[str], Requirement]) -> tuple[Requirement, ...]:
    """What holds of the generator and of the discriminator."""
    return tuple(map(needs, _PLAYERS))


REQUIREMENTS = (
    Requirement(
        {"network": other_than("mlp")},
        {"data": IMAGES},
        "it is of convolutions",
        "use --config.model.network=mlp",
    ),
    *_of_both(
        lambda player: Requirement(
            {"network": only("infogan")}, {f"{player}_widths": _THREE}, "it has three layers"
        )
    ),
    *_of_both(
        lambda player: Requirement(
            {"network": only("dcgan", "resnet")},
            {f"{player}_widths": _WIDTHS},
            "each width is a layer",
        )
    ),
    Requirement(
        {"network": only("dcgan")},
        {"data": _LARGE},
        "it halves them down to about 4x4",
        "use --config.model.network=resnet or mlp",
    ),
    Requirement(
        {"network": only("resnet")},
        {"generator_norm": only("none")},
        "a resnet has none; with labels use --config.model.generator_condition=concat",
    ),
    Requirement(
        {"network": only("resnet")},
        {"spectral_norm": only(False)},
        "its blocks start at zero, of which there is no largest singular value to divide by",
        "use --config.model.penalty=r1_r2 without model.spectral_norm, or "
        "--config.model.network=dcgan",
    ),
    *_of_both(
        lambda player: Requirement(
            {f"{player}_condition": other_than("none")}, {"data": LABELS}, "these data have none"
        )
    ),
    *_of_both(
        lambda player: Requirement(
            {f"{player}_condition": other_than("none")},
            {"pack": only(1)},
            "packed examples have several labels",
        )
    ),
    *(
        Requirement(
            {f"{one}_condition": other_than("none")},
            {f"{other}_condition": other_than("none")},
            "a conditional GAN needs both",
            "set model.generator_condition and model.discriminator_condition, or neither",
        )
        for one, other in (_PLAYERS, _PLAYERS[::-1])
    ),
    Requirement(
        {"generator_condition": only("norm")},
        {"generator_norm": only("batch")},
        "the label sets scales and offsets of the normalisation",
    ),
)


class Generator(nn.Module):
    """z [B, L] and labels, one-hot [B, C] -> examples [B, *shape] in centered units, float32.

    Attributes:
      kind: a key of `NETWORKS`.
      shape: of one example.
      widths: of the layers.
      norm: "batch" or "none".
      condition: "none", "concat" (the label joins z) or "norm" (it sets scales and offsets).
    """

    kind: str
    shape: tuple[int, ...]
    widths: tuple[int, ...]
    norm: str = "none"
    condition: str = "none"

    @nn.compact
    def __call__(self, z: jax.Array, label: jax.Array, train: bool = False) -> jax.Array:
        def norm(h: jax.Array) -> jax.Array:
            if self.norm == "none":
                return h
            return Norm(train)(h, label if self.condition == "norm" else None)

        if self.condition == "concat":
            z = jnp.concatenate([z, label], -1)
        return NETWORKS[self.kind][0](self.shape, self.widths)(z, norm).astype(jnp.float32)


class Discriminator(nn.Module):
    """Examples [B, ...] and labels, one-hot [B, C] -> {"logits": [B], ...}, float32.

    Attributes:
      kind: a key of `NETWORKS`.
      widths: of the layers.
      spectral_norm: divides each kernel by its largest singular value (Miyato et al. 2018,
        arXiv 1802.05957).
      condition: "none", "concat" (the label joins x), "projection" (Miyato and Koyama 2018, arXiv
        1802.05637, equation 3) or "auxiliary" (Odena et al. 2017, arXiv 1610.09585): the output
        "label_logits" [B, C] classifies x.
    """

    kind: str
    widths: tuple[int, ...]
    spectral_norm: bool = False
    condition: str = "none"

    @nn.compact
    def __call__(
        self, x: jax.Array, label: jax.Array, update_stats: bool = False
    ) -> dict[str, jax.Array]:
        def layer(module: nn.Module, h: jax.Array) -> jax.Array:
            if self.spectral_norm:
                return nn.SpectralNorm(module)(h, update_stats=update_stats)
            return module(h)

        if self.condition == "concat":
            inner = (len(x), *(1,) * (x.ndim - 2), label.shape[-1])
            planes = jnp.broadcast_to(label.reshape(inner), (*x.shape[:-1], label.shape[-1]))
            x = jnp.concatenate([x, planes], -1)
        features = NETWORKS[self.kind][1](self.widths)(x, layer)
        logits = layer(Dense(1, name="output"), features)[:, 0]
        if self.condition == "projection":
            embedded = layer(Dense(features.shape[-1], use_bias=False, name="embed"), label)
            logits += (embedded * features).sum(-1)
        outputs = {"logits": logits.astype(jnp.float32)}
        if self.condition == "auxiliary":
            classes = layer(Dense(label.shape[-1], name="labels"), features)
            outputs["label_logits"] = classes.astype(jnp.float32)
        return outputs
