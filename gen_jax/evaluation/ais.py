"""Annealed importance sampling: bounds on log p(x) from both sides, by Hamiltonian Monte Carlo.

Wu et al. 2017 (arXiv 1611.04273) evaluate decoders so; Grosse et al. 2016 (arXiv 1606.02275) add
the reverse chain, whose estimate is an upper bound, on data that the model itself has drawn.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gen_jax import families
from gen_jax import keys as keys_lib
from gen_jax.data.sources import Dataset
from gen_jax.evaluation.likelihood import per_example
from gen_jax.evaluation.metric import Metric
from gen_jax.evaluation.subject import Subject
from gen_jax.families import base

CHAINS = 4
LEAPFROG_STEPS = 10
ACCEPTANCE = 0.65  # what the step size of each chain is adapted to


def ais(subject: Subject, dataset: Dataset, split: str, settings: ConfigDict) -> dict[str, Metric]:
    """-log p(x) in nats, an upper bound, by `settings.ais_steps` temperatures and 4 chains."""
    families.require(subject.family, base.Annealable, "ais")
    steps = settings.ais_steps
    log_w = per_example(subject, dataset.splits[split], settings, _forward, steps)
    values = -(np.logaddexp.reduce(log_w, 1) - np.log(CHAINS)) - subject.spec.log_volume
    spec = f"nll_ais[data={split}:{len(values)}, steps={steps}, chains={CHAINS}]"
    return {"nll_ais": Metric.mean(values, "nats", "upper_bound", spec)}


def bdmc(subject: Subject, dataset: Dataset, split: str, settings: ConfigDict) -> dict[str, Metric]:
    """How far AIS can be off: both of its bounds on data that the model itself has drawn, in nats.

    Of such data a draw of the true posterior is known, so chains can run from it to the prior.
    Both bounds are on the negative log-likelihood: `bdmc_upper` of forward chains, `bdmc_lower` of
    reverse ones, and `bdmc_gap` between them.
    """
    families.require(subject.family, base.Annealable, "bdmc")
    steps = settings.ais_steps
    log_w = per_example(subject, dataset.splits[split], settings, _both, steps)
    forward, backward = (np.logaddexp.reduce(w, 1) - np.log(CHAINS) for w in log_w)
    values = {"bdmc_upper": -forward, "bdmc_lower": backward, "bdmc_gap": -forward - backward}
    kinds = {"bdmc_upper": "upper_bound", "bdmc_lower": "lower_bound", "bdmc_gap": "estimate"}
    what = f"data=simulated:{len(forward)}, steps={steps}, chains={CHAINS}"
    return {n: Metric.mean(v, "nats", kinds[n], f"{n}[{what}]") for n, v in values.items()}


def _forward(family, params, extra, batch, keys, steps):
    start = family.prior_samples(params, extra, batch, keys_lib.named(keys, "start"), CHAINS)
    return anneal(*_targets(family, params, extra, batch), start, keys, steps).T


def _both(family, params, extra, batch, keys, steps):
    x, z = family.simulate(params, extra, batch, keys_lib.named(keys, "simulate"))
    batch = batch | {"x": x}
    # One draw of the posterior is known, so all reverse chains start at it and differ after.
    start = jnp.broadcast_to(z, (CHAINS, *z.shape))
    targets, own = _targets(family, params, extra, batch), keys_lib.named(keys, "reverse")
    backward = anneal(*targets, start, own, steps, reverse=True)
    return _forward(family, params, extra, batch, keys, steps), backward.T


def _targets(family, params, extra, batch) -> tuple[Callable, Callable]:
    def log_prior(z):
        return family.log_prior(params, extra, batch, z)

    def log_likelihood(z):
        return family.log_likelihood(params, extra, batch, z)

    return log_prior, log_likelihood


def temperatures(num_steps: int) -> jax.Array:
    """Rising from 0 to 1 along a sigmoid, [num_steps + 1] (Wu et al. 2017, section 4.1)."""
    curve = jax.nn.sigmoid(jnp.linspace(-4.0, 4.0, num_steps + 1))
    return (curve - curve[0]) / (curve[-1] - curve[0])


def anneal(
    log_prior: Callable,
    log_likelihood: Callable,
    start: jax.Array,
    keys: jax.Array,
    num_steps: int,
    reverse: bool = False,
) -> jax.Array:
    """Log weights of chains between the prior and the posterior: [K, B] in nats.

    Args:
      log_prior: z [K, B, L] -> [K, B].
      log_likelihood: z [K, B, L] -> [K, B].
      start: exact draws of the prior, or of the posterior if `reverse`, [K, B, L].
      keys: one for each example, [B].
      num_steps: temperatures.
      reverse: from the posterior down to the prior.

    Returns:
      log w, of which E[w] = p(x); of reverse chains E[w] = 1 / p(x). So the log of the mean weight
      is a lower bound on log p(x) in expectation, and minus that of reverse chains an upper one.
    """
    betas = temperatures(num_steps)
    betas = betas[::-1] if reverse else betas

    def step(carry, inputs):
        z, log_w, step_size = carry
        index, old, new = inputs
        log_w += (new - old) * log_likelihood(z)

        def log_density(z):
            return log_prior(z) + new * log_likelihood(z)

        z, accepted = _hamiltonian(log_density, z, step_size, keys_lib.fold(keys, index))
        # Wu et al.: each chain's step grows when its proposals are taken, else it shrinks.
        factor = jnp.where(accepted, 1.02, 1.02 ** (-ACCEPTANCE / (1 - ACCEPTANCE)))
        return (z, log_w, jnp.clip(step_size * factor, 1e-4, 1.0)), None

    zeros = jnp.zeros(start.shape[:2])
    inputs = (jnp.arange(num_steps), betas[:-1], betas[1:])
    (_, log_w, _), _ = jax.lax.scan(step, (start, zeros, zeros + 0.1), inputs)
    return log_w


def _hamiltonian(
    log_density: Callable, z: jax.Array, step_size: jax.Array, keys: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """One Metropolis-adjusted trajectory (Neal 2011): z [K, B, L] -> z, accepted [K, B]."""
    gradient = jax.grad(lambda z: log_density(z).sum())
    shape = (z.shape[0], z.shape[2])
    start = keys_lib.normal(keys_lib.named(keys, "momentum"), shape).swapaxes(0, 1)
    size = step_size[..., None]

    def leap(carry, _):
        position, momentum = carry
        momentum += size * gradient(position)
        return (position + size * momentum, momentum), None

    # Half a step of the momentum first and last, whole ones between.
    half = start + size / 2 * gradient(z)
    moved = (z + size * half, half)
    (position, momentum), _ = jax.lax.scan(leap, moved, None, LEAPFROG_STEPS - 1)
    momentum += size / 2 * gradient(position)
    energy = [
        log_density(at) - jnp.square(p).sum(-1) / 2 for at, p in ((z, start), (position, momentum))
    ]
    uniform = keys_lib.uniform(keys_lib.named(keys, "accept"), (z.shape[0],)).T
    accepted = jnp.log(uniform) < energy[1] - energy[0]
    return jnp.where(accepted[..., None], position, z), accepted
