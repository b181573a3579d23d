"""`python -m gen_jax`."""

import sys

from gen_jax.cli import main

sys.exit(main(sys.argv[1:]))
