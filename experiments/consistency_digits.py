"""A diffusion of scikit-learn's digits distilled to samples in one step, or in a few.

    python launch.py train --config=experiments/diffusion_digits.py --workdir=runs/diffusion_digits
    python launch.py train --config=experiments/consistency_digits.py \\
        --workdir=runs/consistency_digits
    python launch.py evaluate --workdir=runs/consistency_digits

Consistency distillation (Song et al. 2023, arXiv 2303.01469) of the run runs/diffusion_digits.
`fid_at_calls` has the FID at 1, 2 and 4 calls of the network.

Measured: table `digits` of docs/results.md.
"""

from gen_jax.config import experiment


@experiment("diffusion")
def get_config(config):
    config.steps = 4_000
    config.batch_size = 64
    config.steps_per_dispatch = 10
    config.log_every = 100
    config.eval_every = config.checkpoint_every = 2_000
    config.init_from = "runs/diffusion_digits"
    config.data.name = "digits"
    config.data.num_validation = 200
    config.data.preprocess = "uniform_dequantization"
    config.eval.num_samples = 600
    config.eval.validation_metrics = ("fid",)
    config.eval.metrics = ("fid_at_calls", "fid", "prdc")
    config.eval.calls = (1, 2, 4)
    config.eval.samplers = ()
    config.optim.lr = 5e-4
    config.optim.schedule = "cosine"
    config.optim.warmup_steps = 100
    config.optim.clip_norm = 1.0
    config.optim.ema_half_life = 200.0
    config.sample.steps = 1
    config.model.process = "consistency"
    config.model.features = 24
    config.model.multipliers = (1, 2)
    config.model.schedule = "log_normal"
    config.model.scaling = "exploding"
