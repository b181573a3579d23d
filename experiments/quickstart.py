"""A small VAE on scikit-learn's digits: the first thing to run.

    python launch.py

1,797 real handwritten digits of 8x8 pixels and 17 grey levels; no download. It trains in about
10 seconds on 2 CPU cores, then measures the test split and writes a report. What to expect is in
docs/results.md, table `digits`.
"""

from gen_jax.config import experiment


@experiment("vae")
def get_config(config):
    config.steps = 3_000
    config.batch_size = 128
    config.log_every = 150
    config.eval_every = config.checkpoint_every = 750
    config.data.name = "digits"
    config.data.preprocess = "bytes"
    config.data.num_validation = 200
    config.optim.schedule = "cosine"
    config.model.likelihood = "discretized_logistic"
    config.model.hidden = (128, 128)
    config.model.activation = "relu"
    config.model.latent_dim = 16
