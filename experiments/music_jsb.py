"""Bach's chorales as frames of 88 keys: a recurrent network with a joint model of each chord.

    python launch.py train --config=experiments/music_jsb.py --workdir=runs/music_jsb
    python launch.py evaluate --workdir=runs/music_jsb
    python launch.py sample --workdir=runs/music_jsb --num=4 --options.length=64

A MADE over the keys is given the state of the network: the successor of the RNN-NADE of
Boulanger-Lewandowski et al. 2012 (arXiv 1206.6392). `:independent` has keys that are independent of
one another given the frames before, as in Bai et al. 2018 (arXiv 1803.01271); `:transformer` has
attention in the place of the GRU. music/JSB_Chorales.mat is looked for in the folder of
`data.manual_dir`.

Measured: table `polyphonic_music` of docs/results.md.
"""

from gen_jax.config import experiment


@experiment(
    "autoregressive",
    keys={"": 512, "independent": 0},
    network={"": "gru", "lstm": "lstm", "transformer": "transformer"},
)
def get_config(config, keys, network):
    config.steps = 1_500
    config.batch_size = 32
    config.steps_per_dispatch = 10
    config.log_every = 50
    config.eval_every = config.checkpoint_every = 100
    config.data.name = "music:music/JSB_Chorales.mat"
    config.data.preprocess = "fixed_binarization"
    config.data.rate = 2.0  # frames are quarter notes
    config.data.window, config.data.context = 161, 80
    config.optim.lr = 2e-3
    config.optim.weight_decay = 0.01
    config.optim.clip_norm = 1.0
    config.optim.schedule = "cosine"
    config.optim.ema_half_life = 50.0
    config.eval.validation_metrics = config.eval.metrics = ("nats_per_frame",)
    config.model.network = network
    config.model.likelihood = "bernoulli"
    config.model.features = 160
    config.model.layers = 3 if network == "transformer" else 1
    config.model.dropout = 0.5 if network != "transformer" else 0.3
    config.model.joint = keys
    if not keys:
        config.optim.weight_decay = 0.05
        config.model.features, config.model.dropout = 320, 0.65
