"""A diffusion of points in the plane, in minutes on a CPU.

    python launch.py train --config=experiments/diffusion_plane.py:edm --workdir=runs/plane
    python launch.py evaluate --workdir=runs/plane

`ddpm` is that of Ho et al. 2020 (arXiv 2006.11239) in continuous time, `edm` that of Karras et al.
2022 (arXiv 2206.00364), and `flow_matching` that of Lipman et al. 2023 (arXiv 2210.02747). The
density, by an ODE, is compared with the exact one (`excess_nll`), and samples with data (`mmd`).
Three seeds are trained side by side.

Measured: table `plane_density` of docs/results.md.
"""

from gen_jax.config import experiment

KINDS = {
    "edm": ("log_normal", "exploding", "v"),
    "ddpm": ("linear", "preserving", "noise"),
    "flow_matching": ("straight", "convex", "velocity"),
}


@experiment("diffusion", kind=tuple(KINDS), data={"": "gaussians", "checkerboard": "checkerboard"})
def get_config(config, kind, data):
    config.steps = 10_000
    config.batch_size = 512
    config.num_replicas = 3
    config.steps_per_dispatch = 50
    config.log_every = 500
    config.eval_every = config.checkpoint_every = 5_000
    config.data.name = data
    config.data.preprocess = "none"
    config.data.num_validation = 1_000
    config.optim.lr = 2e-3
    config.optim.schedule = "cosine"
    config.optim.clip_norm = 1.0
    config.optim.ema_half_life = 200.0
    config.eval.metrics = ("nll", "excess_nll", "mmd")
    config.eval.batch_size = 1_000
    config.sample.sampler = "heun"
    config.sample.steps = 20
    config.model.network = "mlp"
    config.model.hidden = (128, 128, 128)
    config.model.schedule, config.model.scaling, config.model.prediction = KINDS[kind]
