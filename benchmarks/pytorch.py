"""PyTorch's side: as many threads as JAX has, the same data, and waiting for the device."""

import os
from collections.abc import Callable

import numpy as np
import torch

from benchmarks.work import Runner


def setup() -> None:
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.backends.cuda.matmul.allow_tf32 = True  # as XLA does
    torch.backends.cudnn.allow_tf32 = True


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def images(x: np.ndarray) -> torch.Tensor:
    """uint8 [N, H, W, C] -> [N, C, H, W] on the device."""
    return torch.from_numpy(x.transpose(0, 3, 1, 2).copy()).to(device())


def compiled(function: Callable) -> Callable:
    """torch.compile; on a GPU with CUDA graphs."""
    return torch.compile(function, mode="reduce-overhead" if device() == "cuda" else "default")


def repeated(step: Callable[[], None], steps: int) -> Runner:
    """Runs `steps` steps a time, and waits for the last."""

    def run(count: int) -> None:
        for _ in range(count * steps):
            step()
        if device() == "cuda":
            torch.cuda.synchronize()

    return run
