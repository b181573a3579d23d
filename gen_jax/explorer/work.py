"""What the page asks of a run: every input bounded, one request of a run at a time."""

import base64
import functools
import io
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from gen_jax import config as config_lib
from gen_jax import families, pictures
from gen_jax.applications import media
from gen_jax.data.examples import choose
from gen_jax.errors import UserError
from gen_jax.evaluation import attributes, features, interpolation, likelihood, masks, morphometry
from gen_jax.families.base import (
    Autoencoder,
    CallsCounted,
    Completer,
    Decoder,
    Restorer,
    Sampler,
)
from gen_jax.run import Run
from gen_jax.workdir import claim

MOST_SAMPLES, MOST_STEPS, MOST_SYMBOLS, MOST_SECONDS = 64, 250, 2_000, 4
DIRECTIONS = 6  # principal ones of the latents
REACH = 3.0  # standard deviations to either side
_MAPPED = 400  # examples on the map
_FITTED = 500  # examples of training of which directions are found
_FRAMES = 24  # moments of a film
_SEEDS = 2**32 - 1
# Options of sampling that the page has a field for, with the most that may be asked for.
OPTIONS = {
    "temperature": 2.0,
    "top_p": 1.0,
    "top_k": 1_000,
    "guidance": 10.0,
    "steps": MOST_STEPS,
}


def bounded(value: Any, least: float, most: float, default: float | None = None) -> float:
    """A number that a page sent, brought between two bounds; the default for what is no number."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not np.isfinite(number):
        number = least if default is None else default
    return min(max(number, least), most)


def one_at_a_time(method: Callable) -> Callable:
    """A method that waits until no other of them runs on the same work."""

    @functools.wraps(method)
    def waits(self, *args, **kwargs):
        with self._lock:
            return method(self, *args, **kwargs)

    return waits


class Work:
    """A run behind the page."""

    def __init__(self, run: Run):
        self.run = run
        self._lock = threading.RLock()

    def can(self, *abilities: type) -> bool:
        """Whether the model has all of some abilities."""
        return families.has(self.run.subject.family, *abilities)

    @property
    def is_image(self) -> bool:
        return self.run.spec.is_image

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of what the model can be asked for; () of a model that is given no label."""
        return self.run.spec.class_names if self.run.subject.num_classes else ()

    @property
    def draws(self) -> bool:
        """Whether it has samples that the page can show."""
        shown = self.is_image or bool(self.run.spec.medium)
        return shown and self.can(Sampler) and not self.run.subject.given_vectors

    @property
    def completes(self) -> bool:
        return self.is_image and any(self.can(each) for each in (Completer, Restorer, Decoder))

    @functools.cached_property
    def options(self) -> dict[str, tuple[float, float, float]]:
        """Numbers that sampling takes: {name: (default, least, most)}."""
        known = config_lib.sections(self.run.config.family)["sample"]
        return {
            name: (self.run.config.sample[name], known[name].minimum, most)
            for name, most in OPTIONS.items()
            if name in known and (name != "guidance" or self.class_names)
        }

    def _options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        found = {}
        for name, (default, least, most) in self.options.items():
            if name in given:
                number = bounded(given[name], least, most, default)
                found[name] = type(default)(number)
        return found

    def _label(self, name: str | None) -> int | None:
        return self.class_names.index(name) if name in self.class_names else None

    def _labels(self, num: int, name: str | None) -> np.ndarray | None:
        """One for each of so many; the first class for a name that there is not."""
        return np.full(num, self._label(name) or 0) if self.class_names else None

    def image(self, x: np.ndarray, columns: int | None = None) -> Image.Image:
        """Examples in model units as one picture."""
        return Image.fromarray(pictures.tile(self.run.spec.to_uint8(x), columns))

    @one_at_a_time
    def samples(self, num: Any, seed: Any, label: str | None, given: Mapping) -> Image.Image:
        """A grid of samples of a class, or of all in turns."""
        num = int(bounded(num, 1, MOST_SAMPLES, 16))
        x = self.run.sample(
            num, label=self._label(label), seed=self._seed(seed), **self._options(given)
        )
        return self.image(x)

    @one_at_a_time
    def sequence(
        self, length: Any, seed: Any, prompt: str, given: Mapping
    ) -> tuple[str, bytes | None, Image.Image | None]:
        """Of a text, or a sound or a piece of music: the text, a .wav file, and its picture."""
        spec, options = self.run.spec, self._options(given)
        if spec.medium == "sound":
            length = round(bounded(length, 0.1, MOST_SECONDS, 1) * spec.rate)
        elif spec.medium != "lines":
            length = int(bounded(length, 1, MOST_SYMBOLS, 200))
        if spec.medium != "lines":
            options["length"] = length
        prompt = prompt[:MOST_SYMBOLS] if spec.medium in ("text", "lines") else ""
        num = 12 if spec.medium == "lines" else 1
        x = self.run.sample(num, seed=self._seed(seed), prompt=prompt or None, **options)
        found = media.files_of(spec, x, "sample")
        texts = [data.decode() for name, data in found.items() if name.endswith(".txt")]
        sounds = [data for name, data in found.items() if name.endswith(".wav")]
        shown = media.picture(spec, x)
        return (
            "".join(texts),
            sounds[0] if sounds else None,
            None if shown is None else Image.fromarray(shown),
        )

    @functools.cached_property
    def _space(self) -> dict[str, Any]:
        """The latents' mean, principal directions and the directions of attributes."""
        family = self.run.subject.family
        if self.can(Autoencoder):
            train = self.run.experiment.dataset.splits["train"]
            batch = self.run.data("train", min(_FITTED, len(train)))
            x, label = batch["x"], batch["label"] if self.class_names else None
            z = self.run.latents(x, label)
        else:
            z = np.random.default_rng(0).standard_normal((_FITTED, family.latent_dim))
            label = np.arange(_FITTED) % len(self.class_names) if self.class_names else None
            x = self.run.decode(z, label)
        mean, axes = attributes.principal_axes(z)
        steps = {}
        if self.is_image:
            for name, values in morphometry.measure(self.run.spec.to_uint8(x)).items():
                if values.std() > 0:
                    steps[name] = attributes.fit(z, values, "regression").step
        return {"mean": mean, "axes": axes, "attributes": steps}

    @one_at_a_time
    def sliders(self) -> tuple[list[str], list[str]]:
        """Names of principal directions and of attributes, each a slider."""
        space = self._space
        count = min(DIRECTIONS, len(space["axes"]))
        return [f"direction {number + 1}" for number in range(count)], [*space["attributes"]]

    @one_at_a_time
    def start(self, example: Any = None, seed: Any = None, label: str | None = None) -> np.ndarray:
        """Latents [L] of a test example, or drawn ones."""
        if example is not None:
            x, own = self._example(example)
            return self.run.latents(x, own)[0]
        draw = np.random.default_rng(self._seed(seed))
        return np.float32(draw.standard_normal(self.run.subject.family.latent_dim))

    @one_at_a_time
    def moved(
        self, start: np.ndarray, amounts: Mapping[str, Any], label: str | None
    ) -> Image.Image:
        """What is decoded of latents that are moved along sliders of `sliders`."""
        z, space = np.array(start, np.float64), self._space
        for name, amount in amounts.items():
            amount = bounded(amount, -REACH, REACH, 0)
            if name in space["attributes"]:
                z += amount * space["attributes"][name]
            elif name.startswith("direction "):
                z += amount * space["axes"][int(name.split()[1]) - 1]
        return self.image(self.run.decode(np.float32(z)[None], self._labels(1, label)))

    @functools.cached_property
    def _map(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows of test examples, their labels, and where they are on the plane of two axes."""
        test = self.run.experiment.dataset.splits["test"]
        rows = np.sort(choose(len(test), min(_MAPPED, len(test))))
        batch = self.run.experiment.dataset.batch("test", rows)
        label = np.asarray(batch["label"])
        z = self.run.latents(np.asarray(batch["x"]), label if self.class_names else None)
        space = self._space
        axes = space["axes"][:2]
        places = (z - space["mean"]) @ (axes / np.square(axes).sum(1, keepdims=True)).T
        return rows, label, places

    @one_at_a_time
    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """Of the map: labels [N] and places [N, 2], in standard deviations."""
        return self._map[1:]

    @one_at_a_time
    def nearest(self, place: Sequence[float]) -> tuple[Image.Image, str]:
        """The example of the map that is nearest to a place, and what it is."""
        rows, label, places = self._map
        number = int(np.square(places - np.asarray(place)).sum(1).argmin())
        x = np.asarray(self.run.experiment.dataset.batch("test", rows[[number]])["x"])
        names = self.run.spec.class_names
        what = f", {names[label[number]]}" if names else ""
        return self.image(x), f"test example {rows[number]}{what}"

    @one_at_a_time
    def at(self, place: Sequence[float], label: str | None) -> Image.Image:
        """What is decoded at a place of the map."""
        place = [bounded(each, -4, 4, 0) for each in place]
        z = self._space["mean"] + np.asarray(place) @ self._space["axes"][:2]
        return self.image(self.run.decode(np.float32(z)[None], self._labels(1, label)))

    def _example(self, number: Any) -> tuple[np.ndarray, np.ndarray | None]:
        test = self.run.experiment.dataset.splits["test"]
        row = int(bounded(number, 0, len(test) - 1, 0))
        batch = self.run.experiment.dataset.batch("test", np.array([row]))
        own = np.asarray(batch["label"]) if self.class_names else None
        return np.asarray(batch["x"]), own

    @property
    def num_examples(self) -> int:
        return len(self.run.experiment.dataset.splits["test"])

    @one_at_a_time
    def morph(self, first: Any, last: Any, path: str) -> list[Image.Image]:
        """Pictures from one test example to another."""
        ends = [self._example(each) for each in (first, last)]
        z = [self.run.latents(x, own)[0] for x, own in ends]
        points = interpolation.between(
            *z, _FRAMES + 1, path if path in interpolation.PATHS else "linear"
        )
        label = None
        if self.class_names:
            first, last = (own[0] for _, own in ends)
            classes = len(self.class_names)
            label = interpolation.between_classes(first, last, len(points), classes)
        return [self.image(x[None]) for x in self.run.decode(np.float32(points), label)]

    @one_at_a_time
    def film(self, seed: Any) -> list[Image.Image]:
        """A sample as it comes about, from noise on."""
        film = self.run.subject.film(1, self._seed(seed))
        shown = np.unique(np.linspace(0, len(film) - 1, _FRAMES + 1).round().astype(int))
        return [self.image(film[number]) for number in shown]

    @one_at_a_time
    def drawing(self, ink: np.ndarray, mask: str, label: str | None, seed: Any) -> dict[str, Any]:
        """What the model makes of a drawing [H, W] from 0 to 1.

        Pictures of its reconstruction and its completion, and in words what the judge takes it for
        and how unusual it is: each where the model and the data have it.
        """
        spec, run, found = self.run.spec, self.run, {}
        ink = np.clip(np.nan_to_num(np.float32(ink)), 0, 1)
        if not ink.any():
            return {
                "words": ["Nothing is drawn yet: press the mouse on the black square and move."]
            }
        x = spec.from_uint8(np.broadcast_to(np.round(255 * ink)[..., None], spec.shape))[None]
        own = self._labels(1, label)
        found["seen"] = self.image(x)
        if self.can(Decoder):
            found["reconstructed"] = self.image(run.reconstruct(x, own))
        if mask in masks.KNOWN:
            try:
                found["completed"] = self.image(run.complete(x, mask, own, self._seed(seed)))
            except UserError as error:
                found["words"] = [str(error)]
        found.setdefault("words", []).extend(self._said_of(x, own))
        return found

    def _said_of(self, x: np.ndarray, label: np.ndarray | None) -> list[str]:
        words = []
        judge = self._judge
        if judge is not None:
            logits = np.float64(judge(self.run.spec.to_uint8(x))[0][0])
            chances = np.exp(logits - logits.max())
            chances /= chances.sum()
            order = chances.argsort()[::-1][:3]
            names = self.run.spec.class_names
            said = ", ".join(f"{names[number]} ({chances[number]:.0%})" for number in order)
            words.append(f"The judge {judge.name} takes it for: {said}")
        if any(self.can(each) for each in likelihood.LIKELIHOOD):
            nll = -float(self.run.log_prob(x, label, num_samples=50)[0])
            lower = float((self._usual < nll).mean())
            words.append(
                f"-log p(x) is about {nll:.1f} nats, higher than that of {lower:.0%} of the "
                "test examples"
            )
        return words

    @functools.cached_property
    def _usual(self) -> np.ndarray:
        """-log p(x) of some test examples, in nats."""
        batch = self.run.data("test", min(100, self.num_examples))
        label = batch["label"] if self.class_names else None
        return -self.run.log_prob(batch["x"], label, num_samples=50)

    @functools.cached_property
    def _judge(self) -> features.FeatureNet | None:
        try:
            net = features.load(
                self.run.experiment.config.eval, self.run.experiment.dataset, self.run.workdir
            )
        except (UserError, AttributeError):
            return None
        return net if self.run.spec.class_names else None

    @staticmethod
    def _seed(seed: Any) -> int:
        return int(bounded(seed, 0, _SEEDS, 0))

    def card(self) -> str:
        """The run in a line of text."""
        config = self.run.config
        calls = training = ""
        if not claim.is_free(self.run.workdir):
            training = " (a process still trains it; start the page anew for newer weights)"
        if self.can(CallsCounted):
            calls = f", {self.run.sampling_calls()} calls of the network for a sample"
        return (
            f"{config.experiment or config.family} on {config.data.name}, step {self.run.step:,}"
            f"{calls}{training}"
        )


def data_address(image: Image.Image) -> str:
    """A picture as the text of a `data:` address."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
