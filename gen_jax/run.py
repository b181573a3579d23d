"""A trained run, for notebooks and for the command line: `gen_jax.load("W")`."""

import dataclasses
import math
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from gen_jax import experiment, families
from gen_jax.data.sources import ArrayExamples
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.evaluation import Metric, Subject, evaluate, likelihood
from gen_jax.families.base import ImportanceWeighted, Posterior, Sampler
from gen_jax.workdir import read_config


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained model with its data.

    Images are arrays [N, H, W, C] in model units (`spec`): {0, 1} for binarised data,
    {0, ..., levels - 1} for bytes.

    Attributes:
      workdir: where it was trained.
      experiment: its config, dataset, family and optimisers.
      subject: the trained model.
      step: the step of the checkpoint.
    """

    workdir: Path
    experiment: "experiment.Experiment"
    subject: Subject
    step: int

    @property
    def spec(self) -> DataSpec:
        return self.experiment.dataset.spec

    def sample(
        self, num: int, label: int | None = None, seed: int = 0, temperature: float = 1.0
    ) -> np.ndarray:
        """`num` samples [num, *shape] in model units; `label` for a class-conditional model.

        Of a model with a likelihood they are means of p(x|z), and so between the values of the
        data.

        Raises:
          UserError: if the model does not sample, or cannot with such a label, seed or temperature.
        """
        family = families.require(self.subject.family, Sampler, "sample")
        if not 0 <= seed < 2**32:
            raise UserError(f"seed={seed} must be from 0 to {2**32 - 1}")
        if not 0 <= temperature < math.inf:
            raise UserError(f"temperature={temperature} must be a number from 0 up")
        if label is not None and not family.num_classes:
            raise UserError("this model is not class-conditional; leave out the label")
        if label is not None and not 0 <= label < family.num_classes:
            raise UserError(f"no label {label}; valid are 0 to {family.num_classes - 1}")
        labels = None if label is None else np.full(num, label)
        return self.subject.sample(num, labels, seed, temperature)

    def log_prob(
        self, x: np.ndarray, label: np.ndarray | None = None, num_samples: int | None = None
    ) -> np.ndarray:
        """A lower bound on log p(x) in nats, [N], from importance samples.

        Args:
          x: [N, *shape] in model units. For real data it is the log of a density.
          label: [N], for a class-conditional model, whose log p(x|y) it is.
          num_samples: importance samples; the config's number by default.

        Raises:
          UserError: for x that no data of this run could be, or a label that is missing.
        """
        families.require(self.subject.family, ImportanceWeighted, "log_prob")
        settings = self.experiment.config.eval
        examples = self._examples(x, label)
        self.spec.check(examples.arrays()["x"])
        # As real numbers x is taken as it is: neither binarised nor dequantised again.
        subject = dataclasses.replace(self.subject, spec=DataSpec("real", self.spec.shape))
        num_samples = num_samples or settings.importance_samples
        whole = type(settings)({**settings, "num_examples": 0})
        return likelihood.importance_terms(subject, examples, whole, num_samples)["bound"]

    def encode(self, x: np.ndarray, label: np.ndarray | None = None) -> Posterior:
        """q(z|x) of images in model units: mean and log variance, each [N, latent_dim].

        Raises:
          UserError: for x of another shape, or a label that is missing.
        """
        batch = self._examples(x, label).arrays()
        posterior = self.subject.encode(batch | {"x": jnp.float32(batch["x"])})
        return Posterior(*(np.asarray(part) for part in posterior))

    def decode(self, z: np.ndarray, label: np.ndarray | None = None) -> np.ndarray:
        """Latents [N, latent_dim] -> mean of p(x|z), [N, *shape] in model units."""
        label = None if label is None else jnp.asarray(label)
        return np.asarray(self.subject.decode(jnp.float32(z), label))

    def evaluate(self, *names: str, split: str = "test") -> dict[str, Metric]:
        """Metrics on a split of the run's data; the config's own by default."""
        settings = self.experiment.config.eval
        dataset = self.experiment.dataset
        return evaluate(self.subject, dataset, split, names or settings.metrics, settings)

    def _examples(self, x: np.ndarray, label: np.ndarray | None) -> ArrayExamples:
        x = np.asarray(x)
        if x.shape[1:] != self.spec.shape:
            raise UserError(
                f"x has shape {list(x.shape)}; this run's data are [N, "
                f"{', '.join(map(str, self.spec.shape))}]"
            )
        classes = getattr(self.subject.family, "num_classes", 0)
        if label is None and classes:
            raise UserError(
                f"this model is given the label; give one of each x, 0 to {classes - 1}"
            )
        label = np.zeros(len(x), np.int32) if label is None else np.asarray(label, np.int32)
        if label.shape != (len(x),):
            raise UserError(f"label has shape {list(label.shape)}; give one of each x, [{len(x)}]")
        if classes and not ((label >= 0) & (label < classes)).all():
            raise UserError(f"there are labels beyond 0 to {classes - 1}")
        return ArrayExamples("given", x, label)


def load(workdir: str | Path, replica: int = 0) -> Run:
    """The newest sound checkpoint of a run.

    Raises:
      UserError: if there is no run, no checkpoint or no such replica.
    """
    workdir = Path(workdir)
    config = read_config(workdir)
    built, state = experiment.restore(config, workdir, replica)
    return Run(workdir, built, built.trained_subject(state, replica), int(state.step))
