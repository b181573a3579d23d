"""What an example is, and what the model is given of it."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.core import FrozenDict

from gen_jax import keys as keys_lib
from gen_jax.errors import UserError

KINDS = ("binary", "bytes", "real", "tokens")
MEDIA = ("", "text", "lines", "sound", "music")

Batch = dict[str, jax.Array]

SOURCE = "source"  # of `DataSpec.given`: the picture that x is made of

# More than any example has, so that a damaged file does not ask for all memory.
_MAX_DIMS, _MAX_NAMES = 2**28, 2**20


@dataclasses.dataclass(frozen=True)
class DataSpec:
    """The kind and the shape of the examples that a model is trained on.

    Every conversion between stored data, model units and pictures is here, and so is the
    volume that turns a density into a probability. A model family never does either.

    Attributes:
      kind: "binary" (x in {0, 1}), "bytes" (x in {0, ..., levels - 1}), "real" or "tokens" (x in
        {0, ..., len(vocabulary) - 1}, int32).
      shape: shape of one example, [H, W, C] for images, [D] for vectors and [T] for sequences.
      levels: number of grey levels of the stored data; 0 where they are real numbers or tokens.
        For kind "real" with levels > 0 the stored integers are dequantised uniformly,
        x = (integer + u) / levels with u ~ U[0, 1), so x is in [0, 1).
      num_classes: number of labels; 0 where there are none.
      class_names: names of the labels, empty where unknown.
      dynamic: whether training draws its randomness (binarisation, dequantisation) anew at
        every step. Validation and test always use one fixed draw for each example.
      vocabulary: the symbol of each token.
      given: what else an example has that a model may be conditioned on, besides its label, by the
        name under which it is stored and batched.
      medium: of sequences, what they are: "text" [T]; "lines" [T], each of which ends with a line
        break; "sound" [T]; "music" [T, 88], frames of keys. "" for all else.
      rate: of sound, samples a second; of music, frames a second.
    """

    kind: str
    shape: tuple[int, ...]
    levels: int = 0
    num_classes: int = 0
    class_names: tuple[str, ...] = ()
    dynamic: bool = True
    vocabulary: tuple[str, ...] = ()
    given: Mapping[str, "DataSpec"] = FrozenDict()
    medium: str = ""
    rate: float = 0.0

    def __post_init__(self):
        object.__setattr__(self, "given", FrozenDict(self.given))  # so that a spec can be hashed
        assert self.kind in KINDS, self.kind
        assert self.kind in ("real", "tokens") or self.levels >= 2, self
        assert (self.kind == "tokens") == bool(self.vocabulary), self
        assert not {"x", "label"} & {*self.given}, self
        assert self.medium in MEDIA, self

    @property
    def is_image(self) -> bool:
        return len(self.shape) == 3

    @property
    def num_dims(self) -> int:
        """Number of dimensions D of one example."""
        return math.prod(self.shape)

    @property
    def num_values(self) -> int:
        """What an element of x may be: 2, `levels` or the tokens; 0 for real numbers."""
        if self.kind == "binary":
            return 2
        return self.levels if self.kind == "bytes" else len(self.vocabulary)

    @property
    def is_dequantized(self) -> bool:
        return self.kind == "real" and self.levels > 0

    def batch(self, stored: Mapping[str, jax.typing.ArrayLike], keys: jax.Array | None) -> Batch:
        """What a model is given of stored examples: the only maker of batches.

        Args:
          stored: arrays [B, ...] as `Examples.gather` gives them, at least x and `given`.
          keys: [B], of the randomness of the data: binarisation, dequantisation. None for data
            that have none.

        Returns:
          x and `given` in model units; label, int32 [B], zeros where there is none; and any other
          array as it is.
        """
        batch = dict(stored)
        batch["x"] = self.prepare(stored["x"], keys)
        for name, spec in self.given.items():
            own = None if keys is None else keys_lib.named(keys, name)
            batch[name] = spec.prepare(stored[name], own)
        label = stored.get("label")
        label = jnp.zeros(len(batch["x"])) if label is None else label
        batch["label"] = jnp.asarray(label, jnp.int32)
        return batch

    def prepare(self, raw: jax.typing.ArrayLike, keys: jax.Array | None) -> jax.Array:
        """Stored examples [B, *shape] and their keys [B] -> model units [B, *shape]: float32, or
        int32 for tokens."""
        raw = jnp.asarray(raw)
        if self.kind == "tokens":
            return raw.astype(jnp.int32)
        raw = raw.astype(jnp.float32)
        if self.kind == "binary":
            return keys_lib.bernoulli(keys, raw / (self.levels - 1))
        if self.is_dequantized:
            return (raw + keys_lib.uniform(keys, self.shape)) / self.levels
        return raw

    def template(self, num: int) -> Batch:
        """The shapes of a batch of `num` examples, without values (`jax.ShapeDtypeStruct`)."""
        keys = jax.eval_shape(lambda: keys_lib.per_example(keys_lib.stream(0, ""), jnp.arange(num)))
        return jax.eval_shape(self.batch, self._stored_template(num), keys)

    def _stored_template(self, num: int) -> Batch:
        dtype = {"real": jnp.float32, "tokens": jnp.int32}.get(self.kind, jnp.uint8)
        stored = {
            "x": jax.ShapeDtypeStruct((num, *self.shape), dtype),
            "label": jax.ShapeDtypeStruct((num,), jnp.int32),
        }
        return stored | {name: s._stored_template(num)["x"] for name, s in self.given.items()}

    def verbatim(self) -> "DataSpec":
        """The spec by which `batch` takes arrays as they are, since they are in model units."""
        given = {name: spec.verbatim() for name, spec in self.given.items()}
        kind = "tokens" if self.kind == "tokens" else "real"
        return dataclasses.replace(self, kind=kind, levels=0, given=given)

    def center(self, x: jax.Array) -> jax.Array:
        """Model units -> what a network reads: bytes and dequantised bytes go to [-1, 1]."""
        if self.kind == "bytes":
            return x * (2.0 / (self.levels - 1)) - 1.0
        return 2.0 * x - 1.0 if self.is_dequantized else x

    def uncenter(self, y: jax.Array) -> jax.Array:
        """The inverse of `center`."""
        if self.kind == "bytes":
            return (y + 1.0) * ((self.levels - 1) / 2.0)
        return (y + 1.0) / 2.0 if self.is_dequantized else y

    @property
    def limits(self) -> tuple[float, float]:
        """The least and the largest that a number of x may be, in model units."""
        if self.kind == "real" and not self.is_dequantized:
            return -math.inf, math.inf
        return 0.0, self.levels - 1.0 if self.kind == "bytes" else 1.0

    def check(self, x: np.ndarray, name: str = "x") -> None:
        """Refuses an array [N, *shape] that cannot be data in model units.

        Raises:
          UserError: saying what the shape or the units are.
        """
        if x.shape[1:] != self.shape:
            shape = ", ".join(map(str, ("N", *self.shape)))
            raise UserError(f"{name} has shape {list(x.shape)}; this run's data are [{shape}]")
        if self.kind == "binary":
            fits, units = np.isin(x, (0, 1)), "0 or 1 (binarise them, as x > 0.5)"
        elif self.kind in ("bytes", "tokens"):
            count = self.levels or len(self.vocabulary)
            fits = (x == np.round(x)) & (x >= 0) & (x < count)
            units = f"integers from 0 to {count - 1}"
        elif self.is_dequantized:
            fits, units = (x >= 0) & (x <= 1), f"from 0 to 1: (integer + noise) / {self.levels}"
        else:
            fits, units = np.isfinite(x), "finite"
        if not fits.all():
            raise UserError(
                f"{name} has values that this run's data cannot have, which are {units}"
            )

    def to_uint8(self, x) -> np.ndarray:
        """Model units [..., H, W, C] -> uint8 pictures; means are allowed, so x may be between.

        Dequantised data go back to the integer whose bin they are in, so that the pictures of the
        data are those of `stored_to_uint8`.
        """
        x = np.asarray(x, np.float32)
        if self.is_dequantized:
            return self.stored_to_uint8(np.clip(np.floor(x * self.levels), 0, self.levels - 1))
        scale = self.levels - 1.0 if self.kind == "bytes" else 1.0
        return np.round(np.clip(x / scale, 0, 1) * 255).astype(np.uint8)

    def from_uint8(self, pictures: np.ndarray) -> np.ndarray:
        """uint8 pictures [..., H, W, C] -> model units, the nearest that the data may have.

        Binary data are 1 from the middle on; dequantised ones are in the middle of a level's bin.
        """
        if self.kind == "binary":
            return np.float32(np.asarray(pictures) > 127)
        levels = np.round(np.float32(pictures) * ((self.levels - 1) / 255))
        return np.float32((levels + 0.5) / self.levels) if self.is_dequantized else levels

    def stored_to_uint8(self, stored: np.ndarray) -> np.ndarray:
        """Stored integers [..., H, W, C] -> uint8 pictures of the data as they are."""
        return np.round(stored * (255 / (self.levels - 1))).astype(np.uint8)

    @property
    def log_volume(self) -> float:
        """ln of the volume of one bin of the stored data: D ln(1 / levels) if dequantised.

        P(integers) >= E_u[p(x)] * volume (Theis et al. 2016, arXiv 1511.01844, section 3.1), so
        a log density in model units plus this is a log probability of the stored integers.
        """
        return -self.num_dims * math.log(self.levels) if self.is_dequantized else 0.0

    def bits_per_dim(self, nats: jax.typing.ArrayLike):
        """Nats an example -> bits a dimension."""
        return nats / (self.num_dims * math.log(2.0))

    def to_json(self) -> dict[str, Any]:
        """As a run's `data.json` holds it."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {**fields, "given": {name: spec.to_json() for name, spec in self.given.items()}}

    @classmethod
    def from_json(cls, given: Any) -> "DataSpec":
        """The inverse, of what JSON says, which may be anything.

        Raises:
          ValueError: for what is no spec.
        """
        # Runs of before there were sequences do not say what they are of.
        given = {"medium": "", "rate": 0.0, **given} if isinstance(given, dict) else given
        if not isinstance(given, dict) or {*given} != {f.name for f in dataclasses.fields(cls)}:
            raise ValueError("it does not have the parts of a description of data")
        lists = {name: tuple(given[name]) for name in ("shape", "class_names", "vocabulary")}
        names = (*lists["class_names"], *lists["vocabulary"], *given["given"])
        counts = (given["levels"], given["num_classes"], *lists["shape"])
        if not (
            given["kind"] in KINDS
            and isinstance(given["dynamic"], bool)
            and isinstance(given["rate"], float)
            and 0 <= given["rate"] < math.inf
            and all(type(n) is int and 0 <= n <= _MAX_NAMES for n in counts)
            and all(lists["shape"])
            and 0 < math.prod(lists["shape"]) <= _MAX_DIMS
            and len(names) <= _MAX_NAMES
            and all(isinstance(name, str) for name in names)
        ):
            raise ValueError("it describes no data")
        others = {name: cls.from_json(spec) for name, spec in given["given"].items()}
        try:
            return cls(**{**given, **lists, "given": others})
        except AssertionError:
            raise ValueError("it describes no data") from None


def fixed_keys(split: str, index: jax.Array) -> jax.Array:
    """Keys [B] of the one fixed draw that each stored example has, whatever the run's seed."""
    return keys_lib.per_example(keys_lib.stream(0, f"data/{split}"), index)
