"""A convolutional VAE on Fashion-MNIST's 256 grey levels.

    python launch.py train --config=experiments/vae_conv_fashion_mnist.py --workdir=runs/vae_conv
    python launch.py evaluate --workdir=runs/vae_conv

Discretised-logistic likelihood (Salimans et al. 2017), so the figure is in bits a dimension of
the images as they are stored. Not measured yet at full length.
"""

from gen_jax.config import experiment


@experiment("vae")
def get_config(config):
    config.steps = 20_000
    config.steps_per_dispatch = 20
    config.log_every = 200
    config.eval_every = config.checkpoint_every = 2_000
    config.data.name = "fashion_mnist"
    config.data.preprocess = "bytes"
    config.data.num_validation = 1_000
    config.optim.schedule = "cosine"
    config.optim.clip_norm = 100.0
    config.model.network = "conv"
    config.model.likelihood = "discretized_logistic"
    config.model.hidden = (32, 64, 128)
    config.model.activation = "gelu"
    config.model.latent_dim = 32
    config.eval.importance_samples = 100
