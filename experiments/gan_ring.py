"""GANs on a ring of eight Gaussians: do they find all modes?

python launch.py train --config=experiments/gan_ring.py --workdir=runs/gan_ring
python launch.py evaluate --workdir=runs/gan_ring --record=plane_gan
"""

from gen_jax.config import experiment


@experiment("gan", variants=("rpgan_r1r2", "ns_r1r2", "ns"))
def get_config(config, variant):
    config.steps = 20_000
    config.batch_size = 256
    config.steps_per_dispatch = 100
    config.log_every = 500
    config.eval_every = config.checkpoint_every = 5_000
    config.num_replicas = 5
    config.data.name = "ring"
    config.data.preprocess = "none"
    config.eval.validation_metrics = config.eval.metrics = ("modes",)
    config.model.network = "mlp"
    config.model.latent_dim = 2
    config.model.generator_widths = config.model.discriminator_widths = (128, 128, 128)
    config.optim.b1 = 0.0
    config.optim.b2 = 0.99
    config.optim.schedule = "cosine"
    config.optim.final_lr = 1e-4
    config.model.penalty_weight = (0.1, 1e-3)
    config.model.burn_in_steps = 10_000
