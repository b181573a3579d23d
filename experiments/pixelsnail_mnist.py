"""A small PixelSNAIL on MNIST with dynamic binarisation.

    python launch.py train --config=experiments/pixelsnail_mnist.py --workdir=runs/pixelsnail_mnist
    python launch.py evaluate --workdir=runs/pixelsnail_mnist

Chen et al. 2018 (arXiv 1712.09763). A short schedule for two CPU cores; `:gpu`, of four blocks of
64 features, is one for minutes of a GPU.

Measured: table `binarized_mnist` of docs/results.md.
"""

from gen_jax.config import experiment


@experiment("autoregressive", size=("", "gpu"))
def get_config(config, size):
    config.steps = 8_000
    config.batch_size = 16
    config.steps_per_dispatch = 10
    config.log_every = 100
    config.eval_every = config.checkpoint_every = 1_000
    config.data.name = "mnist"
    config.data.num_validation = 1_000
    config.optim.lr = 2e-3
    config.optim.schedule = "cosine"
    config.optim.warmup_steps = 100
    config.optim.clip_norm = 1.0
    config.optim.ema_half_life = 200.0
    config.model.network = "pixelsnail"
    config.model.features = 32
    config.model.heads = 1
    config.model.layers = 2
    config.model.residuals = 2
    if size == "gpu":
        config.steps, config.batch_size = 5_500, 64
        config.model.features, config.model.heads, config.model.layers = 64, 2, 4
