"""Models of vectors: densities beside the exact one where it is known, and samples beside data."""

import numpy as np
from ml_collections import ConfigDict

from gen_jax.data.examples import choose, chosen_rows
from gen_jax.data.readers import synthetic
from gen_jax.data.sources import Dataset
from gen_jax.errors import UserError
from gen_jax.evaluation.context import Context
from gen_jax.evaluation.likelihood import describe_data, log_prob
from gen_jax.evaluation.metric import Metric, metric
from gen_jax.families import base
from gen_jax.families.base import Family
from gen_jax.settings import Setting

MMD_SAMPLES = {
    "mmd_samples": Setting(
        2_000, "samples, and examples, that `mmd` compares", minimum=4, smoke=8, affects="figures"
    )
}
_DRAWS = 40  # of training examples, for the floor of the MMD


def _known(family: Family, dataset: Dataset, settings: ConfigDict, name: str) -> None:
    if dataset.spec.shape != (2,) or synthetic.log_density(dataset.name, np.zeros((1, 2))) is None:
        raise UserError(
            f"{name} needs data whose density is known: gaussians, checkerboard, ring or grid; "
            f"{dataset.name} is none"
        )


@metric("excess_nll", needs=(base.Density,), also=_known, lower_is_better=("excess_nll",))
def excess_nll(context: Context) -> dict[str, Metric]:
    """E[log p(x) - log q(x)] over data x of the exact density p: KL(p || q), in nats.

    It is 0 for the density itself. Its error is that of the difference, which is small.
    """
    found = log_prob(context.subject, context.examples, context.settings, 1)
    rows = chosen_rows(context.examples, context.settings.num_examples)
    exact = synthetic.log_density(context.dataset.name, context.examples.gather(rows)["x"])
    spec = describe_data(context.subject, context.split, found.value)
    return {"excess_nll": Metric.mean(exact - found.value, "nats", found.kind, spec)}


def _vectors(family: Family, dataset: Dataset, settings: ConfigDict, name: str) -> None:
    if len(dataset.spec.shape) != 1 or dataset.spec.kind != "real" or dataset.spec.given:
        raise UserError(
            f"{name} is of real vectors that depend on nothing; {dataset.name} has none"
        )


@metric(
    "mmd",
    needs=(base.Sampler,),
    also=_vectors,
    settings=MMD_SAMPLES,
    lower_is_better=("mmd",),
)
def mmd(context: Context) -> dict[str, Metric]:
    """Maximum mean discrepancy of samples to examples of the split, and that of fresh data.

    With a Gaussian kernel as wide as the median distance of examples (Gretton et al. 2012, JMLR 13,
    equation 5). `mmd_floor` is that of as many training examples in the place of samples, in the
    mean over draws of them, and `mmd_floor_95` what one of 20 draws exceeds: samples below it are
    not told from data.
    """
    num = min(context.settings.mmd_samples, len(context.examples))
    real = context.examples.gather(choose(len(context.examples), num))["x"]
    train = context.dataset.splits["train"]
    order = np.random.Generator(np.random.Philox(key=0)).permutation(len(train))
    draws = [order[start : start + num] for start in range(0, len(train) - num + 1, num)]
    width = float(np.median(np.sqrt(_squares(real[:500], real[:500]))))
    value = kernel_discrepancy(context.subject.sample(num), real, width)
    floors = [kernel_discrepancy(train.gather(rows)["x"], real, width) for rows in draws[:_DRAWS]]
    spec = {"real": f"{context.split}:{num}", "fake": num, "kernel": f"gaussian:{width:.3g}"}
    figures = {"mmd": Metric(value, None, "distance", "estimate", num, spec)}
    if len(floors) > 1:
        figures["mmd_floor"] = Metric.mean(np.array(floors), "distance", "estimate", spec)
        high = float(np.quantile(floors, 0.95))
        figures["mmd_floor_95"] = Metric(high, None, "distance", "estimate", len(floors), spec)
    return figures


def kernel_discrepancy(x: np.ndarray, y: np.ndarray, width: float) -> float:
    """The MMD of samples [N, D] and [M, D] with the kernel exp(-|x - y|^2 / (2 width^2)).

    Gretton et al. 2012, equation 5: each sample is paired with itself too, so it is above 0.
    """
    within = sum(np.exp(-_squares(a, a) / (2 * width**2)).mean() for a in (x, y))
    return float(np.sqrt(max(within - 2 * np.exp(-_squares(x, y) / (2 * width**2)).mean(), 0)))


def _squares(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Squared distances [N, M]."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    return np.maximum((x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * x @ y.T, 0)
