"""Shared by all tests."""

import gc
import os
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# One device in this process, whatever the shell says; tests of several start their own. Most of
# the suite's time is compilation: without LLVM's optimisations that takes half as long, and a tenth
# less where a program is not split for threads that the other processes have.
os.environ["XLA_FLAGS"] = (
    "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
)
if tuple(map(int, version("jaxlib").split(".")[:2])) < (0, 11):
    # Where it can be left out, the way over MLIR takes twice as long again.
    os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"
# What was compiled once is not compiled again, however small it is: not by the next run of the
# suite, nor by its other process, nor by the programs that tests start.
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import jax
import sequence_files
from idx_files import write_idx

from gen_jax import parallel

parallel.setup()

# Tracing makes objects by the million, few of them in circles: the search for those after every
# 700 takes 5 to 10 % of the time.
gc.set_threshold(200_000, 20, 50)

# The same examples each time; `pytest --hypothesis-profile=fresh` draws others.
_SLOW = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}
settings.register_profile("repeatable", derandomize=True, **_SLOW)
settings.register_profile("fresh", derandomize=False, print_blob=True, **_SLOW)
settings.load_profile("repeatable")

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module", autouse=True)
def _forget_programs():
    """A process that has run all modules would hold all that they have compiled: gigabytes."""
    yield
    jax.clear_caches()


@pytest.fixture(scope="session")
def tiny_idx(tmp_path_factory) -> Path:
    """A `manual_dir` with small random sets under the names of those that experiments read."""
    folder = tmp_path_factory.mktemp("manual")
    rng = np.random.default_rng(0)
    for name in ("mnist", "fashion_mnist"):
        (folder / name).mkdir()
        for split, count in (("train", 160), ("t10k", 64)):
            images = rng.integers(0, 256, (count, 28, 28))
            write_idx(folder / name / f"{split}-images-idx3-ubyte", images)
            write_idx(folder / name / f"{split}-labels-idx1-ubyte", np.arange(count) % 10)
    sequence_files.write_all(folder)
    return folder
