"""report.html of a run, or of several beside one another: one file that needs nothing else."""

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from gen_jax import config as config_lib
from gen_jax import files
from gen_jax.errors import UserError
from gen_jax.families.alarms import Alarm
from gen_jax.report import curves, page
from gen_jax.report.page import Section, cell
from gen_jax.training import replicas
from gen_jax.workdir import provenance
from gen_jax.workdir.claim import APPLICATIONS, read_config
from gen_jax.workdir.console import duration, figure
from gen_jax.workdir.logs import read_metrics, training_seconds

_MOST_CELLS = 50  # of a side of a picture that is walked on
_MOST_TEXT = 20_000  # characters of a text that a page has

_DAMAGED = (ValueError, TypeError, KeyError, AttributeError, OverflowError)


def write_report(workdir: Path) -> Path:
    """Writes `report.html` from what the workdir holds, and says what is missing.

    Raises:
      UserError: if there is no run.
    """
    config, rows = read_config(workdir), read_metrics(workdir)
    step = max((row["step"] for row in rows), default=0)
    several = f", {config.num_replicas} replicas" if config.num_replicas > 1 else ""
    lead = (
        f"{config.family} on {config.data.name}, step {step:,} of {config.steps:,}, "
        f"batch {config.batch_size:,}, seed {config.seed}{several}"
    )
    sections = [
        _warnings(rows),
        _evaluation(workdir, config),
        _pictures(workdir, config),
        _applications(workdir, config),
        _training({"": rows}),
        _timeline(workdir),
        _provenance(workdir),
        _commands(config, workdir),
        {"title": "Config", "config": list(config_lib.flatten(config).items())},
    ]
    seconds = training_seconds(config.batch_size, workdir)
    lead += f", trained for {duration(seconds)}" if seconds else ""
    name = config.experiment or config.family
    return page.write(workdir / "report.html", name, lead, sections)


def write_comparison(workdirs: Sequence[Path], out: Path) -> Path:
    """Writes a page of several runs: their figures, curves, pictures, and what they differ in.

    Raises:
      UserError: if one of them is no run.
    """
    configs = {workdir: read_config(workdir) for workdir in workdirs}
    names = _names(workdirs)
    logs = {names[workdir]: read_metrics(workdir) for workdir in workdirs}
    sections = [
        _difference(configs, names),
        _figures_beside(configs, names),
        _pictures_beside(configs, names),
        _training(logs),
    ]
    links = [cell(names[w], link=os.path.relpath(w / "report.html", out.parent)) for w in workdirs]
    own = [[link, cell(configs[w].experiment)] for link, w in zip(links, workdirs, strict=True)]
    table = {"head": ["run", "experiment"], "rows": own}
    sections.insert(0, {"title": "Runs", "table": table})
    title = f"{len(workdirs)} runs"
    return page.write(out, title, ", ".join(names.values()), sections)


def _names(workdirs: Sequence[Path]) -> dict[Path, str]:
    """The last parts of their paths, as many as tell them apart."""
    for count in range(1, 9):
        names = {w: "/".join(w.absolute().parts[-count:]) for w in workdirs}
        if len({*names.values()}) == len(workdirs):
            break
    return names


def _warnings(rows: list[dict]) -> Section:
    """Each kind of alarm once, as it was last seen."""
    newest: dict[tuple, tuple[int, Alarm]] = {}
    for row in rows:
        newest |= {(a.kind, a.replicas): (row["step"], a) for a in row.get("alarms", ())}
    lines = [f"step {step:,}: {alarm}" for step, alarm in newest.values()]
    return {"title": "Warnings", "lines": lines}


def _evaluation(workdir: Path, config: ConfigDict) -> Section:
    section = {"title": "Evaluation"}
    evaluation = _read_evaluation(workdir)
    if evaluation is None:
        return section | {
            "none": f"not evaluated yet: python launch.py evaluate --workdir={workdir}"
        }
    try:
        rows = []
        for name, metric in evaluation["metrics"].items():
            number = f"{metric['n']:,}"
            if metric.get("each"):
                number = f"{number} each, {_seeds(config)}"
            cells = (metric["unit"], metric["kind"].replace("_", " "), number)
            rows.append(
                [
                    cell(name, spec=str(metric["spec"])),
                    cell(figure(metric), number=True),
                    *map(cell, cells),
                ]
            )
        head = ["metric", "value ± s.e.", "unit", "kind", "examples"]
        where = f"{evaluation['dataset']}, {evaluation['split']} split, step {evaluation['step']:,}"
        lines = [str(Alarm.from_json(alarm)) for alarm in evaluation.get("alarms", ())]
    except _DAMAGED:
        raise _damaged(workdir) from None
    return section | {"note": where, "table": {"head": head, "rows": rows}, "lines": lines}


def _read_evaluation(workdir: Path) -> dict | None:
    path = workdir / "evaluation.json"
    if not path.exists():
        return None
    try:
        found = files.read_json(path)
        return found if isinstance(found["metrics"], dict) else {}
    except _DAMAGED:
        raise _damaged(workdir) from None


def _damaged(workdir: Path) -> UserError:
    path = workdir / "evaluation.json"
    return UserError(f"{path} is damaged; run launch.py evaluate again")


def _seeds(config: ConfigDict) -> str:
    """Of the runs whose mean a figure is."""
    seeds = replicas.values(config)["seed"].tolist()
    return f"mean of seeds {', '.join(map(str, seeds))}"


def _pictures(workdir: Path, config: ConfigDict) -> Section:
    section = {"title": "Pictures"}
    found = _found_pictures(workdir, config)
    if not found:
        return section | {"none": "no pictures yet: they are made at the end of training"}
    return section | {"pictures": [{"layout": "gallery", "pictures": list(found.values())}]}


def _applications(workdir: Path, config: ConfigDict) -> Section:
    """What was done with the model from the command line."""
    captions = _index(workdir / "samples" / APPLICATIONS) or {}
    found = _found_pictures(workdir, config, captions)
    section = {"title": "Applications"}
    if not found:
        return section
    return section | {"pictures": [{"layout": "gallery", "pictures": list(found.values())}]}


def _found_pictures(
    workdir: Path, config: ConfigDict, captions: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Those of a run, by name; by default those of training and evaluation."""
    measured = _read_evaluation(workdir) or {}
    of_which = f" Replica {measured.get('replica', 0)}." if config.num_replicas > 1 else ""
    found = {}
    folder = workdir / "samples"
    captions = _captions(folder) if captions is None else captions
    for name, (caption, others, grid, step) in captions.items():
        path = folder / f"{name}.png"
        png = path.read_bytes() if is_picture(path) else b""
        # A stranger's link may lead to any file, which must not end in a page that is passed on.
        files_of = [folder / other for other in others]
        there = [file for file in files_of if file.is_file() and not file.is_symlink()]
        text = "".join(
            file.read_text(errors="replace")[:_MOST_TEXT] for file in there if file.suffix == ".txt"
        )
        sounds = [file.read_bytes() for file in there if _is_sound(file)]
        if png or text or sounds:
            # An evaluation of another checkpoint, by some metrics alone, draws none of it.
            elsewhere = step is not None and step != measured.get("step", step)
            of_step = f" Of step {step:,}." if elsewhere else ""
            shown = caption + of_which + of_step
            found[name] = page.picture(png, name, shown, text=text, sounds=sounds, grid=grid)
    return found


# Of a picture: what it shows, the names of the texts and sounds that go with it, of one that is
# walked on how many cells a side has, else 0, and of which step of training it is, where it says.
Row = tuple[str, list[str], int, int | None]


def _captions(folder: Path) -> dict[str, Row]:
    """The pictures of a run, in order: what applications/gallery.py wrote."""
    found = _index(folder / "pictures.json")
    if found is not None:
        return found
    # Of an older version of the project: what it called its pictures.
    known = ("samples", "reconstructions", "interpolation", "latent_map")
    return {name: (name.replace("_", " ").capitalize() + ".", [], 0, None) for name in known}


def _index(path: Path) -> dict[str, Row] | None:
    """The rows of an index of pictures by name; None where there is none."""
    try:
        return {
            row["name"]: (
                row["caption"],
                [name for name in row.get("files", ()) if re.fullmatch(r"\w+\.(txt|wav)", name)],
                min(max(int(row.get("grid", 0)), 0), _MOST_CELLS),
                int(row["step"]) if "step" in row else None,
            )
            for row in files.read_json(path)
            if re.fullmatch(r"\w+", row["name"])
        }
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _training(logs: Mapping[str, list[dict]]) -> Section:
    section = {"title": "Training"}
    groups = curves.groups(logs)
    if not groups:
        return section | {"none": "no training step has been logged yet"}
    return section | {"curves": groups}


def _timeline(workdir: Path) -> Section:
    section = {"title": "Samples over training"}
    found = (workdir / "samples").glob("step_*.png")
    paths = sorted(p for p in found if re.fullmatch(r"step_\d{8,10}", p.stem) and is_picture(p))
    if len(paths) < 2:
        return section
    count = min(8, len(paths))
    chosen = [paths[round(i * (len(paths) - 1) / (count - 1))] for i in range(count)]
    shown = [
        page.picture(p.read_bytes(), p.stem, f"step {int(p.stem.removeprefix('step_')):,}")
        for p in chosen
    ]
    return section | {"pictures": [{"layout": "timeline", "pictures": shown}]}


def _provenance(workdir: Path) -> Section:
    rows = []
    for row in provenance.read(workdir)[-20:]:
        versions = row.get("versions")
        shown = (
            row.get("time", ""),
            row.get("command", ""),
            row.get("commit", "") or "no repository",
            row.get("hardware", ""),
        )
        packages = versions.items() if isinstance(versions, dict) else ()
        more = ", ".join(f"{name} {version}" for name, version in packages)
        first, command, *rest = (str(value)[:1_000] for value in shown)
        rows.append([cell(first), cell(command, spec=more), *map(cell, rest)])
    head = ["when (UTC)", "command, and versions", "commit", "hardware"]
    return {"title": "Provenance", "table": {"head": head, "rows": rows} if rows else None}


def _commands(config: ConfigDict, workdir: Path) -> Section:
    at, experiment = shlex.quote(f"--workdir={workdir}"), f"--config={config.experiment}"
    lines = [
        f"python launch.py train {shlex.quote(experiment)} {at}",
        f"python launch.py evaluate {at}",
        f"python launch.py sample {at} --num=64",
    ]
    lines[0] = " \\\n    ".join([lines[0], *map(shlex.quote, config.overrides)])
    return {"title": "Commands", "pre": "\n".join(lines)}


def _difference(configs: Mapping[Path, ConfigDict], names: Mapping[Path, str]) -> Section:
    """The keys in which runs differ."""
    flat = {workdir: config_lib.flatten(config) for workdir, config in configs.items()}
    rows = []
    for key in dict.fromkeys(key for each in flat.values() for key in each):
        values = [str(each.get(key, "not there")) for each in flat.values()]
        if len({*values}) > 1 and key not in ("overrides", "experiment"):
            rows.append([cell(key), *map(cell, values)])
    table = {"head": ["key", *names.values()], "rows": rows}
    none = "" if rows else "their configs are the same"
    return {"title": "What they differ in", "table": table if rows else None, "none": none}


def _figures_beside(configs: Mapping[Path, ConfigDict], names: Mapping[Path, str]) -> Section:
    """Figures with error bars, a column a run."""
    found = {workdir: (_read_evaluation(workdir) or {}).get("metrics", {}) for workdir in configs}
    rows = []
    for name in dict.fromkeys(name for each in found.values() for name in each):
        cells, specs, units = [], set(), set()
        for workdir, each in found.items():
            if name not in each:
                cells.append(cell("not measured"))
                continue
            try:
                metric = each[name]
                shown = figure(metric)
                units.add(str(metric["unit"]))
                specs.add(str(metric["spec"]))
            except _DAMAGED:
                raise _damaged(workdir) from None
            seeds = _seeds(configs[workdir]) if metric.get("each") else ""
            cells.append(cell(shown, number=True, spec=seeds))
        spec = specs.pop() if len(specs) == 1 else "they are not measured alike: see each report"
        rows.append([cell(name, spec=spec), cell(", ".join(sorted(units))), *cells])
    table = {"head": ["metric", "unit", *names.values()], "rows": rows}
    none = "" if rows else "none of them has been evaluated"
    return {"title": "Evaluation", "table": table if rows else None, "none": none}


def _pictures_beside(configs: Mapping[Path, ConfigDict], names: Mapping[Path, str]) -> Section:
    """Each kind of picture, a column a run."""
    found = {workdir: _found_pictures(workdir, config) for workdir, config in configs.items()}
    groups = []
    for kind in dict.fromkeys(name for each in found.values() for name in each):
        shown = [
            {**each[kind], "caption": f"{names[workdir]}: {each[kind]['caption']}"}
            for workdir, each in found.items()
            if kind in each
        ]
        groups.append({"title": kind.replace("_", " "), "layout": "beside", "pictures": shown})
    return {"title": "Pictures", "pictures": groups}


def _is_sound(path: Path) -> bool:
    """Whether it is a wav file, for the same reason as `is_picture`."""
    with open(path, "rb") as file:
        return path.suffix == ".wav" and file.read(4) == b"RIFF"


def is_picture(path: Path) -> bool:
    """Whether it is a PNG: a link to some other file must not end in a page that is passed on."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(8) == b"\x89PNG\r\n\x1a\n"
