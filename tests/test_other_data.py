"""Data that moved, and data that are others than those that a run was started with."""

import shutil

import cli
import numpy as np
import pytest
from own_data import write_images
from PIL import Image

import gen_jax
import launch
from gen_jax.workdir.claim import read_config, read_data


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder of images and a run on it."""
    folder = tmp_path_factory.mktemp("trained")
    write_images(folder / "images", [(6, 6)] * 30)
    train = ["train", *cli.TINY, f"--config.data.name=folder:{folder / 'images'}"]
    train += ["--config.eval.validation_metrics=()", f"--workdir={folder / 'run'}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(cli.ROOT)
        assert launch.main(train) == 0
    return folder


@pytest.fixture
def here(trained, tmp_path, monkeypatch):
    """A copy of both, in another place."""
    monkeypatch.chdir(cli.ROOT)
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    return tmp_path


def commands(here, *also):
    """Those of this run that read its data."""
    place = f"--config.data.name=folder:{here / 'elsewhere'}"
    again = [*cli.TINY, "--config.eval.validation_metrics=()", place]
    return (
        ["train", *again, f"--workdir={here / 'run'}", *also],
        ["evaluate", f"--workdir={here / 'run'}", "--metrics=elbo", place, *also],
    )


def test_a_folder_may_move(here, trained, capsys):
    shutil.move(trained / "images", trained / "gone")
    try:
        for command in ("sample", "report"):
            assert launch.main([command, f"--workdir={here / 'run'}"]) == 0
        assert launch.main(["evaluate", f"--workdir={here / 'run'}", "--metrics=elbo"]) == 1
        assert f"no folder {trained / 'images'}" in capsys.readouterr().err
        for command in commands(here):
            assert launch.main(command) == 0, capsys.readouterr().err
    finally:
        shutil.move(trained / "gone", trained / "images")
    assert read_config(here / "run").data.name == f"folder:{here / 'elsewhere'}"


def test_another_kind_of_data_is_another_run(here, capsys):
    for command in commands(here):
        changed = [a for a in command if "data.name" not in a] + ["--config.data.name=digits"]
        assert launch.main(changed) == 1
        assert "data.name" in capsys.readouterr().err


CHANGES = {
    "one more": (lambda folder: Image.new("RGB", (6, 6)).save(folder / "a" / "new.png"), "0 .*1"),
    "one less": (lambda folder: (folder / "b" / "03.png").unlink(), "1 .*0"),
    "one changed": (lambda folder: Image.new("RGB", (6, 6)).save(folder / "a" / "01.png"), "1 .*1"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_files_are_refused_unless_it_is_said(here, change, capsys):
    edit, _ = CHANGES[change]
    before = read_data(here / "run")
    edit(here / "elsewhere")
    for command in commands(here):
        assert launch.main(command) == 1
        error = capsys.readouterr().err
        assert "other files (" in error and "--data-changed" in error and error.count("\n") == 1
    with pytest.raises(gen_jax.UserError, match="other files"):
        moved = gen_jax.load(here / "run")
        moved.experiment.config.unlock().data.name = f"folder:{here / 'elsewhere'}"
        moved.evaluate("elbo")
    assert read_data(here / "run") == before
    train, evaluate = commands(here, "--data-changed")
    assert launch.main(evaluate) == 0
    assert read_data(here / "run") == before
    assert launch.main(train) == 0
    assert read_data(here / "run") != before
    # It remembers the new ones.
    for command in commands(here):
        assert launch.main(command) == 0


def test_data_of_another_form_are_refused_whatever_is_said(here, capsys):
    for file in (here / "elsewhere").rglob("*.png"):
        Image.new("RGB", (5, 5)).save(file)
    for command in commands(here, "--data-changed"):
        assert launch.main(command) == 1
        assert "--data-changed" not in capsys.readouterr().err


def test_arrays_in_a_file_may_move_and_change(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(cli.ROOT)
    images = np.random.default_rng(0).integers(0, 256, (60, 5, 5, 1)).astype(np.uint8)
    np.savez(tmp_path / "a.npz", x=images)
    own = ["--config.data.num_validation=5", "--config.eval.validation_metrics=()"]

    def train(file, *also):
        name = f"--config.data.name=arrays:{tmp_path / file}"
        workdir = f"--workdir={tmp_path / 'run'}"
        return launch.main(["train", *cli.TINY, *own, name, workdir, *also])

    assert train("a.npz") == 0
    (tmp_path / "a.npz").rename(tmp_path / "b.npz")
    assert train("b.npz") == 0
    np.savez(tmp_path / "b.npz", x=images + np.uint8(1))
    assert train("b.npz") == 1
    assert "other values" in capsys.readouterr().err
    assert train("b.npz", "--data-changed") == 0
