"""What an example is, and what the model is given of it."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax import keys as keys_lib
from gen_jax.errors import UserError

KINDS = ("binary", "bytes", "real")


@dataclasses.dataclass(frozen=True)
class DataSpec:
    """The kind and the shape of the examples that a model is trained on.

    Every conversion between stored data, model units and pictures is here, and so is the
    volume that turns a density into a probability. A model family never does either.

    Attributes:
      kind: "binary" (x in {0, 1}), "bytes" (x in {0, ..., levels - 1}) or "real".
      shape: shape of one example, [H, W, C] for images and [D] for vectors.
      levels: number of grey levels of the stored data; 0 where they are real numbers. For
        kind "real" with levels > 0 the stored integers are dequantised uniformly,
        x = (integer + u) / levels with u ~ U[0, 1), so x is in [0, 1).
      num_classes: number of labels; 0 where there are none.
      class_names: names of the labels, empty where unknown.
      dynamic: whether training draws its randomness (binarisation, dequantisation) anew at
        every step. Validation and test always use one fixed draw for each example.
    """

    kind: str
    shape: tuple[int, ...]
    levels: int = 0
    num_classes: int = 0
    class_names: tuple[str, ...] = ()
    dynamic: bool = True

    def __post_init__(self):
        assert self.kind in KINDS, self.kind
        assert self.kind == "real" or self.levels >= 2, self

    @property
    def is_image(self) -> bool:
        return len(self.shape) == 3

    @property
    def num_dims(self) -> int:
        """Number of dimensions D of one example."""
        return math.prod(self.shape)

    @property
    def is_dequantized(self) -> bool:
        return self.kind == "real" and self.levels > 0

    def prepare(self, raw: jax.Array, keys: jax.Array) -> jax.Array:
        """Stored examples [B, *shape] and their keys [B] -> model units, float32 [B, *shape]."""
        raw = raw.astype(jnp.float32)
        if self.kind == "binary":
            return keys_lib.bernoulli(keys, raw / (self.levels - 1))
        if self.is_dequantized:
            return (raw + keys_lib.uniform(keys, self.shape)) / self.levels
        return raw

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

    def check(self, x: np.ndarray) -> None:
        """Refuses x [N, *shape] that cannot be data in model units.

        Raises:
          UserError: saying what the units are.
        """
        if self.kind == "binary":
            fits, units = np.isin(x, (0, 1)), "0 or 1 (binarise them, as x > 0.5)"
        elif self.kind == "bytes":
            fits = (x == np.round(x)) & (x >= 0) & (x < self.levels)
            units = f"integers from 0 to {self.levels - 1}"
        elif self.is_dequantized:
            fits, units = (x >= 0) & (x <= 1), f"from 0 to 1: (integer + noise) / {self.levels}"
        else:
            fits, units = np.isfinite(x), "finite"
        if not fits.all():
            raise UserError(f"x has values that this run's data cannot have, which are {units}")

    def to_uint8(self, x) -> np.ndarray:
        """Model units [..., H, W, C] -> uint8 pictures; means are allowed, so x may be between."""
        scale = {"binary": 1.0, "bytes": self.levels - 1.0, "real": 1.0}[self.kind]
        return np.round(np.clip(np.asarray(x, np.float32) / scale, 0, 1) * 255).astype(np.uint8)

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


def fixed_keys(split: str, index: jax.Array) -> jax.Array:
    """Keys [B] of the one fixed draw that each stored example has, whatever the run's seed."""
    return keys_lib.per_example(keys_lib.stream(0, f"data/{split}"), index)
