"""The one-layer VAE of vae_mnist.py on Fashion-MNIST, dynamically binarised.

    python launch.py train --config=experiments/vae_fashion_mnist.py --workdir=runs/vae_fashion
    python launch.py evaluate --workdir=runs/vae_fashion

Measured: table `iwae` of docs/results.md. About 30 minutes on one CPU core; evaluation takes 6.
"""

from gen_jax.config import experiment


@experiment("vae")
def get_config(config):
    config.steps = 400_000
    config.batch_size = 100
    config.steps_per_dispatch = 100
    config.log_every = 5_000
    config.eval_every = config.checkpoint_every = 50_000
    config.data.name = "fashion_mnist"
    config.data.num_validation = 1_000
    config.optim.eps = 1e-4
    config.optim.schedule = "cosine"
    config.model.hidden = (200, 200)
    config.model.latent_dim = 50
    config.eval.importance_samples = 5_000
