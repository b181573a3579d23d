"""The command line of a module that draws one picture of several runs: `OUT.png W [W ...]`."""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gen_jax import pictures
from gen_jax.errors import in_one_line


def run(draw: Callable[[list[Path]], np.ndarray], description: str) -> None:
    """Writes what `draw` makes of the workdirs."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, formatter_class=formatter)
    parser.add_argument("out", type=Path, metavar="OUT.png")
    parser.add_argument("workdirs", type=Path, nargs="+", metavar="W")
    flags = parser.parse_args()
    with in_one_line():
        print(f"wrote {pictures.save_png(flags.out, draw(flags.workdirs))}")
