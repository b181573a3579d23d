"""Variational diffusion of MNIST's bytes: a bound on the likelihood, with learned ends.

    python launch.py train --config=experiments/vdm_mnist.py --workdir=runs/vdm_mnist
    python launch.py evaluate --workdir=runs/vdm_mnist

Kingma et al. 2021 (VDM, arXiv 2107.00630) in continuous time. `bits_per_dim` is the bound, whose
parts `bound_parts` gives; `ode_bits` is by the ODE of data with uniform noise
(`--metrics=ode_bits --config.eval.num_examples=100`). A short schedule for two CPU cores; `:gpu` is
wider and longer, and reads single pixels.

Measured: table `mnist_bits_per_dim` of docs/results.md.
"""

from gen_jax.config import experiment


@experiment("diffusion", size=("", "gpu"))
def get_config(config, size):
    config.steps = 2_500
    config.batch_size = 64
    config.steps_per_dispatch = 10
    config.log_every = 100
    config.eval_every = config.checkpoint_every = 1_000
    config.data.name = "mnist"
    config.data.num_validation = 1_000
    config.data.preprocess = "bytes"
    config.eval.validation_metrics = ("nll",)
    config.eval.metrics = ("nll", "bound_parts")
    config.optim.lr = 1e-3
    config.optim.schedule = "cosine"
    config.optim.warmup_steps = 100
    config.optim.clip_norm = 1.0
    config.optim.ema_half_life = 300.0
    config.model.process = "variational"
    config.model.prediction = "noise"
    config.model.fourier = (6, 7)
    config.model.features = 48
    config.model.multipliers = (1, 2)
    config.model.patch = 2
    if size == "gpu":
        config.steps, config.batch_size = 40_000, 128
        config.eval_every = config.checkpoint_every = 5_000
        config.optim.ema_half_life = 2_000.0
        config.model.features, config.model.patch = 64, 1
        config.model.multipliers, config.model.blocks = (1, 2, 2), 2
