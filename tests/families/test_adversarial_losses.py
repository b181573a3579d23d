"""Every loss by numpy, in both players' values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.families.adversarial import LOSSES

REAL = np.array([0.3, -1.2, 2.5, 1.4, -0.1])
FAKE = np.array([-0.7, 0.4, 3.1, -2.2, 0.9])


def sigmoid(t):
    return 1 / (1 + np.exp(-t))


def log_d(t):
    """log D with D = sigmoid(logit)."""
    return np.log(sigmoid(t))


BY_HAND = {
    "non_saturating": lambda r, f: (-(log_d(r) + np.log(1 - sigmoid(f))).mean(), -log_d(f).mean()),
    "minimax": lambda r, f: (
        -(log_d(r) + np.log(1 - sigmoid(f))).mean(),
        np.log(1 - sigmoid(f)).mean(),
    ),
    "least_squares": lambda r, f: (
        ((r - 1) ** 2 + f**2).mean() / 2,
        ((f - 1) ** 2).mean() / 2,
    ),
    "hinge": lambda r, f: (
        (np.maximum(0, 1 - r) + np.maximum(0, 1 + f)).mean(),
        -f.mean(),
    ),
    "wasserstein": lambda r, f: (f.mean() - r.mean(), -f.mean()),
    "relativistic": lambda r, f: (-log_d(r - f).mean(), -log_d(f - r).mean()),
}


@pytest.mark.parametrize("name", LOSSES)
def test_values(name):
    found = LOSSES[name](jnp.float32(REAL), jnp.float32(FAKE))
    np.testing.assert_allclose(found, BY_HAND[name](REAL, FAKE), rtol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("player", [0, 1])
def test_gradients_by_differences(name, player):
    grads = jax.grad(lambda r, f: LOSSES[name](r, f)[player], (0, 1))(
        jnp.float32(REAL), jnp.float32(FAKE)
    )
    for side in (0, 1):
        for i in range(len(REAL)):
            up, down = [REAL.copy(), FAKE.copy()], [REAL.copy(), FAKE.copy()]
            up[side][i] += 1e-6
            down[side][i] -= 1e-6
            slope = (BY_HAND[name](*up)[player] - BY_HAND[name](*down)[player]) / 2e-6
            np.testing.assert_allclose(grads[side][i], slope, atol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_the_players_pull_fakes_in_opposite_directions(name):
    real, fake = jnp.array([0.9, 0.8]), jnp.array([0.1, 0.3])
    of_discriminator, of_generator = (
        jax.grad(lambda f, p=player: LOSSES[name](real, f)[p])(fake) for player in (0, 1)
    )
    assert (of_discriminator > 0).all() and (of_generator < 0).all()


def test_large_logits_stay_finite():
    for loss in LOSSES.values():
        assert np.isfinite(loss(jnp.array([500.0, -500.0]), jnp.array([-500.0, 500.0]))).all()
