"""A run of several processes: how they meet, and how all of them end when one does."""

import ctypes
import os
import re
import signal
import sys
import time
import zlib
from typing import NoReturn

import jax

from gen_jax.errors import UserError

LOST = (
    "another process of this run has died or cannot be reached (its own last lines say why); "
    "start all of them again: the same command goes on from the last checkpoint"
)


# One that was started alone within a cluster's job would wait for others that never come.
MEETING_SECONDS = 60
ALONE = (
    "the other processes of this run did not come within a minute; start all of them together, as "
    "srun does, give --coordinator=HOST:PORT, --num_processes=N and --process_id=I, or "
    "--num_processes=1 for a run of its own"
)
_words = [LOST]  # the last ones, of a process that JAX aborts


def connect(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Joins the other processes of a run: those of the flags, else of a cluster that JAX detects.

    Does nothing where there is one process. To be called before anything asks for a device.

    Raises:
      UserError: if flags are missing or wrong, or there is no way to the others.
    """
    flags = {"coordinator": coordinator, "num_processes": num_processes, "process_id": process_id}
    missing = [f"--{name}" for name, value in flags.items() if value is None]
    if 0 < len(missing) < len(flags):
        raise UserError(
            f"{' and '.join(missing)} missing: --coordinator=HOST:PORT, --num_processes=N and "
            "--process_id=I go together; where JAX detects the cluster none is needed"
        )
    settings = {}
    if not missing:
        if not re.fullmatch(r".+:\d+", coordinator):
            raise UserError(f"--coordinator={coordinator} must be HOST:PORT of process 0")
        if not 0 <= process_id < num_processes:
            raise UserError(
                f"--process_id={process_id} must be from 0 to {num_processes - 1}, as "
                f"--num_processes={num_processes}"
            )
        # Nothing is left to detect; Slurm would give each process one device of its host.
        settings = {"coordinator_address": coordinator, "cluster_detection_method": "deactivate"}
        settings |= {"num_processes": num_processes, "process_id": process_id}
    try:
        if (num_processes or _cluster_size()) == 1:
            return
        # JAX's own handler of SIGTERM would hide the signal from `signals`.
        jax.config.update("jax_enable_preemption_service", False)
        ctypes.CDLL(None).signal(signal.SIGABRT, _last_words)
        _words[:] = [ALONE]
        # A process that is silent for half a minute is dead. At the end the others wait for
        # process 0, which has pictures to draw and a checkpoint to write.
        jax.distributed.initialize(
            **settings,
            initialization_timeout=MEETING_SECONDS,
            heartbeat_timeout_seconds=30,
            shutdown_timeout_seconds=3600,
        )
    except Exception as error:  # of a port in use, a name that is not found, Kubernetes' API
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"cannot join the other processes ({reason}); give --coordinator=HOST:PORT, "
            "--num_processes=N and --process_id=I, or --num_processes=1 for a run of its own"
        ) from error
    _words[:] = [LOST]


def _cluster_size() -> int:
    """Processes of the cluster around this one, as `jax.distributed.initialize` detects it."""
    from jax._src.clusters import ClusterEnv

    for cluster in ClusterEnv._cluster_types:
        if not cluster.opt_in_only_method and cluster.is_env_present():
            return cluster.get_process_count()
    return 1


@ctypes.CFUNCTYPE(None, ctypes.c_int)
def _last_words(_) -> None:
    # When process 0 is gone or a heartbeat stays away, JAX's C++ client aborts whatever Python
    # is doing: no exception is raised, and its dump does not tell what to do.
    os.write(2, f"error: {_words[0]}\n".encode())
    os._exit(1)


def connected() -> bool:
    """Whether this is one of several processes."""
    return jax.distributed.is_initialized()


def lost(error: Exception) -> bool:
    """Whether an exception says that another process went away."""
    return re.search("gloo|nccl|coordination|heartbeat", str(error), re.IGNORECASE) is not None


def first_to_say(text: str) -> bool:
    """False if another process has said the same: an error of all is printed once."""
    if not connected():
        return True
    try:
        _client().key_value_set(f"said/{zlib.crc32(text.encode())}", "")
    except Exception:  # the key is there
        return False
    return True


def leave(code: int, patience: float = 5) -> NoReturn:
    """Ends one of several processes after an error, without waiting for ever for the others.

    Args:
      code: for the exit.
      patience: seconds to wait for others that fail alike, and so have a line of their own.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        if patience:
            _client().wait_at_barrier("leave", int(1000 * patience))
    except Exception:  # they did not come: they will find out
        pass
    if jax.process_index() == 0:
        time.sleep(1)  # the others' clients abort when process 0 goes
    os._exit(code)


def _client():
    from jax._src import distributed

    return distributed.global_state.client
