"""Whose a workdir is: the config and the data it was started with, and who trains in it."""

import contextlib
import dataclasses
import fcntl
import json
import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from gen_jax import config as config_lib
from gen_jax import files
from gen_jax.data.sources import Dataset
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError, first

EXPORTED = ".safetensors"  # the ending of a model in one file
MAX_CHANGES = 8  # of a config, in an error
_MAX_CONFIG_BYTES, MAX_DATA_BYTES, _MAX_FILES_BYTES = 2**20, 2**26, 2**28


@contextlib.contextmanager
def claim(
    config: ConfigDict, workdir: Path, dataset: Dataset, data_changed: bool = False
) -> Iterator[None]:
    """Within it no other process trains in the workdir, which is of this config and these data.

    `config.json` gets what may change in a run: see `Setting.affects`. With `data_changed` the
    data may be others of the same form, and the workdir remembers these from now on.

    Raises:
      UserError: if another process trains in it, or it holds a run of another config or of other
        data.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    with lock(workdir):
        path = workdir / "config.json"
        # A start that came to nothing bars no other.
        saved = any((workdir / "checkpoints").glob("*"))
        changes = []
        if saved and path.exists():
            changes = config_lib.difference(read_config(workdir), config)
        if changes:
            raise UserError(
                f"{workdir} holds a run of another config; use another --workdir, or the config "
                "that it was started with",
                *first(changes, MAX_CHANGES),
            )
        if saved and (before := read_data(workdir)):
            check_data(before, dataset, workdir, data_changed)
        files.write_whole(path, config_lib.to_json(config))
        data = _describe(dataset)
        files.write_whole(workdir / "data.json", json.dumps(data.to_json()))
        if data.files:
            files.write_whole(workdir / "files.json", json.dumps(data.files))
        yield


@dataclasses.dataclass(frozen=True)
class Data:
    """What a workdir knows of the data of its run.

    Attributes:
      name: as the config has it.
      spec: what an example is.
      sizes: examples of each split.
      fingerprint: of data that have no place of their own, else "".
      files: name and size of each, of data that are a folder of files.
    """

    name: str
    spec: DataSpec
    sizes: dict[str, int]
    fingerprint: str = ""
    files: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As `data.json` holds it; the files are in `files.json`."""
        known = {name: value for name, value in vars(self).items() if name != "files"}
        return {**known, "spec": self.spec.to_json()}


def read_data(workdir: Path) -> Data | None:
    """What `data.json` says; None in a workdir of an older version, which has none.

    Raises:
      UserError: if it is damaged.
    """
    path = workdir / "data.json"
    if not path.exists():
        return None
    try:
        given = files.read_json(path, MAX_DATA_BYTES)
        if not isinstance(given, dict) or {*given} != {"name", "spec", "sizes", "fingerprint"}:
            raise ValueError("it describes no data")
        path = workdir / "files.json"
        listed = tuple(files.read_json(path, _MAX_FILES_BYTES)) if path.exists() else ()
        own = {"spec": DataSpec.from_json(given["spec"]), "files": listed}
        data = Data(**{**given, **own})
        if not all(isinstance(file, str) for file in listed):
            raise ValueError("it lists no files")
        if not all(type(size) is int for size in dict(data.sizes).values()):
            raise ValueError("it describes no data")
        return data
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} is damaged ({error}); restore it or remove {workdir}") from None


def _describe(dataset: Dataset) -> Data:
    # What the config may change at any time is no part of it.
    sizes = {split: len(dataset.splits[split]) for split in ("train", "validation", "test")}
    return Data(
        config_lib.without_place(dataset.name),
        dataset.spec,
        sizes,
        dataset.fingerprint,
        dataset.files,
    )


def check_data(before: Data, dataset: Dataset, workdir: Path, data_changed: bool = False) -> None:
    """Refuses data other than those of a workdir's run, or of another form if they may differ.

    Raises:
      UserError: saying what the data had, and what they have now.
    """
    now = _describe(dataset)
    before = dataclasses.replace(before, name=config_lib.without_place(before.name))
    if before == now or (data_changed and before.spec == now.spec):
        return
    anyway = "" if before.spec != now.spec else ", or go on with these by --data-changed"
    raise UserError(
        f"{workdir} holds a run of other data, which had {_difference(before, now)}; use another "
        f"--workdir, or the data that it was started with{anyway}"
    )


def _difference(before: Data, now: Data) -> str:
    """What the data had, and what they have now."""
    gone, come = {*before.files} - {*now.files}, {*now.files} - {*before.files}
    if gone or come:
        first = min(gone or come).rpartition(" ")[0]
        return (
            f"other files ({len(gone):,} of them are gone and {len(come):,} are new or changed, "
            f"as {first})"
        )
    for split, size in before.sizes.items():
        if size != now.sizes[split]:
            return f"{size:,} examples in {split}, and now {now.sizes[split]:,}"
    if before.spec != now.spec:
        fields = [f.name for f in dataclasses.fields(DataSpec)]
        name = next(n for n in fields if getattr(before.spec, n) != getattr(now.spec, n))
        return f"{name} {getattr(before.spec, name)}, and now {getattr(now.spec, name)}"
    return "other values"


def read_config(workdir: Path) -> ConfigDict:
    """The config of a workdir.

    Raises:
      UserError: if there is none, or it is damaged.
    """
    path = workdir / "config.json"
    if workdir.suffix == EXPORTED:
        raise UserError(
            f"{workdir} is an exported model, which has no folder of a run; it can be sampled, "
            "explored, edited and the like, and loaded from Python by gen_jax.load"
        )
    if not path.exists():
        raise UserError(f"no run in {workdir} (no config.json); train one with --workdir={workdir}")
    try:
        return config_lib.from_json(files.read_json(path, _MAX_CONFIG_BYTES))
    except (ValueError, UserError) as error:
        raise UserError(f"{path} is damaged ({error}); restore it or remove {workdir}") from None


def folder(path: str | Path) -> Path:
    """A workdir, as a user gives it.

    Raises:
      UserError: for what is no folder of a file system. Locks, and files that are replaced whole,
        need one.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/", str(path)):
        raise UserError(
            f"--workdir={path} is no folder of this machine, and a run locks and replaces files as "
            "object stores cannot; train in a local folder and copy it, or mount the store"
        )
    return Path(path).expanduser()


# In the folder of samples: what was done with the model, as rows of a name and a caption.
APPLICATIONS = "applications.json"


def samples_folder(workdir: Path) -> Path:
    """Where pictures and samples go, made if it is not there: beside an exported file.

    Raises:
      UserError: if it is a link: a stranger's may lead anywhere, and files there be written over.
    """
    folder = workdir / "samples"
    if workdir.suffix == EXPORTED:
        folder = workdir.with_name(f"{workdir.stem}_samples")
    if folder.is_symlink():
        raise UserError(f"{folder} is a link; put a folder in its place")
    folder.mkdir(exist_ok=True)
    return folder


def is_free(workdir: Path) -> bool:
    """Whether no process trains in it; none trains in an exported file."""
    try:
        with open(os.open(workdir / "lock", os.O_RDWR | os.O_NOFOLLOW)) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def lock(workdir: Path) -> Iterator[None]:
    """Holds the file `lock`, which names the holder: its process id and host.

    A lock of the kernel (flock) and not the file's mere existence, as the kernel lets go of it
    however the process ends, so that no SIGKILL leaves a run barred. Over NFS 4 it holds between
    hosts too. A program that is started by this one does not inherit it, as Python opens files.
    """
    # A link under that name is not followed: what it points to would be written over.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
    with open(os.open(workdir / "lock", flags, 0o666), "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.1)  # it may have been taken just now, and its holder not be named yet
            process, _, host = file.read(200).partition(" ")
            raise UserError(
                f"process {process} on {host} trains in {workdir} already; wait for it, stop it, "
                "or use another --workdir"
            ) from None
        # No truncation before this: what a holder wrote stays until the lock is ours.
        file.truncate(0)
        file.write(f"{os.getpid()} {socket.gethostname()}")
        file.flush()
        try:
            yield
        finally:
            file.seek(0)
            file.truncate()


def default_workdir(experiment: str) -> Path:
    """`experiments/vae_mnist.py:smoke` -> `runs/vae_mnist-smoke`."""
    path, argument = config_lib.split_argument(experiment)
    return Path("runs") / "-".join([Path(path).stem, *filter(None, argument.split(","))])
