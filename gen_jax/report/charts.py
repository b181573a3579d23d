"""Charts by matplotlib: points in the plane, runs against one another."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from gen_jax import sound


def scatter(points: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Samples [N, 2] in the plane over data [M, 2], on the same axes."""
    figure, axes = _figure(6, 6)
    axes.scatter(*reference.T, s=8, c="#c8c8c8", label="data", linewidths=0)
    axes.scatter(*points.T, s=4, c="#1f6feb", alpha=0.5, label="samples", linewidths=0)
    low, high = reference.min(0), reference.max(0)
    margin = 0.15 * (high - low).max()
    axes.set_xlim(low[0] - margin, high[0] + margin)
    axes.set_ylim(low[1] - margin, high[1] + margin)
    axes.set_aspect("equal")
    axes.legend(loc="upper right", frameon=False)
    return np.asarray(Image.open(io.BytesIO(_png(figure))).convert("RGB"))


def rate_distortion(runs: dict[str, dict[str, np.ndarray]], title: str) -> np.ndarray:
    """Runs in the plane of distortion and rate, by name, each with a "curve", a "point" or both.

    A curve is [P, 3], its rows (distortion, rate, beta), and a point is [2], both in nats. Along
    a grey line the negative ELBO, their sum, is what it is where the line meets the axis below.
    """
    figure, axes = _figure(7.2, 4.8)
    import matplotlib

    colors = matplotlib.colormaps["viridis"](np.linspace(0.1, 0.85, len(runs)))
    curves = [run["curve"] for run in runs.values() if "curve" in run]
    for (name, run), color in zip(runs.items(), colors, strict=True):
        axes.plot([], [], "o", ms=7, color=color, label=name)
        if "curve" in run:
            axes.plot(*run["curve"][:, :2].T, "-o", ms=3, lw=1.4, color=color)
        if "point" in run:
            axes.plot(*run["point"], "o", ms=9, color=color, mec="white", mew=1.4, zorder=3)
    axes.margins(0.1)
    axes.set_ylim(bottom=0)
    (left, right), (_, high) = axes.get_xlim(), axes.get_ylim()
    step = np.diff(axes.get_xticks()[:2]).item()
    for level in np.arange(left // step * step, right + high, step):
        axes.plot([level, level - high], [0, high], color="#e4e8ec", lw=0.8, zorder=0)
    axes.set(xlim=(left, right), ylim=(0, high))
    # Below the curve, as a run's own point lies above it; but not over the axis or one another.
    soft = {"fontsize": 8, "color": "#59636e", "textcoords": "offset points"}
    below, above = ((-4, -3), "right", "top"), ((4, 3), "left", "bottom")
    last = np.full(2, np.inf)
    for *at, beta in curves[0][::-1] if curves else ():
        place = axes.transData.transform(at) / (50, 16)  # in sizes of a label
        if np.abs(place - last).max() > 1:
            offset, side, end = above if at[1] < 0.06 * high else below
            axes.annotate(f"β = {beta:g}", at, offset, ha=side, va=end, **soft)
            last = place
    axes.set_xlabel("distortion (nats)", fontsize=9)
    axes.set_ylabel("rate (nats)", fontsize=9)
    axes.set_title(title, fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.legend(frameon=False, fontsize=8, loc="upper right")
    return np.asarray(Image.open(io.BytesIO(_png(figure))).convert("RGB"))


def against_calls(
    lines: dict[str, np.ndarray], title: str, floor: float | None = None
) -> np.ndarray:
    """FID against calls of the network, both in logarithms: by name, rows (calls, FID) [P, 2].

    The floor is a line across.
    """
    figure, axes = _figure(6.4, 4.2)
    import matplotlib

    colors = matplotlib.colormaps["viridis"](np.linspace(0.1, 0.85, len(lines)))
    for (name, points), color in zip(lines.items(), colors, strict=True):
        axes.plot(*points.T, "-o", ms=4, lw=1.4, color=color, label=name)
    if floor is not None:
        axes.axhline(floor, color="#8c959f", lw=1, ls="--", label="floor: real examples")
    axes.set_xscale("log")
    axes.set_yscale("log")
    calls = sorted({int(x) for points in lines.values() for x in points[:, 0]})
    # Of numbers that are near one another the last.
    shown = [c for c, after in zip(calls, [*calls[1:], np.inf], strict=True) if after > 1.35 * c]
    axes.set_xticks(shown, map(str, shown))
    axes.minorticks_off()
    low, high = axes.get_ylim()
    levels = [m * 10.0**e for e in range(-2, 6) for m in (1, 2, 5) if low <= m * 10.0**e <= high]
    axes.set_yticks(levels, [f"{level:g}" for level in levels])
    axes.set_xlabel("calls of the network for each sample", fontsize=9)
    axes.set_ylabel("FID", fontsize=9)
    axes.set_title(title, fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.legend(frameon=False, fontsize=8)
    return np.asarray(Image.open(io.BytesIO(_png(figure))).convert("RGB"))


def density(
    log_density: np.ndarray, extent: tuple[float, float, float, float], lines: list[np.ndarray]
) -> np.ndarray:
    """A density in the plane, and what becomes of straight lines of latents, where there are any.

    Args:
      log_density: nats, [rows, columns], the first row lowest.
      extent: left, right, bottom, top.
      lines: points [P, 2] of each.
    """
    figure, axes = _figure(4.6 * (2 if lines else 1), 4.4, 1, 2 if lines else 1)
    axes = np.atleast_1d(axes)
    shown = {"extent": extent, "origin": "lower", "cmap": "viridis", "aspect": "equal"}
    axes[0].imshow(np.exp(log_density), **shown)
    axes[0].set_title("density", fontsize=9, loc="left")
    for line in lines:
        axes[1].plot(*line.T, lw=0.6, color="#1f6feb")
    if lines:
        axes[1].set(xlim=extent[:2], ylim=extent[2:], aspect="equal")
        axes[1].set_title("a grid of latents", fontsize=9, loc="left")
    for axis in axes:
        axis.tick_params(labelsize=7)
    return np.asarray(Image.open(io.BytesIO(_png(figure))).convert("RGB"))


def colors_of(count: int) -> list[str]:
    """A colour for each of `count` labels, as #rrggbb; behind twenty they begin anew."""
    import matplotlib.colors

    palette = matplotlib.colormaps["tab10" if count <= 10 else "tab20"]
    return [matplotlib.colors.to_hex(palette(number % palette.N)) for number in range(count)]


def labelled(
    labels: np.ndarray, places: np.ndarray, span: float, colors: Sequence[str]
) -> np.ndarray:
    """Points [N, 2] with the colours of their labels [N], uint8 [S, S, 3].

    The picture reaches from -span to span in both directions up to its edges, so that a place in it
    is one in the plane.
    """
    figure, axes = _figure(6, 6)
    axes.set_position([0, 0, 1, 1])
    axes.set_axis_off()
    axes.scatter(*places.T, s=14, c=[colors[label] for label in labels], linewidths=0)
    axes.set(xlim=(-span, span), ylim=(-span, span))
    return np.asarray(Image.open(io.BytesIO(_png(figure))).convert("RGB"))


def spectrograms(sounds: list[np.ndarray], rate: float) -> np.ndarray:
    """Sounds [T], each as its wave above its spectrogram, in dB below its loudest."""
    figure, axes = _figure(3.2 * len(sounds), 4.2, 2, len(sounds))
    axes = np.reshape(axes, (2, -1))
    for (wave, power), own in zip(axes.T, sounds, strict=True):
        wave.plot(np.arange(len(own)) / rate, own, lw=0.4, color="#1f6feb")
        wave.set(ylim=(-1, 1), xlim=(0, len(own) / rate), xticks=[])
        frequency, time, decibels = sound.spectrogram(own, rate)
        power.pcolormesh(time, frequency / 1_000, decibels, cmap="magma", shading="nearest")
        power.set_xlim(0, len(own) / rate)
        power.set_xlabel("seconds", fontsize=8)
    axes[0, 0].set_ylabel("amplitude", fontsize=8)
    axes[1, 0].set_ylabel("kHz", fontsize=8)
    for axis in axes.reshape(-1):
        axis.tick_params(labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[:, 1:].reshape(-1):
        axis.set_yticklabels([])
    return np.asarray(Image.open(io.BytesIO(_png(figure))).convert("RGB"))


def piano_rolls(pieces: list[np.ndarray], rate: float) -> np.ndarray:
    """Pieces of music, frames [T, 88], one below another: keys that are held over time."""
    from matplotlib.collections import PolyCollection

    figure, axes = _figure(8, 1.9 * len(pieces), len(pieces), 1)
    for axis, frames in zip(np.atleast_1d(axes), pieces, strict=True):
        # All at once: an untrained model plays thousands.
        bars = [_bar(*note, rate) for note in sound.notes(frames)]
        axis.add_collection(PolyCollection(bars, color="#1f6feb"))
        octaves = np.arange(24, 109, 12)
        axis.set_yticks(octaves, [f"C{octave // 12 - 1}" for octave in octaves])
        axis.grid(axis="y", alpha=0.3)
        axis.set(xlim=(0, len(frames) / rate), ylim=(30, 96))
        axis.tick_params(labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    np.atleast_1d(axes)[-1].set_xlabel("seconds", fontsize=8)
    return np.asarray(Image.open(io.BytesIO(_png(figure))).convert("RGB"))


def _bar(key: int, start: int, stop: int, rate: float) -> list[tuple[float, float]]:
    """The corners of a note in a piano roll."""
    low, high = key + sound.LOWEST_KEY - 0.5, key + sound.LOWEST_KEY + 0.5
    left, right = start / rate, stop / rate
    return [(left, low), (right, low), (right, high), (left, high)]


def times(lines: dict[str, list[tuple[int, float]]]) -> bytes:
    """Seconds against lengths, on logarithmic axes, as a PNG: points (length, seconds) by name.

    The names of lines that are of one thing begin alike, up to a comma; those have one colour.
    """
    import matplotlib

    figure, axes = _figure(8.4, 4.2)
    things = list(dict.fromkeys(name.partition(",")[0] for name in lines))
    colors = matplotlib.colormaps["tab10"].colors
    styles = ("-o", "--s", ":^")
    ways = list(dict.fromkeys(name.partition(", ")[2] for name in lines))
    for name, points in lines.items():
        thing, _, way = name.partition(", ")
        style = styles[ways.index(way) % len(styles)]
        color = colors[things.index(thing)]
        axes.plot(*zip(*sorted(points), strict=True), style, color=color, label=name)
    axes.set(xscale="log", yscale="log")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)
    axes.set_xlabel("elements of a sample", fontsize=9)
    axes.set_ylabel("seconds a sample", fontsize=9)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    return _png(figure)


def parallel_coordinates(points: dict[str, list], values: list[float], metric: str) -> bytes:
    """Runs as lines through their settings and what came of them, as a PNG.

    `points` has a list with an entry for each run under each setting's name.
    """
    import matplotlib

    figure, axes = _figure(2.4 * len(points) + 2.4, 4.2)
    axis_of = [_scale(column) for column in (*points.values(), values)]
    heights = np.array([height for height, _ in axis_of])
    order = np.argsort(values)
    colors = matplotlib.colormaps["viridis"](heights[-1])
    for run in order:
        axes.plot(heights[:, run], "-o", ms=3, lw=1.3, color=colors[run], alpha=0.85)
    for place, (_, ticks) in enumerate(axis_of):
        axes.axvline(place, color="#8c959f", lw=0.8, zorder=0)
        for height, label in ticks:
            axes.annotate(
                label,
                (place, height),
                (6, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
            )
    axes.set_xticks(range(len(axis_of)), [*points, metric], fontsize=9)
    axes.set_yticks([])
    axes.set_xlim(-0.2, len(axis_of) - 0.6)
    axes.spines[:].set_visible(False)
    return _png(figure)


def against(points: dict[str, list], values: list[float], metric: str) -> bytes:
    """What came of runs against each of their settings, as a PNG."""
    figure, axes = _figure(3.4 * len(points), 3.0, 1, len(points))
    for axis, (name, column) in zip(np.atleast_1d(axes), points.items(), strict=True):
        heights, ticks = _scale(column)
        axis.plot(heights, values, "o", ms=5, color="#1f6feb", alpha=0.8)
        axis.set_xticks([height for height, _ in ticks], [label for _, label in ticks])
        axis.set_xlabel(name, fontsize=9)
        axis.set_xlim(-0.08, 1.08)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    np.atleast_1d(axes)[0].set_ylabel(metric, fontsize=9)
    return _png(figure)


def _scale(column: list) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """Values to [0, 1], and labels along it.

    Numbers that span more than a factor of 20 are spread by their logarithms; what is no number
    takes places in its order of appearance.
    """
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in column)
    if not numbers:
        names = list(dict.fromkeys(map(str, column)))
        places = np.linspace(0, 1, len(names)) if len(names) > 1 else np.array([0.5])
        ticks = list(zip(places, names, strict=True))
        return np.array([places[names.index(str(v))] for v in column]), ticks
    x = np.array(column, float)
    log = x.min() > 0 and x.max() > 20 * x.min()
    x = np.log(x) if log else x
    low, high = x.min(), x.max()
    spread = lambda v: (v - low) / (high - low) if high > low else np.full(np.shape(v), 0.5)  # noqa: E731
    marks = np.unique(x) if len(np.unique(x)) <= 6 else np.linspace(low, high, 5)
    labels = [f"{np.exp(m) if log else m:.3g}" for m in marks]
    return spread(x), list(zip(np.atleast_1d(spread(marks)), labels, strict=True))


def _figure(width: float, height: float, rows: int = 1, columns: int = 1):
    # A second that most commands save. No pyplot: a notebook's own figures are left alone.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", dpi=110)
    return figure, figure.subplots(rows, columns)


def _png(figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
