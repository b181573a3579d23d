"""What is left of a sweep: the table, results.csv and report.html."""

import csv

import numpy as np

from gen_jax.report import charts
from gen_jax.sweeps import report as study_report
from gen_jax.sweeps.spec import Sweep, grid
from gen_jax.sweeps.study import Trial

TRIALS = [
    Trial("000_lr=0.1", {"optim.lr": 0.1, "data.name": "a"}, "finished", 10, -1.25),
    Trial("001_lr=0.2", {"optim.lr": 0.2, "data.name": "<b>"}, "finished", 10, -2.5),
    Trial("002_lr=9", {"optim.lr": 9.0, "data.name": "a"}, "failed", 5, None, "not finite & so on"),
]
SWEEP = Sweep("validation/elbo", "max", trials=grid({"optim.lr": (0.1, 0.2, 9.0)}))


def test_every_trial_is_in_the_table_and_the_report(tmp_path, capsys):
    path = study_report.write(tmp_path, "experiments/x.py", SWEEP, TRIALS)
    with open(tmp_path / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["validation/elbo"] for row in rows] == ["-1.25", "-2.5", ""]
    assert rows[0] | {"rank": "1", "run": "runs/000_lr=0.1", "error": ""} == rows[0]
    assert rows[2]["status"] == "failed" and rows[2]["error"] == "not finite & so on"
    page = path.read_text()
    assert "3 runs (2 finished, 1 failed), ranked by validation/elbo (max)" in page
    assert "&lt;b&gt;" in page and "<b>" not in page
    assert page.count("data:image/png;base64,") == 2
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("-1.25", "-2.5", "failed"))


def test_a_sweep_of_failures_has_no_pictures(tmp_path):
    page = study_report.write(tmp_path, "x", SWEEP, TRIALS[2:]).read_text()
    assert "1 runs (1 failed)" in page and "data:image" not in page


def test_settings_are_spread_over_an_axis():
    heights, ticks = charts._scale([1e-4, 1e-3, 1e-2])  # by their logarithms
    np.testing.assert_allclose(heights, [0, 0.5, 1])
    assert [label for _, label in ticks] == ["0.0001", "0.001", "0.01"]
    heights, _ = charts._scale([1, 2, 5])
    np.testing.assert_allclose(heights, [0, 0.25, 1])
    heights, ticks = charts._scale(["relu", "tanh", "relu"])
    np.testing.assert_allclose(heights, [0, 1, 0])
    assert ticks == [(0.0, "relu"), (1.0, "tanh")]
    assert charts._scale([3, 3])[0].tolist() == [0.5, 0.5]
