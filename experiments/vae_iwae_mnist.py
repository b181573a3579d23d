"""The cells of table 1 of Burda et al. 2016 (arXiv 1509.00519), and the same with DReG.

    python launch.py train --config=experiments/vae_iwae_mnist.py:iwae5 --workdir=runs/iwae5
    python launch.py evaluate --workdir=runs/iwae5 --record=iwae

The argument is [fashion_]CELL[_2l]: CELL is vae1, vae5, vae50, iwae5, iwae50 or dreg5, dreg50;
`_2l` has two stochastic layers; `fashion_` takes Fashion-MNIST, with three seeds side by side where
a cell has at most five samples. `full` in front of all (full_iwae5_2l) is the paper's schedule,
which needs an accelerator. The short vae1 of MNIST is vae_mnist.py, whose row the table has.

The short schedule is batch 100, 400,000 steps (200,000 of Fashion-MNIST, for its three seeds) and
a cosine. The paper's: batch 20, 9,840,000 steps (3,280 epochs), a learning rate that falls from
1e-3 to 1e-4 in eight stages, here drawn as a cosine to 1e-4.

On one CPU core, of two that are both busy, five samples take about 100 minutes, two layers with one
sample 70, three seeds of Fashion-MNIST with one 45 (two layers 90), with five 170; evaluation takes
5 to 20. Measured: table `iwae` of docs/results.md.
"""

from gen_jax.config import experiment

CELLS = {
    "vae1": {},
    "vae5": {"num_bounds": 5},
    "vae50": {"num_bounds": 50},
    "iwae5": {"importance_samples": 5},
    "iwae50": {"importance_samples": 50},
    "dreg5": {"importance_samples": 5, "estimator": "dreg"},
    "dreg50": {"importance_samples": 50, "estimator": "dreg"},
}


@experiment(
    "vae",
    schedule={"": "short", "full": "full"},
    data={"": "mnist", "fashion": "fashion_mnist"},
    cell=CELLS,
    layers={"": 1, "2l": 2},
)
def get_config(config, schedule, data, cell, layers):
    full, fashion = schedule == "full", data == "fashion_mnist"
    config.steps = 9_840_000 if full else 200_000 if fashion else 400_000
    config.batch_size = 20 if full else 100
    config.steps_per_dispatch = 1_000 if full else 100
    config.log_every = config.steps // 80
    config.eval_every = config.checkpoint_every = config.steps // 8
    config.data.name = data
    config.data.num_validation = 400 if full else 1_000
    config.optim.lr = 1e-3
    config.optim.final_lr = 1e-4 if full else 0.0
    config.optim.eps = 1e-4
    config.optim.schedule = "cosine"
    config.model.hidden = (200, 200)
    config.model.activation = "tanh"
    config.model.latent_dim = 50
    config.model.update(cell)
    if fashion and config.model.num_bounds * config.model.importance_samples <= 5:
        config.num_replicas = 3
    if layers == 2:
        config.model.latent_dim = 100
        config.model.upper_latent_dims = (50,)
        config.model.upper_hidden = (100, 100)
    config.eval.importance_samples = 5_000
