"""Config -> optax."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from gen_jax import schedules
from gen_jax.errors import UserError

# (config, b2) -> the direction of a step.
_SCALINGS = {
    "adam": lambda c, b2: optax.scale_by_adam(b1=c.b1, b2=b2, eps=c.eps),
    "sgd": lambda c, b2: optax.trace(decay=c.b1) if c.b1 else optax.identity(),
    "rmsprop": lambda c, b2: optax.scale_by_rms(decay=b2, eps=c.eps),
}
_SCHEDULES = ("constant", "cosine")
_DECAYED = ("kernel", "embedding")  # flax's names of weights


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """One network's optimiser: the keys of a config's `optim` section.

    All that changes while it trains is a function of the run's step and not of the number of
    updates, so that a network with several turns in a step follows the same schedule as one with
    a single turn.

    Weight decay is decoupled (Loshchilov and Hutter 2019, arXiv 1711.05101, algorithm 2), and of
    weights alone: kernels and embeddings, but for those of the modules named in `undecayed`. Of a
    bias, a scale or a learned mean it would be a prior that nobody asked for.
    """

    config: ConfigDict
    total_steps: int
    undecayed: tuple[str, ...] = ()

    @property
    def has_average(self) -> bool:
        return self.config.ema_half_life > 0

    def with_value(self, key: str, value: jax.typing.ArrayLike) -> "Optimizer":
        """The same with another value of a key, which may be traced."""
        return dataclasses.replace(self, config=ConfigDict({**self.config, key: value}))

    def init(self, params: Any) -> Any:
        return self._transform(0).init(params)

    def update(self, grads: Any, opt_state: Any, params: Any, step: jax.Array) -> tuple[Any, Any]:
        """(new params, new optimiser state)."""
        updates, opt_state = self._transform(step).update(grads, opt_state, params)
        rate = self.learning_rate(step)
        return jax.tree.map(lambda p, u: p - rate * u, params, updates), opt_state

    def average(self, ema: Any, params: Any, step: jax.Array) -> Any:
        """The moving average after one more step."""
        config = self.config
        half_life = schedules.cosine(0, config.ema_half_life, config.ema_burn_in_steps, step)
        half_life = half_life if config.ema_burn_in_steps else config.ema_half_life
        decay = 0.5 ** (1 / jnp.maximum(half_life, 1e-6))
        return jax.tree.map(lambda e, p: e + (1 - decay) * (p - e), ema, params)

    def learning_rate(self, step: jax.typing.ArrayLike) -> jax.Array:
        """A linear warm-up to `lr`; then constant, or a cosine to `final_lr`."""
        config, warmup = self.config, self.config.warmup_steps
        rate = jnp.float32(config.lr)
        if config.schedule == "cosine":
            steps = (config.decay_steps or self.total_steps) - warmup
            rate = schedules.cosine(config.lr, config.final_lr, steps, step - warmup)
        # From lr / warmup_steps and not from 0, so that the first step is not lost.
        return jnp.where(step < warmup, config.lr * (step + 1) / max(warmup, 1), rate)

    def _transform(self, step: jax.typing.ArrayLike) -> optax.GradientTransformation:
        config, b2 = self.config, self.config.b2
        if config.final_b2:
            b2 = schedules.cosine(b2, config.final_b2, config.decay_steps or self.total_steps, step)
        parts = [_SCALINGS[config.name](config, b2)]
        if config.clip_norm:
            parts.insert(0, optax.clip_by_global_norm(config.clip_norm))
        if config.normalize:
            parts.insert(0, optax.stateless(_normalized))
        if config.weight_decay:
            parts.append(optax.stateless(self._decay))
        return optax.chain(*parts)

    def _decay(self, updates: Any, params: Any) -> Any:
        def decayed(path, update, param):
            *modules, name = (str(getattr(key, "key", key)) for key in path)
            if name not in _DECAYED or {*modules} & {*self.undecayed}:
                return update
            return update + self.config.weight_decay * param

        return jax.tree_util.tree_map_with_path(decayed, updates, params)


def _normalized(updates: Any, params: Any) -> Any:
    """Each array of the gradient with norm 1 (Yu et al. 2017, arXiv 1707.04822, algorithm 1)."""
    return jax.tree.map(lambda g: g / (jnp.linalg.norm(g) + 1e-30), updates)


def check_sections(config: ConfigDict, networks: Iterable[str]) -> None:
    """Refuses `optim.NETWORK` of a network that the model has not: it would do nothing."""
    for key, value in config.items():
        if isinstance(value, ConfigDict) and key not in networks:
            there = ", ".join(sorted(networks))
            raise UserError(f"optim.{key} is of no network; this model has: {there}")


def make(
    config: ConfigDict, steps: int, network: str, undecayed: tuple[str, ...] = ()
) -> Optimizer:
    """The optimiser of a network: the keys of `optim`, overridden by those of `optim.NETWORK`.

    Raises:
      UserError: for an unknown key, name or schedule.
    """
    own = config.get(network, {})
    unknown = [key for key in own if key not in config]
    if unknown:
        raise UserError(f"unknown key optim.{network}.{unknown[0]}; valid are those of optim")
    config = ConfigDict({**config, **own})
    for key, valid in (("name", tuple(_SCALINGS)), ("schedule", _SCHEDULES)):
        if config[key] not in valid:
            raise UserError(f"unknown optim.{key} {config[key]!r}; valid are: {', '.join(valid)}")
    return Optimizer(config, steps, undecayed)


def global_norm(grads: Any) -> jax.Array:
    """The L2 norm of a gradient, float32."""
    return jnp.float32(optax.tree.norm(grads))
