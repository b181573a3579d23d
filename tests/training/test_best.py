"""The best of a run's validations, by hand."""

import pytest

from gen_jax.training.best import Best

ROWS = [
    {"step": 10, "loss": 3.0},
    {"step": 10, "validation/nll": 5.0},
    {"step": 20, "validation/nll": 4.0},
    {"step": 20, "alarms": []},
    {"step": 30, "validation/nll": 4.0},
    {"step": 40, "validation/other": 1.0},
]


@pytest.mark.parametrize(
    ("lower", "step", "value", "since"), [(True, 20, 4.0, 2), (False, 10, 5.0, 3)]
)
def test_the_best_and_how_many_came_after_it(lower, step, value, since):
    """An equal one is not better, and one without the figure counts as no better."""
    best = Best("nll", lower, ROWS)
    assert (best.step, best.value, best.since) == (step, value, since)
    assert best.is_over(since) and not best.is_over(since + 1) and not best.is_over(0)
    assert best.add(50, {"validation/nll": 3.0 if lower else 6.0})
    assert (best.step, best.since) == (50, 0)


def test_one_row_after_another_is_all_at_once():
    best = Best("nll", True, [])
    found = [
        best.add(row["step"], row) for row in ROWS if "loss" not in row and "alarms" not in row
    ]
    assert found == [True, True, False, False]
    assert vars(best) == vars(Best("nll", True, ROWS))


def test_without_a_figure_none_is_best():
    best = Best("", True, ROWS)
    assert best.step is None and not best.is_over(1)
