import json
import re

import pytest

from gen_jax import config as config_lib
from gen_jax.errors import UserError
from gen_jax.families.alarms import Alarm
from gen_jax.report import html
from gen_jax.workdir import logs


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
    assert "data-panel=" in text and 'id="plotly"' in text
    assert not re.findall(r'(?:src|href)="(?!data:)', text) and "http" not in text


def test_no_run(tmp_path):
    with pytest.raises(UserError, match="no run in"):
        html.write_report(tmp_path)
    assert logs.read_metrics(tmp_path) == []


def test_alarms_of_several_replicas_are_all_there(workdir):
    writer = logs.MetricsWriter(workdir, 0)
    writer.write(1, {"loss/vae": 2.0})
    for step, found in (
        (1, [Alarm("collapse", "old", "try", ("0",)), Alarm("overfitting", "b", "try", ("0",))]),
        (2, [Alarm("collapse", "new", "try", ("0",)), Alarm("collapse", "c", "", ("1", "2"))]),
    ):
        writer.alarms(step, found)
    writer.close()
    text = html.write_report(workdir).read_text()
    for line in (
        "step 2: replica 0: collapse: new; try<",
        "step 1: replica 0: overfitting: b; try<",
        "step 2: replica 1, 2: collapse: c<",
    ):
        assert line in text
    assert "collapse: old" not in text


def test_alarms_of_an_older_version_are_lines(workdir):
    rows = [{"step": 1, "loss/vae": 2.0}, {"step": 1, "alarms": ["replica 0: collapse: a; try b"]}]
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "step 1: replica 0: collapse: a; try b<" in html.write_report(workdir).read_text()
