"""The classifier that generative models are judged by."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from gen_jax import keys as keys_lib
from gen_jax.nn.conv import Conv
from gen_jax.nn.dense import Dense


class ConvClassifier(nn.Module):
    """3x3 convolutions, of stride 2 after the first, and two dense layers.

    Attributes:
      num_classes: C.
      widths: of the convolutions.
      num_features: F, units of the last layer but one.
      dropout: fraction of the features that training drops.
    """

    num_classes: int
    widths: tuple[int, ...] = (32, 64, 64)
    num_features: int = 128
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, keys: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
        """Images [B, H, W, C'] in [-1, 1] -> logits [B, C] and features [B, F], float32.

        Args:
          x: the images.
          keys: [B], one for each example, to train with dropout; without them nothing is dropped.
        """
        h = x
        for index, width in enumerate(self.widths):
            strides = (2, 2) if index else (1, 1)
            h = nn.relu(Conv(width, (3, 3), strides, padding="SAME")(h))
        features = nn.relu(Dense(self.num_features)(h.reshape(len(h), -1)))
        h = features
        if keys is not None and self.dropout:
            kept = keys_lib.uniform(keys, (self.num_features,)) >= self.dropout
            h = jnp.where(kept, h / (1 - self.dropout), 0)
        return Dense(self.num_classes, name="logits")(h), features
