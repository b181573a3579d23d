"""Runs `launch.py` as a person would."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
from waiting import HANGS

from gen_jax.training.checkpoints import Checkpoints

ROOT = Path(__file__).parents[1]

# A run of seconds on the digits that come with scikit-learn.
TINY = (
    "--config=experiments/quickstart.py:smoke",
    "--config.model.hidden=(16,)",
    "--config.model.latent_dim=2",
)

# Two networks, two optimisers, batch statistics, a moving average, augmentation, schedules.
TINY_GAN = (
    "--config=experiments/gan_digits.py:smoke",
    "--config.model.generator_widths=(8,)",
    "--config.model.discriminator_widths=(8,)",
    "--config.model.latent_dim=4",
    "--config.model.augmentations=('translation',)",
    "--config.model.burn_in_steps=30",
    "--config.optim.final_b2=0.9",
    "--config.eval.validation_metrics=('discriminator',)",
)

# A codebook that is learned without gradients, and whose codes are restarted.
TINY_VQ = (
    "--config=experiments/vae_vq_fashion_mnist.py:smoke",
    "--config.data.name=digits",
    "--config.model.width=4",
    "--config.model.residual_blocks=1",
    "--config.model.codebook_size=16",
    "--config.model.decay=0.8",
    "--config.optim.warmup_steps=0",
)


def environment(devices: int = 1) -> dict[str, str]:
    env = dict(os.environ)
    if devices > 1:
        # More threads than cores, or the virtual devices wait for each other for ever.
        env |= {
            "XLA_FLAGS": f"{env['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}",
            "NPROC": "32",
        }
    return env


def launch(
    *arguments, devices: int = 1, code: int | None = 0, **env
) -> subprocess.CompletedProcess:
    """Runs the command to its end; `code` is the exit code that it must have."""
    done = subprocess.run(
        [sys.executable, "launch.py", *map(str, arguments)],
        cwd=ROOT,
        env=environment(devices) | env,
        capture_output=True,
        text=True,
        timeout=HANGS,
    )
    assert code is None or done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done


def start(
    *arguments, devices: int = 1, output: int | Path = subprocess.DEVNULL
) -> subprocess.Popen:
    """Starts the command, to be killed; what it says goes to a pipe or a file."""
    to_file = isinstance(output, Path)
    with open(output, "w") if to_file else contextlib.nullcontext(output) as target:
        return subprocess.Popen(
            [sys.executable, "launch.py", *map(str, arguments)],
            cwd=ROOT,
            env=environment(devices),
            stdout=target,
            stderr=target,
            text=True,
        )


def free_port(first: int = 0) -> int:
    """A port that nobody listens on, at `first` or after it."""
    for port in range(first, 65536):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            return probe.getsockname()[1]


def start_all(*arguments, processes: int = 2, each=None) -> list[subprocess.Popen]:
    """Starts the processes of one run; `each` has arguments that only one of them gets."""
    flags = [f"--coordinator=localhost:{free_port()}", f"--num_processes={processes}"]
    return [
        start(
            *arguments,
            *flags,
            f"--process_id={i}",
            *(each[i] if each else ()),
            output=subprocess.PIPE,
        )
        for i in range(processes)
    ]


def kill(process: subprocess.Popen, signum: int = signal.SIGKILL) -> int:
    process.send_signal(signum)
    return process.wait(timeout=HANGS)


def leaves(workdir: Path, step: int) -> dict[str, np.ndarray]:
    """Every array of a checkpoint, by its path."""
    import orbax.checkpoint as ocp

    folder = workdir / "checkpoints"
    assert step in Checkpoints(folder).steps(), Checkpoints(folder).steps()
    options = ocp.CheckpointManagerOptions(read_only=True)
    manager = ocp.CheckpointManager(folder.absolute(), options=options)
    return manager.restore(step, args=ocp.args.StandardRestore())


def assert_same_checkpoint(first: Path, second: Path, step: int) -> None:
    """Bit for bit."""
    a, b = leaves(first, step), leaves(second, step)
    assert a.keys() == b.keys() and len(a) > 10
    for path in a:
        np.testing.assert_array_equal(a[path], b[path], err_msg=path)
