"""Labels as shares of classes: as numbers at the ends, and without a jump between them."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cli import ROOT

from gen_jax import config as config_lib
from gen_jax import experiment
from gen_jax import run as run_lib
from gen_jax.errors import UserError
from gen_jax.families import conditions

MODELS = {
    "vae": ("vae_digits.py:conditional,smoke", ()),
    "vae_of_convolutions": (
        "vae_digits.py:conditional,smoke",
        ("--config.model.network=conv", "--config.model.hidden=(4, 8)"),
    ),
    "gan": ("gan_digits.py:smoke", ()),
    "flow": ("flow_digits.py:conditional,smoke", ()),
    "diffusion": ("diffusion_digits.py:smoke", ("--config.model.conditional=True",)),
}


@pytest.fixture(scope="module", params=MODELS)
def run(request):
    name, changes = MODELS[request.param]
    config = config_lib.load_file(str(ROOT / "experiments" / name))
    config_lib.override(config, list(changes))
    built = experiment.build(config)
    subject, draw = built.subject(built.init()), np.random.default_rng(0)
    # As they begin, many models hear no label.
    params = jax.tree.map(lambda p: p + np.float32(0.1 * draw.normal(size=p.shape)), subject.params)
    return run_lib.Run(Path(), built, dataclasses.replace(subject, params=params), 0)


def test_shares_of_one_class_are_its_number():
    label = jnp.array([[3, 0], [1, 2]])
    np.testing.assert_array_equal(conditions.one_hot(label, 4), np.eye(4)[label])
    shares = jnp.array([[0.25, 0.75], [1.0, 0.0]])
    np.testing.assert_array_equal(conditions.one_hot(shares, 2), shares)


def test_what_is_decoded_goes_evenly_from_class_to_class(run):
    z = np.random.default_rng(0).normal(size=(1, run.subject.family.latent_dim))
    label = np.array([3, 8])
    ends = run.decode(np.repeat(z, 2, 0), label)
    parts = np.linspace(0, 1, 9)[:, None]
    shares = (1 - parts) * np.eye(10)[3] + parts * np.eye(10)[8]
    way = run.decode(np.repeat(z, 9, 0), shares)
    np.testing.assert_allclose(way[[0, -1]], ends, rtol=1e-4, atol=1e-4)
    lengths = np.sqrt(np.square(np.diff(way, axis=0)).sum((1, 2, 3)))
    assert lengths.sum() > 1e-3, "the label is heard"
    assert lengths.max() < 0.5 * lengths.sum(), "and changes little by little"


def test_an_interpolation_between_classes_ends_at_both(run):
    rng = np.random.default_rng(1)
    z = np.float32(rng.normal(size=(2, run.subject.family.latent_dim)))
    x = run.decode(z, [3, 8])
    if run.spec.kind != "real":
        x = np.round(np.clip(x, 0, run.spec.levels - 1))
    ends = run.reconstruct(x, [3, 8])
    way = run.interpolate(x[0], x[1], 5, label=[3, 8])
    np.testing.assert_allclose(way[[0, -1]], ends, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shares", [np.eye(10)[:3], np.ones((2, 10)), np.eye(9)[:2]])
def test_bad_shares_are_refused(run, shares):
    with pytest.raises(UserError, match=r"shares of classes are \[2, 10\], and each row sums to 1"):
        run.decode(np.zeros((2, run.subject.family.latent_dim)), shares)
