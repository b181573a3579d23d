"""Checkpoints: orbax behind one small class."""

import io
import json
import logging
import math
import re
import shutil
import sys
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import absl.logging
import jax
import numpy as np

from gen_jax import files
from gen_jax.errors import UserError
from gen_jax.training.state import State

_SEAL = "crc32.json"
_BESIDE = "beside.npz"
_TEN_YEARS = 10 * 365 * 24 * 3600

# Orbax tells of every file, and of every error at length, which `_write` tells in one line; and
# asyncio of every further file that failed with the first, which nobody asks for any more.
absl.logging.set_verbosity(absl.logging.FATAL)
logging.getLogger("asyncio").setLevel(logging.CRITICAL)


def _quiet(unraisable, usual=sys.unraisablehook) -> None:
    """Nor does a write that failed have to tell that nobody waits for its end any more."""
    if str(unraisable.exc_value) != "Event loop is closed":
        usual(unraisable)


sys.unraisablehook = _quiet


class Checkpoints:
    """The checkpoints of a run, newest first.

    A checkpoint is a flat {path: array} of the state's leaves. Saving is asynchronous: the copy
    to host memory is made at once and the writing goes on beside training. When it is found
    finished it is sealed with the CRC of each of its files, so that damage is reported before
    anything reads them. One without a seal (the process was killed) is read as it is.

    Args:
      directory: where they are; made when the first is written.
      keep: how many of the newest stay.
    """

    def __init__(self, directory: Path, keep: int = 2):
        self.directory = Path(directory)
        self.keep = keep
        self._manager = None
        self._beside: dict[int, bytes] = {}

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        self.wait()  # whatever ended the run, nothing is being written when another may begin

    def steps(self) -> list[int]:
        """Steps that have a finished checkpoint, damaged or not, newest first."""
        if not self.directory.is_dir():
            return []
        # A checkpoint that is being written has a longer name until it is whole.
        names = [path.name for path in self.directory.iterdir() if path.is_dir()]
        digits = [name for name in names if name.isascii() and name.isdigit()]
        return sorted((int(name) for name in digits if name == str(int(name))), reverse=True)

    def save(self, state: State, beside: Mapping[str, np.ndarray] | None = None) -> None:
        """Saves the state under its step, unless that step has been saved.

        Args:
          state: of the run.
          beside: arrays that are kept with it as far as the process lives to seal it, for what a
            run can do without.

        Raises:
          UserError: if this or the previous checkpoint could not be written.
        """
        import orbax.checkpoint as ocp

        leaves = _flatten(jax.device_get(state))
        step = int(leaves[".step"])
        self.wait()
        if step not in self.steps():
            self._check_room(sum(leaf.nbytes for leaf in leaves.values()))
            if beside:
                np.savez(buffer := io.BytesIO(), **beside)
                self._beside[step] = buffer.getvalue()
            args = ocp.args.StandardSave(leaves)
            self._write(lambda: self._open().save(step, args=args))

    def wait(self) -> None:
        """Returns when nothing is being written any more, and seals what was.

        Raises:
          UserError: if what was being written could not be.
        """
        if self._manager is not None:
            self._write(self._manager.wait_until_finished)
            self._write(self._seal)

    def restore(
        self, template: State, report: Callable[[str], None], only: int | str | None = None
    ) -> State | None:
        """The newest sound checkpoint, or None where there is none at all.

        Args:
          template: a state of the same structure; its values are not used.
          report: is given one line for each damaged checkpoint that was passed over.
          only: the step of the one that is meant, if it is a number.

        Raises:
          UserError: if there are checkpoints and none is sound, or if one is sound but belongs
            to another model.
        """
        import orbax.checkpoint as ocp

        if not self.steps():
            return None
        expected = _flatten(jax.eval_shape(lambda: template))
        # Read only: a run that trains on in this folder is left alone.
        handler = ocp.StandardCheckpointHandler()
        manager = ocp.CheckpointManager(
            self.directory.absolute(), options=_options(read_only=True), item_handlers=handler
        )
        for step in [only] if isinstance(only, int) else self.steps():
            try:
                leaves = self._read(manager, step, expected)
            except UserError:
                raise
            except Exception as error:  # whatever orbax makes of a damaged file
                if not (self.directory / str(step)).is_dir():
                    return self.restore(
                        template, report, only
                    )  # a run that goes on has replaced it
                reason = " ".join(str(error).split())[:120]
                report(f"checkpoint {step} is damaged and was skipped ({reason})")
                continue
            order = jax.tree.structure(template)
            return jax.tree.unflatten(order, [leaves[path] for path in expected])
        raise UserError(
            f"every checkpoint in {self.directory} is damaged; remove that folder to train from "
            "the start, or use another --workdir"
        )

    def beside(self, step: int) -> dict[str, np.ndarray]:
        """The arrays that a checkpoint was saved with, {} if there are none."""
        try:
            with np.load(self.directory / str(step) / _BESIDE, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            return {}

    def drop_after(self, step: int) -> None:
        """Removes checkpoints later than `step`: damaged ones, which would bar a new one."""
        for later in self.steps():
            if later > step:
                shutil.rmtree(self.directory / str(later))

    def _check_room(self, nbytes: int) -> None:
        """Refuses before anything is written, as orbax's threads tell of a full disk at length."""
        free = shutil.disk_usage(self.directory.parent).free
        needed = 2 * nbytes + 2**20  # metadata, and files that share the disk
        if free < needed:
            raise UserError(
                f"no room for a checkpoint in {self.directory}: it takes up to "
                f"{needed / 2**20:.1f} MiB and {free / 2**20:.1f} are free; make room or choose "
                f"another --workdir; {self._newest()}"
            )

    def _newest(self) -> str:
        steps = self.steps()
        return f"checkpoint {steps[0]} stays" if steps else "there is none yet"

    def _read(self, manager, step: int, expected: dict) -> dict[str, np.ndarray]:
        import orbax.checkpoint as ocp

        folder = self.directory / str(step)
        if (folder / _SEAL).exists():
            # By the files that there are, as a seal may name any file of this machine.
            there = _contents(folder)
            for name, crc in files.read_json(folder / _SEAL).items():
                if name not in there or zlib.crc32(there[name].read_bytes()) != crc:
                    raise ValueError(f"{name} is not what was written")
        # The shapes come first, as what is read takes as much memory as they say.
        _check_fit(step, dict(manager.item_metadata(step)), expected)
        leaves = manager.restore(step, args=ocp.args.StandardRestore())
        if int(leaves[".step"]) != step:
            raise ValueError(f"it is of step {leaves['.step']}")
        return leaves

    def _seal(self) -> None:
        for step in self.steps():
            folder = self.directory / str(step)
            if not (folder / _SEAL).exists():
                if beside := self._beside.pop(step, None):
                    files.write_whole(folder / _BESIDE, beside)
                crc = {name: zlib.crc32(p.read_bytes()) for name, p in _contents(folder).items()}
                files.write_whole(folder / _SEAL, json.dumps(crc))

    def _open(self):
        if self._manager is None:
            import orbax.checkpoint as ocp

            # Orbax measures its patience by the wall clock, which may be set forward by hours; and
            # a thread of its own for the folders would be waited for where they cannot be made.
            patience = ocp.AsyncOptions(
                timeout_secs=_TEN_YEARS, create_directories_asynchronously=False
            )
            self.directory.mkdir(parents=True, exist_ok=True)
            options = _options(max_to_keep=self.keep, async_options=patience)
            self._manager = ocp.CheckpointManager(self.directory.absolute(), options=options)
        return self._manager

    def _write(self, action: Callable) -> None:
        try:
            action()
        except Exception as error:  # OSError, or what the storage library makes of it
            self._manager = None
            # The system's own word is the last, after long names of files, but for the library's
            # arguments in JSON.
            reason = re.sub(r"\[tensorstore_spec='.*?(?<!\\)'\]", "", str(error))
            reason = " ".join(reason.split())[-200:]
            raise UserError(
                f"cannot write a checkpoint to {self.directory} ({reason}); make room or choose "
                f"another --workdir; {self._newest()}"
            ) from error


def _options(**settings):
    """Orbax confined to process 0, the only one of several that reads and writes checkpoints."""
    import orbax.checkpoint as ocp

    alone = ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0})
    return ocp.CheckpointManagerOptions(create=False, multiprocessing_options=alone, **settings)


def _contents(folder: Path) -> dict[str, Path]:
    """Every file below a folder, by its name within it."""
    return {str(p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file()}


def _check_fit(step: int, found: dict, expected: dict) -> None:
    """Refuses a checkpoint whose arrays are not those of the model.

    Raises:
      UserError: naming one that differs.
      ValueError: for an array that is stored in larger pieces than it has numbers.
    """

    def describe(leaf) -> str:
        return "missing" if leaf is None else f"{leaf.dtype}{list(leaf.shape)}"

    for path in sorted(found.keys() | expected.keys()):
        there, model = describe(found.get(path)), describe(expected.get(path))
        if there != model:
            raise UserError(
                f"checkpoint {step} does not fit the model: {path} is {there}, not {model}; "
                "use the code that wrote it, or another --workdir"
            )
        chunk = found[path].storage.chunk_shape
        if math.prod(chunk) > max(math.prod(expected[path].shape), 1):
            raise ValueError(f"{path} is stored in pieces of {list(chunk)}")


def _flatten(state: State) -> dict[str, np.ndarray]:
    paths, _ = jax.tree_util.tree_flatten_with_path(state)
    return {jax.tree_util.keystr(path): leaf for path, leaf in paths}
