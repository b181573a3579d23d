"""The benchmarks' arithmetic and bookkeeping, on made-up times."""

import io
import json
import os

import numpy as np
import pytest

from benchmarks import __main__ as main
from benchmarks import contest, rows, scaling, training, work
from gen_jax.data.spec import DataSpec
from gen_jax.report import results


def row(value, stderr, metric="ratio_to_pytorch", name="dcgan:cpu"):
    fields = {"unit": "times as fast", "n": 9, "wall_clock_s": 1, "command": "true"}
    return rows.measured(value, stderr, row=name, metric=metric, **fields)


def test_a_ratio_is_the_median_of_rounds():
    seconds = {"ours": np.array([[1.0, 2, 4, 1]]), "theirs": np.array([[2.0, 8, 4, 3]])}
    times = contest.Times(seconds)
    # Ratios 2, 4, 1 and 3: a slow round, which slows both, is no outlier.
    assert times.ratio("ours", "theirs") == (2.5, 0.75)
    assert times.median("ours")[0] == 1.5


def test_the_spread_is_that_of_starts_where_they_differ_more_than_rounds():
    ours = np.array([[1.0, 1, 1], [1, 1, 1], [2, 2, 2]])
    times = contest.Times({"ours": ours, "theirs": np.full((3, 3), 2.0)})
    # Each start is steady: 2, 2 and 1 times as fast.
    assert times.ratio("ours", "theirs") == (2, 0.5)


def test_contestants_take_turns_in_both_orders(monkeypatch):
    turns = []

    class Contestant:
        def __init__(self, name, arguments, environment):
            assert (arguments, environment) == (("any", name), {})
            self.name, self.count = name, 2

        def begin(self, count):
            pass

        def end(self):
            pass

        def choose_count(self):
            pass

        def time(self, count):
            turns.append(self.name)
            return {"a": 2.0, "b": 6.0}[self.name]

        def close(self):
            turns.append("closed")

    monkeypatch.setattr(contest, "Contestant", Contestant)
    times = contest.compete({name: (("any", name), {}) for name in "ab"}, starts=2, rounds=3)
    assert turns == ["a", "b", "b", "a", "a", "b", "closed", "closed"] * 2
    assert times.seconds["a"].shape == (2, 3)
    assert times.ratio("a", "b") == (3, 0)
    assert times.median("a") == (1, 0)  # of one of its two times


def test_a_contestant_is_a_process_that_works_when_asked(tmp_path):
    code = (
        "import os, sys, time\n"
        "from benchmarks import contest\n"
        "nap = float(os.environ['NAP'])\n"
        "contest.serve(lambda count: time.sleep(count * nap) if count else sys.exit(3))\n"
    )
    (tmp_path / "sleeper.py").write_text(code)
    environment = {"NAP": "0.01", "PYTHONPATH": f"{tmp_path}{os.pathsep}{contest.ROOT}"}
    contestant = contest.Contestant("sleeper", ("sleeper",), environment)
    assert 0.05 <= contestant.time(5) < 0.5
    with pytest.raises(RuntimeError, match="sleeper died with exit code 3"):
        contestant.time(0)
    contestant.close()


def test_a_ratio_that_falls_is_seen():
    old = [row(2.0, 0.02), row(0.5, None, "fraction_of_matmul"), row(9.0, 0.1, name="gone:cpu")]
    assert not main.regressions(old, [row(1.85, 0.02)])  # by less than a tenth
    assert not main.regressions([row(2.0, 0.2)], [row(1.5, 0.02)])  # within its spread
    assert not main.regressions(old, [row(0.1, 0.01, name="new:cpu")])
    # Fractions are of a rate that was measured once, and say less than ratios.
    assert not main.regressions(old, [row(0.1, None, "fraction_of_matmul")])
    (line,) = main.regressions(old, [row(1.7, 0.02)])
    assert line.startswith("dcgan:cpu: ratio_to_pytorch is 1.7, and was 2.0 ± 0.02")


def test_new_rows_replace_old_ones_in_their_place(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "write_page", lambda: None)
    path = tmp_path / "speed.json"
    rows.write(path, [row(1.0, 0.1), row(2.0, 0.1, "ratio_to_pytorch_compiled")])
    rows.write(path, [row(3.0, 0.1), row(4.0, 0.1, name="judge:cpu")])
    assert [r["value"] for r in json.loads(path.read_text())] == [3, 2, 4]


def test_the_exponent_of_a_power_law():
    sizes = np.array([1, 2, 4, 8])
    slope, error = scaling.exponent(sizes, 3 * sizes**1.5)
    assert slope == pytest.approx(1.5) and error == pytest.approx(0, abs=1e-9)
    noisy = np.exp(np.array([0.1, -0.1, 0.1, -0.1])) * sizes
    slope, error = scaling.exponent(sizes, noisy)
    x, y = np.log(sizes), np.log(noisy)
    expected, covariance = np.polyfit(x, y, 1, cov=True)
    assert slope == pytest.approx(expected[0]) and error == pytest.approx(covariance[0, 0] ** 0.5)


def test_unknown_names_are_answered_with_those_there_are(capsys):
    assert main.main(["--works=dcgam"]) == 1
    assert "no work 'dcgam'; there are: " in capsys.readouterr().err
    assert scaling.main(["--axes=colour"]) == 1
    assert "no axis 'colour'; there are: " in capsys.readouterr().err


def test_every_row_of_the_table_is_of_a_work():
    names = {row["row"].partition(":")[0] for row in results.read(main.TABLE)}
    assert names == {*work.find(), "startup"}


def test_an_axis_has_its_points_its_powers_and_its_picture(monkeypatch, capsys):
    def build(size):
        spec = DataSpec("binary", (2, 2, 1), levels=2)
        model = {"model__hidden": (2,), "model__latent_dim": 1}
        return training.build("vae", spec, batch_size=size, steps_per_dispatch=2, **model)

    def compete(commands, starts, rounds):
        # The processes' own entry, here: each serves one turn.
        assert starts == 1
        seconds = {}
        for name, ((_, flag), environment) in commands.items():
            assert environment == {"SIZE": name.partition("=")[2]}
            monkeypatch.setattr("sys.stdin", io.StringIO("1\n" * rounds))
            assert scaling.main([flag]) == 0
            lines = capsys.readouterr().out.splitlines()
            seconds[name] = np.array([[json.loads(line)["seconds"] for line in lines]])
        return contest.Times(seconds)

    def memory(point, environment):
        assert scaling.main([f"--memory={point}"]) == 0
        return float(capsys.readouterr().out)

    axis = scaling.Axis("tiny", (1, 2, 4, 8), build, lambda n: {"SIZE": str(n)}, lambda: 4)
    monkeypatch.setattr(scaling, "AXES", {"batch_size": axis})
    monkeypatch.setattr(scaling, "ROUNDS", 2)
    monkeypatch.setattr(contest, "compete", compete)
    monkeypatch.setattr(scaling, "_memory", memory)
    made = scaling.measure("batch_size")
    names = [(r["row"].rpartition(":")[2], r["metric"]) for r in made]
    points = [("step_milliseconds", 3), ("step_megabytes", 3)]
    assert all(sum(m == metric and "=" in n for n, m in names) == num for metric, num in points)
    assert names[-2:] == [("batch_size", "time_exponent"), ("batch_size", "memory_exponent")]
    assert all(r["value"] > 0 for r in made if "exponent" not in r["metric"])
    axes = scaling.draw(made).axes
    assert list(axes[0].lines[0].get_xdata()) == [1, 2, 4]
    assert axes[0].get_title("left") == f"size to the {made[-2]['value']:.2f}"
