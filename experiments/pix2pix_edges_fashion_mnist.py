"""Garments made of their edges: pix2pix on Fashion-MNIST.

    python launch.py train --config=experiments/pix2pix_edges_fashion_mnist.py \\
        --workdir=runs/pix2pix_edges_fashion_mnist
    python launch.py evaluate --workdir=runs/pix2pix_edges_fashion_mnist

Isola et al. 2017 (arXiv 1611.07004): a U-Net learns from the other picture of each pair and from a
discriminator of parts of pictures. A short schedule for two CPU cores; `:digits` is a minute, on
scikit-learn's digits.
"""

from gen_jax.config import experiment


@experiment("image_translation", data={"": "fashion_mnist", "digits": "digits"})
def get_config(config, data):
    config.steps = 3_000 if data != "digits" else 1_500
    config.batch_size = 32
    config.steps_per_dispatch = 10
    config.log_every = 100
    config.eval_every = config.checkpoint_every = 1_000 if data != "digits" else 500
    config.data.name = f"pairs:edges/{data}"
    config.data.preprocess = "bytes"
    config.data.num_validation = 200
    config.eval.metrics = ("translation_error",)
    config.optim.lr = 2e-4
    config.optim.b1 = 0.5
    config.optim.schedule = "cosine"
    config.model.method = "pix2pix"
    config.model.widths = (32, 64, 128)
    config.model.discriminator_widths = (32, 64)
