"""A diffusion of the latents of a VAE of MNIST, as its prior.

    python launch.py train --config=experiments/vae_mnist.py --workdir=runs/vae_mnist
    python launch.py encode --workdir=runs/vae_mnist
    python launch.py train --config=experiments/latent_diffusion_mnist.py \\
        --workdir=runs/latent_diffusion_mnist
    python launch.py evaluate --workdir=runs/vae_mnist --metrics=fid,prdc \\
        --config.eval.latent_prior=runs/latent_diffusion_mnist

The pair is a latent diffusion (Rombach et al. 2022, arXiv 2112.10752): the last command scores
decoded samples. A perceptron with the noise of EDM (Karras et al. 2022, arXiv 2206.00364).
"""

from gen_jax.config import experiment


@experiment("diffusion")
def get_config(config):
    config.steps = 20_000
    config.batch_size = 256
    config.steps_per_dispatch = 50
    config.log_every = 500
    config.eval_every = config.checkpoint_every = 5_000
    config.data.name = "latents:runs/vae_mnist"
    config.data.preprocess = "none"
    config.data.num_validation = 1_000
    config.eval.metrics = ("denoising_mse",)
    config.optim.lr = 1e-3
    config.optim.schedule = "cosine"
    config.optim.clip_norm = 1.0
    config.optim.ema_half_life = 500.0
    config.model.network = "mlp"
    config.model.hidden = (512, 512, 512, 512)
    config.model.schedule = "log_normal"
    config.model.scaling = "exploding"
