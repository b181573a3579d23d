"""Image classifiers: the judges of the generative models."""

from ml_collections import ConfigDict

from gen_jax.data.spec import DataSpec
from gen_jax.families import requirements
from gen_jax.families.base import FamilyDefinition
from gen_jax.families.classifier.family import Classifier
from gen_jax.families.requirements import IMAGES, LABELS, Requirement
from gen_jax.nn.augment import AUGMENTATIONS
from gen_jax.nn.classifier import ConvClassifier
from gen_jax.settings import Setting

SETTINGS = {
    "widths": Setting((32, 64, 64), "of the convolutions", minimum=1),
    "num_features": Setting(128, "units of the last layer but one", minimum=1),
    "dropout": Setting(0.5, "part of the features that training drops"),
    "augmentations": Setting(
        ("jitter",), "of the training images", choices=tuple(AUGMENTATIONS), element=""
    ),
}

REQUIREMENTS = (
    Requirement({}, {"data": IMAGES}, "a classifier needs images with labels"),
    Requirement({}, {"data": LABELS}, "a classifier needs images with labels"),
)


def build(model: ConfigDict, spec: DataSpec) -> Classifier:
    """The classifier that a config's `model` section describes, for the given data.

    Raises:
      UserError: if the data have no labels or are no images.
    """
    requirements.check(model, spec, REQUIREMENTS)
    network = ConvClassifier(
        spec.num_classes, tuple(model.widths), model.num_features, model.dropout
    )
    return Classifier(spec, network, tuple(model.augmentations))


DEFINITION = FamilyDefinition(
    name="classifier",
    models=(Classifier,),
    build=build,
    settings=SETTINGS,
    validation_metrics=("accuracy",),
    metrics=("accuracy",),
)
