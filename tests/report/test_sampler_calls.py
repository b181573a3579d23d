"""The picture of FID against calls is of what was measured, and of what compares."""

import json

import numpy as np
import pytest

from gen_jax import pictures
from gen_jax.errors import UserError
from gen_jax.report import charts, sampler_calls


def write(folder, judge="digits-cnn@1", samplers=("ddim", "heun")):
    folder.mkdir()
    metrics = {
        f"fid@sampler={sampler},calls={calls}": {
            "value": 100 / calls,
            "details": {"judge": judge, "fake": 600, "calls": calls},
        }
        for sampler in samplers
        for calls in (5, 10, 100)
    }
    metrics["fid_floor"] = {"value": 1.5}
    (folder / "evaluation.json").write_text(json.dumps({"dataset": "digits", "metrics": metrics}))
    return folder


def test_lines_are_those_of_the_samplers_of_each_run(tmp_path, monkeypatch):
    drawn = {}

    def against_calls(lines, title, floor):
        drawn.update(lines=lines, title=title, floor=floor)
        return real(lines, title, floor)

    real = charts.against_calls
    monkeypatch.setattr(charts, "against_calls", against_calls)
    one, two = write(tmp_path / "one"), write(tmp_path / "two", samplers=("own",))
    picture = sampler_calls.picture([one, two])
    assert picture.dtype == np.uint8 and picture.shape[-1] == 3
    assert list(drawn["lines"]) == ["one, ddim", "one, heun", "two, own"]
    np.testing.assert_allclose(drawn["lines"]["one, heun"], [[5, 20], [10, 10], [100, 1]])
    assert drawn["floor"] == 1.5 and drawn["title"] == "digits, digits-cnn@1, 600 samples"


def test_what_does_not_compare_is_a_line(tmp_path):
    one = write(tmp_path / "one")
    with pytest.raises(UserError, match="judged differently"):
        sampler_calls.picture([one, write(tmp_path / "other", judge="x")])
    with pytest.raises(UserError, match="--metrics=fid_at_calls"):
        sampler_calls.picture([tmp_path / "nothing"])


def test_an_animation_has_all_frames(tmp_path):
    from PIL import Image

    frames = [np.full((4, 6, 3), 40 * i, np.uint8) for i in range(5)]
    path = tmp_path / "film.png"
    path.write_bytes(pictures.animated_png(frames))
    with Image.open(path) as image:
        assert image.n_frames == 5 and image.size == (6, 4)
        image.seek(3)
        assert np.asarray(image.convert("RGB")).max() == 120
