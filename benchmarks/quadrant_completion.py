"""How likely the rest of a digit is to a network without latents and to a CVAE; writes
results/quadrant_completion.json.

    python -m benchmarks.quadrant_completion
    python -m benchmarks.quadrant_completion --tasks=two_quadrants

Sohn et al. 2015 (Learning Structured Output Representation using Deep Conditional Generative
Models), section 5.2, with the networks of Pyro's tutorial of it, on binarised pixels: one, two or
three quadrants of a digit of MNIST are known. The baseline gives each other pixel a probability of
its own; the CVAE has latents whose prior sees what is known and what the baseline says, which is
trained first and then stays. A task is a network of its own, where `made_mnist:quadrants` is one
model for all of them.
"""

import argparse
import functools
import sys
import time
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import rows as rows_lib
from gen_jax import config as config_lib
from gen_jax import keys as keys_lib
from gen_jax import parallel
from gen_jax.data import sources
from gen_jax.data.examples import all_rows
from gen_jax.data.spec import DataSpec, fixed_keys
from gen_jax.evaluation import masks
from gen_jax.likelihoods import DiagonalGaussian
from gen_jax.report import results

TABLE = results.ROOT / "results" / "quadrant_completion.json"
# The task: what Pyro's tutorial prints for the baseline and for the CVAE, in nats.
PRINTED = {
    "one_quadrant": (100.4, 71.8),
    "two_quadrants": (61.9, 51.0),
    "three_quadrants": (25.4, 24.2),
}
HIDDEN, LATENTS = (500, 500), 200
EPOCHS, PATIENCE, BATCH = 40, 3, 128
SAMPLES = 100  # draws of the latents for each test image
VALIDATION = 5_000

Params = Any


class Dense(nn.Module):
    """Rectified layers and a linear one."""

    outputs: int
    hidden: tuple[int, ...] = HIDDEN

    @nn.compact
    def __call__(self, *inputs: jax.Array) -> jax.Array:
        h = jnp.concatenate(inputs, -1)
        for width in self.hidden:
            h = nn.relu(nn.Dense(width)(h))
        return nn.Dense(self.outputs)(h)


def seen(x: jax.Array, known: np.ndarray) -> jax.Array:
    """Pixels x [..., D] of which some are known [D]; the others are -1."""
    return jnp.where(known, x, -1.0)


def log_likelihood(logits: jax.Array, x: jax.Array, known: np.ndarray) -> jax.Array:
    """log p of the pixels that are not known, summed, [..., D] -> [...] in nats."""
    each = -optax.sigmoid_binary_cross_entropy(logits, x)
    return jnp.sum(each * ~known, -1)


class Baseline:
    """A probability for each pixel, from what is known.

    Attributes:
      known: which pixels are, bool [D].
    """

    def __init__(self, known: np.ndarray):
        self.known, self.network = known, Dense(len(known))

    def init(self, key: jax.Array) -> Params:
        return self.network.init(key, jnp.zeros((1, len(self.known))))

    def logits(self, params: Params, x: jax.Array) -> jax.Array:
        return self.network.apply(params, seen(x, self.known))

    def loss(self, params: Params, x: jax.Array, key: jax.Array) -> jax.Array:
        """-log p of the rest of each of x [B, D], [B] in nats: exact."""
        return -log_likelihood(self.logits(params, x), x, self.known)

    nll = loss


class CVAE:
    """Latents whose prior sees what is known and the baseline's guess (section 4.1).

    Attributes:
      baseline: and its parameters, which stay as they are.
    """

    def __init__(self, baseline: Baseline, params: Params):
        self.baseline, self.baseline_params = baseline, params
        self.known = baseline.known
        self.prior, self.posterior = Dense(2 * LATENTS), Dense(2 * LATENTS)
        self.decoder = Dense(len(self.known))

    def init(self, key: jax.Array) -> Params:
        prior, posterior, decoder = jax.random.split(key, 3)
        x = jnp.zeros((1, len(self.known)))
        return {
            "prior": self.prior.init(prior, x, x),
            "posterior": self.posterior.init(posterior, x, x),
            "decoder": self.decoder.init(decoder, jnp.zeros((1, LATENTS))),
        }

    def _normals(self, params: Params, x: jax.Array) -> tuple[DiagonalGaussian, DiagonalGaussian]:
        """p(z | known) and q(z | x)."""
        part = seen(x, self.known)
        guess = nn.sigmoid(self.baseline.logits(self.baseline_params, x))
        outputs = (
            self.prior.apply(params["prior"], part, guess),
            self.posterior.apply(params["posterior"], part, x),
        )
        prior, posterior = (DiagonalGaussian(*jnp.split(out, 2, -1)) for out in outputs)
        return prior, posterior

    def loss(self, params: Params, x: jax.Array, key: jax.Array) -> jax.Array:
        """The negative bound of each of x [B, D], [B] in nats."""
        prior, posterior = self._normals(params, x)
        z = posterior.from_noise(jax.random.normal(key, posterior.mean.shape))
        distortion = -log_likelihood(self.decoder.apply(params["decoder"], z), x, self.known)
        return distortion + posterior.kl(prior).sum(-1)

    def nll(self, params: Params, x: jax.Array, key: jax.Array) -> jax.Array:
        """At least -log p of the rest of each of x [B, D], [B] in nats.

        By `SAMPLES` draws of q: -ln of the mean of p(rest | z) p(z | known) / q(z | x).
        """
        prior, posterior = self._normals(params, x)

        def log_weight(number):
            own = jax.random.fold_in(key, number)
            z = posterior.from_noise(jax.random.normal(own, posterior.mean.shape))
            log_p = log_likelihood(self.decoder.apply(params["decoder"], z), x, self.known)
            return log_p + prior.log_prob(z) - posterior.log_prob(z)

        log_w = jax.lax.map(log_weight, jnp.arange(SAMPLES))
        return jnp.log(SAMPLES) - jax.nn.logsumexp(log_w, 0)


def read() -> tuple[DataSpec, Mapping[str, dict[str, np.ndarray]]]:
    """MNIST, binarised anew each time it is used: the data and the stored examples by split."""
    data = config_lib.default_config("vae").data
    data.name, data.preprocess = "mnist", "dynamic_binarization"
    data.num_validation = VALIDATION
    dataset = sources.load(data)
    return dataset.spec, {split: all_rows(rows) for split, rows in dataset.splits.items()}


def fixed(spec: DataSpec, split: str, stored: np.ndarray) -> jax.Array:
    """Each stored image by the one draw of its pixels that evaluations have, [N, D]."""
    x = spec.prepare(stored, fixed_keys(split, jnp.arange(len(stored))))
    return x.reshape(len(x), -1)


def fit(model, spec: DataSpec, splits, seed: int) -> tuple[Params, int]:
    """Parameters with the least loss of validation images, and after how many epochs they were.

    Adam, until the loss of validation images has not fallen for `PATIENCE` epochs.
    """
    key = jax.random.key(seed)
    images = jnp.asarray(splits["train"]["x"])
    held_out = fixed(spec, "validation", splits["validation"]["x"])
    optimizer = optax.adam(1e-3)
    steps = len(images) // BATCH

    @jax.jit
    def epoch(params, state, number):
        own = jax.random.fold_in(key, number)
        rows = jax.random.permutation(own, len(images))[: steps * BATCH].reshape(steps, BATCH)

        def step(carry, given):
            params, state = carry
            rows, count = given
            each = keys_lib.per_example(jax.random.fold_in(own, count), rows)
            x = spec.prepare(images[rows], each).reshape(BATCH, -1)
            noise = jax.random.fold_in(own, steps + count)
            gradient = jax.grad(lambda params: model.loss(params, x, noise).mean())(params)
            updates, state = optimizer.update(gradient, state)
            return (optax.apply_updates(params, updates), state), None

        carry, _ = jax.lax.scan(step, (params, state), (rows, jnp.arange(steps)))
        return carry

    @jax.jit
    def validate(params):
        return model.loss(params, held_out, jax.random.fold_in(key, EPOCHS)).mean()

    params = model.init(jax.random.fold_in(key, EPOCHS + 1))
    state, best = optimizer.init(params), (np.inf, 0, params)
    for number in range(EPOCHS):
        params, state = epoch(params, state, number)
        loss = float(validate(params))
        print(f"epoch {number + 1}: {loss:.2f} nats of validation images", flush=True)
        if loss < best[0]:
            best = loss, number + 1, params
        elif number + 1 - best[1] >= PATIENCE:
            break
    return best[2], best[1]


def score(model, params: Params, spec: DataSpec, splits) -> np.ndarray:
    """-log p of the rest of each test image, in nats."""
    x = fixed(spec, "test", splits["test"]["x"])
    nll = jax.jit(functools.partial(model.nll, params))
    parts = [nll(x[i : i + 500], jax.random.key(i)) for i in range(0, len(x), 500)]
    return np.concatenate(parts)


def row_of(name: str, task: str, nats: np.ndarray, epochs: int, seconds: float) -> dict:
    """The row of a model and a task."""
    kind = "exact" if name == "baseline" else f"a bound by {SAMPLES} draws of the latents"
    return rows_lib.measured(
        float(nats.mean()),
        float(nats.std(ddof=1) / len(nats) ** 0.5),
        row=name,
        metric=f"conditional_nll@task={task}",
        unit="nats",
        n=len(nats),
        seeds=[0],
        reference=PRINTED[task][name == "cvae"],
        source="Pyro, tutorial on CVAE: grey levels as targets",
        protocol="MNIST with dynamic binarisation, one fixed draw of the 10,000 test images; nats "
        "an image of the pixels that are not known: all but the lower left quadrant, the right "
        f"half, the upper right quadrant. {kind}.",
        deviation=f"binarised pixels; stopped by {VALIDATION:,} validation images, after {epochs} "
        "epochs",
        wall_clock_s=round(seconds),
        command="python -m benchmarks.quadrant_completion",
    )


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quadrant_completion")
    parser.add_argument("--tasks", default=",".join(PRINTED), help="what is known")
    tasks = parser.parse_args(arguments).tasks.split(",")
    if set(tasks) - set(PRINTED):
        print(f"error: --tasks takes {', '.join(PRINTED)}")
        return 1
    parallel.setup()
    spec, splits = read()
    for task in tasks:
        known = masks.KNOWN[task](spec.shape[:2]).reshape(-1)
        start = time.monotonic()
        baseline = Baseline(known)
        params, epochs = fit(baseline, spec, splits, 0)
        found = [("baseline", baseline, params, epochs, time.monotonic() - start)]
        start = time.monotonic()
        cvae = CVAE(baseline, params)
        params, epochs = fit(cvae, spec, splits, 0)
        found.append(("cvae", cvae, params, epochs, time.monotonic() - start))
        rows = [
            row_of(name, task, score(model, params, spec, splits), epochs, seconds)
            for name, model, params, epochs, seconds in found
        ]
        rows_lib.show(rows)
        rows_lib.write(TABLE, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
