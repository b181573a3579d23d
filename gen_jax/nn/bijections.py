"""Invertible maps with the logarithms of their Jacobians' determinants.

A bijection is a frozen dataclass of static choices with three pure functions:

    init(key, x, context) -> params
    forward(params, x, context) -> (y, log_det)
    inverse(params, y, context) -> (x, log_det)

Arrays are batched, x [B, ...], and log_det [B] is ln |det| of the map that was taken, in nats.
Context is [B, C] or None. `init` is given real examples: what is set by data is set by them.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from gen_jax.likelihoods import softplus
from gen_jax.nn import ode, patches
from gen_jax.nn.elementwise import Elementwise, Mapped

Params = Any


class Bijection(Protocol):
    """See the module."""

    def init(self, key: jax.Array, x: jax.Array, context: jax.Array | None) -> Params: ...

    def forward(self, params: Params, x: jax.Array, context: jax.Array | None) -> Mapped: ...

    def inverse(self, params: Params, y: jax.Array, context: jax.Array | None) -> Mapped: ...


def _sum(terms: jax.Array) -> jax.Array:
    """[B, ...] -> [B]."""
    return terms.reshape(len(terms), -1).sum(1)


def _same(x: jax.Array, log_det: float = 0.0) -> jax.Array:
    return jnp.full(len(x), log_det, x.dtype)


def checker(shape: Sequence[int], odd: bool) -> np.ndarray:
    """A mask of an image [H, W, C]: every other pixel, as on a chess board."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return np.broadcast_to(((rows + columns) % 2 == odd)[..., None], shape)


def halves(shape: Sequence[int], odd: bool) -> np.ndarray:
    """A mask of the first half of the last axis, or of the second."""
    first = np.arange(shape[-1]) < (shape[-1] + 1) // 2
    return np.broadcast_to(first != odd, shape)


def alternate(shape: Sequence[int], odd: bool) -> np.ndarray:
    """A mask of every other place of the last axis."""
    return np.broadcast_to(np.arange(shape[-1]) % 2 == odd, shape)


MASKS = {"checker": checker, "halves": halves, "alternate": alternate}


@dataclasses.dataclass(frozen=True)
class Coupling:
    """Some dimensions stay, and say how the others are mapped.

    Attributes:
      mask: a key of `MASKS`: what stays.
      odd: which of its two forms.
      transform: of the others.
      network: a module `(x [B, ...], context)` to [B, ..., P], 0 to begin with.
    """

    mask: str
    odd: bool
    transform: Elementwise
    network: nn.Module

    def _stays(self, x: jax.Array) -> np.ndarray:
        return MASKS[self.mask](x.shape[1:], self.odd)

    def _params(self, params: Params, x: jax.Array, context: jax.Array | None) -> jax.Array:
        given = jnp.where(self._stays(x), x, 0)
        return self.network.apply({"params": params}, given, context)

    def init(self, key, x, context):
        return self.network.init(key, x, context)["params"]

    def forward(self, params, x, context):
        y, terms = self.transform.forward(x, self._params(params, x, context))
        stays = self._stays(x)
        return jnp.where(stays, x, y), _sum(jnp.where(stays, 0, terms))

    def inverse(self, params, y, context):
        x, terms = self.transform.inverse(y, self._params(params, y, context))
        stays = self._stays(y)
        return jnp.where(stays, y, x), _sum(jnp.where(stays, 0, terms))


@dataclasses.dataclass(frozen=True)
class MaskedAutoregressive:
    """Each element is mapped as those before it say: one pass forwards, one for each back.

    Papamakarios et al. 2017 (MAF, arXiv 1705.07057) of vectors [B, D], by MADE; Zhai et al. 2024
    (TarFlow, arXiv 2412.06329) of sequences of vectors [B, T, C], by a transformer. Forwards
    from noise it is the inverse autoregressive flow of Kingma et al. 2016 (arXiv 1606.04934).

    Attributes:
      transform: of each number.
      network: `nn.made.MADE`, or a network of sequences that remembers (`nn.transformer`).
    """

    transform: Elementwise
    network: nn.Module

    def _params(self, params, x, context):
        place = jnp.arange(x.shape[1])
        return self.network.apply({"params": params}, x, place, context)

    def init(self, key, x, context):
        return self.network.init(key, x, jnp.arange(x.shape[1]), context)["params"]

    def forward(self, params, x, context):
        y, terms = self.transform.forward(x, self._params(params, x, context))
        return y, _sum(terms)

    def inverse(self, params, y, context):
        if hasattr(self.network, "step"):
            return self._remembering(params, y, context)

        number = jnp.arange(y.shape[1]).reshape(-1, *[1] * (y.ndim - 2))

        def step(done, x):
            new = self.transform.inverse(y, self._params(params, x, context))[0]
            # The others stay as they are. What is not final may be infinite, and that times the 0
            # of a mask is no number.
            return jnp.where(number == done, new, x)

        x = jax.lax.fori_loop(0, y.shape[1], step, jnp.zeros_like(y))
        return x, -self.forward(params, x, context)[1]

    def _remembering(self, params, y, context):
        """The inverse by a network that is given one element at a time."""

        def call(method, *args):
            return self.network.apply({"params": params}, *args, method=method)

        def step(carry, inputs):
            memory, before = carry
            number, element = inputs
            features, memory = call("step", memory, number, before, context)
            x, terms = self.transform.inverse(element, call("head", features, before))
            return (memory, x), (x, _sum(terms))

        elements = jnp.moveaxis(y, 1, 0)
        start = call("start", len(y)), jnp.zeros_like(elements[0])
        _, (x, log_dets) = jax.lax.scan(step, start, (jnp.arange(y.shape[1]), elements))
        return jnp.moveaxis(x, 0, 1), log_dets.sum(0)


@dataclasses.dataclass(frozen=True)
class Continuous:
    """x moves along dx/dt = f(x, t) from time 0 to 1: Grathwohl et al. 2019 (FFJORD, 1810.01367).

    Its inverse goes back, and differs from the exact one by the error of the ODE's steps. Vectors
    have at most `ode.EXACT_TRACE` numbers, so that the trace is exact.

    Attributes:
      network: `(x, context)` -> [B, D, 1], whose context has the time too; it must be smooth.
      steps: of the ODE.
    """

    network: nn.Module
    steps: int

    def _with_time(self, x, context, time):
        times = jnp.broadcast_to(jnp.asarray(time, x.dtype), (len(x), 1))
        return times if context is None else jnp.concatenate([context, times], 1)

    def init(self, key, x, context):
        return self.network.init(key, x, self._with_time(x, context, 0.0))["params"]

    def _move(self, params, x, context, first, last):
        def slope(time, state):
            given = self._with_time(x, context, time)
            moves = lambda y: self.network.apply({"params": params}, y, given)[..., 0]  # noqa: E731
            return ode.with_trace(moves, state[0], None)

        return ode.runge_kutta(slope, (x, jnp.zeros(len(x), x.dtype)), first, last, self.steps)

    def forward(self, params, x, context):
        return self._move(params, x, context, 0.0, 1.0)

    def inverse(self, params, y, context):
        return self._move(params, y, context, 1.0, 0.0)


@dataclasses.dataclass(frozen=True)
class ActNorm:
    """A scale and a shift of each channel, by which the first examples have mean 0 and variance 1.

    Kingma and Dhariwal 2018 (Glow, arXiv 1807.03039), section 3.1.
    """

    def init(self, key, x, context):
        axes = tuple(range(x.ndim - 1))
        mean, std = x.mean(axes), x.std(axes)
        return {"bias": -mean, "log_scale": -jnp.log(std + 1e-3)}

    def forward(self, params, x, context):
        y = (x + params["bias"]) * jnp.exp(params["log_scale"])
        return y, _same(x, math.prod(x.shape[1:-1])) * params["log_scale"].sum()

    def inverse(self, params, y, context):
        x = y * jnp.exp(-params["log_scale"]) - params["bias"]
        return x, -_same(y, math.prod(y.shape[1:-1])) * params["log_scale"].sum()


@dataclasses.dataclass(frozen=True)
class Mixing:
    """A product of the channels with a matrix: Glow's invertible 1x1 convolution (section 3.2).

    The matrix is P L (U + diag(s)), with a permutation that stays, so that its determinant and its
    inverse cost little; it begins as a rotation.
    """

    def init(self, key, x, context):
        size = x.shape[-1]
        rotation, _ = jnp.linalg.qr(jax.random.normal(key, (size, size)))
        permutation, lower, upper = jax.scipy.linalg.lu(rotation)
        diagonal = jnp.diag(upper)
        return {
            "permutation": permutation,
            "lower": jnp.tril(lower, -1),
            "upper": jnp.triu(upper, 1),
            "sign": jnp.sign(diagonal),
            "log_diagonal": jnp.log(jnp.abs(diagonal)),
        }

    def _parts(self, params, size):
        # What is set once gets no gradient, and so stays.
        fixed = jax.lax.stop_gradient((params["permutation"], params["sign"]))
        lower = jnp.tril(params["lower"], -1) + jnp.eye(size)
        diagonal = jnp.diag(fixed[1] * jnp.exp(params["log_diagonal"]))
        return fixed[0], lower, jnp.triu(params["upper"], 1) + diagonal

    def _log_det(self, params, x):
        return _same(x, math.prod(x.shape[1:-1])) * params["log_diagonal"].sum()

    def forward(self, params, x, context):
        permutation, lower, upper = self._parts(params, x.shape[-1])
        return x @ (permutation @ lower @ upper).T, self._log_det(params, x)

    def inverse(self, params, y, context):
        permutation, lower, upper = self._parts(params, y.shape[-1])
        solve = jax.scipy.linalg.solve_triangular
        rows = y.reshape(-1, y.shape[-1]).T
        rows = solve(lower, permutation.T @ rows, lower=True, unit_diagonal=True)
        return solve(upper, rows).T.reshape(y.shape), -self._log_det(params, y)


@dataclasses.dataclass(frozen=True)
class Reverse:
    """An axis in reverse.

    Attributes:
      axis: which, the batch's being 0.
    """

    axis: int = -1

    def init(self, key, x, context):
        return {}

    def forward(self, params, x, context):
        return jnp.flip(x, self.axis), _same(x)

    inverse = forward


@dataclasses.dataclass(frozen=True)
class Scale:
    """A factor e^s of each dimension: NICE's last layer (section 3.3)."""

    def init(self, key, x, context):
        return {"log_scale": jnp.zeros(x.shape[1:])}

    def forward(self, params, x, context):
        return x * jnp.exp(params["log_scale"]), _same(x, 1.0) * params["log_scale"].sum()

    def inverse(self, params, y, context):
        return y * jnp.exp(-params["log_scale"]), _same(y, -1.0) * params["log_scale"].sum()


@dataclasses.dataclass(frozen=True)
class Logit:
    """[0, 1] to the line: logit(alpha + (1 - 2 alpha) x). Real NVP, section 4.1."""

    alpha: float = 0.05

    def init(self, key, x, context):
        return {}

    def forward(self, params, x, context):
        part = self.alpha + (1 - 2 * self.alpha) * x
        y = jnp.log(part) - jnp.log1p(-part)
        return y, _sum(math.log(1 - 2 * self.alpha) - jnp.log(part) - jnp.log1p(-part))

    def inverse(self, params, y, context):
        part = jax.nn.sigmoid(y)
        terms = -softplus(-y) - softplus(y) - math.log(1 - 2 * self.alpha)
        return (part - self.alpha) / (1 - 2 * self.alpha), _sum(terms)


@dataclasses.dataclass(frozen=True)
class Squeeze:
    """Squares of 2x2 pixels [H, W, C] become channels, [H / 2, W / 2, 4 C]."""

    def init(self, key, x, context):
        return {}

    def forward(self, params, x, context):
        return patches.to_patches(x, 2), _same(x)

    def inverse(self, params, y, context):
        return patches.from_patches(y, 2), _same(y)


@dataclasses.dataclass(frozen=True)
class Patches:
    """Squares of an image [H, W, C], row by row, as a sequence of vectors [T, S * S * C].

    Attributes:
      shape: [H, W, C].
      side: S, which divides H and W.
    """

    shape: tuple[int, int, int]
    side: int

    def init(self, key, x, context):
        return {}

    def forward(self, params, x, context):
        size = self.side**2 * self.shape[2]
        return patches.to_patches(x, self.side).reshape(len(x), -1, size), _same(x)

    def inverse(self, params, y, context):
        rows, columns = (size // self.side for size in self.shape[:2])
        y = y.reshape(len(y), rows, columns, -1)
        return patches.from_patches(y, self.side), _same(y)


@dataclasses.dataclass(frozen=True)
class Flatten:
    """[B, ...] as vectors [B, D].

    Attributes:
      shape: of an example.
    """

    shape: tuple[int, ...]

    def init(self, key, x, context):
        return {}

    def forward(self, params, x, context):
        return x.reshape(len(x), -1), _same(x)

    def inverse(self, params, y, context):
        return y.reshape(len(y), *self.shape), _same(y)


@dataclasses.dataclass(frozen=True)
class Chain:
    """One after another: `params["part_2"]` is of the third; those without parameters have none."""

    parts: tuple[Bijection, ...]

    def init(self, key, x, context):
        params = {}
        for number, (name, part) in enumerate(self._named()):
            own = part.init(jax.random.fold_in(key, number), x, context)
            x, _ = part.forward(own, x, context)
            if own:
                params[name] = own
        return params

    def _named(self):
        return [(f"part_{number}", part) for number, part in enumerate(self.parts)]

    def forward(self, params, x, context):
        total = _same(x)
        for name, part in self._named():
            x, log_det = part.forward(params.get(name, {}), x, context)
            total += log_det
        return x, total

    def inverse(self, params, y, context):
        total = _same(y)
        for name, part in reversed(self._named()):
            y, log_det = part.inverse(params.get(name, {}), y, context)
            total += log_det
        return y, total


@dataclasses.dataclass(frozen=True)
class Stack:
    """One layer several times, each with parameters of its own: compiled once, by `lax.scan`.

    Attributes:
      layer: from a shape to the same shape.
      count: how often.
    """

    layer: Bijection
    count: int

    def init(self, key, x, context):
        def one(x, key):
            params = self.layer.init(key, x, context)
            return self.layer.forward(params, x, context)[0], params

        return jax.lax.scan(one, x, jax.random.split(key, self.count))[1]

    def forward(self, params, x, context):
        def one(carry, own):
            x, total = carry
            x, log_det = self.layer.forward(own, x, context)
            return (x, total + log_det), None

        return jax.lax.scan(one, (x, _same(x)), params)[0]

    def inverse(self, params, y, context):
        def one(carry, own):
            y, total = carry
            y, log_det = self.layer.inverse(own, y, context)
            return (y, total + log_det), None

        return jax.lax.scan(one, (y, _same(y)), params, reverse=True)[0]


@dataclasses.dataclass(frozen=True)
class FactorOut:
    """Half of the channels are done, and the rest goes through another bijection.

    Real NVP, section 3.6. An image becomes the vector of the halves that were done, [B, D].

    Attributes:
      shape: [H, W, C] of its input.
      rest: from [H, W, C / 2] to vectors.
    """

    shape: tuple[int, int, int]
    rest: Bijection

    def init(self, key, x, context):
        return self.rest.init(key, jnp.split(x, 2, -1)[1], context)

    def forward(self, params, x, context):
        done, rest = jnp.split(x, 2, -1)
        rest, log_det = self.rest.forward(params, rest, context)
        return jnp.concatenate([done.reshape(len(x), -1), rest], 1), log_det

    def inverse(self, params, y, context):
        height, width, channels = self.shape
        done, rest = jnp.split(y, [height * width * (channels // 2)], 1)
        rest, log_det = self.rest.inverse(params, rest, context)
        done = done.reshape(len(y), height, width, channels // 2)
        return jnp.concatenate([done, rest], -1), log_det


class BijectionModule(nn.Module):
    """A bijection of vectors whose parameters are those of a linen module.

    Attributes:
      bijection: of [B, L].
    """

    bijection: Bijection

    @nn.compact
    def __call__(
        self, z: jax.Array, context: jax.Array | None = None, inverse: bool = False
    ) -> Mapped:
        """z [..., B, L] and context [B, C], the same for each z [B, L] -> y, ln |det| [..., B]."""
        each = z.reshape(-1, *z.shape[-2:])
        params = self.param("bijection", lambda key: self.bijection.init(key, each[0], context))
        call = self.bijection.inverse if inverse else self.bijection.forward
        y, log_det = jax.vmap(lambda one: call(params, one, context))(each)
        return y.reshape(z.shape), log_det.reshape(z.shape[:-1])
