"""Autoregressive models of images: MADE and the gated PixelCNN."""

import flax.linen as nn
from ml_collections import ConfigDict

from gen_jax import likelihoods
from gen_jax.data.spec import DataSpec
from gen_jax.families import requirements
from gen_jax.families.autoregressive import made
from gen_jax.families.autoregressive.family import DECODINGS, Autoregressive, Orders
from gen_jax.families.autoregressive.pixelcnn import PixelCNN
from gen_jax.families.base import TEMPERATURE, FamilyDefinition
from gen_jax.families.requirements import IMAGES, LABELS, Requirement, only
from gen_jax.settings import Setting

ACTIVATIONS = {"relu": nn.relu, "tanh": nn.tanh, "gelu": nn.gelu}

SETTINGS = {
    "network": Setting("made", "of the conditionals", choices=("made", "pixelcnn")),
    "hidden": Setting((512, 512), "widths of MADE's layers", minimum=1),
    "activation": Setting("relu", "of MADE's layers", choices=tuple(ACTIVATIONS)),
    "order": Setting(
        "raster", "of the dimensions, the first of MADE's", choices=("raster", "reverse", "random")
    ),
    "num_orders": Setting(
        1,
        "of MADE: the first and random ones, in turn; the model is their mixture",
        minimum=1,
        maximum=1_024,
    ),
    "order_seed": Setting(0, "of the random orders"),
    "features": Setting(32, "of each of the PixelCNN's stacks", minimum=1),
    "dilations": Setting(
        (1, 2, 1, 4, 1, 2, 1),
        "of each layer of the PixelCNN after the first",
        minimum=1,
        maximum=1_000,
        element=1,
        smoke=lambda dilations: dilations[:2],
    ),
    "kernel": Setting(3, "side of its windows, odd", minimum=1, maximum=31),
    "first_kernel": Setting(7, "that of the first layer's", minimum=1, maximum=31),
    "conditional": Setting(False, "whether the model is given the label"),
    **likelihoods.SETTINGS,
}

REQUIREMENTS = (
    Requirement({"network": only("pixelcnn")}, {"data": IMAGES}, "it reads rows and columns"),
    Requirement(
        {"network": only("pixelcnn")},
        {"order": only("raster"), "num_orders": only(1)},
        "its windows have the order of rows and columns",
    ),
    Requirement({"conditional": only(True)}, {"data": LABELS}, "there is nothing to be given"),
)


def build(model: ConfigDict, spec: DataSpec) -> Autoregressive:
    """The model that a config's `model` section describes, for the given data.

    Raises:
      UserError: for what does not go together, or not with the data.
    """
    requirements.check(model, spec, REQUIREMENTS)
    likelihood = likelihoods.from_config(model, spec)
    if model.network == "made":
        network = made.MADE(
            spec.num_dims,
            tuple(model.hidden),
            likelihood.num_params,
            ACTIVATIONS[model.activation],
        )
    else:
        network = PixelCNN(
            model.features,
            tuple(model.dilations),
            likelihood.num_params,
            model.kernel,
            model.first_kernel,
        )
    orders = Orders(spec.num_dims, model.order, model.num_orders, model.order_seed)
    given = ("label",) if model.conditional else ()
    return Autoregressive(spec, network, likelihood, orders, given)


DEFINITION = FamilyDefinition(
    name="autoregressive",
    models=(Autoregressive,),
    build=build,
    settings=SETTINGS,
    sample_options={
        "temperature": TEMPERATURE,
        "decoding": Setting(
            "jacobi",
            "jacobi: all at once until nothing changes; sequential: one after another",
            choices=tuple(DECODINGS),
            affects="nothing",
        ),
    },
    validation_metrics=("nll",),
    metrics=("nll",),
)
