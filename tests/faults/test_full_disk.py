"""No room left, at whatever is written: one line, the last checkpoint stays, and room mends it."""

import contextlib
import os
import re
import resource
import shutil
import subprocess
import sys
import threading

import cli
import jax
import pytest
import waiting
from drills import SMALL

from gen_jax import files
from gen_jax.training import checkpoints
from gen_jax.workdir import logs, trackers

LINE = r"error: .*(No space left on device|File too large).*--workdir"


class Tmpfs:
    """A file system of a few megabytes and files, filled to the last byte and file."""

    def __init__(self, folder):
        self.workdir, self._fillers = folder / "run", folder / "fillers"
        self._fillers.mkdir()

    def fill(self):
        with contextlib.suppress(OSError):
            for number in range(400):
                (self._fillers / str(number)).touch()
        with contextlib.suppress(OSError), open(self._fillers / "0", "wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def free(self):
        shutil.rmtree(self._fillers)


class Limit:
    """A limit of the kernel on the size of each file, where nothing can be mounted."""

    def __init__(self, folder):
        self.workdir, self._before = folder / "run", resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(self):
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, self._before[1]))

    def free(self):
        resource.setrlimit(resource.RLIMIT_FSIZE, self._before)


@pytest.fixture(params=["tmpfs", "limit"])
def disk(request, tmp_path):
    if request.param == "limit":
        # It would hold for JAX's compile cache too, which is others' as well.
        name = "jax_persistent_cache_min_compile_time_secs"
        seconds, limit = getattr(jax.config, name), Limit(tmp_path)
        jax.config.update(name, 1e9)
        yield limit
        limit.free()
        jax.config.update(name, seconds)
        return
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m,nr_inodes=400", "tmpfs", str(tmp_path)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("no mount command")
    if done.returncode:
        pytest.skip(f"nothing can be mounted: {done.stderr.strip()}")
    yield Tmpfs(tmp_path)
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


# Where the disk fills up: a function, and whether it does before this call of it.
PLACES = {
    "metrics.jsonl": (logs.MetricsWriter, "write", lambda self, step, *_: step == 30),
    "tensorboard": (trackers.TensorBoard, "_add", lambda self, step, **_: step == 30),
    "picture": (files, "write_whole", lambda path, data: path.name == "step_00000040.png"),
    "checkpoint": (checkpoints.Checkpoints, "_check_room", lambda self, _: self.steps() == [20]),
}


def saved(workdir, step):
    """Waits for a checkpoint that is being written."""
    waiting.until(lambda: step in checkpoints.Checkpoints(workdir / "checkpoints").steps())


@pytest.mark.parametrize("place", PLACES)
def test_it_is_told_and_mended(disk, place, whole, monkeypatch, capsys):
    import launch

    monkeypatch.chdir(cli.ROOT)
    owner, name, is_now = PLACES[place]
    original = getattr(owner, name)

    def full(*arguments, **named):
        if not is_now(*arguments, **named):
            return original(*arguments, **named)
        saved(disk.workdir, 20)
        disk.fill()
        if place != "checkpoint":  # that looks for room, and another process takes it after that
            return original(*arguments, **named)

    train = ["train", *SMALL, f"--workdir={disk.workdir}"]
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, full)
        code = launch.main(train)
    error = capsys.readouterr().err
    assert code == 1 and error.count("\n") == 1, error
    # Nobody is left waiting, so the process would end.
    waiting.until(lambda: "np_type_handler" not in {t.name for t in threading.enumerate()})
    assert re.match(LINE, error), error
    # A picture comes after the checkpoint of its step, which may have been whole by then.
    steps = checkpoints.Checkpoints(disk.workdir / "checkpoints").steps()
    assert steps == [20] or (place == "picture" and steps == [40, 20])
    assert not list(disk.workdir.rglob("*.part"))
    # It is still full.
    assert launch.main(train) == 1
    assert capsys.readouterr().err.count("\n") == 1
    disk.free()
    assert launch.main(train) == 0
    assert f", from step {steps[0]}\n" in capsys.readouterr().out
    cli.assert_same_checkpoint(whole, disk.workdir, 40)
    steps = [row["step"] for row in logs.read_metrics(disk.workdir) if "loss/vae" in row]
    assert steps == [10, 20, 30, 40]
    assert os.listdir(disk.workdir / "tensorboard")


def test_the_command_line_tells_of_it_in_one_line(tmp_path):
    """Whatever orbax and its threads have to say."""
    # Less than this checkpoint takes, and more than any other file.
    code = "import resource, sys, launch; resource.setrlimit(resource.RLIMIT_FSIZE, (60000, 60000))"
    wide = ("--config.model.hidden=(400,)", "--config.eval_every=40")
    arguments = ["train", *SMALL, *wide, f"--workdir={tmp_path / 'run'}"]
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; sys.exit(launch.main(sys.argv[1:]))", *arguments],
        cwd=cli.ROOT,
        env=cli.environment() | {"JAX_ENABLE_COMPILATION_CACHE": "0"},
        capture_output=True,
        text=True,
        timeout=waiting.HANGS,
    )
    assert done.returncode == 1
    assert re.fullmatch(r"error: cannot write a checkpoint .*File too large.*\n", done.stderr)
