"""GANs on Stacked MNIST: how many of 1,000 modes do they find?

    python launch.py train --config=experiments/gan_stacked_mnist.py:rpgan_r1r2 \\
        --workdir=runs/stacked_rpgan_r1r2
    python launch.py evaluate --workdir=runs/stacked_rpgan_r1r2 --record=stacked_mnist

Protocol of GDPP (Elfeki et al. 2019, arXiv 1812.00068): 50,000 fixed triples, batch 64, 15,000
steps, 26,000 samples, whose digits a classifier reads. Networks are a DCGAN of widths 32, 64, 128.

Variants: `rpgan_r1r2`, `ns_r1r2`, `ns`, `pac2` (the non-saturating loss without a penalty, pairs
packed) and `wgan_gp`.

Measured: table `stacked_mnist` of docs/results.md, one seed each. On one CPU core, of two
that are both busy, 14 minutes without a penalty and 24 with R1 and R2.
"""

from gen_jax.config import experiment


@experiment("gan", recipe=("rpgan_r1r2", "ns_r1r2", "ns", "pac2", "wgan_gp"))
def get_config(config, recipe):
    config.steps = 15_000
    config.batch_size = 64
    config.log_every = 100
    config.eval_every = config.checkpoint_every = 2_500
    config.data.name = "stacked_mnist"
    config.data.preprocess = "bytes"
    config.data.num_validation = 1_000
    config.eval.judge = "mnist"
    config.eval.validation_metrics = ("discriminator",)
    config.eval.metrics = ("modes",)
    config.model.network = "dcgan"
    config.model.generator_widths = config.model.discriminator_widths = (32, 64, 128)
    config.model.generator_norm = "batch"
    config.optim.lr = 2e-4
    config.optim.b1 = 0.5
    config.optim.b2 = 0.99
    config.optim.generator = {"ema_half_life": 500.0}
    relativistic = recipe == "rpgan_r1r2"
    config.model.loss = "relativistic" if relativistic else "non_saturating"
    config.model.penalty = "none"
    if relativistic or recipe == "ns_r1r2":
        config.model.penalty = "r1_r2"
        config.model.penalty_weight = (1.0, 0.1)
        config.model.burn_in_steps = 7_500
        config.optim.b1 = 0.0
        config.optim.lr = 5e-4
        config.optim.final_lr = 5e-5
        config.optim.schedule = "cosine"
    if recipe == "pac2":
        config.model.pack = 2
    if recipe == "wgan_gp":
        config.model.loss = "wasserstein"
        config.model.penalty = "wgan_gp"
        config.model.penalty_weight = (10.0, 10.0)
