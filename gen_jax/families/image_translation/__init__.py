"""Translation of pictures into others (Isola et al. 2017; Zhu et al. 2017)."""

from ml_collections import ConfigDict

from gen_jax.data.spec import SOURCE, DataSpec
from gen_jax.families import requirements
from gen_jax.families.adversarial import LOSSES
from gen_jax.families.base import FamilyDefinition
from gen_jax.families.image_translation.family import PairedTranslation, UnpairedTranslation
from gen_jax.families.image_translation.networks import (
    PatchDiscriminator,
    ResNet,
    StyleDecoder,
    StyleEncoder,
    UNet,
)
from gen_jax.families.image_translation.style import StyleTransfer
from gen_jax.families.requirements import GRADIENTS, IMAGES, Requirement, Values, not_empty, only
from gen_jax.settings import Setting

SETTINGS = {
    "method": Setting(
        "pix2pix",
        "pix2pix: of pictures that belong together; cyclegan: of two sets; adain: of two sets, "
        "in the style of the second",
        choices=("pix2pix", "cyclegan", "adain"),
    ),
    "network": Setting("unet", "of the generators", choices=("unet", "resnet")),
    "widths": Setting(
        (64, 128, 256), "of the generators, from the picture inwards", minimum=1, smoke=(8, 8, 8)
    ),
    "discriminator_widths": Setting((64, 128), "from the picture inwards", minimum=1, smoke=(8, 8)),
    "blocks": Setting(6, "residual ones of a resnet", minimum=1, smoke=1),
    "dropout": Setting(0.5, "of a unet of pairs, in samples too: its noise", maximum=0.95),
    "loss": Setting("least_squares", "of both players", choices=tuple(LOSSES)),
    "distance_weight": Setting(
        100.0, "of the difference from the other of a pair", per_replica=True
    ),
    "cycle_weight": Setting(10.0, "of the difference after both ways", per_replica=True),
    "identity_weight": Setting(
        0.5, "of the difference of a picture that is there already, times cycle_weight"
    ),
    "style_weight": Setting(10.0, "of adain's style loss", per_replica=True),
    "pool_size": Setting(
        50,
        "pictures made earlier that discriminators see, or styles that samples take",
        minimum=1,
        smoke=4,
    ),
}

_SOURCES = Values(
    "pictures with another each", lambda spec: SOURCE in spec.given and spec.is_image, None
)
_ALIKE = Values(
    "pictures and sources of one shape",
    lambda spec: SOURCE in spec.given and spec.given[SOURCE].shape == spec.shape,
    None,
)
_THREE = Values(" with three numbers", lambda value: len(value) == 3, (32, 64, 128))

REQUIREMENTS = (
    Requirement({}, {"data": IMAGES}, "it makes pictures of pictures"),
    Requirement(
        {},
        {"data": _SOURCES},
        "they are made of something",
        "use --config.data.name=pairs:edges/NAME or unpaired:A,B",
    ),
    Requirement(
        {},
        {"data": GRADIENTS},
        "generators learn from a gradient in x",
        "use --config.data.preprocess=bytes",
    ),
    Requirement({"network": only("resnet")}, {"widths": _THREE}, "it halves pictures twice"),
    Requirement({"network": only("unet")}, {"widths": not_empty((64, 128))}, "each is a layer"),
    Requirement({}, {"discriminator_widths": not_empty((64, 128))}, "each is a layer"),
    Requirement({"method": only("adain")}, {"widths": not_empty((64, 128))}, "each is a layer"),
    Requirement({"method": only("adain")}, {"data": _ALIKE}, "one network encodes both"),
)


def build(
    model: ConfigDict, spec: DataSpec
) -> PairedTranslation | UnpairedTranslation | StyleTransfer:
    """The model that a config's `model` section describes, for the given data.

    Raises:
      UserError: for what does not go together, or not with the data.
    """
    requirements.check(model, spec, REQUIREMENTS)
    if model.method == "adain":
        widths = tuple(model.widths)
        return StyleTransfer(
            spec=spec,
            encoder=StyleEncoder(widths),
            decoder=StyleDecoder(spec.shape, widths),
            style_weight=model.style_weight,
            pool_size=model.pool_size,
        )
    discriminator = PatchDiscriminator(tuple(model.discriminator_widths))
    channels, of_source = spec.shape[-1], spec.given[SOURCE].shape[-1]
    if model.method == "pix2pix":
        return PairedTranslation(
            spec, _generator(model, channels), discriminator, model.loss, model.distance_weight
        )
    return UnpairedTranslation(
        spec=spec,
        there=_generator(model, channels),
        back=_generator(model, of_source),
        discriminator=discriminator,
        loss=model.loss,
        cycle_weight=model.cycle_weight,
        identity_weight=model.identity_weight if channels == of_source else 0.0,
        pool_size=model.pool_size,
    )


def _generator(model: ConfigDict, channels: int) -> UNet | ResNet:
    if model.network == "resnet":
        return ResNet(channels, tuple(model.widths), model.blocks)
    return UNet(channels, tuple(model.widths), model.dropout)


DEFINITION = FamilyDefinition(
    name="image_translation",
    models=(PairedTranslation, UnpairedTranslation, StyleTransfer),
    build=build,
    settings=SETTINGS,
    validation_metrics=("translation_error",),
    metrics=("fid", "kid", "prdc"),
)
