"""How far draws of a density given an observation are from those of the exact posterior."""

import os
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from gen_jax.data.readers import simulators
from gen_jax.data.sources import Dataset
from gen_jax.errors import UserError
from gen_jax.evaluation.context import Context
from gen_jax.evaluation.metric import Metric, metric
from gen_jax.families import base
from gen_jax.families.base import Family
from gen_jax.settings import Setting

POSTERIOR_SAMPLES = {
    "posterior_samples": Setting(
        10_000,
        "draws of each posterior that are told from exact ones",
        minimum=10,
        maximum=10_000,
        smoke=50,
        affects="figures",
    ),
    "posteriors": Setting(
        "",
        "a folder with the wheel of sbibm, of exact posteriors; if empty, $GEN_JAX_MANUAL_DIR",
        affects="nothing",
    ),
}
_FOLDS = 5
_LARGE = 4_000  # examples of a classifier whose folds are trained side by side
_MOST_ROUNDS = 100  # of draws, of which those beyond the prior's ends are left out


def _of_a_simulator(family: Family, dataset: Dataset, settings: ConfigDict, name: str) -> None:
    if not dataset.name.startswith("simulator:"):
        raise UserError(
            f"{name} needs the data of a simulator with known posteriors, as "
            f"--config.data.name=simulator:two_moons; these are {dataset.name}"
        )
    if tuple(family.given) != ("observation",):
        raise UserError(
            f"{name} needs a model that is given the observation: --config.model.conditional=True"
        )


@metric(
    "c2st",
    needs=(base.Sampler,),
    also=_of_a_simulator,
    settings=POSTERIOR_SAMPLES,
    lower_is_better=("c2st",),
)
def c2st(context: Context) -> dict[str, Metric]:
    """Accuracy of a classifier that tells draws of the model from draws of the exact posterior.

    Of the benchmark's ten observations, the mean and its error over them; .5 is perfect (Lueckmann
    et al. 2021, arXiv 2101.04653, section 3.3). As the benchmark does it, draws outside the prior
    are left out.

    Raises:
      UserError: if the benchmark's posteriors are not there.
    """
    num, values = context.settings.posterior_samples, []
    folder = context.settings.posteriors or os.environ.get("GEN_JAX_MANUAL_DIR", ".")
    known = simulators.references(context.dataset.name, Path(folder).expanduser())
    for observation, exact in known:
        drawn = draw_posterior(context, observation, num)
        values.append(two_sample_accuracy(exact[:num], drawn))
    spec = {"observations": len(values), "samples": num, "classifier": "mlp", "folds": _FOLDS}
    return {"c2st": Metric.mean(np.array(values), "fraction", "estimate", spec)}


def draw_posterior(context: Context, observation: np.ndarray, num: int) -> np.ndarray:
    """`num` draws [num, D] given an observation [C], all of them within the prior.

    Raises:
      UserError: if the model has almost none there.
    """
    simulator, found = simulators.task(context.dataset.name), []
    condition = {"observation": np.broadcast_to(observation, (num, len(observation)))}
    for seed in range(_MOST_ROUNDS):
        x = context.subject.sample(num, condition, seed)
        found.append(x[simulator.has(x)])
        if sum(map(len, found)) >= num:
            return np.concatenate(found)[:num]
    raise UserError(f"of {num * _MOST_ROUNDS:,} draws, fewer than {num:,} are within the prior")


def two_sample_accuracy(first: np.ndarray, second: np.ndarray) -> float:
    """Held-out accuracy of a network that tells two samples [N, D] apart; .5 if they are alike.

    The benchmark's: two hidden layers of 10 D units on what `first` standardises, five folds.
    """
    from sklearn.model_selection import KFold, cross_val_score
    from sklearn.neural_network import MLPClassifier

    mean, sd = first.mean(0), first.std(0, ddof=1)
    x = (np.concatenate([first, second]) - mean) / sd
    label = np.repeat([0, 1], [len(first), len(second)])
    width = 10 * x.shape[1]
    classifier = MLPClassifier((width, width), max_iter=10_000, random_state=1)
    folds = KFold(_FOLDS, shuffle=True, random_state=1)
    # One process a fold, where they are worth their start: such small products gain nothing from
    # the threads of one.
    jobs = -1 if len(x) > _LARGE else 1
    return float(cross_val_score(classifier, x, label, cv=folds, n_jobs=jobs).mean())


def max_sliced_wasserstein(
    first: np.ndarray, second: np.ndarray, rng: np.random.Generator, projections: int = 100
) -> float:
    """The largest Wasserstein-1 distance of two samples [N, D] along random directions.

    Along one direction it is the mean distance of the sorted numbers.
    """
    directions = rng.normal(size=(projections, first.shape[1]))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    one, two = (np.sort(sample @ directions.T, 0) for sample in (first, second))
    return float(np.abs(one - two).mean(0).max())
