"""A causal transformer over the pixels of MNIST with dynamic binarisation.

    python launch.py train --config=experiments/pixel_transformer_mnist.py \\
        --workdir=runs/pixel_transformer_mnist
    python launch.py evaluate --workdir=runs/pixel_transformer_mnist

Image GPT (Chen et al. 2020) at the size of a small image. A short schedule for two CPU cores;
`:gpu`, of eight blocks of 64 features as EugenHotaj/pytorch-generative has, is one for minutes of a
GPU.

Measured: table `binarized_mnist` of docs/results.md; its speed in `sampling_speed`.
"""

from gen_jax.config import experiment


@experiment("autoregressive", size=("", "gpu"))
def get_config(config, size):
    config.steps = 4_000
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
    config.model.network = "transformer"
    config.model.features = 48
    config.model.heads = 2
    config.model.layers = 3
    if size == "gpu":
        config.steps, config.batch_size = 6_000, 64
        config.model.features, config.model.layers = 64, 8
