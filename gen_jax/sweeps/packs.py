"""Trials that differ in numbers alone, trained as the replicas of one program.

A pack is one run: `runs/pack_000` is its workdir, with `trials.json` beside what every run has. It
compiles once, and a small model's steps cost little more for many replicas than for one.
"""

import dataclasses
import json
from pathlib import Path

from ml_collections import ConfigDict

from gen_jax import files
from gen_jax.sweeps.spec import Overrides, Sweep
from gen_jax.training import replicas
from gen_jax.workdir.logs import read_metrics

SIZE = 16  # of a pack, at most
TRIALS = "trials.json"


@dataclasses.dataclass(frozen=True)
class Pack:
    """Trials of one program.

    Attributes:
      name: of its workdir under `runs/`.
      shared: overrides that all of them have.
      trials: what each replica has besides.
    """

    name: str
    shared: Overrides
    trials: tuple[Overrides, ...]

    @property
    def overrides(self) -> Overrides:
        """Of the run."""
        values = tuple(
            (key, tuple(own[key] for own in self.trials)) for key in sorted(self.trials[0])
        )
        return {**self.shared, "num_replicas": len(self.trials), "replica_values": values}

    def every(self) -> list[Overrides]:
        """All that each trial has."""
        return [{**self.shared, **own} for own in self.trials]


def divide(sweep: Sweep, config: ConfigDict) -> tuple[list[Pack], list[Overrides]]:
    """Packs, and the trials that cannot be in one: those that differ in more than numbers.

    A sweep that halts or proposes trials looks at them one by one, so it has no packs.
    """
    if not sweep.trials or sweep.stop_early or config.num_replicas > 1:
        return [], list(sweep.trials)
    may_differ = replicas.keys(config.family)
    groups: dict[str, list[tuple[Overrides, Overrides]]] = {}
    for overrides in sweep.trials:
        own = {key: value for key, value in overrides.items() if key in may_differ}
        shared = {key: value for key, value in overrides.items() if key not in may_differ}
        kind = json.dumps([sorted(own), shared], sort_keys=True, default=str)
        groups.setdefault(kind, []).append((shared, own))
    packs, alone = [], []
    for group in groups.values():
        for start in range(0, len(group), SIZE):
            part = group[start : start + SIZE]
            shared, own = part[0][0], tuple(each for _, each in part)
            if len(part) > 1 and own[0]:
                packs.append(Pack(f"pack_{len(packs):03}", shared, own))
            else:
                alone += [{**shared, **each} for each in own]
    return packs, alone


def claim(folder: Path, pack: Pack) -> Path:
    """Its workdir, which says what its replicas are."""
    workdir = folder / "runs" / pack.name
    workdir.mkdir(parents=True, exist_ok=True)
    text = json.dumps(pack.every(), default=lambda array: array.tolist())
    files.write_whole(workdir / TRIALS, text)
    return workdir


def values(workdir: Path, metric: str) -> tuple[int, list[float]]:
    """The last step of a pack that has the metric, and what it is of each replica."""
    rows = [row for row in read_metrics(workdir) if f"{metric}/replica_0" in row]
    if not rows:
        return 0, []
    own = [name for name in rows[-1] if name.startswith(f"{metric}/replica_")]
    return rows[-1]["step"], [rows[-1][f"{metric}/replica_{r}"] for r in range(len(own))]
