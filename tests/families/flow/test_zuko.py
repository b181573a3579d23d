"""Log-likelihoods beside zuko's, which has the same weights in maps of its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax import families
from gen_jax.data.spec import DataSpec
from gen_jax.nn import bijections as b
from gen_jax.nn import elementwise

zuko = pytest.importorskip("zuko", reason="compares with zuko, which is not installed")
import torch  # noqa: E402

SIZE, LAYERS = 4, 2
DATA = DataSpec("real", (SIZE,))


def _unlimited(values, slope_share: float) -> torch.Tensor:
    """What zuko's limit v / (1 + |v k / ln 0.001|) makes these values of, with k `slope_share`."""
    values = np.float64(values)
    return torch.from_numpy(values / (1 + np.abs(values * slope_share) / np.log(1e-3)))


def _of_numbers(transform: elementwise.Elementwise, params: np.ndarray):
    """zuko's map of numbers by the parameters [..., P] of ours."""
    if isinstance(transform, elementwise.Affine):
        log_scale = transform._scale(params)
        return zuko.transforms.MonotonicAffineTransform(
            torch.from_numpy(np.float64(params[..., 0])), _unlimited(log_scale, 1)
        )
    widths, heights, _ = np.split(params, [transform.bins, 2 * transform.bins], -1)
    shares = [
        np.diff(np.asarray(transform._knots(each), np.float64)) / 2 / transform.bound
        for each in (widths, heights)
    ]
    logs = [np.log(share) - np.log(share).mean(-1, keepdims=True) for share in shares]
    slopes = np.stack(
        [np.asarray(_slope_at(transform, params, number)) for number in range(1, transform.bins)],
        -1,
    )
    return zuko.transforms.MonotonicRQSTransform(
        *(_unlimited(log, 2) for log in logs),
        _unlimited(np.log(slopes), 1),
        bound=transform.bound,
    )


def _slope_at(transform: elementwise.Spline, params: np.ndarray, knot: int) -> jax.Array:
    """By autodiff, just to the right of a knot."""
    at = transform._knots(params[..., : transform.bins])[..., knot] + 1e-5
    slope = jax.grad(lambda x, own: transform.forward(x, own)[0])
    mapped = jax.vmap(slope)(at.reshape(-1), params.reshape(-1, params.shape[-1]))
    return mapped.reshape(at.shape)


def _transform_of(part, params):
    """zuko's transformation of vectors for one of our bijections."""
    if isinstance(part, b.Reverse):
        return zuko.transforms.PermutationTransform(torch.arange(SIZE - 1, -1, -1))
    if isinstance(part, b.MaskedAutoregressive):

        def meta(x):
            raw = np.asarray(part._params(params, jnp.float32(x.numpy()), None))
            return zuko.transforms.DependentTransform(_of_numbers(part.transform, raw), 1)

        return zuko.transforms.AutoregressiveTransform(meta, SIZE)
    stays = part._stays(np.zeros((1, SIZE)))

    def meta_of_half(kept):
        x = np.zeros((len(kept), SIZE), np.float32)
        x[:, stays] = kept.numpy()
        raw = np.asarray(part._params(params, jnp.asarray(x), None))[:, ~stays]
        return zuko.transforms.DependentTransform(_of_numbers(part.transform, raw), 1)

    return zuko.transforms.CouplingTransform(meta_of_half, torch.from_numpy(stays.copy()))


@pytest.mark.parametrize("flow", ["coupling", "autoregressive"])
@pytest.mark.parametrize("transform", ["affine", "spline"])
def test_log_likelihoods_are_zukos(flow, transform):
    model = families.default_model("flow")
    model.update(flow=flow, transform=transform, layers=LAYERS, hidden=(8,), bins=4, bound=3.0)
    model.update(mixing="reverse", act_norm=False)
    family = families.build("flow", model, DATA)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, SIZE)).astype(np.float32)
    params, extra = family.init(jax.random.key(0), {"x": jnp.asarray(x)})
    move = lambda leaf: leaf + 0.1 * rng.normal(size=leaf.shape).astype(np.float32)  # noqa: E731
    params = jax.tree.map(move, params)
    _, stack = family.bijection.parts
    parts = []
    for number in range(LAYERS):
        own = params["flow"]["bijection"]["part_1"]
        layer = jax.tree.map(lambda leaf, number=number: leaf[number], own)
        parts += [
            _transform_of(part, layer.get(f"part_{place}"))
            for place, part in enumerate(stack.layer.parts)
        ]
    base = zuko.distributions.DiagNormal(torch.zeros(SIZE), torch.ones(SIZE))
    theirs = zuko.distributions.NormalizingFlow(zuko.transforms.ComposedTransform(*parts), base)
    found = family.log_prob(params, extra, {"x": jnp.asarray(x)}, None).value
    expected = theirs.log_prob(torch.from_numpy(np.float64(x))).numpy()
    assert np.std(expected) > 0.5
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-3)
