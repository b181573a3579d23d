"""Posteriors of a simulator's parameters given an observation, by a flow, in minutes on a CPU.

    python launch.py train --config=experiments/flow_posterior.py:slcp_100k \\
        --workdir=runs/flow_posterior
    python launch.py evaluate --workdir=runs/flow_posterior --metrics=nll,c2st

Neural posterior estimation (Greenberg et al. 2019, arXiv 1905.07488, section 2) by autoregressive
rational-quadratic splines (Durkan et al. 2019, arXiv 1906.04032), of `gaussian_linear` by affine
maps, on tasks of the simulation-based inference benchmark (Lueckmann et al. 2021, arXiv
2101.04653): `two_moons`, `gaussian_mixture`, `slcp` and `gaussian_linear`, with `1k`, `10k` or
`100k` simulations, of which a tenth validates. `c2st` needs the benchmark's posteriors, which are
in the wheel of the package sbibm (`--config.eval.posteriors=FOLDER`).

Measured: table `conditional_density` of docs/results.md.
"""

from gen_jax.config import experiment

# Few simulations are soon learned by heart: few steps, of small networks.
BUDGETS = {"1k": (1_000, 1_000), "10k": (10_000, 6_000), "100k": (100_000, 20_000)}
# Steps and weight decay where posteriors are normal and splines soon learn ten dimensions by heart.
NORMAL = {"1k": (1_000, 10.0), "10k": (3_000, 5.0), "100k": (6_000, 2.0)}


@experiment(
    "flow",
    task=("two_moons", "gaussian_mixture", "slcp", "gaussian_linear"),
    budget=tuple(BUDGETS),
)
def get_config(config, task, budget):
    simulations, config.steps = BUDGETS[budget]
    config.batch_size = 256
    config.steps_per_dispatch = 50
    config.log_every = config.eval_every = config.checkpoint_every = 500
    config.data.name = f"simulator:{task}"
    config.data.preprocess = "none"
    config.data.simulations = simulations
    config.data.num_validation = simulations // 10
    config.eval.metrics = ("nll",)
    config.eval.batch_size = 1_000
    config.optim.lr = 1e-3
    config.optim.schedule = "cosine"
    config.optim.clip_norm = 5.0
    config.optim.ema_half_life = 100.0
    config.model.conditional = True
    config.model.flow = "autoregressive"
    config.model.transform = "spline"
    config.model.bins = 10
    config.model.layers = 5
    config.model.hidden = (50, 50)
    config.model.mixing = "reverse"
    if task == "gaussian_linear":
        config.steps, config.optim.weight_decay = NORMAL[budget]
        config.model.transform = "affine"
