"""The log of one run or several as panels of curves, grouped by what they mean."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

TRAINING, HELD_OUT, FLOOR = "#0969da", "#d1242f", "#6e7781"
# Of several runs.
COLORS = ("#0969da", "#d1242f", "#1a7f37", "#8250df", "#bf8700", "#0550ae", "#a40e26", "#116329")
_VALIDATION = "validation/"
# What real data score in the place of samples, by the ending of a figure's name.
_FLOORS = ("_floor", "_real")
_MAX_POINTS = 1_000


def groups(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Panels of the rows of each run, by its name: [{"title", "panels": [{"title", "lines"}]}].

    A figure of training and the same of validation share a panel; what real data score is a line
    in the panel of what samples do. Replicas are thin.
    """
    names = dict.fromkeys(
        name
        for rows in runs.values()
        for row in rows
        for name in row
        if name not in ("step", "alarms") and "/replica_" not in name
    )
    floors = {name for name in names if _floor_of(name, names)}
    panels: dict[str, list[dict]] = {}
    done = set()
    for name in names:
        base = name.removeprefix(_VALIDATION)
        if base in done or name in floors:
            continue
        done.add(base)
        panels.setdefault(_group(base, names), []).append(_panel(base, runs, names))
    order = ["Losses", "Training and validation", "Validation", "Training", "Gradients", "Speed"]
    return [{"title": title, "panels": panels[title]} for title in order if title in panels]


def _floor_of(name: str, names: Mapping[str, None]) -> str:
    """The figure that this one is the floor of, "" if it is none."""
    for ending in _FLOORS:
        if name.endswith(ending) and name.removesuffix(ending) in names:
            return name.removesuffix(ending)
    return ""


def _group(base: str, names: Mapping[str, None]) -> str:
    if base.startswith("loss/"):
        return "Losses"
    if base.startswith("grad_norm/"):
        return "Gradients"
    if base == "examples_per_second":
        return "Speed"
    if _VALIDATION + base not in names:
        return "Training"
    return "Training and validation" if base in names else "Validation"


def _panel(base: str, runs: Mapping[str, Sequence], names: Mapping[str, None]) -> dict[str, Any]:
    several, lines = len(runs) > 1, []
    for number, (run, rows) in enumerate(runs.items()):
        own = COLORS[number % len(COLORS)]
        for name, color, what in (
            (base, own if several else TRAINING, "training"),
            (_VALIDATION + base, own if several else HELD_OUT, "validation"),
        ):
            if name not in names:
                continue
            replicas = {n for row in rows for n in row if n.startswith(f"{name}/replica_")}
            for replica in sorted(replicas):
                lines.append(_line(rows, replica, replica.rpartition("/")[2], color, thin=True))
            dash = "dot" if several and what == "training" and _VALIDATION + base in names else ""
            label = f"{run} ({what})" if several else what
            lines.append(_line(rows, name, label, color, dash=dash))
            for ending in _FLOORS:
                values = [row[name + ending] for row in rows if name + ending in row]
                if values:
                    ends = _series(rows, name)[0]
                    ends = [min(ends, default=0), max(ends, default=0)]
                    label = f"real data, {run}" if several else "real data"
                    lines.append(
                        {"x": ends, "y": [values[-1]] * 2, "name": label, "dash": "dash"}
                        | {"color": own if several else FLOOR}
                    )
    lines = [line for line in lines if line["x"]]
    return {"title": base, "lines": lines, "range": _range(lines)}


def _line(rows: Sequence, name: str, label: str, color: str, **style: Any) -> dict[str, Any]:
    x, y = _series(rows, name)
    return {"x": x, "y": y, "name": label, "color": color, **style}


def _series(rows: Sequence[Mapping], name: str) -> tuple[list[int], list[float]]:
    found = [(row["step"], row[name]) for row in rows if name in row]
    found = found[:: -(-len(found) // _MAX_POINTS) or 1]
    return [step for step, _ in found], [value for _, value in found]


def _range(lines: Sequence[Mapping]) -> list[float] | None:
    """Of the axis: the last nine tenths of all values, if what comes first is far off them."""
    late = [v for line in lines for v in line["y"][len(line["y"]) // 10 :]]
    every = [v for line in lines for v in line["y"]]
    if len(every) < 20:
        return None
    low, high = float(np.min(late)), float(np.max(late))
    margin = 0.06 * (high - low) or 1.0
    if np.min(every) < low - 2 * (high - low) or np.max(every) > high + 2 * (high - low):
        return [low - margin, high + margin]
    return None
