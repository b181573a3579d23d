"""The classifier: its loss by numpy, dropout, and that it learns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from gen_jax import families, keys
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError

SPEC = DataSpec("bytes", (8, 8, 1), levels=17, num_classes=3)
KEYS = keys.per_example(keys.stream(0, "test"), jnp.arange(30))


def build(spec=SPEC, **changes):
    model = families.default_model("classifier")
    model.update(widths=(4, 8), num_features=16, dropout=0.0, augmentations=())
    model.update(**changes)
    return families.build("classifier", model, spec)


def batch():
    rng = np.random.default_rng(0)
    label = np.arange(30) % 3
    x = rng.integers(0, 5, (30, 8, 8, 1)) + 5 * label[:, None, None, None]
    return {"x": jnp.float32(x), "label": jnp.int32(label)}


def test_loss_is_the_cross_entropy_of_the_logits():
    family, given = build(), batch()
    params, extra = family.init(jax.random.key(0), given)
    values, _, metrics = family.losses(("classifier",), params, extra, given, KEYS, 0)
    logits = np.asarray(family.classify(params, extra, given))
    label = np.asarray(given["label"])
    expected = -log_softmax(logits, -1)[np.arange(30), label].mean()
    np.testing.assert_allclose(values["classifier"], expected, rtol=1e-5)
    np.testing.assert_allclose(metrics["accuracy"], (logits.argmax(-1) == label).mean())


@pytest.mark.parametrize("changes", [{"dropout": 0.5}, {"augmentations": ("translation",)}])
def test_noise_is_in_training_alone(changes):
    family, given = build(**changes), batch()
    params, extra = family.init(jax.random.key(0), given)
    plain, _, _ = build().losses(("classifier",), params, extra, given, KEYS, 0)
    noisy, _, _ = family.losses(("classifier",), params, extra, given, KEYS, 0)
    assert plain["classifier"] != noisy["classifier"]
    np.testing.assert_array_equal(
        family.classify(params, extra, given), build().classify(params, extra, given)
    )


def test_it_learns_a_batch():
    family, given = build(), batch()
    params, extra = family.init(jax.random.key(0), given)

    @jax.jit
    def step(params):
        grads = jax.grad(
            lambda p: family.losses(("classifier",), p, extra, given, KEYS, 0)[0]["classifier"]
        )(params)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)

    for _ in range(100):
        params = step(params)
    assert (family.classify(params, extra, given).argmax(-1) == given["label"]).all()


def test_data_without_labels_are_refused():
    with pytest.raises(UserError, match="needs images with labels"):
        build(DataSpec("bytes", (8, 8, 1), levels=17))
    with pytest.raises(UserError, match=r"unknown model\.augmentations 'x'"):
        build(augmentations=("x",))
