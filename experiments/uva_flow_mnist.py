"""The image flows of Amsterdam's deep learning tutorials on MNIST.

    python launch.py train --config=experiments/uva_flow_mnist.py:multiscale \\
        --workdir=runs/uva_flow_mnist-multiscale
    python launch.py evaluate --workdir=runs/uva_flow_mnist-multiscale

phlippe/uvadlc_notebooks, tutorial 11: `simple` are eight chess-board couplings of uniformly
dequantised pixels, `vardeq` learns the noise, and `multiscale` factors channels out; `fashion` is
on Fashion-MNIST. Those train for 200 passes; here it is less than one, for two CPU cores, and
`:gpu` a short schedule for minutes of a GPU. The bound by 8 draws of the noise is `bits_per_dim`,
that by one `elbo_bits_per_dim`; without `:gpu` they are of a choice of 1,000 test images.

Measured: table `mnist_bits_per_dim` of docs/results.md.
"""

from gen_jax.config import experiment


@experiment(
    "flow",
    kind=("simple", "vardeq", "multiscale"),
    data={"": "mnist", "fashion": "fashion_mnist"},
    size=("", "gpu"),
)
def get_config(config, kind, data, size):
    config.steps = 800
    config.batch_size = 32
    config.steps_per_dispatch = 20
    config.log_every = 200
    config.eval_every = config.checkpoint_every = 400
    config.data.name = data
    config.data.preprocess = "bytes"
    config.data.num_validation = 200
    config.eval.num_examples = 1_000
    config.eval.metrics = ("nll", "elbo")
    config.eval.validation_metrics = ("elbo",)
    config.eval.importance_samples = 8
    config.eval.elbo_samples = 1
    config.optim.lr = 1e-3
    config.optim.schedule = "cosine"
    config.optim.warmup_steps = 100
    config.optim.clip_norm = 1.0
    config.optim.ema_half_life = 200.0
    config.model.flow = "multiscale"
    config.model.alpha = 1e-5
    config.model.act_norm = False
    config.model.mixing = "none"
    config.model.features = 32
    config.model.convolutions = 3
    config.model.checker_layers = 4
    config.model.channel_layers = ()
    if kind != "simple":
        config.model.dequantization = "variational"
    if kind == "multiscale":
        config.model.checker_layers = 1
        config.model.channel_layers = (1, 2)
        config.model.channel_features = (48, 64)
    if size == "gpu":
        config.steps, config.batch_size = 3_200, 128
        config.eval_every = config.checkpoint_every = 1_600
        config.data.num_validation, config.eval.num_examples = 10_000, 0
