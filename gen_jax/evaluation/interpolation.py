"""Lines in latent space between two examples, and how well what is decoded on them looks."""

import numpy as np

from gen_jax.data.examples import choose
from gen_jax.errors import UserError
from gen_jax.evaluation import features as features_lib
from gen_jax.evaluation.context import Context
from gen_jax.evaluation.metric import Metric, metric
from gen_jax.families.base import Decoder
from gen_jax.settings import Setting

PATHS = ("linear", "spherical")
_POINTS = 9  # of a line, its ends included
SETTINGS = {
    "interpolated": Setting(
        200,
        "pairs of examples between which is interpolated",
        minimum=2,
        smoke=4,
        affects="figures",
    ),
    "interpolation_path": Setting(
        "spherical", "of the metric interpolations", choices=PATHS, affects="figures"
    ),
}


def between(first: np.ndarray, last: np.ndarray, steps: int, path: str = "linear") -> np.ndarray:
    """Points [steps, L] of a line between two latents [L], which are its ends.

    linear: straight. spherical: turning from the one to the other at a constant rate, while the
    length goes from that of the one to that of the other (Shoemake 1985, with lengths).

    Raises:
      UserError: for an unknown path.
    """
    if path not in PATHS:
        raise UserError(f"unknown path {path!r}; valid are: {', '.join(PATHS)}")
    part = np.linspace(0, 1, steps)[:, None]
    if path == "linear":
        return (1 - part) * first + part * last
    lengths = [max(np.linalg.norm(end), 1e-12) for end in (first, last)]
    ends = first / lengths[0], last / lengths[1]
    angle = np.arccos(np.clip(ends[0] @ ends[1], -1, 1))
    if np.sin(angle) < 1e-6:  # in one line through 0, there is no way to turn
        return (1 - part) * first + part * last
    turned = np.sin((1 - part) * angle) * ends[0] + np.sin(part * angle) * ends[1]
    return ((1 - part) * lengths[0] + part * lengths[1]) * turned / np.sin(angle)


def between_classes(first: int, last: int, steps: int, num_classes: int) -> np.ndarray:
    """Shares of classes [steps, num_classes] from all of the first to all of the last."""
    one = np.eye(num_classes)
    return between(one[first], one[last], steps)


@metric(
    "interpolations",
    needs=(Decoder,),
    also=features_lib.check_judge,
    settings=features_lib.SETTINGS | SETTINGS,
)
def interpolations(context: Context) -> dict[str, Metric]:
    """What is half way between pairs of test examples of one class, and how even the way is.

    `midpoint_confidence`: the probability that the judge gives the class of both ends half way,
    beside `end_confidence` of the ends as they are decoded, and `blend_confidence` of the mean of
    the two pictures, which needs no model. `straightness`: in the judge's features, the distance of
    the ends over the length of the way in 8 steps; 1 is the straightest.
    `largest_step`: the longest of the 8 steps over their mean; 1 is the most even.
    """
    subject, settings = context.subject, context.settings
    net = features_lib.load(settings, context.dataset)
    rows = _pairs_of_one_class(context, settings.interpolated)
    batches = [context.dataset.batch(context.split, rows[:, side]) for side in (0, 1)]
    labels = np.asarray(batches[0]["label"])
    z = [subject.latents(batch, seed=side) for side, batch in enumerate(batches)]
    ways = [
        between(first, last, _POINTS, settings.interpolation_path)
        for first, last in zip(*z, strict=True)
    ]
    condition = {name: batches[0][name] for name in subject.given}
    logits, found = [], []
    for number in range(_POINTS):
        points = np.float32([way[number] for way in ways])
        pictures = subject.spec.to_uint8(subject.decode(points, condition))
        said, features = net(pictures)[:2]
        logits.append(said)
        found.append(features)
    blend = subject.spec.to_uint8((np.asarray(batches[0]["x"]) + batches[1]["x"]) / 2)
    shown = (logits[0], logits[_POINTS // 2], logits[-1], net(blend)[0])
    likely = [_probability(each, labels) for each in shown]
    steps = np.linalg.norm(np.diff(np.asarray(found, np.float64), axis=0), axis=-1)
    whole = np.maximum(steps.sum(0), 1e-12)
    apart = np.linalg.norm(np.asarray(found[-1], np.float64) - found[0], axis=-1)
    spec = {
        "data": f"{context.split}:{len(rows)}",
        "path": settings.interpolation_path,
        "judge": net.name,
    }
    return {
        "midpoint_confidence": Metric.mean(likely[1], "probability", "estimate", spec),
        "end_confidence": Metric.mean((likely[0] + likely[2]) / 2, "probability", "estimate", spec),
        "blend_confidence": Metric.mean(likely[3], "probability", "estimate", spec),
        "straightness": Metric.mean(apart / whole, "fraction", "estimate", spec),
        "largest_step": Metric.mean(
            steps.max(0) / np.maximum(steps.mean(0), 1e-12), "ratio", "estimate", spec
        ),
    }


def _pairs_of_one_class(context: Context, count: int) -> np.ndarray:
    """Rows [N, 2] of examples, two of one class each."""
    rows = choose(len(context.examples), min(len(context.examples), 20 * count))
    labels = np.asarray(context.examples.gather(rows)["label"])
    waiting, pairs = {}, []
    for row, label in zip(rows, labels, strict=True):
        if label in waiting:
            pairs.append((waiting.pop(label), row))
        else:
            waiting[label] = row
    return np.array(pairs[:count])


def _probability(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    shifted = np.asarray(logits, np.float64)
    shifted = np.exp(shifted - shifted.max(-1, keepdims=True))
    return shifted[np.arange(len(labels)), labels] / shifted.sum(-1)
