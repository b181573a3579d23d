"""Another run as the prior of an autoencoder's latents, from which samples are then drawn.

A diffusion of a VAE's latents with its decoder is a latent diffusion (Rombach et al. 2022, arXiv
2112.10752); a flow or an autoregressive model may stand in its place. Densities of such a model are
still the autoencoder's own.
"""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flax.core import FrozenDict

from gen_jax import families, files
from gen_jax import keys as keys_lib
from gen_jax.data.readers.arrays import LATENTS
from gen_jax.data.sources import Dataset
from gen_jax.errors import UserError
from gen_jax.evaluation import likelihood
from gen_jax.evaluation.subject import Subject
from gen_jax.families.base import Autoencoder, Family, Sampler
from gen_jax.settings import Setting

SETTINGS = {
    "latent_prior": Setting(
        "",
        "the workdir of a run on this one's latents (data.name=latents:RUN), from which samples "
        "are drawn then; if empty, the model's own prior is",
        affects="figures",
    )
}


@dataclasses.dataclass(frozen=True)
class LatentPrior:
    """A family that is sampled from another's samples, decoded, and is itself in all else.

    Attributes:
      family: the autoencoder.
      prior: of its latents. `extra["latent_prior"]` holds its params and extra.
      options: of the prior's sampling.
    """

    family: Family
    prior: Family
    options: Mapping[str, Any]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.family, name)

    @property
    def given(self) -> tuple[str, ...]:
        """What either is given."""
        return tuple(dict.fromkeys((*getattr(self.family, "given", ()), *self.prior.given)))

    def sample(self, params, extra, keys, condition, options):
        """Decoded samples of the prior, by its own options."""
        own, draws = extra["latent_prior"], keys_lib.named(keys, "latent prior")
        z = self.prior.sample(own["params"], own["extra"], draws, condition, self.options)
        return self.family.decode(params, extra, z.reshape(len(keys), -1), condition)


def attach(subject: Subject, prior: Subject) -> Subject:
    """The autoencoder with another run's model as its prior.

    Raises:
      UserError: if one has no latents, the other no samples, or of another size.
    """
    family = families.require(subject.family, "eval.latent_prior", Autoencoder)
    families.require(prior.family, "eval.latent_prior", Sampler)
    if prior.spec.num_dims != family.latent_dim:
        raise UserError(
            f"eval.latent_prior: that run is of {prior.spec.num_dims} numbers, and these latents "
            f"have {family.latent_dim}; train it with --config.data.name=latents:RUN"
        )
    options = {name: value for name, value in prior.options.items() if name != "batch_size"}
    paired = LatentPrior(family, prior.family, FrozenDict(options))
    own = {"params": prior.params, "extra": prior.extra}
    return dataclasses.replace(subject, family=paired, extra={**subject.extra, "latent_prior": own})


def write_latents(workdir: Path, subject: Subject, dataset: Dataset, settings: Any) -> Path:
    """A draw of q(z|x) for each training and test example, as `latents:WORKDIR` reads them.

    Raises:
      UserError: for a model without latents.
    """
    families.require(subject.family, "encode", Autoencoder)
    whole, arrays = type(settings)({**settings, "num_examples": 0}), {}
    for split in ("train", "test"):
        draw = functools.partial(likelihood.per_example, subject, dataset.splits[split], whole)
        arrays[f"x_{split}"], arrays[f"label_{split}"] = draw(_posterior_draw)
    return files.write_arrays(workdir / LATENTS, **arrays)


def _posterior_draw(family, params, extra, batch, keys):
    keys = keys_lib.named(keys, "latents")
    z = family.sample_posterior(params, extra, batch, keys)
    return z.reshape(len(z), -1), batch["label"]
