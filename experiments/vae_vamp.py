"""VAEs with a VampPrior, an exemplar prior or a standard normal: one layer or two.

    python launch.py train --config=experiments/vae_vamp.py:mnist_vamp --workdir=runs/vamp
    python launch.py evaluate --workdir=runs/vamp --record=exemplar_vae

The argument is DATA_MODEL: mnist or fashion; vae, vamp, exemplars, hvae (two stochastic layers),
hvae_vamp or hvae_exemplars.
`DATA_MODEL_gated` has the layers and the training of Norouzi et al.'s code: gated layers, the two
stochastic ones from the top down, log variances from -6 to 2, each array of the gradient
normalised, and the checkpoint with the best validation bound (`--step=best` evaluates it). Its
learning rate is four times theirs, and its weights decay, which theirs do not.

After Tomczak and Welling 2018 (arXiv 1705.07120) and the table of Norouzi et al. 2020 (Exemplar
VAE): dense layers of 300 units, 40 latents a layer, 500 pseudo-inputs or 25,000 exemplars, the
weight of the rate warmed up over 100 epochs. The two layers are a chain but for `_gated`.

Measured: table `exemplar_vae` of docs/results.md. 35 to 175 minutes on one CPU core, of two that
are both busy; evaluation takes 5 to 30.
"""

from gen_jax.config import experiment


@experiment(
    "vae",
    data={"mnist": "mnist", "fashion": "fashion_mnist"},
    model=("vamp", "vae", "exemplars", "hvae", "hvae_vamp", "hvae_exemplars"),
    layers=("", "gated"),
)
def get_config(config, data, model, layers):
    config.steps = 200_000
    config.batch_size = 100
    config.steps_per_dispatch = 100
    config.log_every = 2_500
    config.eval_every = config.checkpoint_every = 25_000
    config.data.name = data
    config.data.num_validation = 10_000
    config.optim.lr = 5e-4
    config.optim.schedule = "cosine"
    config.model.hidden = (300, 300)
    config.model.activation = "relu"
    config.model.latent_dim = 40
    config.model.beta_warmup_steps = 50_000
    config.model.estimator = "standard"
    if "vamp" in model:
        config.model.prior = "vamp"
    if "exemplars" in model:
        config.model.prior = "exemplars"
        config.model.prior_components = 25_000
    if "hvae" in model:
        config.model.upper_latent_dims = (40,)
        config.model.upper_hidden = (300, 300)
    if layers == "gated":
        config.keep_best = "elbo"
        if model == "vae":
            config.steps = 400_000  # an hour on one core, as one layer is quick
        # Without it weights grow until the encoder throws a few pictures far away: after 400,000
        # steps of `fashion_vae_gated` two of 10,000 test pictures cost 940,000 nats. After 50,000
        # of `mnist_vae_gated` the validation bound is -91.2, -90.8 and -91.2 nats with 0, 0.03 and
        # 0.1; after 200,000 of `mnist_hvae_gated` -86.7 and -85.6 with 0 and 0.03.
        config.optim.weight_decay = 0.03
        config.optim.normalize = True
        # After 50,000 steps of `mnist_vae_gated`, with schedules shortened alike, the validation
        # bound is -94.1, -93.1, -91.2 and -91.5 nats with 5e-4 (the paper's), 1e-3, 2e-3 and 4e-3.
        config.optim.lr = 2e-3
        config.model.activation = "gated"
        config.model.log_variance = (-6.0, 2.0)
        config.model.top_down = "hvae" in model
    config.eval.importance_samples = 5_000
