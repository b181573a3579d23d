"""The step against numpy by hand, with two networks, several turns and several optimisers."""

import jax
import numpy as np
import pytest
import toy

HALF_LIFE = float(np.log(0.5) / np.log(0.9))  # a decay of 0.9 a step


def gradients(left, right, x):
    """Of each network's own loss with respect to itself alone."""
    d_left = 2 * (left - x).mean(0) + 0.1 * right
    d_right = 2 * (right - (x * left)).mean(0)
    return d_left, d_right


def test_simultaneous_turn_is_sgd_by_hand():
    family = toy.Toy()
    state, metrics = toy.run(family, steps=4)
    params = toy.start(family)
    left, right = params["left"]["w"], params["right"]["w"]
    count = 0.0
    for step in range(4):
        x = toy.minibatch(step)
        d_left, d_right = gradients(left, right, x)
        loss = ((x - left) ** 2).sum(-1).mean() + 0.1 * (left * right).sum()
        np.testing.assert_allclose(metrics["loss/left"][step], loss, rtol=1e-5)
        np.testing.assert_allclose(
            metrics["grad_norm/right"][step], np.linalg.norm(d_right), rtol=1e-5
        )
        left, right = left - 0.1 * d_left, right - 0.1 * d_right
        count += x.sum(-1).mean()
    np.testing.assert_allclose(state.params["left"]["w"], left, rtol=1e-5)
    np.testing.assert_allclose(state.params["right"]["w"], right, rtol=1e-5)
    np.testing.assert_allclose(state.extra["count"], count, rtol=1e-4)
    assert state.step == 4


def test_turns_follow_each_other_on_minibatches_of_their_own():
    family = toy.Toy(turns=(("right",), ("right",), ("left",)))
    state, _ = toy.run(family, steps=2)
    params = toy.start(family)
    left, right = params["left"]["w"], params["right"]["w"]
    for step in range(2):
        for turn in range(2):
            x = toy.minibatch(step, turn, turns=3)
            right = right - 0.1 * gradients(left, right, x)[1]
        x = toy.minibatch(step, 2, turns=3)
        left = left - 0.1 * gradients(left, right, x)[0]
    np.testing.assert_allclose(state.params["left"]["w"], left, rtol=1e-5)
    np.testing.assert_allclose(state.params["right"]["w"], right, rtol=1e-5)


def test_each_network_has_its_own_optimiser_settings():
    family = toy.Toy()
    state, _ = toy.run(family, steps=2, right={"lr": 0.0})
    params = toy.start(family)
    np.testing.assert_array_equal(state.params["right"]["w"], params["right"]["w"])
    assert (state.params["left"]["w"] != params["left"]["w"]).all()


def test_moving_average_is_that_of_the_recursion():
    family = toy.Toy()
    state, _ = toy.run(family, steps=6, inner=2, ema_half_life=HALF_LIFE)
    params = toy.start(family)
    left, right = params["left"]["w"], params["right"]["w"]
    ema = left
    for step in range(6):
        d_left, d_right = gradients(left, right, toy.minibatch(step))
        left, right = left - 0.1 * d_left, right - 0.1 * d_right
        ema = 0.9 * ema + 0.1 * left
    np.testing.assert_allclose(state.ema["left"]["w"], ema, rtol=1e-5)
    np.testing.assert_allclose(state.eval_params["left"]["w"], ema, rtol=1e-5)


def test_moving_average_of_one_network_only():
    state, _ = toy.run(toy.Toy(), steps=2, left={"ema_half_life": 1.0})
    assert list(state.ema) == ["left"]
    assert state.eval_params["right"] is state.params["right"]


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_accumulation_does_not_change_the_numbers(noise):
    family = toy.Toy(noise=noise)
    whole, one = toy.run(family)
    parts, four = toy.run(family, accumulate=4)
    for a, b in zip(jax.tree.leaves(whole.params), jax.tree.leaves(parts.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(one["loss/left"], four["loss/left"], rtol=1e-5)


def test_steps_per_dispatch_do_not_change_the_numbers():
    family = toy.Toy(noise=0.5)
    one, _ = toy.run(family, steps=4, inner=1)
    four, _ = toy.run(family, steps=4, inner=4)
    np.testing.assert_allclose(one.params["left"]["w"], four.params["left"]["w"], rtol=1e-6)


def test_streamed_data_give_the_same_run_as_resident_data():
    family = toy.Toy(noise=0.5)
    resident, _ = toy.run(family)
    streamed, _ = toy.run(family, limit_mb=0)
    np.testing.assert_array_equal(resident.params["left"]["w"], streamed.params["left"]["w"])


def test_replica_equals_the_run_alone_with_its_seed():
    family = toy.Toy(turns=(("left", "right"), ("right",)), noise=0.5)
    options = {"name": "adam", "b1": 0.9, "ema_half_life": HALF_LIFE}
    together, metrics = toy.run(family, seeds=(3, 4, 5), **options)
    assert together.params["left"]["w"].shape == (3, 3) and together.step.shape == ()
    for replica, seed in enumerate((3, 4, 5)):
        alone, own = toy.run(family, seeds=(seed,), **options)
        for name in ("params", "ema", "extra"):
            pairs = zip(
                jax.tree.leaves(getattr(together, name)),
                jax.tree.leaves(getattr(alone, name)),
                strict=True,
            )
            for a, b in pairs:
                np.testing.assert_allclose(a[replica], b, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(metrics["loss/left"][replica], own["loss/left"], rtol=1e-5)


def test_seeds_differ():
    family = toy.Toy()
    first, _ = toy.run(family, seeds=(0,))
    second, _ = toy.run(family, seeds=(1,))
    assert (first.params["left"]["w"] != second.params["left"]["w"]).all()
