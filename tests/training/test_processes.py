"""Several processes give the run that one gives, and start, stop and fail together."""

import os
import re
import shlex
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import cli
import numpy as np
import pytest
import waiting
import yaml

import launch
from gen_jax.training import processes
from gen_jax.workdir.logs import read_metrics

STEPS = ("--config.log_every=10", "--config.checkpoint_every=20", "--config.eval_every=100")
RUNS = {
    "vae": (*cli.TINY, "--config.steps=300", *STEPS),
    "gan": (*cli.TINY_GAN, "--config.steps=100", *STEPS),
}
LOSSES = {
    "vae": ("loss/vae", "grad_norm/vae", "validation/elbo"),
    "gan": ("loss/generator", "loss/discriminator", "grad_norm/generator"),
}
LAUNCH = cli.ROOT / "docs" / "launch"


def assert_same_losses(family, alone, together):
    for name in LOSSES[family]:
        expected, found = (
            {row["step"]: row[name] for row in read_metrics(w) if name in row}
            for w in (alone, together)
        )
        assert expected.keys() == found.keys()
        assert len(expected) >= (1 if name.startswith("validation/") else 10)
        pairs = [(found[step], expected[step]) for step in expected]
        np.testing.assert_allclose(*np.transpose(pairs), rtol=1e-5, err_msg=name)


def wait_for_rows(workdir, started, rows):
    waiting.until(lambda: len(read_metrics(workdir)) >= rows, *started)


def stub(folder, name, text):
    """An executable `name` on a PATH of its own, which is returned; `python` is this one."""
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/bash\n{text}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"


# What `srun` does for two tasks on one node, as far as JAX looks.
SRUN = """
while [[ $1 == --* ]]; do shift; done
export SLURM_STEP_NODELIST=localhost SLURM_NTASKS=2
for task in 0 1; do SLURM_PROCID=$task SLURM_LOCALID=$task "$@" & tasks+=($!); done
code=0
for task in "${tasks[@]}"; do wait "$task" || code=$?; done
exit $code
"""


def slurm(folder, *arguments):
    """Runs docs/launch/slurm.sh with two tasks here, and JAX finds them by itself."""
    env = cli.environment() | {"PATH": stub(folder, "srun", SRUN)}
    # JAX derives the coordinator's port from the number of the job.
    env |= {"SLURM_JOB_ID": str(cli.free_port(61440)), "SLURM_SUBMIT_DIR": str(cli.ROOT)}
    return subprocess.run(
        ["bash", LAUNCH / "slurm.sh", *arguments],
        env=env,
        capture_output=True,
        text=True,
        timeout=waiting.HANGS,
    )


def finish(started, codes):
    """Waits for all of them -> what each said on stdout and stderr."""
    said = [process.communicate(timeout=waiting.HANGS) for process in started]
    assert [process.returncode for process in started] == codes, said
    return said


def kill_one(arguments, workdir, rows, victim):
    """Starts two processes, kills one after so many rows; the other must end by itself."""
    started = cli.start_all(*arguments)
    wait_for_rows(workdir, started, rows)
    began = time.time()
    started[victim].kill()
    codes = [1, 1]
    codes[victim] = -signal.SIGKILL
    _, error = finish(started, codes)[1 - victim]
    print(f"down after {time.time() - began:.1f} s")
    assert "error: another process of this run has died" in error
    assert "the same command goes on from the last checkpoint" in error
    assert "Traceback" not in error


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Both families by one process with two virtual devices -> the folder of their workdirs."""
    folder = tmp_path_factory.mktemp("alone")
    started = [
        cli.start("train", *RUNS[family], f"--workdir={folder / family}", devices=2)
        for family in RUNS
    ]
    assert [process.wait(timeout=waiting.HANGS) for process in started] == [0, 0]
    return folder


def test_a_killed_gan_goes_on_as_one_process_would_and_the_first_alone_writes(alone, tmp_path):
    workdir, other = tmp_path / "first", tmp_path / "second"
    arguments = ("train", *RUNS["gan"])
    kill_one((*arguments, f"--workdir={workdir}"), workdir, 4, victim=0)
    kept = len(read_metrics(workdir))
    assert kept >= 4
    # Each is given a workdir of its own, so it shows who uses it.
    started = cli.start_all(*arguments, each=[[f"--workdir={w}"] for w in (workdir, other)])
    said = finish(started, [0, 0])
    assert "from step" in said[0][0]
    assert not other.exists()
    assert not [line for line in said[1][0].splitlines() if not line.startswith("[Gloo]")]
    assert_same_losses("gan", alone / "gan", workdir)
    cli.assert_same_checkpoint(alone / "gan", workdir, 100)


def test_a_stopped_vae_goes_on_under_slurm_as_one_process_would(alone, tmp_path):
    arguments = ("train", *RUNS["vae"], f"--workdir={tmp_path / 'run'}")
    started = cli.start_all(*arguments)
    wait_for_rows(tmp_path / "run", started, 5)
    started[1].send_signal(signal.SIGTERM)
    said = finish(started, [143, 143])
    (step,) = re.findall(r"stopped by SIGTERM at step (\d+); saved", said[0][0])
    assert read_metrics(tmp_path / "run")[-1]["step"] <= int(step)
    assert "SIGTERM" not in said[1][0]
    assert (tmp_path / "run" / "checkpoints" / step).is_dir()
    done = slurm(tmp_path / "bin", *arguments[1:])
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert_same_losses("vae", alone / "vae", tmp_path / "run")
    cli.assert_same_checkpoint(alone / "vae", tmp_path / "run", 300)


@pytest.mark.long
def test_a_killed_vae_goes_on_as_one_process_would(alone, tmp_path):
    arguments = ("train", *RUNS["vae"], f"--workdir={tmp_path}")
    kill_one(arguments, tmp_path, 10, victim=1)
    finish(cli.start_all(*arguments), [0, 0])
    assert_same_losses("vae", alone / "vae", tmp_path)
    cli.assert_same_checkpoint(alone / "vae", tmp_path, 300)


@pytest.mark.long
@pytest.mark.parametrize("family", RUNS)
def test_four_processes_give_the_losses_of_one(family, tmp_path):
    arguments = ("train", *RUNS[family])
    cli.launch(*arguments, f"--workdir={tmp_path / 'alone'}", devices=4)
    finish(cli.start_all(*arguments, f"--workdir={tmp_path / 'all'}", processes=4), [0] * 4)
    assert_same_losses(family, tmp_path / "alone", tmp_path / "all")


@pytest.mark.long
def test_a_loss_that_is_not_finite_stops_all_and_is_told_once(tmp_path):
    arguments = (*RUNS["vae"], "--config.optim.lr=1e30", f"--workdir={tmp_path}")
    said = finish(cli.start_all("train", *arguments), [1, 1])
    errors = [line for _, error in said for line in error.splitlines() if "error:" in line]
    assert len(errors) == 1 and "is not finite between steps" in errors[0], said


@pytest.mark.long
def test_a_process_that_is_silent_brings_the_run_down_within_a_minute(tmp_path):
    """As a host without power: nothing closes its connections."""
    arguments = (*RUNS["vae"], "--config.steps=100000", f"--workdir={tmp_path}")
    started = cli.start_all("train", *arguments)
    wait_for_rows(tmp_path, started, 5)
    began = time.time()
    started[1].send_signal(signal.SIGSTOP)
    said = started[0].communicate(timeout=60)
    print(f"down after {time.time() - began:.1f} s")
    started[1].kill()
    assert started[0].returncode == 1
    assert "error: another process of this run has died" in said[1]


REFUSED = {
    "one alone": (["--num_processes=2"], r"--coordinator and --process_id missing"),
    "two": (["--coordinator=a:1", "--process_id=0"], r"--num_processes missing"),
    "no port": (
        ["--coordinator=a", "--num_processes=2", "--process_id=0"],
        r"--coordinator=a must be HOST:PORT",
    ),
    "too many": (
        ["--coordinator=a:1", "--num_processes=2", "--process_id=2"],
        r"--process_id=2 must be from 0 to 1, as --num_processes=2",
    ),
}


@pytest.mark.parametrize("flags", REFUSED)
def test_flags_that_make_no_sense_are_refused(flags, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(cli.ROOT)
    arguments, message = REFUSED[flags]
    assert launch.main(["train", *cli.TINY, f"--workdir={tmp_path / 'run'}", *arguments]) == 1
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 1 and re.match(f"error: .*{message}", said[0]), said
    assert not (tmp_path / "run").exists()


def test_a_slurm_job_of_one_task_is_a_run_like_any_other(monkeypatch):
    one = {"JOB_ID": 7, "STEP_NODELIST": "n1", "NTASKS": 1, "PROCID": 0, "LOCALID": 0}
    for name, value in one.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    processes.connect(None, None, None)
    assert not processes.connected()


@pytest.mark.parametrize("script", ["slurm.sh", "tpu_slice.sh"])
def test_scripts_are_bash(script):
    subprocess.run(["bash", "-n", LAUNCH / script], check=True)


def test_a_stopped_slurm_job_asks_to_be_started_again(tmp_path):
    stub(tmp_path, "scontrol", f"echo $* >> {tmp_path}/asked")
    for code in (143, 1, 0):
        path = stub(tmp_path, "srun", f"exit {code}")
        done = subprocess.run(
            ["bash", LAUNCH / "slurm.sh"], env={"PATH": path, "SLURM_JOB_ID": "7"}
        )
        assert done.returncode == code
    assert (tmp_path / "asked").read_text() == "requeue 7\n"


def test_the_tpu_script_runs_one_command_on_every_host(tmp_path):
    path = stub(tmp_path, "gcloud", 'printf "%s\\n" "$@"')
    arguments = ["--config=experiments/gan_mnist.py", "--config.model.latent_dim=(1, 2)"]
    done = subprocess.run(
        ["bash", LAUNCH / "tpu_slice.sh", "slice", *arguments],
        env={"PATH": path, "ZONE": "z"},
        capture_output=True,
        text=True,
        check=True,
    )
    *words, command = done.stdout.splitlines()
    assert words == ["compute", "tpus", "tpu-vm", "ssh", "slice", "--zone=z", "--worker=all"]
    words = shlex.split(command.removeprefix("--command=cd gen_jax && "))
    assert words[:2] == ["python", "launch.py"]
    flags, rest = launch.parse(words[2:])
    assert [f"--config={flags.config}", *rest] == arguments


def test_the_jobset_has_what_kubernetes_asks_for():
    jobset = yaml.safe_load((LAUNCH / "jobset.yaml").read_text())
    assert (jobset["apiVersion"], jobset["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    name = jobset["metadata"]["name"]
    (replicated,) = jobset["spec"]["replicatedJobs"]
    job = replicated["template"]["spec"]
    assert replicated["replicas"] == 1
    assert job["completionMode"] == "Indexed"  # else there is no JOB_COMPLETION_INDEX
    assert job["parallelism"] == job["completions"]
    pod = job["template"]["spec"]
    assert pod["restartPolicy"] in ("Never", "OnFailure")
    (container,) = pod["containers"]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
    # DNS names are at most 63 characters, and of these letters.
    first = f"{name}-{replicated['name']}-0-0"
    assert re.fullmatch(r"[a-z0-9-]{1,63}", first)

    assert container["command"] == ["sh", "-c"]
    (line,) = container["args"]
    words = shlex.split(line.replace("$JOB_COMPLETION_INDEX", "3"))
    assert words[:3] == ["exec", "python", "launch.py"]
    flags, rest = launch.parse(words[3:])
    assert (cli.ROOT / flags.config).is_file() and not rest
    (port,) = container["ports"]
    assert flags.coordinator == f"{first}.{name}:{port['containerPort']}"
    assert (flags.num_processes, flags.process_id) == (job["completions"], 3)
    assert any(
        Path(flags.workdir).is_relative_to(m["mountPath"]) for m in container["volumeMounts"]
    )


ALONE = """
import sys
import launch
from gen_jax.training import processes
processes.MEETING_SECONDS = 3
sys.exit(launch.main(["train", *sys.argv[1:]]))
"""


@pytest.mark.parametrize("process", [0, 1])
def test_a_process_that_is_alone_in_its_cluster_gives_up_with_a_line(tmp_path, process):
    """As `srun` with two tasks where one of them never starts."""
    slurm = {"JOB_ID": "77", "STEP_NODELIST": "localhost", "NTASKS": "2", "LOCALID": "0"}
    slurm |= {"STEP_NUM_TASKS": "2", "PROCID": str(process)}
    environment = cli.environment() | {f"SLURM_{name}": value for name, value in slurm.items()}
    done = subprocess.run(
        [sys.executable, "-c", ALONE, *cli.TINY, f"--workdir={tmp_path}"],
        cwd=cli.ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=waiting.HANGS,
    )
    assert done.returncode != 0
    assert "did not come within a minute; start all of them together" in done.stderr
