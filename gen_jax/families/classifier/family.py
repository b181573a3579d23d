"""The classifier as a family."""

import dataclasses

import jax
import optax

from gen_jax import keys as keys_lib
from gen_jax.data.spec import Batch, DataSpec
from gen_jax.families.base import Extra, Params
from gen_jax.nn.augment import augment
from gen_jax.nn.classifier import ConvClassifier


@dataclasses.dataclass(frozen=True)
class Classifier:
    """p(label | x), trained by cross-entropy on augmented images with dropout.

    Attributes:
      spec: the data.
      network: the module.
      augmentations: of the training images, keys of `AUGMENTATIONS`.
    """

    spec: DataSpec
    network: ConvClassifier
    augmentations: tuple[str, ...]

    turns = (("classifier",),)

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Extra]:
        return {"classifier": self.network.init(key, batch["x"])["params"]}, {}

    def losses(self, turn, params, extra, batch, keys, step):
        x = self.spec.center(batch["x"])
        x = augment(x, keys_lib.named(keys, "augment"), self.augmentations)
        logits, _ = self.network.apply(
            {"params": params["classifier"]}, x, keys_lib.named(keys, "dropout")
        )
        label = batch["label"]
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()
        accuracy = (logits.argmax(-1) == label).mean()
        return {"classifier": loss}, extra, {"accuracy": accuracy}

    def classify(self, params: Params, extra: Extra, batch: Batch) -> jax.Array:
        """Logits [B, C] of examples in model units."""
        x = self.spec.center(batch["x"])
        return self.network.apply({"params": params["classifier"]}, x)[0]
