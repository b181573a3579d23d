"""Increasing maps of a number, each by parameters of its own, that couplings choose from.

x [...] and params [..., P] -> y and ln |dy/dx|, both [...].
"""

import dataclasses
import math
from typing import Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from gen_jax.likelihoods import softplus

Mapped = tuple[jax.Array, jax.Array]  # what a map gives, and the logarithm of its derivative


class Elementwise(Protocol):
    """An increasing map of a number.

    Attributes:
      num_params: P. With all of them 0 it is the identity, or near it.
    """

    @property
    def num_params(self) -> int: ...

    def forward(self, x: jax.Array, params: jax.Array) -> Mapped: ...

    def inverse(self, y: jax.Array, params: jax.Array) -> Mapped: ...


@dataclasses.dataclass(frozen=True)
class Additive:
    """x + b: Dinh et al. 2015 (NICE, arXiv 1410.8516), equation 9."""

    num_params: int = 1

    def forward(self, x, params):
        return x + params[..., 0], jnp.zeros_like(x)

    def inverse(self, y, params):
        return y - params[..., 0], jnp.zeros_like(y)


@dataclasses.dataclass(frozen=True)
class Affine:
    """x e^s + b: Dinh et al. 2017 (Real NVP, arXiv 1605.08803), equation 7.

    Attributes:
      limit: of |s|, so that nothing overflows.
    """

    limit: float = 3.0
    num_params: int = 2

    def _scale(self, params: jax.Array) -> jax.Array:
        return self.limit * jnp.tanh(params[..., 1] / self.limit)

    def forward(self, x, params):
        log_scale = self._scale(params)
        return x * jnp.exp(log_scale) + params[..., 0], log_scale

    def inverse(self, y, params):
        log_scale = self._scale(params)
        return (y - params[..., 0]) * jnp.exp(-log_scale), -log_scale


@dataclasses.dataclass(frozen=True)
class Gate:
    """g x + (1 - g) m with a gate g = sigmoid(s + 2), so that at first x changes little.

    Kingma et al. 2016 (IAF, arXiv 1606.04934), equations 13 and 14.
    """

    num_params: int = 2

    def forward(self, x, params):
        middle, s = params[..., 0], params[..., 1] + 2.0
        return nn.sigmoid(s) * x + nn.sigmoid(-s) * middle, nn.log_sigmoid(s)

    def inverse(self, y, params):
        middle, s = params[..., 0], params[..., 1] + 2.0
        return (y - nn.sigmoid(-s) * middle) / nn.sigmoid(s), -nn.log_sigmoid(s)


# Of a bin of a spline: the least share of the interval, and the least slope at a knot.
_LEAST_SHARE, _LEAST_SLOPE = 1e-3, 1e-3


@dataclasses.dataclass(frozen=True)
class Spline:
    """A monotone rational-quadratic spline on [-bound, bound], and the identity outside.

    Durkan et al. 2019 (arXiv 1906.04032), section 3.1. Parameters: K widths, K heights, and the
    slopes at the K - 1 knots inside; at the ends the slope is 1.

    Attributes:
      bins: K.
      bound: of the interval.
    """

    bins: int = 8
    bound: float = 5.0

    @property
    def num_params(self) -> int:
        return 3 * self.bins - 1

    def _knots(self, raw: jax.Array) -> jax.Array:
        """Shares [..., K] of the interval -> its knots [..., K + 1]."""
        share = _LEAST_SHARE + (1 - _LEAST_SHARE * self.bins) * jax.nn.softmax(raw, -1)
        inner = jnp.cumsum(share[..., :-1], -1) * 2 * self.bound - self.bound
        ends = jnp.full((*raw.shape[:-1], 1), self.bound, raw.dtype)
        return jnp.concatenate([-ends, inner, ends], -1)

    def _bin(self, value: jax.Array, params: jax.Array, along_y: bool) -> tuple[jax.Array, ...]:
        """The ends and slopes of the bin that a value is in: x, y and slopes, left and right."""
        widths, heights, slopes = jnp.split(params, [self.bins, 2 * self.bins], -1)
        x, y = self._knots(widths), self._knots(heights)
        at_one = math.log(math.expm1(1 - _LEAST_SLOPE))  # where softplus and the least make 1
        slopes = _LEAST_SLOPE + softplus(slopes + at_one)
        ones = jnp.ones((*slopes.shape[:-1], 1), slopes.dtype)
        slopes = jnp.concatenate([ones, slopes, ones], -1)
        inner = (y if along_y else x)[..., 1:-1]
        index = (value[..., None] >= inner).sum(-1)
        # By comparison and not by a gather, whose gradient is a scatter.
        left = index[..., None] == jnp.arange(self.bins)

        def ends(table):
            return [jnp.where(left, side, 0).sum(-1) for side in (table[..., :-1], table[..., 1:])]

        return *ends(x), *ends(y), *ends(slopes)

    def forward(self, x, params):
        inside = jnp.abs(x) < self.bound
        own = jnp.clip(x, -self.bound, self.bound)
        x0, x1, y0, y1, d0, d1 = self._bin(own, params, False)
        width, height = x1 - x0, y1 - y0
        slope, part = height / width, (own - x0) / width
        rest = part * (1 - part)
        below = slope + (d1 + d0 - 2 * slope) * rest
        y = y0 + height * (slope * part**2 + d0 * rest) / below
        log_det = self._log_slope(slope, part, d0, d1, below)
        return jnp.where(inside, y, x), jnp.where(inside, log_det, 0)

    def inverse(self, y, params):
        inside = jnp.abs(y) < self.bound
        own = jnp.clip(y, -self.bound, self.bound)
        x0, x1, y0, y1, d0, d1 = self._bin(own, params, True)
        width, height = x1 - x0, y1 - y0
        slope, up = height / width, own - y0
        bend = d1 + d0 - 2 * slope
        a = height * (slope - d0) + up * bend
        b = height * d0 - up * bend
        c = -slope * up
        # The root in [0, 1], in the form that loses no digits.
        root = jnp.sqrt(jnp.maximum(b**2 - 4 * a * c, 1e-20))
        part = jnp.clip(-2 * c / (b + root), 0, 1)
        below = slope + bend * part * (1 - part)
        log_det = self._log_slope(slope, part, d0, d1, below)
        return jnp.where(inside, x0 + width * part, y), jnp.where(inside, -log_det, 0)

    def _log_slope(self, slope, part, d0, d1, below):
        """ln dy/dx (equation 5)."""
        above = d1 * part**2 + 2 * slope * part * (1 - part) + d0 * (1 - part) ** 2
        return 2 * jnp.log(slope) + jnp.log(above) - 2 * jnp.log(below)


# Halvings of the interval in which a root is looked for: beyond them float32 has no more digits.
_HALVINGS = 40


@dataclasses.dataclass(frozen=True)
class LogisticMixture:
    """logit F(x) e^s + b with F the distribution function of a mixture of logistics.

    Ho et al. 2019 (Flow++, arXiv 1902.00275), section 3.3. Parameters: b, s, and of each component
    the logit of its weight, its mean and the logarithm of its scale. With all of them 0 the means
    are apart, so that training can tell the components from one another, and the map is near the
    identity but not it.

    Attributes:
      components: K.
      limit: of |s| and of the logarithms of the scales.
    """

    components: int = 8
    limit: float = 3.0

    @property
    def num_params(self) -> int:
        return 2 + 3 * self.components

    def _split(self, params: jax.Array) -> tuple[jax.Array, ...]:
        """Shift and log scale [...], then log weights, means and log scales [..., K]."""
        shift, log_scale, rest = params[..., 0], params[..., 1], params[..., 2:]
        logits, means, log_scales = jnp.split(rest, 3, -1)
        apart = np.linspace(-1, 1, self.components) if self.components > 1 else np.zeros(1)
        return (
            shift,
            self.limit * jnp.tanh(log_scale / self.limit),
            jax.nn.log_softmax(logits, -1),
            means + jnp.asarray(apart, params.dtype),
            self.limit * jnp.tanh(log_scales / self.limit),
        )

    def _logit(self, x, log_weights, means, log_scales):
        """logit F(x), and its slope's logarithm."""
        z = (x[..., None] - means) * jnp.exp(-log_scales)
        below = jax.nn.logsumexp(log_weights - softplus(-z), -1)  # ln F
        above = jax.nn.logsumexp(log_weights - softplus(z), -1)  # ln (1 - F)
        log_density = jax.nn.logsumexp(log_weights - softplus(z) - softplus(-z) - log_scales, -1)
        return below - above, log_density - below - above

    def forward(self, x, params):
        shift, log_scale, *mixture = self._split(params)
        logit, log_slope = self._logit(x, *mixture)
        return logit * jnp.exp(log_scale) + shift, log_slope + log_scale

    def inverse(self, y, params):
        shift, log_scale, *mixture = self._split(params)
        wanted = (y - shift) * jnp.exp(-log_scale)
        # A component's own logit is a line: the mixture's root is between those of its components.
        _, means, log_scales = mixture
        roots = means + wanted[..., None] * jnp.exp(log_scales)

        def halve(_, ends):
            low, high = ends
            middle = (low + high) / 2
            under = self._logit(middle, *mixture)[0] < wanted
            return jnp.where(under, middle, low), jnp.where(under, high, middle)

        low, high = jax.lax.fori_loop(0, _HALVINGS, halve, (roots.min(-1), roots.max(-1)))
        x = (low + high) / 2
        return x, -(self._logit(x, *mixture)[1] + log_scale)
