"""Draws of a known posterior by each method of restoration; writes results/posterior_sampling.json.

    python -m benchmarks.posterior_sampling
    python -m benchmarks.posterior_sampling --methods=ddrm,tds --problems=5

The mixture of Cardoso et al. 2023 (MCG-Diff, arXiv 2308.07983, section 5) as the package
benchopts_inverse_problem_diffusion_prior has it: 25 modes in 8 dimensions, seen through a random
matrix to 1, 2 or 4 numbers with noise. The denoiser is exact, and so is the posterior that draws
are compared with, so that what is measured is a method's own error.
"""

import argparse
import dataclasses
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import rows as rows_lib
from gen_jax import families, measurements, parallel
from gen_jax import keys as keys_lib
from gen_jax.data.spec import DataSpec
from gen_jax.evaluation.posteriors import max_sliced_wasserstein
from gen_jax.families.diffusion.family import Diffusion
from gen_jax.families.diffusion.process import SCHEDULES, Process
from gen_jax.report import results
from gen_jax.settings import defaults

TABLE = results.ROOT / "results" / "posterior_sampling.json"
SIZE, MEASURED, DRAWS, STEPS = 8, (1, 2, 4), 1_000, 100
PROBLEMS = 20
# By the row's name: options that differ from those of a diffusion's `sample` section.
METHODS = {
    "replacement": {"restoration": "replacement"},
    "repaint": {"restoration": "replacement", "resamplings": 10},
    "ddrm": {"restoration": "ddrm", "restoration_eta": 0.85},
    "dps": {"restoration": "dps"},
    "pigdm": {"restoration": "pigdm"},
    "mmps": {"restoration": "mmps"},
    "tds_32": {"restoration": "tds", "particles": 32},
    "tds_128": {"restoration": "tds", "particles": 128},
}
# Means over the recorded calls of that package, in its outputs/*.parquet.
REFERENCES = {
    "ddrm": (29.7, 13.6, 0.49),
    "dps": (27.2, 18.7, 12.4),
}
SOURCE = "gabrielvc/benchopts_inverse_problem_diffusion_prior, outputs of its runs"
_BATCH = 100  # draws at once, each with its particles


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Normal distributions of unit covariance: weights [K], means [K, D]."""

    weights: np.ndarray
    means: np.ndarray

    def draw(self, rng: np.random.Generator, num: int) -> np.ndarray:
        which = rng.choice(len(self.weights), num, p=self.weights)
        return self.means[which] + rng.normal(size=(num, self.means.shape[1]))

    def posterior(
        self, rng: np.random.Generator, matrix: np.ndarray, noise: float, y: np.ndarray, num: int
    ) -> np.ndarray:
        """Draws of p(x | y), y = matrix x + noise e: a mixture of as many normal distributions."""
        evidence = matrix @ matrix.T + noise**2 * np.eye(len(matrix))
        gain = matrix.T @ np.linalg.inv(evidence)
        gaps = y - self.means @ matrix.T
        log_w = np.log(self.weights) - 0.5 * (gaps @ np.linalg.inv(evidence) * gaps).sum(1)
        weights = np.exp(log_w - log_w.max())
        means = self.means + gaps @ gain.T
        root = np.linalg.cholesky(np.eye(matrix.shape[1]) - gain @ matrix)
        which = rng.choice(len(weights), num, p=weights / weights.sum())
        return means[which] + rng.normal(size=means[which].shape) @ root.T


def mixture() -> Mixture:
    """25 modes at even distances in two directions, with uneven weights."""
    places = [(-8.0 * i, -8.0 * j) for i in range(-2, 3) for j in range(-2, 3)]
    weights = np.random.default_rng(27).normal(size=25) ** 2
    return Mixture(weights / weights.sum(), np.tile(places, (1, SIZE // 2)))


@dataclasses.dataclass(frozen=True, eq=False)
class BestOfMixture:
    """The network that is right about a mixture whose data are divided by `std`."""

    process: Process
    mixture: Mixture
    std: float

    def apply(self, variables, z, log_snr, context):
        alpha, sigma = (v[:, None] for v in self.process.scales(log_snr))
        z = z * jnp.sqrt(alpha**2 + sigma**2)  # networks are given z at one width
        means, variance = jnp.float32(self.mixture.means / self.std), 1 / self.std**2
        spread = alpha**2 * variance + sigma**2
        gaps = z[:, None] - alpha[:, None] * means
        log_w = jnp.log(jnp.float32(self.mixture.weights)) - 0.5 * (gaps**2).sum(2) / spread
        each = means + (alpha * variance / spread)[:, None] * gaps
        x = (jax.nn.softmax(log_w, 1)[:, :, None] * each).sum(1)
        return self.process.target(x, (z - alpha * x) / sigma, log_snr)


def problem(rng: np.random.Generator, known: Mixture, measured: int):
    """A random matrix [measured, SIZE] with singular values from U(0, 1), its noise and y."""
    left, _ = np.linalg.qr(rng.normal(size=(measured, measured)))
    right, _ = np.linalg.qr(rng.normal(size=(SIZE, SIZE)))
    singular = np.sort(rng.uniform(size=measured))[::-1]
    matrix = (left * singular) @ right[:measured]
    noise = float(rng.uniform() * singular.max())
    y = matrix @ known.draw(rng, 1)[0] + noise * rng.normal(size=measured)
    return matrix, noise, y


def errors(measured: int, names: list[str], problems: int) -> dict[str, list[float]]:
    """Distances to the exact posterior of each method, and of exact draws: the floor."""
    known, rng = mixture(), np.random.default_rng(measured)
    process = Process(SCHEDULES["log_normal"], "exploding", "data")
    std = float(np.sqrt((known.weights @ known.means**2).mean() + 1))
    family = Diffusion(DataSpec("real", (SIZE,)), BestOfMixture(process, known, std), process)
    extra = {"mean": jnp.zeros(SIZE), "std": jnp.float32(std)}
    usual = defaults(families.definition("diffusion").sample_options).to_dict()
    found: dict[str, list[float]] = {name: [] for name in ("floor", *names)}
    draws = {
        name: _drawer(family, extra, {**usual, "steps": STEPS, **METHODS[name]}) for name in names
    }
    for number in range(problems):
        matrix, noise, y = problem(rng, known, measured)
        exact, again = (known.posterior(rng, matrix, noise, y, DRAWS) for _ in range(2))
        projections = np.random.default_rng(number)
        found["floor"].append(max_sliced_wasserstein(exact, again, projections))
        measurement = measurements.of_matrix(matrix, noise)
        for name, draw in draws.items():
            x = draw(keys_lib.stream(number, name), measurement, y)
            projections = np.random.default_rng(number)
            found[name].append(max_sliced_wasserstein(exact, x, projections))
    return found


def _drawer(family: Diffusion, extra: dict, options: dict):
    @jax.jit
    def some(keys, measurement, y):
        y = jnp.broadcast_to(y[None, :, None], (len(keys), len(y), 1))
        return family.restore({"denoiser": {}}, extra, keys, measurement, y, {}, options)

    def draw(key, measurement, y):
        keys = keys_lib.per_example(key, jnp.arange(DRAWS))
        parts = [
            some(keys[i : i + _BATCH], measurement, jnp.float32(y)) for i in range(0, DRAWS, _BATCH)
        ]
        return np.concatenate(parts)

    return draw


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.posterior_sampling")
    parser.add_argument("--methods", default=",".join(METHODS), help="names with commas")
    parser.add_argument("--problems", type=int, default=PROBLEMS, help="of each size; fewer: a try")
    flags = parser.parse_args(arguments)
    parallel.setup()
    names = [name for name in flags.methods.split(",") if name]
    unknown = [name for name in names if name not in METHODS]
    if unknown or flags.problems < 2:
        print(f"error: --methods takes {', '.join(METHODS)}, --problems at least 2")
        return 1
    rows, start = [], time.monotonic()
    for place, measured in enumerate(MEASURED):
        for name, values in errors(measured, names, flags.problems).items():
            stderr = float(np.std(values, ddof=1) / len(values) ** 0.5)
            reference = REFERENCES.get(name, (None,) * 3)[place]
            rows.append(
                rows_lib.measured(
                    float(np.mean(values)),
                    stderr,
                    row=name,
                    metric=f"max_sliced_wasserstein_{measured}",
                    unit="distance",
                    n=len(values),
                    worst=float(f"{max(values):.4g}"),
                    reference=reference,
                    source=SOURCE if reference else "",
                    protocol=f"{len(values)} random problems for each number of measured values, "
                    f"{DRAWS:,} draws, 100 projections, {STEPS} steps of the sampler, the exact "
                    "denoiser; the mean over problems. floor: exact draws against exact draws.",
                    deviation="problems and weights of other seeds; the noise schedule of EDM",
                    wall_clock_s=round(time.monotonic() - start),
                    command="python -m benchmarks.posterior_sampling",
                )
            )
        rows_lib.show(rows[-len(names) - 1 :])
    if flags.problems == PROBLEMS:
        rows_lib.write(TABLE, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
