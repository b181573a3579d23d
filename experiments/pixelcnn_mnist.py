"""The gated PixelCNN on MNIST with dynamic binarisation.

    python launch.py train --config=experiments/pixelcnn_mnist.py --workdir=runs/pixelcnn_mnist
    python launch.py evaluate --workdir=runs/pixelcnn_mnist
    python launch.py sample --workdir=runs/pixelcnn_mnist --num=64

van den Oord et al. 2016 (arXiv 1606.05328). A short schedule for two CPU cores; `:gpu` is wider,
deeper and longer. `:bytes` models the 256 grey levels by the network of the deep learning tutorials
of Amsterdam (phlippe/uvadlc_notebooks): 64 features, seven layers, a value of 256 for each pixel.
Those train for 150 passes; here it is a short schedule for minutes of a GPU.

Measured: table `binarized_mnist` of docs/results.md.
"""

from gen_jax.config import experiment


@experiment("autoregressive", kind=("", "bytes", "gpu"))
def get_config(config, kind):
    config.steps = 22_500
    config.batch_size = 16
    config.steps_per_dispatch = 10
    config.log_every = 200
    config.eval_every = config.checkpoint_every = 2_500
    config.data.name = "mnist"
    config.data.num_validation = 1_000
    config.optim.lr = 1.5e-3
    config.optim.schedule = "cosine"
    config.optim.decay_steps = 45_000  # a longer schedule, of which this is the first half
    config.optim.clip_norm = 1.0
    config.optim.ema_half_life = 500.0
    config.model.network = "pixelcnn"
    config.model.features = 32
    if kind == "bytes":
        config.steps, config.batch_size = 4_000, 128
        config.optim.decay_steps = 0
        config.optim.lr = 1e-3
        config.data.preprocess = "bytes"
        config.data.num_validation = 10_000
        config.model.likelihood = "categorical"
        config.model.features = 64
        config.model.dilations = (1, 2, 1, 4, 1, 2, 1)
    if kind == "gpu":
        config.steps, config.batch_size = 200_000, 128
        config.optim.decay_steps = 0
        config.model.features, config.model.dilations = 64, (1, 2, 1, 4, 1, 2, 1) * 2
