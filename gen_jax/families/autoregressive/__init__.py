"""Autoregressive models of images, text, music and sound."""

import dataclasses

import flax.linen as nn
from ml_collections import ConfigDict

from gen_jax import likelihoods
from gen_jax.data.spec import DataSpec
from gen_jax.families import requirements
from gen_jax.families.alarms import Alarm, Rule
from gen_jax.families.autoregressive.family import CHOICES, Autoregressive, Orders
from gen_jax.families.autoregressive.pixelcnn import PixelCNN
from gen_jax.families.autoregressive.pixelrnn import LAYERS, PixelRNN
from gen_jax.families.autoregressive.pixelsnail import PixelSNAIL
from gen_jax.families.autoregressive.recurrent import CELLS, Recurrent
from gen_jax.families.autoregressive.wavenet import WaveNet
from gen_jax.families.base import TEMPERATURE, FamilyDefinition
from gen_jax.families.requirements import IMAGES, LABELS, Requirement, Values, only
from gen_jax.likelihoods import Likelihood
from gen_jax.nn.made import MADE
from gen_jax.nn.sequence import Head, Reader
from gen_jax.nn.transformer import Transformer
from gen_jax.settings import Setting

ACTIVATIONS = {"relu": nn.relu, "tanh": nn.tanh, "gelu": nn.gelu}
NETWORKS = ("made", "pixelcnn", *LAYERS, "pixelsnail", "transformer", *CELLS, "wavenet")

SETTINGS = {
    "network": Setting("made", "of the conditionals", choices=NETWORKS),
    "hidden": Setting((512, 512), "widths of MADE's layers", minimum=1),
    "activation": Setting("relu", "of MADE's layers", choices=tuple(ACTIVATIONS)),
    "order": Setting(
        "raster",
        "of the dimensions, the first of MADE's; quadrants: of a picture, the lower left first",
        choices=("raster", "reverse", "random", "quadrants"),
    ),
    "num_orders": Setting(
        1,
        "of MADE: the first and random ones, in turn; the model is their mixture",
        minimum=1,
        maximum=1_024,
    ),
    "order_seed": Setting(0, "of the random orders"),
    "features": Setting(32, "of each layer, but for MADE's", minimum=1),
    "dilations": Setting(
        (1, 2, 1, 4, 1, 2, 1),
        "of each layer of the PixelCNN after the first, or of WaveNet",
        minimum=1,
        maximum=65_536,
        element=1,
        smoke=lambda dilations: dilations[:2],
    ),
    "kernel": Setting(3, "side of the PixelCNN's windows, odd", minimum=1, maximum=31),
    "first_kernel": Setting(7, "that of its first layer's", minimum=1, maximum=31),
    "layers": Setting(
        4,
        "blocks of the transformer or the PixelSNAIL, or layers of cells",
        minimum=1,
        maximum=1_000,
        smoke=2,
    ),
    "residuals": Setting(2, "gated layers of each block of the PixelSNAIL", minimum=1, smoke=1),
    "heads": Setting(4, "of the attention of the transformer and the PixelSNAIL", minimum=1),
    "window": Setting(0, "elements that its attention sees; 0: as many as an example has"),
    "dropout": Setting(0.0, "of the transformer and of cells, in training", maximum=0.99),
    "skip": Setting(128, "of WaveNet: features of the skips", minimum=1),
    "joint": Setting(
        0, "of vectors as elements: width of the layer by which their parts depend on one another"
    ),
    "conditional": Setting(False, "whether the model is given the label"),
    "label_dropout": Setting(
        0.0, "share of training examples whose label is withheld, for guidance", maximum=0.99
    ),
    **likelihoods.SETTINGS,
}

_DISCRETE = Values(
    "binary, bytes or tokens", lambda spec: spec.kind in ("binary", "bytes", "tokens"), None
)
_GREY = Values("images of one channel", lambda spec: spec.is_image and spec.shape[2] == 1, None)
_SEQUENCES = Values("sequences", lambda spec: bool(spec.medium), None)
_NO_SEQUENCES = Values("no sequences", lambda spec: not spec.medium, None)
_FRAMES = Values("music", lambda spec: spec.medium == "music", None)
_ODD = Values(" that is odd", lambda value: value % 2 == 1, 3)
_BUT_MADE = only(*NETWORKS[1:])

REQUIREMENTS = (
    Requirement(
        {"network": only("pixelcnn", *LAYERS)}, {"data": IMAGES}, "it reads rows and columns"
    ),
    Requirement(
        {"network": only("pixelsnail")},
        {"data": _GREY},
        "it reads rows and columns of pixels of one channel",
    ),
    Requirement(
        {"network": only("transformer", "pixelsnail")},
        {"data": _DISCRETE},
        "each value has a vector of its own",
    ),
    Requirement(
        {"network": only(*CELLS, "wavenet")}, {"data": _SEQUENCES}, "it reads one after another"
    ),
    Requirement(
        {"network": _BUT_MADE},
        {"order": only("raster"), "num_orders": only(1)},
        "the network has the order of the data",
    ),
    Requirement(
        {"order": only("quadrants")}, {"data": IMAGES}, "vectors and sequences have no quadrants"
    ),
    Requirement(
        {"order": only("reverse", "random")},
        {"data": _NO_SEQUENCES},
        "each of their elements follows those before it",
        "use --config.model.order=raster",
    ),
    Requirement(
        {"num_orders": requirements.above(1, 8)},
        {"data": _NO_SEQUENCES},
        "each of their elements follows those before it",
        "use --config.model.num_orders=1",
    ),
    Requirement({"network": only("pixelcnn")}, {"kernel": _ODD, "first_kernel": _ODD}, "of sides"),
    Requirement(
        {"joint": requirements.above(0, 256)},
        {"data": _FRAMES, "network": only("transformer", *CELLS, "wavenet")},
        "it is of the keys of a frame",
    ),
    Requirement({"conditional": only(True)}, {"data": LABELS}, "there is nothing to be given"),
    Requirement(
        {"label_dropout": requirements.above(0, 0.1)},
        {"conditional": only(True)},
        "there is no label to withhold",
    ),
)


def build(model: ConfigDict, spec: DataSpec) -> Autoregressive:
    """The model that a config's `model` section describes, for the given data.

    Raises:
      UserError: for what does not go together, or not with the data.
    """
    requirements.check(model, spec, REQUIREMENTS)
    # What goes together: the channels of a PixelCNN's pixel, the keys of a frame.
    whole = model.network in ("pixelcnn", *LAYERS) or spec.medium == "music"
    element = spec.shape[-1:] if whole else (1,)
    likelihood = likelihoods.from_config(model, dataclasses.replace(spec, shape=element))
    network = _network(model, spec, element, likelihood)
    orders = Orders(spec.shape, model.order, model.num_orders, model.order_seed)
    given = ("label",) if model.conditional else ()
    joint = model.joint > 0
    return Autoregressive(spec, network, likelihood, orders, given, model.label_dropout, joint)


def _network(
    model: ConfigDict, spec: DataSpec, element: tuple[int, ...], likelihood: Likelihood
) -> nn.Module:
    num_params = likelihood.num_params
    if model.network == "made":
        activation = ACTIVATIONS[model.activation]
        return MADE(spec.num_dims, tuple(model.hidden), num_params, activation=activation)
    if model.network == "pixelcnn":
        sizes = (model.kernel, model.first_kernel)
        return PixelCNN(spec.shape, model.features, tuple(model.dilations), num_params, *sizes)
    if model.network in LAYERS:
        return PixelRNN(spec.shape, model.features, model.network, model.layers, num_params)
    values = 0 if spec.medium == "music" else spec.levels or len(spec.vocabulary)
    reader = Reader(model.features, values, spec.shape if spec.is_image else ())
    output = Head(element, num_params, model.joint)
    if model.network in CELLS:
        return Recurrent(element, reader, output, model.network, model.layers, model.dropout)
    if model.network == "wavenet":
        return WaveNet(element, reader, output, model.skip, tuple(model.dilations))
    requirements.check_heads(model)
    if model.network == "pixelsnail":
        size = (model.layers, model.residuals, model.heads, model.dropout)
        return PixelSNAIL(element, reader, output, spec.shape[:2], *size)
    window = model.window or spec.num_dims // element[0]
    return Transformer(element, reader, output, model.layers, model.heads, window, model.dropout)


def _beats(figure: str, baseline: str, what: str) -> Rule:
    """Warns of a model that a model which only counts is better than."""

    def judge(figures):
        own, counted = figures[figure], figures[baseline]
        if own < counted:
            return None
        evidence = f"{figure} {own:.4g}, and {what} has {counted:.4g}"
        return Alarm("no better than counting", evidence, "train longer, or a larger model")

    return Rule((figure, baseline), judge)


DEFINITION = FamilyDefinition(
    name="autoregressive",
    models=(Autoregressive,),
    build=build,
    settings=SETTINGS,
    sample_options={
        "temperature": TEMPERATURE,
        "decoding": Setting(
            "auto",
            "cached: one element after another, from what the network remembers; jacobi: all at "
            "once until nothing changes; sequential: by the whole network for each; auto: cached "
            "where the network can, else jacobi",
            choices=CHOICES,
            affects="nothing",
        ),
        "top_k": Setting(0, "of a categorical, the likeliest values; 0: all", affects="figures"),
        "top_p": Setting(
            1.0,
            "of a categorical, the likeliest values with this share of the probability",
            minimum=0.001,
            maximum=1.0,
            affects="figures",
        ),
        "guidance": Setting(
            0.0, "how far logits go from those without a label; 0: not", affects="figures"
        ),
        "length": Setting(0, "of sequences, elements; 0: as in training", affects="figures"),
    },
    validation_metrics=("nll",),
    metrics=("nll",),
    alarms=(
        _beats("nats_per_character", "ngram_nats_per_character", "an n-gram"),
        _beats("bits_per_sample", "bigram_bits_per_sample", "a bigram"),
        _beats("nats_per_frame", "markov_nats_per_frame", "a Markov chain of each key"),
    ),
)
