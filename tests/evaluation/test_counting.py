"""Models that count, against sums by hand."""

import collections

import numpy as np
import pytest

from gen_jax.errors import UserError
from gen_jax.evaluation import counting

TEXT = np.array([0, 1, 2, 0, 1, 2, 0, 1, 3, 0, 2, 1, 0, 1, 2, 2, 3, 1, 0, 0, 1, 2])


def kneser_ney(pieces, values, context, symbol):
    """Interpolated Kneser-Ney, written as the paper has it, with dictionaries."""

    def grams(size):
        return collections.Counter(
            tuple(piece[i : i + size].tolist())
            for piece in pieces
            for i in range(len(piece) - size + 1)
        )

    def probability(context, symbol, top):
        if context is None:
            return 1 / values
        size = len(context) + 1
        behind = collections.Counter(gram[1:] for gram in grams(size + 1))
        counts = grams(size) if top else behind
        once = sum(1 for count in counts.values() if count == 1)
        twice = sum(1 for count in counts.values() if count == 2)
        discount = once / (once + 2 * twice) if once else 0.5
        own = {gram[-1]: count for gram, count in counts.items() if gram[:-1] == context}
        below = probability(context[1:] if context else None, symbol, False)
        if not own:
            return below
        total = sum(own.values())
        seen = max(own.get(symbol, 0) - discount, 0) / total
        return seen + discount * len(own) / total * below

    return probability(tuple(context), symbol, True)


@pytest.mark.parametrize("reach", [0, 1, 2, 3])
def test_kneser_ney_is_the_papers(reach):
    pieces = [TEXT[:13], TEXT[13:]]
    model = counting.KneserNey(pieces, 4, reach)
    rows = np.array([[0, 1, 2, 3, 0], [3, 3, 1, 0, 1], [2, 0, 0, 0, 0]])
    found = model.log_prob(rows, np.array([5, 5, 2]))
    for row, length, values in zip(rows, (5, 5, 2), found, strict=True):
        for place in range(length):
            context = row[max(0, place - reach) : place]
            expected = np.log(kneser_ney(pieces, 4, context.tolist(), row[place]))
            assert values[place] == pytest.approx(expected, rel=1e-9)
        assert (values[length:] == 0).all()


@pytest.mark.parametrize("context", [[], [0], [0, 1], [3, 3], [1, 3, 0]])
def test_its_probabilities_sum_to_one(context):
    model = counting.KneserNey([TEXT], 4, 2)
    rows = np.array([[*context, symbol] for symbol in range(4)])
    found = model.log_prob(rows, np.full(4, rows.shape[1]))[:, -1]
    assert np.exp(found).sum() == pytest.approx(1, abs=1e-12)


def test_a_gram_that_does_not_fit_a_number_is_refused():
    with pytest.raises(UserError, match=r"an n-gram of 10 out of 200.*ngram_context=5"):
        counting.KneserNey([TEXT], 200, 10)


def test_keys_are_counted_by_what_they_were_a_frame_before():
    piece = np.array([[1, 0], [1, 0], [0, 1], [1, 1]])
    x = np.array([[[1, 0], [0, 0], [1, 1]]])
    found = counting.key_log_probs([piece], x, 0)
    on = np.array([3.5, 2.5]) / 5
    expected = [np.log(np.where(frame == 1, on, 1 - on)).sum() for frame in x[0]]
    np.testing.assert_allclose(found[0], expected)
    found = counting.key_log_probs([piece], x, 1)
    # Key 0 was on before twice, and on after once; off before once, and then on. Key 1 was off
    # before twice, and on after once.
    assert found[0, 1] == pytest.approx(np.log(1 - 1.5 / 3) + np.log(1 - 1.5 / 3))
    assert found[0, 2] == pytest.approx(np.log(1.5 / 2) + np.log(1.5 / 3))
