"""FID's InceptionV3: sizes counted by hand, and its pools."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.nn import inception


@pytest.fixture(scope="module")
def shapes():
    image = jnp.zeros((1, 299, 299, 3))
    return jax.eval_shape(inception.InceptionV3().init, jax.random.key(0), image)["params"]


def count(tree) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def conv(size: int, inputs: int, outputs: int) -> int:
    """Parameters of a convolution of `size` taps, with the four of its normalisation."""
    return size * inputs * outputs + 4 * outputs


def test_blocks_have_the_published_sizes(shapes):
    def block_a(inputs, pool):
        single = conv(1, inputs, 64) + conv(1, inputs, pool)
        five = conv(1, inputs, 48) + conv(25, 48, 64)
        return single + five + conv(1, inputs, 64) + conv(9, 64, 96) + conv(9, 96, 96)

    def block_c(width):
        seven = conv(1, 768, width) + conv(7, width, width) + conv(7, width, 192)
        double = conv(1, 768, width) + 3 * conv(7, width, width) + conv(7, width, 192)
        return 2 * conv(1, 768, 192) + seven + double

    def block_e(inputs):
        single = conv(1, inputs, 320) + conv(1, inputs, 192)
        three = conv(1, inputs, 384) + 2 * conv(3, 384, 384)
        double = conv(1, inputs, 448) + conv(9, 448, 384) + 2 * conv(3, 384, 384)
        return single + three + double

    expected = {
        "Conv2d_1a_3x3": conv(9, 3, 32),
        "Conv2d_4a_3x3": conv(9, 80, 192),
        "Mixed_5b": block_a(192, 32),
        "Mixed_5d": block_a(288, 64),
        "Mixed_6a": conv(9, 288, 384) + conv(1, 288, 64) + conv(9, 64, 96) + conv(9, 96, 96),
        "Mixed_6b": block_c(128),
        "Mixed_6e": block_c(192),
        "Mixed_7a": 2 * conv(1, 768, 192)
        + conv(9, 192, 320)
        + 2 * conv(7, 192, 192)
        + conv(9, 192, 192),
        "Mixed_7b": block_e(1280),
        "Mixed_7c": block_e(2048),
        "fc": 2048 * 1008 + 1008,
    }
    assert {name: count(shapes[name]) for name in expected} == expected


def test_the_whole_has_the_published_size(shapes):
    # torchvision's inception_v3 has 27,161,264 parameters and 3,326,696 of them in the auxiliary
    # head. Ours has 8 classes more, and counts the mean and variance of 17,216 channels.
    assert count(shapes) == 27_161_264 - 3_326_696 + 8 * 2_049 + 2 * 17_216
    assert len(jax.tree.leaves(shapes)) == 94 * 5 + 2


def test_logits_have_no_bias():
    """As in the code that the published Inception scores are of."""
    x, kernel = (np.random.default_rng(i).normal(size=(4, 4)).astype(np.float32) for i in (0, 1))
    params = {"kernel": kernel, "bias": np.full(4, 7, np.float32)}
    logits = inception.Logits(4).apply({"params": params}, x)
    np.testing.assert_allclose(logits, x @ kernel, rtol=1e-5, atol=1e-6)


def test_shapes_of_the_outputs(shapes):
    images = jnp.zeros((3, 299, 299, 3))
    apply = inception.InceptionV3().apply
    logits, features = jax.eval_shape(lambda p, x: apply({"params": p}, x), shapes, images)
    assert logits.shape == (3, 1008) and features.shape == (3, 2048)


@pytest.mark.parametrize(
    ("pool", "reduce"), [(inception.average_pool, np.mean), (inception.max_pool, np.max)]
)
def test_pools_leave_the_padding_out(pool, reduce):
    x = np.random.default_rng(0).normal(size=(2, 4, 5, 3)).astype(np.float32) - 3
    by_hand = np.empty_like(x)
    for i in range(4):
        for j in range(5):
            window = x[:, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2]
            by_hand[:, i, j] = reduce(window, axis=(1, 2))
    np.testing.assert_allclose(pool(jnp.asarray(x)), by_hand, rtol=1e-6)


@pytest.mark.parametrize("pools_maximum", [False, True])
def test_the_last_block_alone_pools_by_the_maximum(pools_maximum):
    block = inception.BlockE(pools_maximum)
    x = jnp.float32(np.random.default_rng(0).normal(size=(1, 8, 8, 4)))
    shapes = jax.eval_shape(block.init, jax.random.key(0), x)
    variables = jax.tree.map(lambda leaf: jnp.ones(leaf.shape) * 0.1, shapes)
    y = jax.jit(block.apply)(variables, x)
    assert y.shape == (1, 8, 8, 2048)
    pooled = (inception.max_pool if pools_maximum else inception.average_pool)(x)
    normal = (0.1 * pooled.sum(-1) - 0.1) / np.sqrt(0.1 + 1e-3) * 0.1 + 0.1
    expected = jnp.broadcast_to(jnp.maximum(normal, 0)[..., None], (1, 8, 8, 192))
    np.testing.assert_allclose(y[..., -192:], expected, rtol=1e-5, atol=1e-6)


def test_resize_is_bilinear_between_centres_of_pixels_and_repeats_grey():
    x = np.random.default_rng(0).normal(size=(2, 6, 6, 1)).astype(np.float32)
    y = np.asarray(inception.resize(jnp.asarray(x)))
    assert y.shape == (2, 299, 299, 3)
    np.testing.assert_allclose(y[..., 0], y[..., 2], rtol=0, atol=1e-6)
    place = ((np.arange(299) + 0.5) * 6 / 299 - 0.5).clip(0, 5)
    grid = np.arange(6)
    rows = np.stack([np.interp(place, grid, column) for column in x[0, :, :, 0].T], 1)
    both = np.stack([np.interp(place, grid, row) for row in rows])
    np.testing.assert_allclose(y[0, ..., 0], both, atol=1e-5)
