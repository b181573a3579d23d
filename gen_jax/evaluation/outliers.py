"""Examples so far from all others that a mean over all of them says little of the rest."""

from collections.abc import Mapping, Sequence

import numpy as np

from gen_jax.families.alarms import Alarm

_PER_EXAMPLES = 1_000  # one in so many is left out
_FEWEST = 100  # examples: of fewer a standard error is too rough to judge by
_ADVICE = (
    "weights that grew may throw single examples far away: try --config.optim.weight_decay=0.03 "
    "or a lower --config.optim.lr"
)


def mean_without(values: np.ndarray) -> float | None:
    """The mean of values [N] without the few that lie farthest from their median.

    Those are one in 1,000, and one of fewer. None where that mean is nearer to the mean of all
    values than its own standard error, as it is of skewed values that have no outliers.
    """
    values = np.asarray(values, np.float64)
    if len(values) < _FEWEST or np.isnan(values).any():
        return None
    few = -(-len(values) // _PER_EXAMPLES)
    kept = values[np.argsort(abs(values - np.median(values)))[:-few]]
    mean, stderr = kept.mean(), kept.std(ddof=1) / np.sqrt(len(kept))
    return float(mean) if abs(values.mean() - mean) > stderr else None


def alarms(each: Sequence[Mapping[str, tuple[float, float | None]]]) -> list[Alarm]:
    """One for each replica of a run whose means outliers move, with the names of these.

    Args:
      each: of each replica, or of what has none, by name the mean of all examples, and what
        `mean_without` says.
    """
    found = []
    for replica, figures in enumerate(each):
        moved = [
            f"{name} is {value:.4g}, and {without:.4g} without one example in {_PER_EXAMPLES:,}"
            for name, (value, without) in figures.items()
            if without is not None
        ]
        if moved:
            numbers = (str(replica),) if len(each) > 1 else ()
            found.append(Alarm("outliers", "; ".join(moved), _ADVICE, numbers))
    return found
