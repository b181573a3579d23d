"""Augmentations: what they may move, that gradients pass, that each image has its own draw."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax import keys
from gen_jax.nn.augment import AUGMENTATIONS, augment, color, cutout, flip, jitter, translation

X = np.random.default_rng(0).normal(size=(64, 16, 12, 3)).astype(np.float32)
KEYS = keys.per_example(keys.stream(0, "test"), jnp.arange(64))


def test_translation_shifts_by_at_most_an_eighth_and_fills_with_zeros():
    moved = np.asarray(translation(jnp.asarray(X), KEYS))
    shifts = set()
    for image, result in zip(X, moved, strict=True):
        wide = np.pad(image, [(4, 4), (4, 4), (0, 0)])
        found = [
            (i, j)
            for i in range(-2, 3)
            for j in range(-2, 3)
            if np.array_equal(wide[4 + i : 20 + i, 4 + j : 16 + j], result)
        ]
        assert len(found) == 1
        shifts.add(found[0])
    # 16 / 8 = 2 rows and 12 / 8 = 1.5 columns, rounded up: 5 x 5 shifts.
    assert len(shifts) > 15


@pytest.mark.parametrize(("size", "pixels"), [(8, 1), (20, 1), (28, 2), (40, 3)])
def test_jitter_moves_by_a_sixteenth_with_halves_rounded_up(size, pixels):
    dot = np.zeros((64, size, size, 1), np.float32)
    dot[:, size // 2, size // 2] = 1
    moved = np.asarray(jitter(jnp.asarray(dot), KEYS)).argmax(1).max((1, 2)) - size // 2
    assert set(moved) == set(range(-pixels, pixels + 1))


def test_cutout_leaves_all_but_one_rectangle():
    cut = np.asarray(cutout(jnp.asarray(X), KEYS))
    gone = (cut != X).any(-1)
    assert ((cut == 0) | (cut == X)).all()
    for mask in gone:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert len(rows) <= 8 and len(columns) <= 6


@pytest.mark.parametrize(("length", "size"), [(8, 4), (9, 5), (6, 3), (10, 5)])
def test_cutout_is_of_half_the_side_and_centred_alike_on_both(length, size):
    each = keys.per_example(keys.stream(2, "test"), jnp.arange(2_000))
    ones = jnp.ones((2_000, length, length, 1))
    gone = (np.asarray(cutout(ones, each))[..., 0] == 0).any(2)
    # By hand: centres at all pixels, or of an even number at all borders of pixels.
    half = size // 2
    possible = set()
    for center in range(length + (size % 2 == 0)):
        rows = range(center - half, center - half + size)
        possible.add(tuple(n in rows for n in range(length)))
    assert {tuple(map(bool, rows)) for rows in gone} == possible
    assert gone.sum(1).max() == size
    np.testing.assert_allclose(gone.mean(0), gone.mean(0)[::-1], atol=0.06)


def test_color_by_hand():
    changed = np.asarray(color(jnp.asarray(X), KEYS))
    amount = np.asarray(keys.uniform(KEYS, (3,)))
    for image, result, (light, saturation, contrast) in zip(X, changed, amount, strict=True):
        y = image + light - 0.5
        grey = y.mean(-1, keepdims=True)
        y = grey + (y - grey) * 2 * saturation
        y = y.mean() + (y - y.mean()) * (contrast + 0.5)
        np.testing.assert_allclose(result, y, rtol=1e-3, atol=1e-4)


def test_flip_mirrors_about_half():
    flipped = np.asarray(flip(jnp.asarray(X), KEYS))
    mirrored = [np.array_equal(y, x[:, ::-1]) for x, y in zip(X, flipped, strict=True)]
    same = [np.array_equal(y, x) for x, y in zip(X, flipped, strict=True)]
    assert sum(mirrored) + sum(same) == 64 and 16 < sum(mirrored) < 48


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_gradients_pass(name):
    weights = jnp.asarray(X[::-1])

    def total(x):
        return (augment(x, KEYS, (name,)) * weights).sum()

    grad = jax.grad(total)(jnp.asarray(X))
    direction = jnp.asarray(np.random.default_rng(1).normal(size=X.shape).astype(np.float32))
    slope = (total(X + 1e-2 * direction) - total(X - 1e-2 * direction)) / 2e-2
    np.testing.assert_allclose((grad * direction).sum(), slope, rtol=1e-2)


def test_probability_is_the_fraction_of_images_that_change():
    many = jnp.asarray(np.tile(X, (8, 1, 1, 1)))
    each = keys.per_example(keys.stream(1, "test"), jnp.arange(len(many)))
    changed = np.asarray((augment(many, each, ("color",), 0.3) != many).any((1, 2, 3)))
    assert 0.2 < changed.mean() < 0.4
    assert (augment(many, each, ("color", "flip"), 0.0) == many).all()
