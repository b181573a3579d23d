"""Samples of text, sound and music: files, pictures, prompts, the report."""

import io
import json

import cli
import numpy as np
import pytest
from scipy.io import wavfile

from gen_jax import sound
from gen_jax.applications import media
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError

TEXT = DataSpec("tokens", (6,), vocabulary=("\n", " ", "a", "b"), medium="text")
LINES = DataSpec("tokens", (6,), vocabulary=("\n", " ", "a", "b"), medium="lines")
SOUND = DataSpec("bytes", (400,), 256, medium="sound", rate=4_000.0)
MUSIC = DataSpec("binary", (8, 88), 2, medium="music", rate=4.0)


def test_lines_end_at_their_break_and_texts_do_not():
    x = np.array([[2, 3, 0, 2, 2, 0], [3, 1, 2, 3, 2, 2]])
    assert media.files_of(LINES, x, "s") == {"s.txt": b"ab\nb abaa\n"}
    (text,) = media.files_of(TEXT, x, "s").values()
    assert text == b"--- 0 ---\nab\naa\n\n\n--- 1 ---\nb abaa\n"
    assert media.files_of(TEXT, x[:1], "s")["s.txt"] == b"ab\naa\n"
    assert media.picture(TEXT, x) is None


def test_sounds_become_files_that_hold_them():
    codes = np.random.default_rng(0).integers(0, 256, (2, 400))
    found = media.files_of(SOUND, codes, "s")
    assert list(found) == ["s_0.wav", "s_1.wav"]
    rate, samples = wavfile.read(io.BytesIO(found["s_1.wav"]))
    assert rate == 4_000
    np.testing.assert_array_equal(sound.to_mu_law(samples / (2**15 - 1)), codes[1])
    picture = media.picture(SOUND, codes)
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.std() > 5


def test_music_becomes_notes_and_what_they_sound_like(tmp_path):
    frames = np.zeros((1, 8, 88))
    frames[0, 2:6, 40] = 1
    found = media.files_of(MUSIC, frames, "s")
    assert list(found) == ["s_0.mid", "s_0.wav"]
    (tmp_path / "s.mid").write_bytes(found["s_0.mid"])
    np.testing.assert_array_equal(sound.read_midi(tmp_path / "s.mid", 4.0), frames[0])
    _, samples = wavfile.read(io.BytesIO(found["s_0.wav"]))
    assert np.abs(samples[:5_000]).max() == 0 < np.abs(samples[6_000:]).max()
    # As a prompt it comes back.
    prompt = media.prompt(MUSIC, str(tmp_path / "s.mid"), dict)
    np.testing.assert_array_equal(prompt, frames[0])
    assert media.picture(MUSIC, frames).std() > 2


def test_a_wav_file_is_a_prompt_at_the_models_rate(tmp_path):
    time = np.arange(800) / 8_000
    wave = 0.5 * np.sin(2 * np.pi * 200 * time)
    (tmp_path / "a.wav").write_bytes(sound.wav(wave, 8_000))
    codes = media.prompt(SOUND, str(tmp_path / "a.wav"), dict)
    assert len(codes) == 400
    np.testing.assert_allclose(sound.from_mu_law(codes)[20:380], wave[::2][20:380], atol=0.03)


@pytest.mark.parametrize(
    ("spec", "given", "message"),
    [
        (TEXT, "abc", "--prompt has 'c', which the model does not know; it knows:  ab"),
        (TEXT, "", "--prompt is empty"),
        (SOUND, "nothing.wav", r"must be FILE\.wav"),
        (MUSIC, "nothing.wav", r"must be FILE\.mid"),
        (DataSpec("binary", (8, 8, 1), 2), "abc", "models of text, sound and music"),
    ],
)
def test_a_prompt_that_the_model_cannot_be_given_is_refused(spec, given, message):
    with pytest.raises(UserError, match=message):
        media.prompt(spec, given, dict)


RUNS = {
    "text": ["--config=experiments/char_transformer.py:smoke"],
    "sound": ["--config=experiments/wavenet_notes.py:smoke"],
    "music": ["--config=experiments/music_jsb.py:smoke", "--config.data.name=chords"],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Trained for a moment, by medium."""
    folder = tmp_path_factory.mktemp("runs")
    for medium, arguments in RUNS.items():
        cli.launch("train", *arguments, f"--workdir={folder / medium}")
    return folder


@pytest.mark.parametrize(
    ("medium", "prompt", "endings"),
    [
        ("text", "The fox", {".npz", ".txt"}),
        ("sound", "test:0:9", {".npz", ".wav", ".png"}),
        ("music", "test:1:4", {".npz", ".wav", ".mid", ".png"}),
    ],
)
def test_a_run_samples_from_a_prompt_and_reports(runs, medium, prompt, endings):
    workdir = f"--workdir={runs / medium}"
    before = {*(runs / medium / "samples").iterdir()}
    done = cli.launch("sample", workdir, "--num=2", f"--prompt={prompt}", "--options.length=5")
    new = {*(runs / medium / "samples").iterdir()} - before
    assert {path.suffix for path in new} == endings
    (npz,) = (path for path in new if path.suffix == ".npz")
    x = np.load(npz)["x"]
    known = len(prompt) if medium == "text" else int(prompt.split(":")[2])
    assert x.shape[:2] == (2, known + 5)
    np.testing.assert_array_equal(x[0, :known], x[1, :known])
    if medium == "text":
        assert done.stdout.count("The fox") == 2
    cli.launch("report", workdir)
    page = (runs / medium / "report.html").read_text()
    assert page.count("<audio") == {"text": 0, "sound": 4, "music": 3}[medium]
    assert ('<pre class="prose">' in page) == (medium == "text")
    index = json.loads((runs / medium / "samples" / "pictures.json").read_text())
    assert index[0]["name"] == "samples" and index[0]["files"]


def test_bad_prompts_are_one_line(runs):
    for medium, prompt in [
        ("text", "§"),
        ("sound", "test:9999:3"),
        ("music", "test:0:99"),
        ("music", "x.mid"),
    ]:
        done = cli.launch("sample", f"--workdir={runs / medium}", f"--prompt={prompt}", code=1)
        assert done.stderr.startswith("error: --prompt")
        assert done.stderr.count("\n") == 1


def test_a_run_that_is_no_better_than_counting_says_so(runs):
    cli.launch("evaluate", f"--workdir={runs / 'text'}")
    found = json.loads((runs / "text" / "evaluation.json").read_text())
    figures = found["metrics"]
    assert figures["nats_per_character"]["value"] > figures["ngram_nats_per_character"]["value"]
    assert found["alarms"][0]["kind"] == "no better than counting"
    assert figures["nats_per_character"]["n"] == figures["ngram_nats_per_character"]["n"]


def test_a_report_follows_no_links(runs, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("nobody's business")
    text = runs / "text" / "samples" / "samples.txt"
    before = text.read_bytes()
    text.unlink()
    text.symlink_to(secret)
    try:
        cli.launch("report", f"--workdir={runs / 'text'}")
        assert "nobody" not in (runs / "text" / "report.html").read_text()
    finally:
        text.unlink()
        text.write_bytes(before)
