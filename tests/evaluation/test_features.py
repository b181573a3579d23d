"""Judges on disk, and pictures and features on their way to a metric."""

import dataclasses
import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from ml_collections import ConfigDict
from safetensors.numpy import save_file

from gen_jax import evaluation
from gen_jax import keys as keys_lib
from gen_jax.data.examples import ArrayExamples, choose
from gen_jax.data.sources import Dataset
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.evaluation import Context, Subject, features, fidelity, judges
from gen_jax.nn.classifier import ConvClassifier

SPEC = DataSpec("bytes", (8, 8, 1), levels=17, num_classes=4, class_names=tuple("abcd"))
MODULE = ConvClassifier(num_classes=4, widths=(4, 8), num_features=16)
METADATA = {
    "num_classes": "4",
    "widths": "[4, 8]",
    "num_features": "16",
    "accuracy": "0.25",
    "command": "none",
    "dataset": "tiny",
}


@dataclasses.dataclass(frozen=True)
class Noise:
    """Uniform noise between a parameter and 16, in model units of `SPEC`."""

    given: tuple = ("label",)

    def sample(self, params, extra, keys, condition, options):
        low = params["noise"]["low"]
        return low + (16.0 - low) * keys_lib.uniform(keys, (8, 8, 1))


def subject(low=0.0, given=("label",)) -> Subject:
    return Subject(Noise(given), SPEC, {"noise": {"low": jnp.float32(low)}}, {})


def split(name: str, size: int, seed: int) -> ArrayExamples:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 17, (size, 8, 8, 1)).astype(np.uint8)
    return ArrayExamples(name, {"x": x, "label": np.arange(size) % 4})


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return Dataset("tiny", SPEC, {"train": split("train", 90, 0), "test": split("test", 41, 1)})


@pytest.fixture(scope="module")
def params() -> dict:
    """Drawn by numpy, as compiling `init` takes longer than the tests."""
    shapes = jax.eval_shape(MODULE.init, jax.random.key(0), jnp.zeros((1, 8, 8, 1)))["params"]
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: np.float32(0.3 * rng.normal(size=leaf.shape)), shapes)


@pytest.fixture
def folder(tmp_path, monkeypatch, params):
    """A folder of judges with one for the dataset."""
    monkeypatch.setattr(judges, "FOLDER", tmp_path)
    judges.save(tmp_path / "tiny.safetensors", params, METADATA)
    return tmp_path


def settings(**changes) -> ConfigDict:
    config = ConfigDict(
        {"judge": "", "inception_weights": "", "num_samples": 50, "num_examples": 0}
    )
    config.update(changes)
    return config


def context(dataset, model=None, **changes) -> Context:
    return Context(model or subject(), dataset, "test", settings(**changes))


def test_a_judge_is_what_was_saved(folder, params):
    for name in ("tiny", str(folder / "tiny.safetensors")):
        module, loaded, metadata, digest = judges.load(name)
        assert module == MODULE and metadata == METADATA
        assert digest == hashlib.sha256((folder / "tiny.safetensors").read_bytes()).hexdigest()[:8]
        jax.tree.map(np.testing.assert_array_equal, loaded, jax.device_get(params))


def test_what_is_no_judge_is_refused(folder):
    judges.save(folder / "other.safetensors", {"a": np.zeros(2)}, METADATA)
    with pytest.raises(UserError, match=r"no judge 'moon'; .*: other, tiny$"):
        judges.load("moon")
    save_file({"a": np.zeros(2)}, folder / "plain.safetensors")
    with pytest.raises(UserError, match="is no judge, it lacks num_classes; write it by"):
        judges.load("plain")
    (folder / "cut.safetensors").write_bytes(b"not at all")
    with pytest.raises(UserError, match="no sound safetensors file"):
        judges.load(str(folder / "cut.safetensors"))


def test_a_net_reads_pictures_from_minus_one_to_one_in_batches(params):
    pictures = np.random.default_rng(0).integers(0, 256, (23, 8, 8, 1)).astype(np.uint8)
    logits, seen = MODULE.apply({"params": params}, pictures / np.float32(127.5) - 1)
    for batch_size in (5, 23, 100):
        net = features.FeatureNet("x", MODULE, params, batch_size)
        got = net(pictures)
        assert [x.dtype for x in got] == [np.float32] * 2 and got[1].shape == (23, 16)
        np.testing.assert_allclose(got[0], logits, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(got[1], seen, rtol=1e-4, atol=1e-5)


def test_the_judge_is_that_of_the_dataset_or_the_one_named(folder, dataset):
    digest = judges.load("tiny").hash
    assert features.load(settings(), dataset).name == f"tiny-cnn@{digest}"
    path = str(folder / "tiny.safetensors")
    other = dataclasses.replace(dataset, name="folder:/somewhere")
    assert features.load(settings(judge=path), other).name == f"tiny-cnn@{digest}"
    with pytest.raises(UserError, match=r"no judge 'folder:/somewhere'; .*inception"):
        features.load(settings(), other)


@pytest.mark.parametrize("shape", [(8, 8, 3), (28, 28, 1)])
def test_pictures_that_the_judge_does_not_read_are_refused(folder, dataset, shape):
    spec = dataclasses.replace(SPEC, shape=shape)
    with pytest.raises(UserError, match=f"trained on tiny and .* {'x'.join(map(str, shape))}"):
        features.load(settings(), dataclasses.replace(dataset, spec=spec))


def test_points_are_refused(dataset):
    points = dataclasses.replace(dataset, name="ring", spec=DataSpec("real", (2,)))
    with pytest.raises(UserError, match=r"kid: ring has no pictures .*--config.eval.metrics"):
        evaluation.check(subject().family, points, settings(), ["kid"])


def test_inception_without_sound_weights_says_where_they_go(tmp_path, dataset):
    with pytest.raises(UserError, match=r"no weights of its own; set .*inception_weights.*by '/'"):
        features.load(settings(judge="inception"), dataset)
    gone, wrong = tmp_path / "gone", tmp_path / "wrong.safetensors"
    with pytest.raises(UserError, match=r"there is no file .*gone; set .*inception_weights"):
        features.load(settings(judge="inception", inception_weights=str(gone)), dataset)
    save_file({"fc/bias": np.zeros(1000, np.float32)}, wrong)
    with pytest.raises(UserError, match=r"wrong.safetensors does not fit at \S+/\S+; it must be"):
        features.load(settings(judge="inception", inception_weights=str(wrong)), dataset)
    spec = dataclasses.replace(SPEC, shape=(8, 8, 4))
    with pytest.raises(UserError, match="1 or 3 channels, and tiny has 8x8x4"):
        changed = dataclasses.replace(dataset, spec=spec)
        features.load(settings(judge="inception", inception_weights=str(wrong)), changed)


def test_inception_is_given_large_coloured_pictures(tmp_path, dataset, monkeypatch):
    class Small(nn.Module):
        """In the place of InceptionV3: the corners of its input."""

        @nn.compact
        def __call__(self, x):
            assert x.shape[1:] == (299, 299, 3)
            scale = self.param("scale", nn.initializers.ones, ())
            return x[:, 0, 0] * scale, x[:, -1, -1] * scale

    monkeypatch.setattr(features.inception, "InceptionV3", Small)
    save_file({"scale": np.full((), 2, np.float32)}, tmp_path / "weights.safetensors")
    weights = str(tmp_path / "weights.safetensors")
    net = features.load(settings(judge="inception", inception_weights=weights), dataset)
    assert net.name.startswith("inception@") and len(net.name) == 18
    pictures, _ = features.stored_pictures(context(dataset), "test", 3)
    logits, seen = net(pictures)
    for output, corner in ((logits, pictures[:, 0, 0]), (seen, pictures[:, -1, -1])):
        expected = (corner / np.float32(127.5) - 1) * 2
        np.testing.assert_allclose(output, expected.repeat(3, 1), atol=1e-5)


def test_stored_pictures_are_the_stored_ones(dataset, monkeypatch):
    monkeypatch.setattr(features, "DRAW_SIZE", 7)
    examples = dataset.splits["test"]
    pictures, labels = features.stored_pictures(context(dataset), "test")
    assert pictures.dtype == np.uint8 and pictures.max() == 255
    np.testing.assert_array_equal(pictures, SPEC.stored_to_uint8(examples.arrays["x"]))
    np.testing.assert_array_equal(labels, examples.arrays["label"])
    first, _ = features.stored_pictures(context(dataset), "test", 10)
    np.testing.assert_array_equal(first, pictures[np.sort(choose(41, 10))])
    assert len(features.stored_pictures(context(dataset), "test", 1_000)[0]) == 41


def test_perfect_pictures_are_drawn_as_samples_are(dataset):
    """A model of zeros and ones cannot show grey: its floor is of black and white pictures."""
    spec = dataclasses.replace(SPEC, kind="binary")
    binary = context(dataclasses.replace(dataset, spec=spec), num_examples=40, num_samples=30)
    stored, labels = features.stored_pictures(binary, "test", 40)
    drawn, same = features.perfect_pictures(binary, "test", 40)
    assert set(np.unique(drawn)) == {0, 255} and len(np.unique(stored)) == 17
    np.testing.assert_array_equal(labels, same)
    # P(1) is the grey: the mean over pictures of what is bright is near 1.
    assert drawn[stored == 255].min() == 255 and drawn[stored == 0].max() == 0
    assert drawn.mean() == pytest.approx(stored.mean(), abs=4 * 128 / np.sqrt(drawn.size))
    floor, _ = features.perfect_train_pictures(binary, 30)
    assert set(np.unique(floor)) == {0, 255}
    for kind in ("bytes", "real"):
        other = context(dataclasses.replace(dataset, spec=dataclasses.replace(SPEC, kind=kind)))
        pair = [f(other, "test")[0] for f in (features.stored_pictures, features.perfect_pictures)]
        np.testing.assert_array_equal(*pair)


def test_the_floor_is_what_a_perfect_sampler_scores(folder, dataset):
    """Of zeros and ones too: there a sampler that draws test pictures is no better than it."""
    spec = dataclasses.replace(SPEC, kind="binary")
    binary = context(dataclasses.replace(dataset, spec=spec), num_samples=50)
    sets = features.compare(binary)
    perfect = fidelity.frechet_distance(sets.real.features, sets.perfect.features)
    floor = fidelity.frechet_distance(sets.real.features, sets.floor.features)
    grey, _ = features.stored_pictures(binary, "train", 50)
    less = fidelity.frechet_distance(sets.real.features, sets.net(grey)[1])
    assert less < 0.5 * perfect < floor < 2 * perfect


def test_training_pictures_are_chosen_by_a_fixed_seed(dataset):
    every = SPEC.stored_to_uint8(dataset.splits["train"].arrays["x"]).reshape(90, -1)
    some, _ = features.perfect_train_pictures(context(dataset), 30)
    again, _ = features.perfect_train_pictures(context(dataset), 45)
    np.testing.assert_array_equal(some, again[:30])
    rows = [int((every == picture.reshape(-1)).all(1).argmax()) for picture in again]
    assert len(set(rows)) == 45 and rows != sorted(rows)


def count_calls(monkeypatch, kind, method):
    calls, original = [], getattr(kind, method)

    def counted(self, *args, **kwargs):
        calls.append((args, kwargs))
        return original(self, *args, **kwargs)

    monkeypatch.setattr(kind, method, counted)
    return calls


def test_samples_are_drawn_in_blocks_with_the_labels_of_training_examples(monkeypatch, dataset):
    monkeypatch.setattr(features, "DRAW_SIZE", 20)
    calls = count_calls(monkeypatch, Subject, "sample")
    model = subject()
    pictures, labels = features.sample_pictures(context(dataset, model), 50)
    assert pictures.shape == (50, 8, 8, 1) and pictures.dtype == np.uint8
    np.testing.assert_array_equal(labels, features.perfect_train_pictures(context(dataset), 50)[1])
    assert [args[0] for args, _ in calls] == [20, 20, 10]
    assert [kwargs["seed"] for _, kwargs in calls] == [0, 1, 2]
    assert len(np.unique(pictures.reshape(50, -1), axis=0)) == 50
    third = model.sample(10, {"label": labels[40:]}, seed=2)
    np.testing.assert_array_equal(pictures[40:], SPEC.to_uint8(third))
    # Number n is the same whatever their number.
    fewer, _ = features.sample_pictures(context(dataset, model), 33)
    np.testing.assert_array_equal(fewer, pictures[:33])


def test_classes_are_as_frequent_among_the_samples_as_in_training_data():
    label = np.repeat(np.arange(4), [60, 30, 10, 0])
    train = ArrayExamples("train", {"x": np.zeros((100, 8, 8, 1), np.uint8), "label": label})
    rare = context(Dataset("rare", SPEC, {"train": train}))
    labels = features.sample_condition(rare, 1_000)["label"]
    np.testing.assert_array_equal(np.bincount(labels, minlength=4), [600, 300, 100, 0])
    few = features.sample_condition(rare, 50)["label"]
    np.testing.assert_array_equal(few, labels[:50])
    assert len(set(few[:10])) > 1  # stored class by class, asked for in a random order


def test_a_model_is_given_what_it_is_conditioned_on(dataset):
    """Not the label alone: here a picture, in model units."""
    source = DataSpec("real", (3,))
    spec = dataclasses.replace(SPEC, given={"source": source})
    arrays = dataset.splits["train"].arrays
    rows = np.random.default_rng(0).normal(size=(90, 3)).astype(np.float32)
    train = ArrayExamples("train", {**arrays, "source": rows})
    given = Dataset("paired", spec, {"train": train})
    condition = features.sample_condition(context(given, subject(given=("source",))), 20)
    assert list(condition) == ["source"]
    np.testing.assert_array_equal(condition["source"], rows[choose(90, 20)])


def test_samples_of_a_model_without_classes_have_no_labels(dataset):
    _, labels = features.sample_pictures(context(dataset, subject(given=())), 5)
    assert labels is None
    with pytest.raises(UserError, match="num_samples=1 must be at least 2"):
        features.sample_pictures(context(dataset), 1)


def test_the_metrics_of_one_context_share_samples_and_features(folder, dataset, monkeypatch):
    drawn = count_calls(monkeypatch, Subject, "sample")
    scored = count_calls(monkeypatch, features.FeatureNet, "__call__")
    first = context(dataset)
    sets = features.compare(first)
    assert sets.real.features.shape == (41, 16) and sets.floor.features.shape == (45, 16)
    assert sets.fake.logits.shape == (50, 4) and sets.net.name.startswith("tiny-cnn@")
    assert features.compare(first) is sets
    assert (len(drawn), len(scored)) == (1, 3)
    # Another model of the same data: new samples, the same real pictures.
    second = dataclasses.replace(context(dataset, subject(8.0)), known_of_data=first.known_of_data)
    other = features.compare(second)
    assert (len(drawn), len(scored)) == (2, 4) and other.real is sets.real
    assert abs(other.fake.features - sets.fake.features).max() > 0
    # Other settings, each of which matters.
    assert len(features.compare(context(dataset, num_examples=9)).real.labels) == 9
    fewer = features.compare(context(dataset, num_samples=20))
    assert len(fewer.fake.logits) == 20 and len(fewer.floor.logits) == 20
    path = folder / "second.safetensors"
    judges.save(path, jax.tree.map(lambda x: x * 2, judges.load("tiny").params), METADATA)
    second = features.compare(context(dataset, judge=str(path)))
    assert abs(second.real.features - sets.real.features).max() > 0


def test_fit_learns_what_can_be_learnt():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 700)
    pictures = rng.integers(0, 100, (700, 8, 8, 1))
    for label in range(4):
        row, column = 4 * (label // 2), 4 * (label % 2)
        pictures[labels == label, row : row + 4, column : column + 4] += 100
    pictures = pictures.astype(np.uint8)
    # Of the sizes of test_fidelity.py, so that one compiled program serves both.
    params = judges.fit(MODULE, pictures[:600], labels[:600], 100, 32, 1e-2)
    logits, _ = features.FeatureNet("x", MODULE, params)(pictures[600:])
    assert (logits.argmax(-1) == labels[600:]).mean() > 0.95
