"""A class-conditional GAN on scikit-learn's digits: the sandbox, half a minute on a CPU.

    python launch.py train --config=experiments/gan_digits.py --workdir=runs/gan_digits
    python launch.py evaluate --workdir=runs/gan_digits
    python launch.py sample --workdir=runs/gan_digits --label=3 --num=16

Measured: table `digits` of docs/results.md.
"""

from gen_jax.config import experiment


@experiment("gan")
def get_config(config):
    config.steps = 4_000
    config.batch_size = 64
    config.log_every = 200
    config.eval_every = config.checkpoint_every = 1_000
    config.data.name = "digits"
    config.data.preprocess = "bytes"
    config.data.num_validation = 200
    config.eval.validation_metrics = ("discriminator", "prdc")
    config.eval.metrics = ("fid", "prdc", "label_accuracy", "memorization")
    config.eval.num_samples = 600
    config.model.network = "dcgan"
    config.model.generator_widths = config.model.discriminator_widths = (64,)
    config.model.generator_norm = "batch"
    config.model.generator_condition = "concat"
    config.model.discriminator_condition = "projection"
    config.model.augmentations = ("translation",)
    config.model.penalty_weight = (1.0, 0.1)
    config.model.burn_in_steps = 2_000
    config.optim.lr = 5e-4
    config.optim.final_lr = 1e-4
    config.optim.schedule = "cosine"
    config.optim.b1 = 0.0
    config.optim.b2 = 0.99
    config.optim.generator = {"ema_half_life": 200.0}
