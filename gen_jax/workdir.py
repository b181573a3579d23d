"""Whose a workdir is: the config it was started with, and the process that trains in it."""

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from ml_collections import ConfigDict

from gen_jax import config as config_lib
from gen_jax import files
from gen_jax.errors import UserError

_MAX_CONFIG_BYTES = 2**20


@contextlib.contextmanager
def claim(config: ConfigDict, workdir: Path) -> Iterator[None]:
    """Within it no other process trains in the workdir, and its `config.json` is this config.

    Raises:
      UserError: if another process trains in it, or it holds a run of another config.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    with lock(workdir):
        path = workdir / "config.json"
        if not path.exists():
            files.write_whole(path, config_lib.to_json(config))
        elif changes := config_lib.difference(read_config(workdir), config):
            saved = any((workdir / "checkpoints").glob("*"))
            also = "" if saved else f"; nothing is saved in it, so it can go: rm -r {workdir}"
            raise UserError(
                f"{workdir} holds a run of another config ({'; '.join(changes)}); use another "
                f"--workdir, or the config that it was started with{also}"
            )
        yield


def read_config(workdir: Path) -> ConfigDict:
    """The config of a workdir.

    Raises:
      UserError: if there is none, or it is damaged.
    """
    path = workdir / "config.json"
    if not path.exists():
        raise UserError(f"no run in {workdir} (no config.json); train one with --workdir={workdir}")
    try:
        return config_lib.from_json(files.read_json(path, _MAX_CONFIG_BYTES))
    except (ValueError, UserError) as error:
        raise UserError(f"{path} is damaged ({error}); restore it or remove {workdir}") from None


def samples_folder(workdir: Path) -> Path:
    """Where pictures and samples go, made if it is not there.

    Raises:
      UserError: if it is a link: a stranger's may lead anywhere, and files there be written over.
    """
    folder = workdir / "samples"
    if folder.is_symlink():
        raise UserError(f"{folder} is a link; put a folder in its place")
    folder.mkdir(exist_ok=True)
    return folder


def is_free(workdir: Path) -> bool:
    """Whether no process trains in it."""
    try:
        with open(os.open(workdir / "lock", os.O_RDWR | os.O_NOFOLLOW)) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
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
