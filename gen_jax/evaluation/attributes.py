"""Directions in the latent space along which an attribute of pictures changes."""

import dataclasses

import numpy as np
from ml_collections import ConfigDict

from gen_jax.data.examples import choose, chosen_rows
from gen_jax.errors import UserError
from gen_jax.evaluation import features as features_lib
from gen_jax.evaluation import likelihood, morphometry
from gen_jax.evaluation.context import Context, once
from gen_jax.evaluation.metric import Metric, metric
from gen_jax.families.base import Autoencoder
from gen_jax.settings import Setting

EXAMPLES = 5_000  # of training, to which directions are fitted
METHODS = ("means", "regression")
ATTRIBUTE_SETTINGS = {
    "edited": Setting(
        500, "examples that attribute_edits changes", minimum=2, smoke=16, affects="figures"
    ),
    "direction": Setting(
        "means", "how attribute_edits finds directions", choices=METHODS, affects="figures"
    ),
}


@dataclasses.dataclass(frozen=True)
class Direction:
    """Where to move latents so that an attribute grows by one standard deviation.

    Attributes:
      step: [latent_dim].
      deviation: of the attribute in the data, in its own unit.
    """

    step: np.ndarray
    deviation: float


def fit(z: np.ndarray, values: np.ndarray, method: str) -> Direction:
    """The direction of an attribute whose values [N] examples with latents z [N, L] have.

    means: the mean latents of examples of a value, whose slope in it is followed (of a label, the
      difference of two means). It takes along whatever goes with the attribute in the data.
    regression: the shortest step that changes what a linear regression says, with a small ridge. It
      leaves what goes with it as it is. Latents are measured in their own standard deviations, so
      that it is not along some that hardly vary, as those which a VAE does not use.

    Raises:
      UserError: for an attribute that does not vary, or an unknown method.
    """
    if method not in METHODS:
        raise UserError(f"unknown method {method!r} of directions; valid are: {', '.join(METHODS)}")
    deviation = float(np.std(values))
    if not deviation > 0:
        raise UserError("this attribute is the same in all examples, so it has no direction")
    standard = (np.asarray(values, np.float64) - np.mean(values)) / deviation
    centered = np.asarray(z, np.float64) - np.mean(z, 0)
    slope = centered.T @ standard / len(z)
    if method == "means":
        return Direction(slope, deviation)
    scale = np.maximum(centered.std(0), 1e-12)
    scaled = centered / scale
    spread = scaled.T @ scaled / len(z) + 1e-3 * np.eye(len(scale))
    weights = np.linalg.solve(spread, slope / scale)
    return Direction(scale * weights / (weights @ weights), deviation)


def principal_axes(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean [L] of latents z [N, L] and their principal directions [min(N, L), L].

    Each is as long as one standard deviation of the latents along it, the longest first.
    """
    mean = np.mean(z, 0, dtype=np.float64)
    _, sizes, axes = np.linalg.svd(z - mean, full_matrices=False)
    return mean, axes * (sizes / len(z) ** 0.5)[:, None]


@once
def directions(context: Context) -> dict[str, Direction]:
    """Of each measured attribute, fitted to training examples by `eval.direction`."""
    train = context.dataset.splits["train"]
    rows = np.sort(choose(len(train), EXAMPLES))
    subset = train.subset("train", rows)
    settings = ConfigDict({**context.settings, "num_examples": 0})
    z = likelihood.per_example(context.subject, subset, settings, likelihood.posterior_mean)
    pictures = context.subject.spec.stored_to_uint8(subset.gather(np.arange(len(subset)))["x"])
    found = {}
    for name, values in morphometry.measure(pictures).items():
        if values.std() > 0:
            found[name] = fit(z, values, context.settings.direction)
    return found


@metric(
    "attribute_edits",
    needs=(Autoencoder,),
    also=features_lib.check_judge,
    settings=features_lib.SETTINGS | ATTRIBUTE_SETTINGS,
)
def attribute_edits(context: Context) -> dict[str, Metric]:
    """What a step along the direction of each attribute does to reconstructions.

    `change@attribute=NAME` is by how much the attribute grows, in standard deviations of the data,
    where 1 was asked for; `identity@attribute=NAME` is the fraction that the judge takes for the
    same class as before.
    """
    subject, settings = context.subject, context.settings
    rows = chosen_rows(context.examples, min(settings.edited, len(context.examples)))
    batch = context.dataset.batch(context.split, rows)
    condition = {name: batch[name] for name in subject.given}
    z = np.asarray(subject.encode(batch).mean)
    net = features_lib.load(settings, context.dataset)

    def decoded(latents):
        return subject.spec.to_uint8(subject.decode(np.float32(latents), condition))

    plain = decoded(z)
    before, known = morphometry.measure(plain), net(plain)[0].argmax(-1)
    figures = {}
    for name, direction in directions(context).items():
        moved = decoded(z + direction.step)
        change = (morphometry.measure(moved)[name] - before[name]) / direction.deviation
        kept = net(moved)[0].argmax(-1) == known
        spec = {"data": f"{context.split}:{len(rows)}", "direction": settings.direction}
        figures[f"change@attribute={name}"] = Metric.mean(change, "deviations", "exact", spec)
        what = {**spec, "judge": net.name}
        figures[f"identity@attribute={name}"] = Metric.mean(kept, "fraction", "estimate", what)
    return figures
