"""NICE on MNIST: additive couplings of vectors and a logistic density, by uniform dequantisation.

    python launch.py train --config=experiments/nice_mnist.py --workdir=runs/nice_mnist
    python launch.py evaluate --workdir=runs/nice_mnist

Dinh et al. 2015 (arXiv 1410.8516): four couplings of every other pixel, each by five layers of
1,000 units, and a factor of each dimension. `:fashion` is on Fashion-MNIST. Here pixels go through
a logit first, as in later flows.

Measured: table `mnist_bits_per_dim` of docs/results.md.
"""

from gen_jax.config import experiment


@experiment("flow", data={"": "mnist", "fashion": "fashion_mnist"})
def get_config(config, data):
    config.steps = 6_000
    config.batch_size = 128
    config.steps_per_dispatch = 10
    config.log_every = config.eval_every = config.checkpoint_every = 500
    config.data.name = data
    config.data.preprocess = "uniform_dequantization"
    config.optim.lr = 1e-3
    config.optim.schedule = "cosine"
    config.optim.clip_norm = 1.0
    config.optim.ema_half_life = 200.0
    config.model.flow = "coupling"
    config.model.transform = "additive"
    config.model.layers = 2
    config.model.hidden = (1_000,) * 5
    config.model.act_norm = False
    config.model.mixing = "none"
    config.model.final_scale = True
    config.model.base = "logistic"
