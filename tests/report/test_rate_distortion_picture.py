import json
import subprocess
import sys

import numpy as np
import pytest

from gen_jax.errors import UserError
from gen_jax.report import charts, rate_distortion

CURVE = {"rate@beta=2": 30, "distortion@beta=2": 60, "rate@beta=0.1": 5, "distortion@beta=0.1": 90}
POINT = {"elbo": -88, "rate": 22, "distortion": 66}


@pytest.fixture
def workdir(tmp_path):
    def make(name, dataset="mnist", **values):
        (tmp_path / name).mkdir(parents=True)
        metrics = {n: {"value": float(value), "unit": "nats"} for n, value in values.items()}
        result = {"dataset": dataset, "split": "test", "metrics": metrics}
        (tmp_path / name / "evaluation.json").write_text(json.dumps(result))
        return tmp_path / name

    return make


def test_what_is_drawn_is_what_was_measured(workdir, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        charts, "rate_distortion", lambda runs, title: drawn.update(runs=runs, title=title)
    )
    rate_distortion.picture([workdir("a", **CURVE, **POINT), workdir("b/c", **POINT)])
    assert drawn["title"] == "mnist, test split" and list(drawn["runs"]) == ["a", "c"]
    np.testing.assert_array_equal(drawn["runs"]["a"]["curve"], [[90, 5, 0.1], [60, 30, 2]])
    np.testing.assert_array_equal(drawn["runs"]["a"]["point"], [66, 22])
    assert list(drawn["runs"]["c"]) == ["point"]
    same = [workdir("d/run", **POINT), workdir("e/run", **CURVE)]
    rate_distortion.picture(same)
    assert list(drawn["runs"]) == [str(each) for each in same]
    assert list(drawn["runs"][str(same[1])]) == ["curve"]


def test_a_picture_of_points_and_curves(workdir):
    both = rate_distortion.picture([workdir("a", **CURVE, **POINT), workdir("b", **POINT)])
    points = rate_distortion.picture([workdir("c", **POINT)])
    assert both.dtype == np.uint8 and both.ndim == 3 and both.shape == points.shape
    # A colour for each run, in the legend and in the plane.
    colourful = [(np.ptp(image.astype(int), -1) > 60).sum() for image in (both, points)]
    assert colourful[0] > colourful[1] > 50


def test_runs_that_cannot_be_drawn(workdir, tmp_path):
    for empty in (tmp_path / "none", workdir("other", fid=3.0)):
        with pytest.raises(UserError, match=r"neither .*--metrics=elbo,rate_distortion"):
            rate_distortion.picture([empty])
    with pytest.raises(UserError, match="different data"):
        rate_distortion.picture([workdir("a", **POINT), workdir("b", "digits", **POINT)])


def test_runs_of_other_units_are_not_compared(workdir):
    runs = [workdir("bits", **POINT), workdir("bytes", **POINT)]
    for run, x in zip(runs, ("binary", "bytes:256"), strict=True):
        result = json.loads((run / "evaluation.json").read_text())
        result["metrics"]["rate"]["details"] = {"data": "test:10000", "x": x}
        (run / "evaluation.json").write_text(json.dumps(result))
    with pytest.raises(UserError, match="bytes: mnist, test split, bytes:256"):
        rate_distortion.picture(runs)


@pytest.mark.parametrize("module", ["rate_distortion", "timeline"])
def test_as_a_command_it_ends_in_one_line(module, tmp_path):
    command = [sys.executable, "-m", f"gen_jax.report.{module}"]
    bare = subprocess.run(command, capture_output=True, text=True)
    assert bare.returncode == 2 and "OUT.png W" in bare.stderr
    empty = subprocess.run([*command, "a.png", str(tmp_path)], capture_output=True, text=True)
    assert empty.returncode == 1 and empty.stderr.startswith("error: ")
    assert len(empty.stderr.splitlines()) == 1 and not (tmp_path / "a.png").exists()
