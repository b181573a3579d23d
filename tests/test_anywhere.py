"""The command line from any folder, what it lists, and what a run would be."""

import subprocess
import sys
import zipfile

import cli
import pytest

import launch
from gen_jax import config as config_lib
from gen_jax import evaluation, families
from gen_jax.errors import UserError


def run(folder, *arguments, **environment):
    command = [sys.executable, "-m", "gen_jax", *arguments]
    environment = cli.environment() | {"PYTHONPATH": str(cli.ROOT)} | environment
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_an_experiment_of_the_project_is_found_from_any_folder(tmp_path):
    changes = ["--config.steps=10", f"--workdir={tmp_path / 'run'}"]
    done = run(tmp_path, "train", *cli.TINY, *changes)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "checkpoints" / "10").is_dir()
    # One of the same name that is here comes first.
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "quickstart.py").write_text("x = 1\n")
    done = run(tmp_path, "train", *cli.TINY, *changes)
    assert done.returncode == 1 and "has no get_config()" in done.stderr


def test_the_list_has_everything_that_can_be_named(capsys):
    assert launch.main(["list"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for path in (cli.ROOT / "experiments").glob("*.py"):
        assert f"experiments/{path.name} " in text
    for name in (*families.names(), *evaluation.metrics(), "stacked_mnist", "fidelity"):
        assert f" {name} " in text, name
    assert "conditional, plane, autoencoder" in text
    assert "Var_x(E_q(u|x)[u])" in text, "brackets are no markup"


def test_the_keys_of_an_experiment_have_a_value_and_a_meaning(capsys):
    assert launch.main(["list", "experiments/gan_digits.py:smoke"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "optim.warmup_steps 0 the learning rate rises linearly over so many" in text
    assert "steps* 20 of training" in text
    assert "model.generator_norm* batch" in text
    assert "* set by experiments/gan_digits.py:smoke" in text
    assert launch.main(["list", "experiments/none.py"]) == 1


def test_a_dry_run_says_what_the_run_would_be_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = [*cli.TINY, "--config.batch_size=16", f"--workdir={tmp_path / 'run'}"]
    assert launch.main(["train", "--dry-run", *arguments]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "model.latent_dim 2 50" in text and "x [16, 8, 8, 1]" in text
    # 64-16-(2 and 2), 2-16-(64 and 64): weights and biases.
    count = 64 * 16 + 16 + 16 * 4 + 4 + 2 * 16 + 16 + 16 * 128 + 128
    assert f"parameters: vae {count:,}" in text
    assert "ms a step" in text and "training set" in text
    assert not list(tmp_path.iterdir())
    assert launch.main(["train", "--dry-run", *arguments, "--config.batch_size=0"]) == 1


def test_a_trace_of_some_steps(tmp_path, capsys):
    workdir = f"--workdir={tmp_path}"
    assert launch.main(["train", *cli.TINY, "--config.steps=40", "--profile=10", workdir]) == 0
    assert "ui.perfetto.dev" in " ".join(capsys.readouterr().out.split())
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))


def test_help_explains_the_keys_of_a_config(capsys):
    with pytest.raises(SystemExit):
        launch.main(["train", "--help"])
    text = capsys.readouterr().out
    assert "--config.KEY=VALUE changes a key" in text and "gen-jax list" in text


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("experiments/a.py", ("experiments/a.py", "")),
        ("experiments/a.py:smoke", ("experiments/a.py", "smoke")),
        ("a.py:x,smoke", ("a.py", "x,smoke")),
        (r"C:\work\a.py", (r"C:\work\a.py", "")),
        (r"C:\work\a.py:smoke", (r"C:\work\a.py", "smoke")),
        ("d:/mine/a.py:smoke", ("d:/mine/a.py", "smoke")),
    ],
)
def test_the_colon_of_a_drive_is_part_of_a_path(given, expected):
    assert config_lib.split_argument(given) == expected


def test_a_syntax_error_is_a_line_with_its_place(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("x = 1\ndef get_config(:\n")
    with pytest.raises(UserError, match=rf"^{path}:2: invalid syntax$"):
        config_lib.load_file(str(path))


def test_a_reader_that_leaves_does_not_end_a_training(tmp_path):
    """As `| head -1` does."""
    command = [sys.executable, "-m", "gen_jax", "train", *cli.TINY, "--config.steps=60"]
    process = subprocess.Popen(
        [*command, f"--workdir={tmp_path / 'run'}"],
        cwd=cli.ROOT,
        env=cli.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.readline()
    process.stdout.close()
    error = process.stderr.read()
    process.wait()
    assert (tmp_path / "run" / "checkpoints" / "60").is_dir(), error
    assert "Traceback" not in error


@pytest.mark.long
def test_a_wheel_brings_all_that_it_needs(tmp_path):
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-q"]
    subprocess.run([*build, "-w", str(tmp_path), str(cli.ROOT)], check=True)
    (wheel,) = tmp_path.glob("gen_jax-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    site = {"PYTHONPATH": str(tmp_path / "site")}
    done = run(elsewhere, "list", **site)
    assert done.returncode == 0 and "experiments/gan_mnist.py" in done.stdout, done.stderr
    done = run(elsewhere, "train", *cli.TINY, "--config.steps=10", "--workdir=run", **site)
    assert done.returncode == 0, done.stderr
    assert (elsewhere / "run" / "checkpoints" / "10").is_dir()
