"""Models of sequences that only count: n-grams, and keys that remember one frame."""

import functools

import numpy as np

from gen_jax.data.examples import Examples
from gen_jax.errors import UserError


def pieces(examples: Examples) -> list[np.ndarray]:
    """The whole sequences that the windows of a split are of."""
    if hasattr(examples, "spans"):
        return [examples.sequence[start:stop] for start, stop in examples.spans]
    rows = examples.resident()
    return [x[:n] for x, n in zip(rows["x"], rows["length"], strict=True)]


class KneserNey:
    """An interpolated Kneser-Ney n-gram with one discount for each order.

    Kneser and Ney 1995, as Chen and Goodman 1999 write it (section 4.2.1, equation 30): counts of
    the longest context are those of the sequences; of a shorter one, how many symbols it is seen
    behind. Discounts are n1 / (n1 + 2 n2), and below the shortest is a uniform distribution.

    Args:
      sequences: of symbols, whole numbers from 0 to `values` - 1.
      values: V.
      reach: symbols before.

    Raises:
      UserError: if so many symbols cannot be told apart by 63 bits.
    """

    def __init__(self, sequences: list[np.ndarray], values: int, reach: int):
        self.values, self.reach = values, reach
        if values ** (reach + 1) >= 2**63:
            raise UserError(
                f"an n-gram of {reach} out of {values} symbols is too long: "
                "--config.eval.ngram_context=5 or less"
            )
        self._grams = []  # of each order: which there are, and how often
        for order in range(reach + 1):
            codes = [_encode(np.int64(s), order, values) for s in sequences]
            self._grams.append(np.unique(np.concatenate(codes), return_counts=True))

    @functools.lru_cache(maxsize=64)  # noqa: B019  it lives as long as the model
    def _order(self, order: int, top: bool) -> tuple[np.ndarray, ...]:
        """Grams and counts of an order, and its contexts with their totals and kinds."""
        grams, counts = self._grams[order]
        if not top:
            # How many symbols each gram is seen behind: the grams one longer, without their first.
            longer = self._grams[order + 1][0] % self.values ** (order + 1)
            grams, counts = np.unique(longer, return_counts=True)
        contexts, first = np.unique(grams // self.values, return_index=True)
        totals = np.add.reduceat(counts, first) if len(grams) else counts
        kinds = np.diff(np.append(first, len(grams)))
        once, twice = (counts == 1).sum(), (counts == 2).sum()
        discount = once / (once + 2 * twice) if once else 0.5
        return grams, counts, contexts, totals, kinds, discount

    def _probability(self, codes: np.ndarray, order: int, top: bool) -> np.ndarray:
        """Of the last symbol of each gram of so many symbols before it."""
        if order < 0:
            return np.full(len(codes), 1 / self.values)
        codes = codes % self.values ** (order + 1)
        below = self._probability(codes, order - 1, False)
        grams, counts, contexts, totals, kinds, discount = self._order(order, top)
        count = _look_up(grams, counts, codes)
        total = _look_up(contexts, totals, codes // self.values)
        kind = _look_up(contexts, kinds, codes // self.values)
        seen = np.maximum(total, 1)
        own = np.maximum(count - discount, 0) / seen + discount * kind / seen * below
        return np.where(total > 0, own, below)

    def log_prob(self, x: np.ndarray, length: np.ndarray) -> np.ndarray:
        """Nats of each symbol of rows [N, T] by those before it in its row, as far as it reaches.

        Places from `length` [N] on have 0.
        """
        log_prob = np.zeros(x.shape)
        for place in range(x.shape[1]):
            order = min(place, self.reach)
            if order == self.reach:
                break
            rows = np.flatnonzero(length > place)
            codes = _fold(x[rows, : place + 1], self.values)
            log_prob[rows, place] = np.log(self._probability(codes, order, True))
        if x.shape[1] > self.reach:
            windows = np.lib.stride_tricks.sliding_window_view(x, self.reach + 1, axis=1)
            rows, places = np.nonzero(np.arange(self.reach, x.shape[1]) < length[:, None])
            codes = _fold(windows[rows, places], self.values)
            log_prob[rows, places + self.reach] = np.log(self._probability(codes, self.reach, True))
        return log_prob


def _encode(sequence: np.ndarray, order: int, values: int) -> np.ndarray:
    """Every gram of `order` + 1 symbols as one number."""
    if len(sequence) <= order:
        return np.zeros(0, np.int64)
    return _fold(np.lib.stride_tricks.sliding_window_view(sequence, order + 1), values)


def _fold(grams: np.ndarray, values: int) -> np.ndarray:
    """[N, n] -> one number each."""
    code = np.zeros(len(grams), np.int64)
    for column in range(grams.shape[1]):
        code = code * values + grams[:, column]
    return code


def _look_up(known: np.ndarray, counts: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """The count of each code, 0 of those that are not known."""
    if not len(known):
        return np.zeros(len(codes))
    place = np.minimum(np.searchsorted(known, codes), len(known) - 1)
    return np.where(known[place] == codes, counts[place], 0)


def key_log_probs(training: list[np.ndarray], x: np.ndarray, reach: int) -> np.ndarray:
    """Nats of each frame [N, T] of rows [N, T, K] by counts of pieces [T_i, K] of 0 and 1.

    With `reach` 0 keys are independent of all; with 1 each depends on itself a frame before. Half
    a count is added to each, so that what was never seen is possible.
    """
    x = np.asarray(x, np.int64)
    if not reach:
        frames = np.concatenate(training)
        on = (frames.sum(0) + 0.5) / (len(frames) + 1)
    else:
        before = np.concatenate([piece[:-1] for piece in training]) > 0
        after = np.concatenate([piece[1:] for piece in training]) > 0
        table = np.stack(
            [((after & given).sum(0) + 0.5) / (given.sum(0) + 1) for given in (~before, before)]
        )
        last = np.concatenate([np.zeros_like(x[:, :1]), x[:, :-1]], 1)
        on = np.where(last > 0, table[1], table[0])
    return np.log(np.where(x > 0, on, 1 - on)).sum(-1)
