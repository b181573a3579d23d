"""The judge for Fashion-MNIST: a small convolutional classifier.

    python launch.py train --config=experiments/classifier_fashion_mnist.py \\
        --workdir=runs/classifier_fashion_mnist
    python launch.py evaluate --workdir=runs/classifier_fashion_mnist
    python -m gen_jax.ship_judge runs/classifier_fashion_mnist

About 15 minutes on 2 CPU cores at half load. Its accuracy is in the judge's file,
gen_jax/evaluation/judges/fashion_mnist.safetensors.
"""

from gen_jax.config import experiment


@experiment("classifier")
def get_config(config):
    config.steps = 10_000
    config.batch_size = 128
    config.log_every = 200
    config.eval_every = config.checkpoint_every = 2_000
    config.data.name = "fashion_mnist"
    config.data.preprocess = "bytes"
    config.data.num_validation = 1_000
    config.optim.schedule = "cosine"
    config.optim.warmup_steps = 200
    config.optim.weight_decay = 0.01
    config.optim.ema_half_life = 300.0
    config.eval.batch_size = 500
    config.eval.validation_metrics = config.eval.metrics = ("accuracy",)
    config.model.augmentations = ("flip",)
