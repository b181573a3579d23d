"""The docs' tables are those of results/, and recording fills in a row."""

import json

import cli
import pytest

from gen_jax import config as config_lib
from gen_jax import results
from gen_jax.errors import UserError
from gen_jax.evaluation import Metric


def test_docs_are_generated_from_the_rows():
    text = (cli.ROOT / "docs" / "results.md").read_text()
    assert text == results.render(cli.ROOT / "results"), "run: python -m gen_jax.results"


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
    figures = {"nll": Metric(12.5, 0.25, "nats", "upper_bound", 297, "nll[...]")}
    results.record(table, config, figures, 61.0)
    first, second = results.read(table)
    assert (first["value"], first["stderr"], first["n"], first["seeds"]) == (12.5, 0.25, 297, [0])
    assert first["status"] == "measured" and first["hardware"] and first["wall_clock_s"] == 61
    assert second["status"] == "not run" and second["value"] is None
    page = results.render(table.parent)
    assert "| 12.50 ± 0.25 nats (n=297) | 10 | +2.5 |" in page
    assert "| other | nll | not run | 10 |" in page


def test_several_seeds_have_their_mean_and_their_worst(table):
    config = config_lib.load_file(str(cli.ROOT / "experiments" / "quickstart.py"))
    each = [Metric(v, 0.1, "nats", "upper_bound", 297, "nll[...]") for v in (10.0, 13.0, 11.5)]
    mean = Metric.over_seeds(each)
    # Mean 11.5, standard deviation 1.5 over three seeds.
    assert mean.value == 11.5 and mean.stderr == pytest.approx(1.5 / 3**0.5) and mean.n == 297
    results.record(table, config, {"nll": mean}, 60.0)
    row = results.read(table)[0]
    assert row["seeds"] == [0, 1, 2] and row["worst"] == 13.0
    assert ", worst 13 |" in results.render(table.parent)


def test_reproduce_lists_and_measures_rows(table, tmp_path, monkeypatch, capsys):
    import launch

    folder = tmp_path / "root" / "results"
    folder.mkdir(parents=True)
    row = results.read(table)[0] | {"row": "quickstart:smoke", "metric": "nll"}
    speed = row | {"row": "dcgan:cpu", "command": "python -m benchmarks --works=dcgan"}
    (folder / "tiny.json").write_text(json.dumps([row, speed]))
    monkeypatch.setattr(results, "ROOT", tmp_path / "root")
    monkeypatch.setattr(results, "commit", lambda: "abc")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").symlink_to(cli.ROOT / "experiments")
    assert launch.main(["reproduce", "--table=tiny"]) == 0
    assert "not run" in capsys.readouterr().out
    assert launch.main(["reproduce", "--table=tiny", "--rows=quickstart:smok"]) == 1
    assert "no row 'quickstart:smok'; it has: quickstart:smoke" in capsys.readouterr().err
    assert launch.main(["reproduce", "--table=tiny", "--rows=dcgan:cpu"]) == 1
    assert "it is measured by python -m benchmarks --works=dcgan" in capsys.readouterr().err
    assert launch.main(["reproduce", "--table=tiny", "--rows=quickstart:smoke"]) == 0
    measured = results.read(folder / "tiny.json")[0]
    assert measured["status"] == "measured" and measured["n"] == 32
    assert (tmp_path / "runs" / "quickstart-smoke" / "evaluation.json").exists()


def test_record_refuses_what_the_table_does_not_have(table):
    config = config_lib.load_file(str(cli.ROOT / "experiments" / "vae_mnist.py"))
    with pytest.raises(UserError, match=r"no row 'vae_mnist'.*quickstart \(nll\)"):
        results.record(table, config, {"nll": None}, 1.0)
    with pytest.raises(UserError, match=r"no table 'x'; there are: table"):
        results.read(table.parent / "x.json")
