"""A normalizing flow of scikit-learn's digits: an exact density in minutes on a CPU.

    python launch.py train --config=experiments/flow_digits.py --workdir=runs/flow_digits
    python launch.py evaluate --workdir=runs/flow_digits

A small Real NVP of two scales (Dinh et al. 2017, arXiv 1605.08803), by uniform dequantisation.
`:conditional` is given the label.
"""

from gen_jax.config import experiment


@experiment("flow", conditional={"": False, "conditional": True})
def get_config(config, conditional):
    config.steps = 1_500
    config.batch_size = 64
    config.steps_per_dispatch = 10
    config.log_every = 100
    config.eval_every = config.checkpoint_every = 500
    config.data.name = "digits"
    config.data.num_validation = 200
    config.data.preprocess = "uniform_dequantization"
    config.optim.lr = 1e-3
    config.optim.schedule = "cosine"
    config.optim.clip_norm = 1.0
    config.optim.ema_half_life = 100.0
    config.model.flow = "multiscale"
    config.model.features = 24
    config.model.checker_layers = 2
    config.model.channel_layers = (2, 2)
    config.model.conditional = conditional
