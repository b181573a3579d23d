"""A prior fitted to the latents of a trained autoencoder, from which samples are then drawn.

Dai and Wipf 2019 (arXiv 1903.05789) call it the second stage, Ghosh et al. 2020 (arXiv 1903.12436,
section 4) ex-post density estimation. It gives samples to models without a prior, and sharper ones
to those whose posteriors do not fill their prior. Densities of such a model are still its own.
"""

import dataclasses
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gen_jax import families, files
from gen_jax import keys as keys_lib
from gen_jax.data.sources import Dataset
from gen_jax.errors import UserError
from gen_jax.evaluation import likelihood
from gen_jax.evaluation.subject import Subject
from gen_jax.families.base import Autoencoder, Family
from gen_jax.settings import Setting

# Training examples that it is fitted to, chosen by a fixed seed, and principal components of
# larger latents.
EXAMPLES = 10_000
DIMS = 128

SETTINGS = {
    "fitted_components": Setting(
        0,
        "of a Gaussian mixture that is fitted to the latents after training, from which samples "
        "are drawn then; 0: the model's own prior is",
        smoke=lambda components: min(components, 1),
        affects="figures",
    )
}


@dataclasses.dataclass(frozen=True)
class FittedPrior:
    """A family that is sampled from a fitted prior, and is itself in all else.

    Attributes:
      family: the autoencoder. `extra["fitted_prior"]` holds what was fitted: of each label, where
        the family samples by label, a mixture of its own.
    """

    family: Family

    def __getattr__(self, name: str) -> Any:
        return getattr(self.family, name)

    def sample(self, params, extra, keys, condition, options):
        """Decoded draws of the mixture, whose standard deviations the temperature multiplies."""
        prior = extra["fitted_prior"]
        label = condition["label"] if "label" in self.given else jnp.zeros(len(keys), jnp.int32)

        def draw(key, label):
            which, noise = jax.random.split(key)
            k = jax.random.categorical(which, prior["log_weights"][label])
            noise = options["temperature"] * jax.random.normal(noise, prior["means"].shape[2:])
            return prior["means"][label, k] + prior["factors"][label, k] @ noise

        coordinates = jax.vmap(draw)(keys, label)
        z = prior["center"] + coordinates @ prior["basis"]
        return self.family.decode(params, extra, z, condition)


def family(trained: Family, settings: ConfigDict) -> Family:
    """The family that `fit` gives, or the one that was trained if no prior is asked for.

    Raises:
      UserError: if the model is no autoencoder.
    """
    if not settings.fitted_components:
        return trained
    return FittedPrior(families.require(trained, "eval.fitted_components", Autoencoder))


def _posterior_draw(family, params, extra, batch, keys):
    keys = keys_lib.named(keys, "fitted prior")
    return family.sample_posterior(params, extra, batch, keys), batch["label"]


def fit(subject: Subject, dataset: Dataset, settings: ConfigDict) -> Subject:
    """The subject with a mixture of `settings.fitted_components` Gaussians as its prior.

    The Gaussians have full covariances and are fitted to one draw of q(z|x) for each of
    `EXAMPLES` training examples, in the `DIMS` principal components of their latents if those
    have more dimensions. A family that samples by label has a mixture for each, of its examples.

    Raises:
      UserError: as `family` does, or if a label has too few examples.
    """
    from sklearn.decomposition import PCA  # half a second that a run without such a prior saves

    family(subject.family, settings)  # refuses what is no autoencoder
    limited = type(settings)({**settings, "num_examples": EXAMPLES})
    z, label = likelihood.per_example(subject, dataset.splits["train"], limited, _posterior_draw)
    z = np.float64(z)
    pca = PCA(min(DIMS, *z.shape), random_state=0).fit(z)
    # So little that it shows nowhere but in components with fewer examples than dimensions.
    floor = 1e-4 * pca.explained_variance_.mean()
    coordinates = pca.transform(z)
    groups = [coordinates]
    if subject.num_classes:
        groups = [coordinates[label == y] for y in range(subject.num_classes)]
    for y, group in enumerate(groups):
        if len(group) < 2:
            raise UserError(
                f"eval.fitted_components: of the label {y} there are {len(group)} examples among "
                f"the {len(z)} chosen, too few to fit a mixture to; use the model's own prior, "
                "--config.eval.fitted_components=0"
            )
    mixtures = [_mixture(group, settings.fitted_components, floor) for group in groups]
    prior = {"center": pca.mean_, "basis": pca.components_}
    prior |= jax.tree.map(lambda *each: np.stack(each), *mixtures)
    return with_prior(subject, settings, jax.tree.map(np.float32, prior))


def with_prior(subject: Subject, settings: ConfigDict, prior: dict[str, np.ndarray]) -> Subject:
    """The subject with a prior that `fit` has found, its `extra["fitted_prior"]`."""
    extra = subject.extra | {"fitted_prior": jax.tree.map(jnp.float32, prior)}
    return dataclasses.replace(subject, family=family(subject.family, settings), extra=extra)


def save(path: Path, subject: Subject, step: int, settings: ConfigDict) -> None:
    """Writes what was fitted, so that the run can be sampled from where its data are not."""
    arrays = jax.device_get(subject.extra["fitted_prior"])
    files.write_arrays(path, step=step, components=settings.fitted_components, **arrays)


def load(path: Path, subject: Subject, step: int, settings: ConfigDict) -> Subject | None:
    """The subject with the prior that `save` wrote of this step; None if there is none."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            found = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None
    if (found.pop("step", None), found.pop("components", None)) != (
        step,
        settings.fitted_components,
    ):
        return None
    return with_prior(subject, settings, found) if fits(found, subject, settings) else None


def fits(found: Mapping[str, np.ndarray], subject: Subject, settings: ConfigDict) -> bool:
    """Whether arrays are a prior of a model, with as many components as a config asks for."""
    labels, components = max(subject.num_classes, 1), settings.fitted_components
    latents, dims = subject.family.latent_dim, len(found.get("basis", ()))
    shapes = {
        "center": (latents,),
        "basis": (dims, latents),
        "log_weights": (labels, components),
        "means": (labels, components, dims),
        "factors": (labels, components, dims, dims),
    }
    alike = {name: array.shape for name, array in found.items()} == shapes
    return alike and all(array.dtype == np.float32 for array in found.values())


def _mixture(z: np.ndarray, components: int, floor: float) -> dict[str, np.ndarray]:
    """A mixture of Gaussians fitted to z [N, D]: log weights [K], means [K, D], factors [K, D, D].

    Fewer examples than components leave the last ones without weight.
    """
    from sklearn.mixture import GaussianMixture

    fitted = GaussianMixture(min(components, len(z)), reg_covar=floor, random_state=0).fit(z)
    missing = components - fitted.n_components

    def fill(x: np.ndarray, value: float = 0.0) -> np.ndarray:
        return np.pad(x, [(0, missing)] + [(0, 0)] * (x.ndim - 1), constant_values=value)

    return {
        "log_weights": fill(np.log(fitted.weights_), -np.inf),
        "means": fill(fitted.means_),
        "factors": fill(np.linalg.cholesky(fitted.covariances_)),
    }
