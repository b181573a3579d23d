"""MADE on MNIST with dynamic binarisation.

    python launch.py train --config=experiments/made_mnist.py --workdir=runs/made_mnist
    python launch.py evaluate --workdir=runs/made_mnist

Germain et al. 2015 (arXiv 1502.03509): two layers of 8,000 units and, at best, 32 masks, on a fixed
binarisation. Here the layers are narrower and the binarisation is drawn anew; `:orders` is the
mixture over eight orders.

Measured: table `binarized_mnist` of docs/results.md.
"""

from gen_jax.config import experiment


@experiment("autoregressive", orders={"": 1, "orders": 8})
def get_config(config, orders):
    config.steps = 100_000
    config.batch_size = 128
    config.steps_per_dispatch = 50
    config.log_every = 1_000
    config.eval_every = config.checkpoint_every = 10_000
    config.data.name = "mnist"
    config.optim.lr = 1e-3
    config.optim.schedule = "cosine"
    config.optim.ema_half_life = 1_000.0
    config.model.hidden = (1_024, 1_024)
    config.model.num_orders = orders
