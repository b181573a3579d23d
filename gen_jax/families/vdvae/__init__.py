"""Very deep variational autoencoders (Child 2021, arXiv 2011.10650)."""

from ml_collections import ConfigDict

from gen_jax import likelihoods
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.families.base import check_sizes
from gen_jax.families.vdvae.family import VDVAE
from gen_jax.families.vdvae.networks import VDVAENetwork

FAMILIES = (VDVAE,)


def default_model() -> ConfigDict:
    model = ConfigDict()
    # Layers of latents at each resolution, from the data's down: each is half of the one before,
    # and the last is 1x1. The path up has as many blocks.
    model.blocks = (1, 2, 2, 1)
    model.width = 32  # channels of both paths
    model.inner_width = 8  # of the bottlenecks
    model.latent_channels = 4  # latents at each pixel of a layer
    model.likelihood = "bernoulli"
    model.likelihood_components = 10  # of discretized_logistic_mixture
    model.sigma = 0.0  # Gaussian likelihood: its standard deviation; 0: learned
    model.beta = 1.0  # weight of the rate
    model.beta_warmup_steps = 0  # linear from 0 to beta
    model.dtype = "float32"  # of the networks' arithmetic; or "bfloat16"
    return model


def build(model: ConfigDict, spec: DataSpec) -> VDVAE:
    """The VDVAE that a config's `model` section describes, for the given data.

    Raises:
      UserError: if the section names something unknown or does not suit the data.
    """
    if not spec.is_image:
        raise UserError("a VDVAE needs images; choose another --config.data.name")
    if model.dtype not in ("float32", "bfloat16"):
        raise UserError(f"unknown model.dtype {model.dtype!r}; valid are: float32, bfloat16")
    sizes = ("width", "inner_width", "latent_channels", "likelihood_components")
    check_sizes(model, sizes, repeats=("blocks",))
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
