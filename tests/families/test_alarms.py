"""Alarms: each rule on both sides of its threshold, and in a run's log."""

import pytest

from gen_jax import families
from gen_jax.families import alarms

RULES = [rule for name in ("gan", "vae") for rule in families.definition(name).alarms]


def find_alarms(row):
    return list(map(str, alarms.find_alarms(RULES, row)))


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ({"validation/modes": 22.0, "validation/modes_floor": 25.0}, "collapse"),
        ({"validation/recall": 0.2, "validation/recall_floor": 0.95}, "collapse"),
        ({"validation/overfitting": 0.6}, "overfitting"),
        ({"saturated": 0.7}, "divergence"),
        ({"rate": 20.0, "validation/rate": 0.02}, "posterior collapse"),
        ({"rate": 9.0, "rate/layer_1": 9.0, "rate/layer_2": 0.01}, "posterior collapse"),
        ({"rate": 0.02, "rate/layer_1": 0.01, "rate/layer_2": 0.01}, "posterior collapse"),
    ],
)
def test_one_line_with_the_evidence_and_what_to_try(row, word):
    lines = find_alarms(row | {"loss/generator": 1.0})
    assert len(lines) == 1 and lines[0].startswith(f"{word}: ") and "try --config." in lines[0]
    assert any(character.isdigit() for character in lines[0])


@pytest.mark.parametrize(
    "row",
    [
        {"validation/modes": 23.0, "validation/modes_floor": 25.0},
        {"validation/recall": 0.5, "validation/recall_floor": 0.95},
        {"validation/overfitting": 0.1, "saturated": 0.01},
        {"loss/vae": 3.0, "rate": 0.01, "validation/rate": 4.0},
        # A layer in between may have less than its share, only the topmost is a KL of its own.
        {"rate": 9.0, "rate/layer_1": 4.0, "rate/layer_2": 0.0, "rate/layer_3": 5.0},
    ],
)
def test_silent_when_all_is_well(row):
    assert find_alarms(row) == []


def test_of_several_layers_the_topmost_is_named():
    row = {"rate": 9.0, **{f"rate/layer_{n}": 1.0 for n in range(1, 10)}, "rate/layer_10": 0.012}
    (line,) = find_alarms({f"validation/{name}": value for name, value in row.items()})
    assert "topmost of 10 layers is 0.012 nats" in line


def test_replicas_are_looked_at_one_by_one():
    row = {"validation/modes": 22.0, "validation/modes_floor": 25.0}
    for replica, modes in enumerate((25.0, 9.0, 25.0, 9.0)):
        row[f"validation/modes/replica_{replica}"] = modes
        row[f"validation/modes_floor/replica_{replica}"] = 25.0
    lines = find_alarms(row)
    assert len(lines) == 1 and lines[0].startswith("replica 1, 3: collapse: samples cover 9 modes")
