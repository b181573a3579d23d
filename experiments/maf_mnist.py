"""A masked autoregressive flow on MNIST, by uniform dequantisation.

    python launch.py train --config=experiments/maf_mnist.py --workdir=runs/maf_mnist
    python launch.py evaluate --workdir=runs/maf_mnist

Papamakarios et al. 2017 (arXiv 1705.07057): five layers of MADE, of logits with alpha 1e-6, whose
order turns round in between. `:fashion` is on Fashion-MNIST. Some samples run away: an affine map
is steep where there were no data, and each pixel depends on all before it.

Measured: table `mnist_bits_per_dim` of docs/results.md.
"""

from gen_jax.config import experiment


@experiment("flow", data={"": "mnist", "fashion": "fashion_mnist"})
def get_config(config, data):
    config.steps = 4_000
    config.batch_size = 100
    config.steps_per_dispatch = 10
    config.log_every = config.eval_every = config.checkpoint_every = 500
    config.data.name = data
    config.data.preprocess = "uniform_dequantization"
    config.data.num_validation = 10_000
    config.eval.metrics = ("nll", "logit_nll")
    config.optim.lr = 5e-4
    config.optim.schedule = "cosine"
    config.optim.clip_norm = 1.0
    config.optim.ema_half_life = 200.0
    config.model.flow = "autoregressive"
    config.model.layers = 5
    config.model.hidden = (1_024,)
    config.model.mixing = "reverse"
    config.model.alpha = 1e-6
