"""A family of two tiny networks, to test the loop before any model needs it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gen_jax import keys as keys_lib
from gen_jax import parallel
from gen_jax.data.batches import TrainBatches
from gen_jax.data.examples import ArrayExamples
from gen_jax.data.spec import DataSpec
from gen_jax.experiment import REPLICAS
from gen_jax.training import optimizers
from gen_jax.training import step as train_step

SPEC = DataSpec("real", (3,))
NUM_EXAMPLES = 40


@dataclasses.dataclass(frozen=True)
class Toy:
    """left pulls itself to the data and right to left; each has a loss of its own.

    Both losses depend on both networks, so a gradient that leaks from one loss into the other
    network shows.
    """

    turns: tuple = (("left", "right"),)
    noise: float = 0.0

    def init(self, key, batch):
        left, right = jax.random.normal(key, (2, 3))
        return {"left": {"w": left}, "right": {"w": right}}, {
            "count": jnp.zeros(()),
            "steps": jnp.int32(0),
        }

    def losses(self, turn, params, extra, batch, keys, step):
        left, right = params["left"]["w"], params["right"]["w"]
        x = batch["x"] + self.noise * keys_lib.normal(keys, (3,))
        values = {
            "left": ((x - left) ** 2).sum(-1).mean() + 0.1 * (left * right).sum(),
            "right": ((x * left - right) ** 2).sum(-1).mean(),
        }
        extra = {
            "count": extra["count"] + parallel.mean(x.sum(-1).mean()),
            "steps": extra["steps"] + 1,
        }
        return {name: values[name] for name in turn}, extra, {"mean": x.mean()}


def examples() -> ArrayExamples:
    x = np.random.default_rng(0).normal(size=(NUM_EXAMPLES, 3)).astype(np.float32)
    return ArrayExamples("train", {"x": x, "label": np.zeros(NUM_EXAMPLES, np.int32)})


def optim(**changes) -> ConfigDict:
    config = ConfigDict(
        {
            "name": "sgd",
            "lr": 0.1,
            "b1": 0.0,
            "b2": 0.999,
            "eps": 1e-8,
            "weight_decay": 0.0,
            "clip_norm": 0.0,
            "normalize": False,
            "schedule": "constant",
            "warmup_steps": 0,
            "ema_half_life": 0.0,
            "ema_burn_in_steps": 0,
            "final_b2": 0.0,
            "final_lr": 0.0,
            "decay_steps": 0,
            "accumulate": 1,
        }
    )
    config.update(changes)
    return config


def run(family, steps=4, batch_size=8, inner=2, seeds=(0,), limit_mb=100, **changes):
    """Trains the toy by the real step function -> (state, metrics [steps] each, host arrays)."""
    config = optim(**changes)
    names = sorted({name for turn in family.turns for name in turn})
    optimizer = {name: optimizers.make(config, steps, name) for name in names}
    replicas = len(seeds) > 1
    init = train_step.make_init(family, optimizer)
    train = examples()
    batches = TrainBatches(
        train,
        seeds=list(seeds),
        batch_size=batch_size,
        num_turns=len(family.turns),
        steps_per_dispatch=inner,
        resident_limit_mb=limit_mb,
    )
    body = train_step.make_steps(family, optimizer, SPEC, batches.fetch, config.accumulate)
    seed = np.asarray(seeds if replicas else seeds[0], np.uint32)
    if replicas:
        init = jax.vmap(init, in_axes=(0, None), out_axes=REPLICAS)
        body = jax.vmap(body, in_axes=(REPLICAS, None, 0, 0), out_axes=(REPLICAS, 0))
    state = parallel.replicated(init(seed, train.gather(np.arange(8))))
    data, seed = parallel.replicated((batches.data, seed))
    step = parallel.compile_train(body)
    rows = []
    for batch in batches.dispatches(0, steps):
        state, metrics = step(state, data, seed, parallel.split(batch, 3 if replicas else 2))
        rows.append(jax.device_get(metrics))
    joined = {name: np.concatenate([row[name] for row in rows], -1) for name in rows[0]}
    return jax.device_get(state), joined


def start(family, seed=0):
    """The parameters before the first step."""
    params, _ = family.init(keys_lib.stream(np.uint32(seed), "init"), None)
    return jax.device_get(params)


def minibatch(step, turn=0, turns=1, batch_size=8, seed=0):
    """The stored examples of one turn, by the public rule of their order."""
    from gen_jax.data.batches import epoch_indices

    position = (step * turns + turn) * batch_size
    return examples().arrays["x"][epoch_indices(seed, NUM_EXAMPLES, position, batch_size)]
