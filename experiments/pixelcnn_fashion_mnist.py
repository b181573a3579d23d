"""The gated PixelCNN on the 256 grey levels of Fashion-MNIST.

    python launch.py train --config=experiments/pixelcnn_fashion_mnist.py \\
        --workdir=runs/pixelcnn_fashion_mnist
    python launch.py evaluate --workdir=runs/pixelcnn_fashion_mnist

A mixture of ten logistics for each pixel (Salimans et al. 2017, arXiv 1701.05517). A short schedule
for two CPU cores; `:gpu` is wider and longer.

Measured: table `mnist_bits_per_dim` of docs/results.md.
"""

from gen_jax.config import experiment


@experiment("autoregressive", size=("", "gpu"))
def get_config(config, size):
    config.steps = 8_000
    config.batch_size = 16
    config.steps_per_dispatch = 10
    config.log_every = 200
    config.eval_every = config.checkpoint_every = 2_000
    config.data.name = "fashion_mnist"
    config.data.num_validation = 1_000
    config.data.preprocess = "bytes"
    config.optim.lr = 1.5e-3
    config.optim.schedule = "cosine"
    config.optim.clip_norm = 1.0
    config.optim.ema_half_life = 500.0
    config.model.network = "pixelcnn"
    config.model.likelihood = "discretized_logistic_mixture"
    config.model.features = 32
    if size == "gpu":
        config.steps, config.batch_size = 100_000, 128
        config.eval_every = config.checkpoint_every = 10_000
        config.model.features = 64
