"""A diffusion of scikit-learn's digits, in minutes on a CPU.

    python launch.py train --config=experiments/diffusion_digits.py --workdir=runs/diffusion_digits
    python launch.py evaluate --workdir=runs/diffusion_digits --metrics=nll,fid,prdc

A small U-Net with the noise of EDM (Karras et al. 2022, arXiv 2206.00364). `:conditional` is given
the label, so that guidance can be asked for: `sample --options.guidance=2`.

Measured: table `digits` of docs/results.md.
"""

from gen_jax.config import experiment


@experiment("diffusion", conditional={"": False, "conditional": True})
def get_config(config, conditional):
    config.steps = 4_000
    config.batch_size = 64
    config.steps_per_dispatch = 10
    config.log_every = 100
    config.eval_every = config.checkpoint_every = 2_000
    config.data.name = "digits"
    config.data.num_validation = 200
    config.data.preprocess = "uniform_dequantization"
    config.eval.num_samples = 600
    config.optim.lr = 1e-3
    config.optim.schedule = "cosine"
    config.optim.warmup_steps = 100
    config.optim.clip_norm = 1.0
    config.optim.ema_half_life = 200.0
    config.model.features = 24
    config.model.multipliers = (1, 2)
    config.model.schedule = "log_normal"
    config.model.scaling = "exploding"
    config.model.conditional = conditional
