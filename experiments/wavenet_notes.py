"""WaveNet on notes that are made by a seed, given the note: no file, a few minutes.

python launch.py train --config=experiments/wavenet_notes.py --workdir=runs/wavenet_notes
python launch.py sample --workdir=runs/wavenet_notes --num=5 --options.length=2000
"""

from gen_jax.config import experiment


@experiment("autoregressive")
def get_config(config):
    config.steps = 1_000
    config.batch_size = 8
    config.steps_per_dispatch = 10
    config.log_every = 100
    config.eval_every = config.checkpoint_every = 500
    config.data.name = "notes"
    config.data.preprocess = "bytes"
    config.data.window, config.data.context = 1_024, 256
    config.optim.lr = 2e-3
    config.optim.clip_norm = 1.0
    config.optim.schedule = "cosine"
    config.optim.ema_half_life = 50.0
    config.eval.batch_size = 20
    config.eval.validation_metrics = config.eval.metrics = ("bits_per_sample",)
    config.sample.batch_size = 16
    config.model.network = "wavenet"
    config.model.likelihood = "categorical"
    config.model.features, config.model.skip = 24, 48
    config.model.dilations = (1, 2, 4, 8, 16, 32, 64, 128)
    config.model.conditional = True
