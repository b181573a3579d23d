"""Glow on MNIST: couplings by channels between invertible 1x1 convolutions.

    python launch.py train --config=experiments/glow_mnist.py --workdir=runs/glow_mnist
    python launch.py evaluate --workdir=runs/glow_mnist

Kingma and Dhariwal 2018 (arXiv 1807.03039), by uniform dequantisation. A short schedule for two CPU
cores; `:gpu` is a larger one for minutes of a GPU. `:fashion` is on Fashion-MNIST.

Measured: table `mnist_bits_per_dim` of docs/results.md.
"""

from gen_jax.config import experiment


@experiment("flow", data={"": "mnist", "fashion": "fashion_mnist"}, size=("", "gpu"))
def get_config(config, data, size):
    config.steps = 1_500
    config.batch_size = 32
    config.steps_per_dispatch = 10
    config.log_every = 100
    config.eval_every = config.checkpoint_every = 500
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
    config.model.features = 32
    config.model.checker_layers = 0
    config.model.channel_layers = (8, 8)
    if size == "gpu":
        config.steps, config.batch_size = 4_500, 128
        config.eval_every = config.checkpoint_every = 1_500
        config.model.features, config.model.channel_layers = 96, (12, 12)
