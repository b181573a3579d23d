"""The same config on 1, 2 and 4 devices gives the same run."""

import cli
import numpy as np
import pytest

from gen_jax.workdir.logs import read_metrics

STEPS = (
    "--config.steps=50",
    "--config.log_every=5",
    "--config.eval_every=50",
    "--config.checkpoint_every=50",
)


RUNS = {
    "vae": (
        (*cli.TINY, "--config.optim.accumulate=2"),
        ("loss/vae", "grad_norm/vae", "validation/elbo"),
    ),
    # Without accumulation, whose parts would be other halves of the batch for its statistics.
    "gan": (
        cli.TINY_GAN,
        ("loss/generator", "loss/discriminator", "grad_norm/generator", "validation/logits_fake"),
    ),
    "vqvae": (
        cli.TINY_VQ,
        ("loss/vqvae", "grad_norm/vqvae", "perplexity", "restarted", "validation/mse"),
    ),
}


# The codebook's statistics are compared on virtual devices in a quicker test too.
@pytest.fixture(
    scope="module", params=["vae", "gan", pytest.param("vqvae", marks=pytest.mark.long)]
)
def losses(tmp_path_factory, request):
    arguments, names = RUNS[request.param]
    found = {}
    for devices in (1, 2, 4):
        workdir = tmp_path_factory.mktemp(f"devices_{devices}")
        cli.launch("train", *arguments, *STEPS, f"--workdir={workdir}", devices=devices)
        rows = read_metrics(workdir)
        found[devices] = {name: [row[name] for row in rows if name in row] for name in names}
    return found


@pytest.mark.parametrize("devices", [2, 4])
def test_metrics_agree(losses, devices):
    for name, alone in losses[1].items():
        assert len(alone) == (1 if name.startswith("validation/") else 10)
        np.testing.assert_allclose(losses[devices][name], alone, rtol=1e-5, err_msg=name)


def test_batch_that_does_not_divide_is_refused(tmp_path):
    done = cli.launch(
        "train",
        *cli.TINY,
        "--config.batch_size=18",
        f"--workdir={tmp_path / 'run'}",
        devices=4,
        code=1,
    )
    assert "batch_size=18 does not divide over 4 devices" in done.stderr
    assert "nearest valid: --config.batch_size=16 or 20" in done.stderr
    assert not (tmp_path / "run").exists()
