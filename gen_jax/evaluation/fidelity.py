"""How close samples are to the data, as a classifier sees both.

All are estimates that depend on the classifier, on the numbers of pictures and on the split, so
a figure's `spec` names them. A figure NAME_floor puts real training pictures in the place of the
samples, and NAME_real those of the split: what a perfect model would score, give or take the number
of pictures. They become pictures as samples do, so a model of zeros and ones is not charged for the
grey that it cannot show.
"""

import dataclasses
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from scipy import special

from gen_jax.data.examples import choose
from gen_jax.data.sources import Dataset
from gen_jax.errors import UserError
from gen_jax.evaluation import features as features_lib
from gen_jax.evaluation import judges
from gen_jax.evaluation.context import Context
from gen_jax.evaluation.features import SEED, FeatureNet, Seen, Sets
from gen_jax.evaluation.metric import Metric, metric
from gen_jax.evaluation.neighbours import radii, squared_distances
from gen_jax.families import base
from gen_jax.families.base import Family
from gen_jax.nn.classifier import ConvClassifier
from gen_jax.settings import Setting

KID_SUBSETS, KID_SIZE = 100, 1_000
SPLITS = 10
CAS_STEPS = 2_000

NEAREST_K = {
    "nearest_k": Setting(
        5, "neighbours of precision, recall, density and coverage", minimum=1, affects="figures"
    )
}
CALLS = {
    "calls": Setting(
        (5, 10, 20, 50, 100, 250),
        "of the network, at most, for each sample of `fid_at_calls`",
        minimum=1,
        element=10,
        smoke=(3,),
        affects="figures",
    ),
    "samplers": Setting(
        ("ddim", "heun", "dpm"),
        "whose samples `fid_at_calls` scores; (): the one of sample.sampler",
        element="ddim",
        smoke=("ddim",),
        affects="figures",
    ),
}


# Functions of features


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """The squared Fréchet distance of two Gaussians fitted to features [N, D] and [M, D].

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), Heusel et al. 2017 (arXiv 1706.08500),
    equation 6. The trace of the root is taken of C1^(1/2) C2 C1^(1/2), which has the same
    eigenvalues and is symmetric, so singular covariances do no harm.
    """
    if min(len(a), len(b)) < 2:
        raise UserError(
            "a Fréchet distance needs two pictures in each set; use a larger "
            "--config.eval.num_examples or num_samples"
        )
    means, covs = zip(*(_moments(x) for x in (a, b)), strict=True)
    values, vectors = np.linalg.eigh(covs[0])
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    product = np.linalg.eigvalsh(root @ covs[1] @ root).clip(0)
    shift = np.square(means[0] - means[1]).sum()
    distance = shift + np.trace(covs[0]) + np.trace(covs[1]) - 2 * np.sqrt(product).sum()
    return max(float(distance), 0.0)


def _moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x = np.asarray(x, np.float64)
    mean = x.mean(0)
    return mean, (x - mean).T @ (x - mean) / (len(x) - 1)


def kernel_distance(
    a: np.ndarray,
    b: np.ndarray,
    subsets: int = KID_SUBSETS,
    size: int = KID_SIZE,
    seed: int = SEED,
) -> tuple[float, float]:
    """The unbiased squared MMD of features [N, D] and [M, D] -> mean and standard error.

    With the kernel (x.y / D + 1)^3, averaged over random subsets of `size` of each, and of at
    most half: the kernel inception distance of Binkowski et al. 2018 (arXiv 1801.01401). Subsets
    of m of n pictures share some, so the spread over them is too small by 1 - m / n, and that of
    the figure, which has seen all n, is m / n of what it were without: hence m / (n - m). Papers
    often give the spread itself.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    n = min(len(a), len(b))
    size = _subset(n, size)
    generator = np.random.Generator(np.random.Philox(key=seed))
    values = []
    for _ in range(subsets):
        x = a[generator.permutation(len(a))[:size]]
        y = b[generator.permutation(len(b))[:size]]
        values.append(_unbiased_mmd(x, y))
    return float(np.mean(values)), float(np.std(values, ddof=1) * np.sqrt(size / (n - size)))


def _subset(n: int, size: int = KID_SIZE) -> int:
    return min(size, n // 2)


def _unbiased_mmd(x: np.ndarray, y: np.ndarray) -> float:
    """The unbiased estimate of the squared MMD, Gretton et al. 2012, equation 3 (JMLR 13)."""
    n, dims = x.shape

    def kernel(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        base = p @ q.T / dims + 1
        return base * base * base

    within = sum(k.sum() - np.trace(k) for k in (kernel(x, x), kernel(y, y)))
    return within / (n * (n - 1)) - 2 * kernel(x, y).mean()


def inception_score(logits: np.ndarray, splits: int = SPLITS) -> tuple[float, float]:
    """exp E KL(p(y|x) || p(y)) of logits [N, C] -> mean and standard deviation over splits.

    Salimans et al. 2016 (arXiv 1606.03498), section 4. The splits are N / splits in a row, so
    the rows must come in a random order. It never sees the data, and says nothing where the
    classifier's classes are not the data's (Barratt and Sharma 2018, arXiv 1801.01973).
    """
    log_p = special.log_softmax(np.asarray(logits, np.float64), -1)
    scores = []
    for part in np.array_split(log_p, min(splits, len(log_p))):
        log_marginal = special.logsumexp(part, 0) - np.log(len(part))
        scores.append(np.exp((np.exp(part) * (part - log_marginal)).sum(-1).mean()))
    return float(np.mean(scores)), float(np.std(scores))


def prdc(real: np.ndarray, fake: np.ndarray, k: int) -> dict[str, float]:
    """Precision, recall, density and coverage of features [N, D] and [M, D].

    The manifold of a set is the union of the balls around its points that reach to the k-th
    nearest other point. Kynkäänniemi et al. 2019 (arXiv 1904.06991), equations 1 and 2:
    precision is the fraction of fakes in the manifold of the real, recall that of the real in
    the manifold of the fakes. Naeem et al. 2020 (arXiv 2002.09797), section 3.2: density counts
    the real balls that a fake is in, over k, and may exceed 1; coverage is the fraction of the
    real whose ball has a fake in it. A point on the rim of a ball is within.

    Args:
      real: features of the data.
      fake: features of the samples.
      k: which neighbour; fewer than either set has.
    """
    if not 0 < k < min(len(real), len(fake)):
        raise UserError(
            f"nearest_k={k} needs more than {k} pictures in each set, and there are {len(real)} "
            f"and {len(fake)}; set --config.eval.nearest_k or num_samples"
        )
    real, fake = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    center = real.mean(0)  # near the origin, differences of squares are sharper
    real, fake = real - center, fake - center
    real_radius, fake_radius = (np.square(radii(x, k)) for x in (real, fake))
    balls = np.zeros(len(fake), np.int64)  # real ones that each fake is in
    recalled, covered = np.zeros(len(real), bool), np.zeros(len(real), bool)
    for rows, squared in squared_distances(real, fake):
        recalled[rows] = (squared <= fake_radius).any(1)
        within = squared <= real_radius[rows, None]
        covered[rows] = within.any(1)
        balls += within.sum(0)
    return {
        "precision": float((balls > 0).mean()),
        "recall": float(recalled.mean()),
        "density": float(balls.mean() / k),
        "coverage": float(covered.mean()),
    }


# Metrics


def _check_classes(family: Family, dataset: Dataset, settings: ConfigDict, name: str) -> None:
    features_lib.check_pictures(family, dataset, settings, name)
    if "label" not in getattr(family, "given", ()):
        raise UserError(
            f"{name} needs a class-conditional model, and this {type(family).__name__} is none; "
            "set the conditions under --config.model"
        )


@metric(
    "fid",
    needs=(base.Sampler,),
    also=features_lib.check_judge,
    settings=features_lib.SETTINGS,
    lower_is_better=("fid",),
)
def fid(context: Context) -> dict[str, Metric]:
    """Fréchet distance of the samples to the split, and its floor."""
    sets = features_lib.compare(context)

    def value(other: Seen) -> dict[str, float]:
        return {"fid": frechet_distance(sets.real.features, other.features)}

    return _with_floor(value, sets, context.split, "distance")


@metric(
    "fid_at_calls",
    needs=(base.Sampler, base.CallsCounted),
    also=features_lib.check_judge,
    settings=features_lib.SETTINGS | CALLS,
)
def fid_at_calls(context: Context) -> dict[str, Metric]:
    """`fid@sampler=NAME,calls=N`: the FID by each sampler with at most N calls of the network.

    The calls that it took are in the figure's spec. `python -m gen_jax.report.sampler_calls` draws
    them.
    """
    figures, subject = {}, context.subject
    for sampler in context.settings.samplers or ("",):
        options = {**subject.options, **({"sampler": sampler} if sampler else {})}
        for calls in context.settings.calls:
            own = subject.family.within_calls(options, calls)
            if (taken := subject.family.sampling_calls(own)) > calls:
                continue
            asked = dataclasses.replace(subject, options=own)
            sets = features_lib.compare(dataclasses.replace(context, subject=asked, _known={}))
            value = frechet_distance(sets.real.features, sets.fake.features)
            what = {**_reals(sets, context.split), **_fakes(sets), "calls": taken}
            figure = _estimate(value, "distance", len(sets.fake.features), sets.net, what)
            figures[f"fid@sampler={sampler or 'own'},calls={calls}"] = figure
    return figures


@metric(
    "kid",
    needs=(base.Sampler,),
    also=features_lib.check_judge,
    settings=features_lib.SETTINGS,
    lower_is_better=("kid",),
)
def kid(context: Context) -> dict[str, Metric]:
    """Kernel distance of the samples to the split, and its floor."""
    sets = features_lib.compare(context)

    def value(other: Seen) -> dict[str, tuple[float, float]]:
        return {"kid": kernel_distance(sets.real.features, other.features)}

    size = _subset(min(len(sets.real.features), len(sets.fake.features)))
    if size < 2:
        raise UserError("kid needs four pictures of each; use a larger --config.eval.num_examples")
    return _with_floor(value, sets, context.split, "distance", subsets=f"{KID_SUBSETS}x{size}")


@metric(
    "inception_score",
    needs=(base.Sampler,),
    also=features_lib.check_judge,
    settings=features_lib.SETTINGS,
)
def inception_scores(context: Context) -> dict[str, Metric]:
    """Inception score of the samples, and that of the split: inception_score_real."""
    sets = features_lib.compare(context)
    metrics = {}
    for name, seen, what in (
        ("inception_score", sets.fake, _fakes(sets)),
        ("inception_score_real", sets.perfect, _reals(sets, context.split)),
    ):
        # Stored examples may be sorted by their classes.
        logits = _cut(seen, len(seen.logits)).logits
        mean, spread = inception_score(logits)
        stderr = spread / np.sqrt(max(min(SPLITS, len(logits)) - 1, 1))
        pair, what = (mean, float(stderr)), {**what, "splits": SPLITS}
        metrics[name] = _estimate(pair, "score", len(logits), sets.net, what)
    return metrics


@metric(
    "prdc",
    needs=(base.Sampler,),
    also=features_lib.check_judge,
    settings=features_lib.SETTINGS | NEAREST_K,
)
def prdc_metrics(context: Context) -> dict[str, Metric]:
    """Precision, recall, density and coverage, each with its floor.

    Balls shrink as a set grows, so all sets are cut to the size of the smallest.
    """
    net, *seen = features_lib.compare(context)
    size, k = min(len(s.features) for s in seen), context.settings.nearest_k
    sets = Sets(net, *(_cut(s, size) for s in seen))

    def value(other: Seen) -> dict[str, float]:
        return prdc(sets.real.features, other.features, k)

    return _with_floor(value, sets, context.split, "fraction", k=k)


def _check_classes_and_judge(
    family: Family, dataset: Dataset, settings: ConfigDict, name: str
) -> None:
    _check_classes(family, dataset, settings, name)
    features_lib.check_judge(family, dataset, settings, name)


@metric(
    "intra_fid",
    needs=(base.Sampler,),
    also=_check_classes_and_judge,
    settings=features_lib.SETTINGS,
    lower_is_better=("intra_fid",),
)
def intra_fid(context: Context) -> dict[str, Metric]:
    """The mean over classes of the Fréchet distance within the class, and its floor.

    Miyato and Koyama 2018 (arXiv 1802.05637).
    """
    classes = context.subject.num_classes
    sets = features_lib.compare(context)

    def value(other: Seen) -> dict[str, float]:
        distances = []
        for label in range(classes):
            pair = [seen.features[seen.labels == label] for seen in (sets.real, other)]
            if min(map(len, pair)) < 2:
                raise UserError(
                    f"intra_fid needs two pictures of each class in each set, and class {label} "
                    "has fewer; raise --config.eval.num_samples or num_examples"
                )
            distances.append(frechet_distance(*pair))
        return {"intra_fid": float(np.mean(distances))}

    return _with_floor(value, sets, context.split, "distance", classes=classes)


@metric(
    "label_accuracy",
    needs=(base.Sampler,),
    also=_check_classes_and_judge,
    settings=features_lib.SETTINGS,
)
def label_accuracy(context: Context) -> dict[str, Metric]:
    """The fraction of samples that the judge gives the label that was asked for.

    label_accuracy_real is its accuracy on the split.
    """
    classes = context.subject.num_classes
    sets = features_lib.compare(context)
    if sets.fake.logits.shape[1] != classes:
        raise UserError(
            f"label_accuracy needs a judge of the model's {classes} classes, and "
            f"{sets.net.name} has {sets.fake.logits.shape[1]}; choose one by --config.eval.judge"
        )
    metrics = {}
    for name, seen, what in (
        ("label_accuracy", sets.fake, _fakes(sets)),
        ("label_accuracy_real", sets.perfect, _reals(sets, context.split)),
    ):
        correct = seen.logits.argmax(-1) == seen.labels
        metrics[name] = Metric.mean(
            correct, "fraction", "estimate", {"judge": sets.net.name, **what}
        )
    return metrics


@metric(
    "cas",
    needs=(base.Sampler,),
    also=_check_classes,
    settings=features_lib.NUM_SAMPLES,
)
def cas(context: Context) -> dict[str, Metric]:
    """Classification accuracy score: a classifier is trained on samples, tested on the split.

    Ravuri and Vinyals 2019 (arXiv 1905.10887), with a small classifier of our own.
    cas_real is that of one trained on as many training pictures.
    """
    module, num = ConvClassifier(context.subject.num_classes), context.settings.num_samples
    test, truth = features_lib.stored_pictures(
        context, context.split, context.settings.num_examples
    )
    metrics = {}
    for name, source, (pictures, labels) in (
        ("cas", "fake", features_lib.sample_pictures(context, num)),
        ("cas_real", "train", features_lib.perfect_train_pictures(context, num)),
    ):
        net = FeatureNet("cnn", module, judges.fit(module, pictures, labels, CAS_STEPS))
        correct = net(test)[0].argmax(-1) == truth
        what = {
            "trained": f"{source}:{len(labels)}",
            "steps": CAS_STEPS,
            "real": f"{context.split}:{len(truth)}",
            "seed": SEED,
        }
        metrics[name] = Metric.mean(correct, "fraction", "estimate", {"judge": net.name, **what})
    return metrics


def _cut(seen: Seen, size: int) -> Seen:
    """`size` of the pictures, in a random order of a fixed seed."""
    rows = choose(len(seen.features), size)
    return Seen(*(None if x is None else x[rows] for x in seen))


def _with_floor(value, sets: Sets, split: str, unit: str, **more) -> dict[str, Metric]:
    """`value(seen) -> {name: figure}` of the samples, and of the floor under NAME_floor."""
    metrics = {}
    for suffix, other, what in (
        ("", sets.fake, _fakes(sets)),
        ("_floor", sets.floor, {"floor": f"train:{len(sets.floor.labels)}"}),
    ):
        what = {**_reals(sets, split), **what, **more}
        for name, figure in value(other).items():
            name, n = name + suffix, len(other.features)
            metrics[name] = _estimate(figure, unit, n, sets.net, what)
    return metrics


def _reals(sets: Sets, split: str) -> dict:
    return {"real": f"{split}:{len(sets.real.features)}"}


def _fakes(sets: Sets) -> dict:
    labels = {} if sets.fake.labels is None else {"labels": "train"}
    return {"fake": len(sets.fake.features), **labels, "seed": SEED}


def _estimate(figure, unit: str, n: int, net: FeatureNet, what: dict[str, Any]) -> Metric:
    value, stderr = figure if isinstance(figure, tuple) else (figure, None)
    return Metric(value, stderr, unit, "estimate", n, {"judge": net.name, **what})
