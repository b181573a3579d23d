"""Panels of curves, and pages of several runs."""

import json
import re
import shutil
from html.parser import HTMLParser

import cli
import numpy as np
import pytest

import launch
from gen_jax import config as config_lib
from gen_jax import experiment
from gen_jax.report import curves, html

ROWS = [
    *({"step": s, "loss/a": 1.0 / s, "elbo": -s, "grad_norm/a": 2.0} for s in range(1, 31)),
    {"step": 10, "validation/elbo": -9.0, "validation/good": 0.4, "validation/good_floor": 0.9},
    {"step": 30, "validation/elbo": -8.0, "validation/good": 0.6, "validation/good_floor": 0.8},
    {"step": 30, "examples_per_second": 5.0, "elbo/replica_0": -1.0, "elbo/replica_1": -2.0},
    {"step": 30, "alarms": []},
]


def panels(runs):
    return {
        panel["title"]: (group["title"], panel["lines"])
        for group in curves.groups(runs)
        for panel in group["panels"]
    }


def test_figures_are_grouped_by_what_they_mean():
    found = panels({"": ROWS})
    assert {title: group for title, (group, _) in found.items()} == {
        "loss/a": "Losses",
        "elbo": "Training and validation",
        "good": "Validation",
        "grad_norm/a": "Gradients",
        "examples_per_second": "Speed",
    }
    lines = {line["name"]: line for line in found["elbo"][1]}
    assert set(lines) == {"training", "validation", "replica_0", "replica_1"}
    assert lines["validation"]["x"] == [10, 30] and lines["validation"]["y"] == [-9.0, -8.0]
    assert lines["replica_0"]["thin"] and "thin" not in lines["training"]
    # The floor is no panel but a line, and is called what it is.
    score, floor = found["good"][1]
    assert (score["name"], floor["name"]) == ("validation", "real data")
    assert floor["x"] == [10, 30] and floor["y"] == [0.8, 0.8]


def test_runs_are_overlaid_in_colours_of_their_own():
    found = panels({"one": ROWS, "two": ROWS[:5]})
    lines = found["loss/a"][1]
    assert [line["name"] for line in lines] == ["one (training)", "two (training)"]
    assert lines[0]["color"] != lines[1]["color"]


def test_a_first_value_far_off_does_not_flatten_the_rest():
    rows = [{"step": s, "loss/a": 1_000.0 if s == 1 else 1.0 + s / 100} for s in range(1, 40)]
    (group,) = curves.groups({"": rows})
    low, high = group["panels"][0]["range"]
    assert high < 3 and low < 1.02
    assert curves.groups({"": rows[1:]})[0]["panels"][0]["range"] is None


class Page(HTMLParser):
    """The texts, tags and panels of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.panels, self.links, self.words = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        self.links += [v for k, v in attributes.items() if k in ("src", "href")]
        if "data-panel" in attributes:
            self.panels.append(json.loads(attributes["data-panel"]))

    def handle_data(self, data):
        self.words += data.split()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    path = str(cli.ROOT / "experiments" / "quickstart.py") + ":smoke"
    for name, changes in (("a", {}), ("b", {"optim.lr": 0.01, "num_replicas": 2})):
        own = config_lib.override(
            config_lib.load_file(path),
            [
                "--config.model.hidden=(16,)",
                "--config.eval.metrics=elbo",
                *(f"--config.{k}={v}" for k, v in changes.items()),
            ],
        )
        assert experiment.train(own, root / name)
        experiment.evaluate(own, root / name, own.eval.metrics)
    return root


def test_a_report_is_one_file_of_moderate_size(runs):
    path = html.write_report(runs / "b")
    assert path.stat().st_size < 5_000_000
    page = Page(path.read_text())
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert {"elbo", "loss/vae"} <= {panel["title"] for panel in page.panels}
    text = " ".join(page.words)
    assert "mean of seeds 0, 1" in text and "Replica 0." in text
    assert "means of p(x|z)" in text and "Provenance" in text and "jaxlib" in text
    assert "Examples of the test split" in text


def test_several_runs_beside_one_another(runs, capsys):
    out = runs / "both.html"
    folders = f"--workdir={runs / 'a'},{runs / 'b'}"
    assert launch.main(["report", folders, f"--out={out}"]) == 0
    page = Page(out.read_text())
    text = " ".join(page.words)
    differing = text[text.index("What they differ in") : text.index("Evaluation")]
    assert "optim.lr 0.001 0.01" in differing and "num_replicas 1 2" in differing
    assert "model.hidden" not in differing
    assert "a/report.html" in page.links
    names = {line["name"] for panel in page.panels for line in panel["lines"]}
    assert {"a (training)", "b (training)"} <= names
    values = re.findall(r"-\d+\.\d+ ± \d+\.\d+", text)
    assert len(values) >= 2
    assert launch.main(["report", f"--workdir={runs / 'a'},{runs / 'c'}", f"--out={out}"]) == 1
    assert "no run in" in capsys.readouterr().err
    assert launch.main(["report", folders, f"--out={runs / 'new' / 'both.html'}"]) == 0
    assert (runs / "new" / "both.html").exists()


def test_a_workdir_with_a_comma_in_its_name(runs, tmp_path):
    workdir = shutil.copytree(runs / "b", tmp_path / "003_lr=0.1,beta=1")
    evaluation = json.loads((workdir / "evaluation.json").read_text()) | {"replica": 1}
    (workdir / "evaluation.json").write_text(json.dumps(evaluation))
    assert launch.main(["report", f"--workdir={workdir}"]) == 0
    assert "Replica 1." in " ".join(Page((workdir / "report.html").read_text()).words)


def test_what_a_strangers_log_says_is_text(tmp_path):
    (tmp_path / "config.json").write_text(config_lib.to_json(config_lib.default_config("vae")))
    name = 'loss/<img src=x onerror=alert(1)>"&'
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 1, name: 2.0}) + "\n")
    page = Page(html.write_report(tmp_path).read_text())
    assert "img" not in page.tags and page.panels[0]["title"] == name
    assert np.isfinite(page.panels[0]["lines"][0]["y"]).all()
