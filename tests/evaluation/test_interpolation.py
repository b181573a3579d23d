"""Ways between latents, and figures of them for a decoder that is known."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from gen_jax.data.examples import ArrayExamples
from gen_jax.data.sources import Dataset
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.evaluation import Context, Subject, features, interpolation
from gen_jax.likelihoods import DiagonalGaussian

SPEC = DataSpec("bytes", (2, 2, 1), 256, 2)


def test_a_spherical_way_turns_evenly_and_keeps_the_length():
    first, last = np.array([3.0, 0, 0]), np.array([0, 3.0, 0])
    way = interpolation.between(first, last, 4, "spherical")
    angles = np.radians([0, 30, 60, 90])
    expected = 3 * np.stack([np.cos(angles), np.sin(angles), 0 * angles], 1)
    np.testing.assert_allclose(way, expected, atol=1e-12)
    # Between ends of two lengths it goes evenly from the one to the other.
    way = interpolation.between(first, 2 * last, 4, "spherical")
    np.testing.assert_allclose(np.linalg.norm(way, axis=1), [3, 4, 5, 6])
    # Of ends on one line with 0 it is straight.
    np.testing.assert_allclose(
        interpolation.between(first, -first, 3, "spherical"), [first, 0 * first, -first]
    )
    assert not np.isnan(interpolation.between(0 * first, last, 3, "spherical")).any()


def test_a_linear_way_is_straight():
    way = interpolation.between(np.array([0.0, 2]), np.array([1.0, 0]), 3, "linear")
    np.testing.assert_allclose(way, [[0, 2], [0.5, 1], [1, 0]])
    with pytest.raises(UserError, match="unknown path 'round'; valid are: linear, spherical"):
        interpolation.between(np.zeros(2), np.zeros(2), 3, "round")


@dataclasses.dataclass(frozen=True)
class Identity:
    """Latents are the pixels, from -1 to 1; and those of one picture are bent."""

    spec = SPEC
    given = ()
    latent_dim = 4

    def encode(self, params, extra, batch):
        z = SPEC.center(batch["x"]).reshape(-1, 4)
        return DiagonalGaussian(z, z)

    def sample_posterior(self, params, extra, batch, keys):
        return self.encode(params, extra, batch).mean

    def decode(self, params, extra, z, condition):
        return SPEC.uncenter(z).reshape(-1, *SPEC.shape)


class Pixels:
    """Features are the pixels, and the class by the mean brightness, softly."""

    name = "pixels"

    def __call__(self, pictures):
        x = np.float64(pictures).reshape(len(pictures), -1) / 255
        return np.stack([0 * x[:, 0], 8 * (x.mean(1) - 0.5)], 1), x


def test_figures_of_the_identity(monkeypatch):
    monkeypatch.setattr(features, "load", lambda settings, dataset: Pixels())
    rng = np.random.default_rng(0)
    label = np.int32(np.arange(40) % 2)
    x = np.uint8(rng.integers(0, 100, (40, 2, 2, 1)) + 150 * label[:, None, None, None])
    splits = {"test": ArrayExamples("test", {"x": x, "label": label})}
    settings = ConfigDict({"interpolated": 10, "interpolation_path": "linear"})
    subject = Subject(Identity(), SPEC, {"x": jnp.zeros(1)}, {})
    context = Context(subject, Dataset("pixels", SPEC, splits), "test", settings)
    figures = interpolation.interpolations.compute(context)
    assert figures["midpoint_confidence"].n == 10
    # Between two pictures of one class, the brightness is between theirs.
    assert figures["midpoint_confidence"].value > 0.8
    assert figures["end_confidence"].value == pytest.approx(
        figures["midpoint_confidence"].value, abs=0.05
    )
    # Here what is half way is the mean of both, but for rounding.
    assert figures["blend_confidence"].value == pytest.approx(
        figures["midpoint_confidence"].value, abs=1e-3
    )
    # A straight way in pixels, but for rounding to whole grey levels.
    assert figures["straightness"].value == pytest.approx(1, abs=0.02)
    assert figures["largest_step"].value == pytest.approx(1, abs=0.1)
