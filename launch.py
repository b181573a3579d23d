"""The entry point of gen_jax at the root of its repository: `gen-jax`, without an installation."""

import sys

from gen_jax.cli import main, parse

__all__ = ["main", "parse"]

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
