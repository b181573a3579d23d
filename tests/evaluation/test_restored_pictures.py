"""Figures of restorations, of models whose restorations are known."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from gen_jax import measurements
from gen_jax.data.examples import ArrayExamples
from gen_jax.data.sources import Dataset
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.evaluation import Context, Subject, features, masks, restoration

SPEC = DataSpec("bytes", (8, 8, 1), 256, 2)
RNG = np.random.default_rng(0)


@dataclasses.dataclass(frozen=True)
class LeastNorm:
    """The smallest picture that explains what was seen, black where that says nothing."""

    spec = SPEC
    given = ("label",)
    label_dropout = 0.1

    def restore(self, params, extra, keys, measurement, y, condition, options):
        assert condition["label"].shape == (len(y),)
        assert options["guidance"] == 1  # no label is told, and none is guided towards
        x = measurement.lift(measurement.summary(y), SPEC.shape)
        return SPEC.uncenter(jnp.clip(x, -1, 1))


class Net:
    name = "brightness"

    def __call__(self, pictures):
        return np.eye(2)[np.int32(np.float64(pictures).mean((1, 2, 3)) > 128)], None


@pytest.fixture
def context(monkeypatch):
    monkeypatch.setattr(features, "load", lambda settings, dataset: Net())
    label = np.int32(np.arange(40) % 2)
    # Smooth, so that filters can do something.
    y, x = np.indices((8, 8))
    ramp = (y + x)[None, ..., None] * RNG.uniform(0, 6, (40, 1, 1, 1))
    pictures = np.uint8(np.clip(ramp + 150 * label[:, None, None, None], 0, 255))
    splits = {"test": ArrayExamples("test", {"x": pictures, "label": label})}
    settings = ConfigDict(
        {"restorations": tuple(restoration.TASKS), "restored": 20, "restored_draws": 2}
    )
    subject = Subject(LeastNorm(), SPEC, {"net": jnp.zeros(1)}, {}, {"guidance": 2.0})
    return Context(subject, Dataset("ramps", SPEC, splits), "test", settings)


def test_what_is_seen_well_comes_back(context):
    figures = restoration.restoration.compute(context)
    # All was seen, with a noise of .5 from -1 to 1, in part cut off at black and white.
    assert 11 < figures["psnr@task=noise"].value < 16
    assert figures["filter_psnr@task=noise"].value > figures["psnr@task=noise"].value + 2
    assert figures["filter_psnr@task=noise"].spec["filter"] in (
        "median",
        "total_variation",
        "wavelet",
    )
    assert figures["psnr@task=blur"].value > 10
    assert figures["ssim@task=half_size"].value > figures["ssim@task=quarter_size"].value
    assert figures["label_accuracy@task=half_size"].value > 0.9
    assert figures["psnr@task=hole"].n == 20
    assert {name.partition("=")[2] for name in figures} == {*restoration.TASKS}


def test_a_hole_is_where_it_should_be():
    known = masks.hole((28, 20))
    assert (~known).sum() == 14 * 10
    assert not known[7:21, 5:15].any()
    task = restoration.TASKS["hole"]
    x = RNG.uniform(size=(2, 28, 20, 3))
    y = np.asarray(task.damage((28, 20, 3)).apply(jnp.float32(x)))
    filled = task.filters(y, (28, 20, 3))["biharmonic"]
    np.testing.assert_allclose(filled[:, known], x[:, known], atol=1e-4)


@pytest.mark.parametrize("name", ["half_size", "quarter_size", "blur", "noise"])
def test_filters_keep_a_grey_picture(name):
    shape, task = (8, 12, 3), restoration.TASKS[name]
    x = np.full((1, *shape), 0.4)
    y = np.asarray(task.damage(shape).apply(jnp.float32(x)))
    for kind, found in task.filters(y, shape).items():
        assert found.shape == x.shape, kind
        inside = found[:, 3:-3, 3:-3] if kind == "wiener" else found
        np.testing.assert_allclose(inside, 0.4, atol=0.05, err_msg=kind)


def test_psnr_and_ssim_are_those_of_their_formulas():
    truth = RNG.uniform(size=(3, 16, 16, 1))
    off = truth + 0.1
    np.testing.assert_allclose(restoration.psnr(off, truth), 20, rtol=1e-6)
    np.testing.assert_allclose(restoration.ssim(truth, truth), 1)
    assert (restoration.ssim(RNG.uniform(size=truth.shape), truth) < 0.5).all()


def test_pictures_that_blocks_do_not_divide_are_refused(monkeypatch):
    monkeypatch.setattr(features, "check_judge", lambda *rest: None)
    spec = dataclasses.replace(SPEC, shape=(6, 6, 1))
    dataset = Dataset("six", spec, {})
    settings = ConfigDict({"restorations": ("noise", "half_size")})
    restoration.restoration.also(LeastNorm(), dataset, settings, "restoration")
    settings.restorations = ("quarter_size",)
    with pytest.raises(UserError, match=r"pictures of \[6, 6\] pixels are not divided by quarter"):
        restoration.restoration.also(LeastNorm(), dataset, settings, "restoration")


def test_a_model_that_was_never_without_its_label_is_refused(monkeypatch):
    monkeypatch.setattr(features, "check_judge", lambda *rest: None)

    class Told(LeastNorm):
        label_dropout = 0.0

    settings = ConfigDict({"restorations": ("noise",)})
    with pytest.raises(UserError, match=r"train with --config\.model\.label_dropout"):
        restoration.restoration.also(Told(), Dataset("x", SPEC, {}), settings, "restoration")


def test_filters_that_are_not_there_say_how_to_get_them(monkeypatch):
    import sys

    monkeypatch.setattr(features, "check_judge", lambda *rest: None)
    monkeypatch.setitem(sys.modules, "skimage.restoration", None)
    settings = ConfigDict({"restorations": ("noise",)})
    with pytest.raises(UserError, match="pip install 'gen_jax\\[restoration\\]'"):
        restoration.restoration.also(LeastNorm(), Dataset("x", SPEC, {}), settings, "restoration")


def test_damage_is_that_of_measurements():
    x = jnp.float32(RNG.uniform(size=(1, 8, 8, 1)))
    half = restoration.TASKS["half_size"].damage((8, 8, 1)).apply(x)
    expected = np.asarray(x).reshape(4, 2, 4, 2).mean((1, 3)).reshape(1, 16, 1)
    np.testing.assert_allclose(half, expected, atol=1e-5)
    assert restoration.TASKS["noise"].damage((8, 8, 1)).noise == pytest.approx(0.5)
    assert isinstance(restoration.TASKS["blur"].damage((8, 8, 1)), measurements.Measurement)
