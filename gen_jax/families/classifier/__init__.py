"""Image classifiers: the judges of the generative models."""

from ml_collections import ConfigDict

from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.families.base import check_sizes
from gen_jax.families.classifier.family import Classifier
from gen_jax.nn.augment import AUGMENTATIONS
from gen_jax.nn.classifier import ConvClassifier

FAMILIES = (Classifier,)


def default_model() -> ConfigDict:
    model = ConfigDict()
    model.widths = (32, 64, 64)
    model.num_features = 128
    model.dropout = 0.5  # of the features
    model.augmentations = ("jitter",)
    return model


def build(model: ConfigDict, spec: DataSpec) -> Classifier:
    """The classifier that a config's `model` section describes, for the given data.

    Raises:
      UserError: if the data have no labels or are no images.
    """
    if not spec.num_classes or not spec.is_image:
        raise UserError("a classifier needs images with labels; choose another --config.data.name")
    unknown = [name for name in model.augmentations if name not in AUGMENTATIONS]
    if unknown:
        raise UserError(
            f"unknown augmentation {unknown[0]!r}; valid are: {', '.join(AUGMENTATIONS)}"
        )
    check_sizes(model, ("widths", "num_features"))
    network = ConvClassifier(
        spec.num_classes, tuple(model.widths), model.num_features, model.dropout
    )
    return Classifier(spec, network, tuple(model.augmentations))
