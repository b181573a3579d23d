"""Bad input: one clear line that names the fix, exit code not 0, no traceback, nothing lost."""

import os
import re
import shutil
import subprocess
import sys

import cli
import pytest

import gen_jax
from gen_jax import commands
from gen_jax.errors import UserError


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("trained")
    cli.launch("train", *cli.TINY, f"--workdir={workdir}")
    return workdir


@pytest.fixture
def launch(capfd, monkeypatch):
    """`launch.py` in this process, where start-up is paid once -> what it says of the error."""
    import launch

    def run(*arguments):
        monkeypatch.chdir(cli.ROOT)
        try:
            code = launch.main([str(argument) for argument in arguments])
        except SystemExit as stop:  # argparse
            code = stop.code
        error = capfd.readouterr().err
        assert code not in (0, None), error
        assert "Traceback" not in error
        lines = [line for line in error.splitlines() if "error:" in line]
        assert len(lines) == 1, error
        return error[error.index(lines[0]) :].rstrip()  # with what it lists

    return run


CASES = {
    "unknown key": (["--config.optim.lrr=1"], r"'optim.lrr'; did you mean --config.optim.lr\?"),
    "unknown section": (["--config.optmi.lr=1"], r"did you mean --config.optim.lr\?"),
    "wrong type": (["--config.steps=many"], r"config.steps.*many"),
    "no value": (["--config.steps"], r"--config.steps needs a value"),
    "a section": (["--config.optim=1"], r"optim"),
    "unknown dataset": (["--config.data.name=digit"], r"digit.*did you mean digits\?"),
    "unknown preprocessing": (["--config.data.preprocess=x"], r"dynamic_binarization"),
    "missing files": (["--config.data.name=mnist"], r"mnist.*manual_dir"),
    "missing folder": (["--config.data.name=folder:/nowhere"], r"/nowhere"),
    "period": (
        ["--config.log_every=7"],
        r"log_every=7 .*nearest valid: --config.log_every=5 or 10",
    ),
    "steps": (["--config.steps=0"], r"steps=0 must be at least 1"),
    "unknown activation": (["--config.model.activation=x"], r"valid are: tanh, relu"),
    "unknown likelihood": (
        ["--config.model.likelihood=x"],
        r"'x' is not of bytes data.*likelihood=categorical",
    ),
    "unknown optimiser": (["--config.optim.name=x"], r"valid are: adam, sgd"),
    "unknown metric": (["--config.eval.metrics=('fidd',)"], r"'fidd'; valid are: accuracy"),
    "unknown tracker": (["--config.trackers=('tensorbord',)"], r"'tensorbord'; valid are: tensorb"),
    "unknown flag": (["--stepz=3"], r"unknown argument --stepz=3"),
    "unlike the data": (
        ["--config.model.likelihood=bernoulli"],
        r"'bernoulli' is not of bytes data, which have categorical",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_train_refuses(name, launch, tmp_path, monkeypatch):
    arguments, expected = CASES[name]
    monkeypatch.delenv("GEN_JAX_MANUAL_DIR", raising=False)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    line = launch("train", *cli.TINY, f"--workdir={tmp_path / 'run'}", *arguments)
    assert re.search(expected, line), line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("experiments/vae_mnits.py", r"did you mean experiments/vae_mnist.py\?"),
        ("experiments/quickstart.py:smok", r"unknown config argument 'smok'; valid are: smoke"),
        ("nowhere/x.py", r"no experiment file nowhere/x.py"),
        ("vae_mnits.py", r"did you mean experiments/vae_mnist.py\?"),
        ("launch.py", r"launch.py has no get_config\(\); see experiments/quickstart.py"),
    ],
)
def test_unknown_experiment(launch, tmp_path, config, expected):
    line = launch("train", f"--config={config}", f"--workdir={tmp_path / 'run'}")
    assert re.search(expected, line), line


def test_truncated_data_file(launch, tiny_idx, tmp_path):
    manual = shutil.copytree(tiny_idx, tmp_path / "manual")
    damaged = manual / "mnist" / "train-images-idx3-ubyte"
    os.truncate(damaged, damaged.stat().st_size // 2)
    line = launch(
        "train",
        "--config=experiments/vae_mnist.py:smoke",
        f"--config.data.manual_dir={manual}",
        f"--config.data.data_dir={tmp_path / 'tfds'}",
        f"--workdir={tmp_path / 'run'}",
    )
    assert str(damaged) in line and "trunc" in line, line


def test_workdir_of_another_config(launch, trained):
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}
    line = launch("train", *cli.TINY, "--config.optim.lr=0.5", f"--workdir={trained}")
    assert "optim.lr: 0.001 -> 0.5" in line and "another --workdir" in line
    assert before == {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}


@pytest.mark.parametrize("command", ["evaluate", "sample", "report"])
def test_no_run(launch, tmp_path, command):
    assert "no run in" in launch(command, f"--workdir={tmp_path}")
    assert "--workdir" in launch(command)


def test_run_without_checkpoint(launch, trained, tmp_path):
    shutil.copy(trained / "config.json", tmp_path)
    assert "no checkpoint yet" in launch("evaluate", f"--workdir={tmp_path}")


def test_damaged_config(launch, trained, tmp_path):
    text = (trained / "config.json").read_text()
    (tmp_path / "config.json").write_text(text[: len(text) // 2])
    assert "config.json is damaged" in launch("evaluate", f"--workdir={tmp_path}")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["evaluate", "--metrics=fidd"], r"unknown metric 'fidd'; valid are: accuracy"),
        (["evaluate", "--replica=3"], r"no replica 3; this run has 0 to 0"),
        (["evaluate", "--config.optim.lr=3"], r"only --config.eval"),
        (["sample", "--num=0"], r"--num=0 must be at least 1"),
        (["sample", "--temperature=nan"], r"temperature=nan must be a number from 0 up"),
        (["sample", f"--seed={2**64}"], r"must be a whole number from 0 to 4294967295"),
        (["sample", "--label=3"], r"not class-conditional"),
        (["sample", "--config.steps=3"], r"--config.steps=3: only --config.eval"),
    ],
)
def test_trained_run_refuses(launch, trained, arguments, expected):
    line = launch(*arguments, f"--workdir={trained}")
    assert re.search(expected, line), line


def test_loss_that_is_not_finite(launch, tmp_path):
    line = launch(
        "train",
        *cli.TINY,
        "--config.optim.name=sgd",
        "--config.optim.lr=1e30",
        f"--workdir={tmp_path}",
    )
    assert re.search(r"loss/vae is not finite between steps 0 and 10: .*lr", line), line


def test_a_prior_fitted_to_no_latents_is_refused_before_training(launch, tmp_path):
    changes = ("--config.eval.fitted_components=3", f"--workdir={tmp_path / 'run'}")
    line = launch("train", *cli.TINY_GAN, *changes)
    assert "eval.fitted_components needs decode and encode" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["--config.model={'hidden': (3,)}"], "model is a section; .*--config.model.activation="),
        (["--config.optim={}"], "optim is a section; set its keys one by one"),
        (["--workdir=gs://bucket/run"], "gs://bucket/run is no folder .* copy it, or mount"),
        (["--workdir=s3://bucket/run"], "is no folder of this machine"),
    ],
)
def test_what_no_run_can_be_given(launch, tmp_path, monkeypatch, changes, told):
    line = launch("train", *cli.TINY, f"--workdir={tmp_path / 'run'}", *changes)
    assert re.search(told, line), line
    assert not (tmp_path / "run").exists() and not (cli.ROOT / "gs:").exists()


def test_home_is_a_home(launch, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    line = launch("report", "--workdir=~/runs/none")
    assert f"no run in {tmp_path}/runs/none" in line
    with pytest.raises(UserError, match=f"no run in {tmp_path}/x"):
        gen_jax.load("~/x")


@pytest.mark.parametrize("platform", ["cuda", "nonsense"])
def test_an_accelerator_that_is_not_there(tmp_path, platform):
    command = [sys.executable, "launch.py", "train", *cli.TINY, f"--workdir={tmp_path / 'run'}"]
    environment = {**cli.environment(), "JAX_PLATFORMS": platform}
    done = subprocess.run(command, cwd=cli.ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "error:" in line]
    assert f"JAX has no device of {platform}" in line and "set JAX_PLATFORMS=cpu" in line
    assert not (tmp_path / "run").exists()


def test_a_terminal_without_the_characters(trained, tmp_path):
    """They become question marks: the figures are written, and the exit code is 0."""
    workdir = shutil.copytree(trained, tmp_path / "run")
    command = [sys.executable, "launch.py", "evaluate", f"--workdir={workdir}", "--metrics=elbo"]
    environment = {**cli.environment(), "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    done = subprocess.run(command, cwd=cli.ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "?" in done.stdout and (workdir / "evaluation.json").exists()


def test_one_picture_has_no_spread(launch, tmp_path):
    workdir = f"--workdir={tmp_path}"
    cli.launch("train", *cli.TINY_GAN, "--config.steps=10", workdir)
    line = launch("evaluate", workdir, "--metrics=fid", "--config.eval.num_examples=1")
    assert "needs two pictures in each set; use a larger --config.eval.num_examples" in line


def test_workdir_that_cannot_be_made(launch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    line = launch("train", *cli.TINY, f"--workdir={tmp_path / 'file' / 'run'}")
    assert "Not a directory" in line
    line = launch("train", *cli.TINY, f"--workdir={tmp_path / 'file'}")
    assert "File exists" in line


def test_a_bug_of_ours_keeps_its_traceback(monkeypatch):
    def bug(flags, overrides):
        raise ZeroDivisionError

    monkeypatch.setattr(commands, "report", bug)
    import launch

    with pytest.raises(ZeroDivisionError):
        launch.main(["report", "--workdir=x"])
