"""Turns a trained classifier into a judge: `python -m gen_jax.ship_judge W [W ...]`.

Each W is the workdir of a run of the classifier family that has been evaluated. Its weights go to
gen_jax/evaluation/judges/DATASET.safetensors with its accuracy and the command that made it.
"""

import json
import sys
from pathlib import Path

import gen_jax
from gen_jax import families
from gen_jax.errors import UserError, in_one_line
from gen_jax.evaluation import judges
from gen_jax.families.base import Discriminative


def ship(workdir: Path) -> Path:
    """Writes the judge of a run and returns its file.

    Raises:
      UserError: if the run is no classifier, or has not been evaluated.
    """
    run = gen_jax.load(workdir)
    family = families.require(run.subject.family, "a judge", Discriminative)
    config, network = run.experiment.config, family.network
    if run.spec.kind == "binary":
        raise UserError(
            f"{workdir} was trained on binarised images, and a judge reads grey levels; train it "
            "with --config.data.preprocess=bytes"
        )
    evaluation = workdir / "evaluation.json"
    if not evaluation.exists():
        raise UserError(f"evaluate it first: python launch.py evaluate --workdir={workdir}")
    accuracy = json.loads(evaluation.read_text())["metrics"]["accuracy"]["value"]
    metadata = {
        "dataset": config.data.name,
        "num_classes": str(network.num_classes),
        "widths": json.dumps(network.widths),
        "num_features": str(network.num_features),
        "accuracy": f"{accuracy:.4f}",
        "command": " ".join(
            [f"python launch.py train --config={config.experiment}", *config.overrides]
        ),
    }
    path = Path(judges.__file__).parent / f"{config.data.name}.safetensors"
    (params,) = run.subject.params.values()
    judges.save(path, params, metadata)
    return path


if __name__ == "__main__":
    with in_one_line():
        for argument in sys.argv[1:]:
            print(f"wrote {ship(Path(argument))}")
