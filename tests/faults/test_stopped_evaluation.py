"""SIGTERM while a run is measured: evaluation.json is the old one, whole, or not there."""

import json
import os
import shutil
import signal
import subprocess
import sys

import cli
import pytest

from gen_jax import evaluation, experiment
from gen_jax.training import signals

# `launch.py evaluate` of the workdir argv[1], which is sent SIGTERM when argv[2] happens.
EVALUATE = """
import os, pathlib, signal, sys
import launch
from gen_jax import evaluation

def stop(*arguments):
    print("now", flush=True)
    os.kill(os.getpid(), signal.SIGTERM)

owner = {"measure": evaluation, "replace": pathlib.Path}[sys.argv[2]]
setattr(owner, sys.argv[2], stop)
sys.exit(launch.main(["evaluate", "--workdir=" + sys.argv[1], "--metrics=elbo"]))
"""


def test_in_validation(small, whole, tmp_path, monkeypatch):
    """It ends the validation, which the state was saved before, and stops the run after it."""
    measure = evaluation.measure

    def stop(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return measure(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "measure", stop)
        with pytest.raises(signals.Stopped) as stopped:
            experiment.train(small, tmp_path)
    assert stopped.value.signum == signal.SIGTERM and stopped.value.step == 25
    assert experiment.train(small, tmp_path)
    cli.assert_same_checkpoint(whole, tmp_path, 40)


# While it computes, and when the new file has all but its name.
@pytest.mark.parametrize(("moment", "before"), [("measure", None), ("replace", '{"old": 1}')])
def test_evaluate(small, whole, tmp_path, moment, before):
    workdir = shutil.copytree(whole, tmp_path / "run")
    path = workdir / "evaluation.json"
    if before:
        path.write_text(before)
    done = subprocess.run(
        [sys.executable, "-c", EVALUATE, str(workdir), moment],
        cwd=cli.ROOT,
        env=cli.environment(),
        capture_output=True,
        text=True,
    )
    assert done.stdout.endswith("now\n"), done
    assert done.returncode in (-signal.SIGTERM, 128 + signal.SIGTERM)
    assert "Traceback" not in done.stderr
    assert (path.read_text() if path.exists() else None) == before
    # And again, to its end.
    experiment.evaluate(small, workdir, ("elbo",))
    assert json.loads(path.read_text())["step"] == 40
