"""A class-conditional diffusion of Fashion-MNIST.

    python launch.py train --config=experiments/diffusion_fashion_mnist.py \\
        --workdir=runs/diffusion_fashion_mnist
    python launch.py evaluate --workdir=runs/diffusion_fashion_mnist

A U-Net over squares of 2x2 pixels with the noise of EDM (Karras et al. 2022, arXiv 2206.00364), 12
steps of DPM-Solver++ with guidance, which are 24 calls of the network. A short schedule for two CPU
cores; `:gpu` is wider and longer, and reads single pixels.

Measured: table `fidelity` of docs/results.md.
"""

from gen_jax.config import experiment


@experiment("diffusion", size=("", "gpu"))
def get_config(config, size):
    config.steps = 15_000
    config.batch_size = 32
    config.steps_per_dispatch = 10
    config.log_every = 100
    config.eval_every = config.checkpoint_every = 1_000
    config.data.name = "fashion_mnist"
    config.data.num_validation = 1_000
    config.data.preprocess = "uniform_dequantization"
    config.eval.metrics = ("fid", "kid", "prdc", "label_accuracy")
    config.optim.lr = 1e-3
    config.optim.schedule = "cosine"
    config.optim.warmup_steps = 100
    config.optim.clip_norm = 1.0
    config.optim.ema_half_life = 500.0
    config.sample.steps = 12
    config.sample.guidance = 1.5
    config.model.conditional = True
    config.model.features = 48
    config.model.multipliers = (1, 2)
    config.model.patch = 2
    config.model.schedule = "log_normal"
    config.model.scaling = "exploding"
    if size == "gpu":
        config.steps, config.batch_size = 40_000, 128
        config.eval_every = config.checkpoint_every = 5_000
        config.optim.ema_half_life = 2_000.0
        config.model.features, config.model.patch = 64, 1
        config.model.multipliers, config.model.blocks = (1, 2, 2), 2
