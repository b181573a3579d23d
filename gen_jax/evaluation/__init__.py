"""One evaluator for every family. Metrics by name, each declared in a module of this package.

A metric of your own is a function decorated with `metric.metric`, in a module that is imported.
"""

import functools
import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from gen_jax.data.sources import Dataset
from gen_jax.errors import UserError
from gen_jax.evaluation import fitted_prior, latent_prior
from gen_jax.evaluation.context import Context
from gen_jax.evaluation.metric import Metric, MetricDefinition, registered
from gen_jax.evaluation.subject import Subject
from gen_jax.families.base import Family, FamilyDefinition
from gen_jax.settings import Setting

__all__ = ["Context", "Metric", "Subject"]

# Of every evaluation. The batch size does not change a figure.
_SETTINGS = {
    "batch_size": Setting(
        100, "examples at once", minimum=1, maximum=2**20, smoke=32, affects="nothing"
    ),
    "num_examples": Setting(
        0, "examples of the split, chosen by a fixed seed; 0: all", smoke=32, affects="figures"
    ),
    **fitted_prior.SETTINGS,
    **latent_prior.SETTINGS,
}


@functools.cache
def _import_own() -> None:
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        importlib.import_module(module.name)


def metrics() -> dict[str, MetricDefinition]:
    """Every metric by name."""
    _import_own()
    return registered()


def settings(family: FamilyDefinition) -> dict[str, Setting]:
    """The keys of a config's `eval` section, with a family's own metrics as the defaults."""
    keys = {
        "validation_metrics": Setting(
            family.validation_metrics, "measured during training", element="", affects="figures"
        ),
        "metrics": Setting(
            family.metrics, "measured by launch.py evaluate", element="", affects="figures"
        ),
        **_SETTINGS,
    }
    for definition in metrics().values():
        for key, setting in definition.settings.items():
            assert keys.setdefault(key, setting) == setting, f"eval.{key} is declared twice"
    return keys


def check_names(names: Sequence[str]) -> None:
    """Refuses metrics that do not exist, before any is computed."""
    known = metrics()
    unknown = [name for name in names if name not in known]
    if unknown:
        several = [part.strip() for part in unknown[0].split(",")]
        if len(several) > 1:
            raise UserError(
                f"unknown metric {unknown[0]!r}; several are written as {tuple(several)}"
            )
        raise UserError(f"unknown metric {unknown[0]!r}; valid are: {', '.join(known)}")


def check(
    family: Family, dataset: Dataset, settings: ConfigDict, names: Sequence[str], key: str = ""
) -> None:
    """Refuses metrics that need what a family or the data lack, before any is computed.

    Raises:
      UserError: naming the config key that asks for it, if given, and what has it.
    """
    known = metrics()
    for name in names:
        known[name].check(family, dataset, settings, f"--config.{key}: {name}" if key else name)


def evaluate(context: Context, names: Sequence[str]) -> dict[str, Metric]:
    """The named metrics of a model on a split.

    Raises:
      UserError: for an unknown name, or where a metric lacks what it needs.
    """
    check_names(names)
    check(context.subject.family, context.dataset, context.settings, names)
    figures, failed = measure(context, names)
    for error in failed.values():
        raise error
    return figures


def measure(
    context: Context, names: Sequence[str]
) -> tuple[dict[str, Metric], dict[str, Exception]]:
    """The figures of the metrics that can be measured, and why the others cannot, by name."""
    figures, failed, known = {}, {}, metrics()
    for name in names:
        try:
            figures |= known[name](context)
        except Exception as error:
            failed[name] = error
    return figures, failed


def lower_is_better(figure: str) -> bool:
    """Whether a smaller figure of that name is the better one.

    What a figure is of, as in `rate@beta=2` or `kl_floor`, has the direction of the figure.
    """
    name = figure.partition("@")[0].partition("/")[0].removesuffix("_floor")
    return any(name in definition.lower_is_better for definition in metrics().values())


def to_json(figures: Mapping[str, Metric]) -> dict[str, dict[str, Any]]:
    """As `evaluation.json` holds them."""
    return {name: metric.to_json(name) for name, metric in figures.items()}
