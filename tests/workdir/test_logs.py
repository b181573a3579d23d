import json

import pytest

from gen_jax.workdir import logs


def test_rows_after_the_resumed_step_are_dropped(tmp_path):
    writer = logs.MetricsWriter(tmp_path, resume_step=0)
    for step in (10, 20, 30):
        writer.write(step, {"loss/vae": 1.0 / step})
    writer.close()
    writer = logs.MetricsWriter(tmp_path, resume_step=20)
    writer.write(30, {"loss/vae": 7.0})
    writer.close()
    rows = logs.read_metrics(tmp_path)
    assert [(row["step"], row["loss/vae"]) for row in rows] == [(10, 0.1), (20, 0.05), (30, 7.0)]


def test_a_value_that_is_not_finite_is_refused(tmp_path):
    writer = logs.MetricsWriter(tmp_path, resume_step=0)
    with pytest.raises(ValueError):
        writer.write(1, {"loss/vae": float("nan")})
    writer.close()
    assert logs.read_metrics(tmp_path) == []


def test_other_processes_write_nothing(tmp_path):
    writer = logs.MetricsWriter(tmp_path, resume_step=0, enabled=False)
    writer.write(1, {"a": 1.0})
    writer.close()
    assert list(tmp_path.iterdir()) == []


def test_a_row_that_a_kill_cut_short_is_left_out(tmp_path):
    text = json.dumps({"step": 1}) + "\n" + '{"step": 2, "lo'
    (tmp_path / "metrics.jsonl").write_text(text)
    assert logs.read_metrics(tmp_path) == [{"step": 1}]
    assert logs.read_metrics(tmp_path / "nowhere") == []
