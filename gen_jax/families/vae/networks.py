"""Encoder and decoder: linen modules whose sizes come from the data."""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from gen_jax import keys as keys_lib
from gen_jax.data.spec import DataSpec
from gen_jax.families import conditions
from gen_jax.families.requirements import (
    IMAGES,
    LABELS,
    Requirement,
    Values,
    above,
    not_empty,
    only,
)
from gen_jax.families.vae import priors
from gen_jax.likelihoods import DiagonalGaussian
from gen_jax.nn import bijections, elementwise
from gen_jax.nn.conv import Conv, ConvTranspose
from gen_jax.nn.dense import Dense
from gen_jax.nn.elu import elu
from gen_jax.nn.made import MADE

# "gated" is of a layer with twice the outputs: one half, times the sigmoid of the other.
ACTIVATIONS = {
    "tanh": jnp.tanh,
    "relu": nn.relu,
    "gelu": nn.gelu,
    "silu": nn.silu,
    "gated": nn.glu,
}

PRIORS = ("standard_normal", "label", "mixture", "vamp", "exemplars", "flow")

_glorot = nn.initializers.glorot_uniform()


def _outputs(width: int, activation: str) -> int:
    """Of a layer whose activation leaves `width` features."""
    return 2 * width if activation == "gated" else width


def _dense(h: jax.Array, width: int, activation: str, dtype: str) -> jax.Array:
    """One layer of the module in whose call this is."""
    dense = Dense(_outputs(width, activation), kernel_init=_glorot, dtype=dtype)
    return ACTIVATIONS[activation](dense(h))


class DenseLayer(nn.Module):
    """[..., D] -> [..., width]."""

    width: int
    activation: str
    dtype: str

    @nn.compact
    def __call__(self, h: jax.Array) -> jax.Array:
        return _dense(h, self.width, self.activation, self.dtype)


class MLPEncoder(nn.Module):
    """x [B, *shape] and its label, one-hot [B, C] -> features [B, hidden[-1]]."""

    hidden: tuple[int, ...]
    activation: str
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, label: jax.Array) -> jax.Array:
        h = jnp.concatenate([x.reshape(len(x), -1), label], -1)
        for width in self.hidden:
            h = _dense(h, width, self.activation, self.dtype)
        return h


class MLPDecoder(nn.Module):
    """z [N, latent_dim + C] -> raw outputs [N, *shape, num_params]."""

    shape: tuple[int, ...]
    num_params: int
    hidden: tuple[int, ...]
    activation: str
    dtype: str

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        h = z
        for width in self.hidden[::-1]:
            h = _dense(h, width, self.activation, self.dtype)
        size = math.prod(self.shape) * self.num_params
        h = Dense(size, kernel_init=_glorot, dtype=self.dtype, name="output")(h)
        return h.reshape(-1, *self.shape, self.num_params)


class ConvEncoder(nn.Module):
    """Stride-2 4x4 convolutions, one for each width; the label joins as constant channels."""

    hidden: tuple[int, ...]
    activation: str
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, label: jax.Array) -> jax.Array:
        planes = jnp.broadcast_to(label[:, None, None], (*x.shape[:3], label.shape[-1]))
        h = jnp.concatenate([x, planes], -1)
        for width in self.hidden:
            features = _outputs(width, self.activation)
            h = Conv(features, (4, 4), (2, 2), padding="SAME", dtype=self.dtype)(h)
            h = ACTIVATIONS[self.activation](h)
        return h.reshape(len(h), -1)


class ConvDecoder(nn.Module):
    """The mirror of `ConvEncoder`. Sizes that 2 does not divide are cropped back on the way."""

    shape: tuple[int, ...]
    num_params: int
    hidden: tuple[int, ...]
    activation: str
    dtype: str

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        height, width, channels = self.shape
        sizes = [(height, width)]
        for _ in self.hidden:
            sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
        act = ACTIVATIONS[self.activation]
        bottom = (*sizes.pop(), _outputs(self.hidden[-1], self.activation))
        h = Dense(math.prod(bottom), dtype=self.dtype)(z).reshape(-1, *bottom)
        outputs = [_outputs(width, self.activation) for width in self.hidden[:-1][::-1]]
        outputs.append(channels * self.num_params)
        for index, features in enumerate(outputs):
            name = "output" if index == len(outputs) - 1 else None
            up = ConvTranspose(features, (4, 4), (2, 2), dtype=self.dtype, name=name)
            rows, columns = sizes.pop()
            h = up(act(h))[:, :rows, :columns]
        # One long axis, as XLA's CPU loops over small trailing ones are slow: a step takes a tenth
        # longer where the likelihood is summed over [H, W, 1]. Without the barrier the compiler
        # goes back to these axes.
        h = jax.lax.optimization_barrier(h.reshape(len(h), math.prod(h.shape[1:])))
        return h.reshape(-1, *self.shape, self.num_params)


_BOUNDS = Values(
    " of no or two numbers, the second larger",
    lambda bounds: not bounds or (len(bounds) == 2 and bounds[0] < bounds[1]),
    (-6.0, 2.0),
)
NETWORKS = {"mlp": (MLPEncoder, MLPDecoder), "conv": (ConvEncoder, ConvDecoder)}

REQUIREMENTS = (
    Requirement(
        {"network": only("conv")},
        {"data": IMAGES},
        "it is of convolutions",
        "use --config.model.network=mlp",
    ),
    Requirement(
        {"network": only("conv")},
        {"hidden": not_empty((32, 64))},
        "each width is a convolution",
    ),
    Requirement({}, {"log_variance": _BOUNDS}, "they are the least and the largest"),
    Requirement(
        {"flow_steps": above(0, 2)},
        {"flow_hidden": not_empty((320,))},
        "a flow sees x by its hidden layers",
    ),
    Requirement(
        {"conditional": only(True)},
        {"data": LABELS},
        "and these data have none",
        "use --config.model.conditional=False",
    ),
)


# Of a layer above the first. Its input is a draw of another such layer, so without bounds narrow
# networks, whose first outputs are large, drive one another to infinity before the first step. They
# are far from where training goes: standard deviations of 1e-3 and 150.
LOG_VARIANCE = (-14.0, 10.0)


class GaussianNetwork(nn.Module):
    """Features [..., D] through dense layers -> a Gaussian over z [..., L], float32.

    Attributes:
      latent_dim: L.
      hidden: widths.
      activation: a key of `ACTIVATIONS`.
      dtype: of the arithmetic.
      log_variance: the least and the largest.
    """

    latent_dim: int
    hidden: tuple[int, ...]
    activation: str
    dtype: str
    log_variance: tuple[float, float] = LOG_VARIANCE

    @nn.compact
    def __call__(self, h: jax.Array) -> DiagonalGaussian:
        for width in self.hidden:
            h = _dense(h, width, self.activation, self.dtype)
        h = Dense(2 * self.latent_dim, kernel_init=_glorot, dtype=self.dtype, name="output")(h)
        mean, log_sigma = jnp.split(h.astype(jnp.float32), 2, -1)
        return DiagonalGaussian(mean, jnp.clip(2 * log_sigma, *self.log_variance))


class VAENetwork(nn.Module):
    """Encoder, decoder and prior, with one stochastic layer or several.

    q(z|x) = q(z1|x) q(z2|z1) ... and p(z) = ... p(z1|z2) with Gaussians whose means and variances
    are dense networks, as in Burda et al. 2016 (arXiv 1509.00519), section 5. All outputs are
    float32 whatever `dtype` is, as the losses are computed from them.

    Attributes:
      spec: the data.
      kind: "mlp" or "conv".
      hidden: widths from the data to z1; the decoder mirrors them.
      activation: a key of `ACTIVATIONS`.
      latent_dim: L, of z1.
      upper: (latent_dim, hidden) of each further layer, z2 and up.
      flow_steps: steps of an inverse autoregressive flow that a draw of z1 goes through. The
        latents of `sample_posterior` and `log_posterior` are those before it, whose density is
        Gaussian; `transform` is the flow, and all else takes what comes out of it.
      flow_hidden: widths of each step's network.
      prior: a key of `PRIORS`, of the topmost layer.
      prior_components: of a mixture.
      prior_flow_steps: steps of an autoregressive flow from latents to noise.
      prior_flow_hidden: widths of each of its networks.
      log_variance: the least and the largest of all Gaussians of latents; (): any for z1, and
        `LOG_VARIANCE` above it.
      num_params: outputs of the likelihood for each dimension of the data.
      num_classes: number of labels C that encoder and decoder are conditioned on; 0 for none.
      dtype: of the arithmetic; parameters are float32.
    """

    spec: DataSpec
    kind: str
    hidden: tuple[int, ...]
    activation: str
    latent_dim: int
    num_params: int
    num_classes: int
    dtype: str
    upper: tuple[tuple[int, tuple[int, ...]], ...] = ()
    flow_steps: int = 0
    flow_hidden: tuple[int, ...] = ()
    prior: str = "standard_normal"
    prior_components: int = 1
    prior_flow_steps: int = 0
    prior_flow_hidden: tuple[int, ...] = ()
    log_variance: tuple[float, ...] = ()

    @property
    def latent_dims(self) -> tuple[int, ...]:
        """L of every layer, from the data up."""
        return (self.latent_dim, *(size for size, _ in self.upper))

    @property
    def code_size(self) -> int:
        """Of what is decoded: z1."""
        return self.latent_dim

    @nn.nowrap
    def code(self, latents: Sequence[jax.Array]) -> jax.Array:
        """What is decoded [..., code_size], of the latents of all layers."""
        return latents[0]

    def setup(self):
        encoder, decoder = NETWORKS[self.kind]
        style = {"activation": self.activation, "dtype": self.dtype}
        self.encoder = encoder(hidden=self.hidden, **style)
        self.posterior = Dense(2 * self.latent_dim, kernel_init=_glorot, dtype=self.dtype)
        self.decoder = decoder(
            shape=self.spec.shape, num_params=self.num_params, hidden=self.hidden, **style
        )
        if self.flow_steps:
            gates = self.flow_steps, self.flow_hidden, elementwise.Gate()
            self.flow = self._autoregressive(self.latent_dim, *gates)
        sizes = self.latent_dims
        style |= {"log_variance": self.log_variance or LOG_VARIANCE}
        self.upward = [GaussianNetwork(size, hidden, **style) for size, hidden in self.upper]
        self.downward = [
            GaussianNetwork(sizes[i], hidden[::-1], **style)
            for i, (_, hidden) in enumerate(self.upper)
        ]
        self.top = self._prior()

    def _prior(self):
        """Of the topmost layer, as in `setup`."""
        size = self.latent_dims[-1]
        return {
            "standard_normal": lambda: priors.StandardNormal(size),
            "label": lambda: priors.LabelNormal(size),
            "mixture": lambda: priors.MixtureOfGaussians(size, self.prior_components),
            "vamp": lambda: priors.PseudoInputs(self.prior_components, self.spec.shape),
            "exemplars": lambda: priors.Exemplars(self.prior_components, size),
            "flow": lambda: self._autoregressive(
                size, self.prior_flow_steps, self.prior_flow_hidden, elementwise.Affine()
            ),
        }[self.prior]()

    def _autoregressive(
        self, size: int, steps: int, hidden: tuple[int, ...], transform: elementwise.Elementwise
    ) -> bijections.BijectionModule:
        """Steps that are each autoregressive; every other one in the reverse order."""
        style = {"activation": elu, "starts_at_zero": True, "dtype": self.dtype}
        network = MADE(size, hidden, transform.num_params, **style)
        one = bijections.MaskedAutoregressive(transform, network)
        layer = bijections.Chain((one, bijections.Reverse()))
        return bijections.BijectionModule(bijections.Stack(layer, steps))

    def __call__(self, x: jax.Array, label: jax.Array) -> jax.Array:
        """Touches every parameter: x and label as in `encode` -> the decoder's output."""
        latents = self.sample_posterior(x, label, [0.0] * len(self.latent_dims))
        latents, _ = self.transform(x, label, latents)
        self.log_prior(latents, label)
        return self.decode(self.code(latents), label)

    def encode(self, x: jax.Array, label: jax.Array) -> DiagonalGaussian:
        """x [B, *shape] in model units, label [B] -> q(z1|x), [B, L]."""
        h = self._features(x, label)
        mean, log_sigma = jnp.split(self.posterior(h).astype(jnp.float32), 2, -1)
        log_variance = 2 * log_sigma
        if self.log_variance:
            log_variance = jnp.clip(log_variance, *self.log_variance)
        return DiagonalGaussian(mean, log_variance)

    def sample_posterior(self, x: jax.Array, label: jax.Array, noise: list) -> list[jax.Array]:
        """Standard normal noise [..., B, L] for each layer -> latents of each, the same shapes."""
        latents = [self.encode(x, label).from_noise(noise[0])]
        for network, own in zip(self.upward, noise[1:], strict=True):
            latents.append(network(latents[-1]).from_noise(own))
        return latents

    def transform(
        self, x: jax.Array, label: jax.Array, latents: Sequence[jax.Array]
    ) -> tuple[Sequence[jax.Array], jax.Array]:
        """Latents after the flow, and ln |det| of its Jacobian [..., B]: 0 where there is none."""
        if not self.flow_steps:
            return latents, jnp.zeros(latents[0].shape[:-1])
        z, log_det = self.flow(latents[0], self._features(x, label))
        return [z, *latents[1:]], log_det

    def log_posterior(
        self, x: jax.Array, label: jax.Array, latents: Sequence[jax.Array]
    ) -> jax.Array:
        """log q(z|x) in nats of each layer: latents [..., B, L] of each -> [D, ..., B]."""
        terms = [self.encode(x, label).log_prob(latents[0])]
        for network, below, z in zip(self.upward, latents[:-1], latents[1:], strict=True):
            terms.append(network(below).log_prob(z))
        return jnp.stack(terms)

    def log_prior(
        self, latents: Sequence[jax.Array], label: jax.Array, exemplars: jax.Array | None = None
    ) -> jax.Array:
        """log p(z) in nats of each layer: latents [..., B, L] of each -> [D, ..., B].

        With `exemplars` [..., B, K, *shape], examples in model units, the topmost layer's prior is
        of what the encoder makes of these alone.
        """
        terms = []
        for network, z, upper in zip(self.downward, latents[:-1], latents[1:], strict=True):
            terms.append(network(upper).log_prob(z))
        return jnp.stack([*terms, self._log_top(latents[-1], label, exemplars)])

    def top_mean(self, x: jax.Array) -> jax.Array:
        """x [..., *shape] in model units -> the mean of q of the topmost layer, [..., L]."""
        flat = x.reshape(-1, *self.spec.shape)
        mean = self._top_posterior(flat, jnp.zeros(len(flat), jnp.int32)).mean
        return mean.reshape(*x.shape[: x.ndim - len(self.spec.shape)], -1)

    def _log_top(self, z: jax.Array, label: jax.Array, exemplars: jax.Array | None) -> jax.Array:
        if exemplars is not None:
            _, log_variance = self._components(label)
            return priors.log_prob(z, self.top_mean(exemplars), log_variance)
        if self.prior != "flow":
            return priors.log_prob(z, *self._components(label))
        noise, log_det = self.top(z)
        return jax.scipy.stats.norm.logpdf(noise).sum(-1) + log_det

    def sample_prior(
        self, keys: jax.Array, label: jax.Array, temperature: jax.typing.ArrayLike
    ) -> jax.Array:
        """One draw of what is decoded for each key [N] and label [N]: [N, code_size]."""
        z = self._sample_top(keys_lib.named(keys, "top"), label, temperature)
        for index in reversed(range(len(self.downward))):
            z = self._sample_below(index, keys, z, temperature)
        return z

    def _sample_below(
        self, index: int, keys: jax.Array, above: jax.Array, temperature: jax.typing.ArrayLike
    ) -> jax.Array:
        """A layer, given the one above it."""
        prior = self.downward[index](above)
        noise = keys_lib.normal(keys_lib.named(keys, f"layer {index}"), prior.mean.shape[1:])
        return prior.from_noise(temperature * noise)

    def _sample_top(
        self, keys: jax.Array, label: jax.Array, temperature: jax.typing.ArrayLike
    ) -> jax.Array:
        if self.prior != "flow":
            return priors.sample(keys, *self._components(label), temperature)
        noise = temperature * keys_lib.normal(keys, (self.latent_dims[-1],))
        return self.top(noise, inverse=True)[0]

    def decode(self, z: jax.Array, label: jax.Array) -> jax.Array:
        """z [..., code_size], label [...] or shares of labels [..., num_classes] -> the
        likelihood's parameters [..., *shape, num_params]."""
        return self._decode([z], label)

    def _decode(self, inputs: Sequence[jax.Array], label: jax.Array) -> jax.Array:
        """By the decoder, of its inputs [..., D] and the label."""
        flat = jnp.concatenate([*inputs, self._one_hot(label)], -1)
        out = self.decoder(flat.reshape(-1, flat.shape[-1])).astype(jnp.float32)
        return out.reshape(*flat.shape[:-1], *out.shape[1:])

    def _components(self, label: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Means and log variances of the topmost prior's mixture."""
        if self.prior != "vamp":
            return self.top(conditions.one_hot(label, self.spec.num_classes))
        # What the encoder makes of learned pseudo-inputs, up to the topmost layer.
        x = self.top()
        return self._top_posterior(self.spec.uncenter(x), jnp.zeros(len(x), jnp.int32))

    def _top_posterior(self, x: jax.Array, label: jax.Array) -> DiagonalGaussian:
        """q of the topmost layer, where those below it have their means."""
        posterior = self.encode(x, label)
        for network in self.upward:
            posterior = network(posterior.mean)
        return posterior

    def _features(self, x: jax.Array, label: jax.Array) -> jax.Array:
        return self.encoder(self.spec.center(x), self._one_hot(label))

    def _one_hot(self, label: jax.Array) -> jax.Array:
        return conditions.one_hot(label, self.num_classes)
