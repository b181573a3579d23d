"""The newest checkpoint is damaged: training goes on from the one before, to the same end."""

import os
import shutil

import cli
import pytest

from gen_jax import experiment


def names(folder):
    return sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())


def check(small, whole, workdir, file, capsys):
    shutil.copytree(whole, workdir)
    damaged = workdir / "checkpoints" / "40" / file
    os.truncate(damaged, damaged.stat().st_size // 2)
    assert experiment.train(small, workdir)
    told = capsys.readouterr().out
    assert told.count("checkpoint 40 is damaged and was skipped") == 1, (file, told)
    assert ", from step 20\n" in told, (file, told)
    cli.assert_same_checkpoint(whole, workdir, 40)


def test_its_largest_file(small, whole, tmp_path, capsys):
    newest = whole / "checkpoints" / "40"
    largest = max(names(newest), key=lambda name: (newest / name).stat().st_size)
    check(small, whole, tmp_path / "run", largest, capsys)


@pytest.mark.long
def test_each_of_its_files(small, whole, tmp_path, capsys):
    files = names(whole / "checkpoints" / "40")
    assert len(files) > 5
    for number, file in enumerate(files):
        check(small, whole, tmp_path / str(number), file, capsys)


def test_all_of_them(small, whole, tmp_path):
    """Nothing is begun anew over a run that may still be saved by other means."""
    workdir = shutil.copytree(whole, tmp_path / "run")
    for step in (20, 40):
        os.truncate(next((workdir / "checkpoints" / str(step)).rglob("_METADATA")), 3)
    before = {p: p.read_bytes() for p in workdir.rglob("*") if p.is_file()}
    with pytest.raises(experiment.UserError, match=r"every checkpoint in .* is damaged"):
        experiment.train(small, workdir)
    assert before == {p: p.read_bytes() for p in workdir.rglob("*") if p.is_file()}
