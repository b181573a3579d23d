"""A run that takes a second, and a machine that downloads nothing."""

import importlib.util

import cli

SMALL = (
    *cli.TINY,
    *("--config.steps=40", "--config.checkpoint_every=20", "--config.eval_every=20"),
)


def without_tensorflow(monkeypatch):
    """Whether it is installed or not."""
    found = importlib.util.find_spec
    without = lambda name, *rest: None if name == "tensorflow" else found(name, *rest)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", without)
