"""Directions of attributes, of latents whose meaning is known."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from gen_jax.data.examples import ArrayExamples
from gen_jax.data.sources import Dataset
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.evaluation import Context, Subject, attributes, features, morphometry
from gen_jax.likelihoods import DiagonalGaussian

RNG = np.random.default_rng(0)
SPEC = DataSpec("bytes", (8, 8, 1), 256)


def test_directions_are_those_of_linear_algebra():
    """Of latents that go together, where the attribute is one of them."""
    mix = np.array([[1.0, 0.8, 0.0], [0.0, 0.6, 0.0], [0.0, 0.0, 2.0]])
    z = RNG.normal(size=(200_000, 3)) @ mix
    values = 3 * z[:, 0] + 7
    means = attributes.fit(z, values, "means")
    assert means.deviation == pytest.approx(3, rel=0.01)
    # E[z | first] has the slope Cov(z, first) / Var(first): the second goes along.
    np.testing.assert_allclose(means.step, [1, 0.8, 0], atol=0.02)
    regression = attributes.fit(z, values, "regression")
    np.testing.assert_allclose(regression.step, [1, 0, 0], atol=0.02)


def test_a_step_is_not_along_latents_that_are_not_used():
    """Those of a VAE that hardly vary, of which a regression would have large weights by chance."""
    rng = np.random.default_rng(0)
    used, unused = rng.normal(size=(2_000, 2)), 1e-2 * rng.normal(size=(2_000, 30))
    values = 3 * used[:, 0] + rng.normal(size=2_000)
    direction = attributes.fit(np.concatenate([used, unused], 1), values, "regression")
    # One standard deviation of the values, sqrt(10), is that of the first latent times 1.05.
    np.testing.assert_allclose(direction.step[:2], [10**0.5 / 3, 0], atol=0.05)
    assert np.abs(direction.step[2:]).max() < 1e-2


def test_the_direction_of_a_label_is_between_its_means():
    z = RNG.normal(size=(100_000, 2))
    label = RNG.random(100_000) < 0.5
    z[label] += [2.0, -1.0]
    found = attributes.fit(z, label, "means")
    # One standard deviation of a fair coin is half of the way.
    np.testing.assert_allclose(found.step / found.deviation, [2, -1], atol=0.03)


@pytest.mark.parametrize(
    ("values", "method", "told"),
    [
        (np.ones(5), "means", "no direction"),
        (np.arange(5), "guess", "valid are: means, regression"),
    ],
)
def test_no_direction_without_change(values, method, told):
    with pytest.raises(UserError, match=told):
        attributes.fit(RNG.normal(size=(5, 2)), values, method)


@dataclasses.dataclass(frozen=True)
class Bars:
    """z = (how bright, how many rows) of a bar, and the bar."""

    spec = SPEC
    given = ()
    latent_dim = 2

    def encode(self, params, extra, batch):
        x = batch["x"][..., 0]
        bright = x.max((1, 2))
        rows = x.sum((1, 2)) / (jnp.maximum(bright, 1) * 8)
        mean = jnp.stack([bright / 100, rows], 1)
        return DiagonalGaussian(mean, jnp.zeros_like(mean))

    def sample_posterior(self, params, extra, batch, keys):
        return self.encode(params, extra, batch).mean

    def decode(self, params, extra, z, condition):
        part = jnp.clip(z[:, 1, None] - jnp.arange(8), 0, 1)  # of each row
        return (
            jnp.clip(100 * z[:, :1], 0, 255)[:, :, None, None]
            * part[..., None, None]
            * jnp.ones((1, 1, 8, 1))
        )


def test_a_step_changes_an_attribute_as_asked(monkeypatch):
    bright, rows = RNG.integers(60, 140, 800), RNG.integers(2, 6, 800)
    x = bright[:, None, None, None] * (np.arange(8)[:, None, None] < rows[:, None, None, None])
    x = np.uint8(np.broadcast_to(x, (800, 8, 8, 1)))
    splits = {
        "train": ArrayExamples("train", {"x": x[:600]}),
        "test": ArrayExamples("test", {"x": x[600:]}),
    }
    settings = ConfigDict(
        {"num_examples": 0, "batch_size": 100, "edited": 150, "direction": "means"}
    )
    context = Context(
        Subject(Bars(), SPEC, {"bars": jnp.zeros(1)}, {}),
        Dataset("bars", SPEC, splits),
        "test",
        settings,
    )

    class Net:
        name = "rows"

        def __call__(self, pictures):
            tall = (pictures[..., 0].max(2) > 20).sum(1)
            return np.eye(9)[tall], None

    monkeypatch.setattr(features, "load", lambda settings, dataset: Net())
    figures = attributes.attribute_edits.compute(context)
    assert figures["change@attribute=mass"].value == pytest.approx(1, abs=0.15)
    assert figures["change@attribute=height"].value == pytest.approx(1, abs=0.25)
    assert figures["identity@attribute=height"].value < 0.6  # more rows are another class
    assert {name.partition("=")[2] for name in figures} <= {*morphometry.ATTRIBUTES}


def test_principal_axes_are_as_long_as_deviations():
    rng = np.random.default_rng(0)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    z = rng.normal(size=(20_000, 3)) * [0.5, 3, 1] @ turn + 7
    mean, axes = attributes.principal_axes(z)
    np.testing.assert_allclose(mean, 7, atol=0.1)
    np.testing.assert_allclose(np.linalg.norm(axes, axis=1), [3, 1, 0.5], rtol=0.03)
    np.testing.assert_allclose(np.abs(axes[0] @ turn[1]), 3, rtol=0.03)
