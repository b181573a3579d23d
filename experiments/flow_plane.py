"""A normalizing flow of points in the plane, in minutes on a CPU.

    python launch.py train --config=experiments/flow_plane.py:checkerboard --workdir=runs/plane
    python launch.py evaluate --workdir=runs/plane

Rational-quadratic couplings (Durkan et al. 2019, arXiv 1906.04032), or with `continuous` an ODE
(FFJORD, Grathwohl et al. 2019, arXiv 1810.01367). The density of `gaussians`, the
default, and of `checkerboard` is known: `excess_nll` is the distance from it.

Measured: table `plane_density` of docs/results.md.
"""

from gen_jax.config import experiment

KNOWN = ("gaussians", "checkerboard")


@experiment(
    "flow",
    flow={"": "coupling", "continuous": "continuous"},
    data={
        "": "gaussians",
        **{name: name for name in ("checkerboard", "moons", "pinwheel", "swiss_roll")},
    },
)
def get_config(config, flow, data):
    config.steps = 8_000
    config.batch_size = 512
    config.steps_per_dispatch = 50
    config.log_every = 500
    config.eval_every = config.checkpoint_every = 2_000
    config.data.name = data
    config.data.preprocess = "none"
    config.data.num_validation = 5_000
    config.optim.lr = 2e-3
    config.optim.schedule = "cosine"
    config.optim.clip_norm = 1.0
    config.optim.ema_half_life = 100.0
    config.eval.batch_size = 1_000
    known = ("excess_nll",) if data in KNOWN else ()
    config.eval.validation_metrics = config.eval.metrics = ("nll", *known)
    config.model.transform = "spline"
    config.model.layers = 4
    config.model.hidden = (64, 64)
    config.model.bins = 16
    if flow == "continuous":
        config.model.flow = flow
        config.model.layers = 1
        config.model.hidden = (64, 64, 64)
