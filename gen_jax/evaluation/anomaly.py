"""Anomaly detection: how well a model's scores tell other data from its own."""

import io
import math

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from gen_jax import families
from gen_jax.data.examples import Examples, Relabelled
from gen_jax.data.sources import Dataset
from gen_jax.errors import UserError
from gen_jax.evaluation import likelihood
from gen_jax.evaluation.context import Context
from gen_jax.evaluation.denoising import LEVELS, squared_errors
from gen_jax.evaluation.metric import Metric, metric
from gen_jax.evaluation.subject import Subject
from gen_jax.families import base, conditions
from gen_jax.families.base import Family
from gen_jax.settings import Setting

_USUAL = 1_000  # training examples whose mean -log p(x) is the usual one
_LEVEL = 0.5  # of the noise behind which a part of a picture is looked for
_DRAWS = 8  # of that noise
# Scores that take the likelihood.
_OF_LIKELIHOOD = ("nll", "distortion", "rate", "likelihood_ratio")
SETTINGS = {
    "anomaly_scores": Setting(
        (),
        "those that are computed, typicality with nll; if empty, all that the model has. A "
        "diffusion's likelihood takes hours where its denoising_error takes minutes",
        choices=(*_OF_LIKELIHOOD, "relative_error", "denoising_error"),
        affects="figures",
    ),
}
# What a model must have for a score.
SCORED = (*likelihood.LIKELIHOOD, base.Denoiser, base.Autoencoder)
# What it must have to say where a picture is unusual.
LOCATED = (base.ElementDensity, base.Denoiser, base.Autoencoder)


def _check(family: Family, dataset: Dataset, settings: ConfigDict, name: str) -> None:
    if "anomalies" not in dataset.splits:
        raise UserError(
            f"{name} needs other data of the same form; name them by "
            "--config.data.anomalies=DATASET"
        )
    given = getattr(family, "given", ())
    if given and not conditions.does_without_label(family):
        raise UserError(
            f"{name} needs a model of p(x), and this one is given the {' and '.join(given)}, which "
            "anomalies lack"
        )


@metric("auroc", needs=(SCORED,), also=_check, settings=likelihood.ELBO_SAMPLES | SETTINGS)
def auroc(context: Context) -> dict[str, Metric]:
    """The area under the ROC curve of each of `scores`, against the split "anomalies".

    It is the probability that an anomaly scores higher than an example of the data: 0.5 of a
    score that knows nothing, and less where anomalies look more normal than the data, as they
    often do to the likelihood of a deep model (Nalisnick et al. 2019, arXiv 1810.09136).

    A class-conditional model whose training withheld some labels is told none.

    Where there are training examples to know what -log p(x) is usual there is `typicality` too, the
    distance from it in nats (Nalisnick et al. 2019, arXiv 1906.02994, of one example at a time).
    """
    subject, settings = context.subject, context.settings
    splits = context.dataset.splits
    if subject.given:
        splits = {name: Relabelled(each, subject.num_classes) for name, each in splits.items()}
    anomalies = splits["anomalies"]
    found, others = (scores(subject, each, settings) for each in (splits[context.split], anomalies))
    if "nll" in found and "train" in splits:
        few = settings.copy_and_resolve_references()
        few.num_examples, few.anomaly_scores = _USUAL, ("nll",)
        usual = scores(subject, splits["train"], few)["nll"].mean()
        for each in (found, others):
            each["typicality"] = np.abs(each["nll"] - usual)
    figures = {}
    for score, values in found.items():
        spec = likelihood.describe_data(subject, context.split, values)
        spec.pop("given", None)
        spec["anomalies"] = f"{anomalies.split}:{len(others[score])}"
        sampled = not families.has(subject.family, base.Density)
        if sampled and families.has(subject.family, base.ImportanceWeighted):
            spec["samples"] = settings.elbo_samples
        area, stderr = area_under_curve(values, others[score])
        n = len(values) + len(others[score])
        figures[f"auroc/{score}"] = Metric(area, stderr, "probability", "estimate", n, spec)
    return figures


def scores(subject: Subject, examples: Examples, settings: ConfigDict) -> dict[str, np.ndarray]:
    """Anomaly scores of each example, [N], in nats; the higher, the less like the training data.

    `nll` is -log p(x), the model's own or by `settings.elbo_samples` importance samples. Of a
    latent-variable model there are `distortion`, the reconstruction error -E_q[log p(x|z)], and
    `rate`, KL(q(z|x) || p(z)), too. Of pictures with a likelihood there is `likelihood_ratio`, to
    that of a compressor that knows no data: -log p(x) less the nats of x as a PNG file, as a simple
    picture is likely to any model (Serrà et al. 2020, arXiv 1909.11480, equation 1).

    Of pictures that are encoded there is `relative_error`, a pure number: the squared error of the
    reconstruction over the sum of squares of x. There is little to get wrong in a picture with
    little on it, and that would make it look normal. Of a model that denoises there is
    `denoising_error`: the mean over five levels of noise of the logarithm of the squared error of
    what it sees behind that noise (after Graham et al. 2023, arXiv 2211.07740, without their
    perceptual distance).

    Raises:
      UserError: if the model has none of the scores that `settings.anomaly_scores` asks for.
    """
    wanted = set(settings.anomaly_scores) or {*_OF_LIKELIHOOD, "relative_error", "denoising_error"}
    samples, found = settings.elbo_samples, {}
    by_likelihood = not wanted.isdisjoint(_OF_LIKELIHOOD)
    if by_likelihood and families.has(subject.family, base.Density):
        found = {"nll": -likelihood.log_prob(subject, examples, settings, samples).value}
    elif by_likelihood and families.has(subject.family, base.ImportanceWeighted):
        terms = likelihood.importance_terms(subject, examples, settings, samples)
        found = {name: terms[name] for name in ("distortion", "rate")}
        found = {"nll": -terms["bound"], **found}
    if "nll" in found and subject.spec.is_image:
        x = likelihood.per_example(subject, examples, settings, _given)
        found["likelihood_ratio"] = found["nll"] - compressed_nats(subject.spec.to_uint8(x))
    if "relative_error" in wanted and subject.spec.is_image and _reconstructs(subject.family):
        found["relative_error"] = likelihood.per_example(
            subject, examples, settings, _relative_error
        )
    if "denoising_error" in wanted and families.has(subject.family, base.Denoiser):
        found["denoising_error"] = likelihood.per_example(
            subject, examples, settings, _denoising_error
        )
    if wanted.isdisjoint(found):
        asked = tuple(settings.anomaly_scores)
        raise UserError(
            f"this model has none of eval.anomaly_scores={asked}; choose others, or all by "
            "--config.eval.anomaly_scores=()"
            if asked
            else "a model that encodes and has no likelihood has scores of pictures alone, and "
            "these data are none"
        )
    return {name: values for name, values in found.items() if name in wanted}


def unusual_parts(subject: Subject, examples: Examples, settings: ConfigDict) -> np.ndarray:
    """Where pictures are unusual, [N, H, W]: the higher, the more a pixel surprises the model.

    Of an autoregressive model it is -log p of each pixel given those before it, in nats; of one
    that denoises the squared error of a pixel behind noise, the mean over some draws of it; of one
    that encodes the squared error of its reconstruction.

    Raises:
      UserError: for a model that says none of it.
    """
    family = families.require(subject.family, "where a picture is unusual", *LOCATED)
    if not locates(family):
        raise UserError("a flow reconstructs any picture exactly, so that no part of it stands out")
    if families.has(subject.family, base.ElementDensity):
        function = _surprise
    elif families.has(subject.family, base.Denoiser):
        function = _errors_behind_noise
    else:
        function = _errors_of_reconstruction
    return likelihood.per_example(subject, examples, settings, function)


def locates(family: Family) -> bool:
    """Whether `unusual_parts` can say where a picture is unusual."""
    each = families.has(family, base.ElementDensity) or families.has(family, base.Denoiser)
    return each or _reconstructs(family)


def _reconstructs(family: Family) -> bool:
    """Whether a model encodes, and with a loss; a flow does it without one."""
    return families.has(family, base.Autoencoder) and not families.has(family, base.Density)


def compressed_nats(pictures: np.ndarray) -> np.ndarray:
    """The size of each picture, uint8 [N, H, W, C], as a PNG file, in nats [N]."""
    sizes = []
    for picture in pictures:
        file = io.BytesIO()
        Image.fromarray(picture.squeeze(-1) if picture.shape[-1] == 1 else picture).save(
            file, "PNG", compress_level=9
        )
        sizes.append(file.tell())
    return 8 * math.log(2) * np.array(sizes, np.float64)


def _given(family, params, extra, batch, keys):
    return batch["x"]


def _denoising_error(family, params, extra, batch, keys):
    errors = squared_errors(family, params, extra, batch, keys, LEVELS)
    return jnp.log(errors.mean((2, 3, 4))).mean(0)


def _errors_behind_noise(family, params, extra, batch, keys):
    errors = squared_errors(family, params, extra, batch, keys, [_LEVEL] * _DRAWS)
    return errors.mean((0, -1))


def _surprise(family, params, extra, batch, keys):
    terms = family.element_log_probs(params, extra, batch)
    return -terms.reshape(*batch["x"].shape[:3], -1).sum(-1)


def _errors_of_reconstruction(family, params, extra, batch, keys):
    decoded = family.decode(params, extra, family.encode(params, extra, batch).mean, batch)
    return jnp.square(decoded - batch["x"]).mean(-1)


def _relative_error(family, params, extra, batch, keys):
    errors = _errors_of_reconstruction(family, params, extra, batch, keys)
    size = jnp.square(batch["x"]).mean(-1).sum((1, 2))
    return errors.sum((1, 2)) / jnp.maximum(size, 1e-6)


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
