"""Trackers, offline: what a run tells them, and that a resumed run is the same one to them."""

import sys

import numpy as np
import pytest

from gen_jax import config as config_lib
from gen_jax.errors import UserError
from gen_jax.workdir import logs, trackers

PICTURE = np.zeros((8, 8, 3), np.uint8)


@pytest.fixture
def told(tmp_path, monkeypatch):
    """A workdir whose run told a tracker of two steps, and resumed after the first."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    config = config_lib.default_config("vae")

    def tell(name):
        pytest.importorskip(trackers.TRACKERS[name].package, reason=f"needs the extra [{name}]")
        workdir = tmp_path / "run"
        workdir.mkdir()
        for resume_step, steps in ((0, (10, 20)), (10, (20, 30))):
            opened = trackers.start((name,), workdir, config, resume_step)
            writer = logs.MetricsWriter(workdir, resume_step, opened)
            for step in steps:
                writer.write(step, {"loss/vae": 1.0 / step})
                writer.image("samples", step, PICTURE)
            writer.close()
        return workdir

    return tell


def test_tensorboard(told):
    files = list((told("tensorboard") / "tensorboard").iterdir())
    assert files and all(b"loss/vae" in file.read_bytes() for file in files)
    assert all(b"samples" in file.read_bytes() for file in files)


def test_wandb(told):
    workdir = told("wandb")
    files = sorted(workdir.glob("wandb/offline-run-*/run-*.wandb"))
    assert len(files) == 2
    # Two pieces of one run, which are joined when they are synchronised.
    assert {file.stem for file in files} == {f"run-{(workdir / 'wandb_id.txt').read_text()}"}
    assert all(b"loss/vae" in file.read_bytes() for file in files)
    assert b"steps_per_dispatch" in files[0].read_bytes()
    assert len(list(workdir.glob("wandb/offline-run-*/files/media/images/samples_*.png"))) == 4


def test_mlflow(told):
    workdir = told("mlflow")
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{workdir}/mlflow.db")
    (experiment,) = (e for e in client.search_experiments() if e.name == trackers.PROJECT)
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")
    assert run.data.params["optim.lr"] == "0.001"
    history = client.get_metric_history(run.info.run_id, "loss/vae")
    assert {(m.step, m.value) for m in history} == {(10, 0.1), (20, 0.05), (30, 1 / 30)}
    pictures = [file.path for file in client.list_artifacts(run.info.run_id, "samples")]
    assert pictures == [f"samples/step_{step:08d}.png" for step in (10, 20, 30)]


def test_what_is_not_there_is_refused(monkeypatch):
    with pytest.raises(UserError, match="unknown tracker 'wandbb'; valid are: tensorboard"):
        trackers.check(("wandbb",))
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"'mlflow' is not installed: pip install -e '.\[mlflow\]'"):
        trackers.check(("mlflow",))


def test_pytorch_is_not_seen_while_it_is_hidden(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    with trackers._hidden("torch"), pytest.raises(ImportError):
        import torch  # noqa: F401
    assert "torch" not in sys.modules
