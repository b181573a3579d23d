"""Masked dense layers, by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.nn.masked import MaskedDense, masks

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("size", "hidden"), [(1, (3,)), (4, (7,)), (4, (2,)), (5, (6, 9)), (3, ())]
)
def test_output_i_depends_on_the_inputs_before_it(size, hidden):
    layers = masks(size, hidden)
    assert [mask.shape for mask in layers] == list(
        zip((size, *hidden), (*hidden, size), strict=True)
    )
    reached = np.linalg.multi_dot(layers) if len(layers) > 1 else layers[0]
    assert not np.tril(reached.T[None] if reached.ndim == 1 else reached, 0).any()
    if all(width >= size for width in hidden):
        assert (reached > 0).sum() == size * (size - 1) / 2


def test_masked_dense_by_hand():
    mask = np.float32([[1, 0], [1, 1], [0, 0]])
    layer = MaskedDense(2, "float32")
    params = {"kernel": jnp.float32(RNG.normal(size=(3, 2))), "bias": jnp.float32([1, 2])}
    x = np.float32(RNG.normal(size=(5, 3)))
    expected = x @ (np.asarray(params["kernel"]) * mask) + [1, 2]
    np.testing.assert_allclose(layer.apply({"params": params}, x, mask), expected, rtol=1e-5)
