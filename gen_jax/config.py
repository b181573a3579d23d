"""Experiment configs: the keys that all of them have, how a file is loaded, how one is changed.

A config is a flat, locked `ml_collections.ConfigDict`. An experiment file decorates one
function with `@experiment(family)`; it is given the defaults below and changes what differs.
"""

import difflib
import importlib.util
import itertools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from gen_jax import evaluation, families, files
from gen_jax import settings as settings_lib
from gen_jax.errors import UserError
from gen_jax.settings import Section, Setting

# The keys that every experiment has, beside those of its family and of the metrics.
RUN = {
    "experiment": Setting("", "the experiment file and its argument"),
    "overrides": Setting(
        (),
        "what the command line changed",
        element="",
        max_length=100_000,  # values of 1,024 replicas
        affects="nothing",
    ),
    "family": Setting("", "the model family"),
    "seed": Setting(0, "of parameters, order and noise", per_replica=True),
    "num_replicas": Setting(
        1,
        "independent runs side by side in one program, with seeds seed, seed + 1, ...",
        minimum=1,
        maximum=1_024,
    ),
    "replica_values": Setting(
        (), "what else differs between them: ((KEY, (VALUE, VALUE, ...)), ...); see docs/sweeps.md"
    ),
    "steps": Setting(10_000, "of training", minimum=1, smoke=20),
    "batch_size": Setting(
        128, "over all devices and processes", minimum=1, maximum=2**20, smoke=16
    ),
    # The host's part of a step (dispatch, indices) is paid once in K. The periods below are
    # multiples of K, as the host sees the state only then.
    "steps_per_dispatch": Setting(
        50, "K: so many steps run as one program", minimum=1, smoke=5, affects="nothing"
    ),
    "log_every": Setting(500, "steps between rows of metrics.jsonl", smoke=10, affects="nothing"),
    "eval_every": Setting(2_500, "steps between validations", smoke=10, affects="nothing"),
    "checkpoint_every": Setting(2_500, "steps between checkpoints", smoke=10, affects="nothing"),
    "keep_checkpoints": Setting(
        2, "how many of the newest checkpoints stay", minimum=1, affects="nothing"
    ),
    "keep_best": Setting(
        "",
        "a figure of the validations, as elbo, whose best checkpoint is kept too; see --step=best",
        affects="nothing",
    ),
    "patience": Setting(
        0,
        "the run ends after so many validations in a row without a better keep_best; 0: never",
        affects="nothing",
    ),
    "init_from": Setting(
        "",
        "a trained run's workdir, whose networks this one starts from; see docs/runs.md",
        smoke="",
    ),
    "trackers": Setting(
        ("tensorboard",),
        "what is told beside metrics.jsonl: tensorboard, wandb (Weights & Biases), mlflow",
        element="",
        affects="nothing",
    ),
}
DATA = {
    "name": Setting("digits", "the dataset; README.md lists them"),
    "data_dir": Setting(
        "",
        "of prepared datasets; if empty, $TFDS_DATA_DIR or ~/tensorflow_datasets",
        affects="nothing",
    ),
    "manual_dir": Setting(
        "",
        "of files that were fetched by hand; if empty, $GEN_JAX_MANUAL_DIR",
        affects="nothing",
    ),
    "preprocess": Setting("dynamic_binarization", "what the model sees of the stored data"),
    "num_validation": Setting(
        1_000, "examples of train that become validation; of a folder's files a tenth", smoke=32
    ),
    "split_seed": Setting(0, "of the choice of these"),
    "resident_limit_mb": Setting(
        2_048, "larger training sets stream from the host", affects="nothing"
    ),
    "simulations": Setting(
        10_000, "of a simulator, for training and validation", minimum=10, maximum=10**8, smoke=200
    ),
    "window": Setting(
        65, "elements of an example, of sequences", minimum=2, maximum=2**20, smoke=16
    ),
    "context": Setting(
        1,
        "of sequences: so many elements before it, at least, has each that a figure is of",
        minimum=1,
        maximum=2**20,
        smoke=1,
        affects="figures",
    ),
    "rate": Setting(
        0.0,
        "samples of sound a second, which is resampled, 0: as it is; frames of music, 0: 4",
        maximum=1e6,
    ),
    "image_size": Setting(0, "of the square that images become; 0: as stored", maximum=8_192),
    "crop": Setting(True, "whether that is cut from the middle, or the whole squeezed"),
    "grayscale": Setting(False, "whether images of a folder lose their colours"),
    "background": Setting("white", "the colour of what is transparent in an image"),
    "label": Setting(
        "", "which of a dataset's labels; if empty, its supervised one; none: without"
    ),
    "anomalies": Setting(
        "", "a dataset whose test split is to be told from this one's", affects="figures"
    ),
}
OPTIM = {
    "name": Setting("adam", "adam, sgd or rmsprop"),
    "lr": Setting(1e-3, "learning rate, the largest of a schedule", per_replica=True),
    "b1": Setting(0.9, "decay of the mean gradient"),
    "b2": Setting(0.999, "decay of its square"),
    "eps": Setting(1e-8, "is added to the root of that"),
    "weight_decay": Setting(0.0, "decoupled"),
    "clip_norm": Setting(0.0, "the largest norm of a network's gradient; 0: any"),
    "normalize": Setting(False, "whether the gradient of each array is divided by its norm"),
    "final_b2": Setting(0.0, "b2 goes to it along a cosine; 0: it stays"),
    "schedule": Setting("constant", "of the learning rate: constant or cosine"),
    "final_lr": Setting(0.0, "where the cosine ends", per_replica=True),
    "decay_steps": Setting(0, "when it ends, and b2's; 0: with the run"),
    "warmup_steps": Setting(0, "the learning rate rises linearly over so many"),
    "ema_half_life": Setting(0.0, "steps, of the parameters' moving average; 0: there is none"),
    "ema_burn_in_steps": Setting(0, "the half-life rises from 0 over so many"),
    "accumulate": Setting(1, "gradients of this many parts of the batch are averaged", minimum=1),
}
SAMPLE = {
    "batch_size": Setting(
        1_000, "samples drawn at once, which bounds the memory", minimum=1, affects="nothing"
    ),
}


def sections(family: str) -> Section:
    """Every key of a config of a family: its default, meaning and bounds.

    Raises:
      UserError: if there is no such family.
    """
    definition = families.definition(family)
    keys = {
        **RUN,
        "data": DATA,
        "optim": OPTIM,
        "eval": evaluation.settings(definition),
        "sample": {**SAMPLE, **definition.sample_options},
        "model": definition.settings,
    }
    return {**keys, "family": Setting(family, RUN["family"].meaning)}


def default_config(family: str) -> ConfigDict:
    """A config with the default of every key."""
    return settings_lib.defaults(sections(family))


Axis = Sequence[str] | Mapping[str, Any]


def experiment(family: str, **axes: Axis) -> Callable:
    """Turns `build(config, **values)`, which edits the defaults, into a file's `get_config`.

    The file's string argument (`--config=experiments/F.py:ARGUMENT`) is a variant, `smoke`, or
    both with a comma between them.

    Args:
      family: the model family.
      **axes: in what variants differ: the words of each axis, or words and the value that `build`
        is given for each. A variant is called by one word of each axis, joined by "_", where an
        empty word leaves no trace; without an argument all axes have their first word.
    """
    variants: dict[str, dict[str, Any]] = {}
    words = [
        dict(axis) if isinstance(axis, Mapping) else {w: w for w in axis} for axis in axes.values()
    ]
    for chosen in itertools.product(*(axis.items() for axis in words)):
        name = "_".join(word for word, _ in chosen if word)
        assert name not in variants, f"two variants are called {name!r}"
        variants[name] = {axis: value for axis, (_, value) in zip(axes, chosen, strict=True)}
    default = next(iter(variants))

    def values(argument: str) -> dict[str, Any]:
        """What each axis is in a variant, or in several words with a comma between them."""
        chosen = [word for word in argument.split(",") if word and word != "smoke"]
        if len(chosen) > 1 or any(word not in variants for word in chosen):
            names = [name for name in variants if name]
            wrong = next((word for word in chosen if word not in variants), argument)
            close = difflib.get_close_matches(wrong, names, 3)
            valid = f"valid are: {', '.join([*names, 'smoke'])}"
            hint = f"did you mean {' or '.join(close)}?" if close else valid
            raise UserError(f"unknown config argument {argument!r}; {hint}")
        return variants[chosen[0] if chosen else default]

    def decorate(build: Callable[..., None]) -> Callable[[str], ConfigDict]:
        def get_config(argument: str = "") -> ConfigDict:
            config = default_config(family)
            build(config, **values(argument))
            if "smoke" in argument.split(","):
                settings_lib.shrink(config, sections(family))
            return config.lock()

        get_config.variants = tuple(name for name in variants if name)
        get_config.values = values
        return get_config

    return decorate


def load_file(path_and_argument: str) -> ConfigDict:
    """Reads `experiments/F.py` or `experiments/F.py:ARGUMENT`. The file is run as Python."""
    path, argument = split_argument(path_and_argument)
    config = experiment_function(path)(argument)
    with config.unlocked():
        config.experiment = path_and_argument
    return config


def split_argument(path_and_argument: str) -> tuple[str, str]:
    """`FILE.py:ARGUMENT` -> both; the colon of a drive, as in `C:\\F.py`, is part of the file."""
    drive = re.match(r"[A-Za-z]:(?=[\\/])", path_and_argument)
    start = drive.end() if drive else 0
    path, _, argument = path_and_argument[start:].partition(":")
    return path_and_argument[:start] + path, argument


def own_experiments() -> list[Path]:
    """The project's experiment files: those of its repository, or those in its wheel."""
    return sorted((files.own_folder() / "experiments").glob("*.py"))


def experiment_function(path: str) -> Callable[[str], ConfigDict]:
    """The `get_config` of an experiment file; its `variants` are the arguments that it takes."""
    function = getattr(load_module(path), "get_config", None)
    if function is None:
        raise UserError(f"{path} has no get_config(); see experiments/quickstart.py for one")
    return function


def load_module(path: str) -> ModuleType:
    """An experiment file; `experiments/F.py` that is not here is the project's own.

    Raises:
      UserError: if there is no such file, or it is no Python.
    """
    own = {f"experiments/{file.name}": str(file) for file in own_experiments()}
    if not Path(path).is_file() and path in own:
        path = own[path]
    if not Path(path).is_file():
        given = Path(path).parent
        there = [str(file) for file in sorted(given.glob("*.py"))]
        # A bare name is one of the project's own.
        names = there if there and given != Path() else list(own)
        close = difflib.get_close_matches(path, names, 1)
        hint = f"did you mean {close[0]}?" if close else f"valid are: {', '.join(names) or 'none'}"
        raise UserError(f"no experiment file {path}; {hint}")
    module_spec = importlib.util.spec_from_file_location("experiment", path)
    if module_spec is None:
        raise UserError(f"{path} is not an experiment; name a Python file such as vae_mnist.py")
    module = importlib.util.module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
    except SyntaxError as error:
        raise UserError(f"{error.filename}:{error.lineno}: {error.msg}") from None
    return module


def override(config: ConfigDict, arguments: Sequence[str]) -> ConfigDict:
    """Applies `--config.KEY=VALUE` arguments in place, with the types that the config has."""
    values, argv = flags.FlagValues(), ["launch.py", *arguments]
    for argument in arguments:
        key = argument.partition("=")[0].removeprefix("--config.")
        if isinstance(config.get(key), ConfigDict):
            raise UserError(
                f"{argument}: {key} is a section; set its keys one by one, as "
                f"--config.{key}.{next(iter(config[key]))}=VALUE"
            )
    try:
        config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=argv)
        values(argv)
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(_override_message(config, arguments, error)) from None
    config.overrides = (*config.overrides, *arguments)
    return config


def as_arguments(overrides: Mapping[str, Any]) -> list[str]:
    """`--config.KEY=VALUE` for each."""
    return [f"--config.{key}={value}" for key, value in overrides.items()]


def override_trained(config: ConfigDict, arguments: Sequence[str]) -> ConfigDict:
    """`override` of a trained run's config, which refuses what would make it another run.

    Raises:
      UserError: naming the first argument that would.
    """
    keys = settings_lib.flat(sections(config.family))
    for argument in arguments:
        key, _, value = argument.removeprefix("--config.").partition("=")
        moved = key == "data.name" and without_place(value) == without_place(config.data.name)
        if key in keys and keys[key].affects == "training" and not moved:
            raise UserError(
                f"{argument}: only --config.eval.*, --config.sample.* and what else training does "
                "not read, as where data are, may change now"
            )
    return override(config, arguments)


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

    if not isinstance(given, dict) or not isinstance(given.get("family"), str):
        raise UserError("it is no config")
    keys = sections(given["family"])
    check_values(tuples(given), keys)
    return ConfigDict(fill(tuples(given), settings_lib.defaults(keys).to_dict())).lock()


def check_values(given: dict, keys: Section, prefix: str = "") -> None:
    """Refuses keys that there are none of, and values unlike the default in type or size.

    Raises:
      UserError: naming the key.
    """
    for key, value in given.items():
        name, entry = prefix + key, keys.get(key)
        network = key.isidentifier() and not hasattr(ConfigDict, key) and key not in keys
        if prefix == "optim." and network and isinstance(value, dict):  # its own settings
            check_values(value, keys, f"{name}.")
        elif key not in keys:
            close = difflib.get_close_matches(key, list(keys), 1)
            hint = f"; did you mean {prefix}{close[0]}?" if close else ""
            raise UserError(f"there is no config key {name!r}{hint}")
        elif not isinstance(entry, Setting):
            if not isinstance(value, dict):
                raise UserError(f"{name}={_short(value)} must be a section of keys")
            check_values(value, entry, f"{name}.")
        elif problem := entry.type_problem(value):
            raise UserError(f"{name}={_short(value)} must be {problem}")


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) < 60 else f"{shown[:60]}..."


def without_place(name: str) -> str:
    """A dataset's name without where its files are: `folder:/a/b` -> `folder:`."""
    kind, colon, _ = name.partition(":")
    return kind + colon


def difference(old: ConfigDict, new: ConfigDict) -> list[str]:
    """Lines `key: old -> new` of what makes one run another, what matters most first.

    More steps than before are none, where nothing else in the run depends on how many there are.
    """
    keys = settings_lib.flat(sections(new.family))
    free = {key for key, setting in keys.items() if setting.affects != "training"}
    before, after, missing = _identity(old), _identity(new), "(not there)"
    pairs = [
        (key, before.get(key, missing), after.get(key, missing))
        for key in sorted((before.keys() | after.keys()) - free, key=_importance)
    ]
    lines = [f"{key}: {value} -> {now}" for key, value, now in pairs if value != now]
    if new.steps < old.steps:
        lines.append(f"steps: {old.steps} -> {new.steps}")
    elif new.steps > old.steps and any(".decay_steps" in line for line in lines):
        lines = [line for line in lines if ".decay_steps" not in line]
        lines.append(
            f"steps: {old.steps} -> {new.steps}, and its schedule ends with the run: add "
            f"--config.optim.decay_steps={old.steps} to go on as it ended"
        )
    return lines


def _importance(key: str) -> tuple[int, str]:
    order = ("family", "data", "model", "optim", "batch_size", "seed")
    part = key.partition(".")[0]
    return (order.index(part) if part in order else len(order), key)


def _identity(config: ConfigDict) -> dict:
    """The flat values that make a run what it is, in a form in which equal runs are equal."""
    flat = flatten(config)
    del flat["steps"]
    flat["data.name"] = without_place(config.data.name)
    optim = config.optim.to_dict()
    for name in ["", *(key for key, value in optim.items() if isinstance(value, dict))]:
        own = {**optim, **(optim[name] if name else {})}
        scheduled = own["schedule"] != "constant" or own["final_b2"]
        ends = (own["decay_steps"] or config.steps) if scheduled else 0
        flat[f"optim.{name}.decay_steps" if name else "optim.decay_steps"] = ends
    return flat


def check(config: ConfigDict, num_devices: int = 1) -> None:
    """Refuses what cannot run, before anything is built.

    Raises:
      UserError: naming the key and the nearest valid values.
    """
    keys = sections(config.family)
    check_values(config.to_dict(), keys)
    settings_lib.check(config, keys)
    if config.patience and not config.keep_best:
        raise UserError(
            f"patience={config.patience} is of the figure that --config.keep_best=FIGURE names, "
            "and it names none"
        )
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
