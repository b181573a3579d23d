"""Figures of mode collapse and copying, against arithmetic and samplers that are known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from scipy import stats
from scipy.spatial import distance

from gen_jax import evaluation
from gen_jax.data.examples import ArrayExamples
from gen_jax.data.readers import synthetic
from gen_jax.data.sources import Dataset
from gen_jax.data.spec import DataSpec, fixed_keys
from gen_jax.errors import UserError
from gen_jax.evaluation import Context, Subject, collapse


@dataclasses.dataclass(frozen=True)
class Pool:
    """Draws rows of `params["x"]` and adds Gaussian noise of sd `params["sd"]`."""

    given: tuple = ()

    def sample(self, params, extra, keys, condition, options):
        def draw(key):
            pick, add = jax.random.split(key)
            row = jax.random.randint(pick, (), 0, len(params["x"]))
            return params["x"][row] + params["sd"] * jax.random.normal(add, params["x"].shape[1:])

        return jax.vmap(draw)(keys)


def pool(x, spec, sd=0.0):
    return Subject(Pool(), spec, {"x": np.float32(x), "sd": np.float32(sd)}, {})


def settings(**changes):
    values = {"num_samples": 2_000, "num_examples": 0, "mode_samples": 26_000}
    return ConfigDict(values | changes)


def points(name, **splits):
    """A dataset of points [N, D]."""
    dims = next(iter(splits.values())).shape[1]
    spec = DataSpec("real", (dims,))
    zeros = {split: np.zeros(len(x), np.int32) for split, x in splits.items()}
    examples = {
        split: ArrayExamples(split, {"x": x, "label": zeros[split]}) for split, x in splits.items()
    }
    return Dataset(name, spec, examples)


def pictures(rng, num, shape=(6, 6, 1)):
    """Pictures that vary in four ways, as real data lie near few dimensions."""
    basis = np.random.default_rng(99).normal(size=(4, int(np.prod(shape))))
    x = 128 + 25 * rng.normal(size=(num, 4)) @ basis
    return x.clip(0, 255).astype(np.uint8).reshape(num, *shape)


def picture_data(**splits):
    spec = DataSpec("bytes", next(iter(splits.values())).shape[1:], levels=256)
    zeros = {split: np.zeros(len(x), np.int32) for split, x in splits.items()}
    examples = {
        split: ArrayExamples(split, {"x": x, "label": zeros[split]}) for split, x in splits.items()
    }
    return Dataset("blobs", spec, examples)


# Modes of points


def test_plane_modes_by_hand():
    centers = np.array([[0.0, 0], [10, 0], [0, 10]])
    # Three near the first center, one on the rim of the second, one outside it, one nowhere.
    x = np.array([[0.0, 0], [1, 1], [-2, 2], [13, 0], [13.01, 0], [5, 5]])
    found = collapse.plane_modes(x, centers, 1.0)
    assert found["modes"] == 2 and found["high_quality"] == pytest.approx(4 / 6)
    by_hand = 0.75 * np.log(0.75 * 3) + 0.25 * np.log(0.25 * 3)
    assert found["reverse_kl"] == pytest.approx(by_hand)
    nothing = collapse.plane_modes(np.concatenate([x[4:], [[np.nan, 0]]]), centers, 1.0)
    assert nothing == {"modes": 0, "reverse_kl": pytest.approx(np.log(3)), "high_quality": 0}


@pytest.mark.parametrize("name", ["ring", "grid"])
def test_a_perfect_sampler_of_points_scores_its_floor(name):
    centers, sd = synthetic.MODES[name]
    data = points(name, train=np.zeros((1, 2)))
    figures = collapse.modes(Context(pool(centers, data.spec, sd), data, "test", settings()))
    assert figures["modes"].value == len(centers)
    assert figures["modes_floor"].value == pytest.approx(len(centers))
    spread = np.sqrt((len(centers) - 1) / 2) / 2_500  # of half a chi-squared statistic
    assert abs(figures["reverse_kl"].value - figures["reverse_kl_floor"].value) < 4 * spread
    assert figures["reverse_kl_floor"].value == pytest.approx((len(centers) - 1) / 5_000, rel=0.06)
    quality = figures["high_quality"]
    assert abs(quality.value - figures["high_quality_floor"].value) < 4 * quality.stderr
    assert figures["high_quality_floor"].value == pytest.approx(stats.chi2(2).cdf(9))
    assert all(metric.n == 2_500 for metric in figures.values())
    assert quality.spec == {"data": name, "samples": 2500}


def test_a_collapsed_sampler_of_points_scores_what_arithmetic_says():
    centers, sd = synthetic.MODES["grid"]
    data = points("grid", train=np.zeros((1, 2)))
    for kept, far in ((1, 0), (5, 0), (5, 15)):
        x = np.concatenate([centers[:kept], np.full((far, 2), 99.0)])
        figures = collapse.modes(Context(pool(x, data.spec, sd), data, "test", settings()))
        assert figures["modes"].value == kept
        assert figures["reverse_kl"].value == pytest.approx(np.log(25 / kept), abs=0.02)
        quality = kept / len(x) * (1 - np.exp(-4.5))
        assert abs(figures["high_quality"].value - quality) < 4 * max(
            figures["high_quality"].stderr, 0.002
        )


# Modes of Stacked MNIST


class Reader:
    """A judge that reads the digit off the first pixel, where it is written."""

    name = "mnist@test"

    def __call__(self, images):
        assert images.dtype == np.uint8 and images.shape[-1] == 1
        return np.eye(10)[images[:, 0, 0, 0]], None


def write(triples, shape=(2, 2)):
    """Pictures of triples of digits, [N, 2, 2, 3]."""
    return np.broadcast_to(triples[:, None, None, :], (len(triples), *shape, 3)).astype(np.uint8)


def stacked(labels):
    spec = DataSpec("bytes", (2, 2, 3), levels=256, num_classes=1000)
    triples = np.stack([labels // 100, labels // 10 % 10, labels % 10], 1)
    train = ArrayExamples("train", {"x": write(triples), "label": labels})
    return Dataset("stacked_mnist", spec, {"train": train})


@pytest.fixture
def judge(monkeypatch):
    asked = []
    monkeypatch.setattr(collapse, "_judge", lambda name: asked.append(name) or Reader())
    yield
    assert set(asked) <= {"mnist"}


def test_channels_are_hundreds_tens_and_ones():
    counts = collapse.stacked_counts(write(np.array([[1, 2, 3], [0, 0, 7], [1, 2, 3]])), Reader())
    assert counts.sum() == 3 and counts[123] == 2 and counts[7] == 1


def test_the_judge_of_mnist_reads_one_channel_at_a_time():
    judge = collapse._judge("mnist")
    images = np.zeros((3, 28, 28, 3), np.uint8)
    assert judge(images[..., :1])[0].shape == (3, 10) and judge.name.startswith("mnist")
    assert collapse.stacked_counts(images, judge).max() == 3


def test_a_perfect_sampler_of_triples_scores_its_floor(judge):
    labels = np.arange(1000)
    data = stacked(labels)
    model = pool(data.splits["train"].arrays["x"], data.spec)
    figures = collapse._stacked(Context(model, data, "test", settings()))
    spread = np.sqrt(999 / 2) / 26_000
    assert figures["modes"].value == 1000
    assert figures["modes_floor"].value == pytest.approx(1000)
    assert figures["kl_floor"].value == pytest.approx(999 / 52_000, rel=0.01)
    assert abs(figures["kl"].value - figures["kl_floor"].value) < 4 * spread
    assert figures["kl_corrected"].value == pytest.approx(
        figures["kl"].value - figures["kl_floor"].value
    )
    assert spread < figures["kl"].stderr < 2 * spread
    # The training labels are uniform too.
    assert figures["kl_to_train"].value == pytest.approx(figures["kl"].value)
    what = "kl[data=stacked_mnist, samples=26000, judge=mnist@test]"
    assert figures["kl"].to_json("kl")["spec"] == what
    assert figures["kl"].unit == "nats" and figures["kl"].n == 26_000


def test_frequencies_of_training_are_told_from_uniform_ones(judge):
    rng = np.random.default_rng(0)
    share = rng.dirichlet(np.full(10, 20.0))
    labels = rng.choice(10, (50_000, 3), p=share) @ np.array([100, 10, 1])
    data = stacked(labels)
    model = pool(data.splits["train"].arrays["x"], data.spec)
    figures = collapse._stacked(Context(model, data, "test", settings()))
    spread = np.sqrt(999 / 2) / 26_000
    assert abs(figures["kl_to_train"].value - figures["kl_to_train_floor"].value) < 4 * spread
    # The divergence of three independent digits is three times that of one.
    apart = 3 * stats.entropy(share, np.full(10, 0.1))
    assert apart > 0.05
    assert figures["kl_corrected"].value == pytest.approx(apart, abs=0.03)


def test_lost_modes_cost_their_logarithm(judge):
    data = stacked(np.arange(1000))
    model = pool(data.splits["train"].arrays["x"][:100], data.spec)  # the first digit is always 0
    figures = collapse._stacked(Context(model, data, "test", settings(mode_samples=5_000)))
    assert figures["modes"].value == 100
    assert figures["modes_floor"].value == pytest.approx(1000 * (1 - 0.999**5_000))
    assert figures["kl"].value == pytest.approx(np.log(10) + 99 / 10_000, abs=0.006)
    partial = stacked(np.arange(90))
    figures = collapse._stacked(Context(model, partial, "test", settings(mode_samples=5_000)))
    assert figures["kl_to_train"].value == np.inf and figures["kl_to_train"].stderr is None


def test_expected_modes_is_the_mean_of_a_simulation():
    p = np.array([0.5, 0.3, 0.1, 0.06])  # 0.04 goes nowhere
    draws = np.random.default_rng(0).multinomial(6, [*p, 0.04], 20_000)[:, :4]
    found = (draws > 0).sum(1)
    assert abs(collapse.expected_modes(p, 6) - found.mean()) < 4 * stats.sem(found)


def test_the_error_of_a_divergence_is_its_spread():
    p, q = np.array([0.5, 0.3, 0.2]), np.full(3, 1 / 3)
    counts = np.random.default_rng(0).multinomial(2_000, p, 2_000)
    spread = collapse.divergence(counts, q).std()
    assert collapse.divergence_stderr(2_000 * p, q) == pytest.approx(spread, rel=0.1)
    assert collapse.divergence(2_000 * p, q) == pytest.approx(stats.entropy(p, q))


def test_data_without_known_modes_are_refused():
    data = points("digits", train=np.zeros((1, 2)))
    with pytest.raises(UserError, match=r"modes of digits .* ring, grid, gaussians, stacked_mnist"):
        collapse.modes(Context(pool(np.zeros((1, 2)), data.spec), data, "test", settings()))


def test_stacked_digits_of_another_size_are_refused_before_training():
    shrunk = Dataset("stacked_mnist", DataSpec("bytes", (14, 14, 3), levels=256), {})
    family = pool(np.zeros((1, 2)), shrunk.spec).family
    with pytest.raises(UserError, match=r"metrics: modes needs digits of 28x28; leave out"):
        evaluation.check(family, shrunk, None, ["modes"], "eval.validation_metrics")


# Bins


def test_bins_differ_by_a_test_of_two_proportions():
    a, b = np.array([30, 70]), np.array([50, 50])
    # The pooled share is 0.4, so z = 0.2 / sqrt(0.4 * 0.6 * 2 / 100) = 2.89.
    assert collapse.different_bins(a, b, 0.05).all()
    assert not collapse.different_bins(a, b, 0.002).any()
    rng = np.random.default_rng(0)
    a, b = rng.multinomial(3_000, np.full(50, 0.02)), rng.multinomial(700, rng.dirichlet([9] * 50))
    # Without a correction the chi-squared statistic of a table is the square of z.
    tables = [[[x, 3_000 - x], [y, 700 - y]] for x, y in zip(a, b, strict=True)]
    p = [stats.chi2_contingency(table, correction=False).pvalue for table in tables]
    different = collapse.different_bins(a, b, 0.05)
    np.testing.assert_array_equal(different, np.array(p) < 0.05)
    assert 0 < different.sum() < 50
    assert not collapse.different_bins(np.array([0, 9]), np.array([0, 5]), 0.05).any()


def test_jensen_shannon():
    assert collapse.jensen_shannon(np.array([4, 0]), np.array([0, 9])) == pytest.approx(np.log(2))
    a, b = np.array([1, 2, 3, 0]), np.array([5, 1, 0, 4])
    assert collapse.jensen_shannon(a, b) == pytest.approx(distance.jensenshannon(a, b) ** 2)


def test_bins_of_halves_agree_and_those_of_a_missing_cluster_do_not():
    rng = np.random.default_rng(0)
    cluster = rng.integers(0, 10, 20_000)
    x = rng.normal(size=(10, 5))[cluster] * 10 + rng.normal(size=(20_000, 5))
    half, other, lost = x[:10_000], x[10_000:], cluster[10_000:] == 3
    centers = collapse.bin_centers(half, 60)
    expected = collapse.bin_counts(half, centers)
    counts = collapse.bin_counts(other, centers)
    assert expected.sum() == 10_000
    assert collapse.different_bins(counts, expected, 0.05).mean() < 0.05 + 3 * np.sqrt(0.05 / 60)
    counts = collapse.bin_counts(other[~lost], centers)
    bins = np.unique(distance.cdist(half[cluster[:10_000] == 3], centers).argmin(1))
    assert collapse.different_bins(counts, expected, 0.05)[bins].all()


def test_ndb_of_samplers():
    rng = np.random.default_rng(0)
    data = picture_data(train=pictures(rng, 6_000), test=pictures(rng, 2_000))
    figures = {
        name: collapse.ndb(Context(pool(x, data.spec), data, "test", settings()))
        for name, x in (
            ("same", data.splits["train"].arrays["x"]),
            ("few", data.splits["train"].arrays["x"][:5]),
        )
    }
    for name in ("ndb", "ndb_floor"):
        assert figures["same"][name].value <= 0.05 + 4 * np.sqrt(0.05 / 100)
    assert figures["same"]["ndb_js"].value == pytest.approx(
        figures["same"]["ndb_js_floor"].value, rel=0.5
    )
    assert figures["few"]["ndb_js"].value > 0.5 * np.log(2)
    assert figures["few"]["ndb"].value > 0.8
    assert figures["few"]["ndb"].to_json("ndb")["spec"] == (
        "ndb[data=blobs/test:2000, train=6000, bins=100, alpha=0.05, samples=2000]"
    )
    small = picture_data(train=pictures(rng, 99), test=pictures(rng, 9))
    with pytest.raises(UserError, match="100 bins of 99 training examples"):
        collapse.ndb(
            Context(pool(small.splits["train"].arrays["x"], small.spec), small, "test", settings())
        )


# Duplicates


@pytest.mark.parametrize("members", [10, 400])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_the_support_of_equally_likely_points_is_recovered(members, dtype):
    rng = np.random.default_rng(0)
    x = (rng.random((members, 20)) * 255).astype(dtype)[rng.integers(0, members, 2_000)]
    found = collapse.support(x, np.zeros(2_000))
    assert found.kind == "estimate"
    # With members days in a year, the number of people that makes a shared birthday likely.
    free = np.cumprod(1 - np.arange(members) / members)
    assert abs(found.batch - (np.argmax(free < 0.5) + 1)) <= 1 + 0.05 * found.batch
    if members > 10:
        assert members / 2 < found.size < members * 2
        assert abs(found.size - 2 * np.log(2) * members) < 4 * found.stderr < found.size


def test_a_support_that_is_too_large_is_bounded():
    x = np.random.default_rng(0).random((300, 3))
    assert collapse.support(x, np.zeros(300)) == (300, 90_000, None, "lower_bound")
    alone = collapse.support(np.ones((300, 3)), np.zeros(300))
    assert alone.batch == 2 and alone.size == 4


def test_the_error_of_a_support_is_its_spread():
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.full(3_000, 1.0))
    found = [
        collapse.support(rng.choice(3_000, (400, 1), p=weights), np.zeros(400)) for _ in range(20)
    ]
    spread = np.std([f.size for f in found])
    assert 0.5 < np.mean([f.stderr for f in found]) / spread < 2


def test_birthday_tells_few_pictures_with_noise_from_many():
    rng = np.random.default_rng(0)
    data = picture_data(train=pictures(rng, 4_000), test=pictures(rng, 2_000))
    few = collapse.birthday(
        Context(pool(pictures(rng, 50), data.spec, sd=0.3), data, "test", settings())
    )
    many = collapse.birthday(
        Context(pool(pictures(rng, 9_000), data.spec), data, "test", settings())
    )
    estimate = few["support_estimate"]
    assert 25 < estimate.value < 100 and estimate.kind == "estimate"
    assert estimate.unit == "images" and estimate.stderr < 0.3 * estimate.value
    real = many["support_estimate_real"].value
    assert few["support_estimate_real"].value == real > 20_000
    # Draws from 9,000 pictures hold copies, and besides what held-out data have.
    assert 0.5 < many["support_estimate"].value / (1 / (1 / real + 1 / (1.39 * 9_000))) < 2


# Nearest neighbours


def test_memorization_is_none_for_fresh_draws_and_all_for_copies():
    rng = np.random.default_rng(0)
    train = pictures(rng, 3_000)
    data = picture_data(train=train, test=pictures(rng, 1_500))

    def ratio(x):
        figures = collapse.memorization(Context(pool(x, data.spec), data, "test", settings()))
        return figures["memorization_ratio"]

    assert ratio(train).value == 0
    fresh = ratio(pictures(rng, 20_000))
    assert abs(fresh.value - 1) < 4 * fresh.stderr < 0.2
    # Half of the samples are copies.
    half = ratio(np.concatenate([train, pictures(rng, 3_000)]))
    assert abs(half.value - 0.5) < 5 * half.stderr
    assert (
        fresh.spec == {"data": "blobs/test:1500", "train": 3000, "samples": 2000}
        and fresh.unit == "ratio"
    )


@pytest.mark.parametrize("kind", ["binary", "real"])
def test_memorization_of_a_perfect_sampler_is_one(kind):
    """Whatever its pictures are made of: the held-out ones are made likewise."""
    rng = np.random.default_rng(0)
    spec = DataSpec(kind, (8, 8, 1), levels=17)

    def digits(num):
        return rng.integers(0, 3, (num, 1, 1, 1)) * 4 + rng.integers(0, 9, (num, 8, 8, 1))

    splits = {
        name: ArrayExamples(name, {"x": digits(size).astype(np.uint8)})
        for name, size in (("train", 1_000), ("test", 2_000))
    }
    data = Dataset("digits", spec, splits)
    draw = spec.prepare(digits(2_000).astype(np.uint8), fixed_keys("other", jnp.arange(2_000)))
    perfect = Context(pool(np.asarray(draw), spec), data, "test", settings())
    ratio = collapse.memorization(perfect)["memorization_ratio"]
    assert abs(ratio.value - 1) < 4 * ratio.stderr < 0.05


def test_memorization_of_points():
    centers, sd = synthetic.MODES["ring"]
    rng = np.random.default_rng(0)
    train, test = (
        (centers[rng.integers(0, 8, 2_000)] + sd * rng.normal(size=(2_000, 2))).astype(np.float32)
        for _ in range(2)
    )
    data = points("ring", train=train, test=test)
    figures = collapse.memorization(Context(pool(centers, data.spec, sd), data, "test", settings()))
    fresh = figures["memorization_ratio"]
    assert abs(fresh.value - 1) < 4 * fresh.stderr < 0.3
    with pytest.raises(UserError, match="not finite"):
        collapse.memorization(Context(pool(centers, data.spec, np.nan), data, "test", settings()))
    same = points("ring", train=train, test=train)
    with pytest.raises(UserError, match="copies of training examples"):
        collapse.memorization(Context(pool(centers, data.spec, sd), same, "test", settings()))


@pytest.mark.parametrize("name", ["ndb", "birthday", "memorization"])
def test_the_training_split_is_not_held_out(name):
    data = points("ring", train=np.zeros((9, 2)))
    with pytest.raises(UserError, match=f"{name} compares held-out .* choose the split test"):
        getattr(collapse, name)(
            Context(pool(np.zeros((1, 2)), data.spec), data, "train", settings())
        )
