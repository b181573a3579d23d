"""Posteriors of a simulator's parameters given an observation, by diffusion or flow matching.

    python launch.py train --config=experiments/diffusion_posterior.py:edm_slcp_10k \\
        --workdir=runs/diffusion_posterior
    python launch.py evaluate --workdir=runs/diffusion_posterior --metrics=c2st

The tasks, the budgets of simulations and the measure are those of flow_posterior.py. `edm` has the
noise of Karras et al. 2022 (arXiv 2206.00364), `flow_matching` the straight paths of Lipman et al.
2023 (arXiv 2210.02747).

Measured: table `conditional_density` of docs/results.md.
"""

from gen_jax.config import experiment

KINDS = {
    "edm": ("log_normal", "exploding", "v"),
    "flow_matching": ("straight", "convex", "velocity"),
}
# Few simulations are soon learned by heart: few steps, of small networks.
BUDGETS = {
    "1k": (1_000, 1_500, 64),
    "10k": (10_000, 8_000, 128),
    "30k": (30_000, 10_000, 192),
    "100k": (100_000, 20_000, 192),
}
# Steps where observations of eight or ten numbers are learned by heart sooner still, chosen for
# 30,000 simulations by validation/denoising_mse; so is SLCP's width.
FEWER = {
    "slcp": {"1k": 1_000, "10k": 4_000, "30k": 8_000, "100k": 20_000},
    "gaussian_linear": {"1k": 300, "10k": 1_000, "30k": 2_000, "100k": 5_000},
}


@experiment(
    "diffusion",
    kind=tuple(KINDS),
    task=("two_moons", "gaussian_mixture", "slcp", "gaussian_linear"),
    budget=tuple(BUDGETS),
)
def get_config(config, kind, task, budget):
    simulations, config.steps, width = BUDGETS[budget]
    config.batch_size = 256
    config.steps_per_dispatch = 50
    config.log_every = 500
    config.data.name = f"simulator:{task}"
    config.data.preprocess = "none"
    config.data.simulations = simulations
    config.data.num_validation = simulations // 10
    config.eval.metrics = ("nll",)
    config.eval.batch_size = 1_000
    config.optim.lr = 2e-3
    config.optim.schedule = "cosine"
    config.optim.clip_norm = 1.0
    config.optim.ema_half_life = 200.0
    config.sample.sampler = "heun"
    config.sample.steps = 100 if kind == "flow_matching" else 50
    config.sample.batch_size = 10_000
    config.model.conditional = True
    config.model.network = "mlp"
    config.model.hidden = (width,) * 4
    config.model.schedule, config.model.scaling, config.model.prediction = KINDS[kind]
    if task in FEWER:
        config.steps = FEWER[task][budget]
    if task == "slcp":
        config.model.hidden, config.optim.weight_decay = (64,) * 4, 0.3
    if kind == "edm" and task in ("two_moons", "gaussian_mixture"):
        # EDM's noise hardly has the levels at which posteriors as narrow as these come about.
        config.model.noise_mean, config.model.noise_std = -3.2, 2.0
        config.model.least_noise = 0.0005
    config.eval_every = config.checkpoint_every = min(config.steps, 5_000)
