"""Absorbing discrete diffusion of MNIST with dynamic binarisation.

    python launch.py train --config=experiments/d3pm_mnist.py --workdir=runs/d3pm_mnist
    python launch.py evaluate --workdir=runs/d3pm_mnist

Pixels are hidden one by one (Austin et al. 2021, arXiv 2107.03006). It is trained in continuous
time; `nll@steps=T` is the bound by T steps, on a choice of 1,000 test images. A short schedule for
two CPU cores; `:gpu` is wider and longer, of single pixels and all test images.

Measured: table `binarized_mnist` of docs/results.md.
"""

from gen_jax.config import experiment


@experiment("diffusion", size=("", "gpu"))
def get_config(config, size):
    config.steps = 10_000
    config.batch_size = 64
    config.steps_per_dispatch = 10
    config.log_every = 100
    config.eval_every = config.checkpoint_every = 1_000
    config.data.name = "mnist"
    config.data.num_validation = 1_000
    config.data.preprocess = "dynamic_binarization"
    config.eval.validation_metrics = ("nll",)
    config.eval.metrics = ("stepped_bound",)
    config.eval.num_examples = 1_000
    config.optim.lr = 1e-3
    config.optim.schedule = "cosine"
    config.optim.warmup_steps = 100
    config.optim.clip_norm = 1.0
    config.optim.ema_half_life = 500.0
    config.model.process = "absorbing"
    config.model.bound_steps = 10
    config.model.features = 48
    config.model.multipliers = (1, 2)
    config.model.patch = 2
    if size == "gpu":
        config.steps, config.batch_size = 40_000, 128
        config.eval_every = config.checkpoint_every = 5_000
        config.eval.num_examples = 0
        config.optim.ema_half_life = 2_000.0
        config.model.features, config.model.patch = 64, 1
        config.model.multipliers, config.model.blocks = (1, 2, 2), 2
