"""Digits of MNIST made into digits of USPS, and back: CycleGAN without a label.

    python launch.py train --config=experiments/cyclegan_mnist_usps.py \\
        --workdir=runs/cyclegan_mnist_usps
    python launch.py evaluate --workdir=runs/cyclegan_mnist_usps

Zhu et al. 2017 (arXiv 1703.10593). A classifier of translated digits, with the labels of what they
were made of, is tested on the other set (`target_accuracy`). Both sets are of 16x16 pixels, as USPS
is. A short schedule for two CPU cores.

Measured: table `digit_translation` of docs/results.md.
"""

from gen_jax.config import experiment


@experiment("image_translation")
def get_config(config):
    config.steps = 10_000
    config.batch_size = 32
    config.steps_per_dispatch = 10
    config.log_every = 100
    config.eval_every = config.checkpoint_every = 1_000
    config.data.name = "unpaired:mnist,usps"
    config.data.preprocess = "bytes"
    config.data.image_size = 16
    config.data.num_validation = 1_000
    config.eval.metrics = ("target_accuracy",)
    config.eval.num_samples = 50_000
    config.optim.lr = 5e-4
    config.optim.b1 = 0.5
    config.optim.schedule = "cosine"
    config.optim.generators = {"ema_half_life": 200.0}
    config.model.method = "cyclegan"
    config.model.network = "resnet"
    config.model.widths = (16, 32, 64)
    config.model.blocks = 3
    config.model.discriminator_widths = (32, 64)
