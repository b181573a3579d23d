"""Conversions between stored data, model units and pictures."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax import keys
from gen_jax.data.spec import DataSpec, fixed_keys
from gen_jax.errors import UserError

RAW = np.arange(17, dtype=np.uint8).reshape(1, 17).repeat(20_000, 0)


def prepare(kind, levels=17):
    spec = DataSpec(kind, (17,), levels)
    each = keys.per_example(keys.stream(0, "x"), jnp.arange(len(RAW)))
    return spec, np.asarray(spec.prepare(jnp.asarray(RAW), each))


def test_binarisation_has_the_grey_level_as_its_mean():
    _, x = prepare("binary")
    assert set(np.unique(x)) == {0.0, 1.0}
    np.testing.assert_allclose(x.mean(0), np.arange(17) / 16, atol=0.015)
    assert (x[:, 0] == 0).all() and (x[:, 16] == 1).all()


def test_bytes_are_left_as_they_are():
    spec, x = prepare("bytes")
    np.testing.assert_array_equal(x, RAW)
    centered = spec.center(x)
    assert centered.min() == -1 and centered.max() == 1
    np.testing.assert_allclose(spec.uncenter(centered), x, atol=1e-5)


def test_dequantisation_is_uniform_in_its_bin():
    spec, x = prepare("real")
    np.testing.assert_array_equal(np.floor(x * 17), RAW)
    fraction = x * 17 - RAW
    np.testing.assert_allclose(fraction.mean(0), 0.5, atol=0.01)
    np.testing.assert_allclose(fraction.var(0), 1 / 12, atol=0.003)
    np.testing.assert_allclose(spec.uncenter(spec.center(x)), x, atol=1e-6)
    assert spec.log_volume == pytest.approx(-17 * math.log(17))


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_dequantised_pictures_are_the_stored_ones(levels):
    """Whatever the noise: rounding would make half of all greys lighter."""
    spec = DataSpec("real", (8, 8, 1), levels=levels)
    raw = np.random.default_rng(0).integers(0, levels, (500, 8, 8, 1)).astype(np.uint8)
    x = spec.prepare(raw, fixed_keys("test", jnp.arange(500)))
    pictures = spec.to_uint8(x)
    # A draw within a rounding error of the next integer is that integer in float32.
    assert (pictures == spec.stored_to_uint8(raw)).mean() > 1 - 1e-4
    middle = (raw + np.float32(0.5)) / levels
    np.testing.assert_array_equal(spec.to_uint8(middle), spec.stored_to_uint8(raw))


def test_real_numbers_have_no_bins():
    spec = DataSpec("real", (2,))
    assert spec.log_volume == 0
    x = jnp.array([[0.3, -7.0]])
    np.testing.assert_array_equal(spec.prepare(x, fixed_keys("test", jnp.arange(1))), x)


@pytest.mark.parametrize(("kind", "x"), [("binary", [0, 1]), ("bytes", [0, 16]), ("real", [0, 1])])
def test_pictures_span_black_to_white(kind, x):
    spec = DataSpec(kind, (1, 2, 1), levels=17)
    image = spec.to_uint8(np.array(x, np.float32).reshape(1, 2, 1))
    assert image.ravel().tolist() == [0, 255] and image.dtype == np.uint8


def test_bits_per_dim():
    spec = DataSpec("bytes", (4, 2, 1), levels=256)
    assert spec.bits_per_dim(8 * math.log(2) * 3.5) == pytest.approx(3.5)


def test_fixed_draws_belong_to_the_example_and_its_split():
    draw = jax.vmap(jax.random.uniform)
    whole = draw(fixed_keys("test", jnp.arange(10)))
    some = jnp.array([3, 7])
    np.testing.assert_array_equal(draw(fixed_keys("test", some)), whole[some])
    assert (whole != draw(fixed_keys("validation", jnp.arange(10)))).all()


@pytest.mark.parametrize(
    ("kind", "levels", "good", "bad", "word"),
    [
        ("binary", 17, [0, 1], [0, 0.5], "x > 0.5"),
        ("bytes", 17, [0, 16], [0, 17], "integers from 0 to 16"),
        ("bytes", 17, [0, 3], [0, 2.5], "integers from 0 to 16"),
        ("real", 17, [0, 0.97], [0, 16], "from 0 to 1"),
        ("real", 0, [-7, 16], [0, np.nan], "finite"),
    ],
)
def test_what_cannot_be_data_is_refused(kind, levels, good, bad, word):
    spec = DataSpec(kind, (1,), levels)
    assert spec.check(np.array(good)[:, None]) is None
    with pytest.raises(UserError, match=word):
        spec.check(np.array(bad)[:, None])


@pytest.mark.parametrize(
    "spec",
    [
        DataSpec("bytes", (2, 2, 1), 256),
        DataSpec("bytes", (2, 2, 1), 17),
        DataSpec("real", (2, 2, 1), 256),
        DataSpec("binary", (2, 2, 1), 2),
    ],
)
def test_pictures_become_data_and_pictures_again(spec):
    levels = np.arange(spec.levels)
    pictures = spec.stored_to_uint8(levels).reshape(-1, 1, 1, 1)
    x = spec.from_uint8(pictures)
    spec.check(x.repeat(2, 1).repeat(2, 2))
    np.testing.assert_array_equal(spec.to_uint8(x), pictures)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (DataSpec("binary", (3,), 256), 2),
        (DataSpec("bytes", (3,), 17), 17),
        (DataSpec("tokens", (3,), vocabulary=("a", "b", "c")), 3),
        (DataSpec("real", (3,), 256), 0),
    ],
)
def test_what_an_element_may_be(spec, expected):
    assert spec.num_values == expected
