"""How well damaged pictures are restored, beside filters that have learned nothing."""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gen_jax import keys as keys_lib
from gen_jax import measurements
from gen_jax.data.examples import choose
from gen_jax.data.sources import Dataset
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.evaluation import features as features_lib
from gen_jax.evaluation import masks
from gen_jax.evaluation.context import Context
from gen_jax.evaluation.metric import Metric, metric
from gen_jax.families import conditions
from gen_jax.families.base import Decoder, Family, Restorer
from gen_jax.measurements import Measurement
from gen_jax.settings import Setting

_LITTLE = 0.05  # noise of what is seen, of pixels from -1 to 1, where a task is not about noise
_MUCH = 0.5


@dataclasses.dataclass(frozen=True)
class Task:
    """One kind of damage.

    Attributes:
      damage: of the shape of a picture, what is seen of it.
      filters: of what was seen [N, M, C] from 0 to 1 and the shape, pictures by each of some
        filters: {name: [N, H, W, C]}.
    """

    damage: Callable[[tuple[int, ...]], Measurement]
    filters: Callable[[np.ndarray, tuple[int, ...]], dict[str, np.ndarray]]


def _against_noise(y: np.ndarray, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    from scipy import ndimage
    from skimage import restoration

    pictures = y.reshape(len(y), *shape)
    return {
        "median": np.stack([ndimage.median_filter(p, (3, 3, 1)) for p in pictures]),
        "total_variation": np.stack(
            [restoration.denoise_tv_chambolle(p, weight=0.2, channel_axis=-1) for p in pictures]
        ),
        "wavelet": np.stack(
            [restoration.denoise_wavelet(p, _MUCH / 2, channel_axis=-1) for p in pictures]
        ),
    }


def _hidden(known_of: Callable[[tuple[int, int]], np.ndarray]) -> Task:
    """Damage that hides some pixels."""

    def damage(shape: tuple[int, ...]) -> Measurement:
        return measurements.mask(known_of(shape[:2]), _LITTLE)

    def filters(y: np.ndarray, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
        from skimage import restoration

        known = known_of(shape[:2])
        pictures = np.zeros((len(y), *shape))
        pictures[:, known] = y
        filled = [restoration.inpaint_biharmonic(p, ~known, channel_axis=-1) for p in pictures]
        return {"biharmonic": np.stack(filled)}

    return Task(damage, filters)


def _sharper(y: np.ndarray, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    from skimage import restoration

    pictures = y.reshape(len(y), *shape)
    reach = np.arange(-3, 4)
    around = np.exp(-0.5 * (reach[:, None] ** 2 + reach**2) / _width(shape) ** 2)
    around /= around.sum()

    def wiener(picture):
        channels = np.moveaxis(picture, -1, 0)
        return np.stack([restoration.wiener(c, around, 0.05) for c in channels], -1)

    return {"none": pictures, "wiener": np.stack([wiener(p) for p in pictures])}


def _larger(y: np.ndarray, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    from skimage import transform

    factor = round((np.prod(shape[:2]) / y.shape[1]) ** 0.5)
    small = y.reshape(len(y), shape[0] // factor, shape[1] // factor, -1)
    return {
        name: np.stack([transform.resize(p, shape, order=order) for p in small])
        for name, order in (("linear", 1), ("cubic", 3))
    }


def _width(shape: tuple[int, ...]) -> float:
    return min(shape[:2]) / 20


TASKS = {
    "noise": Task(lambda shape: measurements.mask(np.ones(shape[:2], bool), _MUCH), _against_noise),
    "hole": _hidden(masks.hole),
    "scratches": _hidden(masks.unscratched),
    "blur": Task(lambda shape: measurements.blur(shape, _width(shape), _LITTLE), _sharper),
    "half_size": Task(lambda shape: measurements.downsampling(shape, 2, _LITTLE), _larger),
    "quarter_size": Task(lambda shape: measurements.downsampling(shape, 4, _LITTLE), _larger),
}
SETTINGS = {
    "restorations": Setting(
        tuple(TASKS), "damage that is repaired", choices=tuple(TASKS), affects="figures"
    ),
    "restored": Setting(
        200,
        "examples that are damaged, chosen by a fixed seed",
        minimum=1,
        smoke=4,
        affects="figures",
    ),
    "restored_draws": Setting(
        4,
        "of each, whose mean is compared with what it was",
        minimum=1,
        smoke=1,
        affects="figures",
    ),
}


def _has_filters(family: Family, dataset: Dataset, settings: ConfigDict, name: str) -> None:
    features_lib.check_judge(family, dataset, settings, name)
    try:
        import skimage.restoration  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"{name} compares with filters of scikit-image; install it by: "
            "pip install 'gen_jax[restoration]'"
        ) from error
    if "label" in family.given and not conditions.does_without_label(family):
        raise UserError(
            f"{name} does not tell the label, and this model was never without it; train with "
            "--config.model.label_dropout=0.1"
        )
    sides = dataset.spec.shape[:2]
    factor = {"half_size": 2, "quarter_size": 4}
    for task in settings.restorations:
        if any(side % factor.get(task, 1) for side in sides):
            raise UserError(
                f"{name}: pictures of {list(sides)} pixels are not divided by {task}; name others "
                "by --config.eval.restorations=noise,hole,scratches,blur"
            )


@metric(
    "restoration",
    needs=((Restorer, Decoder),),
    also=_has_filters,
    settings=features_lib.SETTINGS | SETTINGS,
)
def restoration(context: Context) -> dict[str, Metric]:
    """What is left of the damage to examples of a split when the model has restored them.

    For each of `eval.restorations`: `psnr@task=T` and `ssim@task=T` of the mean of some draws
    (Wang et al. 2004, by scikit-image), and `label_accuracy@task=T` by the judge of one draw each.
    `filter_psnr@task=T` is that of the filter that does best, so that a model is above it for a
    reason. A class-conditional model is not told the label.
    """
    subject, settings = context.subject, context.settings
    spec, count = subject.spec, min(settings.restored, len(context.examples))
    rows = choose(len(context.examples), count)
    batch = context.dataset.batch(context.split, rows)
    truth = _from_0_to_1(spec, batch["x"])
    net = features_lib.load(settings, context.dataset)
    condition = options = None
    if subject.num_classes:  # see `conditions.does_without_label`
        condition = {"label": np.full(count, subject.num_classes, np.int32)}
        options = {"guidance": 1.0}  # towards no label it says nothing, at twice the calls
    figures = {}
    for name in settings.restorations:
        task, told = TASKS[name], {"data": f"{context.split}:{count}"}
        measurement = task.damage(spec.shape)
        keys = keys_lib.per_example(keys_lib.stream(0, f"damage/{name}"), rows)
        seen = np.asarray(measurement.apply(spec.center(batch["x"]), keys))
        draws = [
            subject.restore(seen, measurement, condition, seed, options)
            for seed in range(settings.restored_draws)
        ]
        mean = np.mean([_from_0_to_1(spec, x) for x in draws], 0)
        right = net(spec.to_uint8(draws[0]))[0].argmax(-1) == np.asarray(batch["label"])
        filtered = {
            kind: psnr(np.clip(pictures, 0, 1), truth)
            for kind, pictures in task.filters(
                _from_0_to_1(spec, spec.uncenter(seen)), spec.shape
            ).items()
        }
        best = max(filtered, key=lambda kind: filtered[kind].mean())
        what = {**told, "draws": len(draws), **_method(subject.options)}
        values = {
            "psnr": Metric.mean(psnr(mean, truth), "dB", "estimate", what),
            "ssim": Metric.mean(ssim(mean, truth), "similarity", "estimate", what),
            "label_accuracy": Metric.mean(
                right, "fraction", "estimate", {"judge": net.name, **told}
            ),
            "filter_psnr": Metric.mean(filtered[best], "dB", "exact", {"filter": best, **told}),
        }
        figures |= {f"{figure}@task={name}": value for figure, value in values.items()}
    return figures


def _method(options) -> dict[str, str]:
    return {"method": options["restoration"]} if "restoration" in options else {}


def _from_0_to_1(spec: DataSpec, x: np.ndarray) -> np.ndarray:
    """Of x in model units."""
    low, high = spec.limits
    return (np.asarray(x, np.float64) - low) / (high - low)


def shown(y: np.ndarray, measurement: Measurement, shape: tuple[int, ...]) -> np.ndarray:
    """What is seen y [N, M, C] as pictures [N, *shape], in the units of y.

    Where there are fewer numbers than pixels each pixel has the mean of those that it is part of,
    and one that nothing is seen of is NaN.
    """
    if y.shape[1] == shape[0] * shape[1]:
        return np.asarray(y).reshape(len(y), *shape)

    def spread(numbers):
        """By the transposed of the measurement."""
        along = jnp.einsum("mr,bmc->brc", measurement.u * measurement.s, numbers)
        return np.asarray(measurement.lift(along, (*shape[:2], numbers.shape[-1])))

    weight = spread(jnp.ones((1, y.shape[1], 1)))
    return np.where(weight > 1e-3, spread(jnp.asarray(y)) / np.maximum(weight, 1e-3), np.nan)


def psnr(pictures: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio in dB of pictures [N, H, W, C] from 0 to 1: [N]."""
    errors = np.square(pictures - truth).mean((1, 2, 3))
    return -10 * np.log10(np.maximum(errors, 1e-10))


def ssim(pictures: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Structural similarity (Wang et al. 2004) of pictures from 0 to 1, [N]."""
    from skimage.metrics import structural_similarity

    return np.array(
        [
            structural_similarity(one, other, data_range=1.0, channel_axis=-1)
            for one, other in zip(pictures, truth, strict=True)
        ]
    )
