"""The evaluator for densities: the only place that turns densities into published figures.

It owns the draws (one fixed draw of data noise for each example), the number of importance
samples, the volume of dequantised data, nats and bits, means and standard errors.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gen_jax import families, parallel
from gen_jax import keys as keys_lib
from gen_jax.data import batches
from gen_jax.data.examples import Examples
from gen_jax.data.sources import Dataset
from gen_jax.data.spec import DataSpec, fixed_keys
from gen_jax.errors import UserError
from gen_jax.evaluation import outliers
from gen_jax.evaluation.context import Context, once
from gen_jax.evaluation.metric import Metric, metric
from gen_jax.evaluation.subject import Subject
from gen_jax.families import base
from gen_jax.families.base import Family, LogProb
from gen_jax.settings import Setting

# Importance samples decoded at once: with `eval.batch_size=100` their activations fit the cache.
# It is no setting, as the draws depend on it, and two figures should have the same.
CHUNK = 10

ELBO_SAMPLES = {
    "elbo_samples": Setting(10, "draws of z for each example's ELBO", minimum=1, affects="figures")
}
IMPORTANCE_SAMPLES = {
    "importance_samples": Setting(
        1_000, "draws of z for each example's likelihood", minimum=1, smoke=16, affects="figures"
    )
}
# What a model must have for log p(x): the value itself, or a bound on it.
LIKELIHOOD = (base.Density, base.ImportanceWeighted)
# What Papamakarios et al. keep the logits of MNIST finite by.
_LOGIT_ALPHA = 1e-6
# Of -log p(x), what is known of log p(x).
KINDS = {"exact": "exact", "lower_bound": "upper_bound", "estimate": "estimate"}


@metric(
    "elbo",
    needs=(base.ImportanceWeighted,),
    settings=ELBO_SAMPLES,
    lower_is_better=("distortion", "elbo_bits_per_dim"),
)
def elbo(context: Context) -> dict[str, Metric]:
    """The ELBO and its two parts, `elbo = -(rate + distortion)`, in nats an example.

    With several layers of latents also the rate of each, E_q[ln q(z_i|...) - ln p(z_i|...)]:
    `rate/layer_1` is next to the data. They sum to the rate, a KL; one alone may be below 0 where
    the layers above it are drawn after it. For data with grey levels -elbo is given in bits a
    dimension too.
    """
    samples = context.settings.elbo_samples
    terms = split_terms(context, samples)
    spec = {**describe_data(context.subject, context.split, terms["elbo"]), "samples": samples}
    kinds = {"elbo": "lower_bound", "rate": "estimate", "distortion": "estimate"}
    values = {name: terms[name] for name in kinds}
    rates = terms["rates"].T
    if len(rates) > 1:
        values |= {f"rate/layer_{number}": rate for number, rate in enumerate(rates, 1)}
    figures = {
        name: _mean(each, kinds.get(name, "estimate"), spec) for name, each in values.items()
    }
    if _has_bits(subject_spec := context.subject.spec):
        loss = _mean(-terms["elbo"], "upper_bound", spec)
        figures["elbo_bits_per_dim"] = loss.scaled(subject_spec.bits_per_dim(1.0), "bits/dim")
    return figures


@metric(
    "nll",
    needs=(LIKELIHOOD,),
    settings=IMPORTANCE_SAMPLES,
    lower_is_better=("nll", "bits_per_dim"),
)
def nll(context: Context) -> dict[str, Metric]:
    """Negative log-likelihood: the model's own, or by importance sampling where it has none.

    The latter is the K-sample bound of Burda et al. 2016 (equation 8). It is on log p(x) in nats,
    of the stored integers where the data have them (the volume of dequantised data is counted, and
    a density of them is a bound on it), so the figure is an upper bound on the negative
    log-likelihood. For data with grey levels it is given in bits a dimension too. A model that is
    given the label has log p(x|y), and the figure's spec `given=label`.
    """
    subject, samples = context.subject, context.settings.importance_samples
    found = log_prob(subject, context.examples, context.settings, samples)
    spec = describe_data(subject, context.split, found.value)
    if not families.has(subject.family, base.Density):
        spec["importance_samples"] = samples
    figure = _mean(-found.value, KINDS[found.kind], spec)
    figures = {"nll": figure}
    if _has_bits(subject.spec):
        figures["bits_per_dim"] = figure.scaled(subject.spec.bits_per_dim(1.0), "bits/dim")
    return figures


def _check_is_dequantized(
    family: Family, dataset: Dataset, settings: ConfigDict, name: str
) -> None:
    if not dataset.spec.is_dequantized:
        raise UserError(
            f"{name} is of grey levels that noise makes real: "
            "train with --config.data.preprocess=uniform_dequantization"
        )


@metric(
    "logit_nll",
    needs=(base.Density,),
    also=_check_is_dequantized,
    lower_is_better=("logit_nll",),
)
def logit_nll(context: Context) -> dict[str, Metric]:
    """Negative log-density of logits, as Papamakarios et al. 2017 (MAF, section 4.3) print it.

    In nats, of v = logit(a + (1 - 2 a) x) with a = 1e-6 and x in [0, 1), whatever the model's own
    transformation is: -ln p(v) = -ln p(x) + ln |dv/dx|. It is not of the stored integers and has no
    bits; `nll` of the same model has.
    """
    subject = context.subject
    values = per_example(subject, context.examples, context.settings, _logit_log_density)
    spec = {**describe_data(subject, context.split, values), "alpha": _LOGIT_ALPHA}
    return {"logit_nll": _mean(-values, "exact", spec)}


def _mean(values: np.ndarray, kind: str, spec: dict[str, Any]) -> Metric:
    """The mean of nats [N], one for each example; few of them may be most of it."""
    figure = Metric.mean(values, "nats", kind, spec)
    return dataclasses.replace(figure, without_outliers=outliers.mean_without(values))


def _logit_log_density(family, params, extra, batch, keys):
    inner = 1 - 2 * _LOGIT_ALPHA
    u = _LOGIT_ALPHA + inner * batch["x"]
    log_change = math.log(inner) - jnp.log(u) - jnp.log1p(-u)
    value = family.log_prob(params, extra, batch, keys).value
    return value - log_change.reshape(len(u), -1).sum(-1)


def _has_bits(spec: DataSpec) -> bool:
    """Whether figures in bits a dimension mean something: whether the data have grey levels."""
    return bool(spec.levels) and spec.kind != "binary"


@metric("active_units", needs=(base.Autoencoder,))
def active_units(context: Context) -> dict[str, Metric]:
    """Latent units u with Var_x(E_q(u|x)[u]) > 0.01 (Burda et al. 2016, section 5.2).

    Of several layers, those next to the data; behind a flow, what it makes of the Gaussian's mean
    stands for the mean.
    """
    means = per_example(context.subject, context.examples, context.settings, posterior_mean)
    count = int((means.var(0) > 0.01).sum())
    spec = {**describe_data(context.subject, context.split, means), "threshold": 0.01}
    return {"active_units": Metric(count, None, "units", "exact", len(means), spec)}


@metric("mse", needs=(base.Autoencoder,), lower_is_better=("mse",))
def mse(context: Context) -> dict[str, Metric]:
    """Squared error a dimension of reconstructions from the posterior mean, in model units."""
    values = per_example(context.subject, context.examples, context.settings, _squared_error)
    spec = describe_data(context.subject, context.split, values)
    return {"mse": Metric.mean(values, "squared", "exact", spec)}


def posterior_mean(family, params, extra, batch, keys):
    """E[z|x] of each example, for `per_example`."""
    return family.encode(params, extra, batch).mean


def _squared_error(family, params, extra, batch, keys):
    z = family.encode(params, extra, batch).mean
    decoded = family.decode(params, extra, z, batch)
    return jnp.square(decoded - batch["x"]).reshape(len(z), -1).mean(-1)


def _importance_terms(family, params, extra, batch, keys, num_samples, log_volume):
    log_weights = functools.partial(family.log_weights, params, extra, batch)
    return log_mean_exp(log_weights, keys, num_samples, CHUNK, log_volume)


def _log_prob(family, params, extra, batch, keys):
    return family.log_prob(params, extra, batch, keys)


def log_prob(
    subject: Subject, examples: Examples, settings: ConfigDict, num_samples: int
) -> LogProb:
    """log p(x) of each example, [N] in nats of the stored data: see `nll`.

    Of a model that says it itself, else a bound from `num_samples` importance samples.
    """
    spec, family = subject.spec, subject.family
    if not families.has(family, base.Density):
        terms = importance_terms(subject, examples, settings, num_samples)
        return LogProb(terms["bound"], None, "lower_bound")
    found = per_example(subject, examples, settings, _log_prob)
    # E_u[log p(x + u)] + log volume <= log P(x), by Jensen's inequality.
    bound = found.kind == "exact" and spec.is_dequantized
    kind = "lower_bound" if bound else found.kind
    return LogProb(found.value + spec.log_volume, found.stderr, kind)


def importance_terms(
    subject: Subject, examples: Examples, settings: ConfigDict, num_samples: int
) -> dict[str, np.ndarray]:
    """Per-example terms in nats, each [N]: see `log_mean_exp`."""
    static = (num_samples, subject.spec.log_volume)
    return per_example(subject, examples, settings, _importance_terms, *static)


@once
def split_terms(context: Context, num_samples: int) -> dict[str, np.ndarray]:
    """`importance_terms` of the context's split."""
    return importance_terms(context.subject, context.examples, context.settings, num_samples)


def log_mean_exp(
    log_weights: Callable,
    keys: jax.Array,
    num_samples: int,
    chunk: int,
    log_volume: float = 0.0,
) -> dict[str, jax.Array]:
    """Sums K = `num_samples` importance weights in chunks that fit the cache.

    Args:
      log_weights: `(keys [B], num) -> LogWeights` with terms [num, B].
      keys: one for each example, [B].
      num_samples: K; the chunk need not divide it.
      chunk: samples at once.
      log_volume: is added to every log weight (`DataSpec.log_volume`).

    Returns:
      bound, elbo, rate, distortion, each [B] in nats, and rates, those of each layer, [B, D].
    """
    chunk = min(chunk, num_samples)

    def one(index):
        terms = log_weights(keys_lib.fold(keys, index), chunk)
        used = (index * chunk + jnp.arange(chunk) < num_samples)[:, None]
        log_w = jax.nn.logsumexp(jnp.where(used, terms.log_w, -jnp.inf), 0)
        likelihood = jnp.where(used, terms.log_likelihood, 0).sum(0)
        return log_w, likelihood, jnp.where(used, terms.log_ratios, 0).sum(1)

    chunks = jax.lax.map(one, jnp.arange(-(-num_samples // chunk)))
    total = jax.nn.logsumexp(chunks[0], 0)
    distortion = -chunks[1].sum(0) / num_samples - log_volume
    rates = -chunks[2].sum(0).T / num_samples
    rate = rates.sum(1)
    bound = total - jnp.log(num_samples) + log_volume
    return {
        "bound": bound,
        "elbo": -(rate + distortion),
        "rate": rate,
        "rates": rates,
        "distortion": distortion,
    }


def per_example(
    subject: Subject, examples: Examples, settings: ConfigDict, function: Callable, *static
) -> Any:
    """`function(family, params, extra, batch, keys, *static)` over a split -> [N, ...].

    Each example has its own key and its own fixed draw of data noise, so the figures do not
    depend on the batch size or on the number of devices.
    """
    mapped = _compiled(function, static, subject.family, subject.spec, examples.split)
    model = parallel.replicated((subject.params, subject.extra), local=True)
    parts = []
    given = batches.eval_batches(examples, settings.batch_size, settings.num_examples)
    for stored, index, counts in given:
        out = mapped(model, {"stored": stored, "index": index})
        parts.append(jax.tree.map(lambda x, counts=counts: x[counts], out))
    return jax.tree.map(lambda *xs: np.concatenate(xs), *parts)


@functools.lru_cache(maxsize=32)  # a run validates many times
def _compiled(
    function: Callable, static: tuple, family: Family, spec: DataSpec, split: str
) -> Callable:
    def run(model, inputs):
        index = inputs["index"]
        batch = spec.batch(inputs["stored"], fixed_keys(split, index))
        keys = keys_lib.per_example(keys_lib.stream(0, "evaluate"), index)
        return function(family, *model, batch, keys, *static)

    return parallel.compile_eval(run)


def describe_data(subject: Subject, split: str, values: np.ndarray) -> dict[str, Any]:
    """What of a figure's spec says of which data it is: the split, and what the model is given.

    For example {"data": "test:10000", "x": "binary", "given": "label"}: figures of bits, of bytes
    and of real numbers do not compare, nor do log p(x) and log p(x|y).
    """
    kind = subject.spec.kind
    levels = "" if kind == "binary" or not subject.spec.levels else f":{subject.spec.levels}"
    given = {"given": "+".join(subject.given)} if subject.given else {}
    return {"data": f"{split}:{len(values)}", "x": f"{kind}{levels}", **given}
