"""A VAE of one class of MNIST, whose reconstructions tell the other classes from it.

    python launch.py train --config=experiments/one_class_mnist.py:8 \\
        --workdir=runs/one_class_mnist-8
    python launch.py evaluate --workdir=runs/one_class_mnist-8

Ruff et al. 2018 (Deep SVDD): trained on the training images of one class, scored on all 10,000
test images. `:8_fashion` is on Fashion-MNIST. `auroc/relative_error` is by the error of
reconstructions, as a part of what is in the picture; `auroc/nll` by -log p(x). Three seeds side by
side, a minute in all.

Measured: table `one_class` of docs/results.md.
"""

from gen_jax.config import experiment


@experiment(
    "vae",
    number=("0", "1", "2", "3", "4", "5", "6", "7", "8", "9"),
    data={"": "mnist", "fashion": "fashion_mnist"},
)
def get_config(config, number, data):
    config.steps = 2_000
    config.batch_size = 128
    config.steps_per_dispatch = 50
    config.log_every = 200
    config.eval_every = config.checkpoint_every = 1_000
    config.num_replicas = 3
    config.data.name = f"one_class:{number}/{data}"
    config.data.preprocess = "uniform_dequantization"
    config.data.num_validation = 500
    config.eval.metrics = ("auroc",)
    config.eval.elbo_samples = 50
    config.optim.lr = 1e-3
    config.model.hidden = (256, 256)
    config.model.latent_dim = 16
    config.model.likelihood = "gaussian"
    config.model.sigma = 0.2
