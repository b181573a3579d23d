"""The very deep VAE: a path up from the image, a path down from a constant, latents on the way.

After Child 2021 (arXiv 2011.10650), with one width at all resolutions.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from gen_jax.data.spec import DataSpec
from gen_jax.likelihoods import DiagonalGaussian
from gen_jax.nn.conv import Conv

Size = tuple[int, int]


class Inference(NamedTuple):
    """What a pass down with the image's posteriors gives; D layers, from the data up.

    Attributes:
      outputs: the likelihood's parameters [N, *shape, num_params].
      posterior: q(z_l|x, z_<l) of all latents, [N, latent_dim], in the order they are drawn.
      kl: KL(q(z_l|x, z_<l) || p(z_l|z_<l)) in nats, [D, N].
      log_ratios: log p(z_l|z_<l) - log q(z_l|x, z_<l) in nats at the z drawn, [D, N].
    """

    outputs: jax.Array
    posterior: DiagonalGaussian
    kl: jax.Array
    log_ratios: jax.Array


def resolutions(size: Size, count: int) -> tuple[Size, ...]:
    """Image sizes from the data's down: each half of the last, rounded up, and 1x1 the last."""
    halved = [tuple(-(-n // 2**level) for n in size) for level in range(count - 1)]
    return (*halved, (1, 1))


def _factors(large: Size, small: Size) -> Size:
    return -(-large[0] // small[0]), -(-large[1] // small[1])


def pool(x: jax.Array, size: Size) -> jax.Array:
    """Means over windows: images [N, H, W, C] -> [N, *size, C].

    Where the windows do not divide the image the last row and column are repeated.
    """
    factors = _factors(x.shape[1:3], size)
    fill = [(0, f * n - old) for f, n, old in zip(factors, size, x.shape[1:3], strict=True)]
    if any(over for _, over in fill):  # a pad by nothing has a slow gradient on CPU
        x = jnp.pad(x, ((0, 0), *fill, (0, 0)), "edge")
    x = x.reshape(len(x), size[0], factors[0], size[1], factors[1], x.shape[-1])
    return x.mean((2, 4))


def upsample(x: jax.Array, size: Size) -> jax.Array:
    """Repeats pixels and crops what is over: images [N, h, w, C] -> [N, *size, C]."""
    factors = _factors(size, x.shape[1:3])
    x = jnp.repeat(jnp.repeat(x, factors[0], 1), factors[1], 2)
    return x[:, : size[0], : size[1]]


def _scaled(depth: int) -> Callable:
    """Weights smaller by sqrt(depth), so that a sum of so many blocks keeps its size."""
    return nn.initializers.variance_scaling(1.0 / depth, "fan_in", "truncated_normal")


class Bottleneck(nn.Module):
    """Convolutions 1x1, 3x3, 3x3, 1x1, a GELU before each: [N, H, W, C] -> [N, H, W, features].

    Images of 2x2 and less have 1x1 for 3x3, as in Child 2021 (arXiv 2011.10650).

    Attributes:
      features: channels that come out.
      inner: channels between.
      last_init: of the last kernel.
      dtype: of the arithmetic.
    """

    features: int
    inner: int
    last_init: Callable
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        side = 3 if max(x.shape[1:3]) > 2 else 1
        for kernel in (1, side, side):
            x = Conv(self.inner, (kernel, kernel), dtype=self.dtype)(nn.gelu(x))
        last = Conv(self.features, (1, 1), kernel_init=self.last_init, dtype=self.dtype)
        return last(nn.gelu(x))


class TopDownBlock(nn.Module):
    """One layer of latents: [N, H, W, L] on a path [N, H, W, width].

    Attributes:
      width: channels of the path.
      inner: of the bottlenecks.
      latent_channels: L, latents at each pixel.
      depth: number of such blocks.
      dtype: of the arithmetic.
    """

    width: int
    inner: int
    latent_channels: int
    depth: int
    dtype: str

    def setup(self):
        network = functools.partial(Bottleneck, inner=self.inner, dtype=self.dtype)
        latents = 2 * self.latent_channels
        # It starts as N(0, I), wherever the path above is.
        self.prior_network = network(latents + self.width, last_init=nn.initializers.zeros)
        self.posterior_network = network(latents, last_init=_scaled(1))
        self.projection = Conv(
            self.width, (1, 1), kernel_init=_scaled(self.depth), dtype=self.dtype
        )
        self.residual = network(self.width, last_init=_scaled(self.depth))

    def prior(self, h: jax.Array) -> tuple[DiagonalGaussian, jax.Array]:
        """p(z_l|z_<l), and the path with what this network adds to it."""
        parameters, update = jnp.split(self.prior_network(h), [2 * self.latent_channels], -1)
        return _gaussian(parameters), h + update

    def posterior(self, h: jax.Array, activations: jax.Array) -> DiagonalGaussian:
        """q(z_l|x, z_<l) from the path before `prior` and what came up at its resolution."""
        return _gaussian(self.posterior_network(jnp.concatenate([h, activations], -1)))

    def merge(self, h: jax.Array, z: jax.Array) -> jax.Array:
        """The path after `prior`, and latents -> the path that the next block gets."""
        h = h + self.projection(z)
        return h + self.residual(h)


def _gaussian(parameters: jax.Array) -> DiagonalGaussian:
    mean, log_sigma = jnp.split(parameters.astype(jnp.float32), 2, -1)
    return DiagonalGaussian(mean, 2 * log_sigma)


def _flat(x: jax.Array) -> jax.Array:
    return x.reshape(len(x), -1)


class VDVAENetwork(nn.Module):
    """p(z) = prod p(z_l|z_<l) and q(z|x) = prod q(z_l|x, z_<l) on one path from the top down.

    Both take what the layers above have drawn from the same path (Sønderby et al. 2016, arXiv
    1602.02282). All latents of an image, or noise for them, are one vector, in the
    order in which they are drawn: layers from the top down.

    Attributes:
      spec: the data, images.
      blocks: number of layers of latents, and of blocks on the way up, at each of `resolutions`.
      width: channels of both paths.
      inner: of the bottlenecks.
      latent_channels: L, latents at each pixel of a layer.
      num_params: outputs of the likelihood for each dimension of the data.
      dtype: of the arithmetic; parameters are float32.
    """

    spec: DataSpec
    blocks: tuple[int, ...]
    width: int
    inner: int
    latent_channels: int
    num_params: int
    dtype: str

    @property
    def sizes(self) -> tuple[Size, ...]:
        return resolutions(self.spec.shape[:2], len(self.blocks))

    @property
    def latent_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """[H, W, L] of every layer, from the top down."""
        pairs = zip(self.sizes[::-1], self.blocks[::-1], strict=True)
        return tuple((*size, self.latent_channels) for size, count in pairs for _ in range(count))

    @property
    def latent_dim(self) -> int:
        """Latents of an image."""
        return sum(h * w * channels for h, w, channels in self.latent_shapes)

    def setup(self):
        depth = sum(self.blocks)
        up = functools.partial(Bottleneck, self.width, self.inner, _scaled(depth), self.dtype)
        down = functools.partial(
            TopDownBlock, self.width, self.inner, self.latent_channels, depth, self.dtype
        )
        self.entry = Conv(self.width, (3, 3), dtype=self.dtype)
        self.up = [[up() for _ in range(count)] for count in self.blocks]
        self.down = [[down() for _ in range(count)] for count in self.blocks]
        # That of 1x1 is the constant which the path down starts from.
        self.biases = [
            self.param(f"bias_{level}", nn.initializers.zeros, (*size, self.width))
            for level, size in enumerate(self.sizes)
        ]
        channels = self.spec.shape[-1] * self.num_params
        # 3x3 and not the paper's 1x1, as the data's own resolution may have no block.
        self.output = Conv(channels, (3, 3), dtype=self.dtype)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Touches every parameter: x [N, *shape] -> the likelihood's parameters."""
        return self.infer(self.bottom_up(x), jnp.zeros((len(x), self.latent_dim))).outputs

    def bottom_up(self, x: jax.Array) -> list[jax.Array]:
        """x [N, *shape] in model units -> activations [N, *size, width] of each of `sizes`."""
        h, activations = self.entry(self.spec.center(x)), []
        for size, blocks in zip(self.sizes, self.up, strict=True):
            h = pool(h, size)
            for block in blocks:
                h = h + block(h)
            activations.append(h)
        return activations

    def infer(self, activations: list[jax.Array], noise: jax.Array) -> Inference:
        """Draws every layer from its posterior: activations, standard noise [N, latent_dim]."""
        noise, layers = self._split(noise), []

        def latents(layer, level, block, h, prior):
            posterior = block.posterior(h, activations[level])
            z = posterior.from_noise(noise[layer])
            layers.append((z, prior, posterior))
            return z

        outputs = self._top_down(len(noise[0]), latents)
        kl = [_flat(q.kl(p)).sum(-1) for _, p, q in layers]
        log_ratios = [_flat(p.log_prob(z) - q.log_prob(z)).sum(-1) for z, p, q in layers]
        posterior = DiagonalGaussian(
            *(jnp.concatenate([_flat(q[part]) for _, _, q in layers], -1) for part in (0, 1))
        )
        return Inference(outputs, posterior, jnp.stack(kl[::-1]), jnp.stack(log_ratios[::-1]))

    def generate(self, noise: jax.Array, temperature: jax.typing.ArrayLike) -> jax.Array:
        """Draws every layer from its prior: standard noise [N, latent_dim] -> outputs.

        The temperature multiplies standard deviations.
        """
        parts = self._split(temperature * noise)
        return self._top_down(
            len(noise), lambda layer, level, block, h, prior: prior.from_noise(parts[layer])
        )

    def decode(self, z: jax.Array) -> jax.Array:
        """Latents [N, latent_dim] -> the likelihood's parameters [N, *shape, num_params]."""
        parts = self._split(z)
        return self._top_down(len(z), lambda layer, level, block, h, prior: parts[layer])

    def _top_down(self, num: int, latents: Callable) -> jax.Array:
        """The path down, where `latents(layer, level, block, h, prior)` gives each layer's z."""
        h, layer = jnp.zeros((num, 1, 1, self.width)), 0
        for level in reversed(range(len(self.sizes))):
            h = upsample(h, self.sizes[level]) + self.biases[level]
            for block in self.down[level]:
                prior, updated = block.prior(h)
                h = block.merge(updated, latents(layer, level, block, h, prior))
                layer += 1
        outputs = self.output(nn.gelu(h)).astype(jnp.float32)
        return outputs.reshape(num, *self.spec.shape, self.num_params)

    def _split(self, flat: jax.Array) -> list[jax.Array]:
        """[N, latent_dim] -> [N, H, W, L] of each layer, from the top down."""
        parts, start = [], 0
        for height, width, channels in self.latent_shapes:
            end = start + height * width * channels
            parts.append(flat[:, start:end].reshape(-1, height, width, channels))
            start = end
        return parts
