"""MADE on scikit-learn's digits: an exact likelihood in a minute on a CPU.

    python launch.py train --config=experiments/made_digits.py --workdir=runs/made_digits
    python launch.py evaluate --workdir=runs/made_digits

Germain et al. 2015 (arXiv 1502.03509). `:orders` is the mixture over eight orders.

Measured: table `digits` of docs/results.md.
"""

from gen_jax.config import experiment


@experiment("autoregressive", orders={"": 1, "orders": 8})
def get_config(config, orders):
    config.steps = 6_000
    config.batch_size = 64
    config.log_every = 500
    config.eval_every = config.checkpoint_every = 1_000
    config.data.name = "digits"
    config.data.num_validation = 200
    config.optim.lr = 1e-3
    config.optim.schedule = "cosine"
    config.model.hidden = (256, 256)
    config.model.num_orders = orders
