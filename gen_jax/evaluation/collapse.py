"""Figures that see mode collapse and copying: modes, bins, duplicates, nearest neighbours.

A finite number of samples keeps even a perfect sampler off the ideal value of most of them. So
each has beside it what a perfect sampler, or held-out data, would score.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict
from scipy import special
from scipy.spatial.distance import cdist

from gen_jax.data.examples import all_rows, chosen_rows
from gen_jax.data.readers import synthetic
from gen_jax.data.sources import Dataset
from gen_jax.errors import UserError
from gen_jax.evaluation import features, judges
from gen_jax.evaluation.context import Context, once, once_for_data
from gen_jax.evaluation.features import NUM_SAMPLES
from gen_jax.evaluation.metric import Metric, metric
from gen_jax.evaluation.neighbours import nearest, pairs_within
from gen_jax.families import base
from gen_jax.families.base import Family
from gen_jax.settings import Setting

# Figures that differ in one of these cannot be compared, so they are no settings.
PLANE_SAMPLES = 2_500  # of PacGAN's protocol
NUM_BINS = 100
ALPHA = 0.05
NEIGHBOR = 5  # duplicates are judged by the distance to this nearest training example
CLOSE = 0.01  # fraction of held-out examples that would pass for duplicates of a training one

MODE_SAMPLES = {
    "mode_samples": Setting(
        26_000,
        "samples drawn for the modes of stacked_mnist",
        minimum=1,
        smoke=64,
        affects="figures",
    )
}

_REPEATS = 1_000  # simulations behind a floor, and orders behind a median


def _check_modes(family: Family, dataset: Dataset, settings: ConfigDict, name: str) -> None:
    if dataset.name in synthetic.MODES:
        return
    if dataset.name != "stacked_mnist":
        known = ", ".join([*synthetic.MODES, "stacked_mnist"])
        raise UserError(
            f"{name}: the modes of {dataset.name} are not known; leave it out, or choose "
            f"--config.data.name from: {known}"
        )
    if dataset.spec.shape != (28, 28, 3):
        raise UserError(f"{name} needs digits of 28x28; leave out --config.data.image_size")


@metric(
    "modes",
    needs=(base.Sampler,),
    also=_check_modes,
    settings=MODE_SAMPLES,
    lower_is_better=("kl", "kl_to_train", "kl_corrected", "reverse_kl"),
)
def modes(context: Context) -> dict[str, Metric]:
    """Modes found, and how evenly: `plane_modes` of points, or `_stacked` of Stacked MNIST.

    A class-conditional model does not draw its classes: in the plane samples go round them, and
    of Stacked MNIST they have those of training examples. So its divergences may be lower than
    those of a perfect sampler.
    """
    if context.dataset.name in synthetic.MODES:
        return _plane(context)
    return _stacked(context)


def plane_modes(points: np.ndarray, centers: np.ndarray, sd: float) -> dict[str, float]:
    """PacGAN's figures for points in the plane (Lin et al. 2018, arXiv 1712.04086, section 4.1).

    A point is of high quality if its nearest center is within 3 standard deviations.

    Args:
      points: the samples, [N, 2].
      centers: of the modes, [K, 2].
      sd: standard deviation of each mode along each axis.

    Returns:
      modes: number of centers that have a point of high quality.
      reverse_kl: KL in nats of the points of high quality, as a distribution over the modes,
        from the uniform one. It is ln K, the worst value, where there are no such points.
      high_quality: fraction of the points.
    """
    distance = cdist(points, centers)
    good = distance.min(1) <= 3 * sd
    counts = np.bincount(distance.argmin(1)[good], minlength=len(centers))
    worst = np.log(len(centers))
    return {
        "modes": int((counts > 0).sum()),
        "reverse_kl": float(divergence(counts, _uniform(len(counts))) if good.any() else worst),
        "high_quality": float(good.mean()),
    }


def _plane(context: Context) -> dict[str, Metric]:
    """`plane_modes` of 2,500 samples; the floors are what the mixture itself would score."""
    name = context.dataset.name
    centers, sd = synthetic.MODES[name]
    num, count = PLANE_SAMPLES, len(centers)
    found = plane_modes(context.subject.sample(num), centers, sd)
    # The squared distance has two degrees of freedom: P(distance <= 3 sd) = 1 - exp(-9 / 2).
    good = 1 - np.exp(-4.5)
    kl_floor, kl_spread = divergence_floor(_uniform(count), num, good)
    quality = found["high_quality"]
    spread = np.sqrt(quality * (1 - quality) / num)
    figures = {
        "modes": (found["modes"], None, "modes", "estimate"),
        "modes_floor": (expected_modes(_uniform(count) * good, num), None, "modes", "exact"),
        "reverse_kl": (found["reverse_kl"], None, "nats", "estimate"),
        "reverse_kl_floor": (kl_floor, kl_spread, "nats", "estimate"),
        "high_quality": (quality, float(spread), "fraction", "estimate"),
        "high_quality_floor": (float(good), None, "fraction", "exact"),
    }
    return _metrics(figures, num, {"data": name, "samples": num})


def _stacked(context: Context) -> dict[str, Metric]:
    """Modes and divergences of Stacked MNIST, each channel read by the judge of MNIST.

    `kl` is from the uniform distribution over the 1,000 modes (VEEGAN, Srivastava et al. 2017,
    arXiv 1705.07761) and `kl_to_train` from the labels of the training split (GDPP, Elfeki et
    al. 2019, arXiv 1812.00068).

    The floor of each is the mean score of a sampler of that very distribution, so `kl_floor` is
    that of uniform modes: about (1000 - 1) / (2 * 26000) = 0.0192 nats. A model that has learnt
    the frequencies of MNIST's digits to perfection is not uniform, and its `kl` is about 0.0236.
    Its `kl_to_train` is about 0.01 above the floor, as 50,000 triples do not have these
    frequencies exactly. `kl_corrected` is `kl - kl_floor`.
    """
    dataset, num = context.dataset, context.settings.mode_samples
    judge = _judge("mnist")
    pictures, _ = features.sample_pictures(context, num)
    counts = stacked_counts(pictures, judge)
    label = all_rows(dataset.splits["train"])["label"]
    train = np.bincount(label, minlength=len(counts)) / len(label)
    uniform = _uniform(len(counts))
    figures = {
        "modes": (int((counts > 0).sum()), None, "modes", "estimate"),
        "modes_floor": (expected_modes(uniform, num), None, "modes", "exact"),
    }
    for name, target in (("kl", uniform), ("kl_to_train", train)):
        value, stderr = divergence(counts, target), divergence_stderr(counts, target)
        floor = divergence_floor(target, num)
        figures[name] = (float(value), stderr, "nats", "estimate")
        figures[f"{name}_floor"] = (*floor, "nats", "estimate")
    corrected = figures["kl"][0] - figures["kl_floor"][0]
    figures["kl_corrected"] = (corrected, figures["kl"][1], "nats", "estimate")
    return _metrics(figures, num, {"data": dataset.name, "samples": num, "judge": judge.name})


def _judge(name: str):
    """The judge of that name, which need not be that of the dataset."""
    module, params, _, digest = judges.load(name)
    return features.FeatureNet(f"{name}-cnn@{digest}", module, params)


def stacked_counts(pictures: np.ndarray, judge) -> np.ndarray:
    """Pictures uint8 [N, 28, 28, 3] that show each of the 1,000 triples -> [1000].

    The judge takes uint8 pictures [N, 28, 28, 1] and returns logits [N, 10] and features.
    """
    mode = np.zeros(len(pictures), int)
    for channel in range(3):
        logits, _ = judge(pictures[..., channel : channel + 1])
        mode = 10 * mode + np.asarray(logits).argmax(-1)
    return np.bincount(mode, minlength=1000)


def divergence(counts: np.ndarray, q: np.ndarray) -> np.ndarray:
    """sum p ln(p / q) in nats, where p is the frequencies of counts [..., K] -> [...].

    It is infinite where something was counted that has q = 0.
    """
    return special.rel_entr(counts / counts.sum(-1, keepdims=True), q).sum(-1)


def divergence_stderr(counts: np.ndarray, q: np.ndarray) -> float | None:
    """Standard error in nats of `divergence` of counts [K], by the delta method.

    Where p is near q it is too large, by a factor of up to about sqrt(2).
    """
    seen = counts > 0
    p = counts[seen] / counts.sum()
    if not q[seen].all():
        return None
    ratio = np.log(p / q[seen])
    variance = p @ ratio**2 - (p @ ratio) ** 2
    return float(np.sqrt(max(variance, 0) / counts.sum()))


def divergence_floor(q: np.ndarray, num: int, kept: float = 1.0) -> tuple[float, float]:
    """What a perfect sampler scores: the mean of `divergence` of `num` draws from q itself.

    It is about (K - 1) / (2 num), half of a chi-squared statistic, but simulated, since that
    fails where a mode expects few draws. `kept` is the probability that a draw is counted.

    Returns:
      the mean in nats and its standard error.
    """
    generator = _generator()
    counts = generator.multinomial(generator.binomial(num, kept, _REPEATS), q)
    floor = Metric.mean(divergence(counts, q), "nats", "estimate", "")
    return floor.value, floor.stderr


def expected_modes(probability: np.ndarray, num: int) -> float:
    """Expected number of modes [K] with these probabilities that `num` draws find."""
    return float((1 - (1 - probability) ** num).sum())


@metric(
    "ndb",
    needs=(base.Sampler,),
    settings=NUM_SAMPLES,
    lower_is_better=("ndb", "ndb_js"),
)
def ndb(context: Context) -> dict[str, Metric]:
    """Number of statistically different bins, NDB/K (Richardson and Weiss 2018, arXiv 1805.12462).

    Bins are the k-means clusters of training examples. `ndb` is the fraction of the K = 100 bins
    whose share of the samples differs from their share of the training examples at alpha = 0.05.
    `ndb_js` is the Jensen-Shannon divergence of the two in nats. The floors are those of held-out
    examples. More samples show smaller differences, so there should be as many of either. A floor
    need not be near alpha: MNIST's test digits are of other writers than its training digits, and
    differ in about a quarter of the bins.
    """
    held_out = _held_out(context, "ndb")
    # Richardson and Weiss make bins of about 500 examples each; more would only take longer.
    train = _train(context, 500 * NUM_BINS)
    if len(train) < NUM_BINS:
        raise UserError(
            f"ndb makes {NUM_BINS} bins of {len(train)} training examples; leave it out"
        )
    samples = _samples(context)
    centers = bin_centers(train, NUM_BINS)
    expected = bin_counts(train, centers)
    figures = {}
    for suffix, x in (("", samples), ("_floor", held_out)):
        counts = bin_counts(x, centers)
        different = float(different_bins(counts, expected, ALPHA).mean())
        figures[f"ndb{suffix}"] = (different, None, "fraction", "estimate")
        figures[f"ndb_js{suffix}"] = (jensen_shannon(counts, expected), None, "nats", "estimate")
    spec = {**_data(context, held_out, train), "bins": NUM_BINS, "alpha": ALPHA}
    return _metrics(figures, len(samples), {**spec, "samples": len(samples)})


def bin_centers(x: np.ndarray, count: int) -> np.ndarray:
    """Centers [count, D] of the k-means clusters of x [N, D]."""
    from sklearn.cluster import KMeans

    # Any bins will do, and k-means++ would take a minute to place centers no better than these.
    clusters = KMeans(count, init="random", n_init=1, max_iter=20, random_state=0)
    return clusters.fit(x.astype(np.float32)).cluster_centers_


def bin_counts(x: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Number of rows of x [N, D] nearest to each center [K, D] -> [K]."""
    return np.bincount(nearest(x, centers)[1][:, 0], minlength=len(centers))


def different_bins(a: np.ndarray, b: np.ndarray, alpha: float) -> np.ndarray:
    """Which bins hold different shares of two samples, by their counts [K] -> bool [K].

    Each is a two-sided test of two proportions with the pooled variance (Richardson and Weiss
    2018). Bins that are empty in both do not differ.
    """
    share_a, share_b = a / a.sum(), b / b.sum()
    pooled = (a + b) / (a.sum() + b.sum())
    error = np.sqrt(pooled * (1 - pooled) * (1 / a.sum() + 1 / b.sum()))
    return np.abs(share_a - share_b) > -special.ndtri(alpha / 2) * error


def jensen_shannon(a: np.ndarray, b: np.ndarray) -> float:
    """Jensen-Shannon divergence, in nats, of two distributions given as counts [K]."""
    middle = (a / a.sum() + b / b.sum()) / 2
    return float((divergence(a, middle) + divergence(b, middle)) / 2)


@metric("birthday", needs=(base.Sampler,), settings=NUM_SAMPLES)
def birthday(context: Context) -> dict[str, Metric]:
    """Size of the support by the birthday paradox (Arora and Zhang 2017, arXiv 1706.08224).

    If s samples hold a duplicate with probability 1/2, the support has about s^2 members.
    There, people tell duplicates among the nearest pairs. Here a pair is a duplicate if its
    distance is at most c times the distance of each to its fifth nearest training example, where
    c is such that 1 in 100 held-out examples has a training example that near. One distance for
    all examples would not do: on MNIST it finds duplicates among the ones alone, as these lie
    close together.

    `support_estimate_real` is that of held-out data, and about the most that this criterion can
    tell from data without duplicates. A figure is a lower bound where no two examples are
    duplicates; s is then the number of examples.
    """
    held_out = _held_out(context, "birthday")
    train = _train(context)
    samples = _samples(context)
    near = nearest(held_out, train, NEIGHBOR)[0]
    ratio = np.divide(near[:, 0], near[:, -1], out=np.ones(len(near)), where=near[:, -1] > 0)
    close = np.quantile(ratio, CLOSE)
    spec = {**_data(context, held_out, train), "close": CLOSE, "neighbor": NEIGHBOR}
    metrics = {}
    for name, x, scale in (
        ("support_estimate", samples, nearest(samples, train, NEIGHBOR)[0][:, -1]),
        ("support_estimate_real", held_out, near[:, -1]),
    ):
        found = support(x, close * scale)
        figure = {name: (found.size, found.stderr, "images", found.kind)}
        metrics |= _metrics(figure, len(x), {**spec, "samples": len(x)})
    return metrics


class Support(NamedTuple):
    """An estimate of the size of a support.

    Attributes:
      batch: s, the samples that hold a duplicate with probability 1/2.
      size: s^2. A uniform distribution over n members has 2 ln(2) n = 1.39 n.
      stderr: of the size; None for a bound.
      kind: "estimate", or "lower_bound" where there are no duplicates.
    """

    batch: float
    size: float
    stderr: float | None
    kind: str


def support(x: np.ndarray, radius: np.ndarray) -> Support:
    """Finds s by drawing in random order until the first duplicate: it is the median of that.

    Args:
      x: samples [N, D].
      radius: a pair is a duplicate if its distance is at most the smaller of their radii [N].
    """
    generator = _generator()
    order = generator.permutation(len(x))
    # Duplicates of a collapsed model are as many as pairs. So the first few samples are searched,
    # and twice as many until there are enough duplicates: 200 give s to a few parts in 100.
    num = 64
    while True:
        num = min(2 * num, len(x))
        first, second = pairs_within(x[order[:num]], radius[order[:num]])
        if len(first) >= 200 or num == len(x):
            break
    if not len(first):
        return Support(num, float(num) ** 2, None, "lower_bound")
    places = (generator.permutation(num) for _ in range(_REPEATS))
    batch = np.median([np.maximum(place[first], place[second]).min() + 1 for place in places])
    # The size goes as one over the fraction of pairs that are duplicates. Its relative error is
    # that of a mean over pairs by the jackknife, which allows for duplicates that come in clumps.
    degree = np.bincount(np.concatenate([first, second]), minlength=num)
    relative = 2 * degree.std() / degree.mean() / np.sqrt(num)
    return Support(float(batch), float(batch**2), float(batch**2 * relative), "estimate")


@metric("memorization", needs=(base.Sampler,), settings=NUM_SAMPLES)
def memorization(context: Context) -> dict[str, Metric]:
    """Mean distance of samples to the nearest training example, over that of held-out examples.

    About 1 where samples are as far from the training examples as fresh data are, far below 1
    where they are copies (data-copying, Meehan et al. 2020, arXiv 2004.05675). It is below 1 too
    where samples keep to the middle of the data, and above where they are off the data, so look
    at it beside other figures.
    """
    held_out = _held_out(context, "memorization")
    train = _train(context)
    samples = _samples(context)
    near, fresh = (
        Metric.mean(nearest(x, train)[0][:, 0], "distance", "estimate", "")
        for x in (samples, held_out)
    )
    if not fresh.value:
        raise UserError(
            f"examples of {context.split} are copies of training examples; leave out memorization"
        )
    ratio, stderr = near.value / fresh.value, None
    if near.stderr is not None and fresh.stderr is not None:
        # Of a ratio of two independent means, to first order.
        stderr = float(np.hypot(near.stderr, ratio * fresh.stderr) / fresh.value)
    figure = {"memorization_ratio": (ratio, stderr, "ratio", "estimate")}
    spec = {**_data(context, held_out, train), "samples": len(samples)}
    return _metrics(figure, len(samples), spec)


@once
def _samples(context: Context) -> np.ndarray:
    """Samples as rows [num, D]: pixels from 0 to 255, or points."""
    subject, num = context.subject, context.settings.num_samples
    if not subject.spec.is_image:
        x = subject.sample(num).reshape(num, -1)
        if not np.isfinite(x).all():
            raise UserError("some samples are not finite; train with a lower --config.optim.lr")
        return x
    return features.sample_pictures(context, num)[0].reshape(num, -1)


@once_for_data
def _train(context: Context, limit: int = 0) -> np.ndarray:
    """Training examples as they are stored, rows [N, D] in the units of `_samples`.

    At most `limit`, chosen by a fixed seed, if it is not 0.
    """
    return _rows(context, "train", limit, features.stored_pictures)


def _rows(context: Context, split: str, limit: int, pictures: Callable) -> np.ndarray:
    examples = context.dataset.splits[split]
    if context.dataset.spec.is_image:
        x, _ = pictures(context, split, limit)
    else:
        x = examples.gather(chosen_rows(examples, limit))["x"]
    return x.reshape(len(x), -1)


def _held_out(context: Context, name: str) -> np.ndarray:
    """No more examples of the split than there are samples, shown as samples are, as rows."""
    if context.split == "train":
        raise UserError(
            f"{name} compares held-out with training examples; choose the split test or validation"
        )
    num = context.settings.num_samples
    limit = min(context.settings.num_examples or num, num)
    return _rows(context, context.split, limit, features.perfect_pictures)


def _data(context: Context, held_out: np.ndarray, train: np.ndarray) -> dict[str, Any]:
    name = f"{context.dataset.name}/{context.split}:{len(held_out)}"
    return {"data": name, "train": len(train)}


def _metrics(figures: dict[str, tuple], num: int, spec: dict[str, Any]) -> dict[str, Metric]:
    """{name: (value, stderr, unit, kind)} of `num` samples."""
    return {name: Metric(*values, num, spec) for name, values in figures.items()}


def _uniform(count: int) -> np.ndarray:
    return np.full(count, 1 / count)


def _generator() -> np.random.Generator:
    """Figures do not depend on the run's seed, nor on what was drawn before."""
    return np.random.Generator(np.random.Philox(key=0))
