"""Linear measurements, against the matrices that they are of."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from gen_jax import keys as keys_lib
from gen_jax import measurements
from gen_jax.errors import UserError

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("count", [3, 6, 9], ids=["fewer", "as many", "more, not independent"])
def test_a_matrix_measures_what_it_says(count):
    matrix = RNG.normal(size=(count, 6))
    x = jnp.float32(RNG.normal(size=(5, 6)))
    found = measurements.of_matrix(matrix, 0.5)
    y = found.apply(x)
    np.testing.assert_allclose(y[:, :, 0], x @ matrix.T, rtol=1e-4, atol=1e-5)
    # What y says of x is its projection, whose noise is that of y carried along.
    np.testing.assert_allclose(found.summary(y), found.project(x), rtol=1e-3, atol=1e-4)
    keys = keys_lib.per_example(keys_lib.stream(0, "x"), jnp.arange(4_000))
    many = jnp.broadcast_to(x[:1], (4_000, 6))
    drawn = found.summary(found.apply(many, keys)) - found.project(many)
    np.testing.assert_allclose(drawn.std(0)[:, 0], found.levels[:, 0], rtol=0.06)
    # lift is project's transpose.
    w = jnp.float32(RNG.normal(size=found.project(x).shape))
    inside = (found.project(x) * w).sum()
    np.testing.assert_allclose(inside, (x * found.lift(w, (6,))).sum(), rtol=1e-4)


def test_images_are_measured_in_each_channel_alike():
    x = RNG.uniform(size=(2, 6, 4, 3)).astype(np.float32)
    known = RNG.uniform(size=(6, 4)) < 0.5
    np.testing.assert_allclose(measurements.mask(known).apply(x), x[:, known], atol=1e-6)
    small = measurements.downsampling(x.shape[1:], 2).apply(x)
    expected = x.reshape(2, 3, 2, 2, 2, 3).mean((2, 4)).reshape(2, 6, 3)
    np.testing.assert_allclose(small, expected, rtol=1e-4, atol=1e-5)
    found = measurements.blur(x.shape[1:], 1.0)
    flat = found.apply(np.ones_like(x))
    np.testing.assert_allclose(flat, 1, rtol=1e-4)
    inside = np.zeros((1, 15, 13, 1), np.float32)
    inside[0, 7, 6] = 1
    blurred = measurements.blur(inside.shape[1:], 1.0).apply(inside).reshape(15, 13)
    expected = ndimage.gaussian_filter(inside[0, :, :, 0], 1.0, truncate=6)
    np.testing.assert_allclose(blurred[3:-3, 3:-3], expected[3:-3, 3:-3], atol=3e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: measurements.of_matrix(np.zeros((2, 3))), "not 0; this one has shape"),
        (lambda: measurements.of_matrix(np.ones(3)), "matrix \\[M, D\\]"),
        (lambda: measurements.of_matrix(np.array([[np.nan]])), "finite"),
        (lambda: measurements.mask(np.ones(3), -1.0), "noise=-1.0"),
        (lambda: measurements.mask(np.zeros(3)), "not 0"),
        (lambda: measurements.downsampling((8, 6, 1), 4), "blocks of 4 pixels do not divide"),
    ],
)
def test_what_measures_nothing_is_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()
