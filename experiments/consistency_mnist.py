"""The diffusion of MNIST distilled to samples in one step, or in a few.

    python launch.py train --config=experiments/diffusion_mnist.py --workdir=runs/diffusion_mnist
    python launch.py train --config=experiments/consistency_mnist.py \\
        --workdir=runs/consistency_mnist
    python launch.py evaluate --workdir=runs/consistency_mnist

Consistency distillation (Song et al. 2023, arXiv 2303.01469) of the run runs/diffusion_mnist.
`fid_at_calls` has the FID at 1, 2 and 4 calls of the network.

Measured: table `fidelity` of docs/results.md.
"""

from gen_jax.config import experiment


@experiment("diffusion")
def get_config(config):
    config.steps = 3_000
    config.batch_size = 64
    config.steps_per_dispatch = 10
    config.log_every = 100
    config.eval_every = config.checkpoint_every = 1_000
    config.init_from = "runs/diffusion_mnist"
    config.data.name = "mnist"
    config.data.num_validation = 1_000
    config.data.preprocess = "uniform_dequantization"
    config.eval.validation_metrics = ("fid",)
    config.eval.metrics = ("fid_at_calls",)
    config.eval.calls = (1, 2, 4)
    config.eval.samplers = ()
    config.optim.lr = 5e-4
    config.optim.schedule = "cosine"
    config.optim.warmup_steps = 100
    config.optim.clip_norm = 1.0
    config.optim.ema_half_life = 300.0
    config.sample.steps = 1
    config.model.process = "consistency"
    config.model.conditional = True
    config.model.features = 48
    config.model.multipliers = (1, 2)
    config.model.patch = 2
    config.model.schedule = "cosine"
