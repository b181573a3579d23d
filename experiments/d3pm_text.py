"""Absorbing discrete diffusion of the characters of tiny Shakespeare.

    python launch.py train --config=experiments/d3pm_text.py:small --workdir=runs/d3pm_text
    python launch.py evaluate --workdir=runs/d3pm_text
    python launch.py sample --workdir=runs/d3pm_text --num=3

A transformer that looks both ways says what hidden characters were (Austin et al. 2021, arXiv
2107.03006). Without an argument it learns the sentences of a small grammar, which needs no file;
`:small` is for an hour of two CPU cores and `:gpu` for minutes of a GPU. `nats_per_element@steps=T`
bounds what an autoregressive model's `nats_per_character` is, of windows without what was before.

Measured: table `text` of docs/results.md.
"""

from gen_jax.config import experiment


@experiment("diffusion", size=("", "small", "gpu"))
def get_config(config, size):
    config.steps = 1_000
    config.batch_size = 32
    config.steps_per_dispatch = 10
    config.log_every = 100
    config.eval_every = config.checkpoint_every = 500
    config.data.name = "text:tinyshakespeare.txt" if size else "grammar"
    config.data.preprocess = "none"
    config.data.window = 64
    config.eval.validation_metrics = ("nll",)
    config.eval.metrics = ("stepped_bound",)
    config.optim.lr = 1e-3
    config.optim.schedule = "cosine"
    config.optim.warmup_steps = 100
    config.optim.clip_norm = 1.0
    config.optim.ema_half_life = 100.0
    config.sample.steps = 64
    config.model.process = "absorbing"
    config.model.network = "transformer"
    config.model.bound_steps = 10
    config.model.features = 64
    config.model.layers = 2
    if size:
        config.steps = 6_000
        config.eval_every = config.checkpoint_every = 1_000
        config.data.window = 128
        config.sample.steps = 128
        config.model.features, config.model.layers = 192, 4
    if size == "gpu":
        config.steps, config.batch_size = 20_000, 128
        config.eval_every = config.checkpoint_every = 5_000
        config.data.window = 256
        config.model.features, config.model.layers, config.model.heads = 384, 6, 6
