"""WaveNet on spoken digits, given the digit.

    python launch.py train --config=experiments/wavenet_fsdd.py --workdir=runs/wavenet_fsdd
    python launch.py evaluate --workdir=runs/wavenet_fsdd
    python launch.py sample --workdir=runs/wavenet_fsdd --num=4 --label=3 --options.length=8000

The Free Spoken Digit Dataset: 8 kHz, mu-law codes, its official test clips. van den Oord et al.
2016 (arXiv 1609.03499), small enough for two CPU cores; `:gpu` is as wide as is usual. `:speaker`
is given who speaks. speech/fsdd is looked for in the folder of `data.manual_dir`.

Measured: table `speech` of docs/results.md.
"""

from gen_jax.config import experiment


@experiment(
    "autoregressive", label={"": "", "speaker": "speaker"}, size={"": (32, 64), "gpu": (128, 256)}
)
def get_config(config, label, size):
    config.steps = 2_500
    config.batch_size = 8
    config.steps_per_dispatch = 10
    config.log_every = 100
    config.eval_every = config.checkpoint_every = 500
    config.data.name = "audio:speech/fsdd"
    config.data.preprocess = "bytes"
    config.data.label = label
    config.data.window, config.data.context = 3_072, 1_024
    config.optim.lr = 4e-3
    config.optim.clip_norm = 1.0
    config.optim.schedule = "cosine"
    config.optim.ema_half_life = 100.0
    config.eval.batch_size = 20
    config.eval.validation_metrics = config.eval.metrics = ("bits_per_sample",)
    config.sample.batch_size = 16
    config.model.network = "wavenet"
    config.model.likelihood = "categorical"
    config.model.features, config.model.skip = size
    config.model.dilations = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
    config.model.conditional = True
    if size[0] > 32:
        config.steps, config.batch_size = 100_000, 32
        config.model.dilations = config.model.dilations * 3
