"""The rule for ODEs against known solutions, and continuous bijections against autodiff."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg
from test_bijections import Small  # of this folder

from gen_jax.nn import bijections as b
from gen_jax.nn import ode

RNG = np.random.default_rng(0)


def test_linear_equations_have_the_exponential_of_their_matrix():
    matrix = RNG.normal(size=(3, 3))
    x = RNG.normal(size=(4, 3))
    slope = lambda time, state: (state[0] @ jnp.float32(matrix).T,)  # noqa: E731
    (found,) = ode.runge_kutta(slope, (jnp.float32(x),), 0.5, 1.5, 30)
    np.testing.assert_allclose(found, x @ linalg.expm(matrix).T, rtol=1e-3, atol=1e-4)
    (back,) = ode.runge_kutta(slope, (found,), 1.5, 0.5, 30)
    np.testing.assert_allclose(back, x, atol=1e-4)


def test_the_error_falls_with_the_fourth_power_of_the_steps():
    with jax.enable_x64(True):
        slope = lambda time, state: (time * state[0],)  # noqa: E731
        exact = np.exp(0.5)
        errors = [
            abs(float(ode.runge_kutta(slope, (jnp.float64(1),), 0.0, 1.0, n)[0]) - exact)
            for n in (4, 8)
        ]
    assert errors[0] / errors[1] == pytest.approx(16, rel=0.15)


@pytest.mark.parametrize("given", [False, True])
def test_a_continuous_bijection_has_its_inverse_and_its_determinant(given):
    with jax.enable_x64(True):
        flow = b.Continuous(Small(1), 20)
        x = jnp.float64(RNG.normal(size=(5, 3)))
        context = jnp.float64(RNG.normal(size=(5, 2))) if given else None
        params = flow.init(jax.random.key(0), x, context)
        y, log_det = flow.forward(params, x, context)
        assert np.abs(y - x).max() > 0.05
        back, of_inverse = flow.inverse(params, y, context)
        np.testing.assert_allclose(back, x, atol=1e-6)
        np.testing.assert_allclose(of_inverse, -log_det, atol=1e-6)
        for i in range(5):
            own = None if context is None else context[i : i + 1]
            one = lambda v, own=own: flow.forward(params, v[None], own)[0][0]  # noqa: E731
            jacobian = jax.jacfwd(one)(x[i])
            # The rule's own Jacobian is that of the ODE but for the error of its steps.
            expected = np.linalg.slogdet(np.asarray(jacobian))[1]
            assert float(log_det[i]) == pytest.approx(expected, abs=1e-5)
        if given:
            other, _ = flow.forward(params, x, context + 1)
            assert np.abs(other - y).max() > 1e-3
