"""Sound: wav files, mu-law codes, spectrograms, and music as files and as sound.

A sound is float32 [T] from -1 to 1. Music is frames of keys, 0 or 1, [T, 88], of the piano's lowest
A (MIDI's 21) upwards.
"""

import functools
import io
import math
import warnings
from pathlib import Path

import numpy as np

from gen_jax.errors import UserError

LEVELS = 256  # of mu-law codes
KEYS, LOWEST_KEY = 88, 21
_TICKS = 480  # of a quarter note in a MIDI file
_VELOCITY = 80


def to_mu_law(sound: np.ndarray) -> np.ndarray:
    """A sound -> codes uint8, 256 of them, finer near 0.

    ITU-T G.711's companding with mu = 255 (van den Oord et al. 2016, arXiv 1609.03499, 2.2).
    """
    mu = LEVELS - 1
    y = np.sign(sound) * np.log1p(mu * np.abs(np.clip(sound, -1, 1))) / math.log1p(mu)
    return np.floor((y + 1) / 2 * mu + 0.5).astype(np.uint8)


def from_mu_law(codes: np.ndarray) -> np.ndarray:
    """The inverse, up to half a step of the code."""
    mu = LEVELS - 1
    y = 2 * np.float32(codes) / mu - 1
    return (np.sign(y) * np.expm1(np.abs(y) * math.log1p(mu)) / mu).astype(np.float32)


def read_wav(path: Path) -> tuple[np.ndarray, int]:
    """A wav file of 16 bits: its first channel, and its samples a second.

    Raises:
      UserError: for a file that is no such thing, or is empty.
    """
    from scipy.io import wavfile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # chunks that it skips
            rate, samples = wavfile.read(path)
    except (ValueError, OSError, EOFError, TypeError, IndexError, KeyError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{path} is no sound wav file ({reason}); convert it to 16 bits") from None
    except Exception as error:  # scipy raises struct's own error for a header that ends early
        raise UserError(f"{path} is damaged ({error}); convert it anew") from None
    # scipy reads 24 bits as 32.
    if samples.dtype != np.int16:
        raise UserError(f"{path} does not have samples of 16 bits; convert it to that")
    samples = samples if samples.ndim == 1 else samples[:, 0]
    if not len(samples):
        raise UserError(f"{path} has no samples; leave it out")
    return samples.astype(np.float32) / 2**15, int(rate)


def resample(sound: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """A sound of `rate` samples a second with `wanted` of them: polyphase filtering by scipy."""
    if rate == wanted:
        return sound
    from scipy import signal

    common = math.gcd(rate, wanted)
    return signal.resample_poly(sound, wanted // common, rate // common).astype(np.float32)


def wav(sound: np.ndarray, rate: float) -> bytes:
    """A wav file of 16 bits."""
    from scipy.io import wavfile

    file = io.BytesIO()
    wavfile.write(file, round(rate), np.int16(np.round(np.clip(sound, -1, 1) * (2**15 - 1))))
    return file.getvalue()


def spectrogram(sound: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frequencies [F] in Hz, times [S] in seconds, and power [F, S] in dB, at least -80 of its
    largest."""
    from scipy import signal

    size = min(256, len(sound))
    frequency, time, power = signal.spectrogram(sound, rate, nperseg=size, noverlap=size * 3 // 4)
    power = 10 * np.log10(np.maximum(power, 1e-12))
    return frequency, time, np.maximum(power, power.max() - 80)


def render(frames: np.ndarray, frame_rate: float, rate: int = 16_000) -> np.ndarray:
    """Music as sound: keys as harmonics that fade, at `rate` samples a second."""
    length = round(len(frames) / frame_rate * rate)
    sound = np.zeros(length + rate, np.float32)  # the last notes ring for a second
    for key, start, stop in notes(frames):
        first = round(start / frame_rate * rate)
        tone = _tone(key, (stop - start) / frame_rate, rate)
        end = min(first + len(tone), len(sound))
        sound[first:end] += tone[: end - first]
    return sound / max(1.0, np.abs(sound).max())


@functools.lru_cache(maxsize=1_000)  # a piece has few keys and few lengths
def _tone(key: int, held: float, rate: int) -> np.ndarray:
    """A key that is held for so many seconds, and a quarter of a second after it."""
    time = np.arange(round(held * rate) + rate // 4) / rate
    frequency = 440 * 2 ** ((key + LOWEST_KEY - 69) / 12)
    tone = sum(
        np.sin(2 * np.pi * frequency * h * time) / h**2
        for h in range(1, 5)
        if frequency * h < rate / 2
    )
    envelope = np.minimum(time / 0.01, 1) * np.exp(-1.5 * time)
    return np.float32(tone * envelope * np.clip(1 - (time - held) / 0.2, 0, 1))


def notes(frames: np.ndarray) -> list[tuple[int, int, int]]:
    """Keys that are held: (key, first frame, frame after the last), in the order of time.

    Frames do not say whether a key is struck again: one that stays down is one note.
    """
    held = np.pad(np.asarray(frames, np.int8), ((1, 1), (0, 0)))
    change = np.diff(held, axis=0)
    found = []
    for key in range(held.shape[1]):
        starts, stops = (np.flatnonzero(change[:, key] == sign) for sign in (1, -1))
        found += [(key, int(a), int(b)) for a, b in zip(starts, stops, strict=True)]
    return sorted(found, key=lambda note: (note[1], note[0]))


def midi(frames: np.ndarray, frame_rate: float) -> bytes:
    """Music as a MIDI file."""
    import mido

    per_frame = _TICKS // 2  # a frame is an eighth note, of the tempo that gives its length
    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=round(2e6 / frame_rate))])
    events = []
    for key, start, stop in notes(frames):
        events += [(start, 1, key), (stop, 0, key)]
    before = 0
    for frame, on, key in sorted(events):
        kind, time = ("note_on" if on else "note_off"), (frame - before) * per_frame
        track.append(mido.Message(kind, note=key + LOWEST_KEY, velocity=_VELOCITY, time=time))
        before = frame
    track.append(mido.MetaMessage("end_of_track", time=(len(frames) - before) * per_frame))
    file = io.BytesIO()
    mido.MidiFile(ticks_per_beat=_TICKS, tracks=[track]).save(file=file)
    return file.getvalue()


def read_midi(path: Path, frame_rate: float) -> np.ndarray:
    """A MIDI file as frames [T, 88], uint8: the keys that are down in the middle of each.

    Raises:
      UserError: for a file that is none, or has no notes of a piano.
    """
    import mido

    try:
        file = mido.MidiFile(path)
        messages = list(file)
    except Exception as error:  # mido raises whatever parsing meets
        raise UserError(f"{path} is no MIDI file ({error or type(error).__name__})") from None
    seconds, events = 0.0, []
    for message in messages:
        seconds += message.time
        if message.type in ("note_on", "note_off") and 0 <= message.note - LOWEST_KEY < KEYS:
            down = message.type == "note_on" and message.velocity > 0
            events.append((seconds, message.note - LOWEST_KEY, down))
    frames = np.zeros((round(seconds * frame_rate), KEYS), np.uint8)
    if not events or not len(frames):
        raise UserError(f"{path} has no notes of a piano's 88 keys; give another")
    middle = (np.arange(len(frames)) + 0.5) / frame_rate
    for key in {key for _, key, _ in events}:
        own = [(time, down) for time, of, down in events if of == key]
        last = np.searchsorted([time for time, _ in own], middle, side="right") - 1
        state = np.array([down for _, down in own])
        frames[:, key] = np.where(last >= 0, state[last], False)
    return frames
