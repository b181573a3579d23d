"""Diffusion models: noise is removed a little at a time (Sohl-Dickstein et al. 2015)."""

import dataclasses

import flax.linen as nn
from ml_collections import ConfigDict

from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.families import requirements
from gen_jax.families.base import FamilyDefinition
from gen_jax.families.diffusion.absorbing import AbsorbingDiffusion
from gen_jax.families.diffusion.consistency import ConsistencyModel
from gen_jax.families.diffusion.family import WEIGHTINGS, Diffusion
from gen_jax.families.diffusion.networks import Perceptron, Transformer, UNet
from gen_jax.families.diffusion.process import (
    PREDICTIONS,
    SCALINGS,
    SCHEDULES,
    LogNormal,
    Process,
)
from gen_jax.families.diffusion.restoration import METHODS
from gen_jax.families.diffusion.samplers import SAMPLERS
from gen_jax.families.diffusion.variational import VariationalDiffusion
from gen_jax.families.requirements import (
    CONDITIONS,
    IMAGES,
    LABELS,
    Requirement,
    Values,
    only,
    other_than,
)
from gen_jax.settings import Setting

SETTINGS = {
    "process": Setting(
        "noise",
        "noise: of real numbers; variational: of bytes, with a bound and learned ends; absorbing: "
        "elements of binary data or tokens are hidden; consistency: of real numbers, distilled "
        "from a run of noise that init_from names",
        choices=("noise", "variational", "absorbing", "consistency"),
    ),
    "network": Setting(
        "unet",
        "unet: of images; transformer: of images or sequences; mlp: of vectors",
        choices=("unet", "transformer", "mlp"),
    ),
    "features": Setting(32, "of a U-Net at the full size, a multiple of 8", minimum=8, smoke=8),
    "multipliers": Setting(
        (1, 2, 2), "of them at each size, which halves", minimum=1, smoke=(1, 1)
    ),
    "blocks": Setting(1, "residual ones at each size", minimum=1, smoke=1),
    "patch": Setting(
        1, "side of squares of pixels that a U-Net or a transformer reads as one place", minimum=1
    ),
    "layers": Setting(4, "blocks of a transformer", minimum=1, smoke=1),
    "heads": Setting(
        4, "of the attention, at a U-Net's coarsest size or everywhere", minimum=1, smoke=1
    ),
    "hidden": Setting(
        (256, 256, 256), "widths of a perceptron's layers", minimum=1, smoke=(16, 16)
    ),
    "schedule": Setting(
        "cosine", "which noise there is when: log_normal is EDM's", choices=tuple(SCHEDULES)
    ),
    "noise_mean": Setting(
        LogNormal.mean,
        "of ln sigma of log_normal, P_mean of EDM, of data with a deviation of 1/2",
        minimum=-10.0,
        maximum=10.0,
    ),
    "noise_std": Setting(LogNormal.std, "of ln sigma of log_normal, P_std of EDM", minimum=0.01),
    "least_noise": Setting(
        LogNormal.least,
        "sigma of log_normal with which sampling ends, sigma_min of EDM; well below the width of "
        "the narrowest posterior or mode",
        minimum=1e-5,
        maximum=1.0,
    ),
    "scaling": Setting(
        "preserving",
        "alpha^2 + sigma^2 = 1; exploding: alpha = 1; convex: alpha + sigma = 1",
        choices=tuple(SCALINGS),
    ),
    "prediction": Setting("v", "what the network says", choices=tuple(PREDICTIONS)),
    "weighting": Setting("simple", "of the loss at each noise level", choices=WEIGHTINGS),
    "ode_steps": Setting(100, "of the ODE that gives the density", minimum=1, smoke=5),
    "bound_steps": Setting(
        100, "of the absorbing process whose bound is its likelihood", minimum=1, smoke=3
    ),
    "bound_samples": Setting(
        10, "times at which a variational model's bound is estimated", minimum=1, smoke=2
    ),
    "ladder_steps": Setting(
        40, "noise levels between which a consistency model's teacher steps", minimum=2, smoke=4
    ),
    "fourier": Setting(
        (),
        "n of sin(2^n pi z) and cos(2^n pi z), which a variational network reads beside z",
        minimum=0,
        maximum=10,
        element=7,
    ),
    "conditional": Setting(
        False, "whether the model is given the label, or what else the data have of an example"
    ),
    "label_dropout": Setting(
        0.1, "how often training leaves out the label, for guidance", maximum=1.0
    ),
    "dtype": Setting("float32", "of the network's arithmetic", choices=("float32", "bfloat16")),
}

SAMPLE_OPTIONS = {
    "sampler": Setting(
        "dpm",
        "ddim, corrected, heun, dpm or adaptive",
        choices=tuple(SAMPLERS),
        affects="figures",
    ),
    "tolerance": Setting(
        1e-3, "of adaptive, relative and absolute", minimum=1e-7, affects="figures"
    ),
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
    "guidance_interval": Setting(
        (0.0, 1_000.0),
        "least and most noise with guidance, as sigma / alpha of standardised data",
        minimum=0.0,
        affects="figures",
    ),
}

_REAL = Values(
    "real numbers (--config.data.preprocess=uniform_dequantization)",
    lambda spec: spec.kind == "real",
    None,
)

_BYTES = Values("bytes (--config.data.preprocess=bytes)", lambda spec: spec.kind == "bytes", None)
_DISCRETE = Values(
    "binary data or tokens (--config.data.preprocess=dynamic_binarization)",
    lambda spec: spec.kind in ("binary", "tokens"),
    None,
)
_NO_VECTORS = Values("images or sequences", lambda spec: spec.is_image or bool(spec.medium), None)

REQUIREMENTS = (
    Requirement(
        {"process": only("noise", "consistency")}, {"data": _REAL}, "noise is added to real numbers"
    ),
    Requirement({"process": only("variational")}, {"data": _BYTES}, "it has a bound on their bits"),
    Requirement({"process": only("absorbing")}, {"data": _DISCRETE}, "elements are hidden"),
    *(
        Requirement(
            {name: other_than(SETTINGS[name].default)},
            {"schedule": only("log_normal")},
            "it is of EDM's noise",
        )
        for name in ("noise_mean", "noise_std", "least_noise")
    ),
    Requirement({"network": only("unet")}, {"data": IMAGES}, "it has convolutions"),
    Requirement({"network": only("transformer")}, {"data": _NO_VECTORS}, "it has places"),
    Requirement({"conditional": only(True)}, {"data": CONDITIONS}, "there is nothing to be given"),
    Requirement(
        {"conditional": only(True), "process": only("variational", "absorbing")},
        {"data": LABELS},
        "it is given labels alone",
    ),
)


def build(
    model: ConfigDict, spec: DataSpec
) -> Diffusion | VariationalDiffusion | AbsorbingDiffusion | ConsistencyModel:
    """The model that a config's `model` section describes, for the given data.

    Raises:
      UserError: for what does not go together, or not with the data.
    """
    requirements.check(model, spec, REQUIREMENTS)
    given = (tuple(spec.given) or ("label",)) if model.conditional else ()
    common = {"spec": spec, "given": given, "label_dropout": model.label_dropout}
    channels = spec.shape[-1] if spec.is_image else 1
    if model.process == "absorbing":
        network = _network(model, spec, channels * spec.num_values)
        return AbsorbingDiffusion(network=network, bound_steps=model.bound_steps, **common)
    schedule = SCHEDULES[model.schedule]
    if model.schedule == "log_normal":
        schedule = LogNormal(model.noise_mean, model.noise_std, model.least_noise)
    process = Process(schedule, model.scaling, model.prediction)
    network = _network(model, spec, spec.shape[-1])
    if model.process == "variational":
        return VariationalDiffusion(
            network=network,
            process=dataclasses.replace(process, scaling="preserving"),
            fourier=tuple(model.fourier),
            bound_samples=model.bound_samples,
            ode_steps=model.ode_steps,
            **common,
        )
    diffusion = Diffusion(
        network=network,
        process=process,
        weighting=model.weighting,
        ode_steps=model.ode_steps,
        **common,
    )
    if model.process == "consistency":
        return ConsistencyModel(diffusion, model.ladder_steps)
    return diffusion


def _network(model: ConfigDict, spec: DataSpec, outputs: int) -> nn.Module:
    """The network of so many output channels.

    Raises:
      UserError: for widths, heads or patches that do not divide what they must.
    """
    if model.network == "mlp":
        return Perceptron(outputs, tuple(model.hidden), model.dtype)
    if spec.is_image and (spec.shape[0] % model.patch or spec.shape[1] % model.patch):
        raise UserError(
            f"model.patch={model.patch} must divide the image's sides, {spec.shape[0]} and "
            f"{spec.shape[1]}"
        )
    if model.network == "transformer":
        requirements.check_heads(model)
        return Transformer(
            model.features, outputs, model.layers, model.heads, model.patch, model.dtype
        )
    coarsest = model.features * model.multipliers[-1]
    if model.features % 8 or coarsest % model.heads:
        raise UserError(
            f"model.features={model.features} must be a multiple of 8, and model.heads="
            f"{model.heads} divide the coarsest size's {coarsest}"
        )
    return UNet(
        model.features,
        outputs,
        tuple(model.multipliers),
        model.blocks,
        model.heads,
        model.patch,
        model.dtype,
    )


DEFINITION = FamilyDefinition(
    name="diffusion",
    models=(Diffusion, VariationalDiffusion, AbsorbingDiffusion, ConsistencyModel),
    build=build,
    settings=SETTINGS,
    sample_options=SAMPLE_OPTIONS,
    validation_metrics=("denoising_mse",),
    metrics=("nll",),
)
