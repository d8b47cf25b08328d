"""The playground page as a visitor uses it, in headless Chromium; `make browser` runs this.

Screenshots are left in build/browser.
"""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nstlib

pytest.importorskip("nbconvert")
pytest.importorskip("onnxscript")
from build_site import build
from visitor import Playground, served

pytestmark = pytest.mark.filterwarnings("default")  # nbconvert's and torch's own, while the site is built
SHOTS = Path(__file__).parents[2] / "build" / "browser"
SHOTS.mkdir(parents=True, exist_ok=True)


@pytest.fixture(scope="module")
def site(browser, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    try:
        build(folder)
    except SystemExit as error:
        pytest.skip(str(error))  # no npm, or no registry
    with served(folder) as address:
        yield address


@pytest.fixture
def visit(site, browser):
    """Open the playground in a browser's profile of its own: `visit(**options)`."""
    contexts = []

    def open_page(**options) -> Playground:
        contexts.append(browser.new_context(viewport={"width": 1280, "height": 900}, **options))
        return Playground(contexts[-1].new_page(), site)

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def cat(tmp_path) -> Path:
    """A photograph of 451 × 300, without loss."""
    return nstlib.save_image(nstlib.load_image("cat"), tmp_path / "my cat.png")


def test_page_paints_as_nstlib_does(visit, cat, monkeypatch):
    monkeypatch.setenv("NSTLIB_PRECISION", "float32")  # as the page computes
    desk = visit()
    desk.slide("strength", 70)
    desk.page.locator("#map").press("ArrowRight")
    assert desk.page.inner_text("#mix") == "starry night 95 %, great wave 5 %"
    desk.change(lambda: desk.page.set_input_files("#file", cat))
    asked = {"styles": {"starry_night": 95, "great_wave": 5}, "strength": 0.7}
    for side, stroke in ((512, 1), (512, 3), (256, 1)):  # its own size, and one that it is brought to
        desk.page.select_option("#side", str(side))
        desk.change(lambda stroke=stroke: desk.slide("stroke", stroke))
        ours = nstlib.paint(cat, "studio", size=256 if side == 256 else None, stroke_size=float(stroke), **asked)
        ours = np.asarray(nstlib.to_pil(ours)).astype(int)
        assert desk.pixels().shape == ours.shape
        # WebAssembly sums in another order than torch: 16 layers of float32, then both are rounded to 8 bits
        assert np.abs(desk.pixels() - ours).max() <= 2, (side, stroke)
    assert "WebAssembly" in desk.page.inner_text("#status"), "there is no WebGPU here"
    assert not [url for url in desk.requests if "webgpu" in url]
    assert desk.errors == []


def test_controls(visit):
    desk = visit()
    page = desk.page
    page.screenshot(path=SHOTS / "site_before.png")
    seen = [desk.pixels()]

    def differs(act, what: str) -> None:
        assert desk.change(act, whole=False)["whole"] is False, f"{what}: small at once"
        desk.wait(desk.painted()["mine"] - 1)
        seen.append(desk.pixels())
        assert seen[-1].shape != seen[-2].shape or np.abs(seen[-1] - seen[-2]).mean() > 1, what

    differs(lambda: page.locator("#strength").press("PageDown"), "strength")
    differs(lambda: page.locator("#map").press("Shift+ArrowDown"), "mix, by keyboard")
    box = page.locator("#map").bounding_box()
    differs(lambda: page.mouse.click(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.6), "mix, by pointer")
    differs(lambda: page.get_by_role("button", name="halftone").click(), "a style that was in no corner")
    assert page.inner_text("#mix") == "halftone" and page.locator("#map b").all_inner_texts()[3] == "halftone"
    differs(lambda: desk.slide("stroke", 2), "stroke size")
    differs(lambda: page.get_by_role("button", name="rocket").click(), "another photograph")
    differs(lambda: page.select_option("#side", "256"), "long side")
    page.screenshot(path=SHOTS / "site_after.png")
    desk.change(lambda: desk.slide("stroke", 1))
    photograph = Image.fromarray(desk.pixels("before").astype("uint8")).resize((256, 171), Image.Resampling.LANCZOS)
    painting = desk.pixels()
    desk.change(lambda: desk.slide("strength", 0))
    gone = np.abs(desk.pixels() - photograph).mean()
    assert gone < np.abs(painting - photograph).mean() / 4, "strength 0 gives the photograph back"
    desk.slide("wipe", 40)
    assert "40%" in page.locator("#after").evaluate("canvas => getComputedStyle(canvas).clipPath")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as PNG").click()
    assert saved.value.suggested_filename == "rocket_painted.png"
    assert (np.asarray(Image.open(saved.value.path()).convert("RGB")) == desk.pixels()).all()
    assert desk.errors == []


def test_uploads(visit, cat, tmp_path):
    desk = visit()
    before = desk.pixels()
    (tmp_path / "notes.txt").write_text("not a picture")
    desk.page.set_input_files("#file", tmp_path / "notes.txt")
    desk.page.locator("#trouble:has-text('.')").wait_for()
    assert desk.trouble().startswith("notes.txt is not a picture that this browser can read. Choose a JPEG")
    Image.new("RGB", (40, 5)).save(tmp_path / "flat.png")
    desk.page.set_input_files("#file", tmp_path / "flat.png")
    desk.page.locator("#trouble:has-text('flat')").wait_for()
    assert (desk.pixels() == before).all(), "what was there stays"
    desk.change(lambda: desk.page.set_input_files("#file", cat))
    assert desk.trouble() == "" and desk.pixels().shape == (300, 451, 3)
    desk.change(lambda: drop(desk.page, cat))
    desk.page.get_by_role("button", name="Camera").click()
    desk.change(lambda: desk.page.get_by_role("button", name="Take the picture").click())
    assert desk.page.locator("#viewfinder[open]").count() == 0
    assert desk.errors == []


def drop(page, file: Path) -> None:
    """Let a file fall on the page."""
    script = """bytes => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], "dropped.png", { type: "image/png" }));
        document.dispatchEvent(new DragEvent("drop", { dataTransfer: data }));
    }"""
    page.evaluate(script, list(file.read_bytes()))


def test_nothing_leaves_and_nothing_is_needed(visit, site):
    desk = visit()
    assert desk.page.evaluate("crossOriginIsolated"), "all cores, though the server sends no such headers"
    desk.page.context.set_offline(True)
    desk.page.reload()
    desk.wait()
    assert [url for url in desk.requests if not url.startswith((f"{site}/", "blob:", "data:"))] == []
    forbidden = "fetch('https://example.org').then(() => 'sent', () => 'refused')"
    assert desk.page.evaluate(forbidden) == "refused"


def test_without_a_service_worker(visit):
    desk = visit(service_workers="block")
    assert not desk.page.evaluate("crossOriginIsolated")
    assert desk.errors == []


def test_small_screens_keyboards_and_screen_readers(visit):
    desk = visit()
    page = desk.page
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.screenshot(path=SHOTS / "site_360.png", full_page=True)
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.value || ''"))
    assert {"wipe", "side", "save", "file", "camera", "starry_night", "strength", "stroke", "map"} <= set(reached)
    tree = page.locator("main").aria_snapshot()
    for said in ('slider "Strength"', 'slider "Stroke size"', 'slider "Mix of four styles', 'combobox "Long side"'):
        assert said in tree
    assert '"Before and after' in tree and 'button "cat"' in tree and "status" in tree
    assert "- button\n" not in tree and "- slider\n" not in tree, "none without a name"
