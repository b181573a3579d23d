"""Gaps of inference in a linear Gaussian model, where the best diagonal Gaussian is known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear import DIM, SIGMA, posterior
from ml_collections import ConfigDict

from gen_jax import evaluation, families
from gen_jax.data.examples import choose
from gen_jax.data.sources import Dataset
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.evaluation import Context, Subject, amortization
from gen_jax.families.base import LogWeights

NUM = 40
ROWS = np.sort(choose(301, NUM))


def settings(**changes):
    values = {"batch_size": 16, "num_examples": NUM}  # ragged: 16 + 16 + 8
    return ConfigDict(values | {"amortization_steps": 400, "importance_samples": 20_000} | changes)


@pytest.fixture(scope="module")
def coarse(linear):
    """The linear model with an encoder that is off, by more for some examples than for others."""
    subject, examples, exact = linear
    was = subject.params["vae"]["posterior"]
    off = {"kernel": was["kernel"] * 0.8, "bias": was["bias"] + jnp.array([0.2] * 3 + [0.3] * 3)}
    params = {"vae": subject.params["vae"] | {"posterior": off}}
    return dataclasses.replace(subject, params=params), examples, exact[ROWS]


def divergence(mean, variance, target, precision):
    """KL(N(mean, diag variance) || N(target, inverse precision)): means [N, L] -> [N]."""
    away = target - mean
    trace = (variance * np.diag(precision)).sum(-1)
    mahalanobis = np.einsum("ni,ij,nj->n", away, precision, away)
    log_dets = np.linalg.slogdet(precision)[1] + np.log(variance).sum(-1)
    return 0.5 * (trace + mahalanobis - mean.shape[1] - log_dets)


@pytest.fixture(scope="module")
def known(coarse):
    """The best Gaussian has the posterior's mean and the variances 1 / diag(precision)."""
    subject, examples, _ = coarse
    batch = {k: jnp.asarray(v[ROWS]) for k, v in examples.arrays.items()}
    q = jax.tree.map(np.float64, subject.family.encode(subject.params, subject.extra, batch))
    target, precision = posterior(subject, np.asarray(batch["x"]))
    own = divergence(q.mean, np.exp(q.log_variance), target, precision)
    best = divergence(target, 1 / np.diag(precision), target, precision)
    return {"amortization_gap": own - best, "approximation_gap": best}


def test_gaps_of_every_example(coarse, known):
    subject, examples, _ = coarse
    found = amortization.gaps(subject, examples, settings())
    assert known["amortization_gap"].std() > 0.2 and known["approximation_gap"].min() > 0.05
    for name, expected in known.items():
        assert found[name].shape == (NUM,)
        np.testing.assert_allclose(found[name], expected, atol=0.1, err_msg=name)
        assert found[name].mean() == pytest.approx(expected.mean(), abs=0.01), name


def test_figures_and_what_they_depend_on(coarse, known):
    subject, examples, _ = coarse
    dataset = Dataset("given", subject.spec, {"test": examples})
    few = settings(importance_samples=64, amortization_steps=30)
    found = evaluation.evaluate(Context(subject, dataset, "test", few), ["amortization"])
    gap = found["amortization_gap"]
    assert gap.to_json("amortization_gap")["spec"] == (
        "amortization_gap[data=test:40, x=real, steps=30, samples_per_step=10, "
        "importance_samples=64]"
    )
    assert (gap.unit, gap.kind, gap.n) == ("nats", "estimate", NUM)
    values = amortization.gaps(subject, examples, few)["amortization_gap"]
    assert gap.value == pytest.approx(values.mean(), rel=1e-5)
    assert gap.stderr == pytest.approx(values.std(ddof=1) / NUM**0.5, rel=1e-5)
    # Fewer steps find less of it, and none find nothing: then q* is q, and so is its noise.
    assert gap.value < known["amortization_gap"].mean()
    other = settings(importance_samples=64, amortization_steps=0, batch_size=40)
    none = amortization.gaps(subject, examples, other)["amortization_gap"]
    np.testing.assert_allclose(none, 0, atol=1e-4)


@dataclasses.dataclass(frozen=True)
class KnowsThePosterior:
    """The linear model with an encoder whose log weights are log p(x), whatever the noise."""

    family: object

    def __getattr__(self, name):
        return getattr(self.family, name)

    def log_weights(self, params, extra, batch, keys, num):
        weights, bias = (params["vae"]["decoder"]["output"][n] for n in ("kernel", "bias"))
        cov = weights.T @ weights + SIGMA**2 * jnp.eye(DIM)
        log_p = jax.scipy.stats.multivariate_normal.logpdf(batch["x"], bias, cov)
        log_p = jnp.broadcast_to(log_p, (num, len(log_p)))
        return LogWeights(log_p, jnp.zeros((1, *log_p.shape)))


def test_the_models_own_posterior_may_be_the_better_one(coarse, known):
    """As behind a flow. The bound by one draw of the best Gaussian is its ELBO, a gap of 0."""
    subject, examples, _ = coarse
    one = settings(importance_samples=1, num_examples=0)
    own = dataclasses.replace(subject, family=KnowsThePosterior(subject.family))
    found = amortization.gaps(own, examples, one)["approximation_gap"].mean()
    assert found == pytest.approx(known["approximation_gap"].mean(), abs=0.025)
    loose = amortization.gaps(subject, examples, one)["approximation_gap"]
    np.testing.assert_allclose(loose, 0, atol=1e-5)


def test_models_that_have_no_such_gap_are_refused(linear):
    _, examples, _ = linear
    model = families.default_model("vae")
    model.update(hidden=(), likelihood="gaussian", autoencoder=True)
    plain = families.build("vae", model, DataSpec("real", (6,)))
    with pytest.raises(UserError, match=r"amortization needs .*PlainAutoencoder lacks"):
        dataset = Dataset("given", plain.spec, {"test": examples})
        amortization.amortization(
            Context(Subject(plain, plain.spec, {}, {}), dataset, "test", settings())
        )
