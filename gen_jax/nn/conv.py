"""Convolutions of images that are fast on CPU as well as on GPU and TPU.

XLA's CPU convolution is tens of times slower inside `lax.scan` than outside it, and its
input-dilated (transposed) form is slow everywhere. On CPU a convolution is therefore written as
matrix products, in one of three forms:

- gather: k x k shifted slices of the input side by side, times the kernel (im2col). It moves
  k * k * in_features numbers a position, and takes any stride.
- scatter: the input times the kernel, then k x k shifted sums of the products (col2im). It moves
  k * k * out_features numbers a position, and takes any input dilation.
- minimal: of 3x3 kernels at stride 1, four outputs by 16 products and not by 36; of 4x4 kernels at
  stride 2, also transposed, by 36 and not by 64 (Winograd's minimal filtering). It pays where there
  is much to multiply.

Other platforms keep `lax.conv_general_dilated`. The choice is made when the program is compiled
for a platform, and both forms are differentiable any number of times.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

Pads = Sequence[tuple[int, int]]
_DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def _pad(x: jax.Array, pads: Pads) -> jax.Array:
    """Zeros around the image x [B, H, W, C]; a negative width crops."""
    widths = ((0, 0, 0), *((low, high, 0) for low, high in pads), (0, 0, 0))
    return lax.pad(x, jnp.zeros((), x.dtype), widths)


def _taps(size: int, kernel: int, stride: int, dilation: int) -> list[slice]:
    """Of one dimension of a padded image: the places that each tap of the kernel reads."""
    count = (size - dilation * (kernel - 1) - 1) // stride + 1
    starts = [dilation * tap for tap in range(kernel)]
    return [slice(start, start + stride * (count - 1) + 1, stride) for start in starts]


def _gather(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    dilation: Sequence[int],
    pads: Pads,
    precision,
):
    """Convolution as patches [B * H' * W', kh * kw * C] times the kernel [kh * kw * C, F]."""
    x = _pad(x, pads)
    rows = _taps(x.shape[1], kernel.shape[0], strides[0], dilation[0])
    columns = _taps(x.shape[2], kernel.shape[1], strides[1], dilation[1])
    patches = jnp.concatenate([x[:, row, column] for row in rows for column in columns], -1)
    height, width = patches.shape[1:3]
    # Two-dimensional operands: XLA:CPU is 2.5 times slower with the four-dimensional patches.
    patches = patches.reshape(-1, patches.shape[-1])
    y = jnp.dot(patches, kernel.reshape(patches.shape[-1], -1), precision=precision)
    return y.reshape(x.shape[0], height, width, -1)


def _scatter(x: jax.Array, kernel: jax.Array, dilation: Sequence[int], pads: Pads, precision):
    """Convolution, of stride 1, of the dilated input: products [B, H, W, kh, kw, F], summed.

    With dilation s, input position n adds x[n] * kernel[k - 1 - t] to position s * n + t of the
    full output. Kernel taps are grouped in blocks of s, so that a block lands on whole output
    blocks: the sums are then over s times fewer and s times longer pieces (the output's phases).
    """
    batch, *size, features = x.shape
    kernel_size = kernel.shape[:2]
    blocks = [-(-k // s) for k, s in zip(kernel_size, dilation, strict=True)]
    fill = [(0, n * s - k) for n, s, k in zip(blocks, dilation, kernel_size, strict=True)]
    kernel = jnp.pad(kernel[::-1, ::-1], [*fill, (0, 0), (0, 0)])
    kernel = kernel.reshape(blocks[0], dilation[0], blocks[1], dilation[1], features, -1)
    out_features = kernel.shape[-1]
    kernel = kernel.transpose(4, 0, 2, 1, 3, 5).reshape(features, -1)

    # The sums are rounded once, as in a convolution: bfloat16 products stay in float32 until then.
    wide = jnp.promote_types(x.dtype, jnp.float32)
    products = jnp.dot(
        x.reshape(-1, features), kernel, precision=precision, preferred_element_type=wide
    )
    products = products.reshape(batch, *size, *blocks, -1)
    y = sum(
        _pad(products[:, :, :, i, j], ((i, blocks[0] - 1 - i), (j, blocks[1] - 1 - j)))
        for i in range(blocks[0])
        for j in range(blocks[1])
    ).astype(x.dtype)
    grid = y.shape[1:3]
    y = y.reshape(batch, *grid, *dilation, out_features).transpose(0, 1, 3, 2, 4, 5)
    y = y.reshape(batch, grid[0] * dilation[0], grid[1] * dilation[1], out_features)

    crops = []
    for i, (low, high) in enumerate(pads):
        out = dilation[i] * (size[i] - 1) + 1 + low + high - kernel_size[i] + 1
        low = low - kernel_size[i] + 1
        crops.append((low, out - y.shape[1 + i] - low))
    return _pad(y, crops)


# Winograd's F(2, 3) and F(2, 2) as Lavin and Gray 2015 (arXiv 1509.09308) write them, section 4.1,
# by the number of taps: what goes into each product of the inputs and of the taps, and of which
# products the two outputs are made.
_OF_INPUTS = {
    2: ((1, -1, 0), (0, 1, 0), (0, -1, 1)),
    3: ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
}
_OF_TAPS = {
    2: ((1, 0), (1, 1), (0, 1)),
    3: ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1)),
}
_OF_PRODUCTS = {2: ((1, 1, 0), (0, 1, 1)), 3: ((1, 1, 1, 0), (0, 1, -1, -1))}
# Multiplications of a plain convolution of one image, and features, from which on it is faster.
_MUCH, _WIDE = 1_000_000, 8


def _weighted(weights: Sequence[float], terms: Sequence[jax.Array]) -> jax.Array:
    """The sum of terms with weights; those of weight 0 are left out."""
    kept = [weight * term for weight, term in zip(weights, terms, strict=True) if weight]
    return functools.reduce(jnp.add, kept)


def _parts(x: jax.Array, axis: int, count: int) -> list[jax.Array]:
    """Equal parts of x along an axis.

    Unlike slices they have one concatenation as their gradient, not a sum of padded parts.
    """
    return lax.split(x, [x.shape[axis] // count] * count, axis)


def _of_windows(
    even: jax.Array, odd: jax.Array, axis: int, weights: Sequence[Sequence[float]]
) -> list[jax.Array]:
    """Weighted sums of what windows hold that begin at the even places of an axis."""
    places = [
        lax.slice_in_dim(phase, start, start + phase.shape[axis] - 1, axis=axis)
        for start in (0, 1)
        for phase in (even, odd)
    ]
    places = places[: len(weights[0])]
    return [_weighted(own, places) for own in weights]


def _minimal(x: jax.Array, kernel: jax.Array, pads: Pads, precision) -> jax.Array:
    """Convolution with a kernel [3, 3, C, F] or [2, 2, C, F] at stride 1, by 2x2 outputs at a time.

    Each of 16 or 9 sums over the tiles' inputs is a matrix of its own, so that nothing is stacked
    or transposed between them. Its gradients are as few products.
    """
    taps = kernel.shape[0]
    batch, features = x.shape[0], x.shape[3]
    height, width = (x.shape[1 + i] + sum(pads[i]) - taps + 1 for i in range(2))
    tiles = -(-height // 2), -(-width // 2)
    more = [
        2 * (count + 1) - (size + taps - 1)
        for count, size in zip(tiles, (height, width), strict=True)
    ]
    x = _pad(x, [(low, high + fill) for (low, high), fill in zip(pads, more, strict=True)])
    of_inputs, of_taps, of_products = _OF_INPUTS[taps], _OF_TAPS[taps], _OF_PRODUCTS[taps]
    pairs = x.reshape(batch, tiles[0] + 1, 2, tiles[1] + 1, 2 * features)
    even, odd = (part[:, :, 0] for part in _parts(pairs, 2, 2))
    kernel_rows = [row[0] for row in _parts(kernel, 0, taps)]
    products = []
    for row, weights in zip(_of_windows(even, odd, 1, of_inputs), of_taps, strict=True):
        sums = _of_windows(*_parts(row, 3, 2), 2, of_inputs)
        columns = [column[0] for column in _parts(_weighted(weights, kernel_rows), 0, taps)]
        products.append(
            [
                jnp.dot(one.reshape(-1, features), _weighted(own, columns), precision=precision)
                for one, own in zip(sums, of_taps, strict=True)
            ]
        )
    rows = [
        [_weighted(own, column) for column in zip(*products, strict=True)] for own in of_products
    ]
    outputs = [
        jnp.stack([_weighted(own, row).reshape(batch, *tiles, -1) for own in of_products], 3)
        for row in rows
    ]
    y = jnp.stack(outputs, 2).reshape(batch, 2 * tiles[0], 2 * tiles[1], -1)
    return y[:, :height, :width]


def _minimal_strided(x: jax.Array, kernel: jax.Array, pads: Pads, precision) -> jax.Array:
    """Convolution with a kernel [4, 4, C, F] at stride 2: one of 2x2 over squares of 2x2 pixels."""
    features = kernel.shape[2]
    x = _pad(x, pads)
    x = _pad(x, [(0, -(size % 2)) for size in x.shape[1:3]])  # the last of an odd size is not read
    batch, height, width = len(x), x.shape[1] // 2, x.shape[2] // 2
    x = x.reshape(batch, height, 2, width, 2, features).transpose(0, 1, 3, 2, 4, 5)
    kernel = kernel.reshape(2, 2, 2, 2, features, -1).transpose(0, 2, 1, 3, 4, 5)
    squares = x.reshape(batch, height, width, -1), kernel.reshape(2, 2, 4 * features, -1)
    return _minimal(*squares, ((0, 0), (0, 0)), precision)


def _minimal_transposed(x: jax.Array, kernel: jax.Array, pads: Pads, precision) -> jax.Array:
    """Convolution with a kernel [4, 4, C, F] of the input dilated by 2.

    It is the gradient of a strided one, and that is linear, so that it may be taken anywhere.
    """
    batch, *size, _ = x.shape
    out = [2 * count - 1 + sum(pad) - 3 for count, pad in zip(size, pads, strict=True)]
    strided = functools.partial(
        _minimal_strided,
        kernel=kernel[::-1, ::-1].swapaxes(2, 3),
        pads=[(3 - low, 3 - high) for low, high in pads],
        precision=precision,
    )
    _, gradient = jax.vjp(strided, jnp.zeros((batch, *out, kernel.shape[3]), x.dtype))
    return gradient(x)[0]


def _all_ones(numbers: Sequence[int] | None) -> bool:
    return numbers is None or all(number == 1 for number in numbers)


def conv_general_dilated(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: str | Pads,
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = _DIMENSIONS,
    feature_group_count: int = 1,
    precision: Any = None,
) -> jax.Array:
    """`lax.conv_general_dilated`, as a matrix product on CPU; also for `nn.Conv`.

    Groups, dilated inputs and anything but images [B, H, W, C] are left to lax.

    Args:
      lhs: images [B, H, W, C].
      rhs: kernel [kh, kw, C, F].
      window_strides: strides of the rows and of the columns.
      padding: "SAME", "VALID" or the zeros ((top, bottom), (left, right)).

    Returns:
      Images [B, H', W', F].
    """
    convolve = functools.partial(
        lax.conv_general_dilated,
        window_strides=window_strides,
        padding=padding,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        dimension_numbers=dimension_numbers,
        feature_group_count=feature_group_count,
        precision=precision,
    )
    if lhs.ndim != 4 or not _all_ones(lhs_dilation) or feature_group_count != 1:
        return convolve(lhs, rhs)
    dilation = rhs_dilation or (1, 1)
    if isinstance(padding, str):
        window = [d * (k - 1) + 1 for d, k in zip(dilation, rhs.shape[:2], strict=True)]
        padding = lax.padtype_to_pads(lhs.shape[1:3], window, window_strides, padding)
    # The cheaper form by what it moves; at equal sizes a gather is the faster of the two.
    plain = _all_ones(window_strides) and _all_ones(dilation)
    halved = tuple(window_strides) == (2, 2) and _all_ones(dilation)
    if plain and rhs.shape[:2] == (3, 3) and _pays(lhs, rhs):
        product = functools.partial(_minimal, pads=padding, precision=precision)
    elif halved and rhs.shape[:2] == (4, 4) and _pays(lhs, rhs, stride=2):
        product = functools.partial(_minimal_strided, pads=padding, precision=precision)
    elif plain and 4 * rhs.shape[3] <= rhs.shape[2]:
        product = functools.partial(_scatter, dilation=(1, 1), pads=padding, precision=precision)
    else:
        product = functools.partial(
            _gather, strides=window_strides, dilation=dilation, pads=padding, precision=precision
        )
    return lax.platform_dependent(lhs, rhs, cpu=product, default=convolve)


def _pays(lhs: jax.Array, rhs: jax.Array, stride: int = 1) -> bool:
    """Whether minimal filtering is faster, of a convolution with so many inputs an output.

    The number of images does not count, so that values do not depend on how many devices share
    them.
    """
    single = lhs.dtype == rhs.dtype == jnp.float32  # what its sums would be rounded to otherwise
    much = lhs.shape[1] * lhs.shape[2] // stride**2 * rhs.size >= _MUCH
    return single and min(rhs.shape[2:]) >= _WIDE and much


def _transposed_pads(kernel_size: int, stride: int, padding: str) -> tuple[int, int]:
    """The zeros around one dilated dimension that `lax.conv_transpose` uses."""
    if padding == "VALID":
        return kernel_size - 1, max(kernel_size, stride) - 1
    total = kernel_size + stride - 2
    low = kernel_size - 1 if stride > kernel_size - 1 else -(-total // 2)
    return low, total - low


def conv_transpose(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: str | Pads,
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = _DIMENSIONS,
    feature_group_count: int = 1,
    precision: Any = None,
) -> jax.Array:
    """`lax.conv_transpose` of images, as a matrix product on CPU.

    Args:
      lhs: images [B, H, W, C].
      rhs: kernel [kh, kw, C, F], not flipped.
      window_strides: upsampling factors of the rows and of the columns.
      padding: "SAME" (H' = H * stride), "VALID", or the zeros around the dilated input.

    Returns:
      Images [B, H', W', F].

    Raises:
      ValueError: for groups, dilations and anything but images.
    """
    plain = _all_ones(lhs_dilation) and _all_ones(rhs_dilation) and feature_group_count == 1
    if lhs.ndim != 4 or not plain:
        raise ValueError("a transposed convolution takes images, without groups or dilations")
    pads = padding
    if isinstance(padding, str):
        sizes = zip(rhs.shape[:2], window_strides, strict=True)
        pads = [_transposed_pads(size, stride, padding) for size, stride in sizes]
    if _all_ones(window_strides):
        return conv_general_dilated(lhs, rhs, window_strides, pads, precision=precision)
    product = functools.partial(_scatter, dilation=window_strides, pads=pads, precision=precision)
    fits = tuple(window_strides) == (2, 2) and rhs.shape[:2] == (4, 4)
    if fits and _pays(lhs, rhs):
        product = functools.partial(_minimal_transposed, pads=pads, precision=precision)
    return lax.platform_dependent(
        lhs,
        rhs,
        cpu=product,
        default=lambda x, kernel: lax.conv_general_dilated(
            x,
            kernel,
            (1, 1),
            pads,
            lhs_dilation=window_strides,
            dimension_numbers=_DIMENSIONS,
            precision=precision,
        ),
    )


class Conv(nn.Conv):
    """`nn.Conv` with the same parameters and values, fast on CPU for images [B, H, W, C]."""

    conv_general_dilated: Any = conv_general_dilated


class ConvTranspose(nn.Conv):
    """`nn.ConvTranspose` with the same parameters and values, for images [B, H, W, C].

    `strides` are the upsampling factors. `padding` is "SAME", "VALID" or explicit, and means
    what it means to `nn.ConvTranspose`; `transpose_kernel` is not offered.
    """

    conv_general_dilated: Any = conv_transpose

    def __post_init__(self):
        # nn.Conv would wrap or mirror the input before the call, which is not the same thing.
        if isinstance(self.padding, str) and self.padding not in ("SAME", "VALID"):
            raise ValueError(f"padding {self.padding!r}: ConvTranspose has SAME and VALID")
        super().__post_init__()
