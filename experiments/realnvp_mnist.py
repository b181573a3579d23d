"""Real NVP on MNIST, by uniform dequantisation.

    python launch.py train --config=experiments/realnvp_mnist.py --workdir=runs/realnvp_mnist
    python launch.py evaluate --workdir=runs/realnvp_mnist

Dinh et al. 2017 (arXiv 1605.08803): couplings on a chess board, then by channels on two scales. A
short schedule for two CPU cores; `:gpu` is a larger one for minutes of a GPU. `:fashion` is on
Fashion-MNIST.

Measured: table `mnist_bits_per_dim` of docs/results.md.
"""

from gen_jax.config import experiment


@experiment("flow", data={"": "mnist", "fashion": "fashion_mnist"}, size=("", "gpu"))
def get_config(config, data, size):
    config.steps = 4_000
    config.batch_size = 32
    config.steps_per_dispatch = 10
    config.log_every = 100
    config.eval_every = config.checkpoint_every = 1_000
    config.data.name = data
    config.data.preprocess = "uniform_dequantization"
    config.data.num_validation = 1_000
    config.optim.lr = 1e-3
    config.optim.schedule = "cosine"
    config.optim.warmup_steps = 100
    config.optim.clip_norm = 1.0
    config.optim.ema_half_life = 200.0
    config.model.flow = "multiscale"
    config.model.alpha = 1e-5
    config.model.mixing = "none"
    config.model.features = 32
    config.model.checker_layers = 1
    config.model.channel_layers = (2, 2)
    if size == "gpu":
        config.steps, config.batch_size = 4_000, 128
        config.model.features, config.model.convolutions = 64, 3
        config.model.checker_layers, config.model.channel_layers = 3, (3, 3)
