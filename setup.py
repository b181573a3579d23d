"""Puts the experiments and the measured tables, which lie beside the package, into its wheel."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithExperiments(build_py):
    """An installation from the repository itself (`pip install -e .`) reads them where they lie."""

    def run(self):
        super().run()
        if not self.editable_mode:
            for folder in ("experiments", "results"):
                to = Path(self.build_lib) / "gen_jax" / folder
                shutil.copytree(
                    folder, to, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
                )


setup(cmdclass={"build_py": BuildWithExperiments})
