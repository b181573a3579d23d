"""A causal transformer over the characters of tiny Shakespeare.

    python launch.py train --config=experiments/char_transformer.py:small --workdir=runs/char
    python launch.py evaluate --workdir=runs/char
    python launch.py sample --workdir=runs/char --prompt="ROMEO:" --num=3 --options.length=512

Without an argument it learns the sentences of a small grammar, which needs no file, in a minute.
`:cpu` is the recipe for CPUs of nanoGPT's README (karpathy/nanoGPT): 4 layers of 128 features,
windows of 64 characters, 2,000 steps of 12 windows. `:small` is what two CPU cores learn in an
hour or so; `:gpu` has the size of nanoGPT's for one GPU. tinyshakespeare.txt is looked for in the
folder of `data.manual_dir`.

Measured: table `text` of docs/results.md.
"""

from gen_jax.config import experiment


@experiment("autoregressive", size=("", "cpu", "small", "gpu"))
def get_config(config, size):
    config.steps = 1_000
    config.batch_size = 12
    config.steps_per_dispatch = 10
    config.log_every = 100
    config.eval_every = config.checkpoint_every = 250
    config.data.name = "text:tinyshakespeare.txt" if size else "grammar"
    config.data.preprocess = "none"
    config.data.window = 65
    config.optim.lr = 1e-3
    config.optim.b2 = 0.99
    config.optim.weight_decay = 0.1
    config.optim.clip_norm = 1.0
    config.optim.schedule = "cosine"
    config.optim.final_lr = 1e-4
    config.optim.warmup_steps = 100
    config.eval.batch_size = 200
    config.eval.validation_metrics = config.eval.metrics = ("nats_per_character",)
    config.model.network = "transformer"
    config.model.likelihood = "categorical"
    config.model.features = 128 if size else 64
    config.model.layers = 4 if size else 2
    config.model.heads = 4
    if size == "cpu":
        config.steps = 2_000
        config.eval_every = config.checkpoint_every = 500
    if size == "small":
        config.steps, config.batch_size = 4_000, 32
        config.eval_every = config.checkpoint_every = 500
        config.data.window, config.data.context = 129, 65
        config.optim.lr, config.optim.final_lr = 2e-3, 1e-5
        config.optim.ema_half_life = 100.0
        config.model.features, config.model.heads, config.model.dropout = 192, 6, 0.1
    if size == "gpu":
        config.steps, config.batch_size = 5_000, 64
        config.eval_every = config.checkpoint_every = 500
        config.data.window, config.data.context = 257, 1
        config.model.features, config.model.heads, config.model.layers = 384, 6, 6
        config.model.dropout = 0.2
