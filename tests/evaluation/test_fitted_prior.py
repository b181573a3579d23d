"""A mixture fitted to latents, whose shape is known: a planted mixture behind a linear map."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from gen_jax import families
from gen_jax import keys as keys_lib
from gen_jax.data.examples import ArrayExamples
from gen_jax.data.sources import Dataset
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.evaluation import Subject, fitted_prior
from gen_jax.families.base import Autoencoder, Discriminative, Sampler
from gen_jax.likelihoods import DiagonalGaussian

RNG = np.random.default_rng(0)
DIMS = 5
SETTINGS = ConfigDict({"batch_size": 500, "num_examples": 7, "fitted_components": 2})
COVARIANCE = np.array([[1.0, 0.7], [0.7, 1.0]])
CENTERS = np.array([[-6.0, 1.0], [5.0, -2.0]])


@dataclasses.dataclass(frozen=True)
class Identity:
    """x is its own code, but for noise; decoding adds the label."""

    noise: float = 0.0
    latent_dim: int = DIMS
    given: tuple = ()

    def encode(self, params, extra, batch):
        mean = batch["x"]
        return DiagonalGaussian(mean, jnp.full_like(mean, 2 * np.log(self.noise or 0.0 + 1e-30)))

    def sample_posterior(self, params, extra, batch, keys):
        noise = keys_lib.normal(keys, (DIMS,))
        return batch["x"] + self.noise * noise

    def decode(self, params, extra, z, condition):
        return z + condition["label"][:, None]


@pytest.fixture(scope="module")
def planted():
    which = RNG.random(4_000) < 0.25
    plane = RNG.multivariate_normal([0, 0], COVARIANCE, 4_000) + CENTERS[which.astype(int)]
    basis = np.linalg.qr(RNG.normal(size=(DIMS, 2)))[0].T
    x = np.float32(plane @ basis + 10)
    examples = ArrayExamples("train", {"x": x, "label": np.zeros(len(x), np.int32)})
    return Dataset("planted", DataSpec("real", (DIMS,)), {"train": examples}), basis


def labelled(num, label=0):
    return {"label": np.full(num, label, np.int32)}


SAMPLING = {"temperature": 1.0}


def fit(dataset, family):
    return fitted_prior.fit(Subject(family, dataset.spec, {}, {}, SAMPLING), dataset, SETTINGS)


def test_samples_have_the_moments_of_the_data(planted):
    dataset, basis = planted
    subject = fit(dataset, Identity())
    x = subject.sample(20_000, labelled(20_000))
    plane = (x - 10) @ basis.T
    np.testing.assert_allclose(x, plane @ basis + 10, atol=0.2)
    second = plane[:, 0] > 0
    assert second.mean() == pytest.approx(0.25, abs=0.03)
    for chosen, center in ((~second, CENTERS[0]), (second, CENTERS[1])):
        np.testing.assert_allclose(plane[chosen].mean(0), center, atol=0.15)
        np.testing.assert_allclose(np.cov(plane[chosen].T), COVARIANCE, atol=0.15)
    again = subject.sample(5, labelled(5))
    np.testing.assert_array_equal(again, fit(dataset, Identity()).sample(5, labelled(5)))
    cold = subject.sample(50, labelled(50), options={"temperature": 0.0})
    assert len(np.unique(cold.round(3), axis=0)) == 2


def test_it_is_fitted_to_draws_of_the_posterior(planted):
    dataset, basis = planted
    x = fit(dataset, Identity(noise=2.0)).sample(20_000, labelled(20_000))
    null = np.linalg.svd(basis)[2][2:]
    np.testing.assert_allclose((x @ null.T).std(0), 2, rtol=0.05)


def test_the_label_reaches_the_decoder_and_all_else_is_the_models_own(planted):
    subject = fit(planted[0], Identity())
    zero, one = (subject.sample(3, labelled(3, label)) for label in (0, 1))
    np.testing.assert_allclose(one, zero + 1, rtol=1e-5)
    assert subject.family.latent_dim == DIMS and subject.given == ()
    x = jnp.ones((2, DIMS))
    np.testing.assert_array_equal(subject.encode({"x": x, "label": None}).mean, x)


def test_it_has_the_abilities_of_its_family(planted):
    fitted = fit(planted[0], Identity()).family
    assert families.has(fitted, Autoencoder) and families.has(fitted, Sampler)
    assert not families.has(Identity(), Sampler) and not families.has(fitted, Discriminative)


def test_each_label_has_a_mixture_of_its_own(planted):
    """Of the label 1 fewer than there are components, and those alone on one side."""
    examples = planted[0].splits["train"]
    x = examples.gather(np.arange(len(examples)))["x"]
    away = np.float32(100 + RNG.normal(size=(3, DIMS)))
    label = np.repeat([0, 1], [len(x), 3]).astype(np.int32)
    both = ArrayExamples("train", {"x": np.concatenate([x, away]), "label": label})
    dataset = Dataset("planted", planted[0].spec, {"train": both})
    settings = ConfigDict({**SETTINGS, "fitted_components": 5})
    by_label = Identity(given=("label",))

    def with_classes(num):
        spec = dataclasses.replace(dataset.spec, num_classes=num)
        return Subject(by_label, spec, {}, {}, SAMPLING)

    subject = fitted_prior.fit(with_classes(2), dataset, settings)
    # `decode` adds the label.
    zero, one = (subject.sample(500, labelled(500, label)) - label for label in (0, 1))
    np.testing.assert_allclose(zero.mean(0), x.mean(0), atol=0.6)
    assert zero.max() < 50 and np.isfinite(one).all()
    np.testing.assert_allclose(one.mean(0), away.mean(0), atol=0.5)
    with pytest.raises(UserError, match="of the label 2 there are 0 examples"):
        fitted_prior.fit(with_classes(3), dataset, settings)


def test_data_that_are_sorted_by_class_lose_none(monkeypatch):
    """Fewer examples than there are: those of a fixed seed and not the first."""
    monkeypatch.setattr(fitted_prior, "EXAMPLES", 200)
    label = np.repeat(np.arange(4, dtype=np.int32), 100)
    x = np.float32(10 * label[:, None] + 0.1 * RNG.normal(size=(400, DIMS)))
    examples = ArrayExamples("train", {"x": x, "label": label})
    dataset = Dataset("sorted", DataSpec("real", (DIMS,)), {"train": examples})
    settings = ConfigDict({**SETTINGS, "fitted_components": 4})
    subject = Subject(Identity(), dataset.spec, {}, {}, SAMPLING)
    samples = fitted_prior.fit(subject, dataset, settings).sample(400, labelled(400))
    shares = np.bincount(np.round(samples.mean(1) / 10).astype(int), minlength=4) / 400
    np.testing.assert_allclose(shares, 0.25, atol=0.12)


def test_a_model_without_latents_is_refused(planted):
    with pytest.raises(UserError, match="fitted_components needs decode and encode and sample_p"):
        fitted_prior.fit(Subject(object(), planted[0].spec, {}, {}), planted[0], SETTINGS)
