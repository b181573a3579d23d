"""A VAE with three stochastic layers, with or without inverse autoregressive flows.

    python launch.py train --config=experiments/hvae.py:mnist --workdir=runs/hvae
    python launch.py evaluate --workdir=runs/hvae

The argument is DATA[_iaf]: mnist or fashion; `_iaf` sends the lowest layer's posterior through two
steps of a flow (Kingma et al. 2016, arXiv 1606.04934).

Layers as the lower three of Sønderby et al. 2016 (arXiv 1602.02282), with their warm-up of the
rate, without which the upper layers die: `rate/layer_3` says whether they are used. Not measured
yet at full length.
"""

from gen_jax.config import experiment


@experiment("vae", data={"mnist": "mnist", "fashion": "fashion_mnist"}, flow=("", "iaf"))
def get_config(config, data, flow):
    config.steps = 200_000
    config.batch_size = 100
    config.steps_per_dispatch = 100
    config.log_every = 2_500
    config.eval_every = config.checkpoint_every = 25_000
    config.data.name = data
    config.data.num_validation = 10_000
    config.optim.schedule = "cosine"
    config.model.hidden = (512, 512)
    config.model.activation = "gelu"
    config.model.latent_dim = 64
    config.model.upper_latent_dims = (32, 16)
    config.model.upper_hidden = (256,)
    config.model.beta_warmup_steps = 100_000
    if flow:
        config.model.flow_steps = 2
    config.eval.importance_samples = 5_000
