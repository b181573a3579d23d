"""Every experiment file trains, evaluates, samples and reports, shrunk by `:smoke`."""

import json
import re
from pathlib import Path

import cli
import pytest

from gen_jax import commands
from gen_jax import config as config_lib
from gen_jax.logs import read_metrics

FILES = sorted(path.name for path in (cli.ROOT / "experiments").glob("*.py"))


@pytest.mark.parametrize("name", FILES)
def test_smoke(name, tiny_idx, tmp_path, monkeypatch):
    import launch

    monkeypatch.chdir(cli.ROOT)
    monkeypatch.setenv("GEN_JAX_MANUAL_DIR", str(tiny_idx))
    # One folder for the module's tests: each dataset is prepared once.
    monkeypatch.setenv("TFDS_DATA_DIR", str(tiny_idx.parent / "tfds"))
    workdir = tmp_path / "run"
    at = f"--workdir={workdir}"
    assert launch.main(["train", f"--config=experiments/{name}:smoke", at]) == 0
    rows = read_metrics(workdir)
    assert [row["step"] for row in rows if "loss/vae" in row] == [10, 20]
    assert all("examples_per_second" in row for row in rows if "loss/vae" in row)
    assert (workdir / "samples" / "step_00000010.png").exists()
    assert launch.main(["evaluate", at]) == 0
    metrics = json.loads((workdir / "evaluation.json").read_text())["metrics"]
    assert {"value", "stderr", "unit", "kind", "n", "spec"} == set(metrics["nll"])
    assert launch.main(["sample", at, "--num=3"]) == 0
    assert (workdir / "samples" / "seed_0.npz").exists()
    assert launch.main(["report", at]) == 0
    assert "nll" in (workdir / "report.html").read_text()


@pytest.mark.parametrize("name", FILES)
def test_docstring_has_the_command(name):
    text = Path(cli.ROOT / "experiments" / name).read_text()
    doc = text.split('"""')[1]
    assert re.search(r"python launch\.py", doc)
    assert len(text.splitlines()) < 100
    config = config_lib.load_file(f"experiments/{name}") if Path.cwd() == cli.ROOT else None
    config = config or config_lib.load_file(str(cli.ROOT / "experiments" / name))
    config_lib.check(config)


def test_default_workdir_is_named_after_the_experiment():
    assert commands.default_workdir("experiments/x.py") == Path("runs/x")
    assert commands.default_workdir("experiments/x.py:a,smoke") == Path("runs/x-a-smoke")
