"""The judge for scikit-learn's digits: a small convolutional classifier, trained in a minute.

    python launch.py train --config=experiments/classifier_digits.py \\
        --workdir=runs/classifier_digits
    python launch.py evaluate --workdir=runs/classifier_digits
    python -m gen_jax.ship_judge runs/classifier_digits

Its accuracy is in the judge's file, gen_jax/evaluation/judges/digits.safetensors.
"""

from gen_jax.config import experiment


@experiment("classifier")
def get_config(config):
    config.steps = 3_000
    config.batch_size = 128
    config.log_every = 100
    config.eval_every = config.checkpoint_every = 1_000
    config.data.name = "digits"
    config.data.preprocess = "bytes"
    config.data.num_validation = 100
    config.optim.schedule = "cosine"
    config.optim.warmup_steps = 100
    config.optim.weight_decay = 0.01
    config.optim.ema_half_life = 100.0
    config.eval.validation_metrics = config.eval.metrics = ("accuracy",)
