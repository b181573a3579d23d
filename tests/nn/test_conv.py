"""`Conv` and `ConvTranspose` against flax.linen's, in value and in gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from gen_jax.nn import conv as conv_lib

PADDINGS = ("SAME", "VALID", ((1, 2), (0, 1)))
PAIRS = {"conv": (conv_lib.Conv, nn.Conv), "transpose": (conv_lib.ConvTranspose, nn.ConvTranspose)}


def _images(shape=(2, 9, 7, 3), seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


X = _images((2, 9, 7, 4))


def _random_params(module, x):
    """Parameters drawn by numpy, as compiling `init` takes longer than the test itself."""
    shapes = jax.eval_shape(module.init, jax.random.key(0), x)
    return jax.tree.map(lambda leaf: _images(leaf.shape, seed=1), shapes)


def _modules(kind, **options):
    ours, linen = PAIRS[kind]
    return ours(**options), linen(**options)


def _assert_close(a, b, tolerance=2e-5):
    def check(x, y):
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance * (1 + np.abs(y).max()))

    jax.tree.map(check, a, b)


def _orders(module, params, x):
    """Value, gradient, and gradient of the gradient's norm, with respect to params and x."""

    def loss(params, x):
        return jnp.sum(jnp.sin(module.apply(params, x)))

    gradient = jax.grad(loss, argnums=(0, 1))

    def penalty(params, x):
        return sum(jnp.sum(g**2) for g in jax.tree.leaves(gradient(params, x)))

    second = jax.grad(penalty, argnums=(0, 1))
    return jax.jit(lambda p, x: (module.apply(p, x), gradient(p, x), second(p, x)))(params, x)


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("size", [1, 3, 4, 5, 7])
def test_value_equals_linen(kind, size, strides):
    pairs, variables = [], []
    for padding in PADDINGS:
        for features in (5, 1):  # a gather, and a scatter where the stride is 1 and 4 F <= C
            options = {"kernel_size": (size, size), "strides": (strides, strides)}
            pairs.append(_modules(kind, features=features, padding=padding, **options))
            own, linens = (_random_params(module, X) for module in pairs[-1])
            assert jax.tree.map(jnp.shape, own) == jax.tree.map(jnp.shape, linens)
            variables.append(linens)

    @jax.jit
    def values(variables):
        return [[m.apply(v, X) for m in pair] for pair, v in zip(pairs, variables, strict=True)]

    for own, linens in values(variables):
        _assert_close(own, linens)


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize(
    ("size", "strides", "padding", "features"),
    [
        ((1, 1), 1, "SAME", 4),
        ((3, 3), 1, "SAME", 4),
        ((3, 3), 1, "SAME", 1),
        ((4, 4), 2, "SAME", 4),
        ((5, 3), 2, ((1, 2), (0, 1)), 2),
        ((3, 4), (2, 1), "VALID", 2),
    ],
)
def test_gradients_of_both_orders_equal_linens(kind, size, strides, padding, features):
    options = {"kernel_size": size, "strides": strides, "padding": padding}
    ours, linen = _modules(kind, features=features, **options)
    x = _images((2, 6, 7, 4))
    params = _random_params(linen, x)
    _assert_close(_orders(ours, params, x), _orders(linen, params, x), 1e-4)


@pytest.fixture
def minimal(monkeypatch):
    """Minimal filtering of small images too."""
    monkeypatch.setattr(conv_lib, "_MUCH", 1)
    monkeypatch.setattr(conv_lib, "_WIDE", 1)


def _every(paddings, shapes):
    """Each padding with each shape; half of the pairs, which have all of both, are quick tests."""
    return [
        pytest.param(padding, shape, marks=[pytest.mark.long] * ((row + column) % 2))
        for row, padding in enumerate(paddings)
        for column, shape in enumerate(shapes)
    ]


@pytest.mark.parametrize(
    ("padding", "shape"),
    _every([*PADDINGS, ((0, 3), (2, 0))], [(2, 9, 7, 3), (1, 6, 8, 2), (2, 3, 3, 1)]),
)
def test_minimal_filtering_equals_linen_in_both_orders(minimal, padding, shape):
    ours, linen = _modules("conv", features=5, kernel_size=(3, 3), padding=padding)
    x = _images(shape)
    params = _random_params(linen, x)
    _assert_close(_orders(ours, params, x), _orders(linen, params, x), 1e-4)


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize(
    ("padding", "shape"),
    _every([*PADDINGS, ((5, 4), (2, 6))], [(2, 9, 7, 3), (1, 6, 8, 2), (2, 5, 4, 1)]),
)
def test_minimal_filtering_at_stride_2_equals_linen_in_both_orders(minimal, kind, padding, shape):
    options = {"kernel_size": (4, 4), "strides": (2, 2), "padding": padding}
    ours, linen = _modules(kind, features=5, **options)
    x = _images(shape)
    params = _random_params(linen, x)
    _assert_close(_orders(ours, params, x), _orders(linen, params, x), 1e-4)


@pytest.mark.parametrize(
    ("kind", "size", "strides"),
    [("conv", 3, 1), ("conv", 4, 2), ("transpose", 4, 2)],
)
def test_minimal_filtering_inside_scan_and_vmap(minimal, kind, size, strides):
    own, linens = _trained_inside_scan_and_vmap(kind, (size, size), (strides, strides))
    _assert_close(own, linens)
    assert any(np.asarray(leaf).any() for leaf in jax.tree.leaves(linens))


def test_minimal_filtering_is_what_large_images_are_convolved_by(monkeypatch):
    used = []
    for name in ("_minimal", "_minimal_strided", "_minimal_transposed"):
        own = getattr(conv_lib, name)

        def noted(x, *args, own=own, name=name, **kwargs):
            used.append(name)
            return own(x, *args, **kwargs)

        monkeypatch.setattr(conv_lib, name, noted)
    x = jnp.zeros((1, 28, 28, 16))
    for name, module in {
        "_minimal": conv_lib.Conv(16, (3, 3)),
        "_minimal_strided": conv_lib.Conv(32, (4, 4), strides=(2, 2)),
        "_minimal_transposed": conv_lib.ConvTranspose(16, (4, 4), strides=(2, 2)),
    }.items():
        used.clear()
        jax.eval_shape(module.init, jax.random.key(0), x)
        assert used[0] == name


def test_minimal_filtering_is_as_exact_as_a_plain_product():
    x, kernel = _images((4, 28, 28, 64)), _images((3, 3, 64, 32), seed=1)
    pads = ((1, 1), (1, 1))
    padded = np.pad(np.float64(x), ((0, 0), *pads, (0, 0)))
    exact = sum(
        padded[:, i : i + 28, j : j + 28] @ np.float64(kernel[i, j])
        for i in range(3)
        for j in range(3)
    )
    plain = conv_lib._gather(x, kernel, (1, 1), (1, 1), pads, None)
    assert conv_lib._pays(x, kernel)
    found = conv_lib.conv_general_dilated(x, kernel, (1, 1), "SAME")
    errors = [np.sqrt(np.square(np.float64(y) - exact).mean()) for y in (found, plain)]
    assert errors[0] < 4 * errors[1]
    assert np.abs(np.asarray(found) - np.asarray(plain)).max() > 0  # they are two ways


def test_where_minimal_filtering_pays():
    kernel = jnp.zeros((3, 3, 32, 32))
    assert conv_lib._pays(jnp.zeros((1, 14, 14, 32)), kernel)
    assert conv_lib._pays(jnp.zeros((64, 14, 14, 32)), kernel)
    assert not conv_lib._pays(jnp.zeros((64, 4, 4, 32)), kernel)  # however many images
    assert not conv_lib._pays(jnp.zeros((1, 99, 99, 1)), kernel[:, :, :1])
    assert not conv_lib._pays(jnp.zeros((1, 99, 99, 32)), kernel[..., :1])
    assert not conv_lib._pays(jnp.zeros((1, 14, 14, 32)), kernel, stride=2)
    assert not conv_lib._pays(jnp.zeros((1, 99, 99, 32), jnp.bfloat16), kernel)


def _trained_inside_scan_and_vmap(kind, size, strides):
    """Parameters and gradients, of our module and of linen's."""
    ours, linen = _modules(kind, features=3, kernel_size=size, strides=strides)
    x = _images((3, 2, 6, 5, 4))
    params = _random_params(linen, x[0])
    params = jax.tree.map(lambda p: jnp.stack([p, 2 * p, -p]), params)

    def train(module):
        gradient = jax.grad(lambda p, x: jnp.mean(module.apply(p, x) ** 2))

        def step(p, x):
            return jax.tree.map(lambda a, g: a - 0.1 * g, p, gradient(p, x)), None

        first = jax.tree.map(lambda a: a[0], params)
        scanned = jax.jit(lambda: jax.lax.scan(step, first, x)[0])()
        return scanned, jax.jit(jax.vmap(gradient))(params, x)

    return train(ours), train(linen)


@pytest.mark.parametrize("kind", PAIRS)
def test_inside_scan_and_vmap(kind):
    own, linens = _trained_inside_scan_and_vmap(kind, (4, 4), (2, 2))
    _assert_close(own, linens)


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("features", [4, 1])
def test_bfloat16_rounds_as_linen_does(kind, features):
    exact, _ = _modules(kind, features=features, kernel_size=(3, 3))
    ours, linen = _modules(kind, features=features, kernel_size=(3, 3), dtype=jnp.bfloat16)
    x = _images((2, 6, 7, 8))
    params = _random_params(linen, x)
    y = ours.apply(params, x)
    assert y.dtype == jnp.bfloat16
    _assert_close(y, linen.apply(params, x), 1e-2)

    @jax.jit
    def gradients(params, x):
        def loss(module):
            return lambda p, x: jnp.sum(module.apply(p, x).astype(jnp.float32) ** 2)

        return [jax.grad(loss(module), (0, 1))(params, x) for module in (ours, exact)]

    _assert_close(*gradients(params, x), 3e-2)


@pytest.mark.parametrize("kind", PAIRS)
def test_no_convolution_is_left_on_cpu(kind):
    """XLA's convolution is what is slow inside a scan, its gradient's convolutions included."""
    ours, linen = _modules(kind, features=3, kernel_size=(4, 4), strides=(2, 2))
    x = _images((1, 6, 6, 2))
    params = _random_params(ours, x)

    def program(module):
        gradient = jax.grad(lambda p, x: jnp.sum(module.apply(p, x) ** 2), (0, 1))
        cpu = jax.devices("cpu")[0]
        with jax.default_device(cpu):
            return jax.jit(gradient).lower(params, x).compile().as_text()

    assert "convolution(" in program(linen)
    assert "convolution(" not in program(ours)


def test_other_platforms_keep_the_convolution():
    ours, _ = _modules("conv", features=3, kernel_size=(4, 4), strides=(2, 2))
    transposed, _ = _modules("transpose", features=3, kernel_size=(4, 4), strides=(2, 2))
    x = _images((1, 6, 6, 2))
    for module in (ours, transposed):
        apply = jax.jit(functools.partial(module.apply, _random_params(module, x)))
        for platform, count in {"cpu": 0, "tpu": 1, "cuda": 1}.items():
            text = apply.trace(x).lower(lowering_platforms=(platform,)).as_text()
            assert text.count("stablehlo.convolution") == count, platform


def test_masks_groups_dilations_and_wrapped_padding_are_linens():
    x = _images((2, 8, 6, 4))
    mask = jnp.ones((3, 3, 4, 2)).at[2].set(0)
    for options in (
        {"mask": mask},
        {"feature_group_count": 2},
        {"kernel_dilation": (2, 2)},
        {"input_dilation": (2, 2), "padding": 1},
        {"padding": "CIRCULAR"},
    ):
        ours, linen = _modules("conv", features=2, kernel_size=(3, 3), **options)
        params = _random_params(linen, x)
        _assert_close(ours.apply(params, x), linen.apply(params, x))


def test_transposed_refuses_what_it_lacks():
    x = _images()
    with pytest.raises(ValueError, match="CIRCULAR"):
        conv_lib.ConvTranspose(2, (3, 3), padding="CIRCULAR")
    with pytest.raises(ValueError, match="dilations"):
        conv_lib.ConvTranspose(2, (3, 3), kernel_dilation=(2, 2)).init(jax.random.key(0), x)
