"""The evaluator for densities: the only place that turns densities into published figures.

It owns the draws (one fixed draw of data noise for each example), the number of importance
samples, the volume of dequantised data, nats and bits, means and standard errors.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gen_jax import keys as keys_lib
from gen_jax import parallel
from gen_jax.data import batches
from gen_jax.data.sources import Dataset, Examples
from gen_jax.data.spec import DataSpec, fixed_keys
from gen_jax.evaluation.metric import Metric
from gen_jax.evaluation.needs import needs
from gen_jax.evaluation.subject import Subject
from gen_jax.families import base
from gen_jax.families.base import Family

# Importance samples decoded at once: with `eval.batch_size=100` their activations fit the cache.
# It is no setting, as the draws depend on it, and two figures should have the same.
CHUNK = 10


@needs(base.ImportanceWeighted)
def elbo(subject: Subject, dataset: Dataset, split: str, settings: ConfigDict) -> dict[str, Metric]:
    """The ELBO and its two parts, `elbo = -(rate + distortion)`, in nats an example.

    With several layers of latents also the rate of each, E_q[ln q(z_i|...) - ln p(z_i|...)]:
    `rate/layer_1` is next to the data. They sum to the rate, a KL; one alone may be below 0 where
    the layers above it are drawn after it.
    """
    examples = dataset.splits[split]
    samples = settings.elbo_samples
    terms = importance_terms(subject, examples, settings, samples)
    what = f"{describe_data(subject, split, terms['elbo'])}, samples={samples}"
    kinds = {"elbo": "lower_bound", "rate": "estimate", "distortion": "estimate"}
    values = {name: terms[name] for name in kinds}
    rates = terms["rates"].T
    if len(rates) > 1:
        values |= {f"rate/layer_{number}": rate for number, rate in enumerate(rates, 1)}
    return {
        name: Metric.mean(each, "nats", kinds.get(name, "estimate"), f"{name}[{what}]")
        for name, each in values.items()
    }


@needs(base.ImportanceWeighted)
def nll(subject: Subject, dataset: Dataset, split: str, settings: ConfigDict) -> dict[str, Metric]:
    """Negative log-likelihood by importance sampling (Burda et al. 2016, equation 8).

    The K-sample bound is on log p(x) in nats, of the stored integers where the data have them
    (the volume of dequantised data is counted), so the figure is an upper bound on the
    negative log-likelihood. For data with grey levels it is given in bits a dimension too. A
    model that is given the label has log p(x|y), and the figure's spec `given=label`.
    """
    examples = dataset.splits[split]
    samples = settings.importance_samples
    values = -importance_terms(subject, examples, settings, samples)["bound"]
    what = f"{describe_data(subject, split, values)}, importance_samples={samples}"
    figure = Metric.mean(values, "nats", "upper_bound", f"nll[{what}]")
    metrics = {"nll": figure}
    if subject.spec.levels and subject.spec.kind != "binary":
        bits = subject.spec.bits_per_dim(1.0)
        metrics["bits_per_dim"] = figure.scaled(bits, "bits/dim", f"bits_per_dim[{what}]")
    return metrics


@needs(base.Autoencoder)
def active_units(
    subject: Subject, dataset: Dataset, split: str, settings: ConfigDict
) -> dict[str, Metric]:
    """Latent units u with Var_x(E_q(u|x)[u]) > 0.01 (Burda et al. 2016, section 5.2).

    Of several layers, those next to the data; behind a flow, what it makes of the Gaussian's mean
    stands for the mean.
    """
    examples = dataset.splits[split]
    means = per_example(subject, examples, settings, _posterior_mean)
    count = int((means.var(0) > 0.01).sum())
    spec = f"active_units[{describe_data(subject, split, means)}, threshold=0.01]"
    return {"active_units": Metric(count, None, "units", "exact", len(means), spec)}


@needs(base.Autoencoder)
def mse(subject: Subject, dataset: Dataset, split: str, settings: ConfigDict) -> dict[str, Metric]:
    """Squared error a dimension of reconstructions from the posterior mean, in model units."""
    examples = dataset.splits[split]
    values = per_example(subject, examples, settings, _squared_error)
    spec = f"mse[{describe_data(subject, split, values)}]"
    return {"mse": Metric.mean(values, "squared", "exact", spec)}


def _posterior_mean(family, params, extra, batch, keys):
    return family.encode(params, extra, batch).mean


def _squared_error(family, params, extra, batch, keys):
    z = family.encode(params, extra, batch).mean
    decoded = family.decode(params, extra, z, batch["label"])
    return jnp.square(decoded - batch["x"]).reshape(len(z), -1).mean(-1)


def _importance_terms(family, params, extra, batch, keys, num_samples, log_volume):
    log_weights = functools.partial(family.log_weights, params, extra, batch)
    return log_mean_exp(log_weights, keys, num_samples, CHUNK, log_volume)


def importance_terms(
    subject: Subject, examples: Examples, settings: ConfigDict, num_samples: int
) -> dict[str, np.ndarray]:
    """Per-example terms in nats, each [N]: see `log_mean_exp`."""
    static = (num_samples, subject.spec.log_volume)
    return per_example(subject, examples, settings, _importance_terms, *static)


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
) -> np.ndarray:
    """`function(family, params, extra, batch, keys, *static)` over a split -> [N, ...].

    Each example has its own key and its own fixed draw of data noise, so the figures do not
    depend on the batch size or on the number of devices.
    """
    mapped = _compiled(function, static, subject.family, subject.spec, examples.split)
    model = parallel.replicated((subject.params, subject.extra), local=True)
    parts = []
    for batch in batches.eval_batches(examples, settings.batch_size, settings.num_examples):
        mask = batch.pop("mask")
        parts.append(jax.tree.map(lambda x, mask=mask: x[mask], mapped(model, batch)))
    return jax.tree.map(lambda *xs: np.concatenate(xs), *parts)


@functools.lru_cache(maxsize=32)  # a run validates many times
def _compiled(
    function: Callable, static: tuple, family: Family, spec: DataSpec, split: str
) -> Callable:
    def run(model, batch):
        index = batch["index"]
        x = spec.prepare(batch["x"], fixed_keys(split, index))
        keys = keys_lib.per_example(keys_lib.stream(0, "evaluate"), index)
        return function(family, *model, {"x": x, "label": batch["label"]}, keys, *static)

    return parallel.compile_eval(run)


def describe_data(subject: Subject, split: str, values: np.ndarray) -> str:
    """What of a metric's spec says of which data it is: the split, and what the model is given.

    For example "data=test:10000, x=binary, given=label": figures of bits, of bytes and of real
    numbers do not compare, nor do log p(x) and log p(x|y).
    """
    kind = subject.spec.kind
    levels = "" if kind == "binary" or not subject.spec.levels else f":{subject.spec.levels}"
    given = ", given=label" if getattr(subject.family, "num_classes", 0) else ""
    return f"data={split}:{len(values)}, x={kind}{levels}{given}"
