"""Very deep variational autoencoders (Child 2021, arXiv 2011.10650)."""

from ml_collections import ConfigDict

from gen_jax import likelihoods
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.families import alarms, requirements
from gen_jax.families.base import TEMPERATURE, FamilyDefinition
from gen_jax.families.requirements import IMAGES, Requirement
from gen_jax.families.vdvae.family import VDVAE
from gen_jax.families.vdvae.networks import VDVAENetwork
from gen_jax.settings import Setting

SETTINGS = {
    "blocks": Setting(
        (1, 2, 2, 1),
        "layers of latents at each resolution, from the data's down: each is half of the one "
        "before, and the last is 1x1; the path up has as many blocks",
        maximum=1_000,
    ),
    "width": Setting(32, "channels of both paths", minimum=1),
    "inner_width": Setting(8, "channels of the bottlenecks", minimum=1),
    "latent_channels": Setting(4, "latents at each pixel of a layer", minimum=1),
    **likelihoods.SETTINGS,
    "beta": Setting(1.0, "weight of the rate", per_replica=True),
    "beta_warmup_steps": Setting(0, "it rises linearly from 0 over so many steps"),
    "dtype": Setting("float32", "of the networks' arithmetic", choices=("float32", "bfloat16")),
}

REQUIREMENTS = (Requirement({}, {"data": IMAGES}, "a VDVAE is of convolutions"),)


def build(model: ConfigDict, spec: DataSpec) -> VDVAE:
    """The VDVAE that a config's `model` section describes, for the given data.

    Raises:
      UserError: if the section names something unknown or does not suit the data.
    """
    requirements.check(model, spec, REQUIREMENTS)
    _check_blocks(tuple(model.blocks), spec)
    likelihood = likelihoods.from_config(model, spec)
    network = VDVAENetwork(
        spec=spec,
        blocks=tuple(model.blocks),
        width=model.width,
        inner=model.inner_width,
        latent_channels=model.latent_channels,
        num_params=likelihood.num_params,
        dtype=model.dtype,
    )
    return VDVAE(spec, network, likelihood, model.beta, model.beta_warmup_steps)


def _check_blocks(blocks: tuple[int, ...], spec: DataSpec) -> None:
    """Each resolution is smaller than the last, and there is a layer of latents somewhere."""
    size = spec.shape[:2]
    most = max(n - 1 for n in size).bit_length() + 1  # halvings to 1x1
    least = min(most, 2)
    if not least <= len(blocks) <= most:
        raise UserError(
            f"model.blocks={blocks} has {len(blocks)} resolutions, and images of "
            f"{size[0]}x{size[1]} have {least} to {most}: "
            f"--config.model.blocks='{(1,) * most}'"
        )
    if min(blocks) < 0 or not any(blocks):
        raise UserError(
            f"model.blocks={blocks} must be numbers of layers, at least one of them above 0: "
            f"--config.model.blocks='{(1,) * len(blocks)}'"
        )


DEFINITION = FamilyDefinition(
    name="vdvae",
    models=(VDVAE,),
    build=build,
    settings=SETTINGS,
    sample_options={"temperature": TEMPERATURE},
    validation_metrics=("elbo",),
    metrics=("elbo", "nll", "active_units"),
    alarms=(
        alarms.posterior_collapse(
            "try --config.model.beta_warmup_steps or a lower model.beta",
        ),
        alarms.top_layer_collapse("try --config.model.beta_warmup_steps or fewer layers"),
    ),
)
