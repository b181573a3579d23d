"""A hundred thousand images are drawn in bounded memory."""

import resource
import subprocess
import sys

import cli
import numpy as np
import pytest


@pytest.mark.long
def test_more_samples_than_fit_the_memory_at_once(tiny_idx, tmp_path):
    """All at once, their activations alone would be 12.5 GB."""
    data = {"GEN_JAX_MANUAL_DIR": str(tiny_idx), "TFDS_DATA_DIR": str(tmp_path / "tfds")}
    at = f"--workdir={tmp_path / 'run'}"
    cli.launch("train", "--config=experiments/gan_mnist.py:smoke", at, **data)
    limit = 9 * 2**30
    done = subprocess.run(
        [sys.executable, "launch.py", "sample", at, "--num=100000"],
        cwd=cli.ROOT,
        env=cli.environment() | data,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    assert done.returncode == 0, done.stderr[-2000:]
    x = np.load(tmp_path / "run" / "samples" / "seed_0.npz")["x"]
    assert x.shape == (100_000, 28, 28, 1) and np.isfinite(x[::999]).all()
    assert "(the first 1,024)" in done.stdout
