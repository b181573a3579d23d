"""VQ-VAEs on Fashion-MNIST or MNIST: 7x7 codes an image, of a codebook of 512.

    python launch.py train --config=experiments/vae_vq_fashion_mnist.py --workdir=runs/vq
    python launch.py evaluate --workdir=runs/vq

Variants: `vq` (a learned codebook, van den Oord et al. 2017, arXiv 1711.00937) and `fsq` (finite
scalar quantisation, Mentzer et al. 2023, arXiv 2309.15505) on Fashion-MNIST; `mnist_vq` and
`mnist_fsq`. Their codebooks have the same size.

The likelihood is a Gaussian of fixed scale, so what is minimised is the squared error, as in the
paper. A learned scale would shift the balance of distortion and commitment during training.
Not measured yet at full length.
"""

from gen_jax.config import experiment


@experiment("vqvae", data={"": "fashion_mnist", "mnist": "mnist"}, quantizer=("vq", "fsq"))
def get_config(config, data, quantizer):
    config.steps = 20_000
    config.steps_per_dispatch = 20
    config.log_every = 200
    config.eval_every = config.checkpoint_every = 2_000
    config.data.name = data
    config.data.preprocess = "uniform_dequantization"
    config.data.num_validation = 1_000
    config.optim.lr = 5e-4
    config.optim.schedule = "cosine"
    # The first steps fit the mean image. Large ones drive a dimension of fsq to its last level,
    # where the bound has no gradient and it stays.
    config.optim.warmup_steps = 500
    config.optim.clip_norm = 100.0
    config.model.likelihood = "gaussian"
    config.model.sigma = 0.1  # near the error that is left in [0, 1]
    config.model.quantizer = quantizer
    config.eval.fitted_components = 10  # no prior is learned with the codes
    config.eval.validation_metrics = config.eval.metrics = ("mse", "codebook")
