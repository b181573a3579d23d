"""Checkpoints: orbax behind one small class."""

import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from absl import logging

from gen_jax.errors import UserError
from gen_jax.state import State

_SEAL = "crc32.json"

logging.set_verbosity(logging.ERROR)  # orbax tells of every file


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

    def steps(self) -> list[int]:
        """Steps that have a finished checkpoint, damaged or not, newest first."""
        if not self.directory.is_dir():
            return []
        # A checkpoint that is being written has a longer name until it is whole.
        names = [path.name for path in self.directory.iterdir()]
        return sorted((int(name) for name in names if name.isdigit()), reverse=True)

    def save(self, state: State) -> None:
        """Saves the state under its step, unless that step has been saved.

        Raises:
          UserError: if this or the previous checkpoint could not be written.
        """
        import orbax.checkpoint as ocp

        leaves = _flatten(jax.device_get(state))
        step = int(leaves[".step"])
        self.wait()
        if step not in self.steps():
            self._check_room(sum(leaf.nbytes for leaf in leaves.values()))
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

    def restore(self, template: State, report: Callable[[str], None]) -> State | None:
        """The newest sound checkpoint, or None where there is none at all.

        Args:
          template: a state of the same structure; its values are not used.
          report: is given one line for each damaged checkpoint that was passed over.

        Raises:
          UserError: if there are checkpoints and none is sound, or if one is sound but belongs
            to another model.
        """
        import orbax.checkpoint as ocp

        if not self.steps():
            return None
        expected = _flatten(jax.eval_shape(lambda: template))
        # Read only: a run that trains on in this folder is left alone.
        options = _options(read_only=True)
        manager = ocp.CheckpointManager(self.directory.absolute(), options=options)
        for step in self.steps():
            try:
                leaves = self._read(manager, step)
            except Exception as error:  # whatever orbax makes of a damaged file
                reason = " ".join(str(error).split())[:120]
                report(f"checkpoint {step} is damaged and was skipped ({reason})")
                continue
            for path, leaf in expected.items():
                found = leaves.get(path)
                if found is None or found.shape != leaf.shape:
                    shape = "missing" if found is None else list(found.shape)
                    raise UserError(
                        f"checkpoint {step} does not fit the model: {path} is {shape}, not "
                        f"{list(leaf.shape)}; use the code that wrote it, or another --workdir"
                    )
            order = jax.tree.structure(template)
            return jax.tree.unflatten(order, [leaves[path] for path in expected])
        raise UserError(
            f"every checkpoint in {self.directory} is damaged; remove that folder to train from "
            "the start, or use another --workdir"
        )

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

    def _read(self, manager, step: int) -> dict[str, np.ndarray]:
        import orbax.checkpoint as ocp

        folder = self.directory / str(step)
        if (folder / _SEAL).exists():
            for name, crc in json.loads((folder / _SEAL).read_text()).items():
                if zlib.crc32((folder / name).read_bytes()) != crc:
                    raise ValueError(f"{name} is not what was written")
        return manager.restore(step, args=ocp.args.StandardRestore())

    def _seal(self) -> None:
        for step in self.steps():
            folder = self.directory / str(step)
            if not (folder / _SEAL).exists():
                files = [path for path in folder.rglob("*") if path.is_file()]
                crc = {str(p.relative_to(folder)): zlib.crc32(p.read_bytes()) for p in files}
                part = folder / f"{_SEAL}.part"
                part.write_text(json.dumps(crc))
                part.replace(folder / _SEAL)

    def _open(self):
        if self._manager is None:
            import orbax.checkpoint as ocp

            self.directory.mkdir(parents=True, exist_ok=True)
            options = _options(max_to_keep=self.keep)
            self._manager = ocp.CheckpointManager(self.directory.absolute(), options=options)
        return self._manager

    def _write(self, action: Callable) -> None:
        try:
            action()
        except Exception as error:  # OSError, or what the storage library makes of it
            self._manager = None
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"cannot write a checkpoint to {self.directory} ({reason}); make room or choose "
                f"another --workdir; {self._newest()}"
            ) from error


def _options(**settings):
    """Orbax confined to process 0, the only one of several that reads and writes checkpoints."""
    import orbax.checkpoint as ocp

    alone = ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0})
    return ocp.CheckpointManagerOptions(create=False, multiprocessing_options=alone, **settings)


def _flatten(state: State) -> dict[str, np.ndarray]:
    paths, _ = jax.tree_util.tree_flatten_with_path(state)
    return {jax.tree_util.keystr(path): leaf for path, leaf in paths}
