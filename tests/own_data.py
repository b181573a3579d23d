"""Data as users bring them: folders of images, and what TFDS prepares."""

import subprocess
import sys

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from gen_jax import settings
from gen_jax.config import DATA


def data_config(name, **changes) -> ConfigDict:
    """The `data` section of a config."""
    section = settings.defaults(DATA)
    section.update({"name": name, "preprocess": "bytes", "num_validation": 20, **changes})
    return section


def write_images(root, sizes, folders=("b", "a")):
    """Noise of each size (height, width) in each folder: `a/00.png` and so on."""
    rng = np.random.default_rng(0)
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for index, (height, width) in enumerate(sizes):
            pixels = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{index:02}.png")


def prepare(folder, name, features, example, count=50, supervised=None):
    """Writes a TFDS dataset of one split as array_record, in a process of its own.

    `features` and `example`, of the number i and a generator `rng`, are Python expressions.
    """
    code = f"""
import io
import numpy as np, tensorflow_datasets as tfds
from tensorflow_datasets.core import features as f
from PIL import Image

def png(x):
    file = io.BytesIO()
    Image.fromarray(x.squeeze()).save(file, "PNG")
    file.seek(0)
    return file

class Toy(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    VERSION = tfds.core.Version("1.0.0")
    url_infos = {{}}
    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self, features=f.FeaturesDict({features}), supervised_keys={supervised}
        )
    def _split_generators(self, manager):
        return {{"train": self._generate_examples()}}
    def _generate_examples(self):
        rng = np.random.default_rng(0)
        for i in range({count}):
            yield i, {example}

Toy.name = {name!r}
Toy(data_dir={str(folder)!r}, file_format="array_record").download_and_prepare()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
