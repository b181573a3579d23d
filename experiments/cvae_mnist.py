"""A class-conditional VAE: encoder, decoder and prior are given the label.

    python launch.py train --config=experiments/cvae_mnist.py:mnist --workdir=runs/cvae_mnist
    python launch.py evaluate --workdir=runs/cvae_mnist
    python launch.py sample --workdir=runs/cvae_mnist --label=3

The argument is mnist or fashion. After Sohn et al. 2015 (Learning Structured Output Representation
using Deep Conditional Generative Models): the bound is on log p(x|y), and the prior p(z|y) is a
Gaussian for each label.

Measured: table `fidelity` of docs/results.md. About 20 minutes on one CPU core; evaluation takes 4.
"""

from gen_jax.config import experiment


@experiment("vae", data={"mnist": "mnist", "fashion": "fashion_mnist"})
def get_config(config, data):
    config.steps = 100_000
    config.batch_size = 100
    config.steps_per_dispatch = 100
    config.log_every = 1_000
    config.eval_every = config.checkpoint_every = 10_000
    config.data.name = data
    config.data.num_validation = 1_000
    config.optim.schedule = "cosine"
    config.model.hidden = (400, 400)
    config.model.activation = "gelu"
    config.model.latent_dim = 32
    config.model.conditional = True
    config.model.prior = "label"
    config.eval.importance_samples = 1_000
    config.eval.metrics = ("elbo", "nll", "active_units", "label_accuracy")
