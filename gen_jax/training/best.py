"""The best of a run's validations, for the checkpoint that is kept and for when to stop."""

from collections.abc import Iterable, Mapping


class Best:
    """The best value so far of one figure, by the rows of a run's log.

    It depends on the rows alone, so a run that goes on knows what it knew before.

    Args:
      metric: a figure of the validation rows, without "validation/"; "" to follow none.
      lower_is_better: whether a smaller value is the better one.
      rows: the log so far, in its order; others than validations are passed over.
    """

    def __init__(self, metric: str, lower_is_better: bool, rows: Iterable[Mapping[str, float]]):
        self._name, self._sign = f"validation/{metric}" if metric else "", 1 - 2 * lower_is_better
        self.step: int | None = None
        self.value: float | None = None
        self.since = 0  # validations after the best one
        for row in rows:
            if any(name.startswith("validation/") for name in row):
                self.add(row["step"], row)

    def add(self, step: int, row: Mapping[str, float]) -> bool:
        """Takes a validation, and says whether it is the best so far; equal ones are not."""
        value = row.get(self._name)
        if value is not None and (
            self.value is None or self._sign * value > self._sign * self.value
        ):
            self.step, self.value, self.since = step, value, 0
            return True
        self.since += self.value is not None
        return False

    def is_over(self, patience: int) -> bool:
        """Whether so many validations in a row were no better; never, of 0."""
        return 0 < patience <= self.since
