"""Digits of MNIST in the style of the garments of Fashion-MNIST.

    python launch.py train --config=experiments/adain_mnist_fashion_mnist.py \\
        --workdir=runs/adain_mnist_fashion_mnist
    python launch.py translate --workdir=runs/adain_mnist_fashion_mnist
    python launch.py translate --workdir=runs/adain_mnist_fashion_mnist --style=a.png,b.png

Huang and Belongie 2017 (arXiv 1703.06868): a digit keeps its features, with the mean and the spread
that they have in a garment. Two folders of your own are
`--config.data.name=unpaired:folder:/photos,folder:/paintings`. A short schedule for two CPU cores.
"""

from gen_jax.config import experiment


@experiment("image_translation")
def get_config(config):
    config.steps = 2_000
    config.batch_size = 32
    config.steps_per_dispatch = 10
    config.log_every = 100
    config.eval_every = config.checkpoint_every = 500
    config.data.name = "unpaired:mnist,fashion_mnist"
    config.data.preprocess = "bytes"
    config.data.num_validation = 200
    config.eval.judge = "fashion_mnist"
    config.eval.metrics = ("fid",)
    config.optim.lr = 5e-4
    config.optim.schedule = "cosine"
    config.model.method = "adain"
    config.model.widths = (32, 64, 128)
