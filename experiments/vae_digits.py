"""VAEs on scikit-learn's binarised digits: the sandbox, where a run takes half a minute.

    python launch.py train --config=experiments/vae_digits.py --workdir=runs/vae_digits
    python launch.py train --config=experiments/vae_digits.py:conditional --workdir=runs/by_label
    python launch.py sample --workdir=runs/by_label --label=3

Variants: `conditional` (given the label), `plane` (two latents, whose map is drawn) and
`autoencoder` (no noise, no KL). Measured: table `digits` of docs/results.md.
"""

from gen_jax.config import experiment


@experiment("vae", kind=("", "conditional", "plane", "autoencoder"))
def get_config(config, kind):
    config.steps = 10_000
    config.data.name = "digits"
    config.data.num_validation = 200
    config.optim.schedule = "cosine"
    config.model.hidden = (128, 128)
    config.model.latent_dim = 2 if kind == "plane" else 16
    config.model.conditional = kind == "conditional"
    if kind == "autoencoder":
        config.model.autoencoder = True
        config.eval.validation_metrics = config.eval.metrics = ("mse",)
