"""Replicas with values of their own train as runs alone with these values do."""

import cli
import jax
import numpy as np
import pytest

from gen_jax import config as config_lib
from gen_jax import experiment
from gen_jax.errors import UserError
from gen_jax.training import replicas
from gen_jax.training.checkpoints import Checkpoints


def tiny(arguments, *more):
    path = arguments[0].removeprefix("--config=")
    return config_lib.override(config_lib.load_file(path), [*arguments[1:], *more])


def trained(config, workdir):
    experiment.train(config, workdir)
    built, state = experiment.restore(config, workdir)
    assert Checkpoints(workdir / "checkpoints").steps()[0] == config.steps
    return built, state


# A VAE whose rate is warmed up, and a GAN with a penalty that changes and a rate of its own.
RUNS = {
    "vae": (
        (*cli.TINY, "--config.optim.schedule=cosine", "--config.model.beta_warmup_steps=9"),
        {"seed": (7, 3), "optim.lr": (1e-3, 1e-2), "model.beta": (4.0, 0.5)},
    ),
    "gan": (
        cli.TINY_GAN,
        {"seed": (0, 0), "model.penalty_weight": ((1.0, 0.1), (20.0, 5.0))},
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_replica_trains_as_a_run_alone_with_its_values(name, tmp_path):
    arguments, values = RUNS[name]
    several = ["--config.num_replicas=2", f"--config.replica_values={tuple(values.items())}"]
    _, together = trained(tiny(arguments, *several), tmp_path / "together")
    finals = []
    for replica in range(2):
        own = [f"--config.{key}={each[replica]}" for key, each in values.items()]
        _, alone = trained(tiny(arguments, *own), tmp_path / str(replica))
        pairs = zip(jax.tree.leaves(together.params), jax.tree.leaves(alone.params), strict=True)
        for a, b in pairs:
            np.testing.assert_allclose(a[replica], b, rtol=2e-4, atol=2e-5)
        finals.append(jax.tree.leaves(alone.params))
    # Had the values been ignored, the two would be alike.
    assert max(np.abs(a - b).max() for a, b in zip(*finals, strict=True)) > 1e-3


def test_a_network_keeps_a_rate_of_its_own():
    config = tiny(cli.TINY_GAN, "--config.num_replicas=2")
    with config.unlocked():
        config.optim.generator = {"lr": 0.5}
        config.replica_values = (("optim.lr", (0.1, 0.2)),)
    built = experiment.build(config)
    values = replicas.of_replica(built.replica_values, 1)
    _, optimizer = replicas.apply(values, config, built.family, built.optimizer)
    assert optimizer["generator"].config.lr == 0.5
    assert optimizer["discriminator"].config.lr == np.float32(0.2)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((("model.hidden", (1, 2)),), r"'model.hidden' cannot differ; valid are: seed, optim.lr"),
        ((("optim.lr", (0.1,)),), r"optim.lr needs a value .* num_replicas=2, and has \[0.1"),
        ((("optim.lr", ((0.1, 0.2), (0.3, 0.4))),), r"optim.lr needs a value of its kind"),
        ((("model.penalty_weight", (1.0, 2.0)),), r"'model.penalty_weight' cannot differ; valid"),
        ((("model.adversary_weight", (1.0, 2.0)),), r"VAE has no model.adversary_weight"),
        (("optim.lr",), r"entries are \(KEY, \(VALUE, VALUE, ...\)\)"),
        ((("optim.lr", ("fast", "slow")),), r"entries are"),
        ((("seed", (0.5, 0.9)),), r"entries are"),
        ((("optim.lr", (-0.1, 0.1)),), r"optim.lr=-0.1\d* must be a number from 0"),
        ((("model.beta", (-1.0, 1.0)),), r"model.beta=-1.0 must be a number from 0"),
        (
            (("model.target", (0.0, 2.0)),),
            r"model.target=2.0 needs model.regularizer=cap",
        ),
    ],
)
def test_values_that_cannot_be_are_refused(values, expected):
    config = tiny(cli.TINY, "--config.num_replicas=2", f"--config.replica_values={values}")
    with pytest.raises(UserError, match=expected):
        experiment.build(config)
