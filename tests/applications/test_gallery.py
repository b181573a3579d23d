"""The pictures of a run, with what a report says below them."""

import json

import cli
import numpy as np
import pytest
from markupsafe import escape
from PIL import Image

from gen_jax import config as config_lib
from gen_jax import experiment
from gen_jax.applications import gallery
from gen_jax.evaluation import attributes
from gen_jax.report import html


def context(*arguments):
    path = str(cli.ROOT / "experiments" / "vae_digits.py")
    config = config_lib.override(config_lib.load_file(f"{path}:{arguments[0]}"), arguments[1:])
    built = experiment.build(config)
    return built.context(built.subject(built.init()), "validation")


@pytest.fixture(scope="module")
def plane():
    return context("plane,smoke", "--config.model.hidden=(8,)")


def test_pictures_and_their_captions(plane, tmp_path):
    written = gallery.write(plane, tmp_path, 30)
    names = ["samples", "reconstructions", "interpolation", "latent_map", "latent_walk"]
    assert [path.stem for path in written] == names
    index = json.loads((tmp_path / "samples" / gallery.INDEX).read_text())
    assert [row["name"] for row in index] == names
    (tmp_path / "config.json").write_text(config_lib.to_json(config_lib.default_config("vae")))
    text = html.write_report(tmp_path).read_text()
    places = [text.index(escape(row["caption"])) for row in index]
    assert places == sorted(places) and "Of step" not in text
    measured = {"step": 1_020, "dataset": "digits", "split": "test", "metrics": {}}
    (tmp_path / "evaluation.json").write_text(json.dumps(measured))
    text = html.write_report(tmp_path).read_text()
    assert text.count("Of step 30.") == len(index), "the figures are of another checkpoint"
    (tmp_path / "evaluation.json").write_text(json.dumps(measured | {"step": 30}))
    assert "Of step" not in html.write_report(tmp_path).read_text()


def test_what_a_model_or_data_lack_is_left_out(tmp_path):
    plain = context("autoencoder,smoke", "--config.model.hidden=(8,)")
    written = gallery.write(plain, tmp_path, 0)
    assert [path.stem for path in written] == ["reconstructions", "interpolation", "latent_walk"]
    assert gallery.sample_picture(plain) is None


def test_reconstructions_stand_below_their_examples(plane, tmp_path):
    paths = {path.stem: path for path in gallery.write(plane, tmp_path, 0)}
    picture = np.asarray(Image.open(paths["reconstructions"]))
    batch = plane.dataset.batch("validation", np.arange(8))
    first = picture[2 : 2 + 56, 2 : 2 + 56, 0]
    np.testing.assert_array_equal(
        first[::7, ::7], plane.subject.spec.to_uint8(batch["x"])[0, ..., 0]
    )


def test_a_walk_is_along_the_principal_directions(plane, tmp_path):
    picture = gallery.latent_walk(plane)
    cell = picture.shape[0] // gallery.WALK
    assert picture.shape == (gallery.WALK * cell, gallery.WALK * cell, 3)
    x = plane.dataset.batch("validation", np.arange(len(plane.examples)))
    z = np.asarray(plane.subject.encode(x).mean)
    mean, axes = attributes.principal_axes(z)
    # Upper right: up to the end along both.
    corner = plane.subject.decode(np.float32(mean + 2.5 * axes.sum(0))[None])
    found = picture[:cell, -cell:, 0][:: cell // 8, :: cell // 8]
    expected = plane.subject.spec.to_uint8(corner)[0, ..., 0]
    np.testing.assert_allclose(np.int32(found), np.int32(expected), atol=1)
    # The report has sliders for it, and none without.
    gallery.write(plane, tmp_path, 0)
    (tmp_path / "config.json").write_text(config_lib.to_json(config_lib.default_config("vae")))
    assert html.write_report(tmp_path).read_text().count('type="range"') == 2


def test_a_class_conditional_model_has_a_column_a_class():
    model = context("conditional,smoke", "--config.model.hidden=(8,)")
    picture = gallery.sample_picture(model)
    assert picture.shape == (8 * 58 + 2, 10 * 58 + 2, 3)
    x = model.subject.spec.to_uint8(model.subject.sample(80))
    np.testing.assert_array_equal(picture[2:58, 60:116, 0][::7, ::7], x[1, ..., 0])


def test_captions_of_a_stranger_name_no_other_file(plane, tmp_path):
    gallery.write(plane, tmp_path, 0)
    index = tmp_path / "samples" / gallery.INDEX
    (tmp_path / "secret.png").write_bytes((tmp_path / "samples" / "samples.png").read_bytes())
    index.write_text(json.dumps([{"name": "../secret", "caption": "<script>"}]))
    (tmp_path / "config.json").write_text(config_lib.to_json(config_lib.default_config("vae")))
    text = html.write_report(tmp_path).read_text()
    assert "<script>" not in text and "no pictures yet" in text


def test_a_density_of_the_plane_is_drawn_with_its_latents(tmp_path):
    workdir = tmp_path / "run"
    cli.launch("train", "--config=experiments/flow_plane.py:smoke", f"--workdir={workdir}")
    names = [row["name"] for row in json.loads((workdir / "samples" / gallery.INDEX).read_text())]
    assert names[:2] == ["samples", "density"]
    picture = np.asarray(Image.open(workdir / "samples" / "density.png"))
    assert picture.shape[1] > 1.5 * picture.shape[0] and picture.std() > 10
