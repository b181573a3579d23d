"""A trained model in one file, with a card beside it: made by `export`, read by `gen_jax.load`.

The file is safetensors: arrays and text, nothing that is run. It holds what a `Subject` has, the
parameters (moving averages where the model has them) and statistics, and in its metadata the
config, what the data are, and the figures that were measured.
"""

import json
import shlex
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
from flax import traverse_util
from ml_collections import ConfigDict
from safetensors import numpy as safetensors_numpy

from gen_jax import config as config_lib
from gen_jax import experiment as experiment_lib
from gen_jax import files
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.evaluation import Subject, fitted_prior
from gen_jax.experiment import Experiment
from gen_jax.training import replicas
from gen_jax.workdir import console, provenance
from gen_jax.workdir.claim import EXPORTED, MAX_DATA_BYTES

_FORMAT = "gen_jax model 1"
_KEYS = ("format", "config", "data", "step", "figures", "provenance")


def write(
    path: Path, built: Experiment, subject: Subject, step: int, replica: int = 0, half: bool = False
) -> list[Path]:
    """Writes the file and its card, and returns both.

    Args:
      path: FILE.safetensors; the card is FILE.md beside it.
      built: the run's experiment, with its workdir.
      subject: the trained model.
      step: of its checkpoint.
      replica: which of a run's.
      half: whether numbers are stored with 16 bits, in half the room.

    Raises:
      UserError: for a path that is no such file.
    """
    if path.suffix != EXPORTED:
        raise UserError(f"{path} must end in {EXPORTED}")
    tree = {"params": subject.params, "extra": subject.extra}
    flat = traverse_util.flatten_dict(jax.device_get(tree), sep="/")
    arrays = {name: np.ascontiguousarray(leaf) for name, leaf in flat.items()}
    if half:
        arrays = {
            name: leaf.astype(np.float16) if leaf.dtype == np.float32 else leaf
            for name, leaf in arrays.items()
        }
    figures = _figures(built.workdir, step, replica)
    config = _of_one_replica(built.config, replica)
    text = {
        "format": _FORMAT,
        "config": config_lib.to_json(config),
        "data": json.dumps(built.spec.to_json()),
        "step": str(step),
        "figures": json.dumps(figures),
        "provenance": json.dumps(provenance.read(built.workdir)[-20:]),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_whole(path, safetensors_numpy.save(arrays, text))
    counts = built.parameter_counts()
    card = path.with_suffix(".md")
    files.write_whole(card, _card(path, config, built.spec, step, counts, text, half))
    return [path, card]


def _of_one_replica(config: ConfigDict, replica: int) -> ConfigDict:
    """The config of a run that is one replica of this one."""
    own = config.copy_and_resolve_references()
    with own.unlocked():
        for key, value in replicas.of_replica(replicas.values(config), replica).items():
            section, _, name = key.rpartition(".")
            part = own[section] if section else own
            part[name] = type(part[name])(value)
        own.num_replicas, own.replica_values = 1, ()
    return own


def _figures(workdir: Path, step: int, replica: int) -> dict[str, Any]:
    """What was measured of this checkpoint, as `evaluation.json` has it."""
    try:
        evaluation = files.read_json(workdir / "evaluation.json")
        same = evaluation["step"] == step and evaluation.get("replica", replica) == replica
        return evaluation["metrics"] if same else {}
    except (ValueError, TypeError, KeyError):
        return {}


def read(path: Path) -> tuple[Experiment, Subject, int]:
    """The experiment, the model and the step of a file that `write` wrote.

    Raises:
      UserError: for a file that is damaged or none of these, or whose arrays are not the model's.
    """
    try:
        with safetensors.safe_open(path, "numpy") as file:
            text = file.metadata() or {}
            if text.get("format") != _FORMAT or not {*text} >= {*_KEYS}:
                raise UserError(f"{path} holds no model of gen_jax; write one by launch.py export")
            if max(map(len, text.values())) > MAX_DATA_BYTES:
                raise ValueError("its description is too long")
            config = config_lib.from_json(files.parse_json(text["config"]))
            spec = DataSpec.from_json(files.parse_json(text["data"]))
            step = int(text["step"])
            built = experiment_lib.build(config, spec=spec)
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            expected = _expected(built)
            _check_shapes(path, shapes, expected)
            arrays = {name: file.get_tensor(name) for name in shapes}
    except (safetensors.SafetensorError, ValueError, TypeError, KeyError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is no sound model ({reason}); fetch it anew") from None
    # Numbers of 16 bits are stored for the room alone.
    wide = {
        name: leaf.astype(np.float32) if leaf.dtype == np.float16 else leaf
        for name, leaf in arrays.items()
    }
    for name, leaf in wide.items():
        if leaf.dtype != expected.get(name, leaf).dtype:
            raise UserError(f"{path} does not fit its model: {name} is of type {leaf.dtype}")
    tree = traverse_util.unflatten_dict(wide, sep="/")
    tree = jax.tree.map(jnp.asarray, tree)
    params, extra = tree["params"], tree.get("extra", {})
    subject = Subject(built.family, spec, params, _filled(built, extra), config.sample.to_dict())
    if "fitted_prior" in extra:
        prior = jax.device_get(extra["fitted_prior"])
        if not fitted_prior.fits(prior, subject, config.eval):
            raise UserError(f"{path} has a fitted prior that is not of its model; fetch it anew")
        subject = fitted_prior.with_prior(subject, config.eval, prior)
    return built, subject, step


def _expected(built: Experiment) -> dict[str, jax.ShapeDtypeStruct]:
    """The shape and type of each array of a model without a fitted prior."""
    template = built.template()
    tree = {"params": template.params, "extra": template.extra}
    return traverse_util.flatten_dict(tree, sep="/")


def _filled(built: Experiment, extra: dict) -> dict:
    """With the empty parts, which a file cannot hold."""
    return {**{name: {} for name in built.template().extra}, **extra}


def _check_shapes(path: Path, found: dict, expected: dict) -> None:
    own = {name: shape for name, shape in found.items() if "extra/fitted_prior/" not in name}
    for name in sorted(own.keys() | expected.keys()):
        there = own.get(name, "missing")
        here = expected[name].shape if name in expected else "missing"
        if there != here:
            raise UserError(f"{path} does not fit its model: {name} is {there}, not {here}")


def describe(path: Path) -> dict[str, Any]:
    """What a file says of its model: {"figures": ..., "step": ...}."""
    with safetensors.safe_open(path, "numpy") as file:
        text = file.metadata()
    return {"figures": files.parse_json(text["figures"]), "step": int(text["step"])}


def _card(
    path: Path,
    config: ConfigDict,
    spec: DataSpec,
    step: int,
    counts: dict[str, int],
    text: dict[str, str],
    half: bool,
) -> str:
    rows = json.loads(text["provenance"])
    trained = next((row for row in rows if row["kind"] == "train"), {})
    figures, overrides = json.loads(text["figures"]), map(shlex.quote, config.overrides)
    lines = [
        f"# {path.stem}",
        "",
        f"A model of the family `{config.family}`, trained on `{config.data.name}` for {step:,} "
        f"steps by `{config.experiment or 'a config'}`.",
        "",
        "```python",
        "import gen_jax",
        "",
        f'run = gen_jax.load("{path.name}")',
        "run.show()       # samples",
        "run.sample(16)   # as an array",
        "```",
        "",
        "| | |",
        "| --- | --- |",
        f"| data | `{config.data.name}`, {spec.kind} of shape {list(spec.shape)}"
        + (f", {spec.num_classes} classes" if spec.num_classes else "")
        + " |",
        f"| parameters | {', '.join(f'{name} {count:,}' for name, count in counts.items())} |",
        f"| stored with | {16 if half else 32} bits |",
        f"| command | `gen-jax train --config={' '.join([config.experiment, *overrides])}` |",
        f"| commit | {trained.get('commit') or 'not recorded'} |",
        f"| hardware | {trained.get('hardware', 'not recorded')} |",
        "",
        "## Figures",
        "",
    ]
    if figures:
        lines += ["| metric | value | unit | kind | examples |", "| --- | --- | --- | --- | --- |"]
        for name, row in figures.items():
            kind, value = row["kind"].replace("_", " "), console.figure(row)
            lines.append(f"| {name} | {value} | {row['unit']} | {kind} | {row['n']:,} |")
        lines += [
            "",
            "Measured on the test split. A figure NAME_floor is what real training examples score "
            "in the place of samples; what each depends on is in the file's metadata.",
        ]
    else:
        lines.append("None have been measured of this checkpoint.")
    lines += [
        "",
        "## Use",
        "",
        "For research on generative models and for teaching. It knows nothing but the data that it "
        "was trained on, and its samples are not those data: do not take them for evidence of "
        "anything. The data have a licence of their own, which is not that of this file.",
        "",
    ]
    return "\n".join(lines)
