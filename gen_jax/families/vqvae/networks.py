"""Encoder and decoder of van den Oord et al. 2017 (arXiv 1711.00937), section 4.1."""

import flax.linen as nn
import jax

from gen_jax.data.spec import DataSpec
from gen_jax.nn.conv import Conv, ConvTranspose


class Residual(nn.Module):
    """x + conv1x1(relu(conv3x3(relu(x)))): [B, H, W, width], once for each block; then a relu."""

    width: int
    blocks: int
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for _ in range(self.blocks):
            h = Conv(self.width, (3, 3), dtype=self.dtype)(nn.relu(x))
            x += Conv(self.width, (1, 1), dtype=self.dtype)(nn.relu(h))
        return nn.relu(x)


class Encoder(nn.Module):
    """Centred x [B, H, W, C] -> a grid [B, ceil(H / 4), ceil(W / 4), code_dim]."""

    width: int
    blocks: int
    code_dim: int
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        h = Conv(self.width, (4, 4), (2, 2), dtype=self.dtype)(x)
        h = Conv(self.width, (4, 4), (2, 2), dtype=self.dtype)(nn.relu(h))
        h = Residual(self.width, self.blocks, self.dtype)(h)
        return Conv(self.code_dim, (1, 1), dtype=self.dtype, name="output")(h)


class Decoder(nn.Module):
    """The mirror of `Encoder`: a grid -> [B, H, W, features].

    Sizes that 2 does not divide are cropped back on the way.
    """

    size: tuple[int, int]
    features: int
    width: int
    blocks: int
    dtype: str

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        height, width = self.size
        h = Conv(self.width, (3, 3), dtype=self.dtype)(z)
        h = Residual(self.width, self.blocks, self.dtype)(h)
        h = ConvTranspose(self.width, (4, 4), (2, 2), dtype=self.dtype)(h)
        h = nn.relu(h[:, : (height + 1) // 2, : (width + 1) // 2])
        h = ConvTranspose(self.features, (4, 4), (2, 2), dtype=self.dtype, name="output")(h)
        return h[:, :height, :width]


class VQVAENetwork(nn.Module):
    """Encoder and decoder. Outputs are float32 whatever `dtype` is.

    Attributes:
      spec: the data, images.
      width: channels of every layer.
      blocks: residual blocks of the encoder, and of the decoder.
      code_dim: D, channels of the grid.
      num_params: outputs of the likelihood for each dimension of the data.
      dtype: of the arithmetic; parameters are float32.
    """

    spec: DataSpec
    width: int
    blocks: int
    code_dim: int
    num_params: int
    dtype: str

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the codes of one image."""
        height, width, _ = self.spec.shape
        return -(-height // 4), -(-width // 4)

    def setup(self):
        height, width, channels = self.spec.shape
        style = {"width": self.width, "blocks": self.blocks, "dtype": self.dtype}
        self.encoder = Encoder(code_dim=self.code_dim, **style)
        self.decoder = Decoder(size=(height, width), features=channels * self.num_params, **style)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Touches every parameter."""
        return self.decode(self.encode(x))

    def encode(self, x: jax.Array) -> jax.Array:
        """x [B, *shape] in model units -> the grid before quantisation, [B, h, w, D]."""
        return self.encoder(self.spec.center(x)).astype("float32")

    def decode(self, z: jax.Array) -> jax.Array:
        """Codes' vectors [B, h, w, D] -> the likelihood's parameters [B, *shape, num_params]."""
        out = self.decoder(z).astype("float32")
        return out.reshape(-1, *self.spec.shape, self.num_params)
