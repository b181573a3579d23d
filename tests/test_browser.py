"""The page of runs in a real browser: what a slide, a click, a drawing and a press do.

Whatever the page shows comes from this machine; a request to any other fails the tests.
"""

import re
import shutil

import cli
import explorer_server
import pytest
import waiting

from gen_jax import config, experiment

playwright = pytest.importorskip(
    "playwright.sync_api", reason="Playwright is not installed: pip install 'gen_jax[browser]'"
)
pytest.importorskip("gen_jax.explorer.page", reason="NiceGUI is not installed")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium on this machine")
PATIENCE = 1_000 * waiting.HANGS  # milliseconds


def train(workdir, name, *changes):
    loaded = config.load_file(str(cli.ROOT / "experiments" / f"{name}:smoke"))
    experiment.train(config.override(loaded, [*changes]), workdir)
    return workdir


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as found:
        browser = found.chromium.launch(
            executable_path=BROWSER,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def of_pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    # Long enough that latents matter.
    vae = train(folder / "vae", "quickstart.py", *cli.TINY[1:], "--config.steps=400")
    gan = train(folder / "gan", "gan_digits.py", *cli.TINY_GAN[1:])
    with explorer_server.explorer(vae, gan) as (port, _):
        yield port


@pytest.fixture(scope="module")
def of_other_things(tmp_path_factory, tiny_idx):
    folder = tmp_path_factory.mktemp("others")
    names = ("diffusion_digits.py", "names_transformer.py", "wavenet_notes.py", "music_jsb.py")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEN_JAX_MANUAL_DIR", str(tiny_idx))
        workdirs = [train(folder / name.removesuffix(".py"), name) for name in names]
        with explorer_server.explorer(*workdirs) as (port, _):
            yield port


WIDE = 2_600  # pixels, for four runs side by side


class Visit:
    """A window on a page, in which every request is noted."""

    def __init__(self, browser, port, width=1280):
        self.address, self.requests = f"http://127.0.0.1:{port}", []
        self.window = browser.new_page(viewport={"width": width, "height": 900})
        self.window.set_default_timeout(PATIENCE)
        self.window.on("request", lambda request: self.requests.append(request.url))
        self.window.goto(self.address)

    def card(self, number):
        return self.window.locator(".q-card").nth(number)

    def tab(self, number, name):
        """Opens a tab of a run -> its content."""
        tab = self.card(number).get_by_role("tab", name=name, exact=True)
        panel = self.card(number).locator(".q-tab-panel")
        shown = tab.get_attribute("aria-selected") == "true"
        left = [] if shown else self._ids(panel)
        tab.click()

        def there():
            """Whether the one before it has gone: it stays a while, and then there are two."""
            self.window.wait_for_timeout(5)
            return len(ids := self._ids(panel)) == 1 and ids != left

        waiting.until(there)
        return panel

    @staticmethod
    def _ids(elements):
        return elements.evaluate_all("found => found.map(each => each.id)")

    def slide(self, panel, part):
        """Puts the first slider to a part of its way, when it has slid into its place itself."""
        slider = panel.get_by_role("slider").first
        slider.hover()
        box = slider.bounding_box()
        slider.click(position={"x": part * box["width"], "y": box["height"] / 2})

    def picture(self, panel, number=0):
        """What a picture is, when there is one."""
        place = panel.locator("img").nth(number)
        place.wait_for()
        return place.get_attribute("src")

    def changed(self, panel, before, number=0):
        """What a picture has become, as soon as it is another one."""

        def other():
            self.window.wait_for_timeout(5)
            now = self.picture(panel, number)
            return now if now != before else None

        return waiting.until(other)

    def close(self):
        outside = [url for url in self.requests if not url.startswith((self.address, "data:"))]
        self.window.close()
        assert self.requests and not outside


@pytest.fixture
def visit(browser):
    visits = []

    def begin(*arguments):
        visits.append(Visit(browser, *arguments))
        return visits[-1]

    yield begin
    for each in visits:
        each.close()


def test_samples_of_two_runs_side_by_side(visit, of_pictures):
    page = visit(of_pictures)
    for number in range(2):
        panel = page.tab(number, "Samples")
        first = page.picture(panel)
        assert first.startswith("data:image/png;base64,")
        panel.get_by_label("seed").fill("5")
        panel.get_by_role("button", name="draw").click()
        page.changed(panel, first)
    left, right = page.card(0).bounding_box(), page.card(1).bounding_box()
    assert left["y"] == right["y"] and left["x"] + left["width"] <= right["x"]


@pytest.mark.parametrize("number", [0, 1], ids=["vae", "gan"])
def test_a_slide_moves_the_picture(visit, of_pictures, number):
    page = visit(of_pictures)
    panel = page.tab(number, "Latents")
    panel.get_by_role("slider").first.wait_for()
    before = page.picture(panel)
    page.slide(panel, 0.95)
    moved = page.changed(panel, before)
    page.slide(panel, 0.05)
    assert page.changed(panel, moved) not in (before, moved)


def test_the_map_shows_what_is_near_and_decodes_where_it_is_clicked(visit, of_pictures):
    page = visit(of_pictures)
    panel = page.tab(0, "Map")
    plane = panel.locator("img").first
    empty = page.picture(panel)
    page.changed(panel, empty)
    panel.get_by_text("7", exact=True).wait_for()  # what the colours mean
    plane.hover(position={"x": 200, "y": 220})
    panel.get_by_text(re.compile(r"example \d+")).wait_for()
    plane.click(position={"x": 100, "y": 120})
    panel.get_by_text("decoded at -1.9, 1.6").wait_for()
    assert page.picture(panel, 2).startswith("data:image/png;base64,")


def test_a_morph_is_slid_through(visit, of_pictures):
    page = visit(of_pictures)
    panel = page.tab(0, "Morph")
    start = page.picture(panel)
    page.slide(panel, 0.99)
    end = page.changed(panel, start)
    page.slide(panel, 0.01)
    assert page.changed(panel, end) == start


def test_a_drawing_by_mouse_is_told_of(visit, of_pictures):
    page = visit(of_pictures)
    panel = page.tab(0, "Draw")
    black = page.picture(panel)
    panel.locator("img").first.hover()  # waits until the tab has slid into its place
    box = panel.locator("img").first.bounding_box()
    mouse = page.window.mouse

    def at(x, y):
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    mouse.move(*at(0.2, 0.2))
    mouse.down()
    mouse.move(*at(0.8, 0.2), steps=4)
    mouse.move(*at(0.4, 0.9), steps=4)
    mouse.up()
    page.changed(panel, black)
    panel.get_by_text(re.compile("takes it for")).wait_for()
    panel.get_by_text(re.compile("of the test examples")).wait_for()
    seen, reconstructed, completed = (page.picture(panel, number) for number in (1, 2, 3))
    assert len({seen, reconstructed, completed}) == 3
    panel.get_by_role("button", name="clear").click()
    panel.get_by_text("Nothing is drawn yet").wait_for()


def test_two_windows_do_not_disturb_each_other(visit, of_pictures):
    one, other = visit(of_pictures), visit(of_pictures)
    panels = [each.tab(0, "Samples") for each in (one, other)]
    first = [each.picture(panel) for each, panel in zip((one, other), panels, strict=True)]
    assert first[0] == first[1]
    panels[0].get_by_label("seed").fill("9")
    panels[0].get_by_role("button", name="draw").click()
    one.changed(panels[0], first[0])
    assert other.picture(panels[1]) == first[1]


def test_a_narrow_window_holds_the_page(visit, of_pictures, tmp_path):
    page = visit(of_pictures, 390)
    page.picture(page.tab(0, "Samples"))
    page.window.screenshot(path=tmp_path / "narrow.png", full_page=True)
    width = page.window.evaluate("document.documentElement.scrollWidth")
    assert width <= 390


def test_a_sample_is_denoised_step_by_step(visit, of_other_things):
    page = visit(of_other_things, WIDE)
    panel = page.tab(0, "Denoise")
    end = page.picture(panel)
    page.slide(panel, 0.01)
    noise = page.changed(panel, end)
    page.slide(panel, 0.99)
    assert page.changed(panel, noise) == end


def test_text_goes_on_from_a_prompt(visit, of_other_things):
    page = visit(of_other_things, WIDE)
    panel = page.tab(1, "Write and play")
    panel.get_by_label("prompt").fill("abba")
    panel.get_by_role("button", name="draw").click()
    text = panel.get_by_text(re.compile("abba"))
    text.wait_for()
    assert text.inner_text().startswith("abba")


@pytest.mark.parametrize("number", [2, 3], ids=["sound", "music"])
def test_sound_and_music_are_played(visit, of_other_things, number):
    page = visit(of_other_things, WIDE)
    panel = page.tab(number, "Write and play")
    player = panel.locator("audio")
    player.wait_for()
    source = player.get_attribute("src")
    assert source.startswith("data:audio/wav;base64,")
    assert player.evaluate("async p => { await p.play(); return p.duration }") > 0
    waiting.until(lambda: player.evaluate("p => p.currentTime > 0 || p.ended"))
