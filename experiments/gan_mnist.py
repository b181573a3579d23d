"""A class-conditional GAN on MNIST.

    python launch.py train --config=experiments/gan_mnist.py --workdir=runs/gan_mnist
    python launch.py evaluate --workdir=runs/gan_mnist --record=fidelity
    python launch.py sample --workdir=runs/gan_mnist --label=3

The argument `long` trains four times as long, with its schedules stretched.

Measured: table `fidelity` of docs/results.md. About 10 minutes on 2 idle CPU cores; `long` takes 45
minutes on one that is shared.
"""

from gen_jax.config import experiment


@experiment("gan", steps={"": 6_000, "long": 24_000})
def get_config(config, steps):
    config.steps = steps
    config.batch_size = 64
    config.log_every = 100
    config.eval_every = config.checkpoint_every = steps // 4
    config.data.name = "mnist"
    config.data.preprocess = "bytes"
    config.data.num_validation = 1_000
    config.eval.validation_metrics = ("discriminator", "prdc")
    config.eval.metrics = ("fid", "kid", "inception_score", "prdc", "label_accuracy")
    config.model.network = "dcgan"
    config.model.generator_widths = config.model.discriminator_widths = (32, 64, 128)
    config.model.generator_norm = "batch"
    config.model.generator_condition = "concat"
    config.model.discriminator_condition = "projection"
    config.model.penalty_weight = (1.0, 0.1)
    config.model.burn_in_steps = steps // 2
    config.optim.lr = 5e-4
    config.optim.final_lr = 5e-5
    config.optim.schedule = "cosine"
    config.optim.b1 = 0.0
    config.optim.b2 = 0.99
    config.optim.generator = {"ema_half_life": steps / 30}
