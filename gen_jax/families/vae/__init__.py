"""Variational autoencoders (Kingma and Welling 2014, arXiv 1312.6114)."""

import dataclasses

from ml_collections import ConfigDict

from gen_jax import likelihoods
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.families import alarms, requirements
from gen_jax.families.base import INIT_EXAMPLES, TEMPERATURE, FamilyDefinition
from gen_jax.families.vae import (
    adversarial,
    family,
    networks,
    objectives,
    priors,
    regularizers,
    top_down,
)
from gen_jax.families.vae.adversarial import VAEGAN, Discriminator, FactorVAE
from gen_jax.families.vae.family import VAE, EncoderDecoder, PlainAutoencoder
from gen_jax.settings import Setting

ADVERSARIES = {"factor": FactorVAE, "image": VAEGAN}

SETTINGS = {
    "network": Setting("mlp", "of encoder and decoder", choices=tuple(networks.NETWORKS)),
    "hidden": Setting(
        (200, 200), "widths from the data to the latents; the decoder mirrors them", minimum=1
    ),
    "activation": Setting("tanh", "of all layers", choices=tuple(networks.ACTIVATIONS)),
    "log_variance": Setting(
        (), "the least and the largest of the latents' Gaussians", element=0.0, minimum=-50.0
    ),
    "latent_dim": Setting(50, "latents of the layer next to the data", minimum=1),
    "upper_latent_dims": Setting(
        (), "latents of each further stochastic layer above it", element=0, minimum=1
    ),
    "upper_hidden": Setting((100, 100), "widths of the networks to each of them", minimum=1),
    "top_down": Setting(
        False, "each layer is drawn given x and the one above, and x is decoded from all"
    ),
    "flow_steps": Setting(
        0, "steps of an inverse autoregressive flow on the posterior", maximum=1_000
    ),
    "flow_hidden": Setting((320,), "widths of each step's network", minimum=1, element=0),
    "prior": Setting("standard_normal", "of the topmost layer", choices=tuple(networks.PRIORS)),
    "prior_components": Setting(
        500, "of a mixture or a VampPrior, or how many examples are exemplars", minimum=1
    ),
    "prior_neighbours": Setting(
        10, "exemplars nearest to each draw, over which a training step sums", minimum=1
    ),
    "prior_flow_steps": Setting(4, "autoregressive ones of a flow prior", minimum=1, maximum=1_000),
    "prior_flow_hidden": Setting((320,), "widths of each step's network", minimum=1, element=0),
    **likelihoods.SETTINGS,
    "optimal_sigma": Setting(False, "Gaussian likelihood: the sigma that fits each batch best"),
    "conditional": Setting(False, "whether encoder and decoder are given the label"),
    "autoencoder": Setting(False, "no noise and no KL: a plain autoencoder"),
    "num_bounds": Setting(1, "M: the loss is the mean of so many bounds", minimum=1),
    "importance_samples": Setting(1, "K: samples of each bound", minimum=1),
    "estimator": Setting(
        "auto",
        "of the bound's gradient; auto: the closed-form KL where there is one, else standard",
        choices=("auto", "analytic", *objectives.ESTIMATORS),
    ),
    "regularizer": Setting(
        "kl", "what is added to the distortion", choices=tuple(regularizers.REGULARIZERS)
    ),
    "target": Setting(0.0, "nats: capacity's rate, or free bits of each latent", per_replica=True),
    "beta": Setting(
        1.0,
        "weight of the rate, or of what stands in its place; mmd needs about 1,000",
        per_replica=True,
    ),
    "beta_warmup_steps": Setting(0, "beta rises linearly from 0 over so many steps"),
    "adversary": Setting(
        "none",
        "a second network: factor (of latents: FactorVAE) or image (VAE-GAN)",
        choices=("none", *ADVERSARIES),
    ),
    "adversary_weight": Setting(1.0, "gamma of the two papers", per_replica=True),
    "adversary_hidden": Setting((256, 256), "widths of a network like the encoder", minimum=1),
    "decoder_penalty": Setting(
        "none",
        "of a plain autoencoder's decoder",
        choices=("none", *regularizers.DECODER_PENALTIES),
    ),
    "decoder_penalty_weight": Setting(1e-6, "its weight"),
    "dtype": Setting("float32", "of the networks' arithmetic", choices=("float32", "bfloat16")),
}

REQUIREMENTS = (
    *networks.REQUIREMENTS,
    *family.REQUIREMENTS,
    *priors.REQUIREMENTS,
    *objectives.REQUIREMENTS,
    *regularizers.REQUIREMENTS,
    *top_down.REQUIREMENTS,
    *adversarial.REQUIREMENTS,
)


def build(model: ConfigDict, spec: DataSpec) -> EncoderDecoder:
    """The VAE that a config's `model` section describes, for the given data.

    Raises:
      UserError: if the section has choices that do not suit the data or one another.
    """
    model = ConfigDict({**model, "estimator": _estimator(model)})
    requirements.check(model, spec, REQUIREMENTS)
    likelihood = likelihoods.from_config(model, spec)
    if model.optimal_sigma:  # it is estimated as training goes; 1 stands for it until then
        likelihood = dataclasses.replace(likelihood, sigma=1.0)
    network_class = top_down.TopDownNetwork if model.top_down else networks.VAENetwork
    network = network_class(
        spec=spec,
        kind=model.network,
        hidden=tuple(model.hidden),
        activation=model.activation,
        latent_dim=model.latent_dim,
        num_params=likelihood.num_params,
        num_classes=spec.num_classes if model.conditional else 0,
        dtype=model.dtype,
        upper=tuple((size, tuple(model.upper_hidden)) for size in model.upper_latent_dims),
        flow_steps=model.flow_steps,
        flow_hidden=tuple(model.flow_hidden),
        prior=model.prior,
        prior_components=model.prior_components,
        prior_flow_steps=model.prior_flow_steps,
        prior_flow_hidden=tuple(model.prior_flow_hidden),
        log_variance=tuple(model.log_variance),
    )
    parts = {
        "spec": spec,
        "network": network,
        "likelihood": likelihood,
        "beta": model.beta,
        "regularizer": model.regularizer,
        "target": model.target,
        "optimal_sigma": model.optimal_sigma,
    }
    if model.prior == "exemplars" and model.prior_neighbours >= model.prior_components:
        raise UserError(
            f"the {model.prior_neighbours} exemplars nearest to a draw are some of all others; use "
            f"--config.model.prior_neighbours={max(1, model.prior_components - 1)} or fewer"
        )
    if model.autoencoder:
        return PlainAutoencoder(
            **parts,
            decoder_penalty=model.decoder_penalty,
            decoder_penalty_weight=model.decoder_penalty_weight,
        )
    kind = VAE
    if model.adversary != "none":
        kind = ADVERSARIES[model.adversary]
        kind.check_likelihood(likelihood)
        # A discriminator of latents is dense, whatever the images are encoded by.
        encoder, _ = networks.NETWORKS["mlp" if kind is FactorVAE else model.network]
        body = encoder(tuple(model.adversary_hidden), model.activation, model.dtype)
        parts |= {
            "discriminator": Discriminator(body),
            "adversary_weight": model.adversary_weight,
        }
    return kind(
        **parts,
        beta_warmup_steps=model.beta_warmup_steps,
        num_bounds=model.num_bounds,
        importance_samples=model.importance_samples,
        estimator=model.estimator,
        prior_neighbours=model.prior_neighbours,
    )


def _init_examples(model: ConfigDict) -> int:
    """Exemplars are the first training examples."""
    return max(INIT_EXAMPLES, model.prior_components if model.prior == "exemplars" else 0)


def _estimator(model: ConfigDict) -> str:
    """What `auto` stands for."""
    if model.estimator != "auto" or model.autoencoder:
        return model.estimator
    closed_form = all(values.holds(model[key]) for key, values in objectives.CLOSED_FORM.items())
    return "analytic" if closed_form else "standard"


DEFINITION = FamilyDefinition(
    name="vae",
    models=(VAE, FactorVAE, VAEGAN, PlainAutoencoder),
    build=build,
    settings=SETTINGS,
    sample_options={"temperature": TEMPERATURE},
    validation_metrics=("elbo",),
    metrics=("elbo", "nll", "active_units"),
    undecayed=("top",),
    init_examples=_init_examples,
    alarms=(
        alarms.posterior_collapse(
            "try --config.model.beta_warmup_steps, a lower model.beta or, of one layer with a "
            "standard normal prior, --config.model.regularizer=free_bits --config.model.target=0.1"
        ),
        alarms.top_layer_collapse("try --config.model.beta_warmup_steps or fewer layers"),
    ),
)
