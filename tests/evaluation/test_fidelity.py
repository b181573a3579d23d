"""Distances of samples to data against closed forms, other formulas and the papers' words."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from scipy import linalg

from gen_jax.data.examples import ArrayExamples
from gen_jax.data.sources import Dataset
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.evaluation import Context, Subject, features, fidelity, judges, neighbours
from gen_jax.nn.classifier import ConvClassifier


def gaussian(size, dims, seed, mean=0.0, scale=1.0):
    return np.random.default_rng(seed).normal(size=(size, dims)) * scale + mean


def with_moments(mean, cov, size=50, seed=0):
    """Rows whose sample mean and covariance are the given ones."""
    x = gaussian(size, len(mean), seed)
    x -= x.mean(0)
    x = np.linalg.solve(np.linalg.cholesky(np.cov(x, rowvar=False)), x.T).T
    return x @ np.linalg.cholesky(cov).T + mean


# Fréchet distance


def test_frechet_distance_of_known_gaussians():
    variances = np.array([[1.0, 4.0, 0.25, 2.0], [2.0, 1.0, 0.25, 9.0]])
    means = np.array([[0.0, 1.0, -2.0, 0.5], [1.0, 1.0, 0.0, 0.0]])
    rotation = np.linalg.qr(gaussian(4, 4, 1))[0]
    a, b = (
        with_moments(m, rotation * v @ rotation.T, seed=i)
        for i, (m, v) in enumerate(zip(means, variances, strict=True))
    )
    # Covariances that commute: W2^2 = |m1 - m2|^2 + sum (s1 - s2)^2.
    exact = np.square(means[0] - means[1]).sum()
    exact += np.square(np.sqrt(variances[0]) - np.sqrt(variances[1])).sum()
    assert fidelity.frechet_distance(a, b) == pytest.approx(exact, rel=1e-9)


def test_frechet_distance_is_that_of_the_matrix_square_root():
    a = gaussian(200, 12, 0) @ gaussian(12, 12, 1)
    b = gaussian(150, 12, 2) @ gaussian(12, 12, 3) + 0.5
    c1, c2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    exact = np.square(a.mean(0) - b.mean(0)).sum()
    exact += np.trace(c1 + c2 - 2 * linalg.sqrtm(c1 @ c2).real)
    assert fidelity.frechet_distance(a, b) == pytest.approx(exact, rel=1e-9)
    assert fidelity.frechet_distance(b, a) == pytest.approx(exact, rel=1e-9)
    single = fidelity.frechet_distance(a.astype(np.float32), b.astype(np.float32))
    assert single == pytest.approx(exact, rel=1e-5)


def test_frechet_distance_of_singular_covariances():
    a = gaussian(300, 3, 0) @ gaussian(3, 40, 1)  # rank 3 of 40
    assert fidelity.frechet_distance(a, a) == pytest.approx(0, abs=1e-4)
    shifted = fidelity.frechet_distance(a, a + 2.0)
    assert shifted == pytest.approx(40 * 4.0, rel=1e-6)
    dead = np.zeros((10, 40))
    spread = np.trace(np.cov(a, rowvar=False)) + np.square(a.mean(0)).sum()
    assert fidelity.frechet_distance(a, dead) == pytest.approx(spread, rel=1e-6)


# Kernel distance


def test_kernel_distance_is_the_double_sum():
    a, b = gaussian(9, 4, 0), gaussian(9, 4, 1, mean=0.3)

    def kernel(x, y):
        return (sum(p * q for p, q in zip(x, y, strict=True)) / 4 + 1) ** 3

    pairs = [(i, j) for i in range(9) for j in range(9)]
    within = [kernel(a[i], a[j]) + kernel(b[i], b[j]) for i, j in pairs if i != j]
    between = [kernel(a[i], b[j]) for i, j in pairs]
    exact = sum(within) / 72 - 2 * sum(between) / 81
    assert fidelity._unbiased_mmd(a, b) == pytest.approx(exact, rel=1e-9)
    # Subsets of two of four, all of them about as often: their mean is that of the whole.
    value, stderr = fidelity.kernel_distance(a[:4], b[:4], subsets=4_000)
    pairs = np.array(list(itertools.combinations(range(4), 2)))
    halves = [fidelity._unbiased_mmd(a[i], b[j]) for i in pairs for j in pairs]
    assert value == pytest.approx(np.mean(halves), abs=5 * np.std(halves) / 4_000**0.5)
    assert value == pytest.approx(fidelity._unbiased_mmd(a[:4], b[:4]), abs=0.5)
    assert stderr == pytest.approx(np.std(halves), rel=0.1), "m / (n - m) is 1"


@pytest.mark.parametrize("shift", [0.0, 0.6])
@pytest.mark.parametrize("size", [20, 50, 100])
def test_kernel_distance_is_unbiased_and_knows_its_error(size, shift):
    def one(i):
        a, b = gaussian(100, 3, 2 * i), gaussian(100, 3, 2 * i + 1, shift)
        return fidelity.kernel_distance(a, b, 20, size)

    values, stderrs = np.array([one(i) for i in range(60)]).T
    exact = fidelity._unbiased_mmd(gaussian(2_000, 3, 998), gaussian(2_000, 3, 999, shift))
    assert abs(values.mean() - exact) < 5 * values.std(ddof=1) / np.sqrt(len(values)) + 0.1 * exact
    # Without a shift the estimate is degenerate: its variance falls with n^2 and not with n.
    low, high = (0.7, 1.5) if shift else (0.7, 4.0)
    assert low < stderrs.mean() / values.std(ddof=1) < high
    value, stderr = fidelity.kernel_distance(gaussian(500, 3, 0), gaussian(500, 3, 1, 0.5), 20, 100)
    assert value > 5 * stderr


# Inception score


def test_inception_score_of_known_answers():
    certain = 1e3 * np.eye(7)[np.arange(700) % 7]
    mean, spread = fidelity.inception_score(certain)
    assert mean == pytest.approx(7, rel=1e-9) and spread == pytest.approx(0, abs=1e-9)
    assert fidelity.inception_score(np.full((50, 7), 3.0)) == pytest.approx((1, 0), abs=1e-12)
    collapsed = fidelity.inception_score(certain[np.zeros(700, int)])
    assert collapsed == pytest.approx((1, 0), abs=1e-9)


def test_inception_score_is_the_formula_in_each_split():
    logits = gaussian(103, 5, 0, scale=2)
    scores = []
    for part in np.array_split(np.exp(logits) / np.exp(logits).sum(1, keepdims=True), 4):
        marginal = part.mean(0)
        terms = [sum(p * np.log(p / m) for p, m in zip(row, marginal, strict=True)) for row in part]
        scores.append(np.exp(np.mean(terms)))
    expected = (np.mean(scores), np.std(scores))
    assert fidelity.inception_score(logits, 4) == pytest.approx(expected, rel=1e-9)


# Precision, recall, density, coverage


def by_the_papers(real, fake, k):
    """Definitions, point by point: Kynkäänniemi et al. 2019 and Naeem et al. 2020."""

    def distance(p, q):
        return np.sqrt(((p - q) ** 2).sum())

    def radii(points):
        return [
            sorted(distance(p, q) for j, q in enumerate(points) if j != i)[k - 1]
            for i, p in enumerate(points)
        ]

    def inside(point, points, radius):
        return [distance(point, p) <= r for p, r in zip(points, radius, strict=True)]

    real_radii, fake_radii = radii(real), radii(fake)
    balls = np.array([inside(y, real, real_radii) for y in fake])  # [M, N]
    recalled = [any(inside(x, fake, fake_radii)) for x in real]
    return {
        "precision": balls.any(1).mean(),
        "recall": np.mean(recalled),
        "density": balls.sum() / (k * len(fake)),
        "coverage": balls.any(0).mean(),
    }


@pytest.mark.parametrize(("k", "sizes"), [(1, (40, 30)), (5, (60, 50)), (3, (25, 70))])
def test_prdc_is_what_the_papers_define(k, sizes, monkeypatch):
    real = gaussian(sizes[0], 6, 0)
    fake = gaussian(sizes[1], 6, 1, mean=0.4, scale=0.8)
    expected = by_the_papers(real, fake, k)
    assert all(value > 0 for value in expected.values()), expected
    assert fidelity.prdc(real, fake, k) == pytest.approx(expected, rel=1e-12)
    monkeypatch.setattr(neighbours, "_BLOCK_MB", 0.001)
    assert fidelity.prdc(real, fake, k) == pytest.approx(expected, rel=1e-12)


def test_prdc_is_that_of_the_reference_package():
    package = pytest.importorskip("prdc")
    real, fake = gaussian(900, 16, 0), gaussian(700, 16, 1, mean=0.2, scale=0.9)
    theirs = package.compute_prdc(real_features=real, fake_features=fake, nearest_k=5)
    assert fidelity.prdc(real, fake, 5) == pytest.approx(theirs, rel=1e-3)


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_prdc_of_a_set_and_itself(offset):
    x = (gaussian(500, 32, 0) + offset).astype(np.float32)
    few = x[np.arange(500) % 7]  # many points in one place: balls without extent
    for real, fake in ((x, x), (x, x[::-1]), (few, few[::-1]), (np.ones_like(x), np.ones_like(x))):
        figures = fidelity.prdc(real, fake, 5)
        assert figures["precision"] == figures["recall"] == figures["coverage"] == 1
        assert figures["density"] >= 1
    # The point itself and its five neighbours, of which the last is on the rim.
    assert fidelity.prdc(x, x, 5)["density"] == pytest.approx(6 / 5)


def test_prdc_of_two_halves_of_one_set_is_near_one():
    figures = fidelity.prdc(gaussian(1_000, 4, 0), gaussian(1_000, 4, 1), 5)
    assert all(0.9 < value < 1.1 for value in figures.values()), figures


def test_prdc_tells_collapse_from_bad_samples():
    modes = 10 * gaussian(20, 8, 0)
    real = modes[np.arange(1_000) % 20] + gaussian(1_000, 8, 1)
    collapsed = modes[0] + 0.3 * gaussian(1_000, 8, 2)
    figures = fidelity.prdc(real, collapsed, 5)
    assert figures["precision"] > 0.9 and figures["recall"] < 0.1
    assert figures["coverage"] < 0.1 and figures["density"] > 0.9
    bad = fidelity.prdc(real, 30 * gaussian(1_000, 8, 3), 5)
    assert bad["precision"] < 0.1 and bad["density"] < 0.1


def test_prdc_needs_more_points_than_neighbours():
    with pytest.raises(UserError, match=r"nearest_k=5 .* 5 and 9; set --config.eval.nearest_k"):
        fidelity.prdc(gaussian(5, 2, 0), gaussian(9, 2, 1), 5)


# Metrics, end to end: four classes of pictures, each with one bright quarter

SPEC = DataSpec("bytes", (8, 8, 1), levels=17, num_classes=4, class_names=tuple("abcd"))
ALL = ("fid", "kid", "inception_scores", "prdc_metrics", "intra_fid", "label_accuracy", "cas")
CONDITIONAL = ("intra_fid", "label_accuracy", "cas")


def quarters(label):
    """Labels [B] -> mean pictures [B, 8, 8, 1] in grey levels."""
    place = np.arange(8) // 4
    return np.where(place[:, None] * 2 + place == np.asarray(label)[:, None, None], 12.0, 4.0)[
        ..., None
    ]


MEANS = jnp.asarray(quarters(np.arange(4)), jnp.float32)


@dataclasses.dataclass(frozen=True)
class Painter:
    """Paints what it is asked for, with the noise of the data, or the class `mapping[label]`."""

    given: tuple = ("label",)
    mapping: tuple[int, ...] = (0, 1, 2, 3)

    def sample(self, params, extra, keys, condition, options):
        noise = jax.vmap(lambda key: jax.random.randint(key, (8, 8, 1), -4, 5))(keys)
        label = condition.get("label", jnp.arange(len(keys))) % 4
        return MEANS[jnp.asarray(self.mapping)[label]] + noise


def painter(given=("label",), mapping=(0, 1, 2, 3), spec=SPEC) -> Subject:
    return Subject(Painter(given, mapping), spec, {}, {})


def split(name: str, size: int, seed: int) -> ArrayExamples:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 4, size)
    x = quarters(label) + rng.integers(-4, 5, (size, 8, 8, 1))
    return ArrayExamples(name, {"x": x.astype(np.uint8), "label": label})


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return Dataset(
        "quarters", SPEC, {"train": split("train", 600, 0), "test": split("test", 250, 1)}
    )


@pytest.fixture(scope="module")
def settings(dataset, tmp_path_factory) -> ConfigDict:
    """With a judge that has learnt the four classes."""
    path = tmp_path_factory.mktemp("judges") / "quarters.safetensors"
    module = ConvClassifier(4, widths=(4, 8), num_features=16)
    params = judges.fit(
        module,
        *features.stored_pictures(Context(painter(), dataset, "test", None), "train"),
        100,
        32,
        1e-2,
    )
    metadata = dict.fromkeys(judges.METADATA, "") | {
        "num_classes": "4",
        "widths": "[4, 8]",
        "num_features": "16",
    }
    judges.save(path, params, metadata)
    return ConfigDict(
        {
            "judge": str(path),
            "inception_weights": "",
            "num_samples": 300,
            "num_examples": 0,
            "nearest_k": 5,
            "batch_size": 100,
        }
    )


@pytest.fixture(scope="module")
def figures(dataset, settings):
    """All metrics of a model that is as good as the data."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fidelity, "CAS_STEPS", 40)
        found = {}
        for name in ALL:
            found |= getattr(fidelity, name)(Context(painter(), dataset, "test", settings))
    return found


def test_a_perfect_model_scores_as_the_data_do(figures):
    floors = {name.removesuffix("_floor") for name in figures if name.endswith("_floor")}
    names = {"fid", "kid", "precision", "recall", "density", "coverage", "intra_fid"}
    assert floors == names
    value = {name: metric.value for name, metric in figures.items()}
    assert value["fid"] < 3 * value["fid_floor"] + 0.1
    assert abs(value["kid"]) < 5 * figures["kid"].stderr + 5 * figures["kid_floor"].stderr
    for name in ("precision", "recall", "density", "coverage"):
        assert value[name] > 0.8 and abs(value[name] - value[f"{name}_floor"]) < 0.15, name
    assert value["intra_fid"] < 2 * value["intra_fid_floor"] + 0.1
    assert 3.5 < value["inception_score"] <= 4 and 3.5 < value["inception_score_real"] <= 4
    for name in ("label_accuracy", "label_accuracy_real", "cas", "cas_real"):
        assert value[name] > 0.95, name


def test_figures_say_what_they_are(figures, settings):
    judge = features.load(settings, Dataset("any", SPEC, {})).name
    spec = f"fid[judge={judge}, real=test:250, fake=300, labels=train, seed=0]"
    assert figures["fid"].to_json("fid")["spec"] == spec
    floor = f"fid_floor[judge={judge}, real=test:250, floor=train:300]"
    assert figures["fid_floor"].to_json("fid_floor")["spec"] == floor
    recall = f"recall[judge={judge}, real=test:250, fake=250, labels=train, seed=0, k=5]"
    assert figures["recall"].to_json("recall")["spec"] == recall
    real = f"label_accuracy_real[judge={judge}, real=test:250]"
    assert figures["label_accuracy_real"].to_json("label_accuracy_real")["spec"] == real
    assert "trained=fake:300, steps=40, real=test:250" in figures["cas"].to_json("cas")["spec"]
    assert "trained=train:300" in figures["cas_real"].to_json("cas_real")["spec"]
    units = {"fid": "distance", "kid": "distance", "inception_score": "score", "recall": "fraction"}
    assert {name: figures[name].unit for name in units} == units
    assert {metric.kind for metric in figures.values()} == {"estimate"}
    for name, metric in figures.items():
        assert isinstance(metric.value, float), name
        with_error = name.startswith(("kid", "inception_score", "label_accuracy", "cas"))
        assert (metric.stderr is not None) == with_error, name
    assert figures["fid"].n == 300 and figures["recall_floor"].n == 250
    assert figures["label_accuracy_real"].n == 250


def test_label_accuracy_counts_what_was_asked_for(dataset, settings):
    wrong = painter(mapping=(0, 1, 2, 2))
    context = Context(wrong, dataset, "test", settings)
    metric = fidelity.label_accuracy(context)["label_accuracy"]
    right = (features.sample_condition(context, 300)["label"] != 3).mean()
    assert 0.6 < right < 0.9 and metric.value == pytest.approx(right, abs=0.02)
    assert metric.stderr == pytest.approx(np.sqrt(right * (1 - right) / 300), rel=0.05)


def test_a_model_that_drops_classes_is_found_out(figures, dataset, settings):
    dropping = painter(mapping=(0, 0, 0, 0))
    for name, metric in (("fid", fidelity.fid), ("intra_fid", fidelity.intra_fid)):
        assert (
            metric(Context(dropping, dataset, "test", settings))[name].value
            > 5 * figures[name].value
        )
    found = fidelity.prdc_metrics(Context(dropping, dataset, "test", settings))
    assert found["precision"].value > 0.8 and found["recall"].value < 0.4
    score = fidelity.inception_scores(Context(dropping, dataset, "test", settings))
    assert score["inception_score"].value < 1.3


@pytest.mark.parametrize("name", CONDITIONAL)
def test_models_without_classes_are_refused(name, dataset, settings):
    with pytest.raises(
        UserError, match=f"{name} needs a class-conditional model, and this Painter"
    ):
        getattr(fidelity, name)(Context(painter(given=()), dataset, "test", settings))


def test_what_cannot_be_measured_is_refused_in_one_line(dataset, settings):
    with pytest.raises(UserError, match="intra_fid needs two pictures of each class"):
        few = ConfigDict({**settings, "num_samples": 5})
        fidelity.intra_fid(Context(painter(), dataset, "test", few))
    with pytest.raises(UserError, match="judge of the model's 3 classes, and quarters-cnn@"):
        three = dataclasses.replace(SPEC, num_classes=3)
        fidelity.label_accuracy(Context(painter(spec=three), dataset, "test", settings))
    points = Dataset("ring", DataSpec("real", (2,)), dataset.splits)
    for metric in (fidelity.fid, fidelity.cas):
        with pytest.raises(UserError, match="ring has no pictures"):
            metric(Context(painter(), points, "test", settings))
    with pytest.raises(UserError, match="object lacks"):
        fidelity.fid(Context(Subject(object(), SPEC, {}, {}), dataset, "test", settings))


# Calls of the network


@dataclasses.dataclass(frozen=True)
class Stepped:
    """Samplers of one and of two calls a step."""

    given = ()

    def sample(self, params, extra, keys, condition, options): ...

    def sampling_calls(self, options):
        return options["steps"] * (2 if options["sampler"] == "heun" else 1)

    def within_calls(self, options, calls):
        each = self.sampling_calls({**options, "steps": 1})
        return {**options, "steps": max(calls // each, 1)}


def test_samplers_are_scored_by_what_their_calls_allow(monkeypatch):
    real = gaussian(50, 3, 0)

    def compare(context):
        options = context.subject.options
        away = 10 / options["steps"] + (5 if options["sampler"] == "heun" else 0)
        net = features.FeatureNet("net@1", None, {})
        seen = features.Seen(None, real, np.zeros(50))
        fake = features.Seen(None, real + np.array([away, 0, 0]), None)
        return features.Sets(net, seen, seen, seen, fake)

    monkeypatch.setattr(features, "compare", compare)
    spec = DataSpec("real", (4, 4, 1), 17)
    subject = Subject(Stepped(), spec, {}, {}, {"sampler": "ddim", "steps": 99})
    settings = ConfigDict({"calls": (1, 4, 10), "samplers": ("ddim", "heun")})
    context = Context(subject, Dataset("given", spec, {}), "test", settings)
    found = fidelity.fid_at_calls.compute(context)
    # One step of heun takes two calls, so there is none within one.
    assert list(found) == [
        *(f"fid@sampler=ddim,calls={calls}" for calls in (1, 4, 10)),
        *(f"fid@sampler=heun,calls={calls}" for calls in (4, 10)),
    ]
    assert found["fid@sampler=ddim,calls=10"].value == pytest.approx(1.0)
    assert found["fid@sampler=heun,calls=10"].value == pytest.approx((10 / 5 + 5) ** 2)
    assert found["fid@sampler=heun,calls=10"].spec["calls"] == 10
    settings.samplers = ()
    assert next(iter(fidelity.fid_at_calls.compute(context))) == "fid@sampler=own,calls=1"
