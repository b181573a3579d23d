"""The sub-commands of `launch.py`. Errors that are the user's end in one line, ours keep theirs."""

import argparse
import errno
import importlib
import os
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gen_jax.errors import UserError

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from gen_jax import run

QUICKSTART = "experiments/quickstart.py"
# Those of `apply`, which takes long to import.
_APPLICATIONS = ("interpolate", "edit", "complete", "restore", "translate", "detect", "augment")
MAX_SHOWN = 1_024  # samples in one picture

# What an operating system says of a disk that cannot be written, and of files it cannot open.
_DISK = (errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EFBIG, errno.EIO)
_DISK += (errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)
_DISK += (errno.ENAMETOOLONG, errno.EEXIST)


def run(flags: argparse.Namespace, overrides: list[str], quickstart: bool = False) -> int:
    """Runs one sub-command and returns the exit code.

    0: done; 1: an error that its one line explains; 128 + signal: stopped and saved, so that
    a scheduler knows that the run is not finished.
    """
    from gen_jax.training import processes

    try:
        return _run(flags, overrides, quickstart)
    except Exception as error:
        if not processes.connected():
            raise
        # A process that ends as usual waits for the others, who may be waiting for it.
        if processes.lost(error):
            print(f"error: {processes.LOST}", file=sys.stderr)
            processes.leave(1, patience=0)
        traceback.print_exc()
        processes.leave(1)


def _run(flags: argparse.Namespace, overrides: list[str], quickstart: bool) -> int:
    from gen_jax import parallel
    from gen_jax.training import processes, signals
    from gen_jax.workdir.claim import folder

    for stream in (sys.stdout, sys.stderr):
        # A character that a terminal's encoding lacks costs a question mark and not the run.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    parallel.setup()
    command: Callable = {
        "train": train,
        "evaluate": evaluate,
        "sample": sample,
        "encode": encode,
        "explore": explore,
        **dict.fromkeys(_APPLICATIONS, application),
        "report": report,
        "reproduce": reproduce,
        "sweep": sweep,
        "export": export,
        "list": list_all,
    }[flags.command]
    try:
        for name in flags.modules:
            _import(name)
        if flags.command == "train":
            processes.connect(flags.coordinator, flags.num_processes, flags.process_id)
        if flags.command not in ("report", "reproduce", "sweep", "list"):
            parallel.check_devices()
        flags.workdir = flags.workdir and folder(flags.workdir)
        command(flags, overrides)
        if quickstart and parallel.is_main():
            # The tour: what a newcomer would type next.
            evaluate(_flags(workdir=flags.workdir), [])
            report(_flags(workdir=flags.workdir), [])
        return 0
    except UserError as error:
        return _fail(error.message, *error.details)
    except signals.Stopped as stopped:
        if parallel.is_main():
            print(f"{stopped}. The same command goes on from there.", flush=True)
        return 128 + stopped.signum
    except KeyboardInterrupt:
        return _fail("interrupted; the same command goes on from the last checkpoint", code=130)
    except BrokenPipeError:  # what reads the output, as `head`, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.errno not in _DISK:
            raise
        where = error.filename or flags.workdir
        reason = os.strerror(error.errno)
        return _fail(
            f"cannot read or write {where}: {reason}; make room or choose another --workdir "
            "(the last checkpoint stays)"
        )


def _import(name: str) -> None:
    """A module of the user's, in the folder that the command is given in or installed."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise UserError(f"--import={name}: {error}") from None


def train(flags: argparse.Namespace, overrides: list[str]) -> None:
    from gen_jax import config as config_lib
    from gen_jax import experiment, parallel
    from gen_jax.workdir import console, logs
    from gen_jax.workdir.claim import default_workdir, read_config

    if flags.config is None and flags.workdir and (flags.workdir / "config.json").exists():
        config = read_config(flags.workdir)  # the run that is there
    else:
        config = config_lib.load_file(flags.config or QUICKSTART)
    config_lib.override(config, overrides)
    if flags.dry_run:
        from gen_jax import overview

        overview.print_dry_run(config)
        return
    flags.workdir = workdir = flags.workdir or default_workdir(config.experiment)
    with console.that_may_close():
        trained = experiment.train(
            config, workdir, data_changed=flags.data_changed, profile=flags.profile
        )
    if not parallel.is_main():
        return
    if not trained:
        print(
            f"The run in {workdir} is finished. To train it further: --config.steps=MORE; for a "
            f"new one: --workdir=ANOTHER, or --config.seed={config.seed + 1} with its own."
        )
    console.validation_table(logs.last_validation(workdir))
    _print_pictures(workdir)
    if not (workdir / "evaluation.json").exists():
        print(f"next: python launch.py evaluate --workdir={workdir}")


def evaluate(flags: argparse.Namespace, overrides: list[str]) -> None:
    from gen_jax import config as config_lib
    from gen_jax import evaluation, experiment, files
    from gen_jax.report import results
    from gen_jax.workdir import console, logs, provenance
    from gen_jax.workdir.claim import read_config

    workdir = _require_workdir(flags)
    config = read_config(workdir)
    config_lib.override_trained(config, overrides)
    names = _listed(flags.metrics) if flags.metrics else config.eval.metrics
    evaluation.check_names(names)
    table = results.ROOT / "results" / f"{flags.record}.json"
    if flags.record:
        results.check_run(table, config, workdir, flags.replica)  # before the work
    step = _step(flags.step)
    figures = experiment.evaluate(config, workdir, names, flags.replica, flags.data_changed, step)
    console.evaluation_table(files.read_json(workdir / "evaluation.json"))
    _print_pictures(workdir)
    print(f"wrote {workdir / 'evaluation.json'}")
    if flags.record:
        seconds = logs.training_seconds(config.batch_size, workdir)
        hardware = provenance.hardware_of_training(workdir)
        results.record(table, config, figures, seconds, hardware)
        print(f"recorded in {table}; python -m gen_jax.report.results writes it to the docs")


def sample(flags: argparse.Namespace, overrides: list[str]) -> None:
    from gen_jax import files, pictures
    from gen_jax.applications import media
    from gen_jax.workdir import console
    from gen_jax.workdir.claim import samples_folder

    if flags.num < 1:
        raise UserError(f"--num={flags.num} must be at least 1")
    workdir = _require_workdir(flags)
    trained, options = _trained(flags, overrides)
    if flags.temperature is not None:
        options["temperature"] = flags.temperature
    with console.ticks():
        x = trained.sample(flags.num, flags.label, flags.seed, prompt=flags.prompt, **options)
    name = f"seed_{flags.seed}"
    if flags.label is not None:
        name = f"label_{flags.label.replace(os.sep, '_')}_{name}"
    if flags.prompt:
        name += f"_prompt_{re.sub(r'[^A-Za-z0-9]+', '-', flags.prompt)[:40].strip('-')}"
    if flags.replica:
        name += f"_replica_{flags.replica}"
    if flags.step:
        name += f"_step_{flags.step}"
    name += "".join(f"_{key}_{value}" for key, value in options.items() if key != "batch_size")
    folder = samples_folder(workdir)
    files.write_arrays(folder / f"{name}.npz", x=x)
    print(f"wrote {folder / name}.npz ({', '.join(map(str, x.shape))}) in model units")
    if (calls := trained.sampling_calls(**options)) is not None:
        print(f"each sample took {calls:,} calls of the network")
    if trained.spec.medium:
        found = media.files_of(trained.spec, x[:MAX_SHOWN], name)
        for own_name, data in found.items():
            print(f"wrote {files.write_whole(folder / own_name, data)}")
        picture = media.picture(trained.spec, x[:4])
        if picture is not None:
            print(f"wrote {pictures.save_png(folder / f'{name}.png', picture)}")
        else:
            print(next(iter(found.values())).decode()[:2_000])
    if trained.spec.is_image:
        shown = min(len(x), MAX_SHOWN)
        picture = pictures.tile(trained.spec.to_uint8(x[:shown]))
        first = f" (the first {shown:,})" if shown < len(x) else ""
        print(f"wrote {pictures.save_png(folder / f'{name}.png', picture)}{first}")


def _trained(flags: argparse.Namespace, overrides: list[str]) -> tuple["run.Run", dict[str, Any]]:
    """The run that flags name, with `--config.` changed, and its `--options.` of sampling."""
    from gen_jax import run

    own = [argument for argument in overrides if argument.startswith("--options.")]
    changes = [argument for argument in overrides if argument not in own]
    trained = run.load(flags.workdir, flags.replica, arguments=changes, step=_step(flags.step))
    return trained, _sample_options(trained.config, own)


def _sample_options(config: "ConfigDict", arguments: list[str]) -> dict[str, Any]:
    """`--options.KEY=VALUE` -> {KEY: VALUE}, with the types of a config's `sample` section."""
    from gen_jax import config as config_lib

    own = [argument.replace("--options.", "--config.sample.", 1) for argument in arguments]
    try:
        section = config_lib.override(config.copy_and_resolve_references(), own).sample
    except UserError as error:
        raise UserError(str(error).replace("--config.sample.", "--options.")) from None
    keys = [argument.partition("=")[0].removeprefix("--options.") for argument in arguments]
    return {key: section[key] for key in keys}


def application(flags: argparse.Namespace, overrides: list[str]) -> None:
    """What is done with a trained model: `interpolate`, `edit`, `complete` and the like."""
    from gen_jax import apply
    from gen_jax.workdir import console

    workdir = _require_workdir(flags)
    trained, options = _trained(flags, overrides)
    with console.ticks():
        applied = apply.APPLICATIONS[flags.command](trained, flags, options)
    for path in apply.write(workdir, applied):
        print(f"wrote {path}")
    print(applied.caption)


def explore(flags: argparse.Namespace, overrides: list[str]) -> None:
    """Serves a page of one run, or of several side by side, until it is interrupted."""
    from gen_jax import run
    from gen_jax.explorer.work import Work

    try:
        from gen_jax.explorer import page
    except ModuleNotFoundError as error:
        raise UserError(
            f"explore needs {error.name}; install it by: pip install 'gen_jax[explorer]'"
        ) from None
    if not 1 <= flags.port < 2**16:
        raise UserError(f"--port={flags.port} must be from 1 to {2**16 - 1}")
    workdirs = _several(_require_workdir(flags))
    works = [Work(run.load(workdir, arguments=overrides)) for workdir in workdirs]
    address = f"http://{page.HOST}:{flags.port}"
    page.serve(
        works, flags.port, lambda: print(f"explore at {address}; Ctrl-C ends it", flush=True)
    )


def encode(flags: argparse.Namespace, overrides: list[str]) -> None:
    """Writes the latents of a run's data, for a run of `--config.data.name=latents:WORKDIR`."""
    from gen_jax import run
    from gen_jax.evaluation import latent_prior

    workdir = _require_workdir(flags)
    trained = run.load(workdir, arguments=overrides, step=_step(flags.step))
    dataset, settings = trained.experiment.dataset, trained.config.eval
    path = latent_prior.write_latents(workdir, trained.subject, dataset, settings)
    print(f"wrote {path}; to train on it: --config.data.name=latents:{workdir}")


def report(flags: argparse.Namespace, overrides: list[str]) -> None:
    from gen_jax.report import html
    from gen_jax.workdir.claim import folder as folder_of

    _refuse(overrides)
    given = _require_workdir(flags)
    workdirs = _several(given)
    if len(workdirs) == 1 and not flags.out:
        print(f"wrote {html.write_report(workdirs[0])}")
        return
    out = folder_of(flags.out or "comparison.html")
    print(f"wrote {html.write_comparison(workdirs, out)}")


def reproduce(flags: argparse.Namespace, overrides: list[str]) -> None:
    """Lists a table's rows with what they cost; trains, evaluates and records those asked for."""
    from gen_jax.report import results
    from gen_jax.workdir.claim import folder

    if given := [*overrides, *filter(None, [flags.workdir])]:
        raise UserError(f"{given[0]}: a row is of its experiment as it stands, in runs/; use train")
    if not flags.rows:
        results.print_rows(flags.table)
        return
    for arguments in results.commands(flags.table, _listed(flags.rows)):
        own, changes = flags.parse(arguments)
        own.workdir = folder(own.workdir)
        {"train": train, "evaluate": evaluate}[own.command](own, changes)


def sweep(flags: argparse.Namespace, overrides: list[str]) -> None:
    """Runs every trial of a config's `sweep()`, or goes on with them, and reports."""
    from gen_jax.sweeps import report as study_report
    from gen_jax.sweeps import study
    from gen_jax.workdir.claim import default_workdir

    if flags.set:
        tried = study.of_values(flags.config, overrides, flags.set, flags.metric, flags.mode)
    else:
        tried = study.load(flags.config)
    flags.workdir = folder = flags.workdir or default_workdir(flags.config)
    trials = study.run(flags.config, overrides, tried, folder, flags.address)
    print(f"wrote {study_report.write(folder, flags.config, tried, trials)}")


def export(flags: argparse.Namespace, overrides: list[str]) -> None:
    from gen_jax import run

    workdir = _require_workdir(flags)
    trained = run.load(workdir, flags.replica, arguments=overrides, step=_step(flags.step))
    path = trained.export(flags.out or workdir / "model.safetensors", flags.half)
    size = path.stat().st_size / 2**20
    print(f"wrote {path} ({size:.2f} MiB) and {path.with_suffix('.md')}")
    print(f'to read it: gen_jax.load("{path}")')


def list_all(flags: argparse.Namespace, overrides: list[str]) -> None:
    """What can be named, or the keys of an experiment's config."""
    from gen_jax import overview

    _refuse(overrides)
    overview.print_list(flags.experiment)


def _flags(**given: Any) -> argparse.Namespace:
    """Flags of `train` and `evaluate`, with the defaults of those that are not given."""
    defaults = {"metrics": None, "replica": None, "record": None, "data_changed": False}
    defaults |= {"step": None, "dry_run": False, "profile": 0, "out": None}
    return argparse.Namespace(**{**defaults, **given})


def _step(text: str | None) -> int | str | None:
    """`--step`: a number, or "best"."""
    if text is None or text == "best":
        return text
    if not text.isdecimal():
        raise UserError(f"--step={text} must be the step of a checkpoint, or best")
    return int(text)


def _several(given: Path) -> list[Path]:
    """`--workdir=A,B`."""
    from gen_jax.workdir.claim import folder

    # A folder's own name may have commas in it, as those of a sweep's trials.
    parts = [str(given)] if given.is_dir() else _listed(str(given))
    return [folder(part) for part in parts]


def _require_workdir(flags: argparse.Namespace) -> Path:
    if flags.workdir is None:
        raise UserError(f"{flags.command} needs --workdir=W, the folder of a trained run")
    return flags.workdir


def _listed(text: str) -> tuple[str, ...]:
    """`a, b,` -> ("a", "b")."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _refuse(overrides: list[str]) -> None:
    if overrides:
        raise UserError(f"{overrides[0]}: this command takes the config from the workdir")


def _print_pictures(workdir: Path) -> None:
    for path in sorted((workdir / "samples").glob("*.png")):
        if not path.name.startswith("step_"):
            print(f"picture: {path}")


def _fail(*messages: str, code: int = 1) -> int:
    from gen_jax.training import processes

    # One line, whatever the files that it quotes hold: no line breaks, nothing for the terminal.
    line, *details = ("".join(c if c.isprintable() else " " for c in m) for m in messages)
    if processes.first_to_say(line):
        print("\n  ".join([f"error: {line}", *details]), file=sys.stderr, flush=True)
    if processes.connected():
        processes.leave(code)
    return code
