"""MADE on MNIST with dynamic binarisation.

    python launch.py train --config=experiments/made_mnist.py --workdir=runs/made_mnist
    python launch.py evaluate --workdir=runs/made_mnist

Germain et al. 2015 (arXiv 1502.03509): two layers of 8,000 units and, at best, 32 masks, on a fixed
binarisation. Here the layers are narrower and the binarisation is drawn anew; `:orders` is the
mixture over eight orders. `:quadrants` goes from the lower left quadrant to the upper left, the
lower right and the upper right, so that it completes a picture of which a quadrant, the left half
or all but the upper right is known, and says how likely the rest is (Sohn et al. 2015, section
5.2); it is a shorter schedule.

Measured: tables `binarized_mnist` and, `:quadrants`, `quadrant_completion` of docs/results.md.
"""

from gen_jax.config import experiment


@experiment("autoregressive", kind=("", "orders", "quadrants"))
def get_config(config, kind):
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
    if kind == "orders":
        config.model.num_orders = 8
    if kind == "quadrants":
        config.steps = 20_000
        config.optim.ema_half_life = 400.0
        config.model.order = "quadrants"
        config.eval.metrics = ("nll", "conditional_nll")
