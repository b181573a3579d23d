"""FID against calls of the network, of samplers and of runs.

    python -m gen_jax.report.sampler_calls OUT.png W [W ...]

Each W is a workdir that has been evaluated with the metric fid_at_calls.
"""

import re
from pathlib import Path

import numpy as np

from gen_jax import files
from gen_jax.errors import UserError
from gen_jax.report import charts, picture_command

_NAME = re.compile(r"fid@sampler=(\w+),calls=(\d+)")


def picture(workdirs: list[Path]) -> np.ndarray:
    """The picture uint8 [H, W, 3] of runs on one dataset.

    Raises:
      UserError: if a run has no such figures, or the runs are not comparable.
    """
    lines, titles, floor = {}, {}, None
    for workdir in workdirs:
        path = workdir / "evaluation.json"
        result = files.read_json(path) if path.exists() else {"metrics": {}}
        found: dict[str, list] = {}
        for name, metric in result["metrics"].items():
            if matched := _NAME.fullmatch(name):
                details = metric["details"]
                point = (details.get("calls", int(matched[2])), metric["value"])
                found.setdefault(matched[1], []).append(point)
                what = [result["dataset"], details["judge"], f"{details['fake']:,} samples"]
                titles[", ".join(what)] = workdir
        if not found:
            raise UserError(
                f"{workdir} has no figures of its samplers; measure them: python launch.py "
                f"evaluate --workdir={workdir} --metrics=fid_at_calls"
            )
        floor = result["metrics"].get("fid_floor", {}).get("value", floor)
        of_run = f"{workdir.name}, " if len(workdirs) > 1 else ""
        for sampler, points in found.items():
            lines[of_run + sampler] = np.array(sorted(points))
    if len(titles) > 1:
        raise UserError(f"these runs are judged differently, draw them apart ({'; '.join(titles)})")
    return charts.against_calls(lines, next(iter(titles)), floor)


if __name__ == "__main__":
    picture_command.run(picture, __doc__)
