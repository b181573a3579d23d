"""Every experiment file trains, evaluates, samples and reports, shrunk by `:smoke`."""

import json
import re
from pathlib import Path

import cli
import jax
import pytest

import gen_jax
from gen_jax import config as config_lib
from gen_jax import experiment, families
from gen_jax.families.base import Sampler
from gen_jax.workdir import claim
from gen_jax.workdir.claim import read_config
from gen_jax.workdir.logs import read_metrics

FOLDER = cli.ROOT / "experiments"
FILES = sorted(path.name for path in FOLDER.glob("*.py"))


VARIANTS = [
    f"{name}:{variant}"
    for name in FILES
    for variant in config_lib.experiment_function(str(FOLDER / name)).variants
]


# Where all layers, or all elements, would take a minute, and those of one kind are alike.
_SMALL = ["--config.data.name=digits"]
_ONE_RESOLUTION = ["--config.model.multipliers=(1,)"]
_NARROW = [
    f"--config.model.{network}_widths=(8, 8, 8)" for network in ("generator", "discriminator")
]
SHALLOW = {
    "pixel_transformer_mnist.py": _SMALL,
    "pixelsnail_mnist.py": _SMALL,
    "maf_mnist.py": _SMALL,
    # The tests' own MNIST has 16 examples of a class.
    "one_class_mnist.py": ["--config.data.num_validation=4"],
    "latent_diffusion_mnist.py": ["--config.data.name=gaussians"],
    "cyclegan_mnist_usps.py": [
        "--config.data.name=unpaired:digits,digits",
        "--config.model.network=unet",
        "--config.model.widths=(8, 8)",
    ],
    "music_jsb.py": ["--config.data.name=chords", "--config.model.joint=8"],
    "vdvae_mnist.py": ["--config.model.blocks=(0, 1)"],
    "vae_vq_fashion_mnist.py": [*_SMALL, "--config.model.residual_blocks=1"],
    "vae_conv_fashion_mnist.py": _SMALL,
    "pixelcnn_mnist.py": _SMALL,
    "pixelrnn_mnist.py": _SMALL,
    "diffusion_digits.py": _ONE_RESOLUTION,
    "diffusion_mnist.py": [*_SMALL, *_ONE_RESOLUTION, "--config.eval.judge=digits"],
    "d3pm_mnist.py": [*_SMALL, *_ONE_RESOLUTION],
    "vdm_mnist.py": [*_SMALL, *_ONE_RESOLUTION],
    "flow_digits.py": ["--config.model.channel_layers=(1,)"],
    "adain_mnist_fashion_mnist.py": ["--config.model.widths=(8, 8)"],
    "gan_fashion_mnist.py": _NARROW,
    "gan_stacked_mnist.py": _NARROW,
}


@pytest.fixture
def data(tiny_idx, monkeypatch):
    monkeypatch.chdir(cli.ROOT)
    monkeypatch.setenv("GEN_JAX_MANUAL_DIR", str(tiny_idx))
    # One folder for the module's tests: each dataset is prepared once.
    monkeypatch.setenv("TFDS_DATA_DIR", str(tiny_idx.parent / "tfds"))


def _path_through_the_code(name):
    """A smoke run's config without what is tested elsewhere: the optimiser, and the set's name.

    Of a number it matters whether it is 0, and of a list of them how many there are.
    """
    config = config_lib.flatten(config_lib.load_file(f"{FOLDER / name}:smoke"))
    left_out = [k for k in config if k.startswith("optim.") or k in ("experiment", "data.name")]

    def kind(value):
        if isinstance(value, tuple):
            return [kind(each) for each in value]
        return bool(value) if isinstance(value, int | float) else value

    return json.dumps({key: kind(value) for key, value in config.items() if key not in left_out})


# Their parts are those of others.
LONG = (
    *("nice_mnist.py", "pixelcnn_fashion_mnist.py", "realnvp_mnist.py"),
    *("consistency_digits.py", "consistency_mnist.py", "diffusion_fashion_mnist.py"),
    *("flow_matching_fashion_mnist.py", "latent_diffusion_mnist.py", "d3pm_text.py"),
    "uva_flow_mnist.py",
)
# One of those that are alike belongs to the quick tests.
FIRST = {path: name for name in reversed(FILES) for path in [_path_through_the_code(name)]}
SMOKES = [
    name
    if name in FIRST.values() and name not in LONG
    else pytest.param(name, marks=pytest.mark.long)
    for name in FILES
]


@pytest.mark.parametrize("name", SMOKES)
def test_smoke(name, data, tmp_path, capfd):
    import launch

    workdir = tmp_path / "run"
    at = f"--workdir={workdir}"
    train = ["train", f"--config=experiments/{name}:smoke", at, *SHALLOW.get(name, ())]
    assert launch.main(train) == 0
    config = read_config(workdir)
    rows = [row for row in read_metrics(workdir) if "examples_per_second" in row]
    assert [row["step"] for row in rows] == sorted({config.log_every, config.steps})
    assert any(metric.startswith("loss/") for metric in rows[0])
    assert launch.main(["evaluate", at]) == 0
    metrics = json.loads((workdir / "evaluation.json").read_text())["metrics"]
    for metric in metrics.values():
        assert {"value", "stderr", "unit", "kind", "n", "spec"} <= set(metric)
    family = gen_jax.load(workdir).subject.family
    generates = families.has(family, Sampler)
    capfd.readouterr()
    assert launch.main(["sample", at, "--num=3"]) == (0 if generates else 1)
    if generates:
        # A prior that is fitted after training draws nothing before.
        while_training = not config.eval.fitted_components
        picture = workdir / "samples" / f"step_{config.steps:08}.png"
        shows = config.data.name != "grammar" and not config.data.name.startswith(("text", "lines"))
        assert picture.exists() == (while_training and shows)
        shown = "samples.png" if shows else "samples.txt"
        assert (workdir / "samples" / shown).exists()
        assert (workdir / "samples" / "seed_0.npz").exists()
    else:
        told = capfd.readouterr().err
        assert f"{type(family).__name__} lacks; families that have it: Autoregressive, " in told
        assert "Flow, DequantizedFlow, GAN, PairedTranslation, UnpairedTranslation, " in told
    assert launch.main(["report", at]) == 0
    assert next(iter(metrics)) in (workdir / "report.html").read_text()
    # So many programs in one process would run it out of memory maps, of which Linux has a limit.
    jax.clear_caches()


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_can_be_built(name, data):
    config = config_lib.load_file(f"experiments/{name},smoke")
    config.data.num_validation = min(config.data.num_validation, 4)
    built = experiment.build(config)
    state = built.template()
    assert set(state.params) == {network for turn in built.family.turns for network in turn}


def test_one_row_serves_both_names_of_a_cell():
    one, other = (
        config_lib.flatten(config_lib.load_file(str(FOLDER / name)))
        for name in ("vae_mnist.py", "vae_iwae_mnist.py:vae1")
    )
    assert {key for key in one | other if one.get(key) != other.get(key)} == {"experiment"}


@pytest.mark.parametrize("name", FILES)
def test_docstring_has_the_command(name):
    text = Path(cli.ROOT / "experiments" / name).read_text()
    doc = text.split('"""')[1]
    assert re.search(r"python launch\.py", doc)
    assert len(text.splitlines()) < 100
    config = config_lib.load_file(f"experiments/{name}") if Path.cwd() == cli.ROOT else None
    config = config or config_lib.load_file(str(cli.ROOT / "experiments" / name))
    config_lib.check(config)


def test_default_workdir_is_named_after_the_experiment():
    assert claim.default_workdir("experiments/x.py") == Path("runs/x")
    assert claim.default_workdir("experiments/x.py:a,smoke") == Path("runs/x-a-smoke")
