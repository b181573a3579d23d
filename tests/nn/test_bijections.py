"""Every bijection against its own inverse and autodiff's Jacobian, in two precisions."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.nn import bijections as b
from gen_jax.nn import elementwise
from gen_jax.nn.made import MADE
from gen_jax.nn.sequence import Head, Reader
from gen_jax.nn.transformer import Transformer


class Small(nn.Module):
    """A network for couplings that depends on all that it is given."""

    num_params: int

    @nn.compact
    def __call__(self, x, context):
        h = jnp.tanh(nn.Dense(7, dtype=x.dtype, param_dtype=x.dtype)(x.reshape(len(x), -1)))
        if context is not None:
            h += nn.Dense(7, dtype=x.dtype, param_dtype=x.dtype)(context)
        size = math.prod(x.shape[1:]) * self.num_params
        out = nn.Dense(size, dtype=x.dtype, param_dtype=x.dtype)(h)
        return out.reshape(*x.shape, self.num_params)


TRANSFORMS = {
    "additive": elementwise.Additive(),
    "affine": elementwise.Affine(),
    "spline": elementwise.Spline(5, 3.0),
    "logistic mixture": elementwise.LogisticMixture(3),
    "gate": elementwise.Gate(),
}
VECTOR, IMAGE, WIDE = (5,), (4, 6, 2), (2, 4, 3)


def coupling(mask, odd, transform):
    return b.Coupling(mask, odd, TRANSFORMS[transform], Small(TRANSFORMS[transform].num_params))


CASES = {
    **{
        f"{mask} {odd} {transform}": (coupling(mask, odd, transform), shape)
        for mask, shape in (("alternate", VECTOR), ("halves", WIDE), ("checker", (3, 5, 1)))
        for odd in (False, True)
        for transform in TRANSFORMS
    },
    "norm": (b.ActNorm(), IMAGE),
    "norm of vectors": (b.ActNorm(), VECTOR),
    "mixing": (b.Mixing(), WIDE),
    "mixing of vectors": (b.Mixing(), VECTOR),
    "reverse": (b.Reverse(), VECTOR),
    "reverse of rows": (b.Reverse(1), WIDE),
    "patches": (b.Patches(IMAGE, 2), IMAGE),
    "scale": (b.Scale(), IMAGE),
    "squeeze": (b.Squeeze(), IMAGE),
    "flatten": (b.Flatten(IMAGE), IMAGE),
    "factor out": (b.FactorOut(IMAGE, b.Flatten((4, 6, 1))), IMAGE),
    "stack": (b.Stack(b.Chain((b.ActNorm(), coupling("alternate", False, "affine"))), 3), VECTOR),
    "scales": (
        b.Chain(
            (
                coupling("checker", True, "spline"),
                b.Squeeze(),
                b.Stack(b.Chain((b.ActNorm(), b.Mixing(), coupling("halves", True, "affine"))), 2),
                b.FactorOut((2, 3, 8), b.Chain((b.Mixing(), b.Flatten((2, 3, 4))))),
            )
        ),
        IMAGE,
    ),
}


def moved(params, seed=0):
    """Off their start; what is fixed stays."""
    rng = np.random.default_rng(seed)

    def move(path, leaf):
        name = jax.tree_util.keystr(path)
        fixed = "permutation" in name or "sign" in name
        return leaf if fixed else leaf + 0.1 * rng.normal(size=leaf.shape).astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(move, params)


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    with jax.enable_x64(request.param == "float64"):
        yield request.param


def made(case, dtype, context=None):
    bijection, shape = CASES[case]
    x = jnp.asarray(np.random.default_rng(1).normal(size=(6, *shape)), dtype)
    params = moved(jax.jit(bijection.init)(jax.random.key(0), x, context))
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), params)
    return bijection, params, x


@pytest.mark.parametrize("case", CASES)
def test_the_inverse_undoes_it_and_the_determinant_is_autodiffs(case, dtype):
    bijection, params, x = made(case, dtype)
    y, log_det = jax.jit(bijection.forward)(params, x, None)
    again, back = jax.jit(bijection.inverse)(params, y, None)
    bound = 1e-4 if dtype == "float32" else 1e-10
    assert y.dtype == x.dtype == again.dtype
    np.testing.assert_allclose(again, x, atol=bound)
    np.testing.assert_allclose(back, -log_det, atol=10 * bound)

    def flat(one):
        return bijection.forward(params, one.reshape(x[:1].shape), None)[0].reshape(-1)

    jacobian = jax.jit(jax.vmap(jax.jacobian(flat)))(x.reshape(6, -1))
    np.testing.assert_allclose(jnp.linalg.slogdet(jacobian)[1], log_det, atol=10 * bound)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_a_masked_autoregressive_map_is_triangular(transform):
    own = TRANSFORMS[transform]
    bijection = b.MaskedAutoregressive(own, MADE(4, (9,), own.num_params, starts_at_zero=True))
    x = jnp.float32(np.random.default_rng(0).normal(size=(8, 4)))
    context = jnp.float32(np.random.default_rng(1).normal(size=(8, 3)))
    params = jax.jit(bijection.init)(jax.random.key(0), x, context)
    forward, inverse = jax.jit(bijection.forward), jax.jit(bijection.inverse)
    same, _ = forward(params, x, context)
    zeros = jnp.zeros((*x.shape, own.num_params))
    np.testing.assert_allclose(same, own.forward(x, zeros)[0], atol=1e-5)  # at first
    params = moved(params)
    y, log_det = forward(params, x, context)
    again, back = inverse(params, y, context)
    np.testing.assert_allclose(again, x, atol=1e-4)
    np.testing.assert_allclose(back, -log_det, atol=1e-3)
    slopes = jax.jacobian(lambda one, own: bijection.forward(params, one[None], own[None])[0][0])
    jacobian = jax.jit(jax.vmap(slopes))(x, context)
    assert (np.triu(jacobian, 1) == 0).all()
    np.testing.assert_allclose(jnp.linalg.slogdet(jacobian)[1], log_det, atol=1e-4)
    assert np.abs(forward(params, x, context + 1)[0] - y).max() > 1e-3


@pytest.mark.parametrize("case", ["alternate False spline", "checker True affine"])
def test_the_condition_changes_a_coupling(case):
    context = jnp.ones((6, 2))
    bijection, params, x = made(case, "float32", context)
    forward = jax.jit(bijection.forward)
    first, _ = forward(params, x, context)
    other, _ = forward(params, x, 2 * context)
    assert np.abs(first - other).max() > 1e-3
    again, _ = jax.jit(bijection.inverse)(params, first, context)
    np.testing.assert_allclose(again, x, atol=1e-4)


def test_splines_are_finite_everywhere_and_at_their_knots():
    spline = elementwise.Spline(4, 2.0)
    params = jnp.float32(np.random.default_rng(0).normal(size=spline.num_params))
    knots = spline._knots(params[:4])
    x = jnp.concatenate([knots, jnp.float32([-1e6, -2, 2, 1e6, 0, 1.9999999])])
    each = jnp.broadcast_to(params, (len(x), len(params)))

    for function in (spline.forward, spline.inverse):
        slopes = jax.jit(jax.vmap(jax.jacobian(function, (0, 1))))(x, each)
        for value, slope in zip(jax.jit(function)(x, each), slopes, strict=True):
            assert np.isfinite(value).all()
            assert all(np.isfinite(part).all() for part in slope)
    y, log_slope = jax.jit(spline.forward)(x, each)
    outside = np.abs(x) > 2
    np.testing.assert_array_equal(y[outside], x[outside])
    np.testing.assert_array_equal(log_slope[outside], 0)
    # It goes through its knots, and rises.
    np.testing.assert_allclose(y[:5], spline._knots(params[4:8]), atol=1e-5)
    line = jnp.linspace(-3, 3, 500)
    y, _ = spline.forward(line, jnp.broadcast_to(params, (500, len(params))))
    assert (jnp.diff(y) > 0).all()


@pytest.mark.parametrize("name", TRANSFORMS)
def test_with_parameters_of_0_a_number_stays_or_nearly_so(name):
    x = jnp.linspace(-4, 4, 41)
    own = TRANSFORMS[name]
    y, log_slope = jax.jit(own.forward)(x, jnp.zeros((41, own.num_params)))
    bound = {"logistic mixture": 0.3, "gate": 0.5}.get(name, 1e-5)
    np.testing.assert_allclose(y, x, atol=bound)
    np.testing.assert_allclose(log_slope, 0, atol=bound)


def test_a_mixture_of_logistics_is_numpys():
    rng = np.random.default_rng(0)
    own, params = elementwise.LogisticMixture(3), rng.normal(size=(7, 11))
    x = np.linspace(-3, 3, 7)
    limited = [3 * np.tanh(part / 3) for part in (params[:, 1], params[:, 8:])]
    weights = np.exp(params[:, 2:5]) / np.exp(params[:, 2:5]).sum(1, keepdims=True)
    z = (x[:, None] - params[:, 5:8] - np.array([-1, 0, 1])) / np.exp(limited[1])
    share = (weights / (1 + np.exp(-z))).sum(1)
    wanted = np.log(share / (1 - share)) * np.exp(limited[0]) + params[:, 0]
    forward = jax.jit(own.forward)
    y, log_slope = forward(jnp.float32(x), jnp.float32(params))
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-4)
    slope = jax.jit(jax.vmap(jax.grad(lambda x, p: own.forward(x, p)[0])))(
        jnp.float32(x), jnp.float32(params)
    )
    np.testing.assert_allclose(log_slope, np.log(slope), rtol=1e-4, atol=1e-4)
    far = jnp.float32([-80, -20, 20, 80])  # where F is 0 or 1 in float32
    y, log_slope = forward(far, jnp.float32(params[:4]))
    assert np.isfinite(y).all() and np.isfinite(log_slope).all()
    again, _ = jax.jit(own.inverse)(y, jnp.float32(params[:4]))
    np.testing.assert_allclose(again, far, rtol=1e-4)


@pytest.mark.parametrize("given", [False, True])
def test_a_transformer_of_patches_is_triangular_and_remembers(given):
    own = elementwise.Affine()
    network = Transformer(
        (2,), Reader(8, 0, (2, 2)), Head((2,), 2, starts_at_zero=True), 1, 2, window=4
    )
    bijection = b.MaskedAutoregressive(own, network)
    rng = np.random.default_rng(0)
    x = jnp.float32(rng.normal(size=(3, 4, 2)))
    context = jnp.float32(rng.normal(size=(3, 5))) if given else None
    params = jax.jit(bijection.init)(jax.random.key(0), x, context)
    forward = jax.jit(bijection.forward)
    same, log_det = forward(params, x, context)
    np.testing.assert_allclose(same, x, atol=1e-6)  # at first
    np.testing.assert_allclose(log_det, 0, atol=1e-6)
    params = moved(params)
    y, log_det = forward(params, x, context)
    again, back = jax.jit(bijection.inverse)(params, y, context)
    np.testing.assert_allclose(again, x, atol=1e-4)
    np.testing.assert_allclose(back, -log_det, atol=1e-4)
    if given:
        assert np.abs(forward(params, x, context + 1)[0] - y).max() > 1e-3

    def flat(one):
        own_context = None if context is None else context[:1]
        return bijection.forward(params, one.reshape(1, 4, 2), own_context)[0].reshape(-1)

    jacobian = np.asarray(jax.jit(jax.jacobian(flat))(x[0].reshape(-1)))
    later = np.arange(8) // 2
    assert (jacobian[later[:, None] < later] == 0).all()
    earlier = jacobian[later[:, None] > later]
    assert (earlier != 0).all()
    np.testing.assert_allclose(np.linalg.slogdet(jacobian)[1], log_det[0], atol=1e-4)


def test_patches_are_squares_row_by_row():
    image = jnp.arange(16.0).reshape(1, 4, 4, 1)
    rows, _ = b.Patches((4, 4, 1), 2).forward({}, image, None)
    expected = [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    np.testing.assert_array_equal(rows[0], expected)


def test_the_first_examples_have_mean_0_and_variance_1():
    x = jnp.float32(3 + 2 * np.random.default_rng(0).normal(size=(200, 4, 4, 3)))
    params = b.ActNorm().init(jax.random.key(0), x, None)
    y, _ = b.ActNorm().forward(params, x, None)
    np.testing.assert_allclose(y.mean((0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(y.std((0, 1, 2)), 1, atol=1e-2)
    # Of a stack each layer is set by what the one before makes of them.
    stack = b.Stack(b.Chain((b.ActNorm(), b.Mixing())), 3)
    params = jax.jit(stack.init)(jax.random.key(0), x, None)
    y, _ = stack.forward(params, x, None)
    np.testing.assert_allclose(y.mean((0, 1, 2)), 0, atol=1e-3)


def test_the_logit_has_the_papers_form():
    x = jnp.float32(np.random.default_rng(0).uniform(size=(5, 3)))
    logit = b.Logit(0.05)
    y, log_det = logit.forward({}, x, None)
    part = 0.05 + 0.9 * x
    np.testing.assert_allclose(y, np.log(part / (1 - part)), rtol=1e-5)
    slope = np.log(0.9 / (part * (1 - part))).sum(1)
    np.testing.assert_allclose(log_det, slope, rtol=1e-5)
    again, back = logit.inverse({}, y, None)
    np.testing.assert_allclose(again, x, atol=1e-6)
    np.testing.assert_allclose(back, -log_det, rtol=1e-4)


def test_forty_layers_compile_about_as_fast_as_four():
    """By the size of the program, which is what compilation takes its time by."""

    def size(count):
        stack = b.Stack(coupling("alternate", False, "affine"), count)
        x = jnp.ones((4, 6))
        params = stack.init(jax.random.key(0), x, None)
        return len(jax.jit(stack.forward).lower(params, x, None).as_text())

    assert size(40) < 1.1 * size(4)


def test_an_autoregressive_inverse_of_steep_maps_stays_finite():
    """Numbers that are not final yet, which may be as large as can be, do no harm."""
    transform = elementwise.Affine(3.0)
    steep = b.MaskedAutoregressive(transform, MADE(60, (64,), 2))
    z = jnp.float32(np.random.default_rng(0).normal(size=(8, 60)))
    params = jax.jit(steep.init)(jax.random.key(0), z, None)
    params = jax.tree.map(lambda leaf: 8 * leaf, params)
    x, _ = jax.jit(steep.inverse)(params, z, None)
    # Whatever it was, the first ones are right: those after them are none of their business.
    assert np.isfinite(x[:, :20]).all()
    again, _ = jax.jit(steep.forward)(params, jnp.where(jnp.isfinite(x), x, 0), None)
    np.testing.assert_allclose(again[:, :5], z[:, :5], rtol=1e-3, atol=1e-3)
