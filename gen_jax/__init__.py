"""gen_jax: generative models in JAX and Flax, trained by one loop, measured by one evaluator."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gen_jax.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from ml_collections import ConfigDict

    from gen_jax.run import Run

__all__ = ["UserError", "fit", "load"]

# What they do is in gen_jax/run.py, which is imported when it is asked for: `import gen_jax` is
# quick.


def fit(
    config: "str | ConfigDict",
    *,
    workdir: str | Path | None = None,
    arrays: "Mapping[str, np.ndarray] | None" = None,
    data_changed: bool = False,
    **overrides: Any,
) -> "Run":
    """Trains a run, or goes on with it, and returns it as `load` does.

        run = gen_jax.fit("experiments/vae_mnist.py", steps=20_000, **{"optim.lr": 3e-4})
        run = gen_jax.fit("experiments/vae_mnist.py", arrays={"x": images, "label": labels})

    Args:
      config: an experiment file, FILE.py[:ARGUMENT], or a config.
      workdir: where it is; `runs/EXPERIMENT` if left out.
      arrays: your own data instead of the config's: x [N, H, W, C] or [N, D], label [N], or
        x_train, x_test and so on; see gen_jax/data/readers/arrays.py.
      data_changed: whether the data may be others than those that the run was started with.
      **overrides: config keys and their values.

    Raises:
      UserError: for bad input, with the fix.
    """
    from gen_jax import run

    return run.fit(config, workdir, arrays, data_changed, overrides)


def load(
    workdir: str | Path,
    replica: int = 0,
    *,
    arrays: "Mapping[str, np.ndarray] | None" = None,
    data_changed: bool = False,
    step: int | str | None = None,
    **overrides: Any,
) -> "Run":
    """A trained run: `run.sample(16)`, `run.log_prob(x)`, `run.encode(x)`; see `gen_jax.run`.

    It needs no data, but to evaluate: a run that was trained on `arrays` takes them again, and
    with `data_changed` others of the same form. `overrides` are config keys that training does not
    read and their values, as `**{"eval.judge": "auto"}` or where the data are now. `step` is that
    of a checkpoint that was kept, or "best" (`keep_best`); the newest by default.
    """
    from gen_jax import config, run

    return run.load(workdir, replica, arrays, data_changed, config.as_arguments(overrides), step)
