"""A transformer flow (TarFlow) on MNIST, given the class, by uniform dequantisation.

    python launch.py train --config=experiments/tarflow_mnist.py --workdir=runs/tarflow_mnist
    python launch.py evaluate --workdir=runs/tarflow_mnist

Zhai et al. 2024 (arXiv 2412.06329): layers that are autoregressive over patches of 4x4 pixels, each
by a causal transformer, in turns from the first patch and from the last. As it is given the class,
it classifies by Bayes' rule: `bayes_accuracy`. A short schedule for two CPU cores; `:gpu` is
longer, for minutes of a GPU. `:fashion` is on Fashion-MNIST.

Measured: table `mnist_bits_per_dim` of docs/results.md.
"""

from gen_jax.config import experiment


@experiment("flow", data={"": "mnist", "fashion": "fashion_mnist"}, size=("", "gpu"))
def get_config(config, data, size):
    config.steps = 2_000
    config.batch_size = 32
    config.steps_per_dispatch = 20
    config.log_every = 200
    config.eval_every = config.checkpoint_every = 1_000
    config.data.name = data
    config.data.preprocess = "uniform_dequantization"
    config.data.num_validation = 1_000
    config.eval.metrics = ("nll", "bayes_accuracy")
    config.optim.lr = 1e-3
    config.optim.schedule = "cosine"
    config.optim.warmup_steps = 200
    config.optim.clip_norm = 1.0
    config.optim.ema_half_life = 200.0
    config.model.flow = "transformer"
    config.model.conditional = True
    config.model.layers = 4
    config.model.blocks = 4
    config.model.features = 128
    config.model.heads = 4
    if size == "gpu":
        config.steps, config.batch_size = 7_000, 128
        config.eval_every = config.checkpoint_every = 2_000
