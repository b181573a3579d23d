"""PixelRNN on MNIST with dynamic binarisation: row LSTMs, or diagonal BiLSTMs.

    python launch.py train --config=experiments/pixelrnn_mnist.py --workdir=runs/pixelrnn_mnist
    python launch.py evaluate --workdir=runs/pixelrnn_mnist

van den Oord et al. 2016 (arXiv 1601.06759). A short schedule for two CPU cores. `:diagonal` has the
BiLSTM; `gpu` are seven layers, as in the paper.

Measured: table `binarized_mnist` of docs/results.md.
"""

from gen_jax.config import experiment


@experiment(
    "autoregressive",
    layer={"": "row_lstm", "diagonal": "diagonal_bilstm"},
    size=("", "gpu"),
)
def get_config(config, layer, size):
    config.steps = 10_000
    config.batch_size = 16
    config.steps_per_dispatch = 10
    config.log_every = 100
    config.eval_every = config.checkpoint_every = 1_000
    config.data.name = "mnist"
    config.data.num_validation = 1_000
    config.optim.lr = 2e-3
    config.optim.schedule = "cosine"
    config.optim.clip_norm = 1.0
    config.optim.ema_half_life = 200.0
    config.model.network = layer
    config.model.features = 32
    config.model.layers = 2
    if size == "gpu":
        config.steps, config.batch_size = 200_000, 64
        config.log_every = 1_000
        config.eval_every = config.checkpoint_every = 20_000
        config.model.features, config.model.layers = 64, 7
