"""How far a computation is: what listeners are told, by the host and from within a program."""

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax import ticks


def told(run):
    found = []
    with ticks.shown_by(found.append):
        run()
    return found


def test_a_scan_tells_and_gives_what_it_gives_without():
    def step(carry, x):
        return carry + x, carry * x

    inputs, compiled = jnp.arange(1.0, 251.0), jax.jit(ticks.scan, static_argnums=0)
    found = told(lambda: jax.block_until_ready(compiled(step, 0.0, inputs)))
    assert found == sorted(found) and len(found) == 50
    assert found[0] == 0 and found[-1] > 0.97
    for own, expected in zip(
        ticks.scan(step, 0.0, inputs), jax.lax.scan(step, 0.0, inputs), strict=True
    ):
        np.testing.assert_array_equal(own, expected)


def test_a_short_scan_is_silent_and_has_a_length_of_its_own():
    step = lambda carry, _: (carry + 1, None)  # noqa: E731
    assert told(lambda: ticks.scan(step, 0, length=ticks.LONG - 1)) == []
    assert ticks.scan(step, 0, length=ticks.LONG)[0] == ticks.LONG


def test_a_scan_that_goes_on_from_another_one_tells_of_both():
    step = lambda carry, _: (carry + 1, None)  # noqa: E731
    found = told(lambda: ticks.scan(step, 0, length=50, before=150))
    assert 0.75 <= found[0] < 0.8 and 0.95 < found[-1] < 1
    assert ticks.scan(step, 0, length=50, before=150)[0] == 50


def test_parts_tell_of_what_is_done_and_of_the_steps_within():
    step = lambda carry, _: (carry + 1, None)  # noqa: E731
    found = told(lambda: [ticks.scan(step, 0, length=100)[0] for _ in ticks.parts(4)])
    assert found == sorted(found) and found[0] == 0 and found[-1] > 0.99
    assert {0.25, 0.5, 0.75} < {*found}
    assert told(lambda: list(ticks.parts(3))) == [1 / 3, 2 / 3]


def test_parts_have_parts():
    found = told(lambda: [part for _ in ticks.parts(2) for part in ticks.parts(4)])
    assert found == [1 / 8, 2 / 8, 3 / 8, 4 / 8, 5 / 8, 6 / 8, 7 / 8]


def test_parts_that_are_left_early_are_over():
    def stopped():
        for _ in ticks.parts(5):
            break
        list(ticks.parts(2))

    assert told(stopped) == [0.5]
