"""Generative adversarial networks (Goodfellow et al. 2014, arXiv 1406.2661)."""

from ml_collections import ConfigDict

from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.families.base import check_sizes
from gen_jax.families.gan.family import GAN
from gen_jax.families.gan.losses import LOSSES
from gen_jax.families.gan.networks import NETWORKS, Discriminator, Generator
from gen_jax.families.gan.penalties import PENALTIES
from gen_jax.nn.augment import AUGMENTATIONS

FAMILIES = (GAN,)


def default_model() -> ConfigDict:
    model = ConfigDict()
    model.network = "dcgan"  # or "mlp", "infogan", "resnet"
    model.generator_widths = (64, 128, 256)  # from the image inwards
    model.discriminator_widths = (64, 128, 256)
    model.generator_norm = "none"  # or "batch"
    model.spectral_norm = False  # of the discriminator
    model.latent_dim = 64
    model.loss = "relativistic"
    model.penalty = "r1_r2"
    # Pairs: at the start, and after burn_in_steps (a cosine leads from one to the other).
    model.penalty_weight = (1.0, 1.0)
    model.augment_probability = (1.0, 1.0)
    model.burn_in_steps = 0
    model.augmentations = ()
    model.pack = 1  # examples that the discriminator sees side by side
    model.generator_condition = "none"  # or "concat", "norm"
    model.discriminator_condition = "none"  # or "concat", "projection", "auxiliary"
    model.simultaneous = False  # both players in one turn, on one minibatch
    model.discriminator_updates = 1  # turns within a step
    model.generator_updates = 1
    return model


def build(model: ConfigDict, spec: DataSpec) -> GAN:
    """The GAN that a config's `model` section describes, for the given data.

    Raises:
      UserError: if the section names something unknown or does not suit the data.
    """
    conditions = {
        "generator_condition": ("none", "concat", "norm"),
        "discriminator_condition": ("none", "concat", "projection", "auxiliary"),
    }
    valid = {
        "network": tuple(NETWORKS),
        "loss": tuple(LOSSES),
        "penalty": tuple(PENALTIES),
        "generator_norm": ("none", "batch"),
        **conditions,
    }
    for key, names in valid.items():
        if model[key] not in names:
            raise UserError(f"unknown model.{key} {model[key]!r}; valid are: {', '.join(names)}")
    updates = ("generator_updates", "discriminator_updates")
    sizes = ("generator_widths", "discriminator_widths", "latent_dim", "pack", *updates)
    check_sizes(model, sizes, repeats=updates)
    _check(model, spec, conditioned=any(model[key] != "none" for key in conditions))
    if model.simultaneous:
        turns = (("generator", "discriminator"),)
    else:
        turns = (("discriminator",),) * model.discriminator_updates
        turns += (("generator",),) * model.generator_updates
    return GAN(
        spec=spec,
        generator=Generator(
            kind=model.network,
            shape=spec.shape,
            widths=tuple(model.generator_widths),
            norm=model.generator_norm,
            condition=model.generator_condition,
        ),
        discriminator=Discriminator(
            kind=model.network,
            widths=tuple(model.discriminator_widths),
            spectral_norm=model.spectral_norm,
            condition=model.discriminator_condition,
        ),
        latent_dim=model.latent_dim,
        num_classes=spec.num_classes if model.generator_condition != "none" else 0,
        turns=turns,
        loss=model.loss,
        penalty=model.penalty,
        penalty_weight=tuple(model.penalty_weight),
        augmentations=tuple(model.augmentations),
        augment_probability=tuple(model.augment_probability),
        burn_in_steps=model.burn_in_steps,
        pack=model.pack,
    )


def _check(model: ConfigDict, spec: DataSpec, conditioned: bool) -> None:
    """Choices that do not go together."""
    if spec.kind == "binary":
        raise UserError(
            "a GAN needs data with gradients: --config.data.preprocess=bytes or "
            "uniform_dequantization"
        )
    if (model.network != "mlp" or model.augmentations) and not spec.is_image:
        raise UserError(
            "convolutions and augmentations need images; use --config.model.network=mlp and "
            "--config.model.augmentations='()'"
        )
    unknown = [name for name in model.augmentations if name not in AUGMENTATIONS]
    if unknown:
        raise UserError(
            f"unknown augmentation {unknown[0]!r}; valid are: {', '.join(AUGMENTATIONS)}"
        )
    if model.simultaneous and (model.generator_updates, model.discriminator_updates) != (1, 1):
        raise UserError(
            "model.simultaneous is one turn of both; use --config.model.generator_updates=1 and "
            "--config.model.discriminator_updates=1"
        )
    _check_network(model, spec)
    if conditioned and not spec.num_classes:
        raise UserError("model conditions need labels, and these data have none")
    if conditioned and model.pack > 1:
        raise UserError("packed examples have several labels; use --config.model.pack=1")
    if (model.generator_condition == "none") != (model.discriminator_condition == "none"):
        raise UserError(
            "a conditional GAN needs both: set model.generator_condition and "
            "model.discriminator_condition, or neither"
        )
    if model.generator_condition == "norm" and model.generator_norm == "none":
        raise UserError(
            "model.generator_condition='norm' needs --config.model.generator_norm=batch"
        )
    _check_pairs(model)


def _check_network(model: ConfigDict, spec: DataSpec) -> None:
    for key in ("generator_widths", "discriminator_widths"):
        if model.network == "infogan" and len(model[key]) != 3:
            raise UserError(
                f"model.{key}: an infogan has three; use --config.model.{key}='(64, 128, 1024)'"
            )
        if model.network in ("dcgan", "resnet") and not model[key]:
            raise UserError(f"model.{key} is empty; use --config.model.{key}='(64, 128, 256)'")
    if model.network == "dcgan" and min(spec.shape[:2]) <= 4:
        raise UserError(
            f"a dcgan halves images of more than 4x4, and these are {spec.shape[0]}x"
            f"{spec.shape[1]}; use --config.model.network=resnet or mlp"
        )
    if model.network == "resnet" and model.generator_norm != "none":
        raise UserError(
            "a resnet has no normalisation; use --config.model.generator_norm=none and, with "
            "labels, --config.model.generator_condition=concat"
        )
    if model.network == "resnet" and model.spectral_norm:
        raise UserError(
            "a resnet's blocks start at zero, of which there is no largest singular value to "
            "divide by; use --config.model.penalty=r1_r2 without model.spectral_norm, or "
            "--config.model.network=dcgan"
        )


def _check_pairs(model: ConfigDict) -> None:
    for key in ("penalty_weight", "augment_probability"):
        if len(model[key]) != 2:
            raise UserError(f"model.{key} is a pair: --config.model.{key}='(1.0, 1.0)'")
