"""A prior fitted to the latents of a trained autoencoder, from which samples are then drawn.

Dai and Wipf 2019 (arXiv 1903.05789) call it the second stage, Ghosh et al. 2020 (arXiv 1903.12436,
section 4) ex-post density estimation. It gives samples to models without a prior, and sharper ones
to those whose posteriors do not fill their prior. Densities of such a model are still its own.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gen_jax import families
from gen_jax import keys as keys_lib
from gen_jax.data.sources import Dataset
from gen_jax.evaluation import likelihood
from gen_jax.evaluation.subject import Subject
from gen_jax.families.base import Autoencoder, Family

# Training examples that it is fitted to, and principal components of larger latents.
EXAMPLES = 10_000
DIMS = 128


@dataclasses.dataclass(frozen=True)
class FittedPrior:
    """A family that is sampled from a fitted prior, and is itself in all else.

    Attributes:
      family: the autoencoder. `extra["fitted_prior"]` holds what was fitted.
    """

    family: Family

    def __getattr__(self, name: str) -> Any:
        return getattr(self.family, name)

    @property
    def num_classes(self) -> int:
        return getattr(self.family, "num_classes", 0)

    def sample(self, params, extra, key, num, condition=None, temperature=1.0):
        """Decoded draws of the mixture, whose standard deviations the temperature multiplies."""
        prior = extra["fitted_prior"]

        def draw(key):
            which, noise = jax.random.split(key)
            k = jax.random.categorical(which, prior["log_weights"])
            noise = temperature * jax.random.normal(noise, prior["means"].shape[1:])
            return prior["means"][k] + prior["factors"][k] @ noise

        coordinates = jax.vmap(draw)(keys_lib.per_example(key, jnp.arange(num)))
        z = prior["center"] + coordinates @ prior["basis"]
        return self.family.decode(params, extra, z, condition)


def _posterior_draw(family, params, extra, batch, keys):
    mean, log_variance = family.encode(params, extra, batch)
    noise = keys_lib.normal(keys_lib.named(keys, "fitted prior"), mean.shape[1:])
    return mean + jnp.exp(log_variance / 2) * noise


def fit(subject: Subject, dataset: Dataset, settings: ConfigDict) -> Subject:
    """The subject with a mixture of `settings.fitted_components` Gaussians as its prior.

    The Gaussians have full covariances and are fitted to one draw of q(z|x) for each of the first
    `EXAMPLES` training examples, in the `DIMS` principal components of their latents if those
    have more dimensions.

    Raises:
      UserError: if the model is no autoencoder.
    """
    # Half a second that a run without such a prior saves.
    from sklearn.decomposition import PCA
    from sklearn.mixture import GaussianMixture

    families.require(subject.family, Autoencoder, "eval.fitted_components")
    limited = type(settings)({**settings, "num_examples": EXAMPLES})
    z = likelihood.per_example(subject, dataset.splits["train"], limited, _posterior_draw)
    z = np.float64(z)
    pca = PCA(min(DIMS, *z.shape), random_state=0).fit(z)
    components = min(settings.fitted_components, len(z))
    # So little that it shows nowhere but in components with fewer examples than dimensions.
    floor = 1e-4 * pca.explained_variance_.mean()
    mixture = GaussianMixture(components, reg_covar=floor, random_state=0)
    mixture.fit(pca.transform(z))
    prior = {
        "center": pca.mean_,
        "basis": pca.components_,
        "log_weights": np.log(mixture.weights_),
        "means": mixture.means_,
        "factors": np.linalg.cholesky(mixture.covariances_),
    }
    prior = jax.tree.map(jnp.float32, prior)
    return dataclasses.replace(
        subject,
        family=FittedPrior(subject.family),
        extra=subject.extra | {"fitted_prior": prior},
    )
