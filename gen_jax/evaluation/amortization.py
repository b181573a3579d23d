"""What amortised inference loses: the gap to the best Gaussian posterior of each example.

Cremer et al. 2018 (arXiv 1801.03558), section 3, split log p(x) - ELBO[q] in two by q*, the best
diagonal Gaussian of the example at hand:

    approximation gap = log p(x) - ELBO[q*],   amortisation gap = ELBO[q*] - ELBO[q].

For log p(x) stands the tighter of two importance-sampled bounds, by q and by q*.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from gen_jax import keys as keys_lib
from gen_jax.data.examples import Examples
from gen_jax.evaluation import likelihood
from gen_jax.evaluation.context import Context
from gen_jax.evaluation.metric import Metric, metric
from gen_jax.evaluation.subject import Subject
from gen_jax.families import base
from gen_jax.likelihoods import DiagonalGaussian
from gen_jax.settings import Setting

SAMPLES = 10  # of each step
LEARNING_RATE = 0.05  # at the first step; it falls to 0 along a cosine


STEPS = {
    "amortization_steps": Setting(
        500,
        "of the search for each example's best posterior",
        minimum=1,
        smoke=16,
        affects="figures",
    )
}


@metric(
    "amortization",
    needs=(base.Annealable, base.Autoencoder, base.ImportanceWeighted),
    settings=STEPS | likelihood.IMPORTANCE_SAMPLES,
    lower_is_better=("amortization_gap", "approximation_gap"),
)
def amortization(context: Context) -> dict[str, Metric]:
    """`amortization_gap` and `approximation_gap` in nats: see `gaps`."""
    values = gaps(context.subject, context.examples, context.settings)
    spec = {
        **likelihood.describe_data(context.subject, context.split, values["amortization_gap"]),
        "steps": context.settings.amortization_steps,
        "samples_per_step": SAMPLES,
        "importance_samples": context.settings.importance_samples,
    }
    return {name: Metric.mean(each, "nats", "estimate", spec) for name, each in values.items()}


def gaps(subject: Subject, examples: Examples, settings: ConfigDict) -> dict[str, np.ndarray]:
    """Both gaps of each example, [N] in nats.

    q* is found by `settings.amortization_steps` steps; `settings.importance_samples` draws of q*
    give its ELBO and a bound on log p(x), and as many of q with the same noise q's. The bound that
    is the larger of the two in the mean over the examples is taken: the larger of each example
    would be a choice by noise. With more steps and draws all come closer. Of a posterior that is no
    diagonal Gaussian the amortisation gap may be negative: it can be better than q*.

    Raises:
      UserError: if the family has several layers of latents.
    """
    static = (settings.amortization_steps, settings.importance_samples)
    before, after = likelihood.per_example(subject, examples, settings, _bounds, *static)
    log_p = max(before["bound"], after["bound"], key=np.mean)
    return {
        "amortization_gap": after["elbo"] - before["elbo"],
        "approximation_gap": log_p - after["elbo"],
    }


def _bounds(family, params, extra, batch, keys, steps, samples):
    """The terms of `likelihood.log_mean_exp` by the model's own posterior, and by the best."""
    of_model = family.log_prior, family.log_likelihood

    def own_weights(q, keys, num):
        # Noise as families draw it: q and q* then have it in common, and their difference less.
        noise = keys_lib.normal(keys, (num, q.mean.shape[-1])).swapaxes(0, 1)
        z = q.from_noise(noise)
        # Without the score function (Roeder et al. 2017, arXiv 1703.09194): less noise near q*.
        log_q = jax.lax.stop_gradient(q).log_prob(z)
        log_prior, log_likelihood = (log_p(params, extra, batch, z) for log_p in of_model)
        return base.LogWeights(log_likelihood, (log_prior - log_q)[None])

    q = family.encode(params, extra, batch)
    q = _best(q, own_weights, keys_lib.named(keys, "fit"), steps)
    amortised = functools.partial(family.log_weights, params, extra, batch)
    best = functools.partial(own_weights, q)
    common = keys_lib.named(keys, "estimate")
    return tuple(
        likelihood.log_mean_exp(log_weights, common, samples, likelihood.CHUNK)
        for log_weights in (amortised, best)
    )


def _best(start: DiagonalGaussian, log_weights: Callable, keys: jax.Array, steps: int):
    """The posteriors of largest ELBO, from `start` by Adam; each example's is its own."""
    optimizer = optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, max(steps, 1)))

    def moved(by: DiagonalGaussian) -> DiagonalGaussian:
        # Means in units of the first standard deviation, which makes one learning rate do.
        return DiagonalGaussian(start.from_noise(by.mean), start.log_variance + by.log_variance)

    def step(carry, index):
        by, state = carry

        def loss(by):
            log_w = log_weights(moved(by), keys_lib.fold(keys, index), SAMPLES).log_w
            return -log_w.mean(0).sum()

        updates, state = optimizer.update(jax.grad(loss)(by), state)
        return (optax.apply_updates(by, updates), state), None

    by = jax.tree.map(jnp.zeros_like, start)
    (by, _), _ = jax.lax.scan(step, (by, optimizer.init(by)), jnp.arange(steps))
    return moved(by)
