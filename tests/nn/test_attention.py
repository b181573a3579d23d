"""Causal attention against numpy, and its memory against the whole sequence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax import keys as keys_lib
from gen_jax.nn.attention import Block, SelfAttention, dropout, rotate


def test_rotated_vectors_agree_by_the_distance_of_their_places():
    rng = np.random.default_rng(0)
    a, b = jnp.float32(rng.normal(size=(2, 1, 8)))
    products = [
        float((rotate(a, jnp.float32(i)) * rotate(b, jnp.float32(j))).sum())
        for i, j in [(0, 3), (5, 8), (40, 43), (0, 4)]
    ]
    np.testing.assert_allclose(products[1:3], products[0], atol=1e-4)
    assert abs(products[3] - products[0]) > 0.01
    np.testing.assert_allclose(rotate(a, jnp.float32(0)), a, atol=1e-6)
    # One pair of coordinates turns by its angle as a complex number does.
    z = np.array([0.3, -1.2])
    turned = (z[0] + 1j * z[1]) * np.exp(7j)
    found = rotate(jnp.float32(z)[None], jnp.float32(7))[0]
    np.testing.assert_allclose(found, [turned.real, turned.imag], atol=1e-5)


@pytest.mark.parametrize("window", [3, 6])
def test_attention_is_a_weighted_mean_of_what_the_window_sees(window):
    layer = SelfAttention(8, 2, window)
    h = jnp.float32(np.random.default_rng(0).normal(size=(2, 6, 8)))
    params = layer.init(jax.random.key(0), h)
    found = layer.apply(params, h)
    weights = jax.tree.map(np.float64, params["params"])
    q, k, v = np.split(np.float64(h) @ weights["inputs"]["kernel"], 3, -1)
    out = np.zeros(h.shape)
    angle = np.arange(6)[:, None] * 10_000.0 ** (-np.arange(2) / 2)

    def turn(x):
        z = (x[..., :2] + 1j * x[..., 2:]) * np.exp(1j * angle)
        return np.concatenate([z.real, z.imag], -1)

    for head in (slice(0, 4), slice(4, 8)):
        queries, keys = turn(q[..., head]), turn(k[..., head])
        for place in range(6):
            seen = slice(max(0, place - window + 1), place + 1)
            score = (keys[:, seen] * queries[:, place, None]).sum(-1) / 2
            weight = np.exp(score) / np.exp(score).sum(1, keepdims=True)
            out[:, place, head] = (weight[..., None] * v[:, seen, head]).sum(1)
    np.testing.assert_allclose(found, out @ weights["outputs"]["kernel"], atol=1e-5)


@pytest.mark.parametrize("window", [3, 9])
def test_a_block_that_remembers_gives_what_the_whole_sequence_gives(window):
    block = Block(8, 2, window)
    h = jnp.float32(np.random.default_rng(0).normal(size=(2, 7, 8)))
    params = block.init(jax.random.key(0), h)
    whole = block.apply(params, h)
    memory = block.apply(params, 2, method="start")
    for number in range(7):
        one, memory = block.apply(params, h[:, number], memory, jnp.int32(number), method="step")
        np.testing.assert_allclose(one, whole[:, number], atol=1e-5)


def test_dropout_is_each_examples_own_and_keeps_the_mean():
    h = jnp.ones((64, 500))
    keys = keys_lib.per_example(keys_lib.stream(0, "x"), jnp.arange(64))
    found = np.asarray(dropout(h, 0.25, keys, "a"))
    np.testing.assert_allclose(np.unique(found), [0, 1 / 0.75])
    assert found.mean() == pytest.approx(1, abs=0.01)
    np.testing.assert_array_equal(dropout(h[5:9], 0.25, keys[5:9], "a"), found[5:9])
    assert (found != np.asarray(dropout(h, 0.25, keys, "b"))).any()
    assert dropout(h, 0.25, None, "a") is h
