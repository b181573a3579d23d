"""Autoencoders with discrete latents (van den Oord et al. 2017, arXiv 1711.00937)."""

import dataclasses
import math

from ml_collections import ConfigDict

from gen_jax import likelihoods
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.families import requirements
from gen_jax.families.base import TEMPERATURE, FamilyDefinition
from gen_jax.families.requirements import IMAGES, Requirement
from gen_jax.families.vqvae.family import VQVAE
from gen_jax.families.vqvae.networks import VQVAENetwork
from gen_jax.families.vqvae.quantizers import Quantizer, ScalarQuantizer, VectorQuantizer
from gen_jax.settings import Setting

QUANTIZERS = ("vq", "fsq")

MAX_CODES = 2**20  # each is counted, in training and in evaluation


SETTINGS = {
    "width": Setting(64, "channels of every layer", minimum=1),
    "residual_blocks": Setting(2, "of the encoder, and of the decoder", maximum=1_000),
    **likelihoods.SETTINGS,
    "sigma": dataclasses.replace(likelihoods.SETTINGS["sigma"], default=0.1),
    "quantizer": Setting(
        "vq",
        "a learned codebook (vq), or finite scalar quantisation (fsq)",
        choices=QUANTIZERS,
    ),
    "codebook_size": Setting(512, "codes of a learned codebook", minimum=1),
    "code_dim": Setting(16, "dimensions of its codes", minimum=1),
    "decay": Setting(0.99, "of its moving averages, a step"),
    "commitment": Setting(0.25, "weight of the encoder's distance from it"),
    "restart_threshold": Setting(
        0.1, "its codes under this part of an even share are moved; 0: none"
    ),
    "levels": Setting(
        (8, 8, 8),
        "of each dimension of a code of fsq; the codebook is all their combinations",
        element=0,
    ),
    "dtype": Setting("float32", "of the networks' arithmetic", choices=("float32", "bfloat16")),
}

REQUIREMENTS = (Requirement({}, {"data": IMAGES}, "a VQ-VAE is of convolutions"),)


def build(model: ConfigDict, spec: DataSpec) -> VQVAE:
    """The VQ-VAE that a config's `model` section describes, for the given data.

    Raises:
      UserError: if the section has something unknown or does not suit the data.
    """
    requirements.check(model, spec, REQUIREMENTS)
    likelihood = likelihoods.from_config(model, spec)
    quantizer = _quantizer(model)
    network = VQVAENetwork(
        spec=spec,
        width=model.width,
        blocks=model.residual_blocks,
        code_dim=quantizer.code_dim,
        num_params=likelihood.num_params,
        dtype=model.dtype,
    )
    return VQVAE(spec, network, quantizer, likelihood)


def _quantizer(model: ConfigDict) -> Quantizer:
    if model.quantizer == "fsq":
        levels = tuple(model.levels)
        if not levels or min(levels) < 3:
            raise UserError(
                f"model.levels={levels} must be numbers from 3 up, one for each dimension; "
                'use --config.model.levels="(8, 8, 8)"'
            )
        if math.prod(levels) > MAX_CODES:
            raise UserError(
                f"model.levels={levels} make {math.prod(levels):,} codes, more than {MAX_CODES:,}; "
                'use fewer or smaller ones, as --config.model.levels="(8, 8, 8)"'
            )
        return ScalarQuantizer(levels)
    if not 0 <= model.decay < 1:
        raise UserError(f"model.decay={model.decay} must be from 0 to below 1, as 0.99")
    if model.commitment < 0:
        raise UserError(f"model.commitment={model.commitment} must be at least 0, as 0.25")
    if not 0 <= model.restart_threshold < 1:
        raise UserError(
            f"model.restart_threshold={model.restart_threshold} must be from 0 (no restarts) to "
            "below 1, as 0.1"
        )
    return VectorQuantizer(
        codebook_size=model.codebook_size,
        code_dim=model.code_dim,
        decay=model.decay,
        commitment=model.commitment,
        restart_threshold=model.restart_threshold,
    )


DEFINITION = FamilyDefinition(
    name="vqvae",
    models=(VQVAE,),
    build=build,
    settings=SETTINGS,
    sample_options={"temperature": TEMPERATURE},  # of a prior that is fitted to its encodings
    validation_metrics=("mse", "codebook"),
    metrics=("mse", "codebook"),
)
