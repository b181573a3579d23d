"""Figures that see mode collapse and copying: modes, bins, duplicates, nearest neighbours.

A finite number of samples keeps even a perfect sampler off the ideal value of most of them. So
each has beside it what a perfect sampler, or held-out data, would score.
"""

from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict
from scipy import special
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from gen_jax.data import synthetic
from gen_jax.data.sources import Dataset
from gen_jax.errors import UserError
from gen_jax.evaluation.metric import Metric
from gen_jax.evaluation.needs import needs
from gen_jax.evaluation.subject import Subject
from gen_jax.families import base
from gen_jax.families.base import Family

# Figures that differ in one of these cannot be compared, so they are no settings.
PLANE_SAMPLES = 2_500  # of PacGAN's protocol
NUM_BINS = 100
ALPHA = 0.05
NEIGHBOR = 5  # duplicates are judged by the distance to this nearest training example
CLOSE = 0.01  # fraction of held-out examples that would pass for duplicates of a training one

_REPEATS = 1_000  # simulations behind a floor, and orders behind a median


def _check_modes(family: Family, dataset: Dataset, name: str) -> None:
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


@needs(base.Sampler, also=_check_modes)
def modes(
    subject: Subject, dataset: Dataset, split: str, settings: ConfigDict
) -> dict[str, Metric]:
    """Modes found, and how evenly: `plane_modes` of points, or `_stacked` of Stacked MNIST.

    A class-conditional model does not draw its classes: in the plane samples go round them, and
    of Stacked MNIST they have those of training examples. So its divergences may be lower than
    those of a perfect sampler.
    """
    if dataset.name in synthetic.MODES:
        return _plane(subject, dataset.name)
    return _stacked(subject, dataset, settings.mode_samples)


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


def _plane(subject: Subject, name: str) -> dict[str, Metric]:
    """`plane_modes` of 2,500 samples; the floors are what the mixture itself would score."""
    centers, sd = synthetic.MODES[name]
    num, count = PLANE_SAMPLES, len(centers)
    found = plane_modes(subject.sample(num), centers, sd)
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
    return _metrics(figures, num, f"data={name}, samples={num}")


def _stacked(subject: Subject, dataset: Dataset, num: int) -> dict[str, Metric]:
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
    from gen_jax.evaluation import features

    judge = _judge("mnist")
    pictures, _ = features.sample_pictures(subject, dataset, num)
    counts = stacked_counts(pictures, judge)
    label = dataset.splits["train"].arrays()["label"]
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
    return _metrics(figures, num, f"data={dataset.name}, samples={num}, judge={judge.name}")


def _judge(name: str):
    """The judge of that name, which need not be that of the dataset."""
    from gen_jax.evaluation import features, judges

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


@needs(base.Sampler)
def ndb(subject: Subject, dataset: Dataset, split: str, settings: ConfigDict) -> dict[str, Metric]:
    """Number of statistically different bins, NDB/K (Richardson and Weiss 2018, arXiv 1805.12462).

    Bins are the k-means clusters of training examples. `ndb` is the fraction of the K = 100 bins
    whose share of the samples differs from their share of the training examples at alpha = 0.05.
    `ndb_js` is the Jensen-Shannon divergence of the two in nats. The floors are those of held-out
    examples. More samples show smaller differences, so there should be as many of either. A floor
    need not be near alpha: MNIST's test digits are of other writers than its training digits, and
    differ in about a quarter of the bins.
    """
    held_out = _held_out("ndb", dataset, split, settings)
    # Richardson and Weiss make bins of about 500 examples each; more would only take longer.
    train = _real(dataset, "train", 500 * NUM_BINS)
    if len(train) < NUM_BINS:
        raise UserError(
            f"ndb makes {NUM_BINS} bins of {len(train)} training examples; leave it out"
        )
    samples = _samples(subject, dataset, settings.num_samples)
    centers = bin_centers(train, NUM_BINS)
    expected = bin_counts(train, centers)
    figures = {}
    for suffix, x in (("", samples), ("_floor", held_out)):
        counts = bin_counts(x, centers)
        different = float(different_bins(counts, expected, ALPHA).mean())
        figures[f"ndb{suffix}"] = (different, None, "fraction", "estimate")
        figures[f"ndb_js{suffix}"] = (jensen_shannon(counts, expected), None, "nats", "estimate")
    what = f"{_data(dataset, split, held_out, train)}, bins={NUM_BINS}, alpha={ALPHA}"
    return _metrics(figures, len(samples), f"{what}, samples={len(samples)}")


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


@needs(base.Sampler)
def birthday(
    subject: Subject, dataset: Dataset, split: str, settings: ConfigDict
) -> dict[str, Metric]:
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
    held_out = _held_out("birthday", dataset, split, settings)
    train = _real(dataset, "train", 0)
    samples = _samples(subject, dataset, settings.num_samples)
    near = nearest(held_out, train, NEIGHBOR)[0]
    ratio = np.divide(near[:, 0], near[:, -1], out=np.ones(len(near)), where=near[:, -1] > 0)
    close = np.quantile(ratio, CLOSE)
    what = f"{_data(dataset, split, held_out, train)}, close={CLOSE}, neighbor={NEIGHBOR}"
    metrics = {}
    for name, x, scale in (
        ("support_estimate", samples, nearest(samples, train, NEIGHBOR)[0][:, -1]),
        ("support_estimate_real", held_out, near[:, -1]),
    ):
        found = support(x, close * scale)
        figure = {name: (found.size, found.stderr, "images", found.kind)}
        metrics |= _metrics(figure, len(x), f"{what}, samples={len(x)}")
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
        first, second = duplicates(x[order[:num]], radius[order[:num]])
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


def duplicates(x: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Pairs i < j of rows of x [N, D] with a distance of at most min(radius_i, radius_j) -> [2, E].

    Computed in double precision, so rows of uint8 that are equal have a distance of exactly 0.
    """
    step = _block(x)
    found = []
    for i in range(0, len(x), step):
        a = x[i : i + step].astype(np.float64)
        for j in range(i, len(x), step):
            b = x[j : j + step].astype(np.float64)
            scale = np.square(a).sum(1)[:, None] + np.square(b).sum(1)
            # Less what rounding may have added to the distance of equal rows.
            squared = scale * (1 - 1e-12) - 2 * a @ b.T
            limit = np.minimum.outer(radius[i : i + step], radius[j : j + step]) ** 2
            pairs = np.stack(np.nonzero(squared <= limit)) + np.array([[i], [j]])
            found.append(pairs[:, pairs[0] < pairs[1]])
    return np.concatenate(found, 1)


@needs(base.Sampler)
def memorization(
    subject: Subject, dataset: Dataset, split: str, settings: ConfigDict
) -> dict[str, Metric]:
    """Mean distance of samples to the nearest training example, over that of held-out examples.

    About 1 where samples are as far from the training examples as fresh data are, far below 1
    where they are copies (data-copying, Meehan et al. 2020, arXiv 2004.05675). It is below 1 too
    where samples keep to the middle of the data, and above where they are off the data, so look
    at it beside other figures.
    """
    held_out = _held_out("memorization", dataset, split, settings)
    train = _real(dataset, "train", 0)
    samples = _samples(subject, dataset, settings.num_samples)
    near, fresh = (
        Metric.mean(nearest(x, train)[0][:, 0], "distance", "estimate", "")
        for x in (samples, held_out)
    )
    if not fresh.value:
        raise UserError(
            f"examples of {split} are copies of training examples; leave out memorization"
        )
    ratio, stderr = near.value / fresh.value, None
    if near.stderr is not None and fresh.stderr is not None:
        # Of a ratio of two independent means, to first order.
        stderr = float(np.hypot(near.stderr, ratio * fresh.stderr) / fresh.value)
    figure = {"memorization_ratio": (ratio, stderr, "ratio", "estimate")}
    what = f"{_data(dataset, split, held_out, train)}, samples={len(samples)}"
    return _metrics(figure, len(samples), what)


def nearest(x: np.ndarray, reference: np.ndarray, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest rows of reference [M, D] for each row of x [N, D].

    In blocks: 10,000 rows of 784 against 60,000 take 10^12 operations, and some 100 MB.

    Returns:
      distances [N, k], ascending and exactly 0 between equal rows; and which rows, int [N, k].
    """
    k = min(k, len(reference))
    if x.shape[1] < 8:
        return cKDTree(reference).query(x, np.arange(1, k + 1))
    # Single precision tells pictures apart, but not points of one mode.
    dtype = np.float32 if x.dtype == np.uint8 else np.float64
    step = _block(x)
    width = min(step, 1024)  # narrow, as most blocks are sorted for few rows alone
    blocks = range(0, len(reference), width)
    squares = [np.square(reference[j : j + width].astype(dtype)).sum(1) for j in blocks]
    distances, rows = [], []
    for i in range(0, len(x), step):
        y = x[i : i + step].astype(dtype)
        best = np.full((len(y), k), np.inf, dtype)
        row = np.zeros((len(y), k), np.intp)
        for j, square in zip(blocks, squares, strict=True):
            # |x - r|^2 without |x|^2, which does not matter to the order.
            score = (-2 * y) @ reference[j : j + width].astype(dtype).T
            score += square
            # The later the block, the fewer examples find anything nearer in it.
            better = np.flatnonzero(score.min(1) < best[:, -1])
            scores = np.concatenate([best[better], score[better]], 1)
            where = np.argpartition(scores, k - 1, 1)[:, :k]
            best[better] = np.take_along_axis(scores, where, 1)
            old = np.take_along_axis(row[better], np.minimum(where, k - 1), 1)
            row[better] = np.where(where < k, old, where - k + j)
        # Scores are differences of large numbers, so distances are computed anew.
        exact = [np.linalg.norm(y - reference[r], axis=1) for r in row.T]
        distance = np.stack(exact, 1)
        order = np.argsort(distance, 1)
        distances.append(np.take_along_axis(distance, order, 1))
        rows.append(np.take_along_axis(row, order, 1))
    return np.concatenate(distances), np.concatenate(rows)


def _block(x: np.ndarray) -> int:
    """Rows at once: no more than 64 MB as float32, nor is a table of as many against as many."""
    return max(1, min(4096, 2**24 // x.shape[1]))


def _samples(subject: Subject, dataset: Dataset, num: int) -> np.ndarray:
    """Samples as rows [num, D]: pixels from 0 to 255, or points."""
    if not subject.spec.is_image:
        x = subject.sample(num).reshape(num, -1)
        if not np.isfinite(x).all():
            raise UserError("some samples are not finite; train with a lower --config.optim.lr")
        return x
    from gen_jax.evaluation import features

    return features.sample_pictures(subject, dataset, num)[0].reshape(num, -1)


def _real(dataset: Dataset, split: str, limit: int) -> np.ndarray:
    """Examples as rows [N, D], in the units of `_samples`.

    At most `limit` if it is not 0, and then any: some sets are stored class by class.
    """
    if dataset.spec.is_image:
        from gen_jax.evaluation import features

        x, _ = features.real_pictures(dataset, split)
    else:
        x = dataset.splits[split].arrays()["x"]
    if limit and limit < len(x):
        x = x[np.sort(_generator().permutation(len(x))[:limit])]
    return x.reshape(len(x), -1)


def _held_out(name: str, dataset: Dataset, split: str, settings: ConfigDict) -> np.ndarray:
    """No more examples of a split than there are samples, as rows."""
    if split == "train":
        raise UserError(
            f"{name} compares held-out with training examples; choose the split test or validation"
        )
    num = settings.num_samples
    return _real(dataset, split, min(settings.num_examples or num, num))


def _data(dataset: Dataset, split: str, held_out: np.ndarray, train: np.ndarray) -> str:
    return f"data={dataset.name}/{split}:{len(held_out)}, train={len(train)}"


def _metrics(figures: dict[str, tuple], num: int, what: str) -> dict[str, Metric]:
    """{name: (value, stderr, unit, kind)} of `num` samples."""
    return {name: Metric(*values, num, f"{name}[{what}]") for name, values in figures.items()}


def _uniform(count: int) -> np.ndarray:
    return np.full(count, 1 / count)


def _generator() -> np.random.Generator:
    """Figures do not depend on the run's seed, nor on what was drawn before."""
    return np.random.Generator(np.random.Philox(key=0))
