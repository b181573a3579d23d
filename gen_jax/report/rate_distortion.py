"""Runs in the plane of rate and distortion.

    python -m gen_jax.report.rate_distortion OUT.png W [W ...]

Each W is a workdir that has been evaluated with the metrics elbo (its own point),
rate_distortion (the curve of its decoder) or both.
"""

from pathlib import Path

import numpy as np

from gen_jax import files
from gen_jax.errors import UserError
from gen_jax.report import charts, picture_command


def picture(workdirs: list[Path]) -> np.ndarray:
    """The picture uint8 [H, W, 3] of runs on one dataset.

    Raises:
      UserError: if a run has neither a point nor a curve, or the runs are not comparable.
    """
    runs, titles = {}, {}
    for workdir in workdirs:
        path = workdir / "evaluation.json"
        result = files.read_json(path) if path.exists() else {"metrics": {}}
        values = {name: metric["value"] for name, metric in result["metrics"].items()}
        if run := _coordinates(values):
            runs[str(workdir)] = run
            data = f"{result['dataset']}, {result['split']} split"
            titles[str(workdir)] = ", ".join([data, *_units(result["metrics"])])
        else:
            raise UserError(
                f"{workdir} has neither its rate nor a curve; measure them: python launch.py "
                f"evaluate --workdir={workdir} --metrics=elbo,rate_distortion"
            )
    if len(set(titles.values())) > 1:
        each = "; ".join(f"{name}: {title}" for name, title in titles.items())
        raise UserError(f"these runs are of different data, draw them apart ({each})")
    return charts.rate_distortion(_short(runs), titles.popitem()[1])


def _units(metrics: dict[str, dict]) -> list[str]:
    """What the figures say of x, for example ["binary"]."""
    found = (metric.get("details", {}).get("x") for metric in metrics.values())
    return sorted({x for x in found if x})


def _coordinates(values: dict[str, float]) -> dict[str, np.ndarray]:
    """What `charts.rate_distortion` draws of a run, {} if there is nothing."""
    found = {}
    betas = sorted(float(name.split("=")[1]) for name in values if name.startswith("rate@beta="))
    if betas:
        found["curve"] = np.array(
            [(values[f"distortion@beta={b:g}"], values[f"rate@beta={b:g}"], b) for b in betas]
        )
    if "rate" in values and "distortion" in values:
        found["point"] = np.array([values["distortion"], values["rate"]])
    return found


def _short(runs: dict[str, dict]) -> dict[str, dict]:
    """The same under the names of their folders, where these tell them apart."""
    names = [Path(name).name for name in runs]
    return dict(zip(names if len(set(names)) == len(names) else runs, runs.values(), strict=True))


if __name__ == "__main__":
    picture_command.run(picture, __doc__)
