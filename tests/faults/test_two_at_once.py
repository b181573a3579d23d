"""Two processes on one workdir: one trains, the other is told who does."""

import os
import socket
import subprocess
import sys
import threading

import cli
import pytest
import waiting

from gen_jax.errors import UserError
from gen_jax.workdir import claim as workdir_lib

LONG = (*cli.TINY, "--config.steps=20000", "--config.log_every=10", "--config.eval_every=5000")


def test_two_starts_at_the_same_instant(dataset, tmp_path, monkeypatch):
    workdir = tmp_path / "run"
    outputs = [tmp_path / "first.txt", tmp_path / "second.txt"]
    both = [cli.start("train", *LONG, f"--workdir={workdir}", output=path) for path in outputs]
    try:
        waiting.until(lambda: any(process.poll() is not None for process in both))
        loser = next(i for i, process in enumerate(both) if process.poll() is not None)
        winner, said = both[1 - loser], outputs[loser].read_text()
        assert both[loser].returncode == 1, said
        assert said.startswith(f"error: process {winner.pid} on {socket.gethostname()} trains in ")
        assert said.count("\n") == 1 and str(workdir) in said
        waiting.until((workdir / "metrics.jsonl").is_file, winner)
        # Who only looks is let in.
        monkeypatch.chdir(cli.ROOT)
        import launch

        assert launch.main(["report", f"--workdir={workdir}"]) == 0
        assert winner.poll() is None
        config = workdir_lib.read_config(workdir)
        with pytest.raises(UserError, match=f"process {winner.pid} on "):
            workdir_lib.claim(config, workdir, dataset).__enter__()
        cli.kill(winner)
        # The kernel has let go of it.
        with workdir_lib.claim(config, workdir, dataset):
            assert (workdir / "lock").read_text() == f"{os.getpid()} {socket.gethostname()}"
        assert (workdir / "lock").read_text() == ""
    finally:
        for process in both:
            process.kill()


def test_of_many_claims_at_once_one_is_granted(small, dataset, tmp_path):
    for attempt in range(5):
        granted, refused, barrier = [], [], threading.Barrier(8)

        def claim(workdir, granted=granted, refused=refused, barrier=barrier):
            barrier.wait()
            try:
                with workdir_lib.claim(small, workdir, dataset):
                    granted.append(workdir_lib.read_config(workdir))
                    barrier.wait()
            except UserError as error:
                refused.append(str(error))
                barrier.wait()

        workdir = tmp_path / str(attempt)
        threads = [threading.Thread(target=claim, args=(workdir,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert granted == [small] and len(refused) == 7
        assert all(line.startswith(f"process {os.getpid()} on ") for line in refused)


def test_a_program_that_it_started_does_not_keep_the_lock(small, dataset, tmp_path):
    with workdir_lib.claim(small, tmp_path, dataset):
        # What is open here and may be inherited is open there.
        child = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False
        )
        assert not workdir_lib.is_free(tmp_path)
    assert child.poll() is None
    assert workdir_lib.is_free(tmp_path)
    child.communicate(b"\n")


def test_a_lock_that_is_a_link_is_not_followed(small, dataset, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("kept")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "lock").symlink_to(precious)
    with pytest.raises(OSError, match="symbolic links"):
        workdir_lib.claim(small, tmp_path / "run", dataset).__enter__()
    assert precious.read_text() == "kept"
