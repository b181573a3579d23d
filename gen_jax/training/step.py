"""K training steps as one pure function: turns, gradients, optimisers, moving averages."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gen_jax import keys as keys_lib
from gen_jax import parallel
from gen_jax.data.spec import Batch, DataSpec, fixed_keys
from gen_jax.families.base import Family
from gen_jax.training import optimizers
from gen_jax.training.optimizers import Optimizer
from gen_jax.training.state import State


def make_init(family: Family, optimizer: dict[str, Optimizer]) -> Callable:
    """`init(seed, batch) -> State`."""

    def init(seed: jax.Array, batch: Batch) -> State:
        params, extra = family.init(keys_lib.stream(seed, "init"), batch)
        opt_state = {name: optimizer[name].init(params[name]) for name in params}
        # A copy: the state is donated, and one buffer cannot be given up twice.
        averaged = [name for name in params if optimizer[name].has_average]
        ema = {name: jax.tree.map(jnp.copy, params[name]) for name in averaged}
        return State(jnp.int32(0), params, opt_state, ema, extra)

    return init


def make_steps(
    family: Family,
    optimizer: dict[str, Optimizer],
    spec: DataSpec,
    fetch: Callable,
    accumulate: int,
) -> Callable:
    """`steps(state, data, seed, batch) -> (state, metrics)`, to be run on every device.

    Leaves of `batch` are [K, T, B, ...] (data/batches.py): K steps, T turns in each. Metrics
    are means over the global batch, [K].

    Args:
      family: the model.
      optimizer: of each network.
      spec: of the data.
      fetch: `(data, batch)`, the stored arrays of a minibatch: `TrainBatches.fetch`.
      accumulate: parts of the batch whose gradients are averaged.
    """

    def steps(state: State, data: Batch, seed: jax.Array, batch: Batch) -> tuple[State, dict]:
        def step(state: State, batch: Batch) -> tuple[State, dict]:
            metrics = {}
            for index, turn in enumerate(family.turns):
                part = jax.tree.map(lambda x, i=index: x[i], batch)
                inputs, keys = prepare(fetch(data, part), part["index"], seed, state, index)
                state, turn_metrics = take_turn(turn, state, inputs, keys)
                metrics |= turn_metrics
            ema = {
                n: optimizer[n].average(e, state.params[n], state.step)
                for n, e in state.ema.items()
            }
            return state.replace(step=state.step + 1, ema=ema), metrics

        return jax.lax.scan(step, state, batch)

    def prepare(stored: Batch, index: jax.Array, seed: jax.Array, state: State, turn: int):
        key = keys_lib.fold(keys_lib.fold(keys_lib.stream(seed, "train"), state.step), turn)
        keys = keys_lib.per_example(key, parallel.global_index(len(index)))
        of_data = keys_lib.named(keys, "data") if spec.dynamic else fixed_keys("train", index)
        return spec.batch(stored, of_data) | {"index": index}, keys

    def take_turn(turn: tuple[str, ...], state: State, batch: Batch, keys: jax.Array):
        def accumulated(extra, part):
            grads, extra, metrics = gradients(turn, state, extra, *part)
            return extra, (grads, metrics)

        # [B, ...] -> [accumulate, B / accumulate, ...]; a scan over one part costs nothing.
        parts = jax.tree.map(lambda x: x.reshape(accumulate, -1, *x.shape[1:]), (batch, keys))
        extra, stacked = jax.lax.scan(accumulated, state.extra, parts)
        grads, metrics = jax.tree.map(lambda x: x.mean(0), stacked)
        grads, metrics = parallel.mean((grads, metrics))  # `extra` is equal on all devices

        params, opt_state = dict(state.params), dict(state.opt_state)
        for name in turn:
            metrics[f"grad_norm/{name}"] = optimizers.global_norm(grads[name])
            params[name], opt_state[name] = optimizer[name].update(
                grads[name], opt_state[name], params[name], state.step
            )
        return state.replace(params=params, opt_state=opt_state, extra=extra), metrics

    def gradients(turn: tuple[str, ...], state: State, extra: Any, batch: Batch, keys: jax.Array):
        def losses(own):
            values, new_extra, metrics = family.losses(
                turn, state.params | own, extra, batch, keys, state.step
            )
            return tuple(values[name] for name in turn), (new_extra, metrics)

        own = {name: state.params[name] for name in turn}
        values, pull_back, (new_extra, metrics) = jax.vjp(losses, own, has_aux=True)
        grads = {}
        for index, name in enumerate(turn):
            # One forward pass for all. The compiler drops what the others' gradients would need.
            one_hot = tuple(jnp.ones_like(v) * (i == index) for i, v in enumerate(values))
            grads[name] = pull_back(one_hot)[0][name]
        metrics = metrics | {f"loss/{n}": value for n, value in zip(turn, values, strict=True)}
        return grads, new_extra, metrics

    return steps
