"""The page of a run: what it asks a run for, and that it is served to this machine alone."""

import asyncio
import http.client
import re
import shutil
import subprocess
import threading

import cli
import explorer_server
import numpy as np
import pytest
import waiting
from PIL import Image

import gen_jax
from gen_jax import config, experiment
from gen_jax.explorer import work as work_lib
from gen_jax.explorer.work import Work, bounded
from gen_jax.workdir import claim

page = pytest.importorskip("gen_jax.explorer.page", reason="NiceGUI is not installed")


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    loaded = config.load_file(str(cli.ROOT / "experiments" / "quickstart.py:smoke"))
    experiment.train(config.override(loaded, list(cli.TINY[1:])), workdir)
    return workdir


@pytest.fixture(scope="module")
def work(workdir):
    return Work(gen_jax.load(workdir))


@pytest.mark.parametrize(
    ("value", "expected"),
    [(3, 3), ("2.5", 2.5), (-1, 0), (99, 5), (None, 1), ("x", 1), (float("nan"), 1), ([], 1)],
)
def test_what_a_page_sends_is_bounded(value, expected):
    assert bounded(value, 0, 5, 1) == expected


def test_samples_are_no_more_than_the_page_may_ask_for(work, monkeypatch):
    asked = []

    def sample(self, num, **options):
        asked.append((num, options))
        return np.zeros((num, 8, 8, 1), np.float32)

    monkeypatch.setattr(type(work.run), "sample", sample)
    work.samples(10**9, -5, "no such class", {"temperature": 1e9, "batch_size": 1, "steps": 10**9})
    assert asked == [(work_lib.MOST_SAMPLES, {"label": None, "seed": 0, "temperature": 2.0})]


def test_sliders_move_what_they_are_of(work):
    directions, named = work.sliders()
    assert directions == ["direction 1", "direction 2"] and "mass" in named
    start = work.start(example=3)
    still = work.moved(start, {}, None)
    x = work.run.data("test")["x"][3:4]
    own = np.float64(work.image(work.run.reconstruct(x)))
    np.testing.assert_allclose(np.float64(still), own, atol=1)
    fitted = work.run.data("train", min(500, len(work.run.experiment.dataset.splits["train"])))
    direction = work.run.direction("mass", fitted["x"], method="regression")
    moved = work.run.decode(work.run.latents(x) + 2 * direction.step)
    np.testing.assert_allclose(
        np.float64(work.moved(start, {"mass": 2}, None)), np.float64(work.image(moved)), atol=2
    )
    # Beyond its end a slider has no effect.
    assert np.array_equal(
        work.moved(start, {"mass": 1e9}, None), work.moved(start, {"mass": 3}, None)
    )


def test_a_place_on_the_map_is_that_of_an_example(work):
    labels, places = work.places()
    assert len(labels) == len(places) and places.shape[1] == 2
    _, words = work.nearest(places[5])
    row = int(re.search(r"example (\d+)", words)[1])
    x = work.run.data("test")["x"][row : row + 1]
    z = work.run.latents(x)
    # With two latents the plane is all of them, and what is decoded there is the reconstruction.
    np.testing.assert_allclose(
        np.float64(work.at(places[5], None)), np.float64(work.image(work.run.decode(z))), atol=1
    )


def test_a_morph_goes_from_one_to_the_other(work):
    frames = work.morph(0, 7, "spherical")
    x = work.run.data("test")["x"]
    for frame, number in ((frames[0], 0), (frames[-1], 7)):
        own = work.image(work.run.reconstruct(x[number : number + 1]))
        np.testing.assert_allclose(np.float64(frame), np.float64(own), atol=1)


def test_a_drawing_is_told_of(work):
    ink = np.zeros((8, 8), np.float32)
    page.stroke(ink, (0.1, 0.5), (0.9, 0.5))
    found = work.drawing(ink, "top", None, 0)
    assert {"seen", "reconstructed", "completed"} <= {*found}
    assert any("takes it for" in line for line in found["words"])
    assert any("of the test examples" in line for line in found["words"])
    seen = np.asarray(found["seen"])
    kept = np.asarray(found["completed"])
    np.testing.assert_array_equal(seen[: len(seen) // 2 - 2], kept[: len(seen) // 2 - 2])


def test_a_stroke_is_a_line_as_wide_as_a_pen():
    ink = np.zeros((28, 28), np.float32)
    page.stroke(ink, (0.5, 0.25), (0.5, 0.75))
    assert ink.max() == 1 and ink[14, 14] == 1 and ink[13, 14] == 1
    assert ink[14, 2] == 0 and ink[5].max() == 0
    once = ink.copy()
    page.stroke(ink, (0.5, 0.25), (0.5, 0.75))
    np.testing.assert_array_equal(ink, once)
    page.stroke(ink, (-5, 9), (5, -9))  # what is outside ends at an edge
    assert np.isfinite(ink).all()


def test_requests_of_one_run_wait_for_one_another(work, monkeypatch):
    inside, together, most = threading.Lock(), [0], [0]

    def sample(self, num, **options):
        with inside:
            together[0] += 1
            most[0] = max(most[0], together[0])
        started.wait(0.01)
        with inside:
            together[0] -= 1
        return np.zeros((num, 8, 8, 1), np.float32)

    started = threading.Event()
    monkeypatch.setattr(type(work.run), "sample", sample)
    threads = [threading.Thread(target=work.samples, args=(1, seed, None, {})) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


def test_of_requests_that_come_while_one_runs_the_newest_is_served(monkeypatch):
    served, gate = [], None

    async def in_background(work):
        await gate.wait()
        return work()

    async def all_of_it():
        nonlocal gate
        gate = asyncio.Event()
        newest = page.Newest(served.append)
        first = asyncio.create_task(newest(lambda: 0))
        await asyncio.sleep(0)
        for number in range(1, 5):
            await newest(lambda number=number: number)
        gate.set()
        await first

    monkeypatch.setattr(page, "_in_background", in_background)
    asyncio.run(all_of_it())
    assert served == [0, 4]


def test_tabs_are_those_that_a_model_has(work):
    names = [tab.name for tab in page.TABS if tab.suits(work)]
    assert names == ["Samples", "Latents", "Map", "Morph", "Draw"]


def test_a_run_that_neither_draws_nor_decodes_has_no_tabs(tmp_path):
    loaded = config.load_file(str(cli.ROOT / "experiments" / "classifier_digits.py:smoke"))
    experiment.train(loaded, tmp_path)
    work = Work(gen_jax.load(tmp_path))
    assert not [tab.name for tab in page.TABS if tab.suits(work)]


def test_a_run_that_still_trains_has_its_newest_checkpoint_and_says_so(work, workdir):
    assert "trains" not in work.card()
    with claim.lock(workdir):
        still = Work(gen_jax.load(workdir))
        assert still.run.step == work.run.step and "step" in still.card()
        assert "a process still trains it" in still.card()


def test_a_run_that_trains_and_has_nothing_yet_is_told_so(work, workdir, tmp_path):
    """Before its first checkpoint."""
    for name in ("config.json", "data.json"):
        shutil.copy(workdir / name, tmp_path)
    with claim.lock(tmp_path):
        done = subprocess.run(
            explorer_server.command((tmp_path,), cli.free_port()),
            cwd=cli.ROOT,
            env=explorer_server.environment(),
            capture_output=True,
            text=True,
            timeout=waiting.HANGS,
        )
    assert done.returncode == 1
    config = work.run.config
    first = min(config.checkpoint_every, config.steps)
    assert f"trains there writes the first at step {first:,}" in done.stderr


def test_a_picture_is_an_address():
    assert work_lib.data_address(Image.new("L", (2, 2))).startswith("data:image/png;base64,")


def test_the_page_is_served_to_this_machine_alone(workdir):
    with explorer_server.explorer(workdir) as (port, process):
        found = {}

        def answered(host):
            connection = http.client.HTTPConnection("127.0.0.1", port)
            try:
                connection.request("GET", "/", headers={"Host": host})
            except ConnectionRefusedError:
                return False  # it is about to listen
            answer = connection.getresponse()
            found[host] = answer.status, answer.read().decode()
            return True

        for host in (f"127.0.0.1:{port}", "elsewhere.example"):
            waiting.until(lambda host=host: answered(host), process)
        assert found[f"127.0.0.1:{port}"][0] == 200
        assert "quickstart.py" in found[f"127.0.0.1:{port}"][1]
        assert found["elsewhere.example"][0] == 400
        taken = subprocess.run(
            explorer_server.command((workdir,), port),
            cwd=cli.ROOT,
            env=explorer_server.environment(),
            capture_output=True,
            text=True,
        )
        assert taken.returncode == 1 and f"port {port} is taken" in taken.stderr


def test_a_drawing_of_nothing_is_told_so(work):
    found = work.drawing(np.zeros((8, 8), np.float32), "top", None, 0)
    assert found == {
        "words": ["Nothing is drawn yet: press the mouse on the black square and move."]
    }
