import pytest

from gen_jax.workdir import console


def test_progress_without_a_terminal_prints_lines(capsys):
    with console.Progress(100, 40, "vae on digits") as progress:
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
    assert console.figure({"value": value, "stderr": stderr}) == text


def test_a_table_is_whole_where_there_is_no_terminal(capsys):
    name = "vae_iwae_mnist:fashion_vae50_2l"
    console.print_table("t", ("row", "text"), [(name, "long " * 40)])
    line = next(line for line in capsys.readouterr().out.splitlines() if name in line)
    assert line.count("long") == 40
