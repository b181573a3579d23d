"""Variational autoencoders (Kingma and Welling 2014, arXiv 1312.6114)."""

from ml_collections import ConfigDict

from gen_jax import likelihoods
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.families.vae.family import VAE, PlainAutoencoder
from gen_jax.families.vae.networks import ACTIVATIONS, NETWORKS, VAENetwork

# What `build` gives, so that an error can say who has an ability.
FAMILIES = (VAE, PlainAutoencoder)


def default_model() -> ConfigDict:
    model = ConfigDict()
    model.network = "mlp"  # or "conv"
    model.hidden = (200, 200)  # widths from the data to the latents; the decoder mirrors them
    model.activation = "tanh"
    model.latent_dim = 50
    model.likelihood = "bernoulli"
    model.sigma = 0.0  # Gaussian likelihood: its standard deviation; 0: learned
    model.conditional = False  # encoder and decoder are given the label
    model.autoencoder = False  # no noise and no KL: a plain autoencoder
    model.beta = 1.0  # weight of the KL
    model.beta_warmup_steps = 0  # linear from 0 to beta
    model.dtype = "float32"  # of the networks' arithmetic; or "bfloat16"
    return model


def build(model: ConfigDict, spec: DataSpec) -> PlainAutoencoder:
    """The VAE that a config's `model` section describes, for the given data.

    Raises:
      UserError: if the section names something unknown or does not suit the data.
    """
    choices = (
        ("network", NETWORKS),
        ("activation", ACTIVATIONS),
        ("dtype", ("float32", "bfloat16")),
    )
    for key, valid in choices:
        if model[key] not in valid:
            raise UserError(f"unknown model.{key} {model[key]!r}; valid are: {', '.join(valid)}")
    if model.network == "conv" and not spec.is_image:
        raise UserError("model.network='conv' needs images; use --config.model.network=mlp")
    if model.conditional and not spec.num_classes:
        raise UserError("model.conditional needs labels, and these data have none")
    options = {"sigma": model.sigma or None} if model.likelihood == "gaussian" else {}
    likelihood = likelihoods.make(model.likelihood, spec, **options)
    network = VAENetwork(
        spec=spec,
        kind=model.network,
        hidden=tuple(model.hidden),
        activation=model.activation,
        latent_dim=model.latent_dim,
        num_params=likelihood.num_params,
        num_classes=spec.num_classes if model.conditional else 0,
        dtype=model.dtype,
    )
    if model.autoencoder:
        return PlainAutoencoder(spec, network, likelihood)
    return VAE(spec, network, likelihood, model.beta, model.beta_warmup_steps)
