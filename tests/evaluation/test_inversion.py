"""Latents by search, of a decoder whose most likely latents a formula gives; and completions."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax import measurements
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.evaluation import Subject

SPEC = DataSpec("real", (3, 4, 1))
LATENTS = 3
WEIGHTS = np.random.default_rng(0).normal(size=(LATENTS, SPEC.num_dims)) * 0.7


@dataclasses.dataclass(frozen=True)
class Linear:
    """x = W z + the label, and nothing to encode with."""

    spec = SPEC
    given = ("label",)
    latent_dim = LATENTS

    def decode(self, params, extra, z, condition):
        x = z @ params["weights"] + condition["label"][:, None]
        return x.reshape(len(z), *SPEC.shape)


SUBJECT = Subject(Linear(), SPEC, {"weights": jnp.float32(WEIGHTS)}, {})


def most_likely(x, seen, noise):
    """Of p(z | y) for W z seen with that noise: mean [N, L] and covariance."""
    weights = WEIGHTS[:, seen]
    precision = np.eye(LATENTS) + weights @ weights.T / noise**2
    return x[:, seen] @ np.linalg.solve(precision, weights / noise**2).T, np.linalg.inv(precision)


def batch(num):
    z, label = np.random.default_rng(1).normal(size=(num, LATENTS)), np.arange(num) % 2
    x = np.float32(z @ WEIGHTS + label[:, None]).reshape(num, *SPEC.shape)
    return {"x": x, "label": label.astype(np.int32)}


def test_latents_are_the_most_likely_ones():
    given = batch(6)
    found = SUBJECT.latents(given)
    flat = given["x"].reshape(6, -1) - given["label"][:, None]
    expected, _ = most_likely(flat, np.ones(SPEC.num_dims, bool), 0.2)
    np.testing.assert_allclose(found, expected, atol=0.01)
    # Of each alone as in a batch.
    alone = SUBJECT.latents({name: a[:1] for name, a in given.items()})
    np.testing.assert_allclose(alone, found[:1], atol=1e-5)


def test_what_is_unknown_is_drawn_around_the_most_likely():
    known = np.indices(SPEC.shape[:2])[0] < 1
    one = batch(1)
    many = {name: np.repeat(a, 400, 0) for name, a in one.items()}
    label = {"label": many["label"]}
    hidden = np.where(known[..., None], many["x"], np.nan)  # is not looked at
    drawn = SUBJECT.complete(hidden, known, label)
    np.testing.assert_array_equal(drawn[:, known], many["x"][:, known])
    seen = known.reshape(-1)
    flat = one["x"].reshape(1, -1) - one["label"][:, None]
    mean, covariance = most_likely(flat, seen, 0.2)
    expected = (mean @ WEIGHTS)[0][~seen] + one["label"][0]
    deviation = np.sqrt(np.diag(WEIGHTS.T @ covariance @ WEIGHTS))[~seen]
    found = drawn.reshape(400, -1)[:, ~seen]
    error = deviation / 20  # of a mean of 400
    assert (np.abs(found.mean(0) - expected) < 5 * error + 0.02).all()
    # A walk that ends before all is reached is narrower, but no point.
    assert (found.std(0) < 1.1 * deviation).all() and (found.std(0) > 0.2 * deviation).all()
    again = SUBJECT.complete(hidden[:1], known, {"label": one["label"]})
    np.testing.assert_allclose(again, drawn[:1], atol=1e-5)
    other = SUBJECT.complete(hidden[:1], known, {"label": one["label"]}, seed=1)
    assert np.abs(other - drawn[:1]).max() > 1e-3


def test_a_measurement_is_explained():
    given = batch(3)
    matrix = np.random.default_rng(2).normal(size=(8, SPEC.num_dims))
    measurement = measurements.of_matrix(matrix, 0.3)
    y = np.asarray(measurement.apply(given["x"]))
    x = SUBJECT.restore(y, measurement, {"label": given["label"]})
    assert x.shape == given["x"].shape
    spread = np.abs(y - y.mean(0)).mean()
    assert np.abs(np.asarray(measurement.apply(x)) - y).mean() < 0.3 * spread


def test_some_channels_alone_are_not_completed():
    known = np.zeros((2, 2, 2), bool)
    known[0, 0, 0] = True
    subject = dataclasses.replace(SUBJECT, spec=DataSpec("real", (2, 2, 2)))
    with pytest.raises(UserError, match="whole pixels"):
        subject.complete(np.zeros((1, 2, 2, 2)), known)
