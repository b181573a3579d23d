import numpy as np
import pytest

from gen_jax import schedules


def test_cosine_by_hand():
    steps = np.array([0, 25, 50, 75, 100, 1000])
    part = np.minimum(steps / 100, 1)
    expected = 0.5 + (2 - 0.5) * (1 + np.cos(np.pi * part)) / 2
    np.testing.assert_allclose(schedules.cosine(2.0, 0.5, 100, steps), expected, rtol=1e-6)


def test_no_steps_is_the_final_value_from_the_second_step_on():
    assert float(schedules.cosine(2.0, 0.5, 0, 1)) == 0.5
    assert float(schedules.cosine(3.0, 3.0, 0, 0)) == 3.0


def test_warmup_by_hand():
    found = [float(schedules.warmup(6.0, 3, step)) for step in range(5)]
    assert found == pytest.approx([2, 4, 6, 6, 6])
    assert float(schedules.warmup(6.0, 0, 0)) == 6
