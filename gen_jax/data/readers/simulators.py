"""Parameters and what a simulator makes of them, for densities of the former given the latter.

Four tasks of the simulation-based inference benchmark (Lueckmann et al. 2021, arXiv 2101.04653,
appendix T): draws of the prior are x, and what was simulated from them is the observation.
"""

import bz2
import dataclasses
import difflib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gen_jax.data.examples import ArrayExamples, Source
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError

NUM_TEST = 10_000
NUM_OBSERVATIONS = 10  # of each task, in the benchmark


@dataclasses.dataclass(frozen=True)
class Simulator:
    """A prior of parameters and a model of the observations that they lead to.

    Attributes:
      size: D, of the parameters.
      observed: C, of an observation.
      prior: `(key, num)` -> [num, D].
      simulate: `(key, parameters [num, D])` -> [num, C].
      bound: the prior is uniform on [-bound, bound]^D; None where it has no ends.
    """

    size: int
    observed: int
    prior: Callable[[jax.Array, int], jax.Array]
    simulate: Callable[[jax.Array, jax.Array], jax.Array]
    bound: float | None = None

    def has(self, parameters: np.ndarray) -> np.ndarray:
        """Whether parameters [N, D] are where the prior is not 0: [N]."""
        if self.bound is None:
            return np.ones(len(parameters), bool)
        return (np.abs(parameters) <= self.bound).all(1)


def _uniform(size: int, observed: int, bound: float, simulate: Callable) -> Simulator:
    def prior(key, num):
        return jax.random.uniform(key, (num, size), minval=-bound, maxval=bound)

    return Simulator(size, observed, prior, simulate, bound)


def _two_moons(key: jax.Array, parameters: jax.Array) -> jax.Array:
    of_angle, of_radius = jax.random.split(key)
    num = len(parameters)
    angle = jax.random.uniform(of_angle, (num,), minval=-jnp.pi / 2, maxval=jnp.pi / 2)
    radius = 0.1 + 0.01 * jax.random.normal(of_radius, (num,))
    first, second = parameters.T
    across = radius * jnp.cos(angle) + 0.25 - jnp.abs(first + second) / jnp.sqrt(2)
    return jnp.stack([across, radius * jnp.sin(angle) + (second - first) / jnp.sqrt(2)], 1)


def _gaussian_mixture(key: jax.Array, parameters: jax.Array) -> jax.Array:
    of_part, of_noise = jax.random.split(key)
    sd = jnp.where(jax.random.bernoulli(of_part, 0.5, (len(parameters), 1)), 1.0, 0.1)
    return parameters + sd * jax.random.normal(of_noise, parameters.shape)


def _slcp(key: jax.Array, parameters: jax.Array) -> jax.Array:
    """Simple likelihood, complex posterior: four draws of a Gaussian in the plane."""
    noise = jax.random.normal(key, (4, 2, len(parameters)))
    first, second = jnp.square(parameters[:, 2]), jnp.square(parameters[:, 3])
    correlation = jnp.tanh(parameters[:, 4])
    x = parameters[:, 0] + first * noise[:, 0]
    mixed = correlation * noise[:, 0] + jnp.sqrt(1 - correlation**2) * noise[:, 1]
    y = parameters[:, 1] + second * mixed
    return jnp.stack([x, y], 1).reshape(8, -1).T


def _gaussian_linear() -> Simulator:
    def prior(key, num):
        return jnp.sqrt(0.1) * jax.random.normal(key, (num, 10))

    def simulate(key, parameters):
        return parameters + jnp.sqrt(0.1) * jax.random.normal(key, parameters.shape)

    return Simulator(10, 10, prior, simulate)


TASKS = {
    "two_moons": _uniform(2, 2, 1.0, _two_moons),
    "gaussian_mixture": _uniform(2, 2, 10.0, _gaussian_mixture),
    "slcp": _uniform(5, 8, 3.0, _slcp),
    "gaussian_linear": _gaussian_linear(),
}


def task(name: str) -> Simulator:
    """The simulator of a dataset's name, `simulator:TASK`.

    Raises:
      UserError: if there is none of that name.
    """
    own = name.removeprefix("simulator:")
    if own not in TASKS:
        close = difflib.get_close_matches(own, TASKS, 1)
        hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(TASKS)}"
        raise UserError(f"no simulator {own!r}; {hint}")
    return TASKS[own]


def read(config: ConfigDict) -> Source:
    """`config.simulations` draws for training and validation and 10,000 for tests, by a seed."""
    simulator, splits = task(config.name), {}
    for seed, (split, num) in enumerate((("train", config.simulations), ("test", NUM_TEST))):
        of_prior, of_data = jax.random.split(jax.random.key(seed))
        x = simulator.prior(of_prior, num)
        observation = simulator.simulate(of_data, x)
        arrays = {"x": np.asarray(x), "observation": np.asarray(observation)}
        splits[split] = ArrayExamples(split, arrays)
    given = {"observation": DataSpec("real", (simulator.observed,))}
    return Source(splits, (simulator.size,), given=given)


def references(name: str, folder: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """The benchmark's ten observations [C] of a task and 10,000 draws [N, D] of each posterior.

    They lie in the wheel of the package sbibm, of which nothing else is read.

    Args:
      name: `simulator:TASK`.
      folder: where the wheel is.

    Raises:
      UserError: if the wheel is not there, or is damaged.
    """
    wheels = sorted(folder.glob("sbibm-*.whl"))
    if not wheels:
        raise UserError(
            f"the benchmark's posteriors are in the wheel of sbibm, which is not in {folder}; "
            f"pip download --no-deps sbibm -d FOLDER, and name it: --config.eval.posteriors=FOLDER"
        )
    name, found = name.removeprefix("simulator:"), []
    try:
        with zipfile.ZipFile(wheels[-1]) as wheel:
            for number in range(1, NUM_OBSERVATIONS + 1):
                place = f"sbibm/tasks/{name}/files/num_observation_{number}/"
                observation = _table(wheel.read(place + "observation.csv"))
                packed = wheel.read(place + "reference_posterior_samples.csv.bz2")
                found.append((observation[0], _table(bz2.decompress(packed))))
    except (OSError, ValueError, KeyError, IndexError, zipfile.BadZipFile) as error:
        raise UserError(f"{wheels[-1]} is damaged ({error}); fetch it anew") from None
    return found


def _table(text: bytes) -> np.ndarray:
    """Numbers of a file of comma-separated values with a line of names, float32 [rows, columns]."""
    return np.loadtxt(io.BytesIO(text), np.float32, delimiter=",", skiprows=1, ndmin=2)
