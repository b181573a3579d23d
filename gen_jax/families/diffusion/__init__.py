"""Diffusion models: noise is removed a little at a time (Sohl-Dickstein et al. 2015)."""

from ml_collections import ConfigDict

from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.families import requirements
from gen_jax.families.base import FamilyDefinition
from gen_jax.families.diffusion.family import WEIGHTINGS, Diffusion
from gen_jax.families.diffusion.networks import Perceptron, UNet
from gen_jax.families.diffusion.process import PREDICTIONS, SCALINGS, SCHEDULES, Process
from gen_jax.families.diffusion.restoration import METHODS
from gen_jax.families.diffusion.samplers import SAMPLERS
from gen_jax.families.requirements import CONDITIONS, IMAGES, Requirement, Values, only
from gen_jax.settings import Setting

SETTINGS = {
    "network": Setting("unet", "unet: of images; mlp: of vectors", choices=("unet", "mlp")),
    "features": Setting(32, "of a U-Net at the full size, a multiple of 8", minimum=8, smoke=8),
    "multipliers": Setting(
        (1, 2, 2), "of them at each size, which halves", minimum=1, smoke=(1, 1)
    ),
    "blocks": Setting(1, "residual ones at each size", minimum=1, smoke=1),
    "heads": Setting(4, "of the attention at the coarsest size", minimum=1, smoke=1),
    "hidden": Setting((256, 256, 256), "widths of a perceptron's layers", minimum=1),
    "schedule": Setting(
        "cosine", "which noise there is when: log_normal is EDM's", choices=tuple(SCHEDULES)
    ),
    "scaling": Setting(
        "preserving",
        "alpha^2 + sigma^2 = 1; exploding: alpha = 1; convex: alpha + sigma = 1",
        choices=tuple(SCALINGS),
    ),
    "prediction": Setting("v", "what the network says", choices=tuple(PREDICTIONS)),
    "weighting": Setting("simple", "of the loss at each noise level", choices=WEIGHTINGS),
    "ode_steps": Setting(100, "of the ODE that gives the density", minimum=1, smoke=5),
    "conditional": Setting(
        False, "whether the model is given the label, or what else the data have of an example"
    ),
    "label_dropout": Setting(
        0.1, "how often training leaves out the label, for guidance", maximum=1.0
    ),
    "dtype": Setting("float32", "of the network's arithmetic", choices=("float32", "bfloat16")),
}

SAMPLE_OPTIONS = {
    "sampler": Setting("dpm", "ddim, heun or dpm", choices=tuple(SAMPLERS), affects="figures"),
    "steps": Setting(50, "of the sampler", minimum=1, maximum=100_000, smoke=3, affects="figures"),
    "eta": Setting(0.0, "noise of ddim; 1: the ancestral sampler", maximum=1.0, affects="figures"),
    "churn": Setting(0.0, "noise of heun, S_churn of EDM", affects="figures"),
    "restoration": Setting(
        "mmps", "how what was measured is followed", choices=tuple(METHODS), affects="figures"
    ),
    "restoration_eta": Setting(
        1.0, "as eta, where what was measured is given", maximum=1.0, affects="figures"
    ),
    "restoration_strength": Setting(1.0, "of dps, its zeta", affects="figures"),
    "resamplings": Setting(
        1, "of each step of replacement; more: RePaint", minimum=1, affects="figures"
    ),
    "particles": Setting(16, "of tds, for each draw", minimum=1, smoke=2, affects="figures"),
    "guidance": Setting(1.0, "weight of the label; 1: none", affects="figures"),
}

_REAL = Values(
    "real numbers (--config.data.preprocess=uniform_dequantization)",
    lambda spec: spec.kind == "real",
    None,
)

REQUIREMENTS = (
    Requirement({}, {"data": _REAL}, "noise is added to real numbers"),
    Requirement({"network": only("unet")}, {"data": IMAGES}, "it has convolutions"),
    Requirement({"conditional": only(True)}, {"data": CONDITIONS}, "there is nothing to be given"),
)


def build(model: ConfigDict, spec: DataSpec) -> Diffusion:
    """The model that a config's `model` section describes, for the given data.

    Raises:
      UserError: for what does not go together, or not with the data.
    """
    requirements.check(model, spec, REQUIREMENTS)
    network = Perceptron(tuple(model.hidden), model.dtype)
    if model.network == "unet":
        coarsest = model.features * model.multipliers[-1]
        if model.features % 8 or coarsest % model.heads:
            raise UserError(
                f"model.features={model.features} must be a multiple of 8, and model.heads="
                f"{model.heads} divide the coarsest size's {coarsest}"
            )
        network = UNet(
            model.features, tuple(model.multipliers), model.blocks, model.heads, model.dtype
        )
    return Diffusion(
        spec=spec,
        network=network,
        process=Process(model.schedule, model.scaling, model.prediction),
        weighting=model.weighting,
        given=(tuple(spec.given) or ("label",)) if model.conditional else (),
        label_dropout=model.label_dropout,
        ode_steps=model.ode_steps,
    )


DEFINITION = FamilyDefinition(
    name="diffusion",
    models=(Diffusion,),
    build=build,
    settings=SETTINGS,
    sample_options=SAMPLE_OPTIONS,
    validation_metrics=("denoising_mse",),
    metrics=("nll",),
)
