"""Stands in for `launch.py train` in tests of sweeps: a run of ten steps that does no work.

It resumes from its checkpoint, notes each step that it takes in `taken.txt`, and does what
`optim.lr` says: 1.0 diverges at step 5, 0.5 is killed at step 5 the first time.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

STEPS = 10


def main() -> None:
    given = dict(argument.split("=", 1) for argument in sys.argv[2:])
    workdir, lr = Path(given["--workdir"]), float(given["--config.optim.lr"])
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / "config.json").write_text(json.dumps({"family": "vae", "steps": STEPS}))
    checkpoint, log = workdir / "checkpoints" / "step", workdir / "metrics.jsonl"
    checkpoint.parent.mkdir(exist_ok=True)
    start = int(checkpoint.read_text()) if checkpoint.exists() else 0
    rows = log.read_text().splitlines()[:start] if log.exists() else []
    log.write_text("".join(f"{row}\n" for row in rows))
    for step in range(start + 1, STEPS + 1):
        time.sleep(0.05)
        with open(workdir / "taken.txt", "a") as file:
            file.write(f"{step}\n")
        if step == 5 and lr == 1.0:
            sys.exit("error: loss/vae is not finite")
        with open(log, "a") as file:
            file.write(json.dumps({"step": step, "validation/elbo": -lr - 1 / step}) + "\n")
        if step == 5 and lr == 0.5 and not (workdir / "killed").exists():
            (workdir / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        checkpoint.write_text(str(step))


main()
