"""The page: tabs by what a model can do, for one run or for two side by side."""

import base64
import dataclasses
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
from nicegui import app, run, ui
from PIL import Image
from starlette.middleware.trustedhost import TrustedHostMiddleware

from gen_jax.errors import UserError, as_line
from gen_jax.evaluation import interpolation, masks
from gen_jax.explorer.work import (
    MOST_SAMPLES,
    MOST_SECONDS,
    MOST_SYMBOLS,
    REACH,
    Work,
    data_address,
)
from gen_jax.families.base import Autoencoder, Decoder, Film
from gen_jax.report import charts

HOST = "127.0.0.1"
_WIDTH = 320  # pixels of one picture
_SHARP = "image-rendering: pixelated"  # small pictures are enlarged by whole pixels
_PLANE = 480  # pixels of the map
_MAP_SPAN = 3.2  # standard deviations from the middle of the map to its edge


class Newest:
    """Runs a slow function in the background for the newest request alone.

    While one runs, only the last of those that come is kept, so that a slider which is dragged does
    not leave a queue behind.
    """

    def __init__(self, show: Callable[[Any], None]):
        self._show, self._waiting, self._busy = show, None, False

    async def __call__(self, work: Callable[[], Any]) -> None:
        self._waiting = work
        if self._busy:
            return
        self._busy = True
        try:
            while self._waiting is not None:
                now, self._waiting = self._waiting, None
                found = await _in_background(now)
                if found is not None:
                    self._show(found)
        finally:
            self._busy = False


async def _in_background(work: Callable[[], Any]) -> Any:
    """What a slow function returns; None after an error, which the page tells."""
    try:
        return await run.io_bound(work)
    except UserError as error:
        ui.notify(str(error), type="warning", multi_line=True)
    except Exception as error:  # one request that fails leaves the page as it is
        ui.notify(f"that failed: {as_line(error)}", type="negative", multi_line=True)
    return None


@dataclasses.dataclass(frozen=True)
class Tab:
    """One tab.

    Attributes:
      name: on it.
      suits: whether a run has what it needs.
      build: makes its content in the page, of a run.
    """

    name: str
    suits: Callable[[Work], bool]
    build: Callable[[Work], None]


def _picture(width: int = _WIDTH) -> ui.image:
    style = f"width: {width}px; max-width: 100%; {_SHARP}"
    return ui.image().style(style).props("no-spinner no-transition")


def _show(place: ui.image | ui.interactive_image, image: Image.Image) -> None:
    """Puts a picture into its place, within the message itself and not as a file to be fetched."""
    place.set_source(data_address(image))


def _label_choice(work: Work, all_of_them: bool = False) -> ui.select | None:
    if not work.class_names:
        return None
    names = (["all in turns"] if all_of_them else []) + [*work.class_names]
    return ui.select(names, value=names[0], label="class").classes("w-40")


def _chosen(choice: ui.select | None) -> str | None:
    return choice.value if choice is not None else None


def _fields(work: Work) -> dict[str, ui.number]:
    """A field for each number that sampling takes."""
    found = {}
    for name, (value, least, most) in work.options.items():
        step = 1 if isinstance(value, int) else 0.05
        found[name] = ui.number(
            name.replace("_", " "), value=value, min=least, max=most, step=step
        ).classes("w-28")
    return found


def _values(fields: dict[str, ui.number]) -> dict[str, Any]:
    return {name: field.value for name, field in fields.items()}


def _action(text: str, work: Callable[[], Awaitable[None]], at_once: bool = False) -> ui.button:
    """A button that is out of use while what it starts goes on; `at_once` it is pressed already."""

    async def clicked() -> None:
        button.disable()
        button.props("loading")
        try:
            await work()
        finally:
            button.enable()
            button.props(remove="loading")

    button = ui.button(text, on_click=clicked)
    if at_once:
        _soon(clicked)
    return button


def _soon(work: Callable[[], Awaitable[None]]) -> None:
    """Starts something when the page has been sent."""
    ui.timer(0.1, work, once=True)


def _with_spinner(work: Callable[[], Awaitable[None]]) -> None:
    """Starts something soon, and shows that it goes on."""

    async def turning() -> None:
        try:
            await work()
        finally:
            spinner.delete()

    spinner = ui.spinner(size="lg")
    _soon(turning)


def samples(work: Work) -> None:
    """A grid of samples."""
    with ui.row().classes("items-center"):
        num = ui.number("how many", value=16, min=1, max=MOST_SAMPLES).classes("w-24")
        seed = ui.number("seed", value=0, min=0, max=2**32 - 1).classes("w-24")
        label = _label_choice(work, all_of_them=True)
        fields = _fields(work)

    async def draw() -> None:
        arguments = num.value, seed.value, _chosen(label), _values(fields)
        found = await _in_background(lambda: work.samples(*arguments))
        if found is not None:
            _show(shown, found)

    _action("draw", draw, at_once=True)
    shown = _picture(480)


def sequences(work: Work) -> None:
    """Text, sound or music that goes on."""
    medium = work.run.spec.medium
    with ui.row().classes("items-center"):
        seed = ui.number("seed", value=0, min=0, max=2**32 - 1).classes("w-24")
        length = None
        if medium == "sound":
            length = ui.number("seconds", value=1, min=0.1, max=MOST_SECONDS, step=0.1)
        elif medium != "lines":
            length = ui.number("length", value=200, min=1, max=MOST_SYMBOLS)
        fields = _fields(work)
    prompt = ui.input("prompt").classes("w-full") if medium in ("text", "lines") else None

    async def draw() -> None:
        arguments = (
            length.value if length else 0,
            seed.value,
            prompt.value if prompt else "",
            _values(fields),
        )
        found = await _in_background(lambda: work.sequence(*arguments))
        if found is None:
            return
        text, sound, picture = found
        words.set_text(text)
        if sound:
            players.clear()
            with players:
                ui.audio(_sound_address(sound))
        shown.set_visibility(picture is not None)
        if picture is not None:
            _show(shown, picture)

    _action("draw", draw, at_once=True)
    players = ui.row()
    shown = _picture(640)
    shown.set_visibility(False)
    words = ui.label().classes("whitespace-pre-wrap font-mono")


def _sound_address(wav: bytes) -> str:
    return f"data:audio/wav;base64,{base64.b64encode(wav).decode()}"


def latents(work: Work) -> None:
    """Sliders over principal directions and attributes."""
    state: dict[str, Any] = {"start": None, "amounts": {}}
    with ui.row().classes("items-center"):
        example = ui.number("test example", value=0, min=0, max=work.num_examples - 1).classes(
            "w-32"
        )
        seed = ui.number("seed", value=0, min=0, max=2**32 - 1).classes("w-24")
        label = _label_choice(work)
    with ui.row():
        shown = _picture()
        columns = ui.column().classes("w-72 gap-0")
    newest = Newest(lambda found: _show(shown, found))

    async def show() -> None:
        start, amounts, name = state["start"], dict(state["amounts"]), _chosen(label)
        if start is not None:
            await newest(lambda: work.moved(start, amounts, name))

    def slider(name: str, words: str) -> None:
        async def changed(event) -> None:
            state["amounts"][name] = event.value
            await show()

        ui.label(words).classes("text-sm")
        own = ui.slider(min=-REACH, max=REACH, step=0.1, value=0, on_change=changed)
        sliders.append(own)

    sliders: list[ui.slider] = []

    async def begin(of_example: bool) -> None:
        chosen = {"example": example.value} if of_example else {"seed": seed.value}
        found = await _in_background(lambda: work.start(**chosen))
        if found is None:
            return
        state["start"] = found
        for own in sliders:
            own.set_value(0)
        await show()

    async def build() -> None:
        found = await _in_background(work.sliders)
        if found is None:
            return
        directions, named = found
        with columns:
            for name in directions:
                slider(name, name.replace("direction", "principal direction"))
            for name in named:
                slider(name, name)
        await begin(of_example=True)

    with ui.row():
        _action("from the test example", lambda: begin(of_example=True))
        _action("from drawn latents", lambda: begin(of_example=False))
    if label is not None:
        label.on_value_change(show)
    _with_spinner(build)


def latent_map(work: Work) -> None:
    """Examples of the test split on the plane of two principal directions."""
    ui.label(
        "Test examples in latent space, along its two principal directions. Move over the map to "
        "see the nearest example; click to see what is decoded there."
    )
    label = _label_choice(work)
    with ui.row():
        plane = ui.interactive_image(
            data_address(Image.new("RGB", (_PLANE, _PLANE), "white")),
            events=["click", "mousemove"],
            cross=True,
        ).style(f"width: {_PLANE}px; max-width: 100%")
        with ui.column():
            near_words = ui.label("nearest example")
            near = _picture(160)
            at_words = ui.label("decoded")
            at = _picture(160)
    legend = ui.row().classes("max-w-full")

    def show_near(found: tuple[Image.Image, str]) -> None:
        _show(near, found[0])
        near_words.set_text(found[1])

    nearest, decoded = Newest(show_near), Newest(lambda found: _show(at, found))

    def place(event) -> tuple[float, float]:
        x, y = event.image_x / _PLANE - 0.5, 0.5 - event.image_y / _PLANE
        return 2 * _MAP_SPAN * x, 2 * _MAP_SPAN * y

    async def moved(event) -> None:
        where = place(event)
        if event.type == "mousemove":
            await nearest(lambda: work.nearest(where))
        else:
            name = _chosen(label)
            at_words.set_text(f"decoded at {where[0]:.1f}, {where[1]:.1f}")
            await decoded(lambda: work.at(where, name))

    async def build() -> None:
        found = await _in_background(work.places)
        if found is not None:
            names = work.run.spec.class_names
            colors = charts.colors_of(max(len(names), 1))
            drawn = Image.fromarray(charts.labelled(*found, _MAP_SPAN, colors))
            _show(plane, drawn.resize((_PLANE, _PLANE)))
            with legend:
                for name, color in zip(names, colors, strict=False):
                    ui.label(name).style(f"border-left: 12px solid {color}; padding-left: 6px")

    plane.on_mouse(moved)
    _with_spinner(build)


def morph(work: Work) -> None:
    """From one test example to another."""
    frames: list[Image.Image] = []
    with ui.row().classes("items-center"):
        most = work.num_examples - 1
        first = ui.number("from test example", value=0, min=0, max=most).classes("w-32")
        last = ui.number("to test example", value=min(1, most), min=0, max=most).classes("w-32")
        path = ui.select([*interpolation.PATHS], value="spherical", label="path").classes("w-32")

    async def draw() -> None:
        arguments = first.value, last.value, path.value
        found = await _in_background(lambda: work.morph(*arguments))
        if found:
            frames[:] = found
            moment.set_value(0)
            _show(shown, frames[0])

    _action("find the way", draw, at_once=True)
    shown = _picture()
    moment = _film_slider(frames, shown)


def _film_slider(frames: list[Image.Image], shown: ui.image) -> ui.slider:
    """A slider from 0 to 1 over pictures that may change."""

    def moved(event) -> None:
        if frames:
            _show(shown, frames[round(event.value * (len(frames) - 1))])

    slider = ui.slider(min=0, max=1, step=0.01, value=0, on_change=moved)
    return slider.style(f"width: {_WIDTH}px; max-width: 100%")


def denoise(work: Work) -> None:
    """A sample as it comes about."""
    frames: list[Image.Image] = []
    seed = ui.number("seed", value=0, min=0, max=2**32 - 1).classes("w-24")

    async def draw() -> None:
        number = seed.value
        found = await _in_background(lambda: work.film(number))
        if found:
            frames[:] = found
            moment.set_value(1)
            _show(shown, frames[-1])

    _action("draw", draw, at_once=True)
    ui.label("from noise on the left to the sample on the right")
    shown = _picture()
    moment = _film_slider(frames, shown)


class Canvas:
    """A picture that is drawn on with the mouse."""

    def __init__(self, shape: Sequence[int], changed: Callable[[], Awaitable[None]]):
        self.ink = np.zeros(tuple(shape[:2]), np.float32)
        self._down, self._changed = False, changed
        self._last: tuple[float, float] | None = None
        self._shown = ui.interactive_image(
            data_address(self._image()),
            on_mouse=self._moved,
            events=["mousedown", "mousemove", "mouseup", "mouseleave"],
        ).style(
            f"width: {_WIDTH}px; max-width: 100%; border: 1px solid gray; touch-action: none; "
            f"{_SHARP}"
        )

    async def clear(self) -> None:
        self.ink[:] = 0
        _show(self._shown, self._image())
        await self._changed()

    async def set(self, ink: np.ndarray) -> None:
        """Shows a drawing that comes from elsewhere."""
        self.ink[:] = ink
        _show(self._shown, self._image())
        await self._changed()

    def _image(self) -> Image.Image:
        return Image.fromarray(np.uint8(255 * self.ink)).resize((_WIDTH, _WIDTH), 0)

    async def _moved(self, event) -> None:
        place = event.image_y / _WIDTH, event.image_x / _WIDTH
        if event.type == "mousedown":
            self._down, self._last = True, place
        if event.type in ("mouseup", "mouseleave"):
            if self._down:
                self._down = False
                await self._changed()
            return
        if self._down:
            stroke(self.ink, self._last or place, place)
            self._last = place
            _show(self._shown, self._image())


def stroke(ink: np.ndarray, first: Sequence[float], last: Sequence[float]) -> None:
    """Draws a line as a pen does into ink [H, W], from one place to another; places are 0 to 1.

    A pen is as wide as a 14th of the picture, with a soft edge.
    """
    size = np.array(ink.shape, np.float64)
    radius = max(size.min() / 28, 0.6)
    pixels = np.stack(np.indices(ink.shape), -1) + 0.5
    a, b = (np.clip(np.asarray(end, np.float64), 0, 1) * size for end in (first, last))
    along = b - a
    part = np.clip(((pixels - a) @ along) / max(along @ along, 1e-9), 0, 1)
    apart = np.linalg.norm(pixels - a - part[..., None] * along, axis=-1)
    np.maximum(ink, np.clip(radius + 0.5 - apart, 0, 1), out=ink)


def draw(work: Work) -> None:
    """A drawing, and what the model makes of it."""
    with ui.row().classes("items-center"):
        mask = ui.select(
            [*masks.KNOWN], value="top", label="what is kept when it is completed"
        ).classes("w-72")
        seed = ui.number("seed", value=0, min=0, max=2**32 - 1).classes("w-24")
        label = _label_choice(work)

    def show(found: dict[str, Any]) -> None:
        for name, picture in shown.items():
            if name in found:
                _show(picture, found[name])
        words.set_text("\n".join(found["words"]))

    newest = Newest(show)

    async def changed() -> None:
        arguments = canvas.ink.copy(), mask.value, _chosen(label), seed.value
        await newest(lambda: work.drawing(*arguments))

    with ui.row():
        with ui.column():
            ui.label("draw here")
            canvas = Canvas(work.run.spec.shape, changed)
            ui.button("clear", on_click=canvas.clear)
        shown = {}
        names = [("seen", "as the model sees it"), ("completed", "completed")]
        if work.can(Decoder):
            names.insert(1, ("reconstructed", "reconstructed"))
        for name, text in names:
            with ui.column():
                ui.label(text)
                shown[name] = _picture(200)
    words = ui.label().classes("whitespace-pre-wrap")
    for field in (mask, seed, label):
        if field is not None:
            field.on_value_change(changed)


TABS = (
    Tab("Samples", lambda work: work.draws and work.is_image, samples),
    Tab("Write and play", lambda work: work.draws and not work.is_image, sequences),
    Tab("Latents", lambda work: work.is_image and work.can(Decoder), latents),
    Tab("Map", lambda work: work.is_image and work.can(Autoencoder), latent_map),
    Tab("Morph", lambda work: work.is_image and work.can(Decoder), morph),
    Tab("Draw", lambda work: work.completes and not work.run.subject.given_vectors, draw),
    Tab("Denoise", lambda work: work.is_image and work.can(Film), denoise),
)


def _panel(work: Work) -> None:
    ui.label(work.card()).classes("text-lg max-w-full break-words")
    found = [tab for tab in TABS if tab.suits(work)]
    if not found:
        ui.label("There is nothing to play with: this model neither draws nor decodes pictures.")
        return
    by_name, built = {tab.name: tab for tab in found}, set()

    def chosen(event) -> None:
        show(event.value)

    def show(name: str) -> None:
        """Builds a tab when it is first chosen, as some begin with much work."""
        if name not in built:
            built.add(name)
            with panels[name]:
                by_name[name].build(work)

    with ui.tabs().classes("w-full").props("align=left outside-arrows mobile-arrows") as tabs:
        for name in by_name:
            ui.tab(name)
    with ui.tab_panels(tabs, value=found[0].name).classes("w-full"):
        panels = {name: ui.tab_panel(name) for name in by_name}
    tabs.on_value_change(chosen)
    show(found[0].name)


def build(works: Sequence[Work]) -> None:
    """Registers the page of one run or more, side by side."""

    @ui.page("/", title="gen_jax explorer")
    def page() -> None:
        # Side by side, and one below the other where a window is narrow.
        with ui.row().classes("w-full items-start lg:flex-nowrap"):
            for work in works:
                with ui.card().classes("w-full lg:w-0 lg:flex-1 min-w-0"):
                    _panel(work)


def serve(works: Sequence[Work], port: int, ready: Callable[[], None] | None = None) -> None:
    """Serves the page on this machine alone, until it is interrupted.

    Raises:
      UserError: if the port is taken.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            raise UserError(f"port {port} is taken; choose another by --port") from None
    # A page of another site that has its name lead here is told nothing.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
    build(works)
    if ready is not None:
        app.on_startup(ready)
    ui.run(host=HOST, port=port, reload=False, show=False, show_welcome_message=False)
