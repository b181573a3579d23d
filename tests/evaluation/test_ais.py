"""AIS between the prior and the posterior of a linear Gaussian model, where all is known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from scipy import stats

from gen_jax import evaluation, families, keys
from gen_jax.data.examples import ArrayExamples
from gen_jax.data.sources import Dataset
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.evaluation import Context, Subject, ais

RNG = np.random.default_rng(0)
WEIGHTS, SIGMA = RNG.normal(size=(2, 5)), 0.4
COV = WEIGHTS.T @ WEIGHTS + SIGMA**2 * np.eye(5)
NUM = 60


def settings(steps):
    return ConfigDict({"batch_size": NUM, "num_examples": 0, "ais_steps": steps})


@pytest.fixture(scope="module")
def linear():
    spec = DataSpec("real", (5,))
    model = families.default_model("vae")
    model.update(hidden=(), latent_dim=2, likelihood="gaussian", sigma=SIGMA)
    family = families.build("vae", model, spec)
    params, extra = family.init(
        jax.random.key(0), {"x": jnp.zeros((1, 5)), "label": jnp.zeros(1, jnp.int32)}
    )
    params["vae"]["decoder"]["output"] = {"kernel": jnp.float32(WEIGHTS), "bias": jnp.zeros(5)}
    x = stats.multivariate_normal(np.zeros(5), COV).rvs(NUM, random_state=0).astype(np.float32)
    dataset = Dataset(
        "given", spec, {"test": ArrayExamples("test", {"x": x, "label": np.zeros(NUM, np.int32)})}
    )
    return Subject(family, spec, params, extra), dataset, x


def test_temperatures_rise_from_zero_to_one():
    betas = np.asarray(ais.temperatures(20))
    assert betas[0] == 0 and betas[-1] == 1 and (np.diff(betas) > 0).all()


def test_more_temperatures_close_in_on_the_exact_likelihood(linear):
    subject, dataset, x = linear
    exact = -stats.multivariate_normal(np.zeros(5), COV).logpdf(x).mean()
    figures = [
        evaluation.evaluate(Context(subject, dataset, "test", settings(steps)), ["ais"])["nll_ais"]
        for steps in (10, 100, 1_000)
    ]
    # Chains that adapt their steps give no bound.
    assert {figure.kind for figure in figures} == {"estimate"}
    found = [figure.value for figure in figures]
    assert found[0] > found[1] > found[2] - 0.02
    assert found[2] == pytest.approx(exact, abs=0.05)


def test_bounds_count_the_volume_of_dequantised_data(linear):
    subject, dataset, _ = linear
    spec = DataSpec("real", (5,), levels=4)
    figures = [
        evaluation.evaluate(Context(each, dataset, "test", settings(20)), ["bdmc", "ais"])
        for each in (subject, dataclasses.replace(subject, spec=spec))
    ]
    for name in ("nll_ais", "bdmc_upper", "bdmc_lower"):
        plain, counted = (figure[name].value for figure in figures)
        # The data are prepared otherwise too, which `bdmc` does not see: it draws its own.
        if name != "nll_ais":
            assert counted == pytest.approx(plain + 5 * np.log(4), rel=1e-5)
    assert figures[0]["bdmc_gap"].value == pytest.approx(figures[1]["bdmc_gap"].value, rel=1e-4)
    assert figures[1]["nll_ais"].spec["x"] == "real:4"


def test_weights_are_the_path_of_the_likelihood():
    """From p(z) to p(z) p(x|z)^beta the weights are products of p(x|z)^(step of beta)."""
    each = keys.per_example(keys.stream(0, "test"), jnp.arange(5))
    start = jnp.float32(RNG.normal(size=(3, 5, 2)))
    betas = np.array([0.0, 0.1, 0.15, 0.4, 2.0])

    def log_prior(z):
        return -0.5 * jnp.square(z).sum(-1)

    def log_likelihood(z):
        return -jnp.square(z - 1).sum(-1)

    path = jax.jit(lambda z: ais.anneal(log_prior, log_likelihood, z, each, betas))(start)
    assert path.log_w.shape == path.log_likelihood.shape == (5, 3, 5)
    np.testing.assert_allclose(path.log_likelihood[0], log_likelihood(start), rtol=1e-5)
    assert (path.log_w[0] == 0).all()
    grown = np.cumsum(np.diff(betas)[:, None, None] * path.log_likelihood[:-1], 0)
    np.testing.assert_allclose(path.log_w[1:], grown, rtol=1e-4)
    assert np.abs(np.diff(path.log_likelihood, axis=0)).max() > 0.1  # the chains do move


def test_the_two_sides_hold_the_truth_between_them(linear):
    subject, dataset, _ = linear
    gaps = []
    for steps in (30, 1_500):
        figures = evaluation.evaluate(Context(subject, dataset, "test", settings(steps)), ["bdmc"])
        assert figures["bdmc_lower"].value < figures["bdmc_upper"].value + 0.02
        gaps.append(figures["bdmc_gap"].value)
    assert gaps[1] < gaps[0] and gaps[1] < 0.1
    # The mean over the model's own data is its entropy.
    entropy = stats.multivariate_normal(np.zeros(5), COV).entropy()
    spread = 4 * figures["bdmc_upper"].stderr + 0.05
    assert figures["bdmc_lower"].value - spread < entropy < figures["bdmc_upper"].value + spread


def test_hamiltonian_moves_keep_their_target():
    """Chains that start in a correlated Gaussian stay in it."""
    cov = np.array([[1.0, 0.6], [0.6, 1.0]])
    precision = jnp.float32(np.linalg.inv(cov))
    z = jnp.float32(RNG.multivariate_normal(np.zeros(2), cov, (1, 20_000)))
    each = keys.per_example(keys.stream(0, "test"), jnp.arange(20_000))

    def log_density(z):
        return -0.5 * jnp.einsum("kbi,ij,kbj->kb", z, precision, z)

    moved, accepted = jax.jit(
        lambda z: ais._hamiltonian(log_density, z, jnp.full((1, 20_000), 0.6), each)
    )(z)
    assert 0.3 < accepted.mean() < 1.0
    assert abs(np.corrcoef(z[0, :, 0], moved[0, :, 0])[0, 1]) < 0.95  # they do move
    np.testing.assert_allclose(np.cov(np.asarray(moved[0]).T), cov, atol=0.04)


def test_several_layers_are_refused():
    spec = DataSpec("real", (5,))
    model = families.default_model("vae")
    model.update(hidden=(), likelihood="gaussian", upper_latent_dims=(2,))
    family = families.build("vae", model, spec)
    with pytest.raises(UserError, match="this model has 2; leave out these metrics"):
        family.prior_samples({}, {}, {}, None, 3)
    with pytest.raises(UserError, match="rate_distortion and amortization move one layer"):
        family.log_prior({}, {}, {}, None)
