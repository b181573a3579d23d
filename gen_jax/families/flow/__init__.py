"""Normalizing flows of images, vectors and points in the plane."""

import dataclasses
import functools
import math
from collections.abc import Callable

import flax.linen as nn
from ml_collections import ConfigDict

from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.families import requirements
from gen_jax.families.base import TEMPERATURE, FamilyDefinition
from gen_jax.families.flow.family import BASES, DequantizedFlow, Flow
from gen_jax.families.flow.networks import GatedConvolutions, Perceptron
from gen_jax.families.requirements import CONDITIONS, IMAGES, Requirement, Values, only
from gen_jax.nn import bijections as b
from gen_jax.nn import elementwise
from gen_jax.nn.made import MADE
from gen_jax.nn.ode import EXACT_TRACE
from gen_jax.nn.sequence import Head, Reader
from gen_jax.nn.transformer import Transformer
from gen_jax.settings import Setting

TRANSFORMS = ("additive", "affine", "spline", "logistic_mixture")

SETTINGS = {
    "flow": Setting(
        "coupling",
        "coupling: of vectors; autoregressive: MAF; continuous: FFJORD; multiscale, transformer: "
        "of images",
        choices=("coupling", "autoregressive", "multiscale", "transformer", "continuous"),
    ),
    "transform": Setting("affine", "of each dimension", choices=TRANSFORMS),
    "bins": Setting(8, "of a spline", minimum=2, maximum=256),
    "bound": Setting(5.0, "of a spline: it is the identity beyond it", minimum=0.1),
    "scale_limit": Setting(3.0, "of the logarithm of an affine map's scale", minimum=0.1),
    "components": Setting(8, "of a mixture of logistics", minimum=1, maximum=256, smoke=2),
    "layers": Setting(8, "pairs of couplings, or autoregressive layers", minimum=1, smoke=2),
    "hidden": Setting((256, 256), "widths of each layer's network, of vectors", minimum=1),
    "features": Setting(32, "of convolutions or of transformers", minimum=1, smoke=8),
    "convolutions": Setting(2, "residual ones of each coupling", smoke=1),
    "checker_layers": Setting(2, "pairs of chess-board couplings of images", smoke=1),
    "channel_layers": Setting(
        (2, 2),
        "pairs of couplings by channels, after each squeeze; () for none",
        minimum=1,
        smoke=(1, 1),
    ),
    "channel_features": Setting(
        (),
        "of the couplings by channels, after each squeeze; () for `features`",
        minimum=1,
        smoke=(),
    ),
    "ode_steps": Setting(10, "of each layer of a continuous flow", minimum=1, smoke=3),
    "patch": Setting(4, "side of the squares that a transformer reads", minimum=1),
    "blocks": Setting(4, "of each transformer", minimum=1, smoke=1),
    "heads": Setting(4, "of each transformer's attention", minimum=1, smoke=1),
    "act_norm": Setting(True, "whether a layer begins with a scale of each channel, set by data"),
    "mixing": Setting(
        "matrix", "of channels or dimensions between layers", choices=("matrix", "reverse", "none")
    ),
    "final_scale": Setting(False, "whether each dimension has a factor of its own at the end"),
    "alpha": Setting(
        0.05, "of dequantised data: the logit of alpha + (1 - 2 alpha) x", minimum=1e-7, maximum=0.4
    ),
    "base": Setting(
        "normal",
        "the density of each latent; mixture: of logistics that depend on the latents before it",
        choices=(*BASES, "mixture"),
    ),
    "dequantization": Setting(
        "uniform", "the noise that makes bytes real", choices=("uniform", "variational")
    ),
    "noise_layers": Setting(2, "pairs of couplings of variational noise", minimum=1, smoke=1),
    "noise_features": Setting(16, "of their convolutions", minimum=1, smoke=4),
    "conditional": Setting(
        False, "whether the model is given the label, or what else the data have of an example"
    ),
}

_REAL = Values(
    "real numbers, or bytes that noise makes real (--config.data.preprocess="
    "uniform_dequantization or bytes)",
    lambda spec: spec.kind in ("real", "bytes"),
    None,
)
_BYTES = Values(
    "images of bytes (--config.data.preprocess=bytes)",
    lambda spec: spec.kind == "bytes" and spec.is_image,
    None,
)
_EVEN = Values(
    "images whose sides each squeeze halves",
    lambda spec: spec.is_image and spec.shape[0] % 2 == 0 and spec.shape[1] % 2 == 0,
    None,
)

_FEW = Values(
    f"examples of at most {EXACT_TRACE} numbers",
    lambda spec: spec.num_dims <= EXACT_TRACE,
    None,
)

REQUIREMENTS = (
    Requirement({}, {"data": _REAL}, "a density is of real numbers"),
    Requirement(
        {"flow": only("multiscale", "transformer")}, {"data": IMAGES}, "it reads rows and columns"
    ),
    Requirement(
        {"dequantization": only("variational")}, {"data": _BYTES}, "the noise is that of bytes"
    ),
    Requirement({"flow": only("multiscale")}, {"data": _EVEN}, "squares become channels"),
    Requirement({"flow": only("continuous")}, {"data": _FEW}, "the trace of its slope is exact"),
    Requirement({"conditional": only(True)}, {"data": CONDITIONS}, "there is nothing to be given"),
)


def build(model: ConfigDict, spec: DataSpec) -> Flow | DequantizedFlow:
    """The model that a config's `model` section describes, for the given data.

    Raises:
      UserError: for what does not go together, or not with the data.
    """
    requirements.check(model, spec, REQUIREMENTS)
    if spec.kind == "bytes":
        flow = _flow(model, dataclasses.replace(spec, kind="real"))
        return DequantizedFlow(spec, flow, _noise(model, spec.shape))
    return _flow(model, spec)


def _flow(model: ConfigDict, spec: DataSpec) -> Flow:
    parts: list[b.Bijection] = [b.Logit(model.alpha)] if spec.is_dequantized else []
    if model.flow == "multiscale":
        parts += _scales(model, spec.shape)
    elif model.flow == "transformer":
        parts += _of_patches(model, spec.shape)
    else:
        parts += [b.Flatten(spec.shape), b.Stack(_layer(model, spec), model.layers)]
    if model.final_scale:
        parts.append(b.Scale())
    base = model.base
    if base == "mixture":
        # Under a logistic density, a map by logit F gives the mixture whose function is F.
        mixture = elementwise.LogisticMixture(model.components, model.scale_limit)
        network = MADE(spec.num_dims, tuple(model.hidden), mixture.num_params, starts_at_zero=True)
        parts.append(b.MaskedAutoregressive(mixture, network))
        base = "logistic"
    given = (tuple(spec.given) or ("label",)) if model.conditional else ()
    return Flow(spec, b.Chain(tuple(parts)), base, given)


def _noise(model: ConfigDict, shape: tuple[int, ...]) -> b.Bijection | None:
    """Of variational dequantisation: couplings on a chess board that are given the picture."""
    if model.dequantization == "uniform":
        return None
    transform = _transform(model)
    network = GatedConvolutions(model.noise_features, model.convolutions, transform.num_params)
    pair = b.Chain(tuple(_pair("checker", transform, lambda: network)))
    return b.Chain((b.Logit(0.0), b.Stack(pair, model.noise_layers), b.Flatten(shape)))


def _transform(model: ConfigDict) -> elementwise.Elementwise:
    if model.transform == "additive":
        return elementwise.Additive()
    if model.transform == "affine":
        return elementwise.Affine(model.scale_limit)
    if model.transform == "logistic_mixture":
        return elementwise.LogisticMixture(model.components, model.scale_limit)
    return elementwise.Spline(model.bins, model.bound)


def _between(model: ConfigDict) -> list[b.Bijection]:
    """What stands before the couplings of a layer."""
    norm = [b.ActNorm()] if model.act_norm else []
    return norm + {"matrix": [b.Mixing()], "reverse": [b.Reverse()], "none": []}[model.mixing]


def _layer(model: ConfigDict, spec: DataSpec) -> b.Bijection:
    """A layer of vectors."""
    transform, hidden = _transform(model), tuple(model.hidden)
    if model.flow == "autoregressive":
        network = MADE(spec.num_dims, hidden, transform.num_params, starts_at_zero=True)
        return b.Chain((*_between(model), b.MaskedAutoregressive(transform, network)))
    if model.flow == "continuous":
        return b.Chain((*_between(model), b.Continuous(Perceptron(hidden, 1), model.ode_steps)))
    network = Perceptron(hidden, transform.num_params)
    return b.Chain((*_between(model), *_pair("alternate", transform, lambda: network)))


def _of_patches(model: ConfigDict, shape: tuple[int, int, int]) -> list[b.Bijection]:
    """Autoregressive layers over patches, whose order turns round in between.

    Raises:
      UserError: if the squares do not fill the image.
    """
    if shape[0] % model.patch or shape[1] % model.patch:
        raise UserError(
            f"model.patch={model.patch} must divide the image's sides, {shape[0]} and {shape[1]}"
        )
    requirements.check_heads(model)
    transform, size = _transform(model), model.patch * model.patch * shape[2]
    places = (shape[0] // model.patch, shape[1] // model.patch)
    network = Transformer(
        (size,),
        Reader(model.features, 0, places),
        Head((size,), transform.num_params, starts_at_zero=True),
        model.blocks,
        model.heads,
        window=math.prod(places),
    )
    layer = b.Chain((b.MaskedAutoregressive(transform, network), b.Reverse(1)))
    patches = (math.prod(places), size)
    return [b.Patches(shape, model.patch), b.Stack(layer, model.layers), b.Flatten(patches)]


def _pair(mask: str, transform: elementwise.Elementwise, network) -> list[b.Bijection]:
    """Two couplings, in the second of which the other half stays."""
    return [b.Coupling(mask, odd, transform, network()) for odd in (False, True)]


def _scales(model: ConfigDict, shape: tuple[int, int, int]) -> list[b.Bijection]:
    """Chess-board couplings, then for each scale a squeeze, couplings by channels, and half of
    the channels done.

    Raises:
      UserError: unless each scale has a width.
    """
    transform = _transform(model)

    def network(features: int) -> Callable[[], nn.Module]:
        return functools.partial(
            GatedConvolutions, features, model.convolutions, transform.num_params
        )

    norm = [b.ActNorm()] if model.act_norm else []
    checker = b.Chain((*norm, *_pair("checker", transform, network(model.features))))
    widths = tuple(model.channel_features) or (model.features,) * len(model.channel_layers)
    if len(widths) != len(model.channel_layers):
        raise UserError(
            f"model.channel_features={widths} needs a width for each of "
            f"channel_layers={tuple(model.channel_layers)}"
        )
    parts: list[b.Bijection] = []
    if model.checker_layers:
        parts.append(b.Stack(checker, model.checker_layers))

    def scale(number: int, shape: tuple[int, int, int]) -> b.Bijection:
        height, width, channels = shape[0] // 2, shape[1] // 2, 4 * shape[2]
        by_channel = b.Chain(
            (*_between(model), *_pair("halves", transform, network(widths[number])))
        )
        stack = b.Stack(by_channel, model.channel_layers[number])
        inner = (height, width, channels)
        more = number + 1 < len(model.channel_layers)
        halved = (height, width, channels // 2)
        if more and height % 2 == 0 and width % 2 == 0:
            end = b.FactorOut(inner, scale(number + 1, halved))
        else:
            end = b.Flatten(inner)
        return b.Chain((b.Squeeze(), stack, end))

    return [*parts, scale(0, shape) if model.channel_layers else b.Flatten(shape)]


DEFINITION = FamilyDefinition(
    name="flow",
    models=(Flow, DequantizedFlow),
    build=build,
    settings=SETTINGS,
    sample_options={"temperature": TEMPERATURE},
    validation_metrics=("nll",),
    metrics=("nll",),
)
