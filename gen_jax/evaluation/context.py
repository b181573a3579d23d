"""What metrics, pictures and applications are given: a trained model and data.

What several of them need is computed once in it: a function of a context that is decorated with
`once` keeps what it gave, and `once_for_data` keeps it for other models of the same data too.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from gen_jax.data.examples import Examples
from gen_jax.data.sources import Dataset
from gen_jax.evaluation.subject import Subject


@dataclasses.dataclass(frozen=True)
class Context:
    """A model under evaluation on a split of its data.

    Attributes:
      subject: the trained model.
      dataset: its data.
      split: the one that it is measured on.
      settings: the `eval` section of a config.
      folder: where what is made for the data is kept, as a judge of them; None: nowhere.
      known_of_data: what `once_for_data` has kept; contexts of the same data and settings may
        share it, as those of one run at several steps.
    """

    subject: Subject
    dataset: Dataset
    split: str
    settings: ConfigDict
    folder: Path | None = None
    known_of_data: dict = dataclasses.field(default_factory=dict, repr=False, compare=False)
    _known: dict = dataclasses.field(default_factory=dict, repr=False, compare=False)

    @property
    def examples(self) -> Examples:
        """Those of the split."""
        return self.dataset.splits[self.split]


def once(function: Callable) -> Callable:
    """`function(context, *arguments)` of a model and its data, computed once in a context."""
    return _remembered(function, lambda context: context._known)


def once_for_data(function: Callable) -> Callable:
    """`function(context, *arguments)` that does not look at the model, computed once for all."""
    return _remembered(function, lambda context: context.known_of_data)


def _remembered(function: Callable, memory_of: Callable[[Context], dict]) -> Callable:
    @functools.wraps(function)
    def remembered(context: Context, *arguments: Any) -> Any:
        memory, key = memory_of(context), (function, *arguments)
        if key not in memory:
            memory[key] = function(context, *arguments)
        return memory[key]

    return remembered
