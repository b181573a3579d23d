"""A linear VAE with random weights, x = W z + b + sigma e: all of its densities are known."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from gen_jax import families
from gen_jax.data.examples import ArrayExamples
from gen_jax.data.spec import DataSpec
from gen_jax.evaluation import Subject

SIGMA = 0.5
DIM = 6


def build() -> tuple[Subject, ArrayExamples, np.ndarray]:
    """The model, draws of its own and their exact log p(x)."""
    spec = DataSpec("real", (DIM,))
    model = families.default_model("vae")
    model.update(hidden=(), latent_dim=3, likelihood="gaussian", sigma=SIGMA)
    family = families.build("vae", model, spec)
    zeros = {"x": jnp.zeros((1, DIM)), "label": jnp.zeros(1, jnp.int32)}
    params, extra = family.init(jax.random.key(0), zeros)
    rng = np.random.default_rng(0)
    # A decoder that uses its latents, and an encoder near the exact posterior but off it.
    weights, bias = rng.normal(size=(3, DIM)) * 0.6, rng.normal(size=DIM)
    precision = np.eye(3) + weights @ weights.T / SIGMA**2
    encoder = np.linalg.solve(precision, weights).T / SIGMA**2
    log_sigma = -0.5 * np.log(np.diag(precision)) + 0.1
    network = params["vae"]
    network["decoder"]["output"] = {"kernel": jnp.float32(weights), "bias": jnp.float32(bias)}
    network["posterior"] = {
        "kernel": jnp.float32(np.concatenate([encoder, np.zeros((DIM, 3))], 1)),
        "bias": jnp.float32(np.concatenate([-bias @ encoder + 0.05, log_sigma])),
    }
    cov = weights.T @ weights + SIGMA**2 * np.eye(DIM)
    exact = stats.multivariate_normal(bias, cov)
    x = exact.rvs(301, random_state=1).astype(np.float32)
    examples = ArrayExamples("test", {"x": x, "label": np.zeros(len(x), np.int32)})
    return Subject(family, spec, params, extra), examples, exact.logpdf(x)


def decoder(subject: Subject) -> tuple[np.ndarray, np.ndarray]:
    """Its weights [L, DIM] and bias [DIM]."""
    output = subject.params["vae"]["decoder"]["output"]
    return np.float64(output["kernel"]), np.float64(output["bias"])


def posterior(subject: Subject, x: np.ndarray, beta: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """The Gaussian in proportion to p(z) p(x|z)^beta: means [N, L] and precision [L, L]."""
    weights, bias = decoder(subject)
    precision = np.eye(len(weights)) + beta * weights @ weights.T / SIGMA**2
    return (x - bias) @ np.linalg.solve(precision, beta * weights / SIGMA**2).T, precision
