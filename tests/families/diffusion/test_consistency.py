"""Distillation of the best denoiser of Gaussian data, whose ODE leads where is known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_diffusion import AXES, EXTRA, MEAN, ROOTS, best, exact  # of this folder

import gen_jax
from gen_jax import config as config_lib
from gen_jax import experiment, families
from gen_jax import keys as keys_lib
from gen_jax.errors import UserError
from gen_jax.families.base import CallsCounted, Sampler, Student
from gen_jax.families.diffusion.consistency import ConsistencyModel


def leads_to(y, level):
    """Where the ODE of N(MEAN, COV) leads y = x + level e: each axis shrinks by itself."""
    shrink = jnp.sqrt(ROOTS / (ROOTS + level[:, None] ** 2))
    return MEAN + ((y - MEAN) @ AXES * shrink) @ AXES.T


def keys_of(num):
    return keys_lib.per_example(keys_lib.stream(0, "x"), jnp.arange(num))


@dataclasses.dataclass(frozen=True)
class Network:
    """The teacher's, or of a student some factor of where the ODE leads."""

    teacher: object
    process: object

    def apply(self, variables, z, log_snr, context):
        params = variables["params"]
        if "factor" not in params:
            return self.teacher.apply(variables, z, log_snr, context)
        alpha, sigma = (v[:, None] for v in self.process.scales(log_snr))
        z = z * jnp.sqrt(alpha**2 + sigma**2)
        x = leads_to(z / alpha, jnp.exp(-log_snr / 2)) * params["factor"] + params["shift"]
        return self.process.target(x, (z - alpha * x) / sigma, log_snr)


def model(steps=60):
    own = best("log_normal", "exploding", "v")
    network = Network(own.network, own.process)
    return ConsistencyModel(dataclasses.replace(own, network=network), steps)


def test_the_solution_is_consistent_and_others_are_not():
    x = jnp.float32(exact().rvs(500, random_state=0))
    extra = {**EXTRA, "teacher": {}}

    def loss(family, factor):
        params = {"denoiser": {"factor": factor, "shift": 0.0}}
        return float(
            family.losses(("denoiser",), params, extra, {"x": x}, keys_of(500), 0)[0]["denoiser"]
        )

    few, many = loss(model(10), 1.0), loss(model(60), 1.0)
    assert many < 0.004 and many < few  # what is left is the error of the teacher's steps

    # The denoiser itself is not consistent: at different levels it says different things.
    family = model(60)
    teacher = dataclasses.replace(
        family,
        diffusion=dataclasses.replace(family.diffusion, network=family.diffusion.network.teacher),
    )
    assert loss(teacher, 1.0) > 5 * many


def test_samples_of_the_solution_have_the_datas_distribution_in_one_step():
    family = model()
    params = {"denoiser": {"factor": jnp.float32(1), "shift": jnp.float32(0)}}
    for steps in (1, 2, 4):
        draw = jax.jit(lambda k, steps=steps: family.sample(params, EXTRA, k, {}, {"steps": steps}))
        x = np.asarray(draw(keys_of(8_000)), np.float64)
        expected, scale = exact(), np.sqrt(np.diag(exact().cov))
        np.testing.assert_allclose((x.mean(0) - expected.mean) / scale, 0, atol=0.05)
        found = np.cov(x.T) / np.outer(scale, scale)
        np.testing.assert_allclose(found, expected.cov / np.outer(scale, scale), atol=0.07)


# The last of a cosine's equal steps of time would leap over most of the noise.
@pytest.mark.parametrize(
    ("schedule", "scaling", "level"),
    [("log_normal", "exploding", 20.0), ("cosine", "preserving", 140.0)],
)
def test_a_student_learns_to_lead_where_its_teacher_does(schedule, scaling, level):
    own = best(schedule, scaling, "v")
    config = families.default_model("diffusion")
    config.update(process="consistency", network="mlp", hidden=(32, 32), schedule=schedule)
    config.update(scaling=scaling, ladder_steps=12)
    family = families.build("diffusion", config, own.spec)
    assert families.has(family, CallsCounted, Sampler, Student)
    x = jnp.float32(exact().rvs(300, random_state=1))
    params, extra = family.init(jax.random.key(0), {"x": x})
    assert jax.tree.all(
        jax.tree.map(lambda a, b: (a == b).all(), params["denoiser"], extra["teacher"])
    )
    # The teacher is one that knows, in the place of the network before training.
    both = Network(own.network, own.process)

    @dataclasses.dataclass(frozen=True)
    class Either:
        student: object

        def apply(self, variables, z, log_snr, context):
            net = self.student if variables["params"] else both
            return net.apply(variables, z, log_snr, context)

    diffusion = dataclasses.replace(family.diffusion, network=Either(family.diffusion.network))
    family, extra = dataclasses.replace(family, diffusion=diffusion), {**EXTRA, "teacher": {}}
    optimizer = optax.adam(optax.cosine_decay_schedule(2e-3, 1_500))

    @jax.jit
    def update(params, state, keys):
        loss = lambda p: family.losses(("denoiser",), p, extra, {"x": x}, keys, 0)[0]["denoiser"]  # noqa: E731
        value, gradient = jax.value_and_grad(loss)(params)
        moves, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, moves), state, value

    state, error = optimizer.init(params), []
    levels = jnp.full(300, level)
    y = (x - EXTRA["mean"]) / EXTRA["std"] + level * keys_lib.normal(keys_of(300), (2,))
    for step in range(1_501):
        if step % 1_500 == 0:
            found = family._of_y(params["denoiser"], extra, {})(y, levels)[0]
            error.append(float(jnp.square(found - leads_to(y, levels)).mean()))
        keys = keys_lib.fold(keys_of(300), step)
        params, state, _ = update(params, state, keys)
    assert error[1] < 0.03 * error[0]


def test_a_run_is_distilled_from_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = config_lib.files.own_folder() / "experiments"
    teacher = config_lib.load_file(str(root / "diffusion_digits.py:smoke"))
    config = config_lib.load_file(str(root / "consistency_digits.py:smoke"))
    for each in (teacher, config):
        each.model.update(network="transformer", features=8, layers=1, patch=4)
    experiment.train(teacher, tmp_path / "teacher")
    config.init_from = str(tmp_path / "teacher")
    experiment.train(config, tmp_path / "student")
    one, other = gen_jax.load(tmp_path / "teacher"), gen_jax.load(tmp_path / "student")
    jax.tree.map(
        np.testing.assert_array_equal,
        other.subject.extra["teacher"],
        one.subject.params["denoiser"],
    )
    assert other.sample(3).shape == (3, 8, 8, 1) and other.sampling_calls(steps=4) == 4
    with pytest.raises(UserError, match="needs log_prob"):
        other.log_prob(other.data("test", 2)["x"])
