"""Image datasets of tensorflow-datasets, prepared as array_record and read without TensorFlow."""

import functools
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from gen_jax import files
from gen_jax.data.examples import ArrayExamples, LazyExamples, Source, Stored
from gen_jax.data.readers import idx, images
from gen_jax.errors import UserError

_GARMENTS = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
# Sets that come as idx files, with the names of their classes.
IDX = {
    "mnist": tuple(map(str, range(10))),
    "fashion_mnist": _GARMENTS,
    "usps": tuple(map(str, range(10))),
    "kmnist": ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
}


def data_dir(config: ConfigDict) -> Path:
    """Where prepared datasets are."""
    default = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    return Path(config.data_dir or default).expanduser()


def manual_dir(config: ConfigDict) -> Path:
    """Where files that were fetched by hand are."""
    default = os.environ.get("GEN_JAX_MANUAL_DIR", data_dir(config) / "downloads" / "manual")
    return Path(config.manual_dir or default).expanduser()


def may_have(name: str, config: ConfigDict) -> bool:
    """Whether this reader should try a name: its own, one that is prepared, or any with TF."""
    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)*", name):  # nothing above data_dir
        return False
    downloads = name.isidentifier() and importlib.util.find_spec("tensorflow") is not None
    return name in IDX or downloads or _prepared(name, config) is not None


def read(name: str, config: ConfigDict) -> Source:
    """A dataset: prepared in `data_dir`; else from idx files in `manual_dir`; else by TFDS.

    Raises:
      UserError: naming the three ways if all fail, or the file that is damaged.
    """
    folder = _prepared(name, config)
    if folder is None and name in IDX:
        files = _manual_folder(name, config)
        if files is not None:
            folder = _prepare_idx(name, files, config)
    if folder is None:
        folder = _prepare_by_tfds(name, config)
    return _read_prepared(name, folder, config)


def _prepared(name: str, config: ConfigDict) -> Path | None:
    """The newest prepared version, in a folder that TFDS gave its final name."""
    found = (data_dir(config) / name).glob("**/dataset_info.json")
    folders = [p.parent for p in found if not any(q.startswith("incomplete") for q in p.parts)]
    # 10.0.0 comes after 9.0.0.
    return max(folders, key=lambda p: [int(n) for n in re.findall(r"\d+", p.name)], default=None)


def _manual_folder(name: str, config: ConfigDict) -> Path | None:
    for folder in (manual_dir(config) / name, manual_dir(config)):
        if any(folder.glob("*-ubyte*")):
            return folder
    return None


def _prepare_idx(name: str, files: Path, config: ConfigDict) -> Path:
    """Writes idx files as array_record under the dataset's TFDS name."""
    arrays = {"train": idx.read_images(files, "train"), "test": idx.read_images(files, "t10k")}
    classes = len(IDX[name])
    for split, (_, label) in arrays.items():
        if label.max() >= classes:
            raise UserError(
                f"{files} has a {split} label {label.max()}; {name} has {classes} classes"
            )
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        """Stands for TFDS's own, which needs TensorFlow and a network."""

        VERSION = tfds.core.Version("3.0.1")
        url_infos = {}  # noqa: RUF012  nothing is downloaded, so no checksums are looked for

        def _info(self):
            features = {
                "image": tfds.features.Tensor(shape=arrays["train"][0].shape[1:], dtype=np.uint8),
                "label": tfds.features.ClassLabel(names=list(IDX[name])),
            }
            features = tfds.features.FeaturesDict(features)
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(split) for split in arrays}

        def _generate_examples(self, split):
            for key, (image, label) in enumerate(zip(*arrays[split], strict=True)):
                yield key, {"image": image, "label": int(label)}

    Builder.name = name
    print(f"preparing {name} from {files} (once)", flush=True)
    # TFDS writes beside the final folder and renames, so a kill leaves nothing half done.
    builder = Builder(data_dir=data_dir(config), file_format="array_record")
    try:
        builder.download_and_prepare()
    except OSError:
        # Of several processes that start together one is the first to rename.
        if not Path(builder.data_dir).is_dir():
            raise
    return Path(builder.data_dir)


def _prepare_by_tfds(name: str, config: ConfigDict) -> Path:
    """Lets TFDS download and prepare in a process of its own, which may import TensorFlow."""
    where = data_dir(config)
    ways = (
        f"{name} is not there. Three ways: prepare it with TFDS as array_record in {where} "
        f"(--config.data.data_dir)"
        + (f"; put its idx files in {manual_dir(config)}/{name} " if name in IDX else "; ")
        + ("(--config.data.manual_dir)" if name in IDX else "or name a folder:/path of images")
        + "; or pip install -e '.[tfds]' and let TFDS download it"
    )
    if importlib.util.find_spec("tensorflow") is None:
        raise UserError(ways)
    code = (
        "import sys, tensorflow_datasets as tfds; "
        "tfds.builder(sys.argv[1], data_dir=sys.argv[2], file_format='array_record')"
        ".download_and_prepare()"
    )
    subprocess.run([sys.executable, "-c", code, name, str(where)], stdout=sys.stderr)
    folder = _prepared(name, config)  # by this process, or by one that started with it
    if folder is None:
        raise UserError(ways)
    return folder


def _read_prepared(name: str, folder: Path, config: ConfigDict) -> Source:
    try:
        info = files.read_json(folder / "dataset_info.json")
        if info.get("fileFormat") != "array_record":
            raise UserError(
                f"{folder} is prepared as {info.get('fileFormat', 'tfrecord')}, which needs "
                "TensorFlow to read; prepare it with file_format='array_record'"
            )
        classes = list(_class_names(files.read_json(folder / "features.json")))
    except (ValueError, OSError, AttributeError) as error:
        raise _damaged(folder, error) from None
    # TFDS imports the module of each class that this file names.
    if strange := [name for name in classes if not name.startswith("tensorflow_datasets.core.")]:
        raise UserError(f"{folder} is not read: its feature {strange[0]!r} is none of TFDS's own")
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder_from_directory(folder)
    except Exception as error:  # whatever TFDS makes of a damaged folder
        raise _damaged(folder, error) from None
    image, label, levels = _features(name, builder.info, config)
    feature = builder.info.features[image]
    # Encoded images are decoded here by PIL: TFDS would ask TensorFlow.
    encoded = isinstance(feature, tfds.features.Image)
    skip = {image: tfds.decode.SkipDecoding()} if encoded else None
    channels = min(feature.shape[-1], 3) if encoded and feature.shape[-1] else None
    splits, shape = {}, None
    for split in ("train", "validation", "test"):
        if split in builder.info.splits:
            data = builder.as_data_source(split, decoders=skip)
            decode = functools.partial(images.decode, config=config, channels=channels)
            shards = [Path(path) for path in builder.info.splits[split].filepaths]
            what = (f"{name}/{split}", image, label, decode if encoded else None)
            read = _reader(data, *what, config, shards)
            shape = shape or read(np.arange(1))["x"].shape[1:]
            lazy = LazyExamples(split, np.arange(len(data)), shape, read)
            small = lazy.nbytes <= config.resident_limit_mb * 2**20
            splits[split] = ArrayExamples(split, read(lazy.rows)) if small else lazy
    if "train" not in splits:
        raise UserError(f"{folder} has no split train; it has {', '.join(builder.info.splits)}")
    names = tuple(builder.info.features[label].names) if label else ()
    return Source(splits, shape, levels, names)


def _features(name: str, info: Any, config: ConfigDict) -> tuple[str, str | None, int]:
    """Which features are x and its label, and the levels of x (0: real numbers).

    Raises:
      UserError: if there is no image, or one of other numbers; if several features may be the
        label and neither the dataset nor the config says which.
    """
    import tensorflow_datasets as tfds

    features, supervised = info.features, jax.tree.leaves(info.supervised_keys)
    kinds = (tfds.features.Image, tfds.features.Tensor)
    three = [n for n, f in features.items() if isinstance(f, kinds) and len(f.shape) == 3]
    if not three:
        raise UserError(f"{name} has no images; its features are {', '.join(features)}")
    image = next((n for n in three if n in supervised), three[0])
    dtype = np.dtype(features[image].np_dtype)
    levels = {"bool": 2, "uint8": 256, "uint16": 256, "float32": 0, "float64": 0}.get(dtype.name)
    if levels is None or (isinstance(features[image], tfds.features.Image) and not levels):
        raise UserError(
            f"{name} has images of type {dtype}, which are no grey levels; prepare it with uint8"
        )
    labels = sorted(n for n, f in features.items() if isinstance(f, tfds.features.ClassLabel))
    known = f"{name} has the labels {', '.join(labels) or 'none'}"
    if config.label:
        if config.label not in (*labels, "none"):
            raise UserError(f"data.label={config.label!r}: {known}; choose one, or none")
        return image, config.label if config.label != "none" else None, levels
    usual = [n for n in labels if n in supervised] or labels
    if len(usual) > 1:
        raise UserError(f"{known}; say which by --config.data.label={usual[0]}, or none")
    return image, next(iter(usual), None), levels


def _damaged(folder: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:120]
    return UserError(f"{folder} is damaged ({reason}); remove it to prepare it again")


def _damaged_shard(shards: Sequence[Path], error: Exception) -> UserError:
    """The error about one of the files of a split, found by reading each."""
    from array_record.python.array_record_module import ArrayRecordReader

    def is_sound(path: Path) -> bool:
        try:
            reader = ArrayRecordReader(str(path))
            return all(reader.read([place])[0] for place in range(reader.num_records()))
        except Exception:
            return False

    damaged = next((path for path in shards if not is_sound(path)), shards[0])
    reason = " ".join(str(error).split())[-120:]
    return UserError(
        f"{damaged} is damaged ({reason}); remove {damaged.parent} to prepare it again"
    )


def _class_names(features: Any) -> Iterator[str]:
    """The Python classes that a `features.json` names, at any depth."""
    if isinstance(features, dict):
        names = ("pythonClassName", "python_class_name", "type")  # new, protobuf's own, old
        yield from (features[n] for n in names if isinstance(features.get(n), str))
        features = list(features.values())
    if isinstance(features, list):
        for part in features:
            yield from _class_names(part)


def _as_levels(x: np.ndarray) -> np.ndarray:
    """A tensor as `Examples` hold it: grey levels in uint8, or real numbers in float32."""
    if x.dtype == np.uint16:
        images.say_once("note: images of 16 bits are scaled to 8")
        return np.round(x / 257).astype(np.uint8)
    return x.astype(np.float32 if x.dtype.kind == "f" else np.uint8)


def _reader(
    data: Any,
    name: str,
    image: str,
    label: str | None,
    decode: Callable[[bytes, str], np.ndarray] | None,
    config: ConfigDict,
    shards: Sequence[Path],
) -> Callable[[np.ndarray], Stored]:
    """Reads rows of a split; `decode` is for encoded images, `shards` are its files."""

    def one(example: dict) -> np.ndarray:
        x = example[image]
        if decode is not None:
            return decode(x, f"an image of {name}")
        x = _as_levels(x)
        if not config.image_size:
            return x
        if x.dtype != np.uint8:
            raise UserError(
                f"images of {name} are of type {x.dtype} and are not resized; leave out "
                "--config.data.image_size"
            )
        return images.resize(x, config)

    def read(rows: np.ndarray) -> Stored:
        try:
            found = data.__getitems__([int(row) for row in rows])
            if any(example.get(image) is None for example in found):
                raise ValueError("it ends too soon")
        except Exception as error:  # whatever the library makes of a damaged shard
            raise _damaged_shard(shards, error) from None
        x = [one(example) for example in found]
        if len({a.shape for a in x}) > 1:
            raise UserError(
                f"images of {name} differ in size; set one: --config.data.image_size=64"
            )
        labels = [int(example[label]) if label else 0 for example in found]
        return {"x": np.stack(x), "label": np.asarray(labels, np.int32)}

    return read
