"""A page of one file: sections filled into a template, whose text is escaped."""

import base64
import functools
import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from gen_jax import files

Section = dict[str, Any]  # what templates/page.html.j2 shows of it, by name


def write(path: Path, title: str, lead: str, sections: Sequence[Section]) -> Path:
    """Writes the page; sections that have nothing but a title are left out."""
    shown = [section for section in sections if len({k for k, v in section.items() if v}) > 1]
    curves = any(section.get("curves") for section in shown)
    walks = any(
        picture["grid"]
        for section in shown
        for group in section.get("pictures", ())
        for picture in group["pictures"]
    )
    page = _template().render(
        title=title, lead=lead, sections=shown, plotly=_plotly() if curves else "", walks=walks
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    return files.write_whole(path, page)


def cell(text: Any, number: bool = False, spec: str = "", link: str = "") -> Mapping[str, Any]:
    """One of a table: its text, whether it is a figure, what stands small below it, a link."""
    return {"text": text, "number": number, "spec": spec, "link": link}


def picture(
    png: bytes,
    name: str,
    caption: str,
    plain: bool = False,
    text: str = "",
    sounds: Sequence[bytes] = (),
    grid: int = 0,
) -> Mapping[str, Any]:
    """A picture with its caption; a plain one has no frame.

    Instead of a picture (b"") or with it there may be a text, and sounds: wav files to be played.
    One of `grid` times `grid` cells is walked on: two sliders choose the cell that is shown.
    """
    data = base64.b64encode(png).decode()
    played = [base64.b64encode(sound).decode() for sound in sounds]
    own = {"data": data, "name": name, "caption": caption, "plain": plain}
    return own | {"text": text, "sounds": played, "grid": grid}


@functools.cache
def _template() -> jinja2.Template:
    loader = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, keep_trailing_newline=True
    )
    return environment.get_template("page.html.j2")


@functools.cache
def _plotly() -> str:
    """Plotly's script, compressed and as text: 2 MB where it would be 5."""
    from plotly import offline

    return base64.b64encode(gzip.compress(offline.get_plotlyjs().encode(), mtime=0)).decode()
