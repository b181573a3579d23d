"""A workdir or a data file from a stranger: it is read, and nothing in it is run or followed."""

import ast
import contextlib
import gzip
import html as html_lib
import io
import json
import os
import re
import shlex
import shutil
import struct
import tracemalloc
import zlib

import cli
import drills
import numpy as np
import orbax.checkpoint as ocp
import pytest
from ml_collections import ConfigDict
from own_data import data_config
from PIL import EpsImagePlugin, Image

from gen_jax import commands, experiment, files
from gen_jax.data.readers import idx, images
from gen_jax.data.readers import tfds as catalogue
from gen_jax.errors import UserError
from gen_jax.report import html
from gen_jax.training.checkpoints import Checkpoints
from gen_jax.training.state import State
from gen_jax.workdir.claim import read_config

SOURCES = [cli.ROOT / "launch.py", *(cli.ROOT / "gen_jax").rglob("*.py")]
SOURCES += [*(cli.ROOT / "benchmarks").rglob("*.py")]

# Modules whose files can hold code, and calls that run what they are given.
_FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
_FORBIDDEN_MODULES |= {"yaml", "runpy", "code"}
_FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
# What may be imported by a name in a variable, and from where that name comes.
_IMPORTS_BY_NAME = {
    "gen_jax/config.py": "exec_module",  # the file of --config, which the user names
    "gen_jax/commands.py": "import_module",  # the module of --import, which the user names
    "gen_jax/families/__init__.py": "import_module",  # a folder of its own
    "gen_jax/evaluation/__init__.py": "import_module",  # a module of its own
    "benchmarks/work.py": "import_module",  # one of its own, which the user names
}


def name_of(call):
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(cli.ROOT)))
def test_no_file_is_read_as_code(path):
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert not {a.name.split(".")[0] for a in node.names} & _FORBIDDEN_MODULES
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in _FORBIDDEN_MODULES
        elif isinstance(node, ast.Call):
            name, place = name_of(node), str(path.relative_to(cli.ROOT))
            if isinstance(node.func, ast.Name):
                assert name not in _FORBIDDEN_CALLS, (node.lineno, name)
            if isinstance(node.func, ast.Attribute) and name in ("load", "fromfile", "memmap"):
                owner = getattr(node.func.value, "id", "")
                assert owner not in ("torch", "pickle", "joblib"), node.lineno
                if owner in ("np", "numpy", "jnp"):
                    given = {k.arg: k.value for k in node.keywords}
                    assert name == "load" and "allow_pickle" in given, node.lineno
                    assert ast.literal_eval(given["allow_pickle"]) is False, node.lineno
            if name in ("import_module", "exec_module"):
                assert _IMPORTS_BY_NAME.get(place) == name, node.lineno
            shell = [k.value for k in node.keywords if k.arg == "shell"]
            assert not shell and name not in ("system", "popen"), node.lineno


@pytest.fixture
def stranger(whole, tmp_path):
    workdir = shutil.copytree(whole, tmp_path / "run")
    (workdir / "metrics.jsonl").unlink()  # its curves take a second
    return workdir


def files_of(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def change(workdir, **values):
    path = workdir / "config.json"
    config = json.loads(path.read_text())
    for key, value in values.items():
        *sections, last = key.split("__")
        inner = config
        for section in sections:
            inner = inner[section]
        inner[last] = value
    path.write_text(json.dumps(config))


def test_an_experiment_file_that_a_workdir_names_is_not_run(stranger, tmp_path, monkeypatch):
    trap, sprung = tmp_path / "trap.py", tmp_path / "sprung"
    trap.write_text(f"open({str(sprung)!r}, 'w')")
    change(stranger, experiment=str(trap), overrides=[f"--config={trap}"])
    import launch

    monkeypatch.chdir(tmp_path)
    for command in ("evaluate", "sample", "report"):
        assert launch.main([command, f"--workdir={stranger}"]) == 0
    assert not sprung.exists()
    change(stranger, family=str(trap.with_suffix("")))
    for command in ("evaluate", "sample", "report"):
        assert launch.main([command, f"--workdir={stranger}"]) == 1
    assert not sprung.exists()


EVIL = "<script>alert(1)</script>\"'&"


def test_the_report_escapes_all_that_it_shows(stranger):
    change(stranger, experiment=EVIL, overrides=[EVIL], data__name=EVIL)
    metric = {"value": 1.0, "stderr": None, "unit": EVIL, "n": 3, "kind": EVIL, "spec": EVIL}
    result = {"step": 1, "dataset": EVIL, "split": EVIL, "metrics": {EVIL: metric}}
    (stranger / "evaluation.json").write_text(json.dumps(result | {"alarms": [EVIL]}))
    rows = [{"step": 1, "loss/vae": 1.0}, {"step": 1, "alarms": [EVIL]}]
    (stranger / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    os.rename(stranger / "samples" / "step_00000020.png", stranger / "samples" / "step_<b>.png")
    text = html.write_report(stranger).read_text()
    # Its own scripts come last, and hold nothing of the run's.
    body, marker, scripts = text.partition('<script type="application/octet-stream" id="plotly">')
    assert marker and EVIL not in scripts
    assert "<script" not in body and "alert(1)</script>" not in text and "<b>" not in body
    assert html_lib.unescape(text).count(EVIL) >= 8 and EVIL not in text
    # What is to be copied into a shell is one argument there.
    shell = html_lib.unescape(re.search("<pre>(.*?)</pre>", text, re.DOTALL)[1])
    assert shlex.split(shell)[:4] == ["python", "launch.py", "train", f"--config={EVIL}"]


def test_the_report_shows_no_file_from_elsewhere(stranger, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("a key")
    (stranger / "samples" / "samples.png").unlink()
    (stranger / "samples" / "samples.png").symlink_to(secret)
    text = html.write_report(stranger).read_text()
    assert "Samples from the model" not in text and "reconstructions" in text
    (stranger / "samples" / "samples.png").unlink()
    os.mkfifo(stranger / "samples" / "samples.png")
    html.write_report(stranger)


@pytest.mark.parametrize("name", ["report.html", "report.html.{pid}.part"])
def test_what_is_written_follows_no_link(stranger, tmp_path, name):
    precious = tmp_path / "precious"
    precious.write_text("kept")
    (stranger / name.format(pid=os.getpid())).symlink_to(precious)
    path = html.write_report(stranger)
    assert precious.read_text() == "kept"
    assert not path.is_symlink() and path.read_text().startswith("<!doctype html>")


def test_pictures_go_to_no_other_folder(stranger, tmp_path, capsys):
    shutil.move(stranger / "samples", tmp_path / "elsewhere")
    (stranger / "samples").symlink_to(tmp_path / "elsewhere")
    before = files_of(tmp_path / "elsewhere")
    import launch

    for command in ("evaluate", "sample"):
        assert launch.main([command, f"--workdir={stranger}"]) == 1
        assert "samples is a link; put a folder in its place" in capsys.readouterr().err
    assert files_of(tmp_path / "elsewhere") == before


def test_a_config_is_a_file_of_a_bounded_size(stranger):
    path = stranger / "config.json"
    path.write_text(path.read_text() + " " * 2**20)
    with pytest.raises(UserError, match="more than 1,048,576 bytes"):
        read_config(stranger)
    path.write_text("[" * 10**5)
    with pytest.raises(UserError, match="nested too deeply"):
        read_config(stranger)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UserError, match="it is no file"):
        read_config(stranger)


def test_a_seal_names_files_of_its_checkpoint_only(small, stranger, capsys):
    seal = stranger / "checkpoints" / "40" / "crc32.json"
    seal.write_text(json.dumps({"/dev/zero": 0}))  # has no end
    assert experiment.restore(small, stranger)[1].step == 20
    assert "/dev/zero is not what was written" in capsys.readouterr().out


def test_a_checkpoint_is_not_read_before_its_shapes_are_seen(tmp_path, monkeypatch):
    def state(width):
        return State(np.int32(1), {"w": np.zeros(width, np.float32)}, {}, {}, {})

    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state(10**6))
    monkeypatch.setattr(ocp.CheckpointManager, "restore", None)
    with pytest.raises(UserError, match=r"float32\[1000000\], not float32\[5\]"):
        Checkpoints(tmp_path).restore(state(5), print)


def test_datasets_are_looked_for_below_data_dir(tmp_path, monkeypatch):
    drills.without_tensorflow(monkeypatch)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "dataset_info.json").write_text("{}")
    config = ConfigDict({"data_dir": str(tmp_path / "data")})
    (tmp_path / "data").mkdir()
    for name in ("../outside", str(outside), "x/../../outside", "..", ""):
        assert not catalogue.may_have(name, config), name
    (tmp_path / "data" / "inside").symlink_to(outside)
    assert catalogue.may_have("inside", config)


@pytest.mark.parametrize("key", ["pythonClassName", "python_class_name", "type"])
def test_a_dataset_imports_no_module_but_those_of_tfds(tmp_path, monkeypatch, key):
    trap, sprung = tmp_path / "trap.py", tmp_path / "sprung"
    trap.write_text(f"open({str(sprung)!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "data" / "photos" / "1.0.0"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text('{"fileFormat": "array_record", "name": "photos"}')
    features = {key: "trap.Image", "content": {}}
    (folder / "features.json").write_text(json.dumps(features))
    config = ConfigDict({"data_dir": str(tmp_path / "data"), "resident_limit_mb": 1})
    with pytest.raises(UserError, match=r"feature 'trap\.Image' is none of TFDS's own"):
        catalogue.read("photos", config)
    assert not sprung.exists()


def png(width, height):
    """A picture that says it is of this size and has one row of it."""

    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    rows = chunk(b"IDAT", zlib.compress(bytes(1 + width)))
    return b"\x89PNG\r\n\x1a\n" + header + rows + chunk(b"IEND", b"")


IMAGE = data_config("digits", image_size=8)


@pytest.mark.parametrize("size", [(8_193, 8_193), (60_000, 60_000)])
def test_a_decompression_bomb_is_not_unpacked(monkeypatch, size):
    def unpacked(self, *arguments):
        raise AssertionError

    monkeypatch.setattr(Image.Image, "convert", unpacked)
    monkeypatch.setattr(Image.Image, "load", unpacked)
    with pytest.raises(UserError, match="x has too many pixels"):
        images.decode(png(*size), "x", IMAGE)


def test_formats_that_start_programs_are_no_images(monkeypatch):
    started = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *given, **named: started.append(1))
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    assert Image.open(io.BytesIO(postscript)).format == "EPS"  # PIL itself takes it
    with pytest.raises(UserError, match="x is not a whole image"):
        images.decode(postscript, "x", IMAGE)
    assert not started


def header(*shape):
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape)


@contextlib.contextmanager
def little_memory():
    """Within it no more than 10 MiB may be taken at once."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10 * 2**20


def test_a_huge_idx_header_allocates_nothing(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(header(2**31, 28, 28) + bytes(100))
    with pytest.raises(UserError, match="which is not between 1 and"):
        idx.read_images(tmp_path, "train")
    # Within the limit, but not there.
    (tmp_path / "train-images-idx3-ubyte").write_bytes(header(2**19, 28, 28) + bytes(100))
    error = "is truncated: its header says 524288x28x28 bytes"
    with little_memory(), pytest.raises(UserError, match=error):
        idx.read_images(tmp_path, "train")


def test_a_compressed_idx_bomb_is_not_unpacked(tmp_path):
    # 64 MiB of zeros behind a header of 5 small pictures.
    bomb = gzip.compress(header(5, 4, 3) + bytes(2**26), 6)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(bomb)
    error = "is damaged: its header says 5x4x3 bytes and more follow"
    with little_memory(), pytest.raises(UserError, match=error):
        idx.read_images(tmp_path, "train")


def test_an_error_is_one_line_whatever_it_quotes(capsys):
    assert commands._fail("a\n\x1b[31mb\r") == 1
    assert capsys.readouterr().err == "error: a  [31mb \n"


def test_json_is_bounded(tmp_path):
    (tmp_path / "x.json").write_text("[1, 2]")
    assert files.read_json(tmp_path / "x.json") == [1, 2]
    with pytest.raises(ValueError, match="more than 5 bytes"):
        files.read_json(tmp_path / "x.json", limit=5)
