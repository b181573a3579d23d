"""p(x | parameters): how the output of a network becomes a distribution over an example.

A likelihood reads `params` [..., *shape, num_params], where `shape` is the shape of one example:
its parameters lie along the last axis, so a network emits C * num_params channels (or
D * num_params units), channel-major, and reshapes. Axes before `shape` broadcast against those
of x, so parameters [K, B, ...] of K latent samples are read with one x [B, ...].

x and what is drawn are in the model units of `DataSpec`: {0, 1} for binary data, 0 ... levels - 1
for bytes, real numbers otherwise. All is computed in float32, whatever the type of `params`.
"""

import dataclasses
import math
from typing import Any, ClassVar, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from gen_jax import keys as keys_lib
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.settings import Setting


class Likelihood(Protocol):
    """A distribution over examples of one shape, with independent dimensions.

    Attributes:
      shape: shape of one example.
    """

    shape: tuple[int, ...]

    @property
    def num_params(self) -> int:
        """Number of parameters of each dimension of an example."""

    def log_prob(self, params: jax.Array, x: jax.Array) -> jax.Array:
        """Nats: params [..., *shape, num_params], x [..., *shape] -> float32 [...]."""

    def mean(self, params: jax.Array) -> jax.Array:
        """The mean: params [..., *shape, num_params] -> float32 [..., *shape]."""

    def noise(self, keys: jax.Array) -> Any:
        """What one x of each example is drawn with, by a key of its own: keys [B] -> arrays
        [B, *shape, ...]."""

    def from_noise(
        self, params: jax.Array, noise: Any, temperature: jax.typing.ArrayLike = 1.0
    ) -> jax.Array:
        """The x that the noise becomes, dimension by dimension, so that `shape` may be part of one.

        Args:
          params: [B, *shape, num_params].
          noise: of `noise`.
          temperature: factor of the noise. 0 gives the mode; logits are divided by it and
            scales are multiplied by it.

        Returns:
          float32 [B, *shape].
        """

    def sample(
        self, params: jax.Array, keys: jax.Array, temperature: jax.typing.ArrayLike = 1.0
    ) -> jax.Array:
        """Draws one x for each example: `from_noise` of `noise`."""


@jax.custom_jvp
def softplus(x: jax.Array) -> jax.Array:
    """ln(1 + e^x), elementwise and without overflow.

    On CPU it is 2 times faster than `jax.nn.softplus`, and 5 times in its gradient: nothing in
    it checks for infinities.
    """
    return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


# Exact at 0 too, where the derivatives of max and abs are conventions.
softplus.defjvps(lambda tangent, _, x: tangent * jax.nn.sigmoid(x))


def gaussian_log_prob(x: jax.Array, mean: jax.Array, log_variance: jax.Array) -> jax.Array:
    """Log density of a diagonal Gaussian, in nats: [..., D] each (they broadcast) -> [...]."""
    squares = jnp.square(x - mean) * jnp.exp(-log_variance)
    return -0.5 * jnp.sum(squares + log_variance + math.log(2 * math.pi), axis=-1)


class DiagonalGaussian(NamedTuple):
    """N(mean, diag exp(log_variance)), a distribution over z [..., L].

    Attributes:
      mean: float32 [..., L].
      log_variance: float32 [..., L].
    """

    mean: jax.Array
    log_variance: jax.Array

    def from_noise(self, noise: jax.Array) -> jax.Array:
        """The draw that standard normal noise [..., L] becomes; they broadcast."""
        return self.mean + jnp.exp(self.log_variance / 2) * noise

    def log_prob(self, z: jax.Array) -> jax.Array:
        """ln of the density in nats, [...]."""
        return gaussian_log_prob(z, self.mean, self.log_variance)

    def kl(self, other: "DiagonalGaussian | None" = None) -> jax.Array:
        """KL(this || other) in nats of each dimension, [..., L]; the other is N(0, I) if left out.

        Kingma and Welling 2014 (arXiv 1312.6114), appendix B.
        """
        mean, log_variance = self
        if other is not None:
            # The same in the units in which the other is N(0, I).
            mean = (mean - other.mean) * jnp.exp(-other.log_variance / 2)
            log_variance = log_variance - other.log_variance
        return 0.5 * (jnp.square(mean) + jnp.exp(log_variance) - 1.0 - log_variance)


def _sum_dims(values: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """[..., *shape] -> [...]."""
    return jnp.sum(values, axis=tuple(range(-len(shape), 0)))


def _draw(distribution, keys: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Standard noise of `distribution(key, shape)`: keys [B] -> float32 [B, *shape]."""
    return jax.vmap(lambda key: distribution(key, shape))(keys)


class _Drawn:
    """Of all likelihoods: draws by a reparameterisation of noise."""

    def sample(self, params, keys, temperature=1.0):
        return self.from_noise(params, self.noise(keys), temperature)


@dataclasses.dataclass(frozen=True)
class Bernoulli(_Drawn):
    """x in {0, 1}; one parameter, the logit of P(x = 1)."""

    shape: tuple[int, ...]
    num_params: ClassVar[int] = 1

    def log_prob(self, params: jax.Array, x: jax.Array) -> jax.Array:
        # Flat, as XLA's CPU loops over small trailing axes are slow: half of a small VAE's step.
        logits = params.astype(jnp.float32).reshape(*params.shape[: -len(self.shape) - 1], -1)
        x = x.reshape(*x.shape[: -len(self.shape)], -1)
        return jnp.sum(x * logits - softplus(logits), -1)

    def mean(self, params: jax.Array) -> jax.Array:
        return jax.nn.sigmoid(params[..., 0].astype(jnp.float32))

    def noise(self, keys):
        return _draw(jax.random.logistic, keys, self.shape)

    def from_noise(self, params, noise, temperature=1.0):
        logits = params[..., 0].astype(jnp.float32)
        return (logits + temperature * noise > 0).astype(jnp.float32)


@dataclasses.dataclass(frozen=True)
class Categorical(_Drawn):
    """x in {0, ..., levels - 1}; `levels` parameters, the logits of its values."""

    shape: tuple[int, ...]
    levels: int

    @property
    def num_params(self) -> int:
        return self.levels

    def log_prob(self, params: jax.Array, x: jax.Array) -> jax.Array:
        logits = params.astype(jnp.float32)
        # Chosen by comparison: the gradient of a gather is a scatter, 3 times slower on CPU.
        chosen = jnp.where(x[..., None] == jnp.arange(self.levels), logits, 0.0).sum(-1)
        return _sum_dims(chosen - jax.nn.logsumexp(logits, axis=-1), self.shape)

    def mean(self, params: jax.Array) -> jax.Array:
        probabilities = jax.nn.softmax(params.astype(jnp.float32), axis=-1)
        return jnp.sum(probabilities * jnp.arange(self.levels), axis=-1)

    def noise(self, keys):
        return _draw(jax.random.gumbel, keys, (*self.shape, self.levels))

    def from_noise(self, params, noise, temperature=1.0):
        logits = params.astype(jnp.float32)
        return jnp.argmax(logits + temperature * noise, axis=-1).astype(jnp.float32)


class _Bins(_Drawn):
    """Values 0, ..., levels - 1 as bins of a line on which they lie evenly on [-1, 1]."""

    shape: tuple[int, ...]
    levels: int

    @property
    def _bin(self) -> float:
        """Width of a bin."""
        return 2.0 / (self.levels - 1)

    def _clip(self, log_scale: jax.Array) -> jax.Array:
        # The upper bound (a uniform distribution) keeps a bin's width / scale from underflow.
        return jnp.clip(log_scale, math.log(self._bin / 8), 20.0)

    def _log_masses(self, mean: jax.Array, log_scale: jax.Array, x: jax.Array) -> jax.Array:
        """ln of a logistic variable's mass in the bin of x; all broadcast, elementwise."""
        inverse_scale = jnp.exp(-log_scale)
        center = x * self._bin - 1.0 - mean
        low = (center - self._bin / 2) * inverse_scale
        high = (center + self._bin / 2) * inverse_scale
        # sigmoid(high) - sigmoid(low) = sigmoid(high) sigmoid(-low) (1 - e^-(high - low)). The
        # product has no cancellation, however thin or far away the bin is; an edge bin has
        # high or low at infinity, and so its one other factor alone.
        log_width = jnp.log(-jnp.expm1(-self._bin * inverse_scale))
        first, last = x <= 0, x >= self.levels - 1
        log_mass = jnp.where(first, 0.0, -softplus(low)) + jnp.where(last, 0.0, -softplus(-high))
        return log_mass + jnp.where(first | last, 0.0, log_width)

    def _means(self, mean: jax.Array, log_scale: jax.Array) -> jax.Array:
        """E[x] of the rounded variable, elementwise."""
        # The sum of P(x > v) over v = 0 ... levels - 2; the edge above v is at v + 1/2.
        edges = (jnp.arange(self.levels - 1) + 0.5) * self._bin - 1.0
        above = (mean[..., None] - edges) * jnp.exp(-log_scale)[..., None]
        return jnp.sum(jax.nn.sigmoid(above), axis=-1)

    def _round(self, y: jax.Array) -> jax.Array:
        return jnp.clip(jnp.round((y + 1.0) / self._bin), 0, self.levels - 1)


@dataclasses.dataclass(frozen=True)
class DiscretizedLogistic(_Bins):
    """x in {0, ..., levels - 1}: a logistic variable rounded to the nearest of the values.

    Parameters: mean and log scale, in the units in which the values lie evenly on [-1, 1]. The
    first and the last bin reach to infinity. Salimans et al. 2017 (PixelCNN++, arXiv
    1701.05517), equation 2 with one component. A scale under an eighth of a bin counts as that:
    at 256 levels it is the bound e^-7 of the authors' code.
    """

    shape: tuple[int, ...]
    levels: int
    num_params: ClassVar[int] = 2

    def _unpack(self, params: jax.Array) -> tuple[jax.Array, jax.Array]:
        """-> mean, log scale: [..., *shape] each."""
        params = params.astype(jnp.float32)
        return params[..., 0], self._clip(params[..., 1])

    def log_prob(self, params: jax.Array, x: jax.Array) -> jax.Array:
        return _sum_dims(self._log_masses(*self._unpack(params), x), self.shape)

    def mean(self, params: jax.Array) -> jax.Array:
        return self._means(*self._unpack(params))

    def noise(self, keys):
        return _draw(jax.random.logistic, keys, self.shape)

    def from_noise(self, params, noise, temperature=1.0):
        mean, log_scale = self._unpack(params)
        return self._round(mean + temperature * jnp.exp(log_scale) * noise)


@dataclasses.dataclass(frozen=True)
class DiscretizedLogisticMixture(_Bins):
    """x in {0, ..., levels - 1}: a mixture of rounded logistic variables in each dimension.

    Parameters of each of the components: the logit of its weight, mean and log scale, as in
    `DiscretizedLogistic`. Salimans et al. 2017 (PixelCNN++, arXiv 1701.05517), equation 2; the
    channels of a pixel are independent, given the parameters.
    """

    shape: tuple[int, ...]
    levels: int
    components: int = 10

    @property
    def num_params(self) -> int:
        return 3 * self.components

    def _unpack(self, params: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """-> logits, means, log scales: [..., *shape, components] each."""
        logits, mean, log_scale = jnp.split(params.astype(jnp.float32), 3, -1)
        return logits, mean, self._clip(log_scale)

    def log_prob(self, params: jax.Array, x: jax.Array) -> jax.Array:
        logits, mean, log_scale = self._unpack(params)
        terms = jax.nn.log_softmax(logits, -1) + self._log_masses(mean, log_scale, x[..., None])
        return _sum_dims(jax.nn.logsumexp(terms, -1), self.shape)

    def mean(self, params: jax.Array) -> jax.Array:
        logits, mean, log_scale = self._unpack(params)
        return jnp.sum(jax.nn.softmax(logits, -1) * self._means(mean, log_scale), -1)

    def noise(self, keys):
        of_component = keys_lib.named(keys, "component")
        return (
            _draw(jax.random.gumbel, of_component, (*self.shape, self.components)),
            _draw(jax.random.logistic, keys_lib.named(keys, "value"), self.shape),
        )

    def from_noise(self, params, noise, temperature=1.0):
        logits, mean, log_scale = self._unpack(params)
        of_component, of_value = noise
        chosen = jnp.argmax(logits + temperature * of_component, -1)[..., None]
        mean, log_scale = (
            jnp.take_along_axis(each, chosen, -1)[..., 0] for each in (mean, log_scale)
        )
        return self._round(mean + temperature * jnp.exp(log_scale) * of_value)


# Below it a continuous Bernoulli's normaliser and mean are their series, whose next terms are under
# 1e-7 there; above it the closed forms lose few digits.
_SMALL_RATE = 0.3


@dataclasses.dataclass(frozen=True)
class ContinuousBernoulli(_Drawn):
    """x in [0, 1] with a density that rises or falls exponentially; one parameter, its rate.

    p(x) = e^(r x) r / (e^r - 1), where r is the logit of lambda in Loaiza-Ganem and Cunningham
    2019 (arXiv 1907.06845), equation 8.
    """

    shape: tuple[int, ...]
    num_params: ClassVar[int] = 1

    def log_prob(self, params: jax.Array, x: jax.Array) -> jax.Array:
        rate = params[..., 0].astype(jnp.float32)
        size = jnp.maximum(jnp.abs(rate), _SMALL_RATE)
        # ln((e^r - 1) / r) = r / 2 + ln(sinh(r / 2) / (r / 2)). The latter is even, and cancels
        # where r is small: there it is its series.
        even = size / 2 + jnp.log(-jnp.expm1(-size)) - jnp.log(size)
        r2 = jnp.square(rate)
        even = jnp.where(jnp.abs(rate) < _SMALL_RATE, r2 / 24 - r2 * r2 / 2880, even)
        return _sum_dims(rate * (x - 0.5) - even, self.shape)

    def mean(self, params: jax.Array) -> jax.Array:
        rate = params[..., 0].astype(jnp.float32)
        size = jnp.maximum(jnp.abs(rate), _SMALL_RATE)
        odd = 1 / -jnp.expm1(-size) - 1 / size - 0.5  # of |r|
        series = rate / 12 - rate**3 / 720
        return 0.5 + jnp.where(jnp.abs(rate) < _SMALL_RATE, series, jnp.sign(rate) * odd)

    def noise(self, keys):
        return keys_lib.uniform(keys, self.shape)

    def from_noise(self, params, noise, temperature=1.0):
        rate = params[..., 0].astype(jnp.float32) / jnp.maximum(temperature, 1e-6)
        # From the end where the density is larger, so that nothing overflows.
        size, u = jnp.maximum(jnp.abs(rate), 1e-4), noise
        away = -jnp.log1p(u * jnp.expm1(-size)) / size
        return jnp.where(rate > 0, 1 - away, away)


@dataclasses.dataclass(frozen=True)
class Gaussian(_Drawn):
    """Real x. Parameters: the mean, and the log variance unless `sigma` fixes it.

    Attributes:
      shape: shape of one example.
      sigma: standard deviation of every dimension, in model units; None to learn one of each.
    """

    shape: tuple[int, ...]
    sigma: float | jax.Array | None = None

    @property
    def num_params(self) -> int:
        return 2 if self.sigma is None else 1

    def _log_variance(self, params: jax.Array) -> jax.Array:
        if self.sigma is None:
            return params[..., 1].astype(jnp.float32)
        return 2 * jnp.log(jnp.float32(self.sigma))

    def log_prob(self, params: jax.Array, x: jax.Array) -> jax.Array:
        log_variance = self._log_variance(params)
        terms = gaussian_log_prob(
            x[..., None], self.mean(params)[..., None], log_variance[..., None]
        )
        return _sum_dims(terms, self.shape)

    def mean(self, params: jax.Array) -> jax.Array:
        return params[..., 0].astype(jnp.float32)

    def noise(self, keys):
        return keys_lib.normal(keys, self.shape)

    def from_noise(self, params, noise, temperature=1.0):
        scale = temperature * jnp.exp(0.5 * self._log_variance(params))
        return self.mean(params) + scale * noise


# The likelihoods of each kind of data, and the options of each likelihood.
_NAMES = {
    "binary": ("bernoulli",),
    "bytes": ("categorical", "discretized_logistic", "discretized_logistic_mixture"),
    "real": ("gaussian", "continuous_bernoulli"),
    "tokens": ("categorical",),
}
_OPTIONS = {"gaussian": ("sigma",), "discretized_logistic_mixture": ("components",)}


def make(name: str, spec: DataSpec, **options: Any) -> Likelihood:
    """The likelihood called `name` for examples of `spec`.

    Args:
      name: "bernoulli" for binary data; "categorical", "discretized_logistic" or
        "discretized_logistic_mixture" for bytes; "categorical" for tokens; "gaussian" for real
        numbers, and "continuous_bernoulli" for those that are dequantised bytes, in [0, 1].
      spec: what an example is.
      **options: `sigma` of a Gaussian: its standard deviation, or None (default) to learn it;
        `components` of a mixture.

    Raises:
      UserError: for a name or an option that does not suit the data.
    """
    names = _NAMES[spec.kind]
    if name not in names:
        raise UserError(
            f"likelihood {name!r} is not of {spec.kind} data, which have {', '.join(names)}; use "
            f"--config.model.likelihood={names[0]}, or another --config.data.preprocess "
            "(dynamic_binarization, bytes or uniform_dequantization)"
        )
    valid = _OPTIONS.get(name, ())
    for option in options:
        if option not in valid:
            listed = ", ".join(valid) or "no options"
            raise UserError(f"likelihood {name!r} has {listed}, not {option!r}")
    if name == "gaussian":
        sigma = options.get("sigma")
        if sigma is not None and not 0 < sigma < math.inf:
            raise UserError(f"sigma must be above 0, or None to learn it; got {sigma}")
        return Gaussian(spec.shape, sigma)
    if name == "bernoulli":
        return Bernoulli(spec.shape)
    if name == "continuous_bernoulli":
        if not spec.is_dequantized:
            raise UserError(
                "continuous_bernoulli needs data in [0, 1]: "
                "--config.data.preprocess=uniform_dequantization"
            )
        return ContinuousBernoulli(spec.shape)
    if name == "discretized_logistic_mixture":
        return DiscretizedLogisticMixture(spec.shape, spec.levels, **options)
    kind = {"categorical": Categorical, "discretized_logistic": DiscretizedLogistic}[name]
    return kind(spec.shape, spec.num_values)


# The keys of a family whose output is a likelihood.
SETTINGS = {
    "likelihood": Setting("bernoulli", "p(x|z): what becomes of the network's output"),
    "likelihood_components": Setting(10, "of discretized_logistic_mixture", minimum=1),
    "sigma": Setting(0.0, "Gaussian likelihood: its standard deviation; 0: learned"),
}


def from_config(model: ConfigDict, spec: DataSpec) -> Likelihood:
    """`make` from a family's config: `likelihood`, `likelihood_components`, `sigma` (0: learned).

    Raises:
      UserError: for a name that does not suit the data.
    """
    options = {
        "gaussian": {"sigma": model.sigma or None},
        "discretized_logistic_mixture": {"components": model.likelihood_components},
    }
    return make(model.likelihood, spec, **options.get(model.likelihood, {}))
