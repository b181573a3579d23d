"""Config -> optax."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from gen_jax.errors import UserError

_SCALINGS = {
    "adam": lambda c: optax.scale_by_adam(b1=c.b1, b2=c.b2, eps=c.eps),
    "sgd": lambda c: optax.trace(decay=c.b1) if c.b1 else optax.identity(),
    "rmsprop": lambda c: optax.scale_by_rms(decay=c.b2, eps=c.eps),
}
_SCHEDULES = {
    "constant": lambda c, steps: optax.constant_schedule(c.lr),
    "cosine": lambda c, steps: optax.cosine_decay_schedule(c.lr, max(steps - c.warmup_steps, 1)),
}


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """One network's optimiser.

    The learning rate is a function of the run's step and not of the number of updates, so that
    a network with several turns in a step follows the same schedule as one with a single turn.
    """

    transform: optax.GradientTransformation
    learning_rate: optax.Schedule
    ema_decay: float

    def init(self, params: Any) -> Any:
        return self.transform.init(params)

    def update(self, grads: Any, opt_state: Any, params: Any, step: jax.Array) -> tuple[Any, Any]:
        """(new params, new optimiser state)."""
        updates, opt_state = self.transform.update(grads, opt_state, params)
        rate = self.learning_rate(step)
        return jax.tree.map(lambda p, u: p - rate * u, params, updates), opt_state

    def average(self, ema: Any, params: Any) -> Any:
        """The moving average after one more step."""
        return jax.tree.map(lambda e, p: e + (1 - self.ema_decay) * (p - e), ema, params)


def make(config: ConfigDict, steps: int, network: str) -> Optimizer:
    """The optimiser of a network: the keys of `optim`, overridden by those of `optim.NETWORK`.

    Weight decay is decoupled (Loshchilov and Hutter 2019, arXiv 1711.05101, algorithm 2). The
    cosine schedule falls to zero at `steps`, after a linear warm-up.

    Raises:
      UserError: for an unknown name or schedule.
    """
    own = config.get(network, {})
    config = ConfigDict({**config, **own})
    for key, valid in (("name", _SCALINGS), ("schedule", _SCHEDULES)):
        if config[key] not in valid:
            raise UserError(f"unknown optim.{key} {config[key]!r}; valid are: {', '.join(valid)}")
    parts = [_SCALINGS[config.name](config)]
    if config.clip_norm:
        parts.insert(0, optax.clip_by_global_norm(config.clip_norm))
    if config.weight_decay:
        parts.append(optax.add_decayed_weights(config.weight_decay))
    schedule = _SCHEDULES[config.schedule](config, steps)
    if config.warmup_steps:
        # From lr / warmup_steps and not from 0, so that the first step is not lost.
        warmup = lambda step: config.lr * (step + 1) / config.warmup_steps  # noqa: E731
        schedule = optax.join_schedules([warmup, schedule], [config.warmup_steps])
    return Optimizer(optax.chain(*parts), schedule, config.ema_decay)


def global_norm(grads: Any) -> jax.Array:
    """The L2 norm of a gradient, float32."""
    return jnp.float32(optax.tree.norm(grads))
