"""The pictures of a run: samples, reconstructions, interpolations, the map of a latent plane."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from scipy import special

from gen_jax import families, files, pictures
from gen_jax.applications import media
from gen_jax.data.examples import ArrayExamples, chosen_rows
from gen_jax.data.spec import SOURCE, Batch
from gen_jax.errors import as_line
from gen_jax.evaluation import attributes, likelihood, translation
from gen_jax.evaluation.context import Context, once
from gen_jax.families.base import Autoencoder, Decoder, Density, Film, ImportanceWeighted, Sampler
from gen_jax.report import charts
from gen_jax.workdir.claim import samples_folder

INDEX = "pictures.json"  # in the folder of the pictures: what there is, in order

_SAMPLES = 64
_POINTS = 2_500
WALK = 9  # cells of a side of `latent_walk`
_REACH, _WALKED = 2.5, 200  # standard deviations, and latents of which directions are found
_FILMED, _FRAMES = 8, 12  # samples of a film strip, and moments that are shown


@dataclasses.dataclass(frozen=True)
class Picture:
    """One kind of picture.

    Attributes:
      name: of its file.
      caption: of a context, what a reader sees in it.
      needs: abilities of the models that it is of.
      draw: of a context, a picture uint8 [H, W, 3], or the file of an animated one; None where the
        data have none.
      grid: cells of a side, of a picture of which a report shows one at a time; 0: of all others.
    """

    name: str
    caption: Callable[[Context], str]
    needs: tuple[type, ...]
    draw: Callable[[Context], np.ndarray | bytes | None]
    grid: int = 0


def samples(context: Context) -> np.ndarray | None:
    """Samples: images in a grid, a column a class, or below what they were made of; points in the
    plane over the data; sounds and music as charts."""
    subject, spec = context.subject, context.subject.spec
    if spec.medium:
        return media.picture(spec, _sequences(context))
    if SOURCE in subject.given:
        return _translated(context)
    if spec.is_image:
        classes = subject.num_classes
        num, columns = (classes * 8, classes) if 0 < classes <= 16 else (_SAMPLES, 8)
        return pictures.tile(spec.to_uint8(subject.sample(num)), columns)
    if spec.shape == (2,) and spec.kind == "real":
        train = context.dataset.splits["train"]
        data = train.gather(chosen_rows(train, _POINTS))["x"]
        return charts.scatter(subject.sample(_POINTS, _of_one_example(context, _POINTS)), data)
    return None


def _of_one_example(context: Context, num: int) -> Batch | None:
    """Of a model that is given more than labels: what one example of the split has, `num` times."""
    names = context.subject.given_vectors
    if not names:
        return None
    example = context.dataset.batch(context.split, chosen_rows(context.examples, 1))
    return {name: np.repeat(np.asarray(example[name]), num, 0) for name in names}


@once
def _sequences(context: Context) -> np.ndarray:
    count, length = media.shown(context.subject.spec)
    return context.subject.sample(count, options={"length": length})


@once
def _batch(context: Context) -> Batch:
    """Examples of the split, the same ones every time."""
    return context.dataset.batch(context.split, chosen_rows(context.examples, 32))


@once
def _frames(context: Context) -> np.ndarray:
    """Of some samples, what there is of them at each step, uint8 [F, N, H, W, C]."""
    film = context.subject.film(_FILMED)
    return np.stack([context.subject.spec.to_uint8(frame) for frame in film])


def denoising(context: Context) -> np.ndarray | None:
    """Each row a sample, from noise on the left to what becomes of it."""
    if not context.subject.spec.is_image:
        return None
    frames = _frames(context)
    shown = np.unique(np.linspace(0, len(frames) - 1, _FRAMES).round().astype(int))
    rows = frames[shown].swapaxes(0, 1)
    return pictures.tile(rows.reshape(-1, *frames.shape[2:]), columns=len(shown))


def animation(context: Context) -> bytes | None:
    """The steps of `denoising` one after another, as an animated PNG; its end stays a while."""
    if not context.subject.spec.is_image:
        return None
    frames = [pictures.tile(frame, columns=len(frame)) for frame in _frames(context)]
    return pictures.animated_png(frames)


def _translated(context: Context) -> np.ndarray:
    """Columns of a source, what is made of it, and x."""
    shown = dataclasses.replace(
        context, settings=ConfigDict({**context.settings, "num_examples": 16}), _known={}
    )
    rows = [pictures.tile(each, columns=16) for each in translation.translations(shown)]
    return np.concatenate(rows)


def reconstructions(context: Context) -> np.ndarray | None:
    """Examples, with their reconstructions from the posterior mean below."""
    subject = context.subject
    if not subject.spec.is_image:
        return None
    batch, to_uint8 = _batch(context), subject.spec.to_uint8
    decoded = subject.decode(subject.encode(batch).mean, _condition(context, batch))
    return pictures.pairs(to_uint8(batch["x"]), to_uint8(decoded), columns=8)


def _condition(context: Context, batch: Batch) -> Batch:
    return {name: batch[name] for name in context.subject.given}


def interpolation(context: Context, rows: int = 4, steps: int = 10) -> np.ndarray | None:
    """Each row: a straight line in latent space between two examples, shown at its ends."""
    subject, batch = context.subject, _batch(context)
    if not subject.spec.is_image or len(batch["x"]) < 2:
        return None
    z = subject.encode(batch).mean
    part = jnp.linspace(0, 1, steps)[:, None]
    given = _condition(context, batch)
    if "label" in given:  # Between two classes it is shares of both.
        given["label"] = np.eye(subject.num_classes, dtype=np.float32)[given["label"]]
    strips = []
    for row in range(min(rows, len(z) // 2)):
        first, last = 2 * row, 2 * row + 1
        line = (1 - part) * z[first] + part * z[last]
        condition = {name: (1 - part) * a[first] + part * a[last] for name, a in given.items()}
        decoded = subject.decode(line, condition)
        ends = batch["x"][first : last + 1]
        strips.append(jnp.concatenate([ends[:1], decoded, ends[1:]]))
    return pictures.tile(subject.spec.to_uint8(jnp.concatenate(strips)), columns=steps + 2)


def latent_map(context: Context, size: int = 20) -> np.ndarray | None:
    """Decoded quantiles of N(0, I): cells of equal probability (Kingma and Welling 2014, fig. 4).

    Of the label 0 where the decoder is given one.
    """
    subject = context.subject
    if not subject.spec.is_image or subject.family.latent_dim != 2:
        return None
    quantiles = special.ndtri((np.arange(size) + 0.5) / size)
    z = np.stack(np.meshgrid(quantiles, quantiles[::-1]), -1).reshape(-1, 2)
    decoded = subject.decode(jnp.float32(z))
    return pictures.tile(subject.spec.to_uint8(decoded), columns=size, gap=0)


def latent_walk(context: Context) -> np.ndarray | None:
    """Decoded points of the plane of the two principal directions of the latents, without gaps.

    Of the label 0 where the decoder is given one.
    """
    subject, family = context.subject, context.subject.family
    if not subject.spec.is_image or family.latent_dim < 2 or subject.given_vectors:
        return None
    if families.has(family, Autoencoder):
        rows = chosen_rows(context.examples, min(_WALKED, len(context.examples)))
        z = np.asarray(subject.encode(context.dataset.batch(context.split, rows)).mean)
    else:
        z = np.random.default_rng(0).standard_normal((_WALKED, family.latent_dim))
    mean, axes = attributes.principal_axes(z)
    if len(axes) < 2:
        return None
    along = np.linspace(-_REACH, _REACH, WALK)
    amounts = np.stack(np.meshgrid(along, along[::-1]), -1).reshape(-1, 2)
    decoded = subject.decode(np.float32(mean + amounts @ axes[:2]))
    return pictures.tile(subject.spec.to_uint8(decoded), columns=WALK, gap=0)


def plane_density(context: Context, size: int = 160) -> np.ndarray | None:
    """The density in the plane, and of a model with two latents the lines of a grid of them."""
    subject = context.subject
    if subject.spec.shape != (2,) or subject.spec.kind != "real":
        return None
    data = context.examples.gather(chosen_rows(context.examples, _POINTS))["x"]
    low, high = data.min(0), data.max(0)
    margin = 0.1 * (high - low).max()
    left, bottom, right, top = (float(v) for v in (*(low - margin), *(high + margin)))
    grid = np.meshgrid(np.linspace(left, right, size), np.linspace(bottom, top, size))
    x = np.float32(np.stack(grid, -1).reshape(-1, 2))
    examples = ArrayExamples("plane", {"x": x, **(_of_one_example(context, len(x)) or {})})
    settings = ConfigDict({**context.settings, "num_examples": 0, "batch_size": 10 * size})
    log_density = likelihood.log_prob(subject, examples, settings, 1).value
    lines = []
    if _has_plane_of_latents(context):
        along, places = np.linspace(-2.5, 2.5, 301), np.linspace(-2.5, 2.5, 21)
        across = np.stack(np.broadcast_arrays(along, places[:, None]), -1)
        # All in one call: of some models each takes a hundred of the network.
        z = np.float32(np.concatenate([across, across[..., ::-1]])).reshape(-1, 2)
        decoded = np.asarray(subject.decode(z, _of_one_example(context, len(z))))
        lines = list(decoded.reshape(-1, len(along), 2))
    return charts.density(log_density.reshape(size, size), (left, right, bottom, top), lines)


def _has_plane_of_latents(context: Context) -> bool:
    family = context.subject.family
    return families.has(family, Autoencoder) and family.latent_dim == 2


def _of_samples(context: Context) -> str:
    if SOURCE in context.subject.given:
        return (
            f"Above, sources of the {context.split} split; below each, what the model makes of it, "
            "and what stands beside it in the data."
        )
    means = families.has(context.subject.family, ImportanceWeighted)
    what = "Samples from the model" + (": means of p(x|z)" if means else "")
    classes = 0 < context.subject.num_classes <= 16 and context.subject.spec.is_image
    return what + (", a column a class" if classes else "") + _given(context, "")


def _given(context: Context, of_labels: str) -> str:
    """The end of a caption: what the model was given."""
    names = context.subject.given_vectors
    if names:
        return f", given the {' and '.join(names)} of one example."
    return (of_labels if context.subject.given else "") + "."


# In the order in which a report shows them.
PICTURES = (
    Picture("samples", _of_samples, (Sampler,), samples),
    Picture(
        "density",
        lambda context: (
            "The density"
            + ", and what becomes of straight lines of latents from -2.5 to 2.5"
            * _has_plane_of_latents(context)
            + _given(context, ", for the first label")
        ),
        (Density,),
        plane_density,
    ),
    Picture(
        "denoising",
        lambda context: "Samples as they come about, a row each, from noise to the last step.",
        (Film,),
        denoising,
    ),
    Picture(
        "denoising_film",
        lambda context: "The same samples, animated.",
        (Film,),
        animation,
    ),
    Picture(
        "reconstructions",
        lambda context: (
            f"Examples of the {context.split} split, with the means of p(x|z) below, z the mean "
            "of q(z|x)."
        ),
        (Autoencoder,),
        reconstructions,
    ),
    Picture(
        "interpolation",
        lambda context: (
            f"Straight lines in latent space between two examples of the {context.split} split, "
            "which are at the ends."
        ),
        (Autoencoder,),
        interpolation,
    ),
    Picture(
        "latent_map",
        lambda context: (
            "Decoded points of the latent plane, at equal steps of N(0, I)'s probability."
        ),
        (Autoencoder,),
        latent_map,
    ),
    Picture(
        "latent_walk",
        lambda context: (
            f"What is decoded up to {_REACH:g} standard deviations along the two principal "
            "directions of the latents."
        ),
        (Decoder,),
        latent_walk,
        grid=WALK,
    ),
)


def sample_picture(context: Context) -> np.ndarray | None:
    """A picture of samples, uint8 [H, W, 3]; None for models and data that have none."""
    return samples(context) if families.has(context.subject.family, Sampler) else None


def write(
    context: Context, workdir: Path, step: int, tell: Callable[[str], None] = print
) -> list[Path]:
    """All pictures that suit the model, made from examples of the context's split.

    Args:
      context: with the model.
      workdir: of its run.
      step: how long the model has trained.
      tell: is given a line for each that cannot be made: a picture costs no run.
    """
    folder, written, index = samples_folder(workdir), [], []
    if context.subject.spec.medium and families.has(context.subject.family, Sampler):
        try:
            found = media.files_of(context.subject.spec, _sequences(context), "samples")
        except Exception as error:
            tell(f"warning: no samples: {as_line(error)}")
            found = {}
        if found:
            index.append({"name": "samples", "caption": _of_samples(context), "files": [*found]})
        written += [files.write_whole(folder / name, data) for name, data in found.items()]
    for kind in PICTURES:
        if not families.has(context.subject.family, *kind.needs):
            continue
        try:
            picture = kind.draw(context)
        except Exception as error:
            tell(f"warning: no picture of {kind.name}: {as_line(error)}")
            continue
        if picture is not None:
            path, drawn = folder / f"{kind.name}.png", isinstance(picture, np.ndarray)
            save = pictures.save_png if drawn else files.write_whole
            written.append(save(path, picture))
            if kind.name not in [row["name"] for row in index]:
                row = {"name": kind.name, "caption": kind.caption(context), "grid": kind.grid}
                index.append(row)
    index = [{**row, "step": step} for row in index]
    files.write_whole(folder / INDEX, json.dumps(index, indent=2))
    return written
