"""Annealed importance sampling: log p(x) from both sides, by Hamiltonian Monte Carlo.

Wu et al. 2017 (arXiv 1611.04273) evaluate decoders so; Grosse et al. 2016 (arXiv 1606.02275) add
the reverse chain, whose estimate errs to the other side, on data that the model itself has drawn.
As in the code of Wu et al. each chain adapts its step size as it goes. Of steps that do not depend
on the chain's past they would be bounds; as it is they are estimates, which err to their side by
far the most where chains are too short, and `bdmc` measures by how much.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax import keys as keys_lib
from gen_jax.evaluation.context import Context
from gen_jax.evaluation.likelihood import describe_data, per_example
from gen_jax.evaluation.metric import Metric, metric
from gen_jax.families import base
from gen_jax.settings import Setting

CHAINS = 4
LEAPFROG_STEPS = 10
ACCEPTANCE = 0.65  # what the step size of each chain is adapted to

STEPS = {
    "ais_steps": Setting(
        1_000,
        "temperatures of annealed importance sampling",
        minimum=1,
        smoke=16,
        affects="figures",
    )
}


@metric("ais", needs=(base.Annealable,), settings=STEPS, lower_is_better=("nll_ais",))
def ais(context: Context) -> dict[str, Metric]:
    """-log p(x) in nats by `settings.ais_steps` temperatures and 4 chains, rather too large."""
    subject, steps = context.subject, context.settings.ais_steps
    log_w = per_example(subject, context.examples, context.settings, _forward, steps)
    values = -(np.logaddexp.reduce(log_w, 1) - np.log(CHAINS)) - subject.spec.log_volume
    spec = {**describe_data(subject, context.split, values), "steps": steps, "chains": CHAINS}
    return {"nll_ais": Metric.mean(values, "nats", "estimate", spec)}


@metric(
    "bdmc",
    needs=(base.Annealable,),
    settings=STEPS,
    lower_is_better=("bdmc_upper", "bdmc_lower", "bdmc_gap"),
)
def bdmc(context: Context) -> dict[str, Metric]:
    """How far AIS can be off: from both sides on data that the model itself has drawn, in nats.

    Of such data a draw of the true posterior is known, so chains can run from it to the prior.
    Both are of the negative log-likelihood: `bdmc_upper` of forward chains, `bdmc_lower` of
    reverse ones, and `bdmc_gap` between them.
    """
    subject, steps = context.subject, context.settings.ais_steps
    log_w = per_example(subject, context.examples, context.settings, _both, steps)
    forward, backward = (np.logaddexp.reduce(w, 1) - np.log(CHAINS) for w in log_w)
    upper, lower = -forward - subject.spec.log_volume, backward - subject.spec.log_volume
    values = {"bdmc_upper": upper, "bdmc_lower": lower, "bdmc_gap": upper - lower}
    spec = {"data": f"simulated:{len(forward)}", "steps": steps, "chains": CHAINS}
    return {name: Metric.mean(each, "nats", "estimate", spec) for name, each in values.items()}


def _forward(family, params, extra, batch, keys, steps):
    start = family.prior_samples(params, extra, batch, keys_lib.named(keys, "start"), CHAINS)
    betas = temperatures(steps)
    return anneal(*targets(family, params, extra, batch), start, keys, betas).log_w[-1].T


def _both(family, params, extra, batch, keys, steps):
    x, z = family.simulate(params, extra, batch, keys_lib.named(keys, "simulate"))
    batch = batch | {"x": x}
    # One draw of the posterior is known, so all reverse chains start at it and differ after.
    start = jnp.broadcast_to(z, (CHAINS, *z.shape))
    own, falling = keys_lib.named(keys, "reverse"), temperatures(steps)[::-1]
    backward = anneal(*targets(family, params, extra, batch), start, own, falling)
    return _forward(family, params, extra, batch, keys, steps), backward.log_w[-1].T


def targets(family, params, extra, batch) -> tuple[Callable, Callable]:
    """log p(z) and log p(x|z) as functions of z alone."""

    def log_prior(z):
        return family.log_prior(params, extra, batch, z)

    def log_likelihood(z):
        return family.log_likelihood(params, extra, batch, z)

    return log_prior, log_likelihood


def temperatures(num_steps: int) -> np.ndarray:
    """Rising from 0 to 1 along a sigmoid, [num_steps + 1] (Wu et al. 2017, section 4.1)."""
    curve = 1 / (1 + np.exp(-np.linspace(-4.0, 4.0, num_steps + 1)))
    return (curve - curve[0]) / (curve[-1] - curve[0])


class Path(NamedTuple):
    """Chains at each of T + 1 temperatures, [T + 1, K, B] in nats.

    Attributes:
      log_w: log weights so far.
      log_likelihood: log p(x|z) of the states that they weigh.
    """

    log_w: jax.Array
    log_likelihood: jax.Array


def anneal(
    log_prior: Callable,
    log_likelihood: Callable,
    start: jax.Array,
    keys: jax.Array,
    betas: np.ndarray,
) -> Path:
    """Chains between the prior and the posterior, p(z) p(x|z)^beta.

    Args:
      log_prior: z [K, B, L] -> [K, B].
      log_likelihood: z [K, B, L] -> [K, B].
      start: exact draws at the first temperature, [K, B, L].
      keys: one for each example, [B].
      betas: inverse temperatures [T + 1], rising, or falling for reverse chains.

    Returns:
      the path. Its last w has E[w] = p(x) if betas rise from 0 to 1, and E[w] = 1 / p(x) if they
      fall. So the log of the mean weight is a lower bound on log p(x) in expectation, and minus
      that of reverse chains an upper one.
    """

    def step(carry, inputs):
        z, log_w, step_size = carry
        index, old, new = inputs
        likelihood = log_likelihood(z)
        here = Path(log_w, likelihood)
        log_w += (new - old) * likelihood

        def log_density(z):
            return log_prior(z) + new * log_likelihood(z)

        z, accepted = _hamiltonian(log_density, z, step_size, keys_lib.fold(keys, index))
        # Wu et al.: each chain's step grows when its proposals are taken, else it shrinks.
        factor = jnp.where(accepted, 1.02, 1.02 ** (-ACCEPTANCE / (1 - ACCEPTANCE)))
        return (z, log_w, jnp.clip(step_size * factor, 1e-4, 1.0)), here

    zeros = jnp.zeros(start.shape[:2])
    betas = jnp.asarray(betas, jnp.float32)
    inputs = (jnp.arange(len(betas) - 1), betas[:-1], betas[1:])
    (z, log_w, _), path = jax.lax.scan(step, (start, zeros, zeros + 0.1), inputs)
    last = Path(log_w, log_likelihood(z))
    return jax.tree.map(lambda some, end: jnp.concatenate([some, end[None]]), path, last)


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
