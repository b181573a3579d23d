"""Experiment configs: the keys that all of them have, how a file is loaded, how one is changed.

A config is a flat, locked `ml_collections.ConfigDict`. An experiment file decorates one
function with `@experiment(family)`; it is given the defaults below and changes what differs.
"""

import difflib
import importlib.util
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from gen_jax import families
from gen_jax.errors import UserError
from gen_jax.sweep import Sweep

# What the elements of a tuple are that is empty by default; None: gen_jax/replicas.py says so.
_ELEMENTS = {"overrides": "", "model.augmentations": "", "model.upper_latent_dims": 0}
_ELEMENTS |= {"replica_values": None}
_MAX_INT, _MAX_FLOAT, _MAX_LENGTH, _MAX_TEXT = 2**31 - 1, 3e38, 100, 1_000
# They differ between machines and not between runs.
WHERE_DATA_ARE = ("data.data_dir", "data.manual_dir")
# Training does not see them; `eval.*` neither.
UNTRAINED = (*WHERE_DATA_ARE, "data.anomalies")
_AT_LEAST_1 = ("steps", "batch_size", "steps_per_dispatch", "num_replicas", "keep_checkpoints")
_AT_LEAST_1 += ("optim.accumulate",)
_AT_LEAST_1 += tuple(
    f"eval.{key}"
    for key in (
        *("batch_size", "elbo_samples", "importance_samples", "num_samples", "mode_samples"),
        *("nearest_k", "ais_steps", "amortization_steps"),
    )
)
# More than any machine holds, so that a mistake ends in a line and not in all memory's end.
_AT_MOST = {"batch_size": 2**20, "eval.batch_size": 2**20, "num_replicas": 1_024}
_AT_MOST |= {"data.image_size": 8_192}


def default_config(family: str) -> ConfigDict:
    """The keys that every experiment has, and the family's own under `model`."""
    config = ConfigDict()
    config.experiment = ""  # the file and its argument, filled in by `load_file`
    config.overrides = ()  # what the command line changed, filled in by `override`
    config.family = family
    config.seed = 0
    # Independent runs side by side in one program, with seeds seed, seed + 1, ...
    config.num_replicas = 1
    # What else differs between them: ((KEY, (VALUE, VALUE, ...)), ...), see gen_jax/replicas.py.
    config.replica_values = ()
    config.steps = 10_000
    config.batch_size = 128  # over all devices and processes
    # K steps run as one program, so that the host's part of a step (dispatch, indices) is paid
    # once in K. The periods below are multiples of K, as the host sees the state only then.
    config.steps_per_dispatch = 50
    config.log_every = 500
    config.eval_every = 2_500
    config.checkpoint_every = 2_500
    config.keep_checkpoints = 2
    # What is told beside metrics.jsonl: "tensorboard", "wandb" (Weights & Biases), "mlflow".
    config.trackers = ("tensorboard",)

    config.data = ConfigDict()
    config.data.name = "digits"
    config.data.data_dir = ""  # prepared datasets; "": $TFDS_DATA_DIR or ~/tensorflow_datasets
    config.data.manual_dir = ""  # files fetched by hand; "": $GEN_JAX_MANUAL_DIR
    config.data.preprocess = "dynamic_binarization"
    config.data.num_validation = 1_000  # carved from train
    config.data.split_seed = 0
    config.data.resident_limit_mb = 2_048  # larger training sets stream from the host
    config.data.image_size = 0  # 0: as stored
    config.data.crop = True
    config.data.grayscale = False
    config.data.anomalies = ""  # a dataset whose test split is to be told from this one's

    config.optim = ConfigDict()
    config.optim.name = "adam"
    config.optim.lr = 1e-3
    config.optim.b1 = 0.9
    config.optim.b2 = 0.999
    config.optim.eps = 1e-8
    config.optim.weight_decay = 0.0
    config.optim.clip_norm = 0.0  # 0: no clipping
    config.optim.final_b2 = 0.0  # b2 goes to it along a cosine; 0: it stays
    config.optim.schedule = "constant"  # or "cosine"
    config.optim.final_lr = 0.0  # where the cosine ends
    config.optim.decay_steps = 0  # when it (and b2's) ends; 0: with the run
    config.optim.warmup_steps = 0
    config.optim.ema_half_life = 0.0  # steps; 0: no moving average
    config.optim.ema_burn_in_steps = 0  # the half-life rises from 0 over so many steps
    config.optim.accumulate = 1  # gradients of this many parts of the batch are averaged

    config.eval = ConfigDict()
    config.eval.batch_size = 100
    config.eval.validation_metrics = ("elbo",)
    config.eval.metrics = ("elbo", "nll", "active_units")
    config.eval.elbo_samples = 10
    config.eval.importance_samples = 1_000
    config.eval.num_samples = 10_000  # generated, for the metrics that compare samples
    config.eval.mode_samples = 26_000  # generated, for the modes of stacked_mnist
    # Of a Gaussian mixture fitted to the latents after training, which is then sampled from; 0: the
    # model's own prior is.
    config.eval.fitted_components = 0
    config.eval.judge = ""  # whose features are compared; "": the data's own
    config.eval.inception_weights = ""  # file, for judge "inception"
    config.eval.nearest_k = 5  # neighbours of precision, recall, density and coverage
    config.eval.ais_steps = 1_000  # temperatures
    config.eval.amortization_steps = 500  # of the search for each example's best posterior
    config.eval.num_examples = 0  # first examples of the split; 0: all of it

    config.model = families.default_model(family)
    return config


def shrink(config: ConfigDict) -> None:
    """`:smoke`: the same experiment in seconds, to see that it runs."""
    config.steps, config.batch_size, config.steps_per_dispatch = 20, 16, 5
    config.log_every = config.eval_every = config.checkpoint_every = 10
    config.data.num_validation = 32
    config.eval.batch_size = config.eval.num_examples = 32
    config.eval.importance_samples = config.eval.ais_steps = 16
    config.eval.amortization_steps = 16
    config.eval.fitted_components = min(config.eval.fitted_components, 1)
    config.eval.num_samples = config.eval.mode_samples = 64


def experiment(family: str, variants: Sequence[str] = ()) -> Callable:
    """Turns `build(config, variant)`, which edits the defaults, into a file's `get_config`.

    The file's string argument (`--config=experiments/F.py:ARGUMENT`) is a variant, `smoke`, or
    both with a comma between them.
    """

    def decorate(build: Callable[[ConfigDict, str], None]) -> Callable[[str], ConfigDict]:
        def get_config(argument: str = "") -> ConfigDict:
            words = [word for word in argument.split(",") if word]
            chosen = [word for word in words if word != "smoke"]
            if len(chosen) > 1 or any(word not in variants for word in chosen):
                wrong = next((word for word in chosen if word not in variants), argument)
                close = difflib.get_close_matches(wrong, variants, 3)
                valid = f"valid are: {', '.join([*variants, 'smoke'])}"
                hint = f"did you mean {' or '.join(close)}?" if close else valid
                raise UserError(f"unknown config argument {argument!r}; {hint}")
            config = default_config(family)
            build(config, chosen[0] if chosen else "")
            if "smoke" in words:
                shrink(config)
            return config.lock()

        get_config.variants = tuple(variants)
        return get_config

    return decorate


def load_file(path_and_argument: str) -> ConfigDict:
    """Reads `experiments/F.py` or `experiments/F.py:ARGUMENT`. The file is run as Python."""
    path, _, argument = path_and_argument.partition(":")
    config = experiment_function(path)(argument)
    with config.unlocked():
        config.experiment = path_and_argument
    return config


def experiment_function(path: str) -> Callable[[str], ConfigDict]:
    """The `get_config` of an experiment file; its `variants` are the arguments that it takes."""
    function = getattr(_module(path), "get_config", None)
    if function is None:
        raise UserError(f"{path} has no get_config(); see experiments/quickstart.py for one")
    return function


def load_sweep(path_and_argument: str) -> Sweep:
    """The `sweep(argument)` of an experiment file."""
    path, _, argument = path_and_argument.partition(":")
    function = getattr(_module(path), "sweep", None)
    if function is None:
        raise UserError(f"{path} has no sweep(); see experiments/sweep_digits.py for one")
    words = [word for word in argument.split(",") if word not in ("", "smoke")]
    return function(words[0] if words else "")


def _module(path: str) -> ModuleType:
    if not Path(path).is_file():
        # A bare name is one of the project's own.
        given = Path(path).parent
        folder = Path("experiments") if given == Path() else given
        names = [str(file) for file in sorted(folder.glob("*.py"))]
        close = difflib.get_close_matches(path, names, 1)
        hint = f"did you mean {close[0]}?" if close else f"valid are: {', '.join(names) or 'none'}"
        raise UserError(f"no experiment file {path}; {hint}")
    module_spec = importlib.util.spec_from_file_location("experiment", path)
    if module_spec is None:
        raise UserError(f"{path} is not an experiment; name a Python file such as vae_mnist.py")
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    return module


def override(config: ConfigDict, arguments: Sequence[str]) -> ConfigDict:
    """Applies `--config.KEY=VALUE` arguments in place, with the types that the config has."""
    values, argv = flags.FlagValues(), ["launch.py", *arguments]
    try:
        config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=argv)
        values(argv)
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(_override_message(config, arguments, error)) from None
    config.overrides = (*config.overrides, *arguments)
    return config


def _override_message(config: ConfigDict, arguments: Sequence[str], error: Exception) -> str:
    known = list(flatten(config))
    for argument in arguments:
        key = argument.partition("=")[0].removeprefix("--config.")
        if key not in known:
            close = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean --config.{close[0]}?" if close else "see config.json of a run"
            return f"no config key {key!r}; {hint}"
        value = config
        for part in key.split("."):
            value = value[part]
        if "=" not in argument:
            return f"{argument} needs a value: {argument}={value!r}"
    return " ".join(str(error).split())


def flatten(config: ConfigDict | dict, prefix: str = "") -> dict:
    """Nested config -> {"optim.lr": 1e-3, ...}, with tuples as JSON has them."""
    if isinstance(config, ConfigDict):
        config = json.loads(to_json(config))
    flat = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def to_json(config: ConfigDict) -> str:
    return json.dumps(config.to_dict(), indent=2)


def from_json(given: Any) -> ConfigDict:
    """The inverse of `to_json`, of what its JSON says; lists become tuples, as configs have them.

    Keys that an older version of the project did not know get their defaults.

    Raises:
      UserError: for what is not a config: see `check_values`.
    """

    def tuples(value):
        if isinstance(value, dict):
            return {key: tuples(item) for key, item in value.items()}
        return tuple(value) if isinstance(value, list) else value

    def fill(given: dict, defaults: dict) -> dict:
        both = [k for k in given if isinstance(given[k], dict) and k in defaults]
        return {**defaults, **given, **{key: fill(given[key], defaults[key]) for key in both}}

    if not isinstance(given, dict):
        raise UserError("it is no config")
    defaults = default_config(given.get("family")).to_dict()
    check_values(tuples(given), defaults)
    return ConfigDict(fill(tuples(given), defaults)).lock()


def check_values(given: dict, defaults: dict, prefix: str = "") -> None:
    """Refuses keys that there are none of, and values unlike the default in type or size.

    Raises:
      UserError: naming the key.
    """
    for key, value in given.items():
        name, default = prefix + key, defaults.get(key)
        network = key.isidentifier() and not hasattr(ConfigDict, key) and key not in defaults
        if prefix == "optim." and network and isinstance(value, dict):  # its own settings
            check_values(value, defaults, f"{name}.")
        elif key not in defaults:
            close = difflib.get_close_matches(key, list(defaults), 1)
            hint = f"; did you mean {prefix}{close[0]}?" if close else ""
            raise UserError(f"there is no config key {name!r}{hint}")
        elif isinstance(default, dict) and isinstance(value, dict):
            check_values(value, default, f"{name}.")
        elif problem := _problem(value, default, name):
            shown = repr(value) if len(repr(value)) < 60 else f"{repr(value)[:60]}..."
            raise UserError(f"{name}={shown} must be {problem}")


def _problem(value: Any, default: Any, name: str) -> str:
    """What a value must be and is not, "" if it is."""
    if isinstance(default, bool):
        return "" if isinstance(value, bool) else "True or False"
    if isinstance(default, int):
        good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_INT
        return "" if good else f"an integer from 0 to {_MAX_INT}"
    if isinstance(default, float):
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        good = number and math.isfinite(value) and 0 <= value <= _MAX_FLOAT
        return "" if good else f"a number from 0 to {_MAX_FLOAT:g}"
    if isinstance(default, tuple):
        if not isinstance(value, tuple) or len(value) > _MAX_LENGTH:
            return f"a list of at most {_MAX_LENGTH}"
        element = default[0] if default else _ELEMENTS[name]
        if element is None:
            return ""
        problems = [problem for item in value if (problem := _problem(item, element, name))]
        return f"a list, each of it {problems[0]}" if problems else ""
    if isinstance(default, str):
        most = 100 * _MAX_TEXT if name == "overrides" else _MAX_TEXT  # values of 1,024 replicas
        good = isinstance(value, str) and value.isprintable() and len(value) <= most
        return "" if good else f"a line of at most {most} characters"
    return "a section of keys"


def difference(old: ConfigDict, new: ConfigDict) -> list[str]:
    """Lines `key: old -> new` of what differs.

    How it came about (`overrides`) and `UNTRAINED` do not count.
    """
    old, new, missing = flatten(old), flatten(new), "(not there)"
    keys = sorted((old.keys() | new.keys()) - {"overrides", *UNTRAINED})
    pairs = [(key, old.get(key, missing), new.get(key, missing)) for key in keys]
    return [f"{key}: {before} -> {after}" for key, before, after in pairs if before != after]


def check(config: ConfigDict, num_devices: int = 1) -> None:
    """Refuses what cannot run, before anything is built.

    Raises:
      UserError: naming the key and the nearest valid values.
    """
    check_values(config.to_dict(), default_config(config.family).to_dict())
    flat = flatten(config)
    for key in _AT_LEAST_1:
        if flat[key] < 1:
            raise UserError(f"{key}={flat[key]} must be at least 1: --config.{key}=1")
    for key, most in _AT_MOST.items():
        if flat[key] > most:
            raise UserError(f"{key}={flat[key]} must be at most {most}: --config.{key}={most}")
    inner = config.steps_per_dispatch
    for key in ("steps", "log_every", "eval_every", "checkpoint_every"):
        period = config[key]
        if period < 1 or period % inner:
            below, above = (
                max(period // inner, 1) * inner,
                (max(period, 0) // inner + 1) * inner,
            )
            nearest = f"{below} or {above}" if below != above else f"{below}"
            raise UserError(
                f"{key}={period} is not a multiple of steps_per_dispatch={inner}; "
                f"nearest valid: --config.{key}={nearest}"
            )
    parts = num_devices * config.optim.accumulate
    if config.optim.accumulate < 1 or config.batch_size % parts:
        below, above = (
            config.batch_size // parts * parts,
            (config.batch_size // parts + 1) * parts,
        )
        raise UserError(
            f"batch_size={config.batch_size} does not divide over {num_devices} devices with "
            f"optim.accumulate={config.optim.accumulate}; nearest valid: "
            f"--config.batch_size={below or above}" + (f" or {above}" if below else "")
        )
