"""PyTorch's side: as many threads as JAX has, the same data, and waiting for the device."""

import os
from collections.abc import Callable, Iterable

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


def choice(data: torch.Tensor, count: int) -> torch.Tensor:
    """So many rows at random."""
    return data[torch.randint(len(data), (count,), device=data.device)]


def trainer(
    parameters: Iterable, loss_of: Callable, draw: Callable, steps: int, with_compiler: bool
) -> Runner:
    """A straightforward training loop: the gradient of `loss_of(*draw())`, and Adam."""
    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    loss_of = compiled(loss_of) if with_compiler else loss_of

    def step():
        inputs = draw()
        optimizer.zero_grad(set_to_none=True)
        loss_of(*inputs).backward()
        optimizer.step()

    return repeated(step, steps)


def sampler(network: Callable, num: int) -> Runner:
    """Draws `num` samples a time, by the method `sample` of what `network()` makes."""
    setup()
    model = network().to(device()).eval()
    return repeated(lambda: model.sample(num, device()).cpu(), 1)


def repeated(step: Callable[[], None], steps: int) -> Runner:
    """Runs `steps` steps a time, and waits for the last."""

    def run(count: int) -> None:
        for _ in range(count * steps):
            step()
        if device() == "cuda":
            torch.cuda.synchronize()

    return run
