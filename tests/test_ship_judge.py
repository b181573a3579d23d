"""From a classifier's run to a judge, and what the shipped ones say of themselves."""

import cli
import jax
import numpy as np
import pytest

from gen_jax import config as config_lib
from gen_jax import experiment, ship_judge
from gen_jax.data import sources
from gen_jax.errors import UserError
from gen_jax.evaluation import Context, features, judges


def train(workdir):
    path = str(cli.ROOT / "experiments" / "classifier_digits.py:smoke")
    config = config_lib.override(config_lib.load_file(path), ["--config.model.widths=(4,)"])
    experiment.train(config, workdir)
    return config


def test_a_judge_reads_grey_levels(tmp_path):
    path = str(cli.ROOT / "experiments" / "classifier_digits.py:smoke")
    changes = ["--config.model.widths=(4,)", "--config.data.preprocess=dynamic_binarization"]
    experiment.train(config_lib.override(config_lib.load_file(path), changes), tmp_path)
    with pytest.raises(UserError, match=r"config\.data\.preprocess=bytes"):
        ship_judge.ship(tmp_path)


def test_a_run_becomes_a_judge(tmp_path, monkeypatch):
    config = train(tmp_path / "run")
    monkeypatch.setattr(judges, "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(UserError, match=r"evaluate it first: python launch\.py evaluate"):
        ship_judge.ship(tmp_path / "run")
    figures = experiment.evaluate(config, tmp_path / "run", ("accuracy",))
    path = ship_judge.ship(tmp_path / "run")
    judge = judges.load(str(path))
    assert judge.metadata["dataset"] == "digits" and judge.module.widths == (4,)
    assert float(judge.metadata["accuracy"]) == round(figures["accuracy"].value, 4)
    assert "classifier_digits.py:smoke --config.model.widths=(4,)" in judge.metadata["command"]


def test_the_shipped_judge_has_the_accuracy_that_it_claims():
    config = config_lib.default_config("vae")
    dataset = sources.load(config.data)
    judge = judges.load("digits")
    net = features.load(config.eval, dataset)
    pictures, label = features.stored_pictures(Context(None, dataset, "test", config.eval), "test")
    accuracy = (net(pictures)[0].argmax(-1) == label).mean()
    assert accuracy == pytest.approx(float(judge.metadata["accuracy"]), abs=1e-4)
    assert accuracy >= 0.975


@pytest.mark.parametrize(
    ("name", "least"), [("digits", 0.975), ("mnist", 0.993), ("fashion_mnist", 0.925)]
)
def test_shipped_judges_are_small_and_good(name, least):
    path = cli.ROOT / "gen_jax" / "evaluation" / "judges" / f"{name}.safetensors"
    assert path.stat().st_size <= 2_000_000
    judge = judges.load(name)
    assert float(judge.metadata["accuracy"]) >= least
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(judge.params))
    assert judge.metadata["command"].startswith("python launch.py train --config=experiments/")
