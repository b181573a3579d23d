"""Alarms: what a run's figures may warn of, with the evidence and what to try.

A family lists its rules (`FamilyDefinition.alarms`). Those that several families share are here.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

# A model that covers fewer than this part of what a perfect sampler covers has collapsed.
COVERED = 0.9
# Recall falls with sharpness too: only a small part of the floor is taken for collapse.
RECALLED = 0.25
INFORMED = 0.1  # nats: latents of a lower rate tell nothing of the data


@dataclasses.dataclass(frozen=True)
class Alarm:
    """One warning.

    Attributes:
      kind: what is wrong, in a word or two: "collapse".
      evidence: the figures that say so.
      advice: what to try.
      replicas: of a run with several, the numbers of those that it is of.
    """

    kind: str
    evidence: str
    advice: str
    replicas: tuple[str, ...] = ()

    def __str__(self) -> str:
        """One line."""
        whose = f"replica {', '.join(self.replicas)}: " if self.replicas else ""
        return f"{whose}{self.kind}: {'; '.join(filter(None, (self.evidence, self.advice)))}"

    def to_json(self) -> dict[str, Any]:
        """As metrics.jsonl and evaluation.json hold it."""
        return {**dataclasses.asdict(self), "replicas": list(self.replicas)}

    @classmethod
    def from_json(cls, given: Any) -> "Alarm":
        """The inverse. A run of an older version has a line of text.

        Raises:
          ValueError: for what is none.
        """
        if isinstance(given, str):
            match = re.fullmatch(r"(?:replica ([\d, ]+): )?([^:]*)(?:: )?([^;]*)(?:; )?(.*)", given)
            replicas, *texts = match.groups("") if match else ("", given, "", "")
            return cls(*texts, tuple(filter(None, replicas.split(", "))))
        texts = ("kind", "evidence", "advice")
        if not isinstance(given, dict) or {*given} != {*texts, "replicas"}:
            raise ValueError("it is no alarm")
        lines = [*(given[name] for name in texts), *given["replicas"]]
        if not all(isinstance(line, str) for line in lines):
            raise ValueError("it is no alarm")
        return cls(**{**given, "replicas": tuple(given["replicas"])})


@dataclasses.dataclass(frozen=True)
class Rule:
    """When to sound an alarm.

    It sees figures of training and of validation alike, under their plain names.

    Attributes:
      reads: names of the figures; the rule is asked where all of them are there.
      judge: figures by name -> an alarm, or None.
    """

    reads: tuple[str, ...]
    judge: Callable[[Mapping[str, float]], Alarm | None]


def find_alarms(rules: Sequence[Rule], row: Mapping[str, float]) -> list[Alarm]:
    """What a run's newest figures warn of.

    Args:
      rules: of its family.
      row: metrics by name, as a run logs them: training metrics plain, held-out ones after
        "validation/", those of single replicas with "/replica_0" and so on at the end.
    """
    replicas: dict[Alarm, list[str]] = {}
    for replica, figures in _by_replica(row).items():
        for rule in rules:
            if all(name in figures for name in rule.reads) and (alarm := rule.judge(figures)):
                replicas.setdefault(alarm, []).append(replica)
    return [
        alarm if numbers == [""] else dataclasses.replace(alarm, replicas=tuple(numbers))
        for alarm, numbers in replicas.items()
    ]


def _by_replica(row: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Names as rules know them, of each replica; one entry "" for a run without replicas."""
    runs: dict[str, dict[str, float]] = {}
    for name, value in row.items():
        base, _, replica = name.removeprefix("validation/").partition("/replica_")
        runs.setdefault(replica, {})[base] = value
    # The mean over replicas may hide one of them.
    return {r: figures for r, figures in runs.items() if r or len(runs) == 1}


def missing_modes(advice: str) -> Rule:
    """Samples cover too few of the modes of data whose modes are known (metric `modes`)."""

    def judge(row: Mapping[str, float]) -> Alarm | None:
        if row["modes"] >= COVERED * row["modes_floor"]:
            return None
        evidence = (
            f"samples cover {row['modes']:.4g} modes, where a perfect sampler covers "
            f"{row['modes_floor']:.4g}"
        )
        return Alarm("collapse", evidence, advice)

    return Rule(("modes", "modes_floor"), judge)


def low_recall(advice: str) -> Rule:
    """Samples are like few of the data (metric `prdc`)."""

    def judge(row: Mapping[str, float]) -> Alarm | None:
        if row["recall"] >= RECALLED * row["recall_floor"]:
            return None
        evidence = (
            f"recall is {row['recall']:.3f}, where other real data have {row['recall_floor']:.3f}"
        )
        return Alarm("collapse", evidence, advice)

    return Rule(("recall", "recall_floor"), judge)


def posterior_collapse(advice: str) -> Rule:
    """The latents tell nothing of the data."""

    def judge(row: Mapping[str, float]) -> Alarm | None:
        if row["rate"] >= INFORMED:
            return None
        evidence = f"the rate is {row['rate']:.3f} nats, so the latents tell nothing of the data"
        return Alarm("posterior collapse", evidence, advice)

    return Rule(("rate",), judge)


def top_layer_collapse(advice: str) -> Rule:
    """Of several layers of latents, the topmost tells nothing of the data."""

    def judge(row: Mapping[str, float]) -> Alarm | None:
        layers = sum(name.startswith("rate/layer_") for name in row)
        rate = row[f"rate/layer_{layers}"]
        if rate >= INFORMED or row["rate"] < INFORMED:
            return None
        evidence = (
            f"the rate of the topmost of {layers} layers is {rate:.3f} nats, so it tells nothing "
            "of the data"
        )
        return Alarm("posterior collapse", evidence, advice)

    return Rule(("rate", "rate/layer_2"), judge)
