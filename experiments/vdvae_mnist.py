"""A small very deep VAE (Child 2021, arXiv 2011.10650) on MNIST, dynamically binarised.

    python launch.py train --config=experiments/vdvae_mnist.py --workdir=runs/vdvae
    python launch.py evaluate --workdir=runs/vdvae

The argument `fashion` takes Fashion-MNIST instead. Five layers of latents, from a constant at 1x1
to 14x14; the paper's figures are for far larger models on colour images. A step takes about 75 ms
on 2 CPU cores, the run an hour or more. Not measured yet at full length.
"""

from gen_jax.config import experiment


@experiment("vdvae", data={"mnist": "mnist", "fashion": "fashion_mnist"})
def get_config(config, data):
    config.steps = 50_000
    config.batch_size = 64
    config.steps_per_dispatch = 20
    config.log_every = 500
    config.eval_every = config.checkpoint_every = 5_000
    config.data.name = data
    config.data.num_validation = 1_000
    config.optim.lr = 1e-3
    config.optim.weight_decay = 0.01
    config.optim.schedule = "cosine"
    config.optim.warmup_steps = 100
    config.optim.clip_norm = 200.0  # takes the place of the paper's skipped updates
    config.optim.ema_half_life = 1_000.0
    config.model.blocks = (0, 2, 2, 1)  # at 28, 14, 7 and 1
    config.model.beta_warmup_steps = 5_000
    config.eval.metrics = ("elbo", "nll", "mse")
    config.eval.importance_samples = 100
