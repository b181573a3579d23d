"""Where a run's numbers and pictures go beside metrics.jsonl: `config.trackers`."""

import contextlib
import importlib.util
import logging
import os
import secrets
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from ml_collections import ConfigDict

from gen_jax import config as config_lib
from gen_jax.errors import UserError

PROJECT = "gen_jax"


class Tracker(Protocol):
    """Takes scalars and pictures.

    A run that resumes repeats the steps after its last checkpoint, with the same numbers.
    """

    def scalars(self, step: int, metrics: Mapping[str, float]) -> None: ...

    def image(self, name: str, step: int, image: np.ndarray) -> None:
        """A picture uint8 [H, W, 3]."""

    def close(self) -> None: ...


class TensorBoard:
    """Event files in `W/tensorboard`."""

    package = "tensorboardX"

    def __init__(self, workdir: Path, config: ConfigDict, resume_step: int):
        # Half a second that other commands save; and tensorboardX imports PyTorch where there is
        # one, which takes seconds, for tensors that it is never given.
        with _hidden("torch"):
            from tensorboardX import summary
            from tensorboardX.event_file_writer import EventsWriter
            from tensorboardX.proto.event_pb2 import Event, SessionLog

        folder = workdir / "tensorboard"
        folder.mkdir(exist_ok=True)
        # Written here and now: tensorboardX's own writer is a thread, which a full disk ends, and
        # a run would wait for it for ever. The name begins with the time in seconds, and a file
        # of that name would be written over: the rest of it tells two starts apart.
        self._board = EventsWriter(str(folder / "events"), f".{os.getpid()}.{resume_step}")
        self._summary, self._event = summary, Event
        if resume_step:  # TensorBoard drops what an earlier file has from this step on
            start = SessionLog(status=SessionLog.START)
            self._add(resume_step + 1, session_log=start)

    def scalars(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self._add(step, summary=self._summary.scalar(name, value))
        self._board.flush()

    def image(self, name: str, step: int, image: np.ndarray) -> None:
        self._add(step, summary=self._summary.image(name, image, dataformats="HWC"))
        self._board.flush()

    def close(self) -> None:
        self._board.close()

    def _add(self, step: int, **content) -> None:
        self._board.write_event(self._event(step=step, wall_time=time.time(), **content))


class WandB:
    """Weights & Biases. Project, entity, mode (`WANDB_MODE=offline`) are its own variables."""

    package = "wandb"

    def __init__(self, workdir: Path, config: ConfigDict, resume_step: int):
        import wandb

        self._wandb = wandb
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=workdir.name,
            id=_once(workdir / "wandb_id.txt", lambda: secrets.token_hex(4)),
            resume="allow",
            dir=workdir,
            config=config.to_dict(),
            settings=wandb.Settings(silent=True, console="off"),
        )

    def scalars(self, step: int, metrics: Mapping[str, float]) -> None:
        self._run.log(dict(metrics), step=step)

    def image(self, name: str, step: int, image: np.ndarray) -> None:
        self._run.log({name: self._wandb.Image(image)}, step=step)

    def close(self) -> None:
        self._run.finish()


class MLflow:
    """The server of `MLFLOW_TRACKING_URI`; without it a database and pictures in the workdir."""

    package = "mlflow"

    def __init__(self, workdir: Path, config: ConfigDict, resume_step: int):
        logging.getLogger("alembic").setLevel(logging.WARNING)
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        from mlflow import MlflowClient
        from mlflow.entities import Param

        uri, pictures = os.environ.get("MLFLOW_TRACKING_URI"), None
        if not uri:
            workdir = workdir.absolute()
            uri, pictures = f"sqlite:///{workdir}/mlflow.db", (workdir / "mlruns").as_uri()
        self._client = MlflowClient(uri)

        def start() -> str:
            known = self._client.get_experiment_by_name(PROJECT)
            place = (
                known.experiment_id
                if known
                else self._client.create_experiment(PROJECT, artifact_location=pictures)
            )
            run = self._client.create_run(place, run_name=workdir.name).info.run_id
            keys = config_lib.flatten(config).items()
            self._client.log_batch(run, params=[Param(key, str(value)) for key, value in keys])
            return run

        self._run = _once(workdir / "mlflow_run.txt", start)
        self._client.update_run(self._run, status="RUNNING")

    def scalars(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self._client.log_metric(self._run, name, value, step=step)

    def image(self, name: str, step: int, image: np.ndarray) -> None:
        self._client.log_image(self._run, image, f"{name}/step_{step:08d}.png")

    def close(self) -> None:
        self._client.set_terminated(self._run)


TRACKERS = {"tensorboard": TensorBoard, "wandb": WandB, "mlflow": MLflow}


def check(names: Sequence[str]) -> None:
    """Refuses trackers that there are not.

    Raises:
      UserError: for an unknown name, or one whose package is not installed.
    """
    for name in names:
        if name not in TRACKERS:
            raise UserError(f"unknown tracker {name!r}; valid are: {', '.join(TRACKERS)}")
        if importlib.util.find_spec(TRACKERS[name].package) is None:
            raise UserError(
                f"tracker {name!r} is not installed: pip install -e '.[{name}]', or leave it out "
                "of --config.trackers"
            )


def start(
    names: Sequence[str], workdir: Path, config: ConfigDict, resume_step: int
) -> list[Tracker]:
    """The trackers of a run that starts, or goes on from a step."""
    return [TRACKERS[name](workdir, config, resume_step) for name in names]


def _once(path: Path, make) -> str:
    """What `make` gave the first time: a run that resumes is the same run to its tracker."""
    if not path.exists():
        path.write_text(make())
    return path.read_text()


@contextlib.contextmanager
def _hidden(module: str) -> Iterator[None]:
    """Within it, a module that is not imported yet seems not to be installed."""
    hides = sys.modules.setdefault(module, None) is None
    try:
        yield
    finally:
        if hides:
            del sys.modules[module]
