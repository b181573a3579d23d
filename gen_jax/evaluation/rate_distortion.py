"""The rate-distortion curve of a trained decoder, by annealed importance sampling.

Huang et al. 2020 (arXiv 2008.06653). The distortion is -log p(x|z) and the rate KL(q(z|x) || p(z)),
both in nats an example; the decoder and p(z) are the model's, q is any. At a slope of
dR / dD = -beta the best q is p(z) p(x|z)^beta / Z, so

    R = -log Z - beta D,

and both come from the temperatures of one annealing path. Where a path is too short, and its chains
do not adapt their steps, it errs to one side: drawing one of the chains by its weight w is a q of
its own, whose distortion is what `distortion@beta` estimates, and E[log mean w] <= -KL(q || p) -
beta D, so R is at least its rate.
"""

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gen_jax import keys as keys_lib
from gen_jax.data.examples import Examples
from gen_jax.evaluation import ais
from gen_jax.evaluation.context import Context
from gen_jax.evaluation.likelihood import describe_data, per_example
from gen_jax.evaluation.metric import Metric, metric
from gen_jax.evaluation.subject import Subject
from gen_jax.families import base

# A VAE whose rate is weighted by beta aims at the slope -1 / beta.
BETAS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


@metric("rate_distortion", needs=(base.Annealable,), settings=ais.STEPS)
def rate_distortion(context: Context) -> dict[str, Metric]:
    """Points `rate@beta=B`, `distortion@beta=B` for each of `BETAS`, in nats an example.

    At beta = 1 their sum estimates -log p(x), as `ais` does.
    """
    rates, distortions = points(context.subject, context.examples, context.settings)
    spec = {
        **describe_data(context.subject, context.split, rates),
        "steps": context.settings.ais_steps,
        "chains": ais.CHAINS,
    }
    figures = {}
    for beta, rate, distortion in zip(BETAS, rates.T, distortions.T, strict=True):
        for name, values in (("rate", rate), ("distortion", distortion)):
            figures[f"{name}@beta={beta:g}"] = Metric.mean(values, "nats", "estimate", spec)
    return figures


def points(
    subject: Subject, examples: Examples, settings: ConfigDict
) -> tuple[np.ndarray, np.ndarray]:
    """Rates and distortions of each example at each of `BETAS`, [N, len(BETAS)] in nats.

    The path has `settings.ais_steps` temperatures besides `BETAS`. Like `elbo`'s, the distortion
    counts the volume of dequantised data.

    Raises:
      UserError: if the family has several layers of latents.
    """
    rates, distortions = per_example(subject, examples, settings, _points, settings.ais_steps)
    return rates, distortions - subject.spec.log_volume


def _points(family, params, extra, batch, keys, steps):
    """Rates and distortions in nats of model units, [B, len(BETAS)] each."""
    start = family.prior_samples(params, extra, batch, keys_lib.named(keys, "start"), ais.CHAINS)
    betas = np.union1d(max(BETAS) * ais.temperatures(steps), BETAS)
    path = ais.anneal(*ais.targets(family, params, extra, batch), start, keys, betas)
    chosen = np.searchsorted(betas, BETAS)
    log_w, log_likelihood = path.log_w[chosen], path.log_likelihood[chosen]
    log_z = jax.nn.logsumexp(log_w, 1) - jnp.log(ais.CHAINS)
    distortion = -(jax.nn.softmax(log_w, 1) * log_likelihood).sum(1)
    rate = -log_z - jnp.asarray(BETAS)[:, None] * distortion
    return rate.T, distortion.T
