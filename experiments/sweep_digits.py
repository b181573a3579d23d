"""A sweep of the quickstart: learning rate and size of the latent space.

    python launch.py sweep --config=experiments/sweep_digits.py:asha --workdir=runs/sweep_digits

The argument is grid (all 16 runs to their end), asha (the same 16, halted early where others are
better), tpe (Optuna proposes) or pbt (runs copy better ones and change their learning rate).

The grid takes 48,000 steps in all, and asha about 40 % of them for a validation ELBO within 1 % of
the grid's, which depends on the order in which trials end. Either takes some five minutes on 2 CPU
cores.
"""

from gen_jax.config import experiment
from gen_jax.sweeps.spec import Sweep, Uniform, grid

SPACE = {"optim.lr": Uniform(1e-4, 3e-2, log=True), "model.beta": Uniform(0.5, 2.0)}


@experiment("vae", search=("grid", "asha", "tpe", "pbt"))
def get_config(config, search):
    config.steps = 3_000
    config.batch_size = 128
    config.log_every = 150
    config.eval_every = config.checkpoint_every = 150
    config.data.name = "digits"
    config.data.preprocess = "bytes"
    config.data.num_validation = 200
    config.model.likelihood = "discretized_logistic"
    config.model.hidden = (128, 128)
    config.model.activation = "relu"
    config.model.latent_dim = 16


def sweep(search):
    if search in ("tpe", "pbt"):
        space = SPACE if search == "tpe" else {"optim.lr": SPACE["optim.lr"]}
        return Sweep("validation/elbo", "max", space=space, num_trials=16, search=search)
    trials = grid({"optim.lr": (1e-4, 1e-3, 3e-3, 1e-2), "model.latent_dim": (2, 8, 16, 32)})
    return Sweep("validation/elbo", "max", trials=trials, stop_early=search == "asha")
