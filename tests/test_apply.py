"""What is done with a trained model from the command line: `interpolate`, `complete` and so on."""

import dataclasses
import json
import re
from pathlib import Path

import cli
import jax
import numpy as np
import pytest
from PIL import Image

import gen_jax
from gen_jax import apply, commands, config, experiment
from gen_jax import cli as gen_jax_cli
from gen_jax import run as run_lib
from gen_jax.report import html


def train(workdir, name, *arguments):
    loaded = config.load_file(str(cli.ROOT / "experiments" / name))
    experiment.train(config.override(loaded, list(arguments)), workdir)
    return workdir


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("vae")
    return train(workdir, "quickstart.py:smoke", *cli.TINY[1:])


@pytest.fixture(scope="module")
def gan(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("gan")
    return train(workdir, "gan_digits.py:smoke", *cli.TINY_GAN[1:])


def launch(*arguments):
    flags, rest = gen_jax_cli.parse([*map(str, arguments)])
    return commands.run(flags, rest)


@pytest.mark.parametrize(
    ("arguments", "name", "shape"),
    [
        (("interpolate", "--steps=3"), "interpolate", (9, 8, 8, 1)),
        (("interpolate", "--seeds=0,1", "--steps=3"), "interpolate", (3, 8, 8, 1)),
        (("interpolate", "--classes=1,7", "--steps=2"), "interpolate", (2, 8, 8, 1)),
        (("edit", "--attribute=mass", "--examples=3,4"), "edit_mass", (2, 9, 8, 8, 1)),
        (("edit", "--towards=7", "--examples=3"), "edit_towards_7", (1, 9, 8, 8, 1)),
        (("complete", "--mask=left", "--draws=2"), "complete_left", (2, 8, 8, 8, 1)),
        (("restore", "--damage=blur", "--draws=1"), "restore_blur", (1, 8, 8, 8, 1)),
        (("detect", "--examples=1,2,3"), "detect", (3, 8, 8)),
    ],
)
def test_a_vae_is_applied(vae, capsys, arguments, name, shape):
    assert launch(*arguments, f"--workdir={vae}") == 0
    assert f"{name}.png" in capsys.readouterr().out
    x = np.load(vae / "samples" / f"{name}.npz")["x"]
    assert x.shape == shape and np.isfinite(x).all()
    assert Image.open(vae / "samples" / f"{name}.png").size[0] > 50


def test_samples_are_a_dataset(tmp_path_factory, capsys):
    workdir = tmp_path_factory.mktemp("cvae")
    train(workdir, "quickstart.py:smoke", *cli.TINY[1:], "--config.model.conditional=True")
    assert launch("augment", "--num=3", f"--workdir={workdir}") == 0
    assert "30 samples, 3 of each of 10 classes" in capsys.readouterr().out
    file = workdir / "samples" / "augment.npz"
    arrays = np.load(file)
    assert arrays["x"].dtype == np.uint8 and arrays["x"].shape == (30, 8, 8, 1)
    np.testing.assert_array_equal(np.bincount(arrays["label"]), [3] * 10)
    other = workdir.parent / "on_samples"
    train(
        other,
        "quickstart.py:smoke",
        *cli.TINY[1:],
        f"--config.data.name=arrays:{file}",
        "--config.data.num_validation=4",
    )
    assert gen_jax.load(other).spec.shape == (8, 8, 1)
    # Between the classes of a class-conditional model the decoder is given shares of both.
    assert launch("interpolate", "--classes=1,2,3,4", "--steps=3", f"--workdir={workdir}") == 0
    run, way = gen_jax.load(workdir), np.load(workdir / "samples" / "interpolate.npz")["x"]
    first = run.data("test")
    row = [int(np.flatnonzero(first["label"] == label)[0]) for label in (1, 2)]
    ends = run.interpolate(*first["x"][row], 3, label=[1, 2], path="spherical")
    np.testing.assert_allclose(way[:3], ends, atol=1e-4)


def test_a_class_conditional_model_is_edited_towards_a_class(gan):
    arguments = ("edit", "--towards=7", "--examples=3,4", f"--workdir={gan}")
    assert launch(*arguments) == 0
    moved = np.load(gan / "samples" / "edit_towards_7.npz")["x"]
    assert moved.shape == (2, 9, 8, 8, 1)
    run = gen_jax.load(gan)
    batch = run.experiment.dataset.batch("test", [3, 4])
    label = np.asarray(batch["label"])
    z = run.latents(np.asarray(batch["x"]), label)
    np.testing.assert_allclose(moved[:, 0], run.decode(z, label), atol=1e-4)
    np.testing.assert_allclose(moved[:, -1], run.decode(z, 7), atol=1e-4)


@pytest.mark.parametrize(
    ("name", "changes", "score", "shape", "told"),
    [
        # A flow has scores, and reconstructs all parts of a picture alike.
        (
            "experiments/nice_mnist.py:smoke",
            ("--config.data.name=digits", "--config.model.hidden=(16, 16)"),
            "nll",
            (2, 8, 8, 1),
            "Examples.",
        ),
        (
            cli.TINY_VQ[0].removeprefix("--config="),
            cli.TINY_VQ[1:],
            "relative_error",
            (2, 8, 8),
            "Above, examples; ",
        ),
    ],
)
def test_what_says_how_unusual_examples_are_says_where_if_it_can(name, changes, score, shape, told):
    loaded = config.load_file(str(cli.ROOT / name))
    built = experiment.build(config.override(loaded, list(changes)))
    run = run_lib.Run(Path(), built, built.subject(built.init()), 0)
    flags, _ = gen_jax_cli.parse(["detect", "--examples=3,4", "--workdir=unused"])
    found = apply.detect(run, flags, {})
    values = run.anomaly_scores(np.asarray(built.dataset.batch("test", [3, 4])["x"]))[score]
    assert found.caption.startswith(told)
    assert f"{score} {values[0]:.4g}, {values[1]:.4g}" in found.caption
    assert found.x.shape == shape and len(found.picture) > 8


def test_augment_needs_labels(vae, capsys):
    assert launch("augment", f"--workdir={vae}") == 1
    assert "config.model.conditional=True" in capsys.readouterr().err


def test_the_ends_of_a_way_are_the_reconstructions(vae):
    assert launch("interpolate", "--examples=2,5", "--steps=4", f"--workdir={vae}") == 0
    run = gen_jax.load(vae)
    ends = run.experiment.dataset.batch("test", [2, 5])["x"]
    x = np.load(vae / "samples" / "interpolate.npz")["x"]
    np.testing.assert_allclose(x[[0, -1]], run.reconstruct(np.asarray(ends)), atol=1e-4)
    assert Image.open(vae / "samples" / "interpolate_film.png").n_frames == 4


def test_what_is_known_stays(vae):
    run = gen_jax.load(vae)
    x = run.data("test", 4)["x"]
    known = np.indices((8, 8))[0] < 4
    drawn = run.complete(x, known)
    np.testing.assert_array_equal(drawn[:, known], x[:, known])
    np.testing.assert_array_equal(run.complete(x, "top"), drawn)


def test_a_gan_is_inverted_and_edited(gan):
    run = gen_jax.load(gan)
    # Of so few steps all its samples are grey; with these weights they differ.
    params = jax.tree.map(lambda w: 8 * w, run.subject.params)
    run = dataclasses.replace(run, subject=dataclasses.replace(run.subject, params=params))
    made = np.round(run.decode(np.random.default_rng(0).normal(size=(3, 4)), label=[1, 2, 3]))
    found = run.reconstruct(made, label=[1, 2, 3])
    spread = np.square(made - made.mean(0)).mean()
    assert np.square(found - made).mean() < 0.5 * spread
    assert run.interpolate(made[0], made[1], 3, label=1, path="spherical").shape == (3, 8, 8, 1)
    direction = run.direction("mass")
    assert direction.step.shape == (4,)
    moved = [run.move(made, direction, a, label=[1, 2, 3]).mean() for a in (-2, 2)]
    assert moved[0] < moved[1]


def test_pictures_of_the_users_own(vae, tmp_path):
    path = tmp_path / "own.png"
    Image.fromarray(np.uint8(np.tril(np.full((30, 40), 255)))).save(path)
    assert launch("complete", f"--images={path}", "--draws=1", f"--workdir={vae}") == 0
    assert np.load(vae / "samples" / "complete_top.npz")["x"].shape == (1, 1, 8, 8, 1)


def test_a_report_shows_what_was_done(vae):
    assert launch("edit", "--attribute=thickness", f"--workdir={vae}") == 0
    page = html.write_report(vae).read_text()
    assert "Applications" in page and "standard deviations more of thickness" in page
    rows = json.loads((vae / "samples" / "applications.json").read_text())
    assert len({row["name"] for row in rows}) == len(rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("edit",), "edit takes one of --attribute"),
        (("edit", "--attribute=age"), "no attribute 'age' is measured; those are: mass"),
        (("edit", "--noise=1"), "edit needs edit, which VAE lacks; .*Diffusion"),
        (("complete", "--mask=most"), "unknown mask 'most'"),
        (("complete", "--draws=0"), "--draws=0 must be from 1 to 100"),
        (("complete", "--label=3"), "not class-conditional; leave out --label"),
        (("restore", "--damage=rust"), "unknown damage 'rust'; valid are: noise"),
        (("interpolate", "--examples=0"), "two ends"),
        (("interpolate", "--examples=0,999"), "must be numbers from 0 to 296"),
        (("interpolate", "--steps=1"), "--steps=1 must be from 2 to 100"),
        (("interpolate", "--classes=0,12"), "no label 12"),
        (("interpolate", "--images=nothing.png,b.png"), "there is no file nothing.png"),
        (("translate",), "translate needs a model that makes pictures of other pictures"),
    ],
)
def test_bad_input_is_one_line(vae, capsys, arguments, message):
    assert launch(*arguments, f"--workdir={vae}") == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and re.search(message, error)


@pytest.fixture(scope="module")
def styles(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("adain")
    small = ("--config.model.widths=(4, 8)", "--config.data.num_validation=4")
    digits = "--config.data.name=unpaired:digits,digits"
    train(workdir, "adain_mnist_fashion_mnist.py:smoke", *small, digits)
    return workdir


def test_a_picture_is_given_the_style_of_another(styles, tmp_path):
    pictures = {}
    for name, picture in (("digit", np.eye(8)), ("style", np.ones((8, 8)))):
        pictures[name] = tmp_path / f"{name}.png"
        Image.fromarray(np.uint8(200 * picture)).save(pictures[name])
    own = (f"--images={pictures['digit']}", f"--style={pictures['style']}")
    assert launch("translate", *own, f"--workdir={styles}") == 0
    made = np.load(styles / "samples" / "translate.npz")["x"]
    run = gen_jax.load(styles)
    given = (np.uint8(200 * p).reshape(1, 8, 8, 1) for p in (np.eye(8), np.ones((8, 8))))
    source, style = map(run.spec.from_uint8, given)
    np.testing.assert_allclose(made[0], run.subject.in_style(source, style), atol=1e-3)
    both = f"--style={pictures['style']},{pictures['digit']}"
    assert launch("translate", own[0], both, f"--workdir={styles}") == 0
    two = np.load(styles / "samples" / "translate.npz")["x"]
    assert two.shape == (2, 1, 8, 8, 1)
    np.testing.assert_allclose(two[0], made[0], atol=1e-4)
    np.testing.assert_allclose(two[1], run.subject.in_style(source, source), atol=1e-3)
    assert launch("translate", "--examples=0,1", f"--workdir={styles}") == 0
    assert np.load(styles / "samples" / "translate.npz")["x"].shape == (2, 8, 8, 1)


def test_style_has_no_way_back(styles, capsys):
    assert launch("translate", "--back", f"--workdir={styles}") == 1
    assert "--back needs translate_back, which StyleTransfer lacks" in capsys.readouterr().err
