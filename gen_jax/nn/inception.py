"""InceptionV3 as the Fréchet inception distance uses it.

The network of Szegedy et al. 2016 (arXiv 1512.00567) with the weights of TensorFlow's
`inception-2015-12-05`, which Heusel et al. 2017 (arXiv 1706.08500) score with. It differs from
other InceptionV3s: 1008 classes, average pools that leave the padding out, and a max pool in
the last block. Modules are named as in the port to PyTorch (mseitzer/pytorch-fid), so its file
becomes ours by renaming: `Mixed_5b.branch1x1.conv.weight` [F, C, kh, kw] is
`Mixed_5b/branch1x1/conv/kernel` [kh, kw, C, F], and of `bn` the weight, bias, running_mean and
running_var are scale, bias, mean and var. `fc.weight` is transposed to `fc/kernel`.

Convolutions are flax's own: they run outside `lax.scan`, where XLA's are fast on CPU too, and
patches of pictures of 299 x 299 would not fit the memory.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

SIZE = 299
NUM_FEATURES = 2048
NUM_CLASSES = 1008

Kernel = tuple[int, int]
_ONE, _ROW, _COLUMN, _SQUARE, _LARGE = (1, 1), (1, 7), (7, 1), (3, 3), (5, 5)


class Norm(nn.Module):
    """Batch normalisation with fixed statistics; all four are parameters [C]."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        mean = self.param("mean", nn.initializers.zeros, shape)
        var = self.param("var", nn.initializers.ones, shape)
        return (x - mean) * (scale * jax.lax.rsqrt(var + 1e-3)) + bias


class ConvNorm(nn.Module):
    """Convolution without bias, normalisation, ReLU: [B, H, W, C] -> [B, H', W', features]."""

    features: int
    kernel: Kernel
    stride: int = 1
    padding: str = "SAME"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        strides = (self.stride, self.stride)
        x = nn.Conv(self.features, self.kernel, strides, self.padding, use_bias=False, name="conv")(
            x
        )
        return nn.relu(Norm(name="bn")(x))


def average_pool(x: jax.Array) -> jax.Array:
    """The mean over 3 x 3 of what lies within the image, same shape."""
    return nn.avg_pool(x, _SQUARE, padding="SAME", count_include_pad=False)


def max_pool(x: jax.Array) -> jax.Array:
    """The largest of 3 x 3, same shape."""
    return nn.max_pool(x, _SQUARE, padding="SAME")


def _halve(x: jax.Array) -> jax.Array:
    return nn.max_pool(x, _SQUARE, (2, 2))


def _chain(name: str, x: jax.Array, *layers: tuple[int, Kernel]) -> jax.Array:
    """Convolutions NAME_1, NAME_2, ... one after the other."""
    for number, (features, kernel) in enumerate(layers, 1):
        x = ConvNorm(features, kernel, name=f"{name}_{number}")(x)
    return x


def _last(name: str, x: jax.Array, features: int) -> jax.Array:
    """A 3 x 3 convolution that halves the image."""
    return ConvNorm(features, _SQUARE, 2, "VALID", name=name)(x)


class BlockA(nn.Module):
    """[B, 35, 35, C] -> [B, 35, 35, 224 + pool_features]."""

    pool_features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        parts = [
            ConvNorm(64, _ONE, name="branch1x1")(x),
            _chain("branch5x5", x, (48, _ONE), (64, _LARGE)),
            _chain("branch3x3dbl", x, (64, _ONE), (96, _SQUARE), (96, _SQUARE)),
            ConvNorm(self.pool_features, _ONE, name="branch_pool")(average_pool(x)),
        ]
        return jnp.concatenate(parts, -1)


class BlockB(nn.Module):
    """[B, 35, 35, C] -> [B, 17, 17, 480 + C]."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        double = _chain("branch3x3dbl", x, (64, _ONE), (96, _SQUARE))
        parts = [_last("branch3x3", x, 384), _last("branch3x3dbl_3", double, 96), _halve(x)]
        return jnp.concatenate(parts, -1)


class BlockC(nn.Module):
    """[B, 17, 17, C] -> [B, 17, 17, 768]; `width` is that of the inner convolutions."""

    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        w = self.width
        parts = [
            ConvNorm(192, _ONE, name="branch1x1")(x),
            _chain("branch7x7", x, (w, _ONE), (w, _ROW), (192, _COLUMN)),
            _chain(
                "branch7x7dbl", x, (w, _ONE), (w, _COLUMN), (w, _ROW), (w, _COLUMN), (192, _ROW)
            ),
            ConvNorm(192, _ONE, name="branch_pool")(average_pool(x)),
        ]
        return jnp.concatenate(parts, -1)


class BlockD(nn.Module):
    """[B, 17, 17, C] -> [B, 8, 8, 512 + C]."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        square = _chain("branch3x3", x, (192, _ONE))
        cross = _chain("branch7x7x3", x, (192, _ONE), (192, _ROW), (192, _COLUMN))
        parts = [_last("branch3x3_2", square, 320), _last("branch7x7x3_4", cross, 192), _halve(x)]
        return jnp.concatenate(parts, -1)


class BlockE(nn.Module):
    """[B, 8, 8, C] -> [B, 8, 8, 2048]; the last such block pools by the maximum."""

    pools_maximum: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        pool = max_pool if self.pools_maximum else average_pool
        single = _chain("branch3x3", x, (384, _ONE))
        double = _chain("branch3x3dbl", x, (448, _ONE), (384, _SQUARE))
        parts = [
            ConvNorm(320, _ONE, name="branch1x1")(x),
            ConvNorm(384, (1, 3), name="branch3x3_2a")(single),
            ConvNorm(384, (3, 1), name="branch3x3_2b")(single),
            ConvNorm(384, (1, 3), name="branch3x3dbl_3a")(double),
            ConvNorm(384, (3, 1), name="branch3x3dbl_3b")(double),
            ConvNorm(192, _ONE, name="branch_pool")(pool(x)),
        ]
        return jnp.concatenate(parts, -1)


class Logits(nn.Module):
    """Features [B, D] -> logits of the classes [B, num], without their bias.

    The code of Salimans et al. 2016 (arXiv 1606.03498) multiplies by the kernel alone, so published
    Inception scores are of these. The files of the weights have the bias all the same.
    """

    num: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[-1], self.num))
        self.param("bias", nn.initializers.zeros, (self.num,))
        return x @ kernel


class InceptionV3(nn.Module):
    """The whole network, for evaluation alone."""

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Images [B, 299, 299, 3] in [-1, 1] -> logits [B, 1008] and features [B, 2048]."""
        x = ConvNorm(32, _SQUARE, 2, "VALID", name="Conv2d_1a_3x3")(x)
        x = ConvNorm(32, _SQUARE, 1, "VALID", name="Conv2d_2a_3x3")(x)
        x = _halve(ConvNorm(64, _SQUARE, name="Conv2d_2b_3x3")(x))
        x = ConvNorm(80, _ONE, name="Conv2d_3b_1x1")(x)
        x = _halve(ConvNorm(192, _SQUARE, 1, "VALID", name="Conv2d_4a_3x3")(x))
        for letter, pool_features in zip("bcd", (32, 64, 64), strict=True):
            x = BlockA(pool_features, name=f"Mixed_5{letter}")(x)
        x = BlockB(name="Mixed_6a")(x)
        for letter, width in zip("bcde", (128, 160, 160, 192), strict=True):
            x = BlockC(width, name=f"Mixed_6{letter}")(x)
        x = BlockD(name="Mixed_7a")(x)
        x = BlockE(pools_maximum=False, name="Mixed_7b")(x)
        x = BlockE(pools_maximum=True, name="Mixed_7c")(x)
        features = x.mean((1, 2))
        return Logits(NUM_CLASSES, name="fc")(features), features


def resize(x: jax.Array) -> jax.Array:
    """Images [B, H, W, 1 or 3] -> [B, 299, 299, 3], bilinear; grey is repeated.

    Without a filter against aliasing, as in the common code of FID (mseitzer/pytorch-fid).
    """
    x = jnp.broadcast_to(x, (*x.shape[:3], 3))
    return jax.image.resize(x, (len(x), SIZE, SIZE, 3), "bilinear", antialias=False)
