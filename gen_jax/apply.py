"""What is done with a trained model, as the command line shows it: pictures with captions.

Each function has a run and the flags of its sub-command, asks `run.Run` for the work, and lays out
what came of it. `Run`'s own methods are what a notebook calls.
"""

import argparse
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gen_jax import families, files, pictures, ticks
from gen_jax import keys as keys_lib
from gen_jax.data.readers import images
from gen_jax.data.spec import SOURCE
from gen_jax.errors import UserError
from gen_jax.evaluation import anomaly, interpolation, masks, morphometry, restoration
from gen_jax.families.base import Decoder, Stylist, TwoWays
from gen_jax.run import Run
from gen_jax.workdir import claim

_SHOWN = 8  # examples, where the flags name none
_AMOUNTS = np.linspace(-3, 3, 9)  # standard deviations of an attribute
_CORNERS = 7  # points of a side of the grid between four examples
_MOST_DRAWN = 1_000_000  # samples of a dataset
_LARGEST = 10_000_000  # bytes of a picture that is read


@dataclasses.dataclass(frozen=True)
class Applied:
    """What came of an application.

    Attributes:
      name: of the files, without an ending.
      caption: what the picture shows.
      picture: uint8 [H, W, 3].
      x: what was made, in model units or, to be trained on, uint8; or measured of each pixel.
      film: an animated PNG; b"" for none.
      label: of each x, where that is what they are for.
    """

    name: str
    caption: str
    picture: np.ndarray
    x: np.ndarray
    film: bytes = b""
    label: np.ndarray | None = None


def write(workdir: Path, applied: Applied) -> list[Path]:
    """Writes the files into WORKDIR/samples, with an entry for the report."""
    folder = claim.samples_folder(workdir)
    labels = {} if applied.label is None else {"label": applied.label}
    found = [
        pictures.save_png(folder / f"{applied.name}.png", applied.picture),
        files.write_arrays(folder / f"{applied.name}.npz", x=applied.x, **labels),
    ]
    rows = [{"name": applied.name, "caption": applied.caption}]
    if applied.film:
        film = f"{applied.name}_film"
        found.append(files.write_whole(folder / f"{film}.png", applied.film))
        rows.append({"name": film, "caption": "The same, animated."})
    index = folder / claim.APPLICATIONS
    try:
        known = {row["name"]: row for row in files.read_json(index)}
    except (ValueError, TypeError, KeyError):
        known = {}
    known |= {row["name"]: row for row in rows}
    files.write_whole(index, json.dumps([*known.values()], indent=2))
    return found


def interpolate(run: Run, flags: argparse.Namespace, options: Mapping[str, Any]) -> Applied:
    """Between each two examples, or draws of the latents, one after another."""
    families.require(run.subject.family, "interpolate", Decoder)
    _need_pictures(run)
    if flags.steps < 2 or flags.steps > 100:
        raise UserError(f"--steps={flags.steps} must be from 2 to 100")
    if flags.seeds:
        seeds = _numbers("seeds", flags.seeds, 2**32)
        draw = [
            np.random.default_rng(seed).standard_normal(run.subject.family.latent_dim)
            for seed in seeds
        ]
        z, label, of = np.float32(draw), _one_label(run, flags, len(seeds)), "drawn latents"
    else:
        x, label = _examples(run, flags, count=4)
        z, of = run.latents(x, label), "examples"
    if len(z) < 2:
        raise UserError("an interpolation has two ends; name at least two")
    ways = [
        interpolation.between(z[i], z[i + 1], flags.steps, flags.path) for i in range(len(z) - 1)
    ]
    decoded, classes = [], run.subject.num_classes
    for number, way in enumerate(ways):
        shares = None
        if label is not None:
            ends = label[number : number + 2]
            shares = interpolation.between_classes(*ends, flags.steps, classes)
        decoded.append(run.decode(way, shares))
    frames = run.spec.to_uint8(np.concatenate(decoded))
    rows = [pictures.tile(frames, flags.steps)]
    caption = f"A {flags.path} way in latent space between each two of {len(z)} {of}."
    if len(z) == 4:
        grid = _between_corners(z, flags.path)
        shares = None if label is None else _between_corners(np.eye(classes)[label], "linear")
        rows.append(pictures.tile(run.spec.to_uint8(run.decode(grid, shares)), _CORNERS))
        caption += " Below, what is between all four, which are at the corners."
    film = pictures.animated_png([pictures.tile(frame[None]) for frame in frames])
    return Applied("interpolate", caption, pictures.below(rows), np.concatenate(decoded), film)


def _between_corners(z: np.ndarray, path: str) -> np.ndarray:
    left = interpolation.between(z[0], z[2], _CORNERS, path)
    right = interpolation.between(z[1], z[3], _CORNERS, path)
    rows = [interpolation.between(*ends, _CORNERS, path) for ends in zip(left, right, strict=True)]
    return np.concatenate(rows)


def edit(run: Run, flags: argparse.Namespace, options: Mapping[str, Any]) -> Applied:
    """An attribute made less and more, or noise added and removed."""
    _need_pictures(run)
    given = [name for name in ("attribute", "towards", "noise") if getattr(flags, name) is not None]
    if len(given) != 1:
        names = ", ".join(morphometry.ATTRIBUTES)
        raise UserError(
            f"edit takes one of --attribute=NAME ({names}), --towards=LABEL, and --noise=LEVEL"
        )
    if flags.noise is not None:
        x, label = _examples(run, flags)
        drawn = [
            run.edit(x, flags.noise, label, flags.seed + number, **options) for number in range(4)
        ]
        caption = (
            f"Above, examples; below, each with noise of {flags.noise:g} added and removed, four "
            "times."
        )
        shown = [pictures.tile(run.spec.to_uint8(each), len(x)) for each in (x, *drawn)]
        return Applied("edit_noise", caption, pictures.below(shown), np.stack(drawn))
    families.require(run.subject.family, "edit", Decoder)
    x, label = _examples(run, flags)
    if flags.attribute is not None:
        direction = run.direction(flags.attribute, method=flags.method)
        name, what = flags.attribute, flags.attribute
    else:
        number = run.class_number(flags.towards)
        if run.subject.num_classes:
            return _towards(run, x, label, number)
        train = run.data("train", min(2_000, len(run.experiment.dataset.splits["train"])))
        direction = run.direction(train["label"] == number, train["x"], method=flags.method)
        name, what = f"towards_{number}", f"being a {run.spec.class_names[number]}"
    moved = np.stack([run.move(x, direction, amount, label) for amount in _AMOUNTS], 1)
    strip = np.concatenate([x[:, None], moved], 1)
    caption = (
        f"Each row: an example, and its reconstruction with {_AMOUNTS[0]:g} to {_AMOUNTS[-1]:g} "
        f"standard deviations more of {what}."
    )
    flat = run.spec.to_uint8(strip.reshape(-1, *run.spec.shape))
    return Applied(f"edit_{name}", caption, pictures.tile(flat, strip.shape[1]), moved)


def _towards(run: Run, x: np.ndarray, label: np.ndarray, number: int) -> Applied:
    """By a class-conditional model: with the latents as they are, and more and more of a class."""
    steps, classes = len(_AMOUNTS), run.subject.num_classes
    ways = [interpolation.between_classes(own, number, steps, classes) for own in label]
    z = run.latents(x, label)
    strip = np.stack([x, *(run.decode(z, shares) for shares in np.stack(ways, 1))], 1)
    caption = (
        "Each row: an example, and its reconstruction, of which the label turns from its own into "
        f"{run.spec.class_names[number]}."
    )
    flat = run.spec.to_uint8(strip.reshape(-1, *run.spec.shape))
    return Applied(
        f"edit_towards_{number}", caption, pictures.tile(flat, strip.shape[1]), strip[:, 1:]
    )


def complete(run: Run, flags: argparse.Namespace, options: Mapping[str, Any]) -> Applied:
    """The part of examples that a mask hides, drawn several times."""
    _need_pictures(run)
    known = masks.known_part(flags.mask, run.spec.shape[:2])
    x, label = _examples(run, flags)
    drawn = [
        run.complete(x, known, label, flags.seed + number, **options)
        for number in ticks.parts(_draws(flags))
    ]
    to_uint8 = run.spec.to_uint8
    seen = np.where(known[..., None], to_uint8(x), 128).astype(np.uint8)
    rows = [seen, *map(to_uint8, drawn), to_uint8(x)]
    name = flags.mask if flags.mask in masks.KNOWN else "mask"
    plural = "s" * (len(drawn) != 1)
    caption = (
        f"Above, what is known of examples ({name.replace('_', ' ')}); then {len(drawn)} "
        f"completion{plural}; below, the examples."
    )
    return Applied(
        f"complete_{name}",
        caption,
        pictures.below([pictures.tile(r, len(x)) for r in rows]),
        np.stack(drawn),
    )


def restore(run: Run, flags: argparse.Namespace, options: Mapping[str, Any]) -> Applied:
    """Examples that are damaged, restored several times."""
    _need_pictures(run)
    tasks = restoration.TASKS
    if flags.damage not in tasks:
        raise UserError(f"unknown damage {flags.damage!r}; valid are: {', '.join(tasks)}")
    x, label = _examples(run, flags)
    spec, measurement = run.spec, tasks[flags.damage].damage(run.spec.shape)
    keys = keys_lib.per_example(keys_lib.stream(flags.seed, "damage"), np.arange(len(x)))
    y = np.asarray(measurement.apply(spec.center(np.float32(x)), keys))
    drawn = [
        run.restore(y, measurement, label, flags.seed + number, **options)
        for number in ticks.parts(_draws(flags))
    ]
    low, high = spec.limits
    seen = spec.uncenter(restoration.shown(y, measurement, spec.shape))
    seen = spec.to_uint8(np.clip(np.nan_to_num(seen, nan=(low + high) / 2), low, high))
    rows = [seen, *map(spec.to_uint8, drawn), spec.to_uint8(x)]
    plural = "s" * (len(drawn) != 1)
    caption = (
        f"Above, what is seen of examples ({flags.damage.replace('_', ' ')}); then {len(drawn)} "
        f"draw{plural} of what they were; below, the examples."
    )
    picture = pictures.below([pictures.tile(row, len(x)) for row in rows])
    return Applied(f"restore_{flags.damage}", caption, picture, np.stack(drawn))


def detect(run: Run, flags: argparse.Namespace, options: Mapping[str, Any]) -> Applied:
    """How unusual examples are, and where, if the model says it."""
    _need_pictures(run)
    x, label = _examples(run, flags)
    said = [
        f"{name} {', '.join(f'{value:.4g}' for value in values)}"
        for name, values in run.anomaly_scores(x, label).items()
    ]
    caption, rows, found = "Examples.", [pictures.tile(run.spec.to_uint8(x), len(x))], x
    if anomaly.locates(run.subject.family):
        found = run.unusual_parts(x, label)
        # One scale for all of them: a usual picture stays dark.
        heat = pictures.heat(found / max(np.quantile(found, 0.999), 1e-12))
        rows.append(pictures.tile(heat, len(x)))
        caption = "Above, examples; below, where they surprise the model, from black to white."
    caption += " From left to right, " + "; ".join(said) + ": the higher, the more unusual."
    return Applied("detect", caption, pictures.below(rows), found)


def augment(run: Run, flags: argparse.Namespace, options: Mapping[str, Any]) -> Applied:
    """Labelled samples, as many of each class, for others to train on."""
    _need_pictures(run)
    classes = run.subject.num_classes
    if not classes:
        raise UserError(
            "augment draws samples with labels, and this model is given none; "
            "one that is has --config.model.conditional=True"
        )
    if not 1 <= flags.num <= _MOST_DRAWN // classes:
        raise UserError(f"--num={flags.num} must be from 1 to {_MOST_DRAWN // classes:,}")
    label = np.arange(classes * flags.num, dtype=np.int32) % classes
    x = run.spec.to_uint8(run.sample(len(label), label, flags.seed, **options))
    shown = min(len(x), 10 * classes)
    caption = (
        f"{len(x):,} samples, {flags.num:,} of each of {classes} classes; to train on them: "
        "--config.data.name=arrays:FILE, with the .npz file that is written."
    )
    return Applied("augment", caption, pictures.tile(x[:shown], classes), x, label=label)


def translate(run: Run, flags: argparse.Namespace, options: Mapping[str, Any]) -> Applied:
    """Pictures of the one kind made into the other."""
    if SOURCE not in run.subject.given:
        raise UserError(
            "translate needs a model that makes pictures of other pictures: one of the family "
            "image_translation, as experiments/pix2pix_edges_fashion_mnist.py"
        )
    source, back = run.spec.given[SOURCE], flags.back
    if back:
        families.require(run.subject.family, "--back", TwoWays)
    if flags.style:
        families.require(run.subject.family, "--style", Stylist)
    spec = run.spec if back else source
    if flags.images:
        x = _read(spec, flags.images)
    else:
        rows = _rows(run, flags, _SHOWN)
        x = np.asarray(run.experiment.dataset.batch("test", rows)["x" if back else SOURCE])
    shown = spec.to_uint8(x)
    if flags.style:
        style = _read(run.spec, flags.style)
        made = [run.subject.in_style(x, np.repeat(each[None], len(x), 0)) for each in style]
        beside = run.spec.to_uint8(np.concatenate([style[:1], style]))
        beside[0] = 255  # There is nothing in the corner.
        columns = np.stack([shown, *map(run.spec.to_uint8, made)])
        grid = np.concatenate([beside[:, None], columns], 1)
        caption = (
            "Above, what was given; to the left, styles; between, what the model makes of both."
        )
        picture = pictures.tile(grid.reshape(-1, *grid.shape[2:]), len(x) + 1)
        return Applied("translate", caption, picture, np.stack(made))
    if back:
        made, other = run.subject.translate_back(x), source
    else:
        made, other = run.sample(len(x), given={SOURCE: x}, seed=flags.seed, **options), run.spec
    rows = [pictures.tile(row, len(x)) for row in (shown, other.to_uint8(made))]
    return Applied(
        "translate_back" if back else "translate",
        "Above, what was given; below, what the model makes of it.",
        pictures.below(rows),
        made,
    )


APPLICATIONS = {
    "interpolate": interpolate,
    "edit": edit,
    "complete": complete,
    "restore": restore,
    "detect": detect,
    "augment": augment,
    "translate": translate,
}


def _need_pictures(run: Run) -> None:
    if not run.spec.is_image:
        raise UserError("this is done with pictures, and these data are none")


def _draws(flags: argparse.Namespace) -> int:
    if not 1 <= flags.draws <= 100:
        raise UserError(f"--draws={flags.draws} must be from 1 to 100")
    return flags.draws


def _examples(
    run: Run, flags: argparse.Namespace, count: int = _SHOWN
) -> tuple[np.ndarray, np.ndarray | None]:
    """x [N, *shape] in model units that the flags name, and labels of a model that needs them."""
    if flags.images:
        x = _read(run.spec, flags.images)
        return x, _one_label(run, flags, len(x))
    batch = run.experiment.dataset.batch("test", _rows(run, flags, count))
    x, own = np.asarray(batch["x"]), np.asarray(batch["label"])
    if run.subject.num_classes and flags.label is None:
        return x, own
    return x, _one_label(run, flags, len(x))


def _one_label(run: Run, flags: argparse.Namespace, count: int) -> np.ndarray | None:
    if not run.subject.num_classes:
        if flags.label is not None:
            raise UserError("this model is not class-conditional; leave out --label")
        return None
    if flags.label is None:
        raise UserError("this model is given the label; name it by --label")
    return np.full(count, run.class_number(flags.label), np.int32)


def _rows(run: Run, flags: argparse.Namespace, count: int) -> np.ndarray:
    """Rows of the test split: those of --examples, the first of each of --classes, or the first."""
    examples = run.experiment.dataset.splits["test"]
    if flags.examples:
        return np.array(_numbers("examples", flags.examples, len(examples)))
    if flags.classes:
        labels = np.asarray(examples.gather(np.arange(len(examples)))["label"])
        numbers = [run.class_number(name.strip()) for name in flags.classes.split(",")]
        missing = [number for number in numbers if not (labels == number).any()]
        if missing:
            raise UserError(f"no test example has the label {missing[0]}")
        return np.array([np.flatnonzero(labels == number)[0] for number in numbers])
    return np.arange(min(count, len(examples)))


def _numbers(name: str, text: str, end: int) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) < end for part in parts):
        raise UserError(f"--{name}={text} must be numbers from 0 to {end - 1:,}, as 0,5,7")
    return [int(part) for part in parts]


def _read(spec, names: str) -> np.ndarray:
    """Pictures of the user's, brought to the shape of the data, in model units."""
    from ml_collections import ConfigDict

    height, width, channels = spec.shape
    if height != width or channels not in (1, 3) or not np.isfinite(spec.limits).all():
        raise UserError(
            f"--images are read as squares of grey or colour; these data are {list(spec.shape)}, "
            "so name --examples"
        )
    config = ConfigDict(
        {"grayscale": channels == 1, "image_size": height, "crop": True, "background": "white"}
    )
    found = []
    for name in filter(None, (part.strip() for part in names.split(","))):
        path = Path(name)
        if not path.is_file():
            raise UserError(f"--images: there is no file {name}")
        if path.stat().st_size > _LARGEST:
            raise UserError(f"--images: {name} has more than {_LARGEST:,} bytes; make it smaller")
        found.append(images.decode(path, name, config, channels))
    if not found:
        raise UserError("--images names no files; give them as a.png,b.png")
    return spec.from_uint8(np.stack(found))
