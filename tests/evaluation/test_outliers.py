"""A mean that a few examples carry says so, in a run's log and in its evaluation."""

import json

import cli
import numpy as np
import pytest

import gen_jax
from gen_jax import experiment
from gen_jax.evaluation import outliers
from gen_jax.evaluation.metric import Metric
from gen_jax.families.alarms import Alarm
from gen_jax.workdir.logs import read_metrics

RNG = np.random.default_rng(0)
USUAL = RNG.normal(90.0, 20.0, 5_000)


def test_the_mean_without_the_farthest_thousandth():
    far = np.array([90.0 - 9e5, 90.0 + 2e6])
    values = RNG.permutation(np.concatenate([USUAL, far]))
    # Of 5,002 values 6 are left out: the two, and by hand the four farthest of the others.
    distances = np.abs(USUAL - np.median(values))
    kept = USUAL[distances < np.sort(distances)[-4]]
    assert outliers.mean_without(values) == pytest.approx(kept.mean(), rel=1e-12)
    assert outliers.mean_without(np.append(USUAL, np.inf)) == pytest.approx(90.0, abs=1)


@pytest.mark.parametrize(
    "values",
    [
        USUAL,
        RNG.exponential(1.0, 5_000),
        RNG.gamma(0.5, 1.0, 200),
        np.append(USUAL, 90.0 + 20.0 * 5_000**0.5 / 2),  # half a standard error of the mean
        np.append(USUAL[:50], 1e6),  # too few to say
        np.append(USUAL, np.nan),
        np.ones(1_000),
    ],
)
def test_none_where_they_move_it_little(values):
    assert outliers.mean_without(values) is None


def test_a_figure_in_another_unit_and_over_seeds():
    plain = Metric.mean(USUAL, "nats", "exact", {})
    moved = Metric(300.0, 40.0, "nats", "exact", 5_000, {}, without_outliers=91.0)
    assert moved.scaled(2.0, "bits").without_outliers == 182.0
    assert plain.scaled(2.0, "bits").without_outliers is None
    both = Metric.over_seeds([plain, moved], (0, 1))
    assert both.without_outliers == pytest.approx((plain.value + 91.0) / 2)
    assert both.to_json("nll")["without_outliers"] == both.without_outliers
    assert "without_outliers" not in Metric.over_seeds([plain, plain], (0, 1)).to_json("nll")


def test_training_and_evaluation_warn(tmp_path):
    def points(count, far):
        x = np.random.default_rng(count).normal(size=(count, 2)).astype(np.float32)
        x[7] = far
        return x

    np.savez(
        tmp_path / "points.npz",
        x_train=points(300, 0.0),
        x_validation=points(200, 1e4),
        x_test=points(150, 1e4),
    )
    run = gen_jax.fit(
        str(cli.ROOT / "experiments" / "flow_plane.py:smoke"),
        workdir=tmp_path / "run",
        num_replicas=2,
        **{
            "data.name": f"arrays:{tmp_path / 'points.npz'}",
            "eval.metrics": ("nll",),
            "eval.validation_metrics": ("nll",),
            "eval.num_examples": 0,
            "model.transform": "affine",
            "model.layers": 1,
        },
    )
    found = [alarm for row in read_metrics(run.workdir) for alarm in row.get("alarms", ())]
    assert {(alarm.kind, alarm.replicas) for alarm in found} == {
        ("outliers", ("0",)),
        ("outliers", ("1",)),
    }
    figure = experiment.evaluate(run.config, run.workdir, ("nll",))["nll"]
    assert figure.without_outliers < figure.value / 100
    written = json.loads((run.workdir / "evaluation.json").read_text())
    assert written["metrics"]["nll"]["without_outliers"] == figure.without_outliers
    (alarm,) = map(Alarm.from_json, written["alarms"])
    assert f"{figure.without_outliers:.4g} without one example in 1,000" in alarm.evidence
    assert "try --config.optim.weight_decay" in alarm.advice
