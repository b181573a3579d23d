"""Anomaly detection: how well a model's scores tell other data from its own."""

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gen_jax import families
from gen_jax.data.examples import Examples
from gen_jax.data.sources import Dataset
from gen_jax.errors import UserError
from gen_jax.evaluation import likelihood
from gen_jax.evaluation.context import Context
from gen_jax.evaluation.metric import Metric, metric
from gen_jax.evaluation.subject import Subject
from gen_jax.families import base
from gen_jax.families.base import Family


def _check(family: Family, dataset: Dataset, settings: ConfigDict, name: str) -> None:
    if "anomalies" not in dataset.splits:
        raise UserError(
            f"{name} needs other data of the same form; name them by "
            "--config.data.anomalies=DATASET"
        )
    if getattr(family, "given", ()):
        raise UserError(
            f"{name} needs a model of p(x), and this one is given the "
            f"{' and '.join(family.given)}, which anomalies lack"
        )


@metric("auroc", needs=(likelihood.LIKELIHOOD,), also=_check, settings=likelihood.ELBO_SAMPLES)
def auroc(context: Context) -> dict[str, Metric]:
    """The area under the ROC curve of each of `scores`, against the split "anomalies".

    It is the probability that an anomaly scores higher than an example of the data: 0.5 of a
    score that knows nothing, and less where anomalies look more normal than the data, as they
    often do to the likelihood of a deep model (Nalisnick et al. 2019, arXiv 1810.09136).
    """
    subject, settings = context.subject, context.settings
    anomalies = context.dataset.splits["anomalies"]
    others = scores(subject, anomalies, settings)
    figures = {}
    for score, values in scores(subject, context.examples, settings).items():
        spec = likelihood.describe_data(subject, context.split, values)
        spec["anomalies"] = f"{anomalies.split}:{len(others[score])}"
        if not families.has(subject.family, base.Density):
            spec["samples"] = settings.elbo_samples
        area, stderr = area_under_curve(values, others[score])
        n = len(values) + len(others[score])
        figures[f"auroc/{score}"] = Metric(area, stderr, "probability", "estimate", n, spec)
    return figures


def scores(subject: Subject, examples: Examples, settings: ConfigDict) -> dict[str, np.ndarray]:
    """Anomaly scores of each example, [N], in nats; the higher, the less like the training data.

    `nll` is -log p(x), the model's own or by `settings.elbo_samples` importance samples. Of a
    latent-variable model there are `distortion`, the reconstruction error -E_q[log p(x|z)], and
    `rate`, KL(q(z|x) || p(z)), too. Of pictures that are encoded there is `relative_error`, a pure
    number: the squared error of the reconstruction over the sum of squares of x. There is little
    to get wrong in a picture with little on it, and that would make it look normal.
    """
    samples = settings.elbo_samples
    if families.has(subject.family, base.Density):
        found = {"nll": -likelihood.log_prob(subject, examples, settings, samples).value}
    else:
        terms = likelihood.importance_terms(subject, examples, settings, samples)
        found = {name: terms[name] for name in ("distortion", "rate")}
        found = {"nll": -terms["bound"], **found}
    if subject.spec.is_image and families.has(subject.family, base.Autoencoder):
        found["relative_error"] = likelihood.per_example(
            subject, examples, settings, _relative_error
        )
    return found


def _relative_error(family, params, extra, batch, keys):
    decoded = family.decode(params, extra, family.encode(params, extra, batch).mean, batch)
    squares = [jnp.square(x).sum((1, 2, 3)) for x in (decoded - batch["x"], batch["x"])]
    return squares[0] / jnp.maximum(squares[1], 1e-6)


def area_under_curve(normal: np.ndarray, anomalies: np.ndarray) -> tuple[float, float | None]:
    """P(anomaly > normal) + P(equal) / 2 of scores [N] and [M], and its standard error.

    The error is that of DeLong et al. 1988 (Biometrics 44:837), by ranks: the variances of each
    anomaly's part of lower normals, over M, and of each normal's part of higher anomalies, over N.
    """
    from scipy import stats  # takes long to import

    m, n = len(anomalies), len(normal)
    ranks = stats.rankdata(np.concatenate([anomalies, normal]))
    higher = (ranks[:m] - stats.rankdata(anomalies)) / n
    lower = 1 - (ranks[m:] - stats.rankdata(normal)) / m
    value = float(higher.mean())
    if min(m, n) < 2:
        return value, None
    return value, float(np.sqrt(higher.var(ddof=1) / m + lower.var(ddof=1) / n))
