"""gen_jax's side of a training benchmark: the compiled step of a config on made-up images."""

import functools
import itertools

import jax
import numpy as np
from ml_collections import ConfigDict

from benchmarks.work import Runner
from gen_jax import config as config_lib
from gen_jax import families, optimizers, parallel
from gen_jax.data.batches import TrainBatches
from gen_jax.data.sources import ArrayExamples, Dataset
from gen_jax.data.spec import DataSpec
from gen_jax.experiment import Experiment

NUM_EXAMPLES = 10_000


def images(shape: tuple[int, ...]) -> np.ndarray:
    """Made-up images, uint8 [10_000, *shape]: most pixels are black, as MNIST's are."""
    generator = np.random.default_rng(0)
    x = generator.integers(0, 256, (NUM_EXAMPLES, *shape), np.uint8)
    return x * (generator.random(x.shape) < 0.2).astype(np.uint8)


def build(family: str, spec: DataSpec, **changes) -> Experiment:
    """An experiment on made-up images; `changes` are config keys with "__" for the dot."""
    config = config_lib.default_config(family)
    for key, value in changes.items():
        section, _, name = key.rpartition("__")
        (config[section] if section else config)[name] = value
    x = images(spec.shape)
    labels = np.arange(len(x)) % max(spec.num_classes, 1)
    dataset = Dataset("made-up", spec, {"train": ArrayExamples("train", x, labels)})
    model = families.build(family, config.model, spec)
    networks = sorted({name for turn in model.turns for name in turn})
    optimizer = {name: optimizers.make(config.optim, config.steps, name) for name in networks}
    return Experiment(config, dataset, model, optimizer)


def runner(experiment: Experiment) -> Runner:
    """Runs dispatches of `steps_per_dispatch` steps, as training does: one is one time of it."""
    parallel.setup()
    config: ConfigDict = experiment.config
    batches = TrainBatches(
        experiment.dataset.splits["train"],
        seeds=[0],
        batch_size=config.batch_size,
        num_turns=len(experiment.family.turns),
        steps_per_dispatch=config.steps_per_dispatch,
        resident_limit_mb=config.data.resident_limit_mb,
    )
    data, seeds = parallel.replicated((batches.data, experiment.seeds))
    state = parallel.replicated(experiment.init())
    dispatches = batches.dispatches(0, 10**9 * config.steps_per_dispatch)
    train_steps = experiment.compile()

    def run(count: int) -> None:
        nonlocal state
        for batch in itertools.islice(dispatches, count):
            state, metrics = train_steps(state, data, seeds, parallel.split(batch, 2))
        jax.block_until_ready((state, metrics))

    return run


def flops(experiment: Experiment) -> float:
    """Of one dispatch, counted by XLA on one step."""
    from gen_jax import train_step

    config = experiment.config
    steps = train_step.make_steps(
        experiment.family, experiment.optimizer, experiment.dataset.spec, config.optim.accumulate
    )
    turns = len(experiment.family.turns)
    index = np.zeros((1, 1, turns, config.batch_size), np.int32)
    data = experiment.dataset.splits["train"].arrays()
    mapped = jax.vmap(steps, in_axes=(None, None, None, 0), axis_name=parallel.AXIS)
    state = jax.eval_shape(experiment.init)
    lowered = jax.jit(functools.partial(mapped)).lower(state, data, 0, {"index": index})
    return lowered.compile().cost_analysis()["flops"] * config.steps_per_dispatch
