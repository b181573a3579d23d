"""Sound and music in numbers and in files."""

import io
import wave

import numpy as np
import pytest
from scipy.io import wavfile

from gen_jax import sound
from gen_jax.errors import UserError


def test_mu_law_is_finest_near_silence_and_comes_back():
    codes = np.arange(256)
    np.testing.assert_array_equal(sound.to_mu_law(sound.from_mu_law(codes)), codes)
    x = np.linspace(-1, 1, 4_001)
    error = np.abs(sound.from_mu_law(sound.to_mu_law(x)) - x)
    assert error.max() < 0.03 and error[np.abs(x) < 0.01].max() < 4e-4
    # By the formula of G.711, at one value.
    y = np.log(1 + 255 * 0.1) / np.log(256)
    assert sound.to_mu_law(np.array([0.1])) == round((y + 1) / 2 * 255)
    np.testing.assert_array_equal(sound.to_mu_law(np.array([-2.0, 2.0])), [0, 255])


def test_a_wav_file_comes_back(tmp_path):
    x = np.float32(0.8 * np.sin(np.arange(500) / 7))
    (tmp_path / "a.wav").write_bytes(sound.wav(x, 8_000))
    found, rate = sound.read_wav(tmp_path / "a.wav")
    assert rate == 8_000
    np.testing.assert_allclose(found, x, atol=1e-4)


def test_a_tone_keeps_its_pitch_when_it_is_resampled():
    time = np.arange(8_000) / 16_000
    found = sound.resample(np.float32(np.sin(2 * np.pi * 440 * time)), 16_000, 6_000)
    assert len(found) == 3_000
    spectrum = np.abs(np.fft.rfft(found))
    assert np.argmax(spectrum) * 6_000 / len(found) == pytest.approx(440, abs=2)
    frequency, _, power = sound.spectrogram(found, 6_000)
    assert frequency[power.mean(1).argmax()] == pytest.approx(440, abs=30)


def _write(path, width, data, channels=1):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(8_000)
        file.writeframes(data)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda path: _write(path, 2, b""), "has no samples"),
        (lambda path: _write(path, 3, bytes(300)), "does not have samples of 16 bits"),
        (lambda path: _write(path, 1, bytes(300)), "does not have samples of 16 bits"),
        (lambda path: path.write_bytes(b"RIFF and no more"), "convert it"),
        (lambda path: path.write_bytes(b""), "convert it"),
        (lambda path: path.write_text("words"), "convert it"),
    ],
)
def test_what_is_no_sound_is_refused(tmp_path, make, message):
    make(tmp_path / "a.wav")
    with pytest.raises(UserError, match=message):
        sound.read_wav(tmp_path / "a.wav")


def test_of_two_channels_the_first_is_read(tmp_path):
    _write(tmp_path / "a.wav", 2, np.int16([[100, -7], [200, -7]]).tobytes(), channels=2)
    found, _ = sound.read_wav(tmp_path / "a.wav")
    np.testing.assert_allclose(found * 2**15, [100, 200])


FRAMES = np.zeros((6, 88), np.uint8)
FRAMES[0:4, 39] = 1
FRAMES[2:6, 43] = 1
FRAMES[5, 39] = 1


def test_notes_are_keys_that_are_held():
    assert sound.notes(FRAMES) == [(39, 0, 4), (43, 2, 6), (39, 5, 6)]


@pytest.mark.parametrize("rate", [2.0, 4.0, 7.5])
def test_midi_comes_back_as_frames(tmp_path, rate):
    (tmp_path / "a.mid").write_bytes(sound.midi(FRAMES, rate))
    np.testing.assert_array_equal(sound.read_midi(tmp_path / "a.mid", rate), FRAMES)
    # Read at another rate it has the same notes for the same time.
    twice = sound.read_midi(tmp_path / "a.mid", 2 * rate)
    np.testing.assert_array_equal(twice, FRAMES.repeat(2, 0))


def test_midi_that_has_nothing_is_refused(tmp_path):
    (tmp_path / "a.mid").write_bytes(sound.midi(np.zeros((4, 88)), 4.0))
    with pytest.raises(UserError, match="no notes"):
        sound.read_midi(tmp_path / "a.mid", 4.0)
    (tmp_path / "b.mid").write_bytes(b"MThd no more")
    with pytest.raises(UserError, match="no MIDI file"):
        sound.read_midi(tmp_path / "b.mid", 4.0)


def test_music_sounds_at_its_pitch():
    frames = np.zeros((4, 88))
    frames[:, 48] = 1  # A4
    rate, played = wavfile.read(io.BytesIO(sound.wav(sound.render(frames, 4.0, 8_000), 8_000)))
    spectrum = np.abs(np.fft.rfft(played[: rate // 2]))
    assert np.argmax(spectrum) * 2 == pytest.approx(440, abs=3)
