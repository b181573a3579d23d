"""Noise that is added to data, written by its log signal-to-noise ratio.

z = alpha x + sigma e, with e standard normal, and l = ln(alpha^2 / sigma^2). Which l there is at a
time t in [0, 1] is the schedule; how large alpha and sigma are at an l is the scaling. The same
schedule with another scaling is the same model (Kingma et al. 2021, arXiv 2107.00630, section 5.1).
Data have mean 0 and variance 1.
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

# Of the schedules that have no ends of their own.
_MOST, _LEAST = 10.0, -10.0
# Of Karras et al. 2022 (EDM, arXiv 2206.00364), table 1: sigma_max and rho.
_EDM_MOST, EDM_RHO = 80.0, 7.0
# Data have a standard deviation of 1/2 there, so all levels are twice as high here.
_EDM_UNIT = 2.0


def _cosine(t: jax.Array) -> jax.Array:
    """Nichol and Dhariwal 2021 (arXiv 2102.09672), equation 17, between two ends."""
    first, last = (math.atan(math.exp(-end / 2)) for end in (_MOST, _LEAST))
    return -2 * jnp.log(jnp.tan(first + t * (last - first)))


def _linear(t: jax.Array) -> jax.Array:
    """Of Ho et al. 2020 (DDPM, arXiv 2006.11239), whose betas rise linearly; by Kingma et al."""
    return -jnp.log(jnp.expm1(1e-4 + 10 * t**2))


@dataclasses.dataclass(frozen=True)
class OfTime:
    """A schedule whose samplers take equal steps of time.

    Attributes:
      log_snr: l at times in [0, 1], falling.
    """

    log_snr: Callable[[jax.Array], jax.Array]

    def ladder(self, along: jax.Array) -> jax.Array:
        """l at places from 1, the most noise, to 0."""
        return self.log_snr(along)


@dataclasses.dataclass(frozen=True)
class LogNormal:
    """EDM's schedule: ln(sigma / alpha) is normal, so that most of training is where it matters.

    In EDM's units, where data have a standard deviation of 1/2. Samplers take equal steps of
    sigma^(1/7).

    Attributes:
      mean: P_mean of EDM's table 1.
      std: P_std.
      least: sigma_min; what is narrower in the data is not drawn as narrow as it is.
    """

    mean: float = -1.2
    std: float = 1.2
    least: float = 0.002

    def log_snr(self, t: jax.Array) -> jax.Array:
        """l at times in [0, 1], falling."""
        normal = jax.scipy.special.ndtri(jnp.clip(t, 1e-6, 1 - 1e-6))
        most, least = (-2 * math.log(end) for end in self._ends)
        return jnp.clip(-2 * (math.log(_EDM_UNIT) + self.mean + self.std * normal), least, most)

    def ladder(self, along: jax.Array) -> jax.Array:
        """l at places from 1, the most noise, to 0."""
        low, high = (end ** (1 / EDM_RHO) for end in self._ends)
        return -2 * EDM_RHO * jnp.log(low + along * (high - low))

    @property
    def _ends(self) -> tuple[float, float]:
        """Least and most sigma / alpha of standardised data."""
        return _EDM_UNIT * self.least, _EDM_UNIT * _EDM_MOST


def _straight(t: jax.Array) -> jax.Array:
    """Of flow matching, z = (1 - t) x + t e (Lipman et al. 2023, arXiv 2210.02747)."""
    t = jnp.clip(t, 1e-3, 1 - 1e-3)
    return 2 * (jnp.log1p(-t) - jnp.log(t))


SCHEDULES: dict[str, OfTime | LogNormal] = {
    "cosine": OfTime(_cosine),
    "linear": OfTime(_linear),
    "log_normal": LogNormal(),
    "straight": OfTime(_straight),
}


def _preserving(log_snr: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jnp.sqrt(jax.nn.sigmoid(log_snr)), jnp.sqrt(jax.nn.sigmoid(-log_snr))


def _exploding(log_snr: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jnp.ones_like(log_snr), jnp.exp(-log_snr / 2)


def _convex(log_snr: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jax.nn.sigmoid(log_snr / 2), jax.nn.sigmoid(-log_snr / 2)


# alpha^2 + sigma^2 = 1, alpha = 1, or alpha + sigma = 1.
SCALINGS = {"preserving": _preserving, "exploding": _exploding, "convex": _convex}

# What a network may say of z: a x + b e, by alpha and sigma.
PREDICTIONS: dict[str, Callable] = {
    "noise": lambda alpha, sigma: (0.0, 1.0),
    "data": lambda alpha, sigma: (1.0, 0.0),
    # Salimans and Ho 2022 (arXiv 2202.00512), for any scaling; with this EDM's network, as data
    # have variance 1, is the same but for its sign.
    "v": lambda alpha, sigma: (
        -sigma / jnp.sqrt(alpha**2 + sigma**2),
        alpha / jnp.sqrt(alpha**2 + sigma**2),
    ),
    # dz/dt of z = (1 - t) x + t e.
    "velocity": lambda alpha, sigma: (-1.0, 1.0),
}


@dataclasses.dataclass(frozen=True)
class Process:
    """See the module.

    Attributes:
      schedule: a value of `SCHEDULES`, or a `LogNormal` of other noise.
      scaling: a key of `SCALINGS`.
      prediction: a key of `PREDICTIONS`.
    """

    schedule: OfTime | LogNormal
    scaling: str
    prediction: str

    def log_snr(self, t: jax.Array) -> jax.Array:
        """l at times in [0, 1], falling."""
        return self.schedule.log_snr(t)

    def scales(self, log_snr: jax.Array) -> tuple[jax.Array, jax.Array]:
        """alpha and sigma."""
        return SCALINGS[self.scaling](log_snr)

    def ladder(self, steps: int) -> jax.Array:
        """The l of each step of a sampler, rising: [steps]."""
        return self.schedule.ladder(jnp.linspace(1.0, 0.0, steps) if steps > 1 else jnp.ones(1))

    def target(self, x: jax.Array, noise: jax.Array, log_snr: jax.Array) -> jax.Array:
        """What the network should say: x and noise [B, ...], l [B]."""
        a, b = self._of_both(log_snr, x.ndim)
        return a * x + b * noise

    def both(
        self, z: jax.Array, said: jax.Array, log_snr: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """The data and the noise that z [B, ...] is of, by what the network said; l [B]."""
        alpha, sigma = self._wide(log_snr, z.ndim)
        a, b = self._of_both(log_snr, z.ndim)
        below = b * alpha - a * sigma
        return (b * z - sigma * said) / below, (alpha * said - a * z) / below

    def noise_error(self, error: jax.Array, log_snr: jax.Array) -> jax.Array:
        """The error of the noise that an error [B, ...] of what the network said makes."""
        alpha, sigma = self._wide(log_snr, error.ndim)
        a, b = self._of_both(log_snr, error.ndim)
        return error * alpha / (b * alpha - a * sigma)

    def _wide(self, log_snr: jax.Array, ndim: int) -> tuple[jax.Array, jax.Array]:
        return self.scales(log_snr.reshape(-1, *[1] * (ndim - 1)))

    def _of_both(self, log_snr: jax.Array, ndim: int) -> tuple[jax.Array, jax.Array]:
        return PREDICTIONS[self.prediction](*self._wide(log_snr, ndim))
