"""Autoencoders with discrete latents (van den Oord et al. 2017, arXiv 1711.00937)."""

import math

from ml_collections import ConfigDict

from gen_jax import likelihoods
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.families.base import check_sizes
from gen_jax.families.vqvae.family import VQVAE
from gen_jax.families.vqvae.networks import VQVAENetwork
from gen_jax.families.vqvae.quantizers import Quantizer, ScalarQuantizer, VectorQuantizer

FAMILIES = (VQVAE,)

QUANTIZERS = ("vq", "fsq")

MAX_CODES = 2**20  # each is counted, in training and in evaluation


def default_model() -> ConfigDict:
    model = ConfigDict()
    model.width = 64  # channels of every layer
    model.residual_blocks = 2  # of the encoder, and of the decoder
    model.likelihood = "bernoulli"
    model.likelihood_components = 10  # of discretized_logistic_mixture
    model.sigma = 0.1  # Gaussian likelihood: its standard deviation; 0: learned
    model.quantizer = "vq"  # a learned codebook; or "fsq", finite scalar quantisation
    # Of a learned codebook:
    model.codebook_size = 512
    model.code_dim = 16
    model.decay = 0.99  # of its moving averages, a step
    model.commitment = 0.25  # weight of the encoder's distance from it
    model.restart_threshold = 0.1  # codes under this part of an even share are moved; 0: none
    # Of fsq: levels of each dimension of a code; the codebook is all their combinations.
    model.levels = (8, 8, 8)
    model.dtype = "float32"  # of the networks' arithmetic; or "bfloat16"
    return model


def build(model: ConfigDict, spec: DataSpec) -> VQVAE:
    """The VQ-VAE that a config's `model` section describes, for the given data.

    Raises:
      UserError: if the section has something unknown or does not suit the data.
    """
    for key, valid in (("quantizer", QUANTIZERS), ("dtype", ("float32", "bfloat16"))):
        if model[key] not in valid:
            raise UserError(f"unknown model.{key} {model[key]!r}; valid are: {', '.join(valid)}")
    if not spec.is_image:
        raise UserError("a VQ-VAE needs images; choose another --config.data.name")
    sizes = ("width", "codebook_size", "code_dim", "likelihood_components")
    check_sizes(model, sizes, repeats=("residual_blocks",))
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
