"""The VAE as a family: objective, sampling, and what evaluators ask of it."""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from gen_jax import keys as keys_lib
from gen_jax import likelihoods, parallel, schedules
from gen_jax.data.spec import Batch, DataSpec
from gen_jax.errors import UserError
from gen_jax.families.base import Extra, LogWeights, Params
from gen_jax.families.requirements import Requirement, above, only
from gen_jax.families.vae import objectives, priors
from gen_jax.families.vae.networks import VAENetwork
from gen_jax.families.vae.regularizers import DECODER_PENALTIES, REGULARIZERS, Settings
from gen_jax.likelihoods import DiagonalGaussian

VARIANCE_DECAY = 0.99  # of the moving average of an optimal sigma, a step
MIN_VARIANCE = 1e-6
REFRESHED_WITHIN = 250  # steps, in which the kept mean of every exemplar is made anew

_NO_BOUND = "a plain autoencoder has no bound"
_NO_PRIOR = "a plain autoencoder has no prior and one layer of latents without a flow"
_AUTOENCODER = {"autoencoder": only(True)}

REQUIREMENTS = (
    Requirement(_AUTOENCODER, {"num_bounds": only(1)}, _NO_BOUND),
    Requirement(_AUTOENCODER, {"importance_samples": only(1)}, _NO_BOUND),
    Requirement(_AUTOENCODER, {"estimator": only("auto")}, _NO_BOUND),
    Requirement(_AUTOENCODER, {"beta_warmup_steps": only(0)}, _NO_BOUND),
    Requirement(_AUTOENCODER, {"prior": only("standard_normal")}, _NO_PRIOR),
    Requirement(_AUTOENCODER, {"upper_latent_dims": only(())}, _NO_PRIOR),
    Requirement(_AUTOENCODER, {"flow_steps": only(0)}, _NO_PRIOR),
    Requirement(
        {"sigma": above(0, 0.1)},
        {"likelihood": only("gaussian")},
        "it is a Gaussian's standard deviation",
        "use --config.model.likelihood=gaussian or --config.model.sigma=0",
    ),
    Requirement({"optimal_sigma": only(True)}, {"sigma": only(0)}, "it estimates sigma"),
    Requirement(
        {"optimal_sigma": only(True)},
        {"likelihood": only("gaussian")},
        "it is a Gaussian's standard deviation",
    ),
    Requirement(
        {"optimal_sigma": only(True)},
        {"importance_samples": only(1)},
        "it is the best of the ELBO, not of the IWAE's bound",
    ),
)


@dataclasses.dataclass(frozen=True)
class EncoderDecoder:
    """What a VAE and a plain autoencoder have in common: two networks and p(x|z).

    Attributes:
      spec: the data.
      network: encoder and decoder.
      likelihood: p(x|z), whose negative logarithm is the distortion.
      optimal_sigma: the Gaussian likelihood's sigma is what fits each batch best (Rybkin et al.
        2021, arXiv 2006.13202), after training the moving average of it in `extra`.
      beta: weight of the regulariser.
      regularizer: what is added to the distortion, a key of `REGULARIZERS`; of several draws of z
        the mean.
      target: see `regularizers.Settings`.
    """

    spec: DataSpec
    network: VAENetwork
    likelihood: likelihoods.Likelihood
    optimal_sigma: bool = False
    beta: float = 1.0
    regularizer: str = "kl"
    target: float = 0.0

    turns = (("vae",),)

    @property
    def latent_dim(self) -> int:
        return self.network.code_size

    @property
    def given(self) -> tuple[str, ...]:
        return ("label",) if self.network.num_classes else ()

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Extra]:
        """Glorot-uniform kernels; a Bernoulli decoder starts at the batch's mean image.

        The latter as in the code of Burda et al. 2016 (arXiv 1509.00519), clipped alike.
        """
        params = self.network.init(key, batch["x"], batch["label"])["params"]
        if self.network.prior == "vamp":
            count = self.network.prior_components
            index = jnp.arange(count) % len(batch["x"])  # a tiny dataset's examples serve twice
            params["top"]["inputs"] = self.spec.center(batch["x"])[index]
        if isinstance(self.likelihood, likelihoods.Bernoulli):
            output = params["decoder"]["output"]
            mean = jnp.clip(batch["x"].mean(0), 0.001, 0.999)
            logits = jnp.log(mean) - jnp.log1p(-mean)
            whole = output["bias"].size == logits.size  # else one bias for each channel
            output["bias"] = logits.reshape(-1) if whole else logits.mean((0, 1))
        params, extra = {"vae": params}, {}
        if self.optimal_sigma:
            extra["variance"] = batch["x"].var()
        if self.network.prior == "exemplars":
            extra |= self._exemplars(params, batch["x"])
        return params, extra

    def _exemplars(self, params: Params, x: jax.Array) -> Extra:
        """The examples of an exemplar prior, and what the encoder makes of them."""
        count = self.network.prior_components
        if len(x) < count:
            raise UserError(
                f"exemplars are of the training data, which have {len(x):,}, and not {count:,}; "
                f"use --config.model.prior_components={len(x)}"
            )
        x = x[:count]
        # What is 0 or 1, or a byte, takes a quarter of the memory as one.
        kept = x.astype(jnp.uint8) if self.spec.kind in ("binary", "bytes") else x
        mean = self._apply("top_mean", params, {}, x)
        return {"exemplars": kept, "means": {"top": {"mean": mean}}}

    def decode(self, params: Params, extra: Extra, z: jax.Array, condition: Batch) -> jax.Array:
        label = condition.get("label", jnp.zeros(len(z), jnp.int32))
        return self.likelihood.mean(self._apply("decode", params, extra, z, label))

    def _regularize(self, kl, mean, log_variance, z) -> jax.Array:
        settings = Settings(self.target, self.beta)
        return REGULARIZERS[self.regularizer](kl, mean, log_variance, z, settings)

    def _likelihood(self, extra: Extra) -> likelihoods.Likelihood:
        if not self.optimal_sigma:
            return self.likelihood
        return dataclasses.replace(self.likelihood, sigma=jnp.sqrt(extra["variance"]))

    def _fit_sigma(
        self, params: Params, extra: Extra, z: jax.Array, batch: Batch
    ) -> tuple[Extra, Extra]:
        """`extra` with the variance of this batch, and with the moving average of it.

        The best variance is the mean squared error, over draws, dimensions and the global batch.
        """
        if not self.optimal_sigma:
            return extra, extra
        label = jnp.broadcast_to(batch["label"], z.shape[:-1])
        squares = jnp.square(self.decode(params, extra, z, {"label": label}) - batch["x"])
        # It needs no gradient: at the best sigma the loss is flat in it. And it is kept above 0.
        best = jax.lax.stop_gradient(jnp.maximum(parallel.mean(squares.mean()), MIN_VARIANCE))
        average = VARIANCE_DECAY * extra["variance"] + (1 - VARIANCE_DECAY) * best
        return extra | {"variance": best}, extra | {"variance": average}

    def _log_likelihood(
        self, params: Params, extra: Extra, z: jax.Array, batch: Batch
    ) -> jax.Array:
        """log p(x|z) in nats: z [..., B, L] -> [..., B]."""
        label = jnp.broadcast_to(batch["label"], z.shape[:-1])
        outputs = self._apply("decode", params, extra, z, label)
        return self._likelihood(extra).log_prob(outputs, batch["x"])

    def _apply(self, method: str, params: Params, extra: Extra, *inputs):
        variables = {"params": params["vae"]}
        if "means" in extra:
            variables["means"] = extra["means"]
        return self.network.apply(variables, *inputs, method=method)


@dataclasses.dataclass(frozen=True)
class PlainAutoencoder(EncoderDecoder):
    """Encoder and decoder without noise and without KL: the loss is the distortion.

    With a regulariser of the latents and a penalty of the decoder it is a regularised autoencoder
    (Ghosh et al. 2020, arXiv 1903.12436, equation 11), or a Wasserstein autoencoder (`mmd`).

    Attributes:
      decoder_penalty: a key of `DECODER_PENALTIES`, or "none".
      decoder_penalty_weight: its weight.
    """

    decoder_penalty: str = "none"
    decoder_penalty_weight: float = 0.0

    def losses(self, turn, params, extra, batch, keys, step):
        z, log_variance = self.encode(params, extra, batch)
        fitted, extra = self._fit_sigma(params, extra, z, batch)
        distortion = -self._log_likelihood(params, fitted, z, batch).mean()
        without_kl = jnp.zeros_like(z)
        loss = distortion + self._regularize(without_kl, z, log_variance, z)
        if self.decoder_penalty != "none":
            decode = functools.partial(self.decode, params, fitted, condition=batch)
            penalty = DECODER_PENALTIES[self.decoder_penalty]
            value = penalty(params["vae"]["decoder"], decode, z, keys)
            loss += self.decoder_penalty_weight * value
        return {"vae": loss}, extra, {"distortion": distortion}

    def encode(self, params: Params, extra: Extra, batch: Batch) -> DiagonalGaussian:
        """A point: its log variance is minus infinity."""
        mean, _ = self._apply("encode", params, extra, batch["x"], batch["label"])
        return DiagonalGaussian(mean, jnp.full_like(mean, -jnp.inf))

    def sample_posterior(self, params, extra, batch, keys):
        """z itself: there is no noise."""
        return self.encode(params, extra, batch).mean


@dataclasses.dataclass(frozen=True)
class VAE(EncoderDecoder):
    """log p(x) >= E_q(z|x)[log p(x, z) - log q(z|x)] (Kingma and Welling 2014, arXiv 1312.6114).

    One bound, `objectives.miwae`, covers the ELBO, its multi-sample form and the IWAE. Where it
    is the ELBO of one Gaussian layer with a standard normal prior the KL is in closed form
    (equation 10), unless an estimator is asked for. The rate is weighted by beta (Higgins et al.
    2017, equation 4) and may be warmed up (Sønderby et al. 2016, arXiv 1602.02282, section 2.3).

    Attributes:
      beta_warmup_steps: it rises linearly from 0 over so many steps; 0: at once.
      num_bounds: M, bounds that are averaged.
      importance_samples: K, samples of each.
      estimator: "analytic" (closed-form KL), or a key of `objectives.ESTIMATORS`. Regularisers
        other than "kl" go with the former.
      prior_neighbours: exemplars that a training step sums over for each draw.
    """

    beta_warmup_steps: int = 0
    num_bounds: int = 1
    importance_samples: int = 1
    estimator: str = "analytic"
    prior_neighbours: int = 10

    @property
    def given(self) -> tuple[str, ...]:
        by_label = self.network.num_classes or self.network.prior == "label"
        return ("label",) if by_label else ()

    def encode(self, params, extra, batch):
        """q(z1|x); with a flow, where it takes the Gaussian's mean, and that one's variance."""
        mean, log_variance = self._apply("encode", params, extra, batch["x"], batch["label"])
        at = self._apply("transform", params, extra, batch["x"], batch["label"], [mean])[0]
        return DiagonalGaussian(at[0], log_variance)

    def losses(self, turn, params, extra, batch, keys, step):
        """The negative bound in nats an example, with the ELBO's rate and distortion."""
        loss, extra, metrics, _ = self._negative_bound(params, extra, batch, keys, step)
        return {"vae": loss}, extra, metrics

    def _negative_bound(self, params, extra, batch, keys, step):
        """The loss, `extra`, metrics, and one draw of z1 for each example, [B, L]."""
        keys = keys_lib.named(keys, "posterior")
        if self.estimator == "analytic":
            posterior = self.encode(params, extra, batch)
            noise = keys_lib.normal(keys, (self.num_bounds, self.latent_dim)).swapaxes(0, 1)
            z = posterior.from_noise(noise)
            each = posterior.kl()
            rate = each.sum(-1).mean()
            fitted, extra = self._fit_sigma(params, extra, z, batch)
            distortion = -self._log_likelihood(params, fitted, z, batch).mean()
            regularize = functools.partial(self._regularize, each, *posterior)
            loss = distortion + self._warmed_up(step) * jax.vmap(regularize)(z).mean()
        else:
            num = self.num_bounds * self.importance_samples
            latents = self._posterior_samples(params, extra, batch, keys, num)
            after, _ = self._apply("transform", params, extra, batch["x"], batch["label"], latents)
            z = self.network.code(after)
            fitted, extra = self._fit_sigma(params, extra, z, batch)

            log_weights = functools.partial(self._log_weights, params, fitted, batch)
            beta = self._warmed_up(step) * self.beta
            value, terms = objectives.bound(
                log_weights, latents, self.importance_samples, self.estimator, beta
            )
            loss = -value.mean()
            distortion, rate = -terms.log_likelihood.mean(), -terms.log_ratio.mean()
        metrics = {"elbo": -(distortion + rate), "rate": rate, "distortion": distortion}
        if self.network.prior == "exemplars":
            extra = self._refreshed(params, extra, step)
        return loss, extra, metrics, z[0]

    def _refreshed(self, params: Params, extra: Extra, step: jax.Array) -> Extra:
        """`extra` with new means of those exemplars whose turn it is."""
        mean = extra["means"]["top"]["mean"]
        part = -(-len(mean) // REFRESHED_WITHIN)
        index = (step * part + jnp.arange(part)) % len(mean)
        exemplars = extra["exemplars"][index].astype(jnp.float32)
        new = jax.lax.stop_gradient(self._apply("top_mean", params, extra, exemplars))
        return extra | {"means": {"top": {"mean": mean.at[index].set(new)}}}

    def _warmed_up(self, step: jax.Array) -> jax.Array:
        """The part of beta, or of what is regularised, that counts at a step."""
        return schedules.warmup(1.0, self.beta_warmup_steps, step)

    def sample(self, params, extra, keys, condition, options):
        """Decoded draws of the prior, whose standard deviations the temperature multiplies.

        What is returned is the mean of p(x|z), as is the custom.
        """
        label = condition.get("label", jnp.zeros(len(keys), jnp.int32))
        z = self._apply("sample_prior", params, extra, keys, label, options["temperature"])
        return self.decode(params, extra, z, condition)

    def prior_samples(self, params, extra, batch, keys, num) -> jax.Array:
        self._require_one_layer()
        each = jax.vmap(lambda i: keys_lib.fold(keys, i))(jnp.arange(num))
        draw = functools.partial(self._apply, "sample_prior", params, extra)
        return jax.vmap(lambda keys: draw(keys, batch["label"], 1.0))(each)

    def log_prior(self, params, extra, batch, z) -> jax.Array:
        self._require_one_layer()
        return self._apply("log_prior", params, extra, [z], batch["label"])[0]

    def log_likelihood(self, params, extra, batch, z) -> jax.Array:
        return self._log_likelihood(params, extra, z, batch)

    def simulate(self, params, extra, batch, keys) -> tuple[jax.Array, jax.Array]:
        z = self.prior_samples(params, extra, batch, keys_lib.named(keys, "z"), 1)[0]
        outputs = self._apply("decode", params, extra, z, batch["label"])
        return self._likelihood(extra).sample(outputs, keys_lib.named(keys, "x")), z

    def _require_one_layer(self) -> None:
        if self.network.upper:
            raise UserError(
                "ais, bdmc, rate_distortion and amortization move one layer of latents, and this "
                f"model has {len(self.network.latent_dims)}; leave out these metrics"
            )

    def log_weights(self, params, extra, batch, keys, num_samples) -> LogWeights:
        latents = self._posterior_samples(params, extra, batch, keys, num_samples)
        return self._log_weights(params, extra, batch, latents)

    def sample_posterior(self, params, extra, batch, keys):
        """One draw of q(z1|x), behind its flow if it has one."""
        latents = self._posterior_samples(params, extra, batch, keys, 1)
        latents, _ = self._apply("transform", params, extra, batch["x"], batch["label"], latents)
        return self.network.code(latents)[0]

    def _posterior_samples(self, params, extra, batch, keys, num: int) -> list[jax.Array]:
        """`num` draws of every stochastic layer, each [num, B, L]."""
        sizes = self.network.latent_dims
        noise = keys_lib.normal(keys, (num, sum(sizes))).swapaxes(0, 1)
        ends = [sum(sizes[: i + 1]) for i in range(len(sizes) - 1)]
        parts = jnp.split(noise, ends, -1)
        return self._apply("sample_posterior", params, extra, batch["x"], batch["label"], parts)

    def _log_weights(self, params, extra, batch, latents, drop_score: bool = False) -> LogWeights:
        # Without the score function q's density is a function of z alone, not of its parameters.
        of_posterior = jax.lax.stop_gradient(params) if drop_score else params
        log_posterior = self._apply(
            "log_posterior", of_posterior, extra, batch["x"], batch["label"], latents
        )
        latents, log_det = self._apply(
            "transform", params, extra, batch["x"], batch["label"], latents
        )
        log_prior = self._log_prior(params, extra, batch, latents)
        log_ratios = (log_prior - log_posterior).at[0].add(log_det)
        z = self.network.code(latents)
        log_likelihood = self._log_likelihood(params, extra, z, batch)
        return LogWeights(log_likelihood, log_ratios)

    def _log_prior(self, params, extra, batch, latents) -> jax.Array:
        """log p(z) of each layer, [D, K, B] in nats.

        An example that trains is none of its own exemplars. Of the others those nearest to z, by
        the means that were kept, are encoded anew: their sum is a lower bound of that over all, and
        moves the encoder (Norouzi et al. 2020, arXiv 2004.04795, section 3).
        """
        if self.network.prior != "exemplars" or "index" not in batch:
            return self._apply("log_prior", params, extra, latents, batch["label"])
        means, own = extra["means"]["top"]["mean"], batch["index"]
        fixed = jax.lax.stop_gradient(latents[-1])
        index = priors.nearest(fixed, means, own, self.prior_neighbours)
        exemplars = extra["exemplars"][index].astype(jnp.float32)
        terms = self._apply("log_prior", params, extra, latents, batch["label"], exemplars)
        others = len(means) - (own < len(means))
        return terms.at[-1].add(jnp.log(self.prior_neighbours) - jnp.log(others))
