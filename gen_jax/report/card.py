"""What a notebook shows of a run: a card, tables of figures and of the log."""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from gen_jax.evaluation.metric import Metric
from gen_jax.workdir.console import figure

_CELL = "text-align:left;padding:2px 14px 2px 0;vertical-align:top"
_SHOWN_ROWS = 60


class Figures(dict):
    """What `evaluate` gives: {name: Metric}, shown as a table."""

    def __repr__(self) -> str:
        return "\n".join(f"{name}: {_figure(metric)}" for name, metric in self.items())

    def _repr_html_(self) -> str:
        rows = [
            (name, figure(vars(metric)), metric.unit, metric.kind.replace("_", " "), metric.n)
            for name, metric in self.items()
        ]
        return table(("metric", "value ± s.e.", "unit", "kind", "n"), rows)


class Rows(list):
    """Rows of a log, dictionaries, shown as a table; `column(name)` is one of its columns."""

    def column(self, name: str) -> tuple[list[int], list[float]]:
        """The steps of the rows that have this figure, and its values."""
        found = [(row["step"], row[name]) for row in self if name in row]
        return [step for step, _ in found], [value for _, value in found]

    def __repr__(self) -> str:
        names = ", ".join(dict.fromkeys(name for row in self for name in row))
        return f"<{len(self)} rows of {names}>"

    def _repr_html_(self) -> str:
        names = list(dict.fromkeys(name for row in self for name in row))
        rows = [[_number(row.get(name, "")) for name in names] for row in self[-_SHOWN_ROWS:]]
        return table(names, rows)


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table in HTML; all text in it is escaped."""

    def line(cells: Sequence[Any], tag: str) -> str:
        inner = "".join(f'<{tag} style="{_CELL}">{html.escape(str(c))}</{tag}>' for c in cells)
        return f"<tr>{inner}</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f'<table style="border-collapse:collapse">{line(head, "th")}{body}</table>'


def card(title: str, facts: Mapping[str, str], picture: Image.Image | None) -> str:
    """A title, a table of facts, and a picture beside them."""
    shown = ""
    if picture is not None:
        buffer = io.BytesIO()
        picture.save(buffer, format="PNG")
        data = base64.b64encode(buffer.getvalue()).decode()
        shown = f'<img alt="samples" style="max-width:240px" src="data:image/png;base64,{data}">'
    facts_table = table(("", ""), list(facts.items()))
    return (
        f'<div style="display:flex;gap:24px;flex-wrap:wrap"><div><b>{html.escape(title)}</b>'
        f"{facts_table}</div>{shown}</div>"
    )


def _figure(metric: Metric) -> str:
    return f"{figure(vars(metric))} {metric.unit} ({metric.kind.replace('_', ' ')})"


def _number(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)
