"""Generative adversarial networks (Goodfellow et al. 2014, arXiv 1406.2661)."""

from collections.abc import Mapping

from ml_collections import ConfigDict

from gen_jax.data.spec import DataSpec
from gen_jax.families import alarms, requirements
from gen_jax.families.adversarial import LOSSES
from gen_jax.families.alarms import Alarm, Rule
from gen_jax.families.base import TEMPERATURE, FamilyDefinition
from gen_jax.families.gan import networks
from gen_jax.families.gan.family import GAN
from gen_jax.families.gan.networks import Discriminator, Generator
from gen_jax.families.gan.penalties import PENALTIES
from gen_jax.families.requirements import GRADIENTS, IMAGES, Requirement, Values, only, other_than
from gen_jax.nn.augment import AUGMENTATIONS
from gen_jax.settings import Setting

SETTINGS = {
    "network": Setting("dcgan", "of both players", choices=tuple(networks.NETWORKS)),
    "generator_widths": Setting((64, 128, 256), "from the image inwards", minimum=1),
    "discriminator_widths": Setting((64, 128, 256), "from the image inwards", minimum=1),
    "generator_norm": Setting("none", "of the generator's layers", choices=("none", "batch")),
    "spectral_norm": Setting(False, "of the discriminator's layers"),
    "latent_dim": Setting(64, "dimensions of z", minimum=1),
    "loss": Setting("relativistic", "of both players", choices=tuple(LOSSES)),
    "penalty": Setting("r1_r2", "of the discriminator's gradient", choices=tuple(PENALTIES)),
    "penalty_weight": Setting(
        (1.0, 1.0), "at the start, and after burn_in_steps along a cosine", per_replica=True
    ),
    "augment_probability": Setting(
        (1.0, 1.0), "at the start, and after burn_in_steps along a cosine"
    ),
    "burn_in_steps": Setting(0, "how long these two change"),
    "augmentations": Setting(
        (), "of all that the discriminator sees", choices=tuple(AUGMENTATIONS), element=""
    ),
    "pack": Setting(1, "examples that the discriminator sees side by side", minimum=1),
    "generator_condition": Setting(
        "none",
        "on the label: it joins z (concat) or sets scales and offsets (norm)",
        choices=networks.GENERATOR_CONDITIONS,
    ),
    "discriminator_condition": Setting(
        "none",
        "on the label: it joins x (concat), its embedding meets the features (projection), or a "
        "second output classifies (auxiliary)",
        choices=networks.DISCRIMINATOR_CONDITIONS,
    ),
    "simultaneous": Setting(False, "both players in one turn, on one minibatch"),
    "discriminator_updates": Setting(1, "turns within a step", minimum=1, maximum=1_000),
    "generator_updates": Setting(1, "turns within a step", minimum=1, maximum=1_000),
}

_PAIR = Values(" with two numbers", lambda value: len(value) == 2, (1.0, 1.0))
_ENDS = "it is a pair: at the start, and after the burn-in"

REQUIREMENTS = (
    Requirement(
        {},
        {"data": GRADIENTS},
        "the generator learns from the discriminator's gradient in x",
        "use --config.data.preprocess=bytes or uniform_dequantization",
    ),
    *networks.REQUIREMENTS,
    Requirement(
        {"augmentations": other_than(())},
        {"data": IMAGES},
        "augmentations are of images",
        "use --config.model.augmentations='()'",
    ),
    Requirement({"simultaneous": only(True)}, {"generator_updates": only(1)}, "it is one turn"),
    Requirement({"simultaneous": only(True)}, {"discriminator_updates": only(1)}, "it is one turn"),
    Requirement({}, {"penalty_weight": _PAIR}, _ENDS),
    Requirement({}, {"augment_probability": _PAIR}, _ENDS),
)

_AGAINST_COLLAPSE = (
    "try --config.model.penalty=r1_r2 with a larger model.penalty_weight, "
    "--config.model.loss=relativistic or, without labels, --config.model.pack=2"
)
OVERFITTED = 0.5  # r_v: half way from training data to generated ones
SATURATED = 0.5


def _overfitting(row: Mapping[str, float]) -> Alarm | None:
    """The discriminator knows its training data by heart (metric `discriminator`)."""
    if row["overfitting"] <= OVERFITTED:
        return None
    evidence = (
        f"the discriminator gives held-out data logits {row['overfitting']:.0%} of the way from "
        "training data to samples"
    )
    advice = (
        "try --config.model.augmentations=\"('translation',)\" or a larger model.penalty_weight"
    )
    return Alarm("overfitting", evidence, advice)


def _divergence(row: Mapping[str, float]) -> Alarm | None:
    """The generator's loss is flat where its samples are."""
    if row["saturated"] <= SATURATED:
        return None
    evidence = (
        f"from {row['saturated']:.0%} of its samples the generator learns nothing, as its loss is "
        "flat there"
    )
    advice = "try --config.model.penalty=r1_r2, another model.loss or a lower optim.lr"
    return Alarm("divergence", evidence, advice)


def build(model: ConfigDict, spec: DataSpec) -> GAN:
    """The GAN that a config's `model` section describes, for the given data.

    Raises:
      UserError: if the section names something unknown or does not suit the data.
    """
    requirements.check(model, spec, REQUIREMENTS)
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
        given=("label",) if model.generator_condition != "none" else (),
        turns=turns,
        loss=model.loss,
        penalty=model.penalty,
        penalty_weight=tuple(model.penalty_weight),
        augmentations=tuple(model.augmentations),
        augment_probability=tuple(model.augment_probability),
        burn_in_steps=model.burn_in_steps,
        pack=model.pack,
    )


DEFINITION = FamilyDefinition(
    name="gan",
    models=(GAN,),
    build=build,
    settings=SETTINGS,
    sample_options={"temperature": TEMPERATURE},
    validation_metrics=("discriminator",),
    metrics=("fid", "kid", "prdc"),
    alarms=(
        alarms.missing_modes(_AGAINST_COLLAPSE),
        alarms.low_recall(_AGAINST_COLLAPSE),
        Rule(("overfitting",), _overfitting),
        Rule(("saturated",), _divergence),
    ),
)
