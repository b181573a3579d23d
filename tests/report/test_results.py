"""The docs' tables are those of results/, and recording fills in a row."""

import json
import subprocess
import sys

import cli
import pytest

from gen_jax import cli as gen_jax_cli
from gen_jax import config as config_lib
from gen_jax.errors import UserError
from gen_jax.evaluation import Metric
from gen_jax.report import results


def test_docs_are_generated_from_the_rows():
    text = (cli.ROOT / "docs" / "results.md").read_text()
    assert text == results.render(cli.ROOT / "results"), "run: python -m gen_jax.report.results"


@pytest.mark.parametrize(
    "path", sorted((cli.ROOT / "results").glob("*.json")), ids=lambda p: p.stem
)
def test_rows_are_whole(path):
    for row in results.read(path):
        assert tuple(row) == results.FIELDS
        assert row["status"] in ("measured", "not run")
        assert (row["value"] is None) == (row["status"] == "not run")
        assert row["command"].startswith("python ")
        file, _, argument = row["row"].partition(":")
        if "launch.py train" in row["command"]:
            assert f"experiments/{file}.py{':' * bool(argument)}{argument} " in row["command"]


def test_commands_can_be_given(monkeypatch):
    """And each records the row that it is the command of."""
    monkeypatch.chdir(cli.ROOT)
    for path in sorted((cli.ROOT / "results").glob("*.json")):
        lines = {row["command"]: row["row"] for row in results.read(path)}
        for line, name in lines.items():
            if "launch.py" not in line:
                continue
            for arguments in results.commands(path.stem, [name]):
                flags, changes = gen_jax_cli.parse(arguments)
                if flags.command == "train":
                    config = config_lib.override(config_lib.load_file(flags.config), changes)
                else:
                    changed = config.copy_and_resolve_references()
                    config_lib.override_trained(changed, changes)
                    assert flags.record == path.stem
                    _, own = results._rows(path, changed)
                    assert {row["row"] for row in own} == {name}


@pytest.fixture
def table(tmp_path):
    row = dict.fromkeys(results.FIELDS, "") | {
        **{"row": "quickstart", "metric": "nll", "value": None, "reference": 10.0},
        **{"stderr": None, "seeds": None, "status": "not run", "command": "python launch.py"},
    }
    path = tmp_path / "table.json"
    path.write_text(json.dumps([row, row | {"row": "other"}]))
    return path


def test_record_fills_in_its_row_alone(table):
    config = config_lib.load_file(str(cli.ROOT / "experiments" / "quickstart.py"))
    figures = {"nll": Metric(12.5, 0.25, "nats", "upper_bound", 297, {})}
    results.record(table, config, figures, 61.0, "CPU, 2 cores")
    first, second = results.read(table)
    assert (first["value"], first["stderr"], first["n"], first["seeds"]) == (12.5, 0.25, 297, [0])
    assert first["status"] == "measured" and first["hardware"] and first["wall_clock_s"] == 61
    assert second["status"] == "not run" and second["value"] is None
    page = results.render(table.parent)
    assert "| row | nll (nats) | published | time |" in page
    assert "| quickstart | 12.50 ± 0.25 | 10 | 1 min |" in page
    assert "Not run: `other` (published 10)." in page


def test_several_seeds_have_their_mean_and_their_worst(table):
    config = config_lib.load_file(str(cli.ROOT / "experiments" / "quickstart.py"))
    each = [Metric(v, 0.1, "nats", "upper_bound", 297, {}) for v in (10.0, 13.0, 11.5)]
    mean = Metric.over_seeds(each, (0, 1, 2))
    # Mean 11.5, standard deviation 1.5 over three seeds.
    assert mean.value == 11.5 and mean.stderr == pytest.approx(1.5 / 3**0.5) and mean.n == 297
    results.record(table, config, {"nll": mean}, 60.0, "a GPU")
    row = results.read(table)[0]
    assert row["seeds"] == [0, 1, 2] and row["worst"] == 13.0
    page = results.render(table.parent)
    assert "| quickstart | 11.50 ± 0.87, worst 13.00 | 10 | 3 | 1 min |" in page


def test_what_rows_have_in_common_is_said_once(table):
    """And what real data score stands beside what samples do."""
    rows = results.read(table)
    for row, value in zip(rows, (2.0, 3.0), strict=True):
        row |= {"metric": "fid", "value": value, "unit": "distance", "n": 9, "reference": None}
        row |= {"status": "measured", "hardware": "CPU", "wall_clock_s": 30, "seeds": [0]}
        row |= {"protocol": "The same", "deviation": f"Own {value}", "worst": None}
    floor = rows[0] | {"metric": "fid_floor", "value": 0.5}
    results.write(table, [*rows, floor])
    page = results.render(table.parent)
    assert "| quickstart | 2 (0.5) | 30 s |" in page and "| other | 3 | 30 s |" in page
    assert page.count("Protocol: The same.") == 1 and "fid_floor |" not in page
    assert "Deviation (`quickstart`): Own 2.0." in page and "(`other`): Own 3.0." in page
    assert page.count("    python launch.py\n") == 1, "commands are folded, each once"


def test_reproduce_lists_and_measures_rows(table, tmp_path, monkeypatch, capsys):
    import launch

    folder = tmp_path / "root" / "results"
    folder.mkdir(parents=True)
    run = "--workdir=runs/quickstart-smoke"
    row = results.read(table)[0] | {
        "row": "quickstart:smoke",
        "metric": "nll",
        "command": f"python launch.py train --config=experiments/quickstart.py:smoke {run} && "
        f"python launch.py evaluate {run} --config.eval.num_examples=32 --record=tiny",
    }
    speed = row | {"row": "dcgan:cpu", "command": "python -m benchmarks --works=dcgan"}
    (folder / "tiny.json").write_text(json.dumps([row, speed]))
    monkeypatch.setattr(results, "ROOT", tmp_path / "root")
    monkeypatch.setattr(results.provenance, "commit", lambda: "abc")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "root" / "experiments").symlink_to(cli.ROOT / "experiments")
    assert launch.main(["reproduce", "--table=tiny"]) == 0
    assert "not run" in capsys.readouterr().out
    assert launch.main(["reproduce", "--table=tiny", "--workdir=x"]) == 1
    assert "x: a row is of its experiment as it stands, in runs/" in capsys.readouterr().err
    assert launch.main(["reproduce", "--table=tiny", "--config.steps=5"]) == 1
    assert "as it stands" in capsys.readouterr().err
    assert launch.main(["reproduce", "--table=tiny", "--rows=quickstart:smok"]) == 1
    assert "no row 'quickstart:smok'; did you mean quickstart:smoke" in capsys.readouterr().err
    assert launch.main(["reproduce", "--table=tiny", "--rows=dcgan:cpu"]) == 1
    assert "it is measured by python -m benchmarks --works=dcgan" in capsys.readouterr().err
    assert launch.main(["reproduce", "--table=tiny", "--rows= quickstart:smoke,"]) == 0
    measured = results.read(folder / "tiny.json")[0]
    assert measured["status"] == "measured" and measured["n"] == 32
    assert (tmp_path / "runs" / "quickstart-smoke" / "evaluation.json").exists()


def test_record_refuses_what_the_table_does_not_have(table):
    config = config_lib.load_file(str(cli.ROOT / "experiments" / "vae_mnist.py"))
    with pytest.raises(UserError, match=r"no row 'vae_mnist'; .*--table=table lists them"):
        results.record(table, config, {"nll": None}, 1.0, "")
    with pytest.raises(UserError, match=r"no table 'x'; there are: table"):
        results.read(table.parent / "x.json")


def test_record_is_of_a_rows_own_run_at_its_end(table, tmp_path):
    config = config_lib.load_file(str(cli.ROOT / "experiments" / "quickstart.py"))
    changed = lambda *arguments: config_lib.override(  # noqa: E731
        config.copy_and_resolve_references(), arguments
    )
    fine = changed("--config.data.manual_dir=/data", "--config.eval.batch_size=10")
    at = lambda step: tmp_path / str(step)  # noqa: E731
    for step in (config.steps, config.steps - 1):
        (at(step) / "checkpoints" / str(step)).mkdir(parents=True)
    assert results.check_run(table, fine, at(config.steps), None) is None
    smoke = config_lib.load_file(str(cli.ROOT / "experiments" / "quickstart.py") + ":smoke")
    varied = changed("--config.num_replicas=2")
    varied.overrides, varied.replica_values = (), (("optim.lr", (1e-3, 1e-4)),)
    for other, step, replica, word in (
        (changed("--config.optim.lr=1"), config.steps, None, "changed by --config.optim.lr=1"),
        (changed("--config.eval.importance_samples=4"), config.steps, None, "importance_samples"),
        (varied, config.steps, None, "differ in more than their seed"),
        (config, config.steps, 0, "leave out --replica=0"),
        (config, config.steps - 1, None, "train it to its end"),
        (smoke, config.steps, None, "no row 'quickstart:smoke'; did you mean quickstart"),
    ):
        with pytest.raises(UserError, match=word):
            results.check_run(table, other, at(step), replica)


def test_a_row_has_what_its_command_changes(table, tmp_path):
    """And of two commands of one row each records its own figures."""
    rows = results.read(table)[:1] * 2
    few = "python launch.py evaluate --config.eval.num_examples=9"
    rows = [
        row | {"command": line, "metric": name}
        for row, line, name in zip(
            rows, (few, "python launch.py evaluate"), ("nll", "elbo"), strict=True
        )
    ]
    results.write(table, rows)
    config = config_lib.load_file(str(cli.ROOT / "experiments" / "quickstart.py"))
    figures = {name: Metric(1.0, 0.1, "nats", "upper_bound", 9, {}) for name in ("nll", "elbo")}
    on_few = config_lib.override(
        config.copy_and_resolve_references(), ["--config.eval.num_examples=9"]
    )
    assert [r["metric"] for r in results.record(table, on_few, figures, 1.0, "")] == ["nll"]
    assert [r["metric"] for r in results.record(table, config, figures, 1.0, "")] == ["elbo"]
    results.write(table, rows[:1])
    with pytest.raises(UserError, match=r"is measured with --config\.eval\.num_examples=9; add"):
        results.record(table, config, figures, 1.0, "")


def test_a_changed_run_is_not_recorded(table, tmp_path, monkeypatch, capsys):
    import launch

    folder = tmp_path / "root" / "results"
    folder.mkdir(parents=True)
    row = results.read(table)[0] | {"row": "quickstart:smoke"}
    (folder / "tiny.json").write_text(json.dumps([row]))
    monkeypatch.setattr(results, "ROOT", tmp_path / "root")
    at = f"--workdir={tmp_path / 'run'}"
    assert launch.main(["train", *cli.TINY, at]) == 0
    assert launch.main(["evaluate", at, "--record=tiny"]) == 1
    assert "changed by --config.model.hidden=(16,)" in capsys.readouterr().err
    assert results.read(folder / "tiny.json")[0]["status"] == "not run"
    assert not (tmp_path / "run" / "evaluation.json").exists()


def test_the_worst_seed_of_what_should_be_small_is_the_largest():
    figure = Metric.over_seeds([Metric(v, 0.1, "", "exact", 9, {}) for v in (1.0, 2.0)], (0, 1))
    small = ("nll", "nll_ais", "distortion", "fid", "ndb_js", "kl_to_train", "kl_corrected")
    small += ("amortization_gap", "approximation_gap", "bdmc_gap", "fid_floor", "distortion@beta=2")
    for name in small:
        assert results._worst(name, figure) == 2.0, name
    for name in ("modes", "elbo", "coverage_floor", "label_accuracy"):
        assert results._worst(name, figure) == 1.0, name


@pytest.mark.parametrize(("seeds", "stderr"), [((0, 1, 2), 0.5), ((0, 1, 0), None)])
def test_runs_of_one_seed_are_not_independent(seeds, stderr):
    each = [Metric(v, 0.1, "nats", "exact", 9, {}) for v in (1.0, 1.0, 2.5)]
    mean = Metric.over_seeds(each, seeds)
    assert mean.value == 1.5 and mean.stderr == pytest.approx(stderr)


def test_a_reader_that_has_read_enough_is_no_error():
    command = [sys.executable, "launch.py", "reproduce", "--table=iwae"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=cli.ROOT, **pipes) as process:
        process.stdout.close()
        error = process.stderr.read()
    assert process.returncode != 0 and "Traceback" not in error
