"""What the documents tell to type runs as it stands."""

import re
import subprocess
import sys

import cli
import pytest

import gen_jax
from gen_jax import evaluation, families


def blocks(name):
    """The Python of a document, a block each."""
    return re.findall(r"```python\n(.*?)```", (cli.ROOT / name).read_text(), re.DOTALL)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_snippet_of_the_readme(elsewhere):
    (snippet,) = blocks("README.md")
    names = {}
    exec(snippet, names)
    assert names["run"].step == 2_000 and names["posterior"].mean.shape == (100, 16)
    assert gen_jax.load("digits.safetensors").sample(2).shape == (2, 8, 8, 1)


def test_the_examples_of_extending(elsewhere, monkeypatch):
    """In their order, in one folder: files that they name are written, the rest is run."""
    monkeypatch.syspath_prepend(str(elsewhere))
    for registry in (families, evaluation.metric):
        monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    names, ran = {}, []
    for block in blocks("docs/extending.md"):
        if found := re.match(r"# file: (\S+)", block):
            (elsewhere / found[1]).write_text(block)
            ran.append(found[1])
        else:
            exec(block, names)
            ran.append("code")
    for module in ("mean_field", "mean_grey"):
        monkeypatch.delitem(sys.modules, module)
    assert ran == ["code", "code", "mean_field.py", "mean_grey.py", "pixels.py", "code"]


def test_a_module_of_ones_own_on_the_command_line(elsewhere, capsys):
    """What the examples wrote and trained is evaluated by a command."""
    import launch

    for block in blocks("docs/extending.md"):
        if found := re.match(r"# file: (\S+)", block):
            (elsewhere / found[1]).write_text(block)
    train = ["train", "--config=pixels.py:smoke", "--workdir=run"]
    code = (
        "import sys, launch; sys.path.insert(0, '.'); "
        f"sys.exit(launch.main({train!r}) or launch.main("
        "['evaluate', '--workdir=run', '--import=pixels']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=elsewhere,
        env=cli.environment() | {"PYTHONPATH": str(cli.ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "mean_grey" in (elsewhere / "run" / "evaluation.json").read_text()
    assert launch.main(["evaluate", "--workdir=run"]) == 1
    assert "unknown family 'mean_field'" in (error := capsys.readouterr().err)
    assert "--import=MODULE" in error
    assert launch.main(["evaluate", "--workdir=run", "--import=nothing_like_it"]) == 1
    assert "--import=nothing_like_it: No module named" in capsys.readouterr().err
