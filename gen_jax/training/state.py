"""The state of a training run: data only, dicts keyed by network name."""

from typing import Any

import flax.struct
import jax


@flax.struct.dataclass
class State:
    """Everything that training changes. Keys and batches are derived from `step`.

    With several replicas every leaf but `step` has a leading replica axis.

    Attributes:
      step: number of finished steps, int32 scalar.
      params: {network: tree}.
      opt_state: {network: optax state}.
      ema: {network: tree}, moving averages of the networks that have one.
      extra: mutable collections of the family (batch statistics, codebooks).
    """

    def __repr__(self) -> str:
        counts = {
            name: sum(leaf.size for leaf in jax.tree.leaves(tree))
            for name, tree in self.params.items()
        }
        return f"<State: {', '.join(f'{name} {count:,}' for name, count in counts.items())}>"

    step: jax.Array
    params: dict[str, Any]
    opt_state: dict[str, Any]
    ema: dict[str, Any]
    extra: dict[str, Any]

    @property
    def eval_params(self) -> dict[str, Any]:
        """The parameters to evaluate: the moving average where there is one."""
        return {**self.params, **self.ema}
