"""report.html of a run: one file that needs nothing else."""

import base64
import html
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from gen_jax import config as config_lib
from gen_jax import files
from gen_jax.errors import UserError
from gen_jax.families.alarms import Alarm
from gen_jax.report import charts
from gen_jax.workdir.claim import read_config
from gen_jax.workdir.console import figure
from gen_jax.workdir.logs import read_metrics

_STYLE = """
:root { --ink: #1f2328; --soft: #59636e; --line: #d1d9e0; --back: #f6f8fa; --blue: #0969da; }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); max-width: 1000px;
  margin: 0 auto; padding: 24px 20px 60px; }
h1 { font-size: 26px; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 36px 0 12px; padding-bottom: 6px;
  border-bottom: 1px solid var(--line); }
.lead, figcaption, .spec, .none { color: var(--soft); }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: 6px 12px 6px 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { font-weight: 600; font-size: 13px; color: var(--soft); }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap; font-weight: 600; }
.spec { font-size: 12px; overflow-wrap: anywhere; }
figure { margin: 0; }
figcaption { font-size: 13px; margin-top: 6px; }
img { max-width: 100%; height: auto; border: 1px solid var(--line); border-radius: 4px; }
.plain img { border: 0; }
.gallery { display: grid; gap: 24px; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(400px, 100%), 1fr)); }
.timeline { display: grid; gap: 12px;
  grid-template-columns: repeat(auto-fill, minmax(100px, 1fr)); }
pre { background: var(--back); padding: 12px 14px; border-radius: 6px; overflow-x: auto;
  font-size: 13px; margin: 0; }
.config { columns: 2 320px; font: 13px/1.7 ui-monospace, monospace; }
.config div { break-inside: avoid; overflow-wrap: anywhere; }
.config span { color: var(--soft); }
"""


def write_report(workdir: Path) -> Path:
    """Writes `report.html` from what the workdir holds, and says what is missing.

    Raises:
      UserError: if there is no run.
    """
    config = read_config(workdir)
    rows = read_metrics(workdir)
    step = max((row["step"] for row in rows), default=0)
    name = config.experiment or config.family
    sections = [
        ("Warnings", _warnings(rows)),
        ("Evaluation", _evaluation(workdir)),
        ("Pictures", _pictures(workdir)),
        ("Training", _training(rows)),
        ("Samples over training", _timeline(workdir)),
        ("Commands", _commands(config, workdir)),
        ("Config", _config(config)),
    ]
    replicas = f", {config.num_replicas} replicas" if config.num_replicas > 1 else ""
    lead = (
        f"{config.family} on {config.data.name}, step {step:,} of {config.steps:,}, "
        f"batch {config.batch_size:,}, seed {config.seed}{replicas}"
    )
    return write_page(workdir, name, lead, sections)


def write_page(folder: Path, title: str, lead: str, sections: Sequence[tuple[str, str]]) -> Path:
    """Writes `report.html`: sections of a title and HTML each; those without any are left out."""
    body = "".join(f"<h2>{title}</h2>{content}" for title, content in sections if content)
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>{_STYLE}</style></head><body>"
        f'<h1>{text(title)}</h1><p class="lead">{text(lead)}</p>{body}</body></html>\n'
    )
    return files.write_whole(folder / "report.html", page)


def _warnings(rows: list[dict]) -> str:
    """Each kind of alarm once, as it was last seen."""
    newest: dict[tuple, tuple[int, Alarm]] = {}
    for row in rows:
        newest |= {(a.kind, a.replicas): (row["step"], a) for a in row.get("alarms", ())}
    lines = [f"<li>step {step:,}: {text(alarm)}</li>" for step, alarm in newest.values()]
    return f"<ul>{''.join(lines)}</ul>" if lines else ""


def _evaluation(workdir: Path) -> str:
    path = workdir / "evaluation.json"
    if not path.exists():
        return _none(f"not evaluated yet: python launch.py evaluate --workdir={workdir}")
    try:
        return _evaluation_table(files.read_json(path))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        raise UserError(f"{path} is damaged; run launch.py evaluate again") from None


def _evaluation_table(evaluation: dict) -> str:
    lines = []
    for name, metric in evaluation["metrics"].items():
        cells = (metric["unit"], metric["kind"].replace("_", " "), f"{metric['n']:,}")
        lines.append(
            f'<tr><td>{text(name)}<div class="spec">{text(metric["spec"])}</div></td>'
            f'<td class="number">{text(figure(metric))}</td>'
            + "".join(f"<td>{text(cell)}</td>" for cell in cells)
            + "</tr>"
        )
    head = "<tr><th>metric</th><th>value ± s.e.</th><th>unit</th><th>kind</th><th>n</th></tr>"
    where = f"{evaluation['dataset']}, {evaluation['split']} split, step {evaluation['step']:,}"
    table = f'<p class="lead">{text(where)}</p><table>{head}{"".join(lines)}</table>'
    found = map(Alarm.from_json, evaluation.get("alarms", ()))
    alarms = "".join(f"<li>{text(alarm)}</li>" for alarm in found)
    return f"{table}<ul>{alarms}</ul>" if alarms else table


def _pictures(workdir: Path) -> str:
    figures = []
    for name, caption in _captions(workdir / "samples").items():
        path = workdir / "samples" / f"{name}.png"
        if _is_picture(path):
            figures.append(
                f"<figure>{image(path.read_bytes(), name)}"
                f"<figcaption>{text(caption)}</figcaption></figure>"
            )
    if not figures:
        return _none("no pictures yet: they are made at the end of training")
    return f'<div class="gallery">{"".join(figures)}</div>'


def _captions(folder: Path) -> dict[str, str]:
    """The pictures of a run and what they show, in order: what applications/gallery.py wrote."""
    try:
        index = files.read_json(folder / "pictures.json")
        return {row["name"]: row["caption"] for row in index if re.fullmatch(r"\w+", row["name"])}
    except (ValueError, TypeError, KeyError):
        # Of an older version of the project: what it called its pictures.
        known = ("samples", "reconstructions", "interpolation", "latent_map")
        return {name: name.replace("_", " ").capitalize() + "." for name in known}


def _training(rows: list[dict]) -> str:
    if not rows:
        return _none("no training step has been logged yet")
    return f'<div class="plain">{image(charts.curves(rows), "training curves")}</div>'


def _timeline(workdir: Path) -> str:
    found = (workdir / "samples").glob("step_*.png")
    paths = sorted(p for p in found if re.fullmatch(r"step_\d{8,10}", p.stem) and _is_picture(p))
    if len(paths) < 2:
        return ""
    count = min(8, len(paths))
    chosen = [paths[round(i * (len(paths) - 1) / (count - 1))] for i in range(count)]
    figures = [
        f"<figure>{image(p.read_bytes(), p.stem)}"
        f"<figcaption>step {int(p.stem.removeprefix('step_')):,}</figcaption></figure>"
        for p in chosen
    ]
    return f'<div class="timeline">{"".join(figures)}</div>'


def _commands(config, workdir: Path) -> str:
    at, experiment = shlex.quote(f"--workdir={workdir}"), f"--config={config.experiment}"
    lines = [
        f"python launch.py train {shlex.quote(experiment)} {at}",
        f"python launch.py evaluate {at}",
        f"python launch.py sample {at} --num=64",
    ]
    lines[0] = " \\\n    ".join([lines[0], *map(shlex.quote, config.overrides)])
    return f"<pre>{text(chr(10).join(lines))}</pre>"


def _config(config) -> str:
    flat = config_lib.flatten(config)
    lines = [f"<div><span>{text(k)}</span> {text(v)}</div>" for k, v in flat.items()]
    return f'<div class="config">{"".join(lines)}</div>'


def image(png: bytes, name: str) -> str:
    return f'<img alt="{text(name)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def _is_picture(path: Path) -> bool:
    """Whether it is a PNG: a link to some other file must not end in a page that is passed on."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(8) == b"\x89PNG\r\n\x1a\n"


def _none(line: str) -> str:
    return f'<p class="none">{text(line)}</p>'


def text(value) -> str:
    return html.escape(str(value))
