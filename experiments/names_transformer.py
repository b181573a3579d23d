"""A small causal transformer over names, each a line.

    python launch.py train --config=experiments/names_transformer.py --workdir=runs/names
    python launch.py sample --workdir=runs/names --num=20

After karpathy/makemore, a little wider: 4 layers of 96 features, 64 names a step. names.txt is
looked for in the folder of `data.manual_dir`.

Measured: table `text` of docs/results.md.
"""

from gen_jax.config import experiment


@experiment("autoregressive")
def get_config(config):
    config.steps = 8_000
    config.batch_size = 64
    config.steps_per_dispatch = 20
    config.log_every = 500
    config.eval_every = config.checkpoint_every = 2_000
    config.data.name = "lines:names.txt"
    config.data.preprocess = "none"
    config.optim.lr = 1.5e-3
    config.optim.weight_decay = 0.01
    config.optim.b2 = 0.99
    config.optim.schedule = "cosine"
    config.optim.ema_half_life = 200.0
    config.eval.batch_size = 500
    config.eval.validation_metrics = config.eval.metrics = ("nats_per_character",)
    config.model.network = "transformer"
    config.model.likelihood = "categorical"
    config.model.features = 96
    config.model.layers = 4
    config.model.heads = 4
    config.model.dropout = 0.1
