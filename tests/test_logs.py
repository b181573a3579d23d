import json

import pytest

from gen_jax import logs


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


def test_progress_without_a_terminal_prints_lines(capsys):
    with logs.Progress(100, 40, "vae on digits") as progress:
        progress.update(70, 3.0, 1_000.0)
        progress.update(100, 2.5, 12_345.0)
        progress.message("saved")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "vae on digits: 100 steps, from step 40"
    assert lines[1] == "step 100/100  loss 2.5  12,345 examples/s  0:00 left"
    assert lines[2] == "saved"


@pytest.mark.parametrize(
    ("value", "stderr", "text"),
    [
        (86.7612, 0.1234, "86.76 ± 0.12"),
        (0.98765, 0.00321, "0.9877 ± 0.0032"),
        (21.0, None, "21"),
        (1.23456, None, "1.235"),
        (25.0, 0.0, "25"),
    ],
)
def test_figure(value, stderr, text):
    assert logs.figure({"value": value, "stderr": stderr}) == text


def test_a_table_is_whole_where_there_is_no_terminal(capsys):
    name = "vae_iwae_mnist:fashion_vae50_2l"
    logs.print_table("t", ("row", "text"), [(name, "long " * 40)])
    line = next(line for line in capsys.readouterr().out.splitlines() if name in line)
    assert line.count("long") == 40
