"""A run that takes a second."""

import cli

SMALL = (
    *cli.TINY,
    *("--config.steps=40", "--config.checkpoint_every=20", "--config.eval_every=20"),
)
