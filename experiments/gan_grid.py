"""GANs on a grid of 25 Gaussians: do they find all modes?

    python launch.py train --config=experiments/gan_grid.py:rpgan_r1r2 --workdir=runs/grid
    python launch.py evaluate --workdir=runs/grid --record=plane_gan
"""

from gen_jax.config import experiment


@experiment("gan", variants=("rpgan_r1r2", "ns"))
def get_config(config, variant):
    pass
