"""The keys of a config: each with its default, its meaning and the values that it may have.

Whoever reads a key declares it: config.py those that every experiment has, a family its own under
`model` and `sample`, a metric those under `eval`.
"""

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from typing import Any, Union

from ml_collections import ConfigDict

from gen_jax.errors import UserError

_MAX_INT, _MAX_FLOAT, _MAX_LENGTH, _MAX_TEXT = 2**31 - 1, 3e38, 100, 1_000


@dataclasses.dataclass(frozen=True)
class Setting:
    """One key.

    Attributes:
      default: its value where nothing else is said; a bool, int, float, str or a tuple of these.
      meaning: what it does, in a line.
      choices: all values that it may have, or that the elements of a tuple may have; () for any.
      minimum: the least number, or the least that an element of a tuple may be.
      maximum: the largest; None: what the type holds.
      element: of a tuple that is empty by default, a value like its elements; None: anything.
      max_length: characters of a text, None for a line of usual length.
      smoke: its value in `:smoke`, a run of seconds, or a function of the value that it has; None:
        it stays.
      affects: "training": a run with another value is another run; "figures": it changes what is
        measured or drawn of a run; "nothing": where things are, how often they are saved.
      per_replica: whether it may differ between the replicas of a run: a number that enters a step
        by arithmetic alone, so that it may be traced, and that nothing but training reads.
    """

    default: Any
    meaning: str
    choices: tuple[str, ...] = ()
    minimum: float = 0
    maximum: float | None = None
    element: Any = None
    max_length: int = _MAX_TEXT
    smoke: Any | Callable[[Any], Any] = None
    affects: str = "training"
    per_replica: bool = False

    def type_problem(self, value: Any) -> str:
        """What kind of value it must be and is not, "" if it is."""
        return _type_problem(value, self.default, self)

    def check(self, name: str, value: Any) -> None:
        """Refuses a value that is out of bounds or none of the choices.

        Raises:
          UserError: naming the key and what is valid.
        """
        values = value if isinstance(value, tuple) else (value,)
        for each in values:
            if self.choices and each not in self.choices:
                close = difflib.get_close_matches(str(each), self.choices, 1)
                hint = f"did you mean {close[0]}? " if close else ""
                raise UserError(
                    f"unknown {name} {each!r}; {hint}valid are: {', '.join(self.choices)}"
                )
            if isinstance(each, (int, float)) and not isinstance(each, bool):
                for bound, wrong, word in (
                    (self.minimum, each < self.minimum, "at least"),
                    (self.maximum, self.maximum is not None and each > self.maximum, "at most"),
                ):
                    if wrong:
                        fix = f": --config.{name}={bound}" if values == (value,) else ""
                        raise UserError(f"{name}={value} must be {word} {bound}{fix}")


Section = Mapping[str, Union[Setting, "Section"]]


def defaults(section: Section) -> ConfigDict:
    """A config with the default of every key."""
    config = ConfigDict()
    for key, entry in section.items():
        config[key] = entry.default if isinstance(entry, Setting) else defaults(entry)
    return config


def flat(section: Section, prefix: str = "") -> dict[str, Setting]:
    """{"optim.lr": Setting, ...}."""
    found = {}
    for key, entry in section.items():
        if isinstance(entry, Setting):
            found[prefix + key] = entry
        else:
            found |= flat(entry, f"{prefix}{key}.")
    return found


def check(config: ConfigDict, section: Section, prefix: str = "") -> None:
    """Refuses values that are out of bounds or none of the choices.

    Raises:
      UserError: naming the key and what is valid.
    """
    for key, entry in section.items():
        if isinstance(entry, Setting):
            entry.check(prefix + key, config[key])
        else:
            check(config[key], entry, f"{prefix}{key}.")


def shrink(config: ConfigDict, section: Section) -> None:
    """Sets the values of `:smoke`."""
    for key, entry in section.items():
        if not isinstance(entry, Setting):
            shrink(config[key], entry)
        elif callable(entry.smoke):
            config[key] = entry.smoke(config[key])
        elif entry.smoke is not None:
            config[key] = entry.smoke


def _type_problem(value: Any, like: Any, setting: Setting) -> str:
    least = min(setting.minimum, 0)
    if isinstance(like, bool):
        return "" if isinstance(value, bool) else "True or False"
    if isinstance(like, int):
        good = isinstance(value, int) and not isinstance(value, bool) and least <= value <= _MAX_INT
        return "" if good else f"an integer from {least:g} to {_MAX_INT}"
    if isinstance(like, float):
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        # Comparisons alone: they refuse NaN and infinity too, and hold for integers of any size.
        good = number and least <= value <= _MAX_FLOAT
        return "" if good else f"a number from {least:g} to {_MAX_FLOAT:g}"
    if isinstance(like, tuple):
        if not isinstance(value, tuple) or len(value) > _MAX_LENGTH:
            return f"a list of at most {_MAX_LENGTH}"
        element = like[0] if like else setting.element
        if element is None:
            return ""
        problems = [p for item in value if (p := _type_problem(item, element, setting))]
        return f"a list, each of it {problems[0]}" if problems else ""
    if isinstance(like, str):
        most = setting.max_length
        good = isinstance(value, str) and value.isprintable() and len(value) <= most
        return "" if good else f"a line of at most {most} characters"
    raise TypeError(f"a setting cannot be {like!r}")
