"""gen_jax's side of a benchmark: the compiled step, or samples, of a config on made-up data."""

import dataclasses
import itertools

import jax
import numpy as np

from benchmarks.work import Runner
from gen_jax import config as config_lib
from gen_jax import families, parallel
from gen_jax.data.examples import ArrayExamples
from gen_jax.data.sources import Dataset
from gen_jax.data.spec import DataSpec
from gen_jax.experiment import Experiment
from gen_jax.training import optimizers

NUM_EXAMPLES = 10_000


def images(shape: tuple[int, ...]) -> np.ndarray:
    """Made-up images, uint8 [10_000, *shape]: most pixels are black, as MNIST's are."""
    generator = np.random.default_rng(0)
    x = generator.integers(0, 256, (NUM_EXAMPLES, *shape), np.uint8)
    return x * (generator.random(x.shape) < 0.2).astype(np.uint8)


def build(family: str, spec: DataSpec, **changes) -> Experiment:
    """An experiment on made-up images or symbols; `changes` are config keys, "__" for the dot."""
    config = config_lib.default_config(family)
    for key, value in changes.items():
        section, _, name = key.rpartition("__")
        (config[section] if section else config)[name] = value
    x = images(spec.shape)
    if spec.vocabulary:
        x %= len(spec.vocabulary)
    labels = np.int32(np.arange(len(x)) % max(spec.num_classes, 1))
    dataset = Dataset("made-up", spec, {"train": ArrayExamples("train", {"x": x, "label": labels})})
    model = families.build(family, config.model, spec)
    networks = sorted({name for turn in model.turns for name in turn})
    optimizer = {name: optimizers.make(config.optim, config.steps, name) for name in networks}
    return Experiment(config, spec, model, optimizer, lambda: dataset)


def runner(experiment: Experiment) -> Runner:
    """Runs dispatches of `steps_per_dispatch` steps, as training does: one is one time of it."""
    parallel.setup()
    train_steps, data, values, batches = _prepared(experiment)
    state = parallel.replicated(experiment.init())

    def run(count: int) -> None:
        nonlocal state
        for batch in itertools.islice(batches, count):
            state, metrics = train_steps(state, data, values, batch)
        jax.block_until_ready((state, metrics))

    return run


def sampler(experiment: Experiment, num: int) -> Runner:
    """Draws `num` samples a time, as `launch.py sample` does, of a model that has not trained."""
    parallel.setup()
    subject = experiment.subject(experiment.init())

    def run(count: int) -> None:
        for seed in range(count):
            subject.sample(num, seed=seed)

    return run


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of one step, as XLA counts it.

    Attributes:
      flops: floating-point operations.
      traffic: bytes that its operations read and write; a cache may spare the memory some.
      held: bytes held at once, by arguments, results and intermediates.
    """

    flops: float
    traffic: float
    held: float


def cost(experiment: Experiment) -> Cost:
    """What one step of training takes."""
    config = experiment.config.copy_and_resolve_references()
    config.steps_per_dispatch = 1  # XLA counts the body of a loop once
    experiment = dataclasses.replace(experiment, config=config)
    train_steps, data, values, batches = _prepared(experiment)
    compiled = train_steps.lower(experiment.template(), data, values, next(batches)).compile()
    memory = compiled.memory_analysis()
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes
    held += memory.temp_size_in_bytes - memory.alias_size_in_bytes
    counted = compiled.cost_analysis()
    return Cost(counted["flops"], counted["bytes accessed"], held)


def work_cost(experiment: Experiment) -> tuple[float, float]:
    """Operations and bytes of one dispatch, for `Work.cost`."""
    step, steps = cost(experiment), experiment.config.steps_per_dispatch
    return steps * step.flops, steps * step.traffic


def _prepared(experiment: Experiment):
    """The training function and its arguments but the state, as `gen_jax.experiment.train`."""
    batches = experiment.batches
    data, values = parallel.replicated((batches.data, experiment.replica_values))
    dispatches = batches.dispatches(0, 10**9 * experiment.config.steps_per_dispatch)
    split = (parallel.split(batch, experiment.batch_axis) for batch in dispatches)
    return experiment.compile(), data, values, split
