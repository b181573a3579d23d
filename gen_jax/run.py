"""A trained run, for notebooks and for the command line: `gen_jax.load`, `gen_jax.fit`."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from gen_jax import config as config_lib
from gen_jax import evaluation, experiment, families, parallel, pictures
from gen_jax.data.examples import ArrayExamples
from gen_jax.data.examples import batch as make_batch
from gen_jax.data.spec import Batch, DataSpec
from gen_jax.errors import UserError
from gen_jax.evaluation import Metric, Subject, likelihood
from gen_jax.families.base import Sampler
from gen_jax.likelihoods import DiagonalGaussian
from gen_jax.workdir.claim import default_workdir, read_config


@dataclasses.dataclass(frozen=True, repr=False)
class Run:
    """A trained model with its data.

    Images are arrays [N, H, W, C] in model units (`spec`): {0, 1} for binarised data,
    {0, ..., levels - 1} for bytes.

    Attributes:
      workdir: where it was trained.
      experiment: its config, family, optimisers, and its data, which `evaluate` alone reads.
      subject: the trained model.
      step: the step of the checkpoint.
    """

    workdir: Path
    experiment: "experiment.Experiment"
    subject: Subject
    step: int

    def __repr__(self) -> str:
        config = self.experiment.config
        what = config.experiment or config.family
        return f"<Run of {what} on {config.data.name}, step {self.step:,}, in {self.workdir}>"

    @property
    def spec(self) -> DataSpec:
        return self.experiment.spec

    def sample(
        self,
        num: int,
        label: int | None = None,
        seed: int = 0,
        temperature: float | None = None,
        **options: Any,
    ) -> np.ndarray:
        """`num` samples [num, *shape] in model units; `label` for a class-conditional model.

        Of a model with a likelihood they are means of p(x|z), and so between the values of the
        data.

        Args:
          num: how many.
          label: of a class-conditional model; without it its classes take turns.
          seed: of what is drawn. Sample number n is the same whatever `num` is.
          temperature: factor of the standard deviations of what is drawn.
          **options: other keys of the config's `sample` section.

        Raises:
          UserError: if the model does not sample, or cannot with such a label, seed or option.
        """
        families.require(self.subject.family, "sample", Sampler)
        if num < 1:
            raise UserError(f"num={num} must be at least 1")
        if not 0 <= seed < 2**32:
            raise UserError(f"seed={seed} must be from 0 to {2**32 - 1}")
        if temperature is not None:
            options["temperature"] = temperature
        condition, classes = None, self.subject.num_classes
        if label is not None:
            if not classes:
                raise UserError("this model is not class-conditional; leave out the label")
            if not 0 <= label < classes:
                raise UserError(f"no label {label}; valid are 0 to {classes - 1}")
            condition = {"label": np.full(num, label, np.int32)}
        return self.subject.sample(num, condition, seed, self._options(options))

    def _options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        config = self.experiment.config
        known = config_lib.sections(config.family)["sample"]
        for name, value in given.items():
            if name not in known:
                raise UserError(f"no option {name!r} of sampling; valid are: {', '.join(known)}")
            if isinstance(value, float) and not 0 <= value < math.inf:
                raise UserError(f"{name}={value} must be a number from 0 up")
            if problem := known[name].type_problem(value):
                raise UserError(f"{name}={value!r} must be {problem}")
            known[name].check(name, value)
        return {name: type(known[name].default)(value) for name, value in given.items()}

    def log_prob(
        self, x: np.ndarray, label: np.ndarray | None = None, num_samples: int | None = None
    ) -> np.ndarray:
        """log p(x) in nats, [N]: the model's own, or a lower bound from importance samples.

        Args:
          x: [N, *shape] in model units. For real data it is the log of a density.
          label: [N], for a class-conditional model, whose log p(x|y) it is.
          num_samples: importance samples; the config's number by default.

        Raises:
          UserError: for x that no data of this run could be, or a label that is missing.
        """
        families.require(self.subject.family, "log_prob", *likelihood.LIKELIHOOD)
        settings = self.experiment.config.eval
        # As it is: x is in model units, neither to be binarised nor to be dequantised again.
        subject = dataclasses.replace(self.subject, spec=self.spec.verbatim())
        num_samples = num_samples or settings.importance_samples
        whole = ConfigDict({**settings, "num_examples": 0})
        return likelihood.log_prob(subject, self._examples(x, label), whole, num_samples).value

    def encode(self, x: np.ndarray, label: np.ndarray | None = None) -> DiagonalGaussian:
        """q(z|x) of images in model units: mean and log variance, each [N, latent_dim].

        Raises:
          UserError: for x that no data of this run could be, or a label that is missing.
        """
        examples = self._examples(x, label)
        batch = make_batch(self.spec.verbatim(), examples, np.arange(len(examples)))
        return DiagonalGaussian(*map(np.asarray, self.subject.encode(batch)))

    def decode(self, z: np.ndarray, label: np.ndarray | None = None) -> np.ndarray:
        """Latents [N, latent_dim] -> mean of p(x|z), [N, *shape] in model units."""
        condition: Batch = {} if label is None else {"label": np.asarray(label, np.int32)}
        return np.asarray(self.subject.decode(np.float32(z), condition))

    def evaluate(self, *names: str, split: str = "test") -> dict[str, Metric]:
        """Metrics on a split of the run's data; the config's own by default."""
        context = self.experiment.context(self.subject, split)
        return evaluation.evaluate(context, names or context.settings.metrics)

    def show(self, x: np.ndarray | None = None, columns: int | None = None) -> Image.Image:
        """Images [N, H, W, C] in model units as one picture, which a notebook shows.

        Args:
          x: the images; 64 samples if left out.
          columns: of the grid; about as many as rows if left out.

        Raises:
          UserError: for data that are no images.
        """
        if not self.spec.is_image:
            raise UserError("this run's data are no images; plot them")
        x = self.sample(64) if x is None else np.asarray(x)
        return Image.fromarray(pictures.tile(self.spec.to_uint8(x), columns))

    def _examples(self, x: np.ndarray, label: np.ndarray | None) -> ArrayExamples:
        """What a user gives, checked."""
        x, classes = np.asarray(x), self.subject.num_classes
        self.spec.check(x)
        if label is None and classes:
            raise UserError(
                f"this model is given the label; give one of each x, 0 to {classes - 1}"
            )
        label = np.zeros(len(x), np.int32) if label is None else np.asarray(label, np.int32)
        if label.shape != (len(x),):
            raise UserError(f"label has shape {list(label.shape)}; give one of each x, [{len(x)}]")
        if classes and not ((label >= 0) & (label < classes)).all():
            raise UserError(f"there are labels beyond 0 to {classes - 1}")
        return ArrayExamples("given", {"x": x, "label": label})


def load(
    workdir: str | Path, replica: int = 0, arrays: Mapping[str, np.ndarray] | None = None
) -> Run:
    """The newest sound checkpoint of a run: see `gen_jax.load`.

    Raises:
      UserError: if there is no run, no checkpoint or no such replica.
    """
    parallel.setup()
    workdir = Path(workdir)
    built, state = experiment.restore(read_config(workdir), workdir, replica, arrays)
    subject = built.trained_subject(state, workdir, replica)
    return Run(workdir, built, subject, int(state.step))


def fit(
    config: str | ConfigDict,
    workdir: str | Path | None,
    arrays: Mapping[str, np.ndarray] | None,
    overrides: Mapping[str, Any],
) -> Run:
    """Trains a run to its end, and loads it: see `gen_jax.fit`.

    Raises:
      UserError: for bad input.
    """
    parallel.setup()
    own = config_lib.load_file(config) if isinstance(config, str) else config
    own = own.copy_and_resolve_references().lock()
    if arrays is not None:
        overrides = {"data.name": "arrays", **overrides}
    config_lib.override(own, [f"--config.{key}={value}" for key, value in overrides.items()])
    workdir = Path(workdir) if workdir else default_workdir(own.experiment or own.family)
    experiment.train(own, workdir, arrays)
    return load(workdir, arrays=arrays)
