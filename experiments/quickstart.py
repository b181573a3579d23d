"""A small VAE on scikit-learn's digits: the first thing to run.

    python launch.py

1,797 real handwritten digits of 8x8 pixels, binarised anew at every step. No download.
"""

from gen_jax.config import experiment


@experiment("vae")
def get_config(config, variant):
    config.steps = 10_000
    config.batch_size = 128
    config.log_every = 500
    config.eval_every = config.checkpoint_every = 2_500
    config.data.name = "digits"
    config.data.num_validation = 200
    config.optim.lr = 1e-3
    config.optim.schedule = "cosine"
    config.model.hidden = (128, 128)
    config.model.latent_dim = 16
    config.eval.importance_samples = 1_000
