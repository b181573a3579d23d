"""A trained run, for notebooks and for the command line: `gen_jax.load`, `gen_jax.fit`."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from gen_jax import config as config_lib
from gen_jax import evaluation, experiment, export, families, parallel, pictures
from gen_jax import run_checks as checks
from gen_jax.applications import media
from gen_jax.data.examples import ArrayExamples, chosen_rows
from gen_jax.data.examples import batch as make_batch
from gen_jax.data.spec import Batch, DataSpec
from gen_jax.errors import UserError
from gen_jax.evaluation import (
    Subject,
    anomaly,
    attributes,
    features,
    interpolation,
    likelihood,
    masks,
    morphometry,
)
from gen_jax.families.base import (
    Autoencoder,
    CallsCounted,
    Completer,
    Decoder,
    Editor,
    Guided,
    Restorer,
    Sampler,
)
from gen_jax.likelihoods import DiagonalGaussian
from gen_jax.measurements import Measurement
from gen_jax.report import card
from gen_jax.run_checks import Labels
from gen_jax.workdir import logs
from gen_jax.workdir.claim import EXPORTED, default_workdir, folder, read_config

_FITTED = 2_000  # training examples that a direction is fitted to


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
      replica: which of a run's.
    """

    workdir: Path
    experiment: "experiment.Experiment"
    subject: Subject
    step: int
    replica: int = 0

    def __repr__(self) -> str:
        config = self.experiment.config
        what = config.experiment or config.family
        return f"<Run of {what} on {config.data.name}, step {self.step:,}, in {self.workdir}>"

    def _repr_html_(self) -> str:
        config, counts = self.config, self.experiment.parameter_counts()
        facts = {
            "family": config.family,
            "data": f"{config.data.name}, {self.spec.kind} {list(self.spec.shape)}",
            "step": f"{self.step:,} of {config.steps:,}",
            "parameters": ", ".join(f"{name} {count:,}" for name, count in counts.items()),
            "in": str(self.workdir),
        }
        facts |= {name: f"{value:.5g}" for name, value in self._newest_figures().items()}
        shows = self.spec.is_image and families.has(self.subject.family, Sampler)
        picture = self.samples(16) if shows else None
        return card.card(config.experiment or config.family, facts, picture)

    def _newest_figures(self) -> dict[str, float]:
        """Those of the last validation, of a run that is in a workdir."""
        if self.experiment.workdir is None:
            return {}
        row = logs.last_validation(self.workdir)
        return {n: v for n, v in row.items() if n != "step" and "/replica_" not in n}

    @property
    def config(self) -> ConfigDict:
        """Of the run."""
        return self.experiment.config

    @property
    def metrics(self) -> card.Rows:
        """The log, a row for each log step and each validation; shown as a table.

        Raises:
          UserError: of a model that was read from a file, which has none.
        """
        if self.experiment.workdir is None:
            raise UserError(f"{self.workdir} is a model without the log of its run")
        return card.Rows(row for row in logs.read_metrics(self.workdir) if "alarms" not in row)

    def data(self, split: str = "test", num: int | None = None) -> dict[str, np.ndarray]:
        """Examples of a split in model units, with their fixed draw: x [N, *shape], label [N].

        Args:
          split: "train", "validation" or "test".
          num: so many of them, chosen by a fixed seed; all if left out.

        Raises:
          UserError: for a split that there is not, or where the data are not.
        """
        self._check_split(split)
        if num is not None:
            checks.whole("num", num, 1)
        rows = chosen_rows(self.experiment.dataset.splits[split], num or 0)
        batch = self.experiment.dataset.batch(split, rows)
        return {name: np.asarray(array) for name, array in batch.items()}

    @property
    def spec(self) -> DataSpec:
        return self.experiment.spec

    def sample(
        self,
        num: int,
        label: Labels = None,
        seed: int = 0,
        temperature: float | None = None,
        prompt: str | np.ndarray | None = None,
        given: Mapping[str, np.ndarray] | None = None,
        **options: Any,
    ) -> np.ndarray:
        """`num` samples [num, *shape] in model units; `label` for a class-conditional model.

        Of a model with a likelihood they are means of p(x|z), and so between the values of the
        data.

        Args:
          num: how many.
          label: of a class-conditional model, the number or the name of a class, one for all or one
            for each; without it its classes take turns.
          seed: of what is drawn. Sample number n is the same whatever `num` is.
          temperature: factor of the standard deviations of what is drawn.
          prompt: of a model of sequences, how samples begin: characters of a text, FILE.wav,
            FILE.mid, "test:NUMBER:COUNT" for the first elements of an example, or [P, ...] in model
            units. `length` more follow.
          given: of a model that is given vectors, as a simulator's observation, each by its name,
            [num, C] or one for all, [C]; without it those of the first test examples.
          **options: other keys of the config's `sample` section.

        Raises:
          UserError: if the model does not sample, or cannot with such a label, seed or option.
        """
        families.require(self.subject.family, "sample", Sampler)
        checks.whole("num", num, 1)
        checks.whole("seed", seed, 0, 2**32 - 1)
        if temperature is not None:
            options["temperature"] = temperature
        condition, classes = None, self.subject.num_classes
        if label is not None:
            if not classes:
                raise UserError("this model is not class-conditional; leave out the label")
            condition = {"label": self._labels(label, num, "sample")}
        if names := self.subject.given_vectors:
            if given is None:
                condition = self._first_vectors(names, num)
            else:
                condition = checks.vectors(self.spec, names, given, num)
        elif given is not None:
            raise UserError("this model is given no vectors; leave out given")
        if isinstance(prompt, str):
            prompt = media.prompt(self.spec, prompt, lambda: self.experiment.dataset.splits)
        return self.subject.sample(num, condition, seed, self._options(options), prompt)

    def edit(
        self,
        x: np.ndarray,
        noise_level: float,
        label: Labels = None,
        seed: int = 0,
        **options: Any,
    ) -> np.ndarray:
        """Examples like x: noise is added to them and removed, [N, *shape] in model units.

        Args:
          x: [N, *shape] in model units.
          noise_level: standard deviation of the noise, in the units that networks read: of pixels
            from -1 to 1. With little of it x stays as it is.
          label: of a class-conditional model, what they are to become: one for all or one for each.
          seed: of the noise.
          **options: keys of the config's `sample` section.

        Raises:
          UserError: for a model that cannot, x that no data of this run could be, or a missing
            label.
        """
        families.require(self.subject.family, "edit", Editor)
        checks.whole("seed", seed, 0, 2**32 - 1)
        if not 0 < noise_level < math.inf:
            raise UserError(f"noise_level={noise_level} must be a number above 0")
        given = checks.examples(self.subject, x, label).gather(np.arange(len(x)))
        condition = {"label": given["label"]} if self.subject.num_classes else None
        return self.subject.edit(given["x"], noise_level, condition, seed, self._options(options))

    def guide(
        self,
        label: Labels,
        num: int = 1,
        judge: str = "",
        strength: float = 1.0,
        seed: int = 0,
        **options: Any,
    ) -> np.ndarray:
        """Samples that a classifier takes for a label, also of a model that was given none.

        Args:
          label: one for all or one for each, by number or, where the data have names, by name.
          num: how many.
          judge: name or file of the classifier; "" for the data's own, as `eval.judge` names it.
          strength: how often the classifier's log-probability counts.
          seed: of what is drawn.
          **options: keys of the config's `sample` section.

        Raises:
          UserError: for a model that cannot, or a label, a judge or an option that there is not.
        """
        families.require(self.subject.family, "guide", Guided)
        checks.whole("num", num, 1)
        checks.whole("seed", seed, 0, 2**32 - 1)
        if not 0 <= strength < math.inf:
            raise UserError(f"strength={strength} must be a number from 0 up")
        settings = self.experiment.config.eval.copy_and_resolve_references()
        settings.judge = judge or settings.get("judge", "")
        net = features.load(settings, self.experiment.dataset, self.workdir)
        labels = checks.labels(self.spec, label, num, "sample", self.spec.num_classes)
        return self.subject.guide(
            labels, net.module, net.params, strength, seed, self._options(options)
        )

    def sampling_calls(self, **options: Any) -> int | None:
        """Calls of the network for each sample; None where a model has no number of them.

        Args:
          **options: keys of the config's `sample` section.
        """
        family = self.subject.family
        if not families.has(family, CallsCounted):
            return None
        return family.sampling_calls({**self.subject.options, **self._options(options)})

    def restore(
        self,
        y: np.ndarray,
        measurement: Measurement,
        label: Labels = None,
        seed: int = 0,
        **options: Any,
    ) -> np.ndarray:
        """Draws of p(x | y), one for each of the measurements y: [N, *shape] in model units.

        A model that draws none but has latents decodes likely ones: see `Subject.restore`.

            known = np.indices((28, 28))[0] < 14
            measurement = gen_jax.measurements.mask(known, noise=0.05)
            y = measurement.apply(run.spec.center(x))
            run.restore(y, measurement, restoration="mmps")

        Args:
          y: [N, M, C], of x in the units that networks read: `run.spec.center(x)`.
          measurement: what y is of x (gen_jax/measurements.py).
          label: of a class-conditional model: one for all or one for each, by number or by name.
          seed: of what is drawn.
          **options: keys of the config's `sample` section; `restoration` is the method.

        Raises:
          UserError: for a model that cannot, y of another shape, or an option that there is not.
        """
        families.require(self.subject.family, "restore", Restorer, Decoder)
        checks.whole("seed", seed, 0, 2**32 - 1)
        y, places = np.asarray(y, np.float32), measurement.v.shape[1]
        channels = self.spec.shape[-1] if self.spec.is_image else 1
        expected = (len(measurement.u), channels)
        if places * channels != self.spec.num_dims or y.shape[1:] != expected or not len(y):
            raise UserError(
                f"y has shape {list(y.shape)} and the measurement is of {places} places; it needs "
                f"[N, {expected[0]}, {expected[1]}] of {self.spec.num_dims // channels} places"
            )
        if self.subject.given_vectors:
            raise UserError("a model that is given vectors is restored by run.subject.restore")
        condition = None
        if self.subject.num_classes:
            if label is None:
                raise UserError("this model is given the label; give one of each y")
            condition = {"label": self._labels(label, len(y), "y")}
        return self.subject.restore(y, measurement, condition, seed, self._options(options))

    def complete(
        self,
        x: np.ndarray,
        known: np.ndarray | str,
        label: Labels = None,
        seed: int = 0,
        **options: Any,
    ) -> np.ndarray:
        """Examples with what is not known of them drawn, [N, *shape] in model units.

        Args:
          x: [N, *shape] in model units; what is unknown of it is not looked at.
          known: bool, of the pixels [H, W] or of one example; or of pictures the name of a mask of
            evaluation/masks.py.
          label: of a class-conditional model: one for all or one for each.
          seed: of what is drawn.
          **options: keys of the config's `sample` section.

        Raises:
          UserError: for a model that cannot, x that no data of this run could be, or a mask of
            another shape or one that this model cannot complete.
        """
        families.require(self.subject.family, "complete", Completer, Restorer, Decoder)
        checks.whole("seed", seed, 0, 2**32 - 1)
        if isinstance(known, str):
            checks.pictures(self.spec, "a mask with a name")
            known = masks.known_part(known, self.spec.shape[:2])
        known = np.asarray(known)
        if known.dtype != bool or known.shape not in (self.spec.shape, self.spec.shape[:2]):
            raise UserError(
                f"what is known is {known.dtype} {list(known.shape)}; give bool "
                f"{list(self.spec.shape[:2])}, true where x is known"
            )
        given = checks.examples(self.subject, x, label).gather(np.arange(len(x)))
        condition = {"label": given["label"]} if self.subject.num_classes else None
        return self.subject.complete(given["x"], known, condition, seed, self._options(options))

    def class_number(self, label: int | str) -> int:
        """Of a class that is given by its number or its name; a name that is a number is a name."""
        return checks.class_number(self.spec, label)

    def _options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return checks.options(self.config.family, given)

    def _labels(self, label: Labels, num: int, name: str) -> np.ndarray:
        return checks.labels(self.spec, label, num, name, self.subject.num_classes)

    def _first_vectors(self, names: Sequence[str], num: int) -> Batch:
        """What the first test examples are given, [num, C] of each name."""
        dataset = self.experiment.dataset
        example = dataset.batch("test", np.arange(num) % len(dataset.splits["test"]))
        return {name: np.asarray(example[name]) for name in names}

    def log_prob(
        self, x: np.ndarray, label: Labels = None, num_samples: int | None = None
    ) -> np.ndarray:
        """log p(x) in nats, [N]: the model's own, or a lower bound from importance samples.

        Args:
          x: [N, *shape] in model units. For real data it is the log of a density.
          label: of a class-conditional model, whose log p(x|y) it is: one for all or one for each,
            by number or by name.
          num_samples: importance samples; the config's number by default.

        Raises:
          UserError: for x that no data of this run could be, or a label that is missing.
        """
        families.require(self.subject.family, "log_prob", *likelihood.LIKELIHOOD)
        if num_samples is None:
            num_samples = self.experiment.config.eval.importance_samples
        checks.whole("num_samples", num_samples, 1)
        return likelihood.log_prob(*self._as_given(x, label), num_samples).value

    def anomaly_scores(self, x: np.ndarray, label: Labels = None) -> dict[str, np.ndarray]:
        """How unlike the training data x is, by each score of the model, [N]: `anomaly.scores`.

        Args:
          x: [N, *shape] in model units.
          label: of a class-conditional model, whose anomalies are those of a class.

        Raises:
          UserError: for x that no data of this run could be, a label that is missing, or a model
            that has no score.
        """
        families.require(self.subject.family, "anomaly scores", *anomaly.SCORED)
        return anomaly.scores(*self._as_given(x, label))

    def unusual_parts(self, x: np.ndarray, label: Labels = None) -> np.ndarray:
        """Where pictures x are unusual, [N, H, W]: `anomaly.unusual_parts`.

        Raises:
          UserError: as `anomaly_scores` does, or for data that are no pictures.
        """
        checks.pictures(self.spec, "unusual_parts")
        return anomaly.unusual_parts(*self._as_given(x, label))

    def encode(self, x: np.ndarray, label: Labels = None) -> DiagonalGaussian:
        """q(z|x) of images in model units: mean and log variance, each [N, latent_dim].

        Raises:
          UserError: for x that no data of this run could be, or a label that is missing.
        """
        examples = checks.examples(self.subject, x, label)
        batch = make_batch(self.spec.verbatim(), examples, np.arange(len(examples)))
        return DiagonalGaussian(*map(np.asarray, self.subject.encode(batch)))

    def decode(self, z: np.ndarray, label: Labels = None) -> np.ndarray:
        """Latents [N, latent_dim] -> mean of p(x|z), [N, *shape] in model units.

        Args:
          z: latents.
          label: of a class-conditional model, one for all, one for each, or shares of the classes
            for each, [N, num_classes]: halves of two are what is between them.

        Raises:
          UserError: for latents of another width, or labels that are not one of each.
        """
        family = families.require(self.subject.family, "decode", Decoder)
        z = np.asarray(z, np.float32)
        if z.ndim != 2 or not len(z) or z.shape[1] != family.latent_dim:
            raise UserError(f"z has shape {list(z.shape)}; this run's are [N, {family.latent_dim}]")
        condition: Batch = {}
        if np.ndim(label) == 2:
            condition = {"label": checks.shares(label, len(z), self.subject.num_classes)}
        elif label is not None:
            condition = {"label": self._labels(label, len(z), "z")}
        return np.asarray(self.subject.decode(z, condition))

    def latents(self, x: np.ndarray, label: Labels = None) -> np.ndarray:
        """Latents [N, latent_dim] of which the decoder makes about x: see `Subject.latents`.

        Raises:
          UserError: for a model without latents, and as `encode` does.
        """
        families.require(self.subject.family, "latents", Decoder)
        examples = checks.examples(self.subject, x, label)
        batch = make_batch(self.spec.verbatim(), examples, np.arange(len(examples)))
        return self.subject.latents(batch)

    def reconstruct(self, x: np.ndarray, label: Labels = None) -> np.ndarray:
        """What the decoder makes of the latents of x, [N, *shape] in model units.

        Raises:
          UserError: as `encode` does.
        """
        label = None if label is None else self._labels(label, len(x), "x")
        return self.decode(self.latents(x, label), label)

    def direction(
        self,
        values: np.ndarray | str,
        x: np.ndarray | None = None,
        label: Labels = None,
        method: str = "means",
    ) -> attributes.Direction:
        """The direction in latent space along which an attribute of examples grows.

            run.direction("thickness")     # measured: see evaluation/morphometry.py
            run.direction(labels == 7, x)  # more like a 7

        Args:
          values: of each x, a number or whether it has it, [N]; or the name of what is measured.
          x: examples [N, *shape] in model units; with a name, 2,000 of training if left out, or of
            a model without an encoder 2,000 samples.
          label: of a class-conditional model, that of each x.
          method: means or regression: see evaluation/attributes.py.

        Raises:
          UserError: for a model without latents, an unknown name or method, or values that do not
            fit x or do not vary.
        """
        family = families.require(self.subject.family, "a direction", Decoder)
        z = None
        if x is None and not families.has(family, Autoencoder):
            z = np.random.default_rng(0).standard_normal((_FITTED, family.latent_dim))
            if self.subject.num_classes:
                label = np.arange(_FITTED) % self.subject.num_classes
            x = self.decode(z, label)
        elif x is None:
            batch = self.data("train", min(_FITTED, len(self.experiment.dataset.splits["train"])))
            x = batch["x"]
            label = batch["label"] if self.subject.num_classes else None
        if isinstance(values, str):
            if values not in morphometry.ATTRIBUTES:
                names = ", ".join(morphometry.ATTRIBUTES)
                raise UserError(f"no attribute {values!r} is measured; those are: {names}")
            checks.pictures(self.spec, repr(values))
            values = morphometry.measure(self.spec.to_uint8(x))[values]
        values = np.asarray(values, np.float64)
        if values.shape != (len(x),):
            raise UserError(
                f"values have shape {list(values.shape)}; give one of each x, [{len(x)}]"
            )
        z = self.latents(x, label) if z is None else z
        return attributes.fit(z, values, method)

    def move(
        self,
        x: np.ndarray,
        direction: attributes.Direction,
        amount: float = 1.0,
        label: Labels = None,
    ) -> np.ndarray:
        """Reconstructions of x [N, *shape] with an attribute changed, in model units.

        Args:
          x: in model units.
          direction: of `direction`.
          amount: standard deviations of the attribute; below 0 it becomes less.
          label: of a class-conditional model: one for all or one for each.

        Raises:
          UserError: as `encode` does, or for a direction of another model.
        """
        z, step = self.latents(x, label), np.asarray(direction.step)
        if step.shape != z.shape[1:] or not math.isfinite(amount):
            raise UserError(
                f"this direction has {step.size} numbers and amount={amount}; it needs "
                f"{z.shape[1]}, those of this run, and a finite amount"
            )
        return self.decode(z + amount * step, label)

    def interpolate(
        self,
        first: np.ndarray,
        last: np.ndarray,
        steps: int = 10,
        label: Labels = None,
        path: str = "linear",
    ) -> np.ndarray:
        """Decoded points of a line in latent space between two examples.

        Args:
          first: [*shape] in model units.
          last: likewise.
          steps: points of the line, the ends included.
          label: of a class-conditional model, one for both ends or one of each, between which it is
            shares of both.
          path: linear, or spherical: along which N(0, I)'s latents keep their length, as those of
            flows, diffusions and GANs (White 2016, arXiv 1609.04468).

        Returns:
          [steps, *shape] in model units.

        Raises:
          UserError: as `encode` does.
        """
        checks.whole("steps", steps, 2)
        ends = np.stack([np.asarray(first), np.asarray(last)])
        classes, shares = self.subject.num_classes, None
        if label is not None and classes:
            label = self._labels(label, 2, "end")
            shares = interpolation.between_classes(*label, steps, classes)
        line = interpolation.between(*self.latents(ends, label), steps, path)
        return self.decode(line, shares)

    def evaluate(self, *names: str, split: str = "test") -> card.Figures:
        """Metrics on a split of the run's data; the config's own by default.

        Raises:
          UserError: for a metric or a split that there is not, or what a metric lacks.
        """
        self._check_split(split)
        context = self.experiment.context(self.subject, split)
        return card.Figures(evaluation.evaluate(context, names or context.settings.metrics))

    def _check_split(self, split: str) -> None:
        splits = self.experiment.dataset.splits
        if split not in splits:
            raise UserError(f"no split {split!r}; valid are: {', '.join(splits)}")

    def samples(self, num: int = 64, columns: int | None = None, **options: Any) -> Image.Image:
        """`show` of `sample(num, **options)`."""
        return self.show(self.sample(num, **options), columns)

    def export(self, path: str | Path, half: bool = False) -> Path:
        """Writes the model to FILE.safetensors, and a card of it to FILE.md: see gen_jax/export.py.

        Args:
          path: of the file.
          half: whether numbers are stored with 16 bits, in half the room.

        Raises:
          UserError: for another ending, or a model that was read from such a file.
        """
        if self.experiment.workdir is None:
            raise UserError(f"this model is of {self.workdir} already; copy that file")
        path = folder(path)
        export.write(path, self.experiment, self.subject, self.step, self.replica, half)
        return path

    def show(self, x: np.ndarray | None = None, columns: int | None = None) -> Image.Image:
        """Images [N, H, W, C] in model units as one picture, which a notebook shows.

        Args:
          x: the images; 64 samples if left out.
          columns: of the grid; about as many as rows if left out.

        Raises:
          UserError: for data that are no images, or x that are none of this run's shape.
        """
        if not self.spec.is_image:
            raise UserError("this run's data are no images; plot them")
        x = self.sample(64) if x is None else np.asarray(x)
        checks.shape(self.spec, x)
        if columns is not None:
            checks.whole("columns", columns, 1)
        return Image.fromarray(pictures.tile(self.spec.to_uint8(x), columns))

    def _as_given(self, x: np.ndarray, label: Labels) -> tuple[Subject, ArrayExamples, ConfigDict]:
        """The model, all of what a user gives, and settings, as evaluation takes them."""
        # As it is: x is in model units, neither to be binarised nor to be dequantised again.
        subject = dataclasses.replace(self.subject, spec=self.spec.verbatim())
        whole = ConfigDict({**self.experiment.config.eval, "num_examples": 0})
        return subject, checks.examples(self.subject, x, label), whole


def load(
    workdir: str | Path,
    replica: int = 0,
    arrays: Mapping[str, np.ndarray] | None = None,
    data_changed: bool = False,
    arguments: Sequence[str] = (),
    step: int | str | None = None,
) -> Run:
    """A checkpoint of a run: see `gen_jax.load`.

    `arguments` are `--config.KEY=VALUE` of what training does not read.

    Raises:
      UserError: if there is no run, no checkpoint or no such replica, or if an argument would make
        it another run.
    """
    parallel.setup()
    parallel.check_devices()
    workdir = folder(workdir)
    if workdir.suffix == EXPORTED:
        built, subject, step = export.read(workdir)
        config_lib.override_trained(built.config, arguments)
        return Run(workdir, built, subject, step)
    config = read_config(workdir)
    config_lib.override_trained(config, arguments)
    built, state = experiment.restore(config, workdir, replica, arrays, data_changed, step)
    subject = built.trained_subject(state, replica)
    return Run(workdir, built, subject, int(state.step), replica)


def fit(
    config: str | ConfigDict,
    workdir: str | Path | None,
    arrays: Mapping[str, np.ndarray] | None,
    data_changed: bool,
    overrides: Mapping[str, Any],
) -> Run:
    """Trains a run to its end, and loads it: see `gen_jax.fit`.

    Raises:
      UserError: for bad input.
    """
    parallel.setup()
    parallel.check_devices()
    own = config_lib.load_file(config) if isinstance(config, str) else config
    own = own.copy_and_resolve_references().lock()
    if arrays is not None:
        overrides = {"data.name": "arrays", **overrides}
    config_lib.override(own, config_lib.as_arguments(overrides))
    workdir = folder(workdir) if workdir else default_workdir(own.experiment or own.family)
    experiment.train(own, workdir, arrays, data_changed)
    return load(workdir, arrays=arrays)
