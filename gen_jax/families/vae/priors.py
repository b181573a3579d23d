"""Priors p(z) of the topmost latents, as linen modules: a density and a sampler each."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from gen_jax.families.requirements import LABELS, Requirement, at_most, only
from gen_jax.nn.dense import Dense


class StandardNormal(nn.Module):
    """N(0, I)."""

    latent_dim: int

    @nn.compact
    def __call__(self, label: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and log variance of the one component, [1, L] each."""
        zero = jnp.zeros((1, self.latent_dim))
        return zero, zero


class LabelNormal(nn.Module):
    """N(mean(y), diag variance(y)), given the label y. It starts as N(0, I)."""

    latent_dim: int

    @nn.compact
    def __call__(self, label: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Label, one-hot [..., C] -> mean and log variance [..., 1, L]."""
        zeros = nn.initializers.zeros
        both = Dense(2 * self.latent_dim, kernel_init=zeros, name="parameters")(label)
        return tuple(jnp.split(both[..., None, :], 2, -1))


class MixtureOfGaussians(nn.Module):
    """Gaussians with diagonal covariances and equal weights, wherever training puts them."""

    latent_dim: int
    num_components: int

    @nn.compact
    def __call__(self, label: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Means and log variances [K, L]."""
        shape = (self.num_components, self.latent_dim)
        mean = self.param("mean", nn.initializers.normal(1.0), shape)
        return mean, self.param("log_variance", nn.initializers.zeros, shape)


class PseudoInputs(nn.Module):
    """Learned inputs whose posteriors are the components of a mixture: the VampPrior.

    Tomczak and Welling 2018 (arXiv 1705.07120), equation 9. The family starts them at data.
    """

    num_components: int
    shape: tuple[int, ...]

    @nn.compact
    def __call__(self) -> jax.Array:
        """[K, *shape], as the encoder reads data (`DataSpec.center`)."""
        shape = (self.num_components, *self.shape)
        return self.param("inputs", nn.initializers.zeros, shape)


class Exemplars(nn.Module):
    """Normal distributions of one variance around what the encoder makes of training examples.

    Norouzi et al. 2020 (Exemplar VAE, arXiv 2004.04795), section 3. The means are no parameters,
    but state that the family keeps, which knows the examples.
    """

    num_components: int
    latent_dim: int

    @nn.compact
    def __call__(self, label: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Means [K, L], and the log variance [1, L] of all of them."""
        shape = (self.num_components, self.latent_dim)
        mean = self.variable("means", "mean", jnp.zeros, shape).value
        log_variance = self.param("log_variance", nn.initializers.zeros, ())
        return mean, jnp.broadcast_to(log_variance, (1, self.latent_dim))


def nearest(z: jax.Array, means: jax.Array, left_out: jax.Array, count: int) -> jax.Array:
    """Which `count` of the means [K, L] are nearest to each z [S, B, L]: indices [S, B, count].

    Of each example one mean may be left out, number `left_out` [B]; K or more leaves out none.
    """
    squared = (means * means).sum(-1) - 2 * z @ means.T
    squared = jnp.where(jnp.arange(len(means)) == left_out[:, None], jnp.inf, squared)
    # Of rows alone there is a fast form on CPU.
    _, index = jax.lax.top_k(-squared.reshape(-1, len(means)), count)
    return index.reshape(*z.shape[:-1], count)


REQUIREMENTS = (
    Requirement(
        {"prior": only("label")},
        {"data": LABELS},
        "it is a Gaussian for each of them, and these data have none",
        "use --config.model.prior=standard_normal",
    ),
    Requirement(
        {"prior": only("vamp", "exemplars")},
        {"conditional": only(False)},
        "it is of inputs that have no labels",
    ),
    Requirement(
        {"prior": only("vamp", "exemplars")},
        {"flow_steps": only(0)},
        "it is made of Gaussian posteriors, and a flow's are none",
    ),
    Requirement(
        {"prior": only("vamp")},
        {"prior_components": at_most(1_024, 1_000)},
        "pseudo-inputs start at the first training examples, of which 1,024 are given",
    ),
)


def log_prob(z: jax.Array, mean: jax.Array, log_variance: jax.Array) -> jax.Array:
    """ln of an equally weighted mixture of K diagonal Gaussians, in nats.

    z [..., L] and components [K, L], or [..., K, L] with one mixture for each z -> [...]. A log
    variance [1, L] is that of all components.

    The square is multiplied out, so that products of matrices do the work: on CPU a VampPrior's
    training step takes a third of the time. Centred first, as what cancels grows with the distance
    from the origin; one component loses nothing.
    """
    center = mean.mean(-2, keepdims=True)
    z, mean = z - center[..., 0, :], mean - center
    precision = jnp.exp(-log_variance)
    product = functools.partial(jnp.einsum, "...l,...kl->...k", precision=jax.lax.Precision.HIGHEST)
    squared = product(z * z, precision) - 2 * product(z, mean * precision)
    squared += (mean * mean * precision).sum(-1)
    normalizer = (log_variance + jnp.log(2 * jnp.pi)).sum(-1)
    terms = -(squared + normalizer) / 2  # [..., K]
    return jax.nn.logsumexp(terms, -1) - jnp.log(terms.shape[-1])


def sample(
    keys: jax.Array, mean: jax.Array, log_variance: jax.Array, temperature: jax.typing.ArrayLike
) -> jax.Array:
    """One draw for each key [N] of the mixture of [K, L], or of [N, K, L] -> [N, L].

    The temperature multiplies standard deviations. The log variance is as in `log_prob`.
    """
    log_variance = jnp.broadcast_to(log_variance, mean.shape)

    def draw(key, mean, log_variance):
        which, noise = jax.random.split(key)
        chosen = jax.random.randint(which, (), 0, len(mean))
        noise = jax.random.normal(noise, mean.shape[-1:])
        return mean[chosen] + temperature * jnp.exp(log_variance[chosen] / 2) * noise

    axis = 0 if mean.ndim == 3 else None
    return jax.vmap(draw, in_axes=(0, axis, axis))(keys, mean, log_variance)
