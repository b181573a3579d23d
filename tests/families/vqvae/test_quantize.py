"""Quantisers against numpy by hand, brute force and autodiff."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax import keys, parallel
from gen_jax.families.vqvae import quantize
from gen_jax.families.vqvae.quantizers import VectorQuantizer

LEVELS = [(3,), (4, 3), (8, 5, 3), (7, 4, 6)]


def on_devices(function, *inputs, devices=1):
    """Within the axis over devices, each with its part of the batch: results [devices, ...]."""
    parts = jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), inputs)
    return jax.vmap(function, axis_name=parallel.AXIS)(*parts)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def each_key(count, seed=0):
    return keys.per_example(keys.stream(seed, "train"), jnp.arange(count))


# A learned codebook


def test_nearest_code_by_brute_force():
    z, codes = normal(60, 3), 2 * normal(9, 3, seed=1) + 1
    expected = [min(range(9), key=lambda k, v=v: ((v - codes[k]) ** 2).sum()) for v in z]
    assert len(set(expected)) > 4
    np.testing.assert_array_equal(quantize.nearest(jnp.asarray(z), jnp.asarray(codes)), expected)


def test_codebook_starts_at_vectors_of_the_batch():
    z = jnp.asarray(normal(20, 3))
    codes = quantize.code_vectors(quantize.initial_codebook(jax.random.key(0), z, 7))
    distance = np.abs(np.asarray(codes)[:, None] - np.asarray(z)).max(-1)
    assert distance.min(1).max() < 1e-5
    assert len(set(distance.argmin(1))) == 7
    few = quantize.initial_codebook(jax.random.key(0), z[:3], 7)
    np.testing.assert_allclose(np.unique(few["sum"] * 7, axis=0), np.unique(z[:3], axis=0), 1e-6)


@pytest.mark.parametrize("devices", [1, 2])
def test_two_steps_of_the_codebook_by_hand(devices):
    size, decay = 5, 0.7
    first = {"size": np.float32([0.1, 0.3, 0.0, 0.2, 0.4]), "sum": normal(size, 3)}
    batches = [(normal(12, 3, seed=s), np.random.default_rng(s).integers(0, 4, 12)) for s in (1, 2)]
    codebook = jax.tree.map(jnp.asarray, first)
    sizes, sums = first["size"].astype(float), first["sum"].astype(float)
    for z, index in batches:
        step = lambda z, i: quantize.update_codebook(codebook, z, i, decay)  # noqa: B023, E731
        both = on_devices(step, jnp.asarray(z), jnp.asarray(index), devices=devices)
        jax.tree.map(lambda x: np.testing.assert_array_equal(x[0], x[-1]), both)
        codebook = jax.tree.map(lambda x: x[0], both)
        for k in range(size):
            chose = z[index == k]
            sizes[k] = decay * sizes[k] + (1 - decay) * len(chose) / 12
            sums[k] = decay * sums[k] + (1 - decay) * chose.sum(0) / 12
    np.testing.assert_allclose(codebook["size"], sizes, rtol=1e-5)
    np.testing.assert_allclose(codebook["sum"], sums, rtol=1e-5)
    used = sizes > 0
    expected = sums[used] / sizes[used, None]
    codes = np.asarray(quantize.code_vectors(codebook))
    np.testing.assert_allclose(codes[used], expected, rtol=1e-3)
    # Laplace smoothing: sizes keep their total, and none is 0.
    unit = quantize.code_vectors({"size": jnp.asarray(sizes), "sum": jnp.ones((size, 1))})
    smoothed = (sizes + 1e-5 / size) / (sizes.sum() + 1e-5) * sizes.sum()
    np.testing.assert_allclose(1 / unit[:, 0], smoothed, rtol=1e-4)
    assert smoothed.sum() == pytest.approx(sizes.sum())


def test_dead_codes_alone_are_moved_each_to_a_vector_of_its_own():
    size = np.float32([0.3, 0.02, 0.5, 0.0, 0.04])
    codebook = {"size": jnp.asarray(size), "sum": jnp.asarray(normal(5, 3))}
    z, scores = normal(8, 3, seed=1), np.random.default_rng(2).random(8).astype(np.float32)

    def run(threshold, devices):
        step = lambda z, s: quantize.restart_dead(codebook, z, s, threshold)  # noqa: E731
        both = on_devices(step, jnp.asarray(z), jnp.asarray(scores), devices=devices)
        jax.tree.map(lambda x: np.testing.assert_array_equal(x[0], x[-1]), both)
        return jax.tree.map(lambda x: np.asarray(x[0]), both)

    moved, fraction = run(0.15, 1)  # under 0.03 of the vectors
    assert fraction == pytest.approx(2 / 5)
    for name in ("size", "sum"):
        np.testing.assert_array_equal(moved[name][[0, 2, 4]], codebook[name][np.array([0, 2, 4])])
    taken = z[np.argsort(scores)[:2]]
    np.testing.assert_allclose(moved["sum"][[1, 3]] / moved["size"][[1, 3], None], taken, 1e-6)
    np.testing.assert_allclose(moved["size"][[1, 3]], 1 / 5)
    jax.tree.map(np.testing.assert_array_equal, run(0.15, 2), (moved, fraction))
    none, fraction = run(0.0, 1)
    assert fraction == 0
    jax.tree.map(np.testing.assert_array_equal, none, codebook)


@pytest.mark.parametrize(("threshold", "recovers"), [(0.1, True), (0.0, False)])
def test_planted_collapse(threshold, recovers):
    """All codes but one are far away: only restarts bring them back."""
    quantizer = VectorQuantizer(8, 2, decay=0.8, commitment=0.0, restart_threshold=threshold)
    codes = np.full((8, 2), 1e3, np.float32)
    codes[0] = 0
    extra = {"codebook": {"size": jnp.full(8, 1 / 8), "sum": jnp.asarray(codes) / 8}}
    z = jnp.asarray(normal(32, 1, 2))

    def step(extra, number):
        index = quantizer.codes(extra, z)
        given = keys.fold(each_key(32), number)

        def learn(z, index, given):
            _, after, _ = quantizer.learn(extra, z, index, given)
            return after, quantize.perplexity(quantize.frequencies(index.reshape(-1), 8))

        return jax.tree.map(lambda x: x[0], on_devices(learn, z, index, given))

    _, found = jax.lax.scan(step, extra, jnp.arange(40))
    np.testing.assert_allclose(found[:5], 1.0, atol=1e-5)
    if recovers:
        assert found[-1] > 5
    else:
        np.testing.assert_allclose(found, 1.0, atol=1e-5)


def test_straight_through_is_the_value_of_the_code_with_the_gradient_at_the_encoder():
    """d/dz f(quantised) = f'(code), for a function that is not linear."""
    quantizer = VectorQuantizer(6, 3, decay=0.9, commitment=0.25, restart_threshold=0.0)
    z = jnp.asarray(normal(10, 3))
    extra = quantizer.init(jax.random.key(0), jnp.asarray(normal(30, 3, seed=1)))
    codes = quantize.code_vectors(extra["codebook"])[quantizer.codes(extra, z)]
    f = lambda v: (jnp.sin(v) * v**2).sum()  # noqa: E731
    np.testing.assert_allclose(quantizer.quantize(extra, z), codes, atol=1e-6)
    gradient = jax.grad(lambda z: f(quantizer.quantize(extra, z)))(z)
    np.testing.assert_allclose(gradient, jax.grad(f)(codes), rtol=1e-4, atol=1e-5)
    to_codebook = jax.grad(lambda e: f(quantizer.quantize(e, z)))(extra)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(to_codebook))


def test_commitment_pulls_the_encoder_to_its_codes_by_hand():
    quantizer = VectorQuantizer(6, 3, decay=0.9, commitment=0.25, restart_threshold=0.0)
    z = jnp.asarray(normal(4, 2, 2, 3))  # 4 examples with 2x2 codes
    extra = quantizer.init(jax.random.key(0), jnp.asarray(normal(30, 3, seed=1)))
    index = quantizer.codes(extra, z)
    codes = np.asarray(quantize.code_vectors(extra["codebook"]))[np.asarray(index)]

    def penalty(z):
        run = lambda z, index, k: quantizer.learn(extra, z, index, k)[0]  # noqa: E731
        return on_devices(run, z, index, each_key(4))[0]

    expected = 0.25 * ((np.asarray(z) - codes) ** 2).sum((1, 2, 3)).mean()
    value, gradient = jax.value_and_grad(penalty)(z)
    assert value == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(gradient, 0.25 * 2 * (z - codes) / 4, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("devices", [1, 2])
def test_perplexity_of_the_global_batch(devices):
    index = jnp.int32([0, 0, 0, 0, 1, 1, 3, 3])

    def run(index):
        frequency = quantize.frequencies(index, 5)
        return frequency, quantize.perplexity(frequency)

    frequency, value = on_devices(run, index, devices=devices)
    np.testing.assert_allclose(frequency[0], [0.5, 0.25, 0, 0.25, 0])
    # Entropy: 1/2 ln 2 + 2 * 1/4 ln 4 = 3/2 ln 2.
    np.testing.assert_allclose(value, 2**1.5, rtol=1e-6)
    assert quantize.perplexity(jnp.full(5, 0.2)) == pytest.approx(5, rel=1e-5)
    assert quantize.perplexity(jnp.eye(5)[2]) == pytest.approx(1)


# Finite scalar quantisation


@pytest.mark.parametrize("levels", LEVELS)
def test_fsq_numbers_and_vectors_are_one_to_one(levels):
    index = jnp.arange(np.prod(levels))
    vectors = np.asarray(quantize.fsq_vectors(index, levels))
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(quantize.fsq_index(jnp.asarray(vectors), levels), index)
    # All combinations of each axis' values, the first axis fastest.
    axes = [[(i - n // 2) / (n // 2) for i in range(n)] for n in levels]
    expected = [combination[::-1] for combination in itertools.product(*axes[::-1])]
    np.testing.assert_allclose(vectors, expected, atol=1e-6)


@pytest.mark.parametrize("levels", LEVELS)
def test_fsq_reaches_every_level_and_no_other(levels):
    line = jnp.linspace(-12, 12, 4_001)[:, None] * jnp.ones(len(levels))
    vectors = quantize.fsq_quantize(line, levels)
    for axis, count in enumerate(levels):
        half = count // 2
        found = np.unique(np.round(np.asarray(vectors[:, axis]) * half, 4))
        np.testing.assert_allclose(found, np.arange(count) - half, atol=1e-4)
    # Far out too, and 0 stays at 0.
    ends = quantize.fsq_index(quantize.fsq_quantize(jnp.float32([[-1e4], [1e4]]), (8,)), (8,))
    np.testing.assert_array_equal(ends, [0, 7])
    zero = quantize.fsq_bound(jnp.zeros(len(levels)), levels)
    np.testing.assert_allclose(zero, 0, atol=1e-6)


def test_fsq_rounds_the_bound_and_has_its_gradient():
    levels = (8, 5)
    z = jnp.asarray(normal(50, 2))
    # 8 levels are the integers from -4 to 3, in [-4, 3] around -1/2; 5 those from -2 to 2.
    x = np.asarray(z, np.float64)
    bound = np.stack([3.5 * np.tanh(x[:, 0] + np.arctanh(1 / 7)) - 0.5, 2 * np.tanh(x[:, 1])], 1)
    np.testing.assert_allclose(quantize.fsq_bound(z, levels), bound, atol=1e-5)
    vectors = quantize.fsq_quantize(z, levels)
    np.testing.assert_allclose(vectors, np.round(bound) / [4, 2], atol=1e-5)
    gradient = jax.grad(lambda z: jnp.square(quantize.fsq_quantize(z, levels)).sum())(z)
    slope = np.stack([(3.5**2 - (bound[:, 0] + 0.5) ** 2) / 3.5, (4 - bound[:, 1] ** 2) / 2], 1)
    expected = 2 * np.round(bound) / [4, 2] * slope / [4, 2]
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-4)
