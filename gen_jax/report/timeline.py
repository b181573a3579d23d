"""Samples over training, a row a run: `python -m gen_jax.report.timeline OUT.png W [W ...]`."""

from pathlib import Path

import numpy as np
from PIL import Image

from gen_jax import pictures
from gen_jax.errors import UserError
from gen_jax.report import picture_command


def timeline(workdirs: list[Path], count: int = 4, width: int = 240) -> np.ndarray:
    """A picture uint8 [H, W, 3]: in each row `count` pictures of a run, evenly over its steps.

    Raises:
      UserError: if a run has fewer pictures.
    """
    cells = []
    for workdir in workdirs:
        paths = sorted((workdir / "samples").glob("step_*.png"))
        if len(paths) < count:
            raise UserError(f"{workdir} has {len(paths)} pictures of its training, not {count}")
        chosen = [paths[round(i * (len(paths) - 1) / (count - 1))] for i in range(count)]
        for path in chosen:
            with Image.open(path) as image:
                height = round(image.height * width / image.width)
                cells.append(np.asarray(image.convert("RGB").resize((width, height))))
    return pictures.tile(np.stack(cells), columns=count)


if __name__ == "__main__":
    picture_command.run(timeline, __doc__)
