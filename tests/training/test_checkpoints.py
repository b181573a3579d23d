"""Checkpoints: what is saved comes back, and damage is seen."""

import asyncio
import gc
import os
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gen_jax.errors import UserError
from gen_jax.training.checkpoints import Checkpoints
from gen_jax.training.state import State


def make(step: int, width: int = 5) -> State:
    params = {"net": {"w": jnp.arange(width, dtype=jnp.float32) + step, "b": jnp.float32(step)}}
    opt_state = {"net": optax.adam(1e-3).init(params["net"])}
    return State(jnp.int32(step), params, opt_state, {}, {"count": jnp.int32(step)})


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "checkpoints"
    checkpoints = Checkpoints(folder, keep=2)
    for step in (1, 2, 3):
        checkpoints.save(make(step))
    checkpoints.wait()
    return folder


def restore(folder, template=None):
    reports = []
    return Checkpoints(folder).restore(template or make(0), reports.append), reports


def test_round_trip(written):
    state, reports = restore(written)
    assert not reports
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(make(3)), strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype
    assert Checkpoints(written).steps() == [3, 2]


def test_no_checkpoint_is_none(tmp_path):
    assert restore(tmp_path / "nothing")[0] is None


@pytest.mark.parametrize("damage", ["truncate", "delete"])
def test_damage_to_any_file_is_reported_and_the_one_before_is_used(written, tmp_path, damage):
    files = [path.relative_to(written) for path in (written / "3").rglob("*") if path.is_file()]
    assert len(files) > 5
    for index, file in enumerate(files):
        if file.name == "crc32.json" and damage == "delete":
            continue  # only the proof is gone
        folder = tmp_path / str(index)
        shutil.copytree(written, folder)
        if damage == "delete":
            (folder / file).unlink()
        else:
            os.truncate(folder / file, (folder / file).stat().st_size // 2)
        if damage == "truncate" and (written / file).stat().st_size == 0:
            continue
        state, reports = restore(folder)
        assert state.step == 2, file
        assert len(reports) == 1 and reports[0].startswith("checkpoint 3 is damaged"), reports


def test_without_its_seal_a_checkpoint_is_read_as_it_is(written, tmp_path):
    folder = shutil.copytree(written, tmp_path / "copy")
    (folder / "3" / "crc32.json").unlink()
    assert restore(folder)[0].step == 3


def test_all_damaged_is_an_error_that_names_the_fix(written, tmp_path):
    folder = shutil.copytree(written, tmp_path / "copy")
    for step in (2, 3):
        os.truncate(next((folder / str(step)).rglob("_METADATA")), 3)
    with pytest.raises(UserError, match=r"every checkpoint in .* is damaged; remove"):
        restore(folder)


def test_another_model_is_named(written):
    with pytest.raises(
        UserError, match=r"does not fit the model: .*\['w'\] is float32\[5\], not float32\[6\]"
    ):
        restore(written, make(0, width=6))


def test_a_damaged_step_can_be_written_again(written, tmp_path):
    folder = shutil.copytree(written, tmp_path / "copy")
    os.truncate(next((folder / "3").rglob("_METADATA")), 3)
    checkpoints = Checkpoints(folder)
    checkpoints.drop_after(2)
    checkpoints.save(make(3))
    checkpoints.wait()
    state, reports = restore(folder)
    assert state.step == 3 and not reports


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    checkpoints = Checkpoints(tmp_path / "file" / "checkpoints")
    with pytest.raises(UserError, match=r"cannot write a checkpoint to .*another --workdir") as e:
        checkpoints.save(make(1))
        checkpoints.wait()
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    "message",
    [
        f"{'/long/name' * 50}: no space",
        # The library's arguments may come last.
        rf"""/name: no space [tensorstore_spec='{{\"path\":\"[\'bias\']/\",{"0" * 500}}}']""",
    ],
    ids=["name", "arguments"],
)
def test_the_cause_of_an_error_is_told_however_long_its_message(tmp_path, message):
    def fail():
        raise OSError(message)

    with pytest.raises(UserError, match=r": no space ?\); make room"):
        Checkpoints(tmp_path)._write(fail)


def test_files_that_fail_after_the_first_are_not_told_of(caplog):
    """Orbax writes each in a task of its own, and forgets the others when one fails."""

    async def fail():
        raise OSError("no space")

    async def forget():
        tasks = [asyncio.ensure_future(fail()) for _ in range(3)]
        await asyncio.sleep(0)
        await asyncio.gather(*tasks[:1], return_exceptions=True)

    asyncio.run(forget())
    gc.collect()
    assert not caplog.records


def test_a_full_disk_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    saved = Checkpoints(tmp_path)
    saved.save(make(1))
    saved.wait()
    full = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    with pytest.raises(UserError, match=r"no room .* 0.0 are free; make room .*checkpoint 1 stays"):
        saved.save(make(2))
    assert saved.steps() == [1]


def test_one_that_a_run_has_just_replaced_is_not_damaged(written, tmp_path, monkeypatch):
    folder = shutil.copytree(written, tmp_path / "checkpoints")
    read = Checkpoints._read

    def gone(self, manager, step, expected):
        if step == 3:
            shutil.rmtree(folder / "3")
        return read(self, manager, step, expected)

    monkeypatch.setattr(Checkpoints, "_read", gone)
    state, reports = restore(folder)
    assert int(state.step) == 2 and reports == []
