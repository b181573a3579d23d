"""A sweep of the quickstart: learning rate and size of the latent space.

    python launch.py sweep --config=experiments/sweep_digits.py:asha --workdir=runs/sweep_digits

The argument is grid (all 16 runs to their end), asha (the same 16, halted early where others are
better), tpe (Optuna proposes) or pbt (runs copy better ones and change their learning rate).

Expect a validation ELBO of -87.2 nats from the grid's 48,000 steps in all, and one within 1 % of it
from about 40 % of them with asha, which depends on the order in which trials end. Either takes some
five minutes on 2 CPU cores.
"""

from gen_jax.config import experiment
from gen_jax.sweep import Sweep, Uniform, grid

VARIANTS = ("grid", "asha", "tpe", "pbt")
SPACE = {"optim.lr": Uniform(1e-4, 3e-2, log=True), "model.beta": Uniform(0.5, 2.0)}


@experiment("vae", variants=VARIANTS)
def get_config(config, variant):
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


def sweep(variant):
    if variant in ("tpe", "pbt"):
        space = SPACE if variant == "tpe" else {"optim.lr": SPACE["optim.lr"]}
        return Sweep("validation/elbo", "max", space=space, num_trials=16, search=variant)
    trials = grid({"optim.lr": (1e-4, 1e-3, 3e-3, 1e-2), "model.latent_dim": (2, 8, 16, 32)})
    return Sweep("validation/elbo", "max", trials=trials, stop_early=variant == "asha")
