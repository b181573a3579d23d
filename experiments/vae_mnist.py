"""The one-layer VAE of Burda et al. 2016 (784-200-200-50, tanh) on MNIST.

    python launch.py train --config=experiments/vae_mnist.py --workdir=runs/vae_mnist
    python launch.py evaluate --workdir=runs/vae_mnist

Dynamic binarisation. The paper trains for 3,280 epochs at batch 20 in eight stages of the
learning rate; this is a shorter schedule: batch 100 and a cosine, 17 to 19 minutes on 2 CPU cores.

Measured: table `iwae` of docs/results.md. Evaluation takes about 3 minutes.
"""

from gen_jax.config import experiment


@experiment("vae")
def get_config(config):
    config.steps = 400_000
    config.batch_size = 100
    config.steps_per_dispatch = 100
    config.log_every = 5_000
    config.eval_every = config.checkpoint_every = 50_000
    config.data.name = "mnist"
    config.data.num_validation = 1_000
    config.optim.lr = 1e-3
    config.optim.eps = 1e-4
    config.optim.schedule = "cosine"
    config.model.hidden = (200, 200)
    config.model.activation = "tanh"
    config.model.latent_dim = 50
    config.eval.importance_samples = 5_000
