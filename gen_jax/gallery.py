"""The pictures of a run: samples, reconstructions, interpolations, the map of a latent plane."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from scipy import special

from gen_jax import families, pictures
from gen_jax.data.sources import Dataset
from gen_jax.data.spec import fixed_keys
from gen_jax.evaluation import Subject
from gen_jax.families.base import Autoencoder, Sampler
from gen_jax.workdir import samples_folder


def sample_picture(subject: Subject, dataset: Dataset, num: int = 64) -> np.ndarray | None:
    """A picture of samples, uint8 [H, W, 3]; None for data that have no picture."""
    if not families.has(subject.family, Sampler):
        return None
    spec, classes = subject.spec, subject.family.num_classes
    if spec.is_image:
        num, columns = (classes * 8, classes) if 0 < classes <= 16 else (num, 8)
        return pictures.tile(spec.to_uint8(subject.sample(num)), columns)
    if spec.shape == (2,):
        points = subject.sample(2_500)
        return pictures.scatter(points, dataset.splits["train"].gather(np.arange(2_500))["x"])
    return None


def write(subject: Subject, dataset: Dataset, split: str, workdir: Path) -> list[Path]:
    """All pictures that suit the model, made from examples of `split`."""
    drawn = {}
    if families.has(subject.family, Autoencoder) and subject.spec.is_image:
        index = np.arange(min(32, len(dataset.splits[split])))
        stored = dataset.splits[split].gather(index)
        x = subject.spec.prepare(jnp.asarray(stored["x"]), fixed_keys(split, index))
        batch = {"x": x, "label": jnp.asarray(stored["label"])}
        drawn["reconstructions"] = _reconstructions(subject, batch)
        drawn["interpolation"] = _interpolation(subject, batch)
        if subject.family.latent_dim == 2:
            drawn["latent_map"] = _latent_map(subject)
    drawn["samples"] = sample_picture(subject, dataset)
    paths, folder = [], samples_folder(workdir)
    for name, picture in drawn.items():
        if picture is not None:
            paths.append(pictures.save_png(folder / f"{name}.png", picture))
    return paths


def _reconstructions(subject: Subject, batch: dict) -> np.ndarray:
    decoded = subject.decode(subject.encode(batch).mean, batch["label"])
    to_uint8 = subject.spec.to_uint8
    return pictures.pairs(to_uint8(batch["x"]), to_uint8(decoded), columns=8)


def _interpolation(subject: Subject, batch: dict, rows: int = 4, steps: int = 10) -> np.ndarray:
    """Each row: a straight line in latent space between two examples, shown at its ends."""
    z = subject.encode(batch).mean
    part = jnp.linspace(0, 1, steps)[:, None]
    strips = []
    for row in range(min(rows, len(z) // 2)):
        first, last = 2 * row, 2 * row + 1
        line = (1 - part) * z[first] + part * z[last]
        # A class-conditional decoder changes the label half way.
        label = jnp.where(part[:, 0] < 0.5, batch["label"][first], batch["label"][last])
        decoded = subject.decode(line, label)
        ends = batch["x"][first : last + 1]
        strips.append(jnp.concatenate([ends[:1], decoded, ends[1:]]))
    return pictures.tile(subject.spec.to_uint8(jnp.concatenate(strips)), columns=steps + 2)


def _latent_map(subject: Subject, size: int = 20) -> np.ndarray:
    """Decoded quantiles of N(0, I): cells of equal probability (Kingma and Welling 2014, fig. 4).

    Of the label 0 where the decoder is given one.
    """
    quantiles = special.ndtri((np.arange(size) + 0.5) / size)
    z = np.stack(np.meshgrid(quantiles, quantiles[::-1]), -1).reshape(-1, 2)
    decoded = subject.decode(jnp.float32(z))
    return pictures.tile(subject.spec.to_uint8(decoded), columns=size, gap=0)
