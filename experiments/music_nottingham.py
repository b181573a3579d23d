"""Folk tunes with their chords as frames of 88 keys: as music_jsb.py.

    python launch.py train --config=experiments/music_nottingham.py --workdir=runs/nottingham
    python launch.py evaluate --workdir=runs/nottingham

music/Nottingham.mat is looked for in the folder of `data.manual_dir`.

Measured: table `polyphonic_music` of docs/results.md.
"""

from gen_jax.config import experiment


@experiment("autoregressive", keys={"": 512, "independent": 0})
def get_config(config, keys):
    config.steps = 3_000
    config.batch_size = 32
    config.steps_per_dispatch = 10
    config.log_every = 100
    config.eval_every = config.checkpoint_every = 250
    config.data.name = "music:music/Nottingham.mat"
    config.data.preprocess = "fixed_binarization"
    config.data.rate = 4.0
    config.data.window, config.data.context = 129, 64
    config.optim.lr = 2e-3
    config.optim.weight_decay = 0.01
    config.optim.clip_norm = 1.0
    config.optim.schedule = "cosine"
    config.optim.ema_half_life = 100.0
    config.eval.validation_metrics = config.eval.metrics = ("nats_per_frame",)
    config.model.network = "gru"
    config.model.likelihood = "bernoulli"
    config.model.features = 256
    config.model.layers = 1
    config.model.dropout = 0.3
    config.model.joint = keys
