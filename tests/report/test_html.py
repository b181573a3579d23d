import json
import re

import pytest

from gen_jax import config as config_lib
from gen_jax import experiment
from gen_jax.errors import UserError
from gen_jax.report import html


@pytest.fixture
def workdir(tmp_path):
    config = config_lib.default_config("vae")
    config.experiment = "experiments/<x>.py"
    (tmp_path / "config.json").write_text(config_lib.to_json(config))
    return tmp_path


def test_a_run_without_results_says_what_is_missing(workdir):
    text = html.write_report(workdir).read_text()
    assert "no training step has been logged yet" in text
    assert "no pictures yet" in text and "launch.py evaluate" in text
    assert "experiments/&lt;x&gt;.py" in text and "<x>" not in text


def test_it_needs_nothing_else(workdir):
    (workdir / "metrics.jsonl").write_text('{"step": 1, "loss/vae": 2.0}\n')
    text = html.write_report(workdir).read_text()
    assert "data:image/png;base64," in text
    assert not re.findall(r'(?:src|href)="(?!data:)', text) and "http" not in text


def test_no_run(tmp_path):
    with pytest.raises(UserError, match="no run in"):
        html.write_report(tmp_path)
    assert experiment.read_metrics(tmp_path) == []


def test_alarms_of_several_replicas_are_all_there(workdir):
    rows = [
        {"step": 1, "loss/vae": 2.0},
        {"step": 1, "alarms": ["replica 0: collapse: old", "replica 0: overfitting: b"]},
        {"step": 2, "alarms": ["replica 0: collapse: new", "replica 1, 2: collapse: c"]},
    ]
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = html.write_report(workdir).read_text()
    for line in ("step 2: replica 0: collapse: new", "step 1: replica 0: overfitting: b"):
        assert line in text
    assert "step 2: replica 1, 2: collapse: c" in text and "collapse: old" not in text
