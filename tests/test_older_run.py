"""A workdir that an older version of the project trained half way: it loads, resumes, evaluates.

`older_run` was trained before runs kept a description of their data, with alarms as lines of text.
"""

import json
import shutil

import cli
import numpy as np
import pytest

import gen_jax
from gen_jax import experiment
from gen_jax.workdir import logs
from gen_jax.workdir.claim import read_config, read_data

OLDER = cli.ROOT / "tests" / "older_run"
EXPECTED = json.loads((OLDER / "expected.json").read_text())


@pytest.fixture
def workdir(tmp_path):
    return shutil.copytree(OLDER, tmp_path / "run")


def test_it_loads_and_reports(workdir):
    run = gen_jax.load(workdir)
    assert run.step == 20 and run.spec.shape == (8, 8, 1) and read_data(workdir) is None
    assert run.sample(3).shape == (3, 8, 8, 1)
    from gen_jax.report import html

    text = html.write_report(workdir).read_text()
    assert "posterior collapse: a line of the older version; try x" in text and "rate" in text


def test_it_goes_on_as_it_would_have(workdir, monkeypatch):
    monkeypatch.chdir(cli.ROOT)
    config = read_config(workdir)
    assert experiment.train(config, workdir)
    rows = [row for row in logs.read_metrics(workdir) if row["step"] > 20]
    rows = [row for row in rows if "alarms" not in row]
    assert len(rows) == len(EXPECTED["rows"])
    for row, expected in zip(rows, EXPECTED["rows"], strict=True):
        for name, value in expected.items():
            np.testing.assert_allclose(row[name], value, rtol=1e-3, err_msg=name)
    figures = experiment.evaluate(read_config(workdir), workdir, config.eval.metrics)
    for name, value in EXPECTED["evaluation"].items():
        np.testing.assert_allclose(figures[name].value, value, rtol=1e-3, err_msg=name)
    assert read_data(workdir).spec == gen_jax.load(workdir).spec, "now it has a description"
