"""Variational autoencoders (Kingma and Welling 2014, arXiv 1312.6114)."""

import dataclasses

from ml_collections import ConfigDict

from gen_jax import likelihoods
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.families.base import check_sizes
from gen_jax.families.vae.adversarial import VAEGAN, Discriminator, FactorVAE
from gen_jax.families.vae.family import VAE, PlainAutoencoder
from gen_jax.families.vae.networks import ACTIVATIONS, NETWORKS, PRIORS, VAENetwork
from gen_jax.families.vae.objectives import ESTIMATORS
from gen_jax.families.vae.regularizers import DECODER_PENALTIES, REGULARIZERS

# What `build` gives, so that an error can say who has an ability.
FAMILIES = (VAE, FactorVAE, VAEGAN, PlainAutoencoder)

ADVERSARIES = {"factor": FactorVAE, "image": VAEGAN}


def default_model() -> ConfigDict:
    model = ConfigDict()
    model.network = "mlp"  # or "conv"
    model.hidden = (200, 200)  # widths from the data to the latents; the decoder mirrors them
    model.activation = "tanh"
    model.latent_dim = 50
    # Further stochastic layers above it: their latents, and the widths of the networks to them.
    model.upper_latent_dims = ()
    model.upper_hidden = (100, 100)
    model.flow_steps = 0  # of an inverse autoregressive flow on the posterior
    model.flow_hidden = (320,)
    model.prior = "standard_normal"  # of the topmost layer; or "mixture", "vamp", "label"
    model.prior_components = 500  # of a mixture or a VampPrior
    model.likelihood = "bernoulli"
    model.likelihood_components = 10  # of discretized_logistic_mixture
    model.sigma = 0.0  # Gaussian likelihood: its standard deviation; 0: learned
    model.optimal_sigma = False  # Gaussian likelihood: the one that fits each batch best
    model.conditional = False  # encoder and decoder are given the label
    model.autoencoder = False  # no noise and no KL: a plain autoencoder
    # The bound: the mean of num_bounds (M) bounds of importance_samples (K) each.
    model.num_bounds = 1
    model.importance_samples = 1
    model.estimator = "auto"  # "analytic" KL where there is one, else "standard"; "stl", "dreg"
    model.regularizer = "kl"  # or "capacity", "free_bits", "total_correlation", "mmd", "l2"
    model.target = 0.0  # nats: capacity's rate, or free bits of each latent
    model.beta = 1.0  # weight of the rate, or of what stands in its place; mmd needs about 1,000
    model.beta_warmup_steps = 0  # linear from 0 to beta
    # A second network: "factor" (of latents: FactorVAE) or "image" (VAE-GAN).
    model.adversary = "none"
    model.adversary_weight = 1.0  # gamma of the two papers
    model.adversary_hidden = (256, 256)  # widths of a network like the encoder
    model.decoder_penalty = "none"  # of a plain autoencoder: "weights" or "gradient"
    model.decoder_penalty_weight = 1e-6
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
        ("prior", PRIORS),
        ("estimator", ("auto", "analytic", *ESTIMATORS)),
        ("regularizer", tuple(REGULARIZERS)),
        ("adversary", ("none", *ADVERSARIES)),
        ("decoder_penalty", ("none", *DECODER_PENALTIES)),
        ("dtype", ("float32", "bfloat16")),
    )
    for key, valid in choices:
        if model[key] not in valid:
            raise UserError(f"unknown model.{key} {model[key]!r}; valid are: {', '.join(valid)}")
    widths = ("hidden", "upper_hidden", "flow_hidden", "adversary_hidden")
    latents = ("latent_dim", "upper_latent_dims", "prior_components", "likelihood_components")
    sizes = (*widths, *latents, "num_bounds", "importance_samples")
    check_sizes(model, sizes, repeats=("flow_steps",))
    if model.network == "conv" and not spec.is_image:
        raise UserError("model.network='conv' needs images; use --config.model.network=mlp")
    if model.network == "conv" and not model.hidden:
        raise UserError('a convolutional network needs widths, as --config.model.hidden="(32, 64)"')
    if model.flow_steps and not model.flow_hidden:
        raise UserError(
            'a flow sees x by its hidden layers; use --config.model.flow_hidden="(320,)"'
        )
    if model.conditional and not spec.num_classes:
        raise UserError(
            "model.conditional needs labels, and these data have none; use "
            "--config.model.conditional=False"
        )
    estimator = _estimator(model)
    if model.autoencoder:
        _check_autoencoder(model)
    _check_prior(model, spec)
    _check_regularizers(model, estimator)
    _check_sigma(model)
    likelihood = likelihoods.from_config(model, spec)
    if model.optimal_sigma:  # it is estimated as training goes; 1 stands for it until then
        likelihood = dataclasses.replace(likelihood, sigma=1.0)
    if model.adversary == "image" and likelihood.num_params != 1:
        raise UserError(
            "a VAE-GAN trains the mean of p(x|z) alone, and this likelihood has more to it; use "
            "bernoulli, continuous_bernoulli, or gaussian with --config.model.sigma=0.1 or "
            "--config.model.optimal_sigma=True"
        )
    network = VAENetwork(
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
    if model.autoencoder:
        return PlainAutoencoder(
            **parts,
            decoder_penalty=model.decoder_penalty,
            decoder_penalty_weight=model.decoder_penalty_weight,
        )
    kind = VAE
    if model.adversary != "none":
        kind = ADVERSARIES[model.adversary]
        # A discriminator of latents is dense, whatever the images are encoded by.
        encoder, _ = NETWORKS["mlp" if kind is FactorVAE else model.network]
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
        estimator=estimator,
    )


def _estimator(model: ConfigDict) -> str:
    """The estimator of the bound's gradient: the closed form where there is one."""
    layered = model.upper_latent_dims or model.flow_steps
    plain = model.prior == "standard_normal" and not layered
    closed_form = plain and model.importance_samples == 1
    if model.estimator == "auto":
        return "analytic" if closed_form else "standard"
    if model.estimator == "analytic" and not closed_form:
        raise UserError(
            "model.estimator='analytic' needs one layer without a flow, a standard normal prior "
            "and importance_samples=1; use --config.model.estimator=standard"
        )
    return model.estimator


def _check_autoencoder(model: ConfigDict) -> None:
    """A plain autoencoder has neither a bound nor a prior: what would change them is refused."""
    for key, default in (
        ("num_bounds", 1),
        ("importance_samples", 1),
        ("estimator", "auto"),
        ("beta_warmup_steps", 0),
    ):
        if model[key] != default:
            raise UserError(
                f"model.{key}={model[key]!r}: a plain autoencoder has no bound; use "
                f"--config.model.{key}={default}"
            )
    if model.prior != "standard_normal" or model.upper_latent_dims or model.flow_steps:
        raise UserError("a plain autoencoder has no prior and one layer of latents without a flow")
    if model.regularizer not in ("kl", "l2", "mmd"):
        raise UserError("a plain autoencoder has no KL; use --config.model.regularizer=l2 or mmd")
    if model.regularizer == "kl" and model.beta != 1:
        raise UserError(
            f"model.beta={model.beta}: a plain autoencoder has no KL to weigh; use "
            "--config.model.regularizer=l2 or mmd"
        )
    if model.adversary != "none":
        raise UserError("an adversary goes with a VAE; use --config.model.autoencoder=False")


def _check_regularizers(model: ConfigDict, estimator: str) -> None:
    closed_form = (
        "needs the closed-form KL: one layer without a flow, a standard normal prior, "
        "importance_samples=1 and --config.model.estimator=auto"
    )
    if model.regularizer != "kl" and estimator != "analytic":
        raise UserError(f"model.regularizer={model.regularizer!r} {closed_form}")
    if model.adversary == "image" and estimator != "analytic":
        raise UserError(f"model.adversary='image' {closed_form}")
    if model.adversary == "image" and model.regularizer != "kl":
        raise UserError("a VAE-GAN has the plain rate; use --config.model.regularizer=kl")
    if model.adversary != "none" and model.adversary_weight <= 0:
        raise UserError(f"model.adversary_weight={model.adversary_weight} must be above 0")
    if model.adversary == "image" and model.num_bounds != 1:
        raise UserError("a VAE-GAN decodes one draw of z; use --config.model.num_bounds=1")
    targeted = model.regularizer in ("capacity", "free_bits")
    if model.target and not targeted:
        raise UserError(
            f"model.target={model.target} is of capacity and free_bits; use "
            "--config.model.regularizer=free_bits, or --config.model.target=0"
        )
    if targeted and not model.target:
        raise UserError(
            f"model.regularizer={model.regularizer!r} is the KL at a target of 0; say how many "
            "nats: of the whole rate (capacity), as --config.model.target=25, or of a latent "
            "(free_bits), as 0.1"
        )
    if model.regularizer == "total_correlation" and model.beta == 1:
        raise UserError(
            "model.regularizer='total_correlation' is the KL where model.beta is 1; use a larger "
            "one, as --config.model.beta=6"
        )
    if model.regularizer == "l2" and not model.autoencoder:
        raise UserError(
            "model.regularizer='l2' leaves a posterior's variance free, so it is of a plain "
            "autoencoder; use --config.model.autoencoder=True"
        )
    if not model.autoencoder and model.decoder_penalty != "none":
        raise UserError(
            "model.decoder_penalty is of a plain autoencoder; use --config.model.autoencoder=True"
        )


def _check_sigma(model: ConfigDict) -> None:
    if model.sigma and model.likelihood != "gaussian":
        raise UserError(
            f"model.sigma={model.sigma} is of --config.model.likelihood=gaussian; use "
            "--config.model.sigma=0"
        )
    if not model.optimal_sigma:
        return
    if model.likelihood != "gaussian":
        raise UserError("model.optimal_sigma needs --config.model.likelihood=gaussian")
    if model.sigma:
        raise UserError("model.optimal_sigma estimates sigma; use --config.model.sigma=0")
    if model.importance_samples != 1:
        raise UserError(
            "model.optimal_sigma is the best of the ELBO, not of the IWAE's bound; use "
            "--config.model.importance_samples=1"
        )


def _check_prior(model: ConfigDict, spec: DataSpec) -> None:
    if model.prior == "label" and not spec.num_classes:
        raise UserError(
            "model.prior='label' needs labels, and these data have none; use "
            "--config.model.prior=standard_normal"
        )
    if model.prior == "vamp" and model.conditional:
        raise UserError(
            "pseudo-inputs have no labels; use --config.model.prior=mixture or "
            "--config.model.conditional=False"
        )
    if model.prior == "vamp" and model.prior_components > 1_024:
        raise UserError(
            "pseudo-inputs start at the first training examples, of which 1,024 are given; use "
            "--config.model.prior_components=1000"
        )
    if model.prior == "vamp" and model.flow_steps:
        raise UserError(
            "a VampPrior is a mixture of Gaussian posteriors, and a flow's are none; use "
            "--config.model.flow_steps=0 or --config.model.prior=mixture"
        )
