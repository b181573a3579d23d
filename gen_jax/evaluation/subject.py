"""A trained model, as evaluators, pictures and notebooks see it."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.core import FrozenDict

from gen_jax import families, measurements, ticks
from gen_jax import keys as keys_lib
from gen_jax.data.spec import Batch, DataSpec
from gen_jax.errors import UserError
from gen_jax.evaluation.inversion import invert
from gen_jax.families import conditions
from gen_jax.families.base import (
    Autoencoder,
    Completer,
    Continuer,
    Decoder,
    Editor,
    Family,
    Film,
    Guided,
    Restorer,
    Sampler,
    Stylist,
    TwoWays,
)
from gen_jax.likelihoods import DiagonalGaussian
from gen_jax.measurements import Measurement

# Elements: sequences that begin with a prompt are drawn as long as the next multiple of it.
_BUCKET = 256
# Noise of what is known exactly, of numbers from -1 to 1: some methods divide by it.
_TRUSTED = 0.05
_INVERTED = 100  # examples whose latents are searched for at once


@dataclasses.dataclass(frozen=True)
class Subject:
    """A trained model under evaluation. Its abilities are compiled once and refused if missing.

    Attributes:
      family: the model family.
      spec: the data that it was trained on.
      params: {network: tree}, moving averages where there are any.
      extra: mutable collections of the family.
      options: of sampling, the `sample` section of a config.
    """

    family: Family
    spec: DataSpec
    params: dict
    extra: dict
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __repr__(self) -> str:
        count = sum(leaf.size for leaf in jax.tree.leaves(self.params))
        return f"<Subject: {type(self.family).__name__} with {count:,} parameters>"

    @property
    def given(self) -> tuple[str, ...]:
        """Names of the arrays of a batch that the model is conditioned on."""
        return getattr(self.family, "given", ())

    @property
    def given_vectors(self) -> tuple[str, ...]:
        """Those of them that are not the label."""
        return conditions.vector_names(self.given)

    @property
    def num_classes(self) -> int:
        """Labels that a sample can be conditioned on; 0 for none."""
        return self.spec.num_classes if "label" in self.given else 0

    def sample(
        self,
        num: int,
        condition: Batch | None = None,
        seed: int = 0,
        options: Mapping[str, Any] | None = None,
        prompt: np.ndarray | None = None,
    ) -> np.ndarray:
        """Samples [num, *shape] in model units.

        Each has a key of its own, so that sample number n is the same whatever `num` is. They are
        drawn `options["batch_size"]` at a time, which bounds the memory that drawing takes.

        Args:
          num: how many.
          condition: arrays [num, ...] of those names that the model is given. Without it a
            class-conditional model goes round its classes.
          seed: of the keys.
          options: those that differ from the subject's own.
          prompt: of sequences, how all of them begin, [P, ...] in model units; they have
            `options["length"]` elements more, or as many as in training.
        """
        family = families.require(self.family, "sample", Sampler)
        if prompt is not None:
            families.require(self.family, "a prompt", Continuer)
        options = {"batch_size": 1_000, **self.options, **(options or {})}
        size = options.pop("batch_size")
        if condition is None and self.given_vectors:
            names = " and ".join(self.given_vectors)
            raise UserError(
                f"samples of this model need a condition: its {names}, one of each; "
                "from Python: run.subject.sample(num, condition={name: array})"
            )
        if condition is None:
            condition = {"label": np.arange(num, dtype=np.int32) % max(self.num_classes, 1)}
        condition = {name: np.asarray(array) for name, array in condition.items()}
        if prompt is not None:
            whole = len(prompt) + (options.get("length") or self.spec.shape[0])
            # Filled up to a multiple, so that prompts of about one length share a program.
            filled = np.zeros((-(-whole // _BUCKET) * _BUCKET, *prompt.shape[1:]), np.int32)
            filled[: len(prompt)] = prompt
        model, key = (self.params, self.extra), keys_lib.stream(seed, "sample")
        if prompt is None:
            draw = functools.partial(_sample, family, FrozenDict(options), *model)
        else:
            given = (filled.astype(np.float32 if self.spec.kind != "tokens" else np.int32),)
            draw = functools.partial(
                _continued, family, FrozenDict(options), *model, *given, np.int32(len(prompt))
            )
        x = _in_parts(lambda index, own: draw(key, index, own), condition, size, num)
        return x if prompt is None else x[:, :whole]

    def film(self, num: int, seed: int = 0) -> np.ndarray:
        """What there is of the first `num` samples at each step, [F, num, *shape] in model units.

        Of a class-conditional model its classes take turns.
        """
        family = families.require(self.family, "a film", Film)
        index = np.arange(num, dtype=np.int32)
        condition = {"label": index % max(self.num_classes, 1)}
        options = FrozenDict({k: v for k, v in self.options.items() if k != "batch_size"})
        key = keys_lib.stream(seed, "sample")
        return np.asarray(_film(family, options, self.params, self.extra, key, index, condition))

    def edit(
        self,
        x: np.ndarray,
        noise_level: float,
        condition: Batch | None = None,
        seed: int = 0,
        options: Mapping[str, Any] | None = None,
    ) -> np.ndarray:
        """Examples like x [N, *shape] in model units, each by its own key: see `base.Editor`."""
        family = families.require(self.family, "edit", Editor)
        options = {"batch_size": 1_000, **self.options, **(options or {})}
        size = options.pop("batch_size")
        draw = functools.partial(_edit, family, FrozenDict(options), self.params, self.extra)
        key, level = keys_lib.stream(seed, "edit"), np.float32(noise_level)
        arrays = {**(condition or {}), "x": x}
        return _in_parts(lambda index, own: draw(own, key, index, level), arrays, size)

    def restore(
        self,
        y: np.ndarray,
        measurement: Measurement,
        condition: Batch | None = None,
        seed: int = 0,
        options: Mapping[str, Any] | None = None,
    ) -> np.ndarray:
        """A draw of p(x | y) for each measurement y [N, M, C]: [N, *shape] in model units.

        As samples, draw number n is the same whatever N is. y is of x in the units that networks
        read (`DataSpec.center`); a class-conditional model needs its condition. A model that draws
        no such x decodes latents near the most likely ones that a search finds
        (evaluation/inversion.py).
        """
        family = families.require(self.family, "restore", Restorer, Decoder)
        if not families.has(family, Restorer):
            found = self._inverted(y, measurement, condition or {}, seed, walked=True)
            return np.asarray(self.decode(found, condition))
        options = {"batch_size": 1_000, **self.options, **(options or {})}
        size, key = options.pop("batch_size"), keys_lib.stream(seed, "restore")
        model = (self.params, self.extra, measurement)
        draw = functools.partial(_restore, family, FrozenDict(options), *model)

        def some(index, own):
            return draw(own.pop("y"), key, index, own)

        return _in_parts(some, {**(condition or {}), "y": y}, size)

    def complete(
        self,
        x: np.ndarray,
        known: np.ndarray,
        condition: Batch | None = None,
        seed: int = 0,
        options: Mapping[str, Any] | None = None,
    ) -> np.ndarray:
        """Examples x [N, *shape] in model units with what is not known of them drawn.

        By the model's own way (`base.Completer`), or as `restore` does it. What is known stays as
        it is.

        Args:
          x: of which the unknown part is not looked at.
          known: bool, of the shape of one example, or of its pixels, [H, W].
          condition: arrays [N, ...] of what the model is given.
          seed: of what is drawn.
          options: those that differ from the subject's own.

        Raises:
          UserError: for a mask that the model cannot complete, naming what it can.
        """
        family = families.require(self.family, "complete", Completer, Restorer, Decoder)
        known = np.asarray(known, bool)
        whole = known.reshape(*known.shape, *[1] * (len(self.spec.shape) - known.ndim))
        whole = np.broadcast_to(whole, self.spec.shape)
        x = np.where(whole, x, 0).astype(np.asarray(x).dtype)
        arrays = {**(condition or {}), "x": x}
        if families.has(family, Completer):
            options = {"batch_size": 1_000, **self.options, **(options or {})}
            size, key = options.pop("batch_size"), keys_lib.stream(seed, "complete")
            model = (family, FrozenDict(options), whole.tobytes(), self.params, self.extra)
            return _in_parts(lambda index, own: _complete(*model, own, key, index), arrays, size)
        places = whole[..., 0] if self.spec.is_image else whole
        if self.spec.is_image and (whole != places[..., None]).any():
            raise UserError("this model completes whole pixels; give what is known as [H, W]")
        measurement = measurements.mask(places, _TRUSTED)
        y = np.asarray(measurement.apply(self.spec.center(np.float32(x))))
        drawn = self.restore(y, measurement, condition, seed, options)
        return np.where(whole, x, drawn)

    def latents(self, batch: Batch, seed: int = 0) -> np.ndarray:
        """Latents [B, latent_dim] of examples, of which the decoder makes about x.

        The mean of q(z|x) of a model with an encoder; else by a search from some starts, which the
        seed changes (evaluation/inversion.py).
        """
        family = families.require(self.family, "latents", Decoder)
        if families.has(family, Autoencoder):
            return np.asarray(self.encode(batch).mean)
        places = self.spec.shape[:2] if self.spec.is_image else self.spec.shape
        measurement = measurements.mask(np.ones(places, bool), _TRUSTED)
        y = np.asarray(measurement.apply(self.spec.center(jnp.asarray(batch["x"]))))
        condition = {name: batch[name] for name in self.given}
        return self._inverted(y, measurement, condition, seed, walked=False)

    def _inverted(self, y, measurement, condition, seed, walked) -> np.ndarray:
        model = (self.family, self.spec, walked, self.params, self.extra)
        find = functools.partial(invert, *model, measurement)
        key = keys_lib.stream(seed, "invert")

        def some(index, own):
            return find(own.pop("y"), key, index, own)

        return _in_parts(some, {**condition, "y": y}, _INVERTED)

    def guide(
        self,
        label: np.ndarray,
        judge: nn.Module,
        judge_params: dict,
        strength: float = 1.0,
        seed: int = 0,
        options: Mapping[str, Any] | None = None,
    ) -> np.ndarray:
        """Samples [N, *shape] in model units that a classifier takes for `label` [N].

        Each has a key of its own, as in `sample`. The judge's log-probability counts `strength`
        times. A class-conditional model is given the label too.
        """
        family = families.require(self.family, "guide", Guided)
        options = {"batch_size": 1_000, **self.options, **(options or {})}
        size, key = options.pop("batch_size"), keys_lib.stream(seed, "sample")
        draw = functools.partial(_guide, family, FrozenDict(options), judge)
        model = (self.params, self.extra, judge_params, np.float32(strength))
        return _in_parts(lambda index, own: draw(*model, key, index, own), {"label": label}, size)

    def translate_back(self, x: np.ndarray, batch_size: int = 500) -> np.ndarray:
        """A source of each x [N, *shape], both in model units: see `base.TwoWays`."""
        family = families.require(self.family, "the way back", TwoWays)
        draw = functools.partial(_translate_back, family, self.params, self.extra)
        return _in_parts(lambda index, own: draw(own["x"]), {"x": x}, batch_size)

    def in_style(self, source: np.ndarray, x: np.ndarray, batch_size: int = 500) -> np.ndarray:
        """Each source [N, ...] in the style of its x [N, *shape], all in model units: see
        `base.Stylist`."""
        family = families.require(self.family, "a style of your own", Stylist)
        draw = functools.partial(_in_style, family, self.params, self.extra)
        arrays = {"source": source, "x": x}
        return _in_parts(lambda index, own: draw(own["source"], own["x"]), arrays, batch_size)

    def encode(self, batch: Batch) -> DiagonalGaussian:
        """q(z|x) of a batch: mean and log variance [B, latent_dim]."""
        family = families.require(self.family, "encode", Autoencoder)
        return _encode(family, self.params, self.extra, batch)

    def decode(self, z: jax.Array, condition: Batch | None = None) -> jax.Array:
        """Latents [N, latent_dim] -> mean of p(x|z) [N, *shape] in model units.

        Without a condition that it needs, a decoder is given the label 0.
        """
        family = families.require(self.family, "decode", Decoder)
        return _decode(family, self.params, self.extra, jnp.asarray(z), condition or {})


def _in_parts(draw, arrays: Batch, size: int, num: int | None = None) -> np.ndarray:
    """`draw(index [S], arrays [S, ...])` over the rows of arrays [N, ...], at most `size` at once.

    The first `num` of them, if it is given.

    The last rows are drawn with copies, as a program is compiled for each size.
    """
    if num is None:
        num = len(next(iter(arrays.values())))
    size, parts = min(size, num), []
    for part in ticks.parts(-(-num // size)):
        start = part * size
        index = np.minimum(np.arange(start, start + size, dtype=np.int32), num - 1)
        own = {name: np.asarray(array)[index] for name, array in arrays.items()}
        parts.append(np.asarray(draw(index, own))[: num - start])
    return np.concatenate(parts)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _sample(family, options, params, extra, key, index, condition):
    return family.sample(params, extra, keys_lib.per_example(key, index), condition, options)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _film(family, options, params, extra, key, index, condition):
    return family.film(params, extra, keys_lib.per_example(key, index), condition, options)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _continued(family, options, params, extra, prompt, length, key, index, condition):
    keys = keys_lib.per_example(key, index)
    return family.continued(params, extra, keys, prompt, length, condition, options)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _edit(family, options, params, extra, batch, key, index, level):
    return family.edit(params, extra, batch, keys_lib.per_example(key, index), level, options)


@functools.partial(jax.jit, static_argnums=0)
def _translate_back(family, params, extra, x):
    return family.translate_back(params, extra, x)


@functools.partial(jax.jit, static_argnums=0)
def _in_style(family, params, extra, source, x):
    return family.in_style(params, extra, source, x)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _guide(family, options, judge, params, extra, judge_params, strength, key, index, condition):
    def log_prob(x, condition):
        logits = jax.nn.log_softmax(judge.apply({"params": judge_params}, x)[0])
        return strength * jnp.take_along_axis(logits, condition["label"][:, None], 1)[:, 0]

    keys = keys_lib.per_example(key, index)
    return family.guide(params, extra, keys, log_prob, condition, options)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _complete(family, options, known, params, extra, batch, key, index):
    x = batch["x"]
    mask = np.broadcast_to(np.frombuffer(known, bool).reshape(x.shape[1:]), x.shape)
    keys = keys_lib.per_example(key, index)
    return family.complete(params, extra, batch, mask, keys, options)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _restore(family, options, params, extra, measurement, y, key, index, condition):
    keys = keys_lib.per_example(key, index)
    return family.restore(params, extra, keys, measurement, y, condition, options)


@functools.partial(jax.jit, static_argnums=0)
def _encode(family, params, extra, batch):
    return family.encode(params, extra, batch)


@functools.partial(jax.jit, static_argnums=0)
def _decode(family, params, extra, z, condition):
    return family.decode(params, extra, z, condition)
