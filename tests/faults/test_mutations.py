"""Files with random damage end in one line for the user or in a right result, and in no other way.

The examples are the same each time. `pytest --hypothesis-profile=fresh tests/faults` draws others.
"""

import gzip
import io
import json
import math
import shutil
import struct

import drills
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from own_data import data_config
from PIL import Image

from gen_jax import config as config_lib
from gen_jax import experiment
from gen_jax.data.readers import idx, images
from gen_jax.errors import UserError
from gen_jax.report import html
from gen_jax.training.checkpoints import Checkpoints
from gen_jax.training.state import State
from gen_jax.workdir.claim import read_config
from gen_jax.workdir.logs import read_metrics


def damages(data: bytes) -> st.SearchStrategy[bytes]:
    """`data` after a few flips, cuts, insertions and overwritten words."""
    place = st.integers(0, max(len(data) - 1, 0))
    word = st.sampled_from([0, 1, 255, 2**31 - 1, 2**31, 2**32 - 1]) | st.integers(0, 2**32 - 1)

    def apply(steps):
        out = bytearray(data)
        for kind, at, value, more in steps:
            if kind == "flip" and out:
                out[at % len(out)] ^= value % 255 + 1
            elif kind == "cut":
                del out[at:]
            elif kind == "remove":
                del out[at : at + value % 8]
            elif kind == "insert":
                out[at:at] = more
            elif kind == "word":
                at = at // 4 * 4
                out[at : at + 4] = struct.pack(">I", value)
        return bytes(out)

    kinds = st.sampled_from(["flip", "cut", "remove", "insert", "word"])
    # Headers are where it matters: half of the places are in the first bytes.
    steps = st.tuples(kinds, st.integers(0, 20) | place, word, st.binary(max_size=20))
    return st.lists(steps, max_size=3).map(apply)


def idx_bytes(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


IMAGES = idx_bytes((np.arange(5 * 4 * 3) % 256).astype(np.uint8).reshape(5, 4, 3))
LABELS = idx_bytes(np.arange(5, dtype=np.uint8))


@settings(max_examples=1_000)
@given(
    images=damages(IMAGES),
    labels=st.just(LABELS) | damages(LABELS),
    packed=st.none() | damages(gzip.compress(IMAGES, mtime=0)),
)
def test_idx_files(tmp_path_factory, images, labels, packed):
    folder = tmp_path_factory.getbasetemp() / "idx"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    if packed is None:
        (folder / "train-images-idx3-ubyte").write_bytes(images)
    else:
        (folder / "train-images-idx3-ubyte.gz").write_bytes(packed)
    (folder / "train-labels-idx1-ubyte").write_bytes(labels)
    try:
        x, label = idx.read_images(folder, "train")
    except UserError as error:
        assert "\n" not in str(error) and str(folder) in str(error)
        return
    assert x.dtype == np.uint8 and x.ndim == 4 and len(x) == len(label) > 0
    unpacked = images if packed is None else gzip.decompress(packed)
    assert idx_bytes(x[..., 0]) == unpacked
    assert idx_bytes(label.astype(np.uint8)) == labels


# Values that no key, or few, can have.
STRANGE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([-1, 2**31, 2**63, 10**400, 1e308, 1e400, -1e400, math.nan, 0.5, -0.5, 1e-300]),
    st.text(max_size=8),
    st.sampled_from(
        ["", "x" * 2_000, "../../x", "/dev/zero", "folder:/dev", "folder:\0", "\x1b[31m"]
    ),
    st.sampled_from(["vae", "gan", "vqvae", "mnist", "ring", "mlp", "conv", "bernoulli", "adam"]),
    st.lists(st.integers(-1, 300) | st.text(max_size=3), max_size=4),
    st.just([1] * 101),
    st.just({}),
    st.just({"lr": 1}),
    st.just([[[[]]]]),
)
NAMES = st.sampled_from(["generator", "steps", "lr", "x", "", "model", "__class__", "a.b"])
WORDS = ["vae", "gan", "mnist", "ring", "grid", "mlp", "conv", "adam", "sgd", "mixture", "vamp"]
WORDS += ["label", "none", "gaussian", "discretized_logistic", "bytes", "uniform_dequantization"]


def like(value):
    """Other values of the same type, at the ends of what a key may be."""
    if isinstance(value, bool):
        return st.booleans()
    if isinstance(value, int):
        return st.integers(0, 3) | st.sampled_from([17, 64, 1_023, 10**6, 2**31 - 1])
    if isinstance(value, float):
        return st.sampled_from([0.0, 1e-300, 1e-8, 0.5, 1.0, 2.0, 1e9, 3e38])
    if isinstance(value, list):
        return st.lists(st.sampled_from([0, 1, 2, 9, 2**31 - 1]), max_size=3)
    return st.sampled_from(WORDS)


@st.composite
def config_texts(draw, text: str) -> bytes:
    """A config.json with a few keys removed, renamed, added or given another value."""
    config = json.loads(text)
    for _ in range(draw(st.integers(1, 3))):
        inner = config
        section = draw(st.sampled_from([None, "data", "optim", "eval", "model"]))
        if isinstance(config.get(section), dict):
            inner = config[section]
        keys = sorted(inner)
        key = draw(st.sampled_from(keys)) if keys else "x"
        kind = draw(st.sampled_from(["like", "like", "like", "value", "remove", "rename", "add"]))
        if kind == "like" and keys and not isinstance(inner[key], dict):
            inner[key] = draw(like(inner[key]))
        elif kind == "value":
            inner[key] = draw(STRANGE)
        elif kind == "add":
            inner[draw(NAMES)] = draw(STRANGE)
        elif keys:
            value = inner.pop(key)
            if kind == "rename":
                inner[draw(NAMES)] = value
    return json.dumps(config).encode()


def files_of(workdir):
    return {p: p.read_bytes() for p in workdir.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def run(whole, tmp_path_factory):
    return shutil.copytree(whole, tmp_path_factory.mktemp("mutated") / "run")


@pytest.fixture(scope="module", autouse=True)
def no_data_of_this_machine(tmp_path_factory):
    """Whatever dataset a config names, nothing is prepared or downloaded."""
    with pytest.MonkeyPatch.context() as patch:
        empty = str(tmp_path_factory.mktemp("empty"))
        patch.setenv("TFDS_DATA_DIR", empty)
        patch.setenv("GEN_JAX_MANUAL_DIR", empty)
        drills.without_tensorflow(patch)
        yield


def check_config(run, text, restored):
    """Reads a config.json as every command does; -> whether it is one."""
    (run / "config.json").write_bytes(text)
    before = files_of(run)
    try:
        config = read_config(run)
        said = config_lib.flatten(json.loads(text))
        flat = config_lib.flatten(config)
        assert all(flat[key] == value for key, value in said.items()), said
        state = experiment.restore(config, run)[1]
    except UserError as error:
        assert str(error)
    else:
        for mine, theirs in zip(jax.tree.leaves(state), jax.tree.leaves(restored), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    assert files_of(run) == before


@pytest.fixture(scope="module")
def restored(small, whole):
    return experiment.restore(small, whole)[1]


@settings(max_examples=250)
@given(data=st.data())
def test_config_values(run, small, restored, data):
    check_config(run, data.draw(config_texts(config_lib.to_json(small))), restored)


@settings(max_examples=250)
@given(data=st.data())
def test_config_bytes(run, small, restored, data):
    check_config(run, data.draw(damages(config_lib.to_json(small).encode())), restored)


def tiny_state(step):
    params = {"net": {"w": np.arange(5, dtype=np.float32) + step, "b": np.float32(step)}}
    return State(np.int32(step), params, {}, {}, {"count": np.int32(step)})


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written") / "checkpoints"
    checkpoints = Checkpoints(folder)
    for step in (1, 2):
        checkpoints.save(tiny_state(step))
    checkpoints.wait()
    return folder


@settings(max_examples=60)
@given(data=st.data(), sealed=st.booleans())
def test_checkpoints(written, tmp_path_factory, data, sealed):
    folder = tmp_path_factory.getbasetemp() / "damaged"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(written, folder)
    names = sorted(str(p.relative_to(written)) for p in (written / "2").rglob("*") if p.is_file())
    file = folder / data.draw(st.sampled_from([n for n in names if sealed or "crc32" not in n]))
    damaged = data.draw(damages(file.read_bytes()))
    same = damaged == file.read_bytes()
    file.write_bytes(damaged)
    if not sealed:
        (folder / "2" / "crc32.json").unlink()
    before, reports = files_of(folder), []
    try:
        state = Checkpoints(folder).restore(tiny_state(0), reports.append)
    except UserError as error:
        assert not sealed and "does not fit the model" in str(error)
    else:
        # Without its seal damage to the numbers themselves is not seen.
        assert state.step == (1 if reports else 2)
        assert not sealed or len(reports) == (0 if same else 1)
        if sealed or reports:
            expected = jax.tree.leaves(tiny_state(int(state.step)))
            for found, leaf in zip(jax.tree.leaves(state), expected, strict=True):
                np.testing.assert_array_equal(found, leaf)
    assert files_of(folder) == before


ROWS = b"".join(
    json.dumps({"step": step, "loss/vae": 1.5 / step, "examples_per_second": 1e3}).encode() + b"\n"
    for step in (10, 20, 30)
)


@settings(max_examples=300)
@given(data=damages(ROWS + json.dumps({"step": 30, "alarms": ["a: b"]}).encode()))
def test_metrics(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp()
    (folder / "metrics.jsonl").write_bytes(data)
    rows = read_metrics(folder)
    # Damage to one line leaves the others.
    assert len(rows) >= sum(line in data.splitlines() for line in ROWS.splitlines())
    for row in rows:
        assert type(row["step"]) is int
        assert all(math.isfinite(v) for name, v in row.items() if name != "alarms")


METRIC = {"value": 1.5, "stderr": 0.1, "unit": "nats", "n": 100, "kind": "bound", "spec": "elbo"}
RESULT = {"step": 40, "dataset": "digits", "split": "test", "alarms": ["a: b"]}
RESULT |= {"metrics": {"elbo": METRIC, "nll": METRIC | {"stderr": None}}}


@st.composite
def results(draw):
    """An evaluation.json with a value replaced or removed."""
    result = json.loads(json.dumps(RESULT))
    inner = draw(st.sampled_from([result, result["metrics"], result["metrics"]["elbo"]]))
    key = draw(st.sampled_from(sorted(inner)))
    if draw(st.booleans()):
        inner[key] = draw(STRANGE)
    else:
        del inner[key]
    return json.dumps(result).encode()


@settings(max_examples=300)
@given(data=damages(json.dumps(RESULT).encode()) | results())
def test_reports(small, tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / "reported"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "config.json").write_text(config_lib.to_json(small))
    (folder / "evaluation.json").write_bytes(data)
    try:
        text = html.write_report(folder).read_text()
    except UserError as error:
        assert "evaluation.json is damaged" in str(error)
        assert not (folder / "report.html").exists()
    else:
        assert text.endswith("</html>\n")
    assert (folder / "evaluation.json").read_bytes() == data


def picture(kind):
    buffer = io.BytesIO()
    pixels = (np.arange(6 * 7 * 3) % 256).astype(np.uint8).reshape(6, 7, 3)
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


@settings(max_examples=500)
@given(data=st.sampled_from(images.FORMATS).map(picture).flatmap(damages))
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_images(data):
    config = data_config("digits", image_size=8)
    try:
        assert images.decode(data, "x", config).shape == (8, 8, 3)
    except UserError as error:
        assert str(error).startswith("x ")
