"""GANs on eight Gaussians on a ring: do they find all modes, and nothing between?

    python launch.py train --config=experiments/gan_ring.py:rpgan_r1r2 \\
        --workdir=runs/gan_ring-rpgan_r1r2
    python launch.py evaluate --workdir=runs/gan_ring-rpgan_r1r2 --record=plane_gan

The data and the measure of PacGAN (Lin et al. 2018, arXiv 1712.04086, section 4.1), five seeds side
by side in one program.

Variants: `rpgan_r1r2` (the default) and `ns`, the non-saturating loss without a penalty on the same
networks and budget.

Measured: table `plane_gan` of docs/results.md. 17 minutes for five seeds on 2 CPU cores at half
load.
"""

from gen_jax.config import experiment


@experiment("gan", recipe=("rpgan_r1r2", "ns"))
def get_config(config, recipe):
    config.num_replicas = 5
    config.steps = 20_000
    config.batch_size = 256
    config.steps_per_dispatch = 100
    config.log_every = 500
    config.eval_every = config.checkpoint_every = 2_500
    config.data.name = "ring"
    config.data.preprocess = "none"
    config.eval.validation_metrics = config.eval.metrics = ("modes",)
    config.model.network = "mlp"
    config.model.latent_dim = 2
    config.model.generator_widths = (256, 256, 256, 256)
    config.model.discriminator_widths = (128, 128, 128)
    config.model.penalty_weight = (0.1, 1e-5)
    config.model.burn_in_steps = 12_000
    config.optim.b1 = 0.0
    config.optim.b2 = 0.99
    config.optim.schedule = "cosine"
    config.optim.final_lr = 1e-5
    config.optim.generator = {"ema_half_life": 700.0}
    if recipe == "ns":
        config.model.loss = "non_saturating"
        config.model.penalty = "none"
