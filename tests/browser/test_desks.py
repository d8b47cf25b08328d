"""The desks as a person uses them: JupyterLab in a real browser, hands on the sliders.

`make browser` runs this. Screenshots are left in `build/browser`; `--keep-pictures` also stores those that
the notebooks show under `nstlib/figures/desks`.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
SHOTS = ROOT / "build" / "browser"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="module")
def lab(browser, tmp_path_factory):
    """The address of a JupyterLab that serves a copy of the notebooks."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks", ignore=shutil.ignore_patterns(".*"))
    port = free_port()
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", f"--port={port}"]
    command += ["--IdentityProvider.token=", f"--ServerApp.root_dir={folder}", "--LabApp.news_url=None"]
    command += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    log = (folder / "lab.log").open("w")
    server = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"HOME": str(folder)})
    address = f"http://127.0.0.1:{port}"
    for _ in range(120):
        try:
            urllib.request.urlopen(f"{address}/api", timeout=5).close()
            break
        except OSError:
            time.sleep(0.5)
    yield address
    server.terminate()
    server.wait(20)
    log.close()


class Notebook:
    """A notebook open in JupyterLab, all of whose cells have run."""

    def __init__(self, page, address: str, name: str):
        self.page = page
        # a slow JupyterLab asks for this or that, such as a kernel; whenever it does, what it proposes is right
        dialogs = page.locator(".jp-Dialog").last  # the one in front
        page.add_locator_handler(dialogs, lambda d: d.locator(".jp-mod-accept").click(), no_wait_after=True)
        page.goto(f"{address}/lab/tree/notebooks/{name}.ipynb?reset", wait_until="domcontentloaded")
        page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=120_000)
        self.run_all()
        page.wait_for_selector("img.widget-image", state="attached", timeout=120_000)

    def run_all(self) -> None:
        """Run all cells; a kernel that is still starting lets the first clicks pass."""
        for _ in range(20):
            self.page.click('.lm-MenuBar-itemLabel:text-is("Run")')
            self.page.click('.lm-Menu-itemLabel:text-is("Run All Cells")')
            self.page.wait_for_timeout(3000)
            if "[*]" in "".join(self.page.locator(".jp-InputPrompt").all_inner_texts()):
                return
        raise AssertionError("the cells do not run")

    def wait_until_idle(self) -> None:
        self.page.wait_for_selector('.jp-Notebook-ExecutionIndicator[data-status="idle"]', timeout=600_000)
        self.page.locator("img.widget-image").first.scroll_into_view_if_needed()

    def picture(self) -> str:
        """The desk's picture as the browser holds it, in hexadecimal."""
        script = """async image => Array.from(new Uint8Array(await (await fetch(image.src)).arrayBuffer()))
                    .map(b => b.toString(16).padStart(2, '0')).join('')"""
        return self.page.locator("img.widget-image").first.evaluate(script)

    def wait_for_change(self, before: str, what: str) -> str:
        for _ in range(150):
            now = self.picture()
            if now != before:
                return now
            self.page.wait_for_timeout(200)
        raise AssertionError(f"the picture did not change after: {what}")

    def press(self, name: str) -> None:
        self.page.locator(f'.jupyter-button:text-is("{name}")').first.click()

    def slide(self, label: str, notches: int) -> None:
        row = self.page.locator(f'.widget-hslider:has(.widget-label:text-is("{label}"))').first
        handle = row.locator(".noUi-handle, .ui-slider-handle").first
        handle.scroll_into_view_if_needed()
        handle.focus()
        for _ in range(abs(notches)):
            handle.press("ArrowRight" if notches > 0 else "ArrowLeft")

    def upload(self, file: Path) -> None:
        with self.page.expect_file_chooser() as chooser:
            self.page.locator(".widget-upload").first.click()
        chooser.value.set_files(file)

    def errors(self) -> list[str]:
        found = self.page.locator('[data-mime-type="application/vnd.jupyter.error"], [data-mime-type*="stderr"]')
        return found.all_inner_texts()

    def shot(self, name: str) -> Path:
        self.page.evaluate("document.querySelectorAll('.Toastify').forEach(note => note.remove())")  # Jupyter's news
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{name}.png")
        return SHOTS / f"{name}.png"


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    yield page
    page.close()


def test_control_desk(lab, page, request):
    desk = Notebook(page, lab, "05_control_desk")
    desk.wait_until_idle()
    first = desk.picture()
    desk.press("step")
    stepped = desk.wait_for_change(first, "step")
    page.locator(".widget-play button").first.click()
    playing = desk.wait_for_change(stepped, "play")
    desk.slide("style weight", 10)
    moved = desk.wait_for_change(playing, "sliding while it plays")
    page.wait_for_timeout(6000)
    page.locator(".widget-play button").first.click()  # pause
    desk.shot("control_desk")
    keep(request, page, "control_desk")
    page.wait_for_timeout(1500)
    paused = desk.picture()
    page.wait_for_timeout(1500)
    assert desk.picture() == paused != moved, "pause does not pause"
    desk.press("reset")
    assert desk.wait_for_change(paused, "reset") == first
    desk.press("undo")
    assert desk.wait_for_change(first, "undo")
    desk.press("to training")
    page.wait_for_selector("text=nst.TrainConfig(")
    desk.shot("control_desk_after")
    assert desk.errors() == []


def test_playground(lab, page, request, tmp_path):
    desk = Notebook(page, lab, "08_playground")
    desk.wait_until_idle()
    first = desk.picture()
    desk.slide("strength", -8)
    weaker = desk.wait_for_change(first, "strength")
    page.wait_for_timeout(1500)
    rested = desk.picture()
    assert len(rested) > 1.5 * len(weaker), "not refined at full size when the slider rests"
    desk.slide("on the way", 6)
    mixed = desk.wait_for_change(rested, "walking to another style")
    page.wait_for_timeout(1500)
    settled = desk.picture()
    page.locator('.widget-dropdown:has(.widget-label:text-is("to")) select').first.select_option("stained_glass")
    desk.slide("strength", 6)
    desk.slide("before | after", 10)
    page.wait_for_timeout(2500)
    wiped = desk.picture()
    assert len({first, mixed, settled, wiped}) == 4
    desk.shot("playground")
    keep(request, page, "playground")
    wrong = tmp_path / "notes.txt"
    wrong.write_text("not a picture")
    desk.upload(wrong)
    page.wait_for_selector("text=not a picture that can be read")
    assert desk.picture() == wiped
    desk.upload(ROOT / "data" / "gallery.jpg")
    uploaded = desk.wait_for_change(wiped, "upload")
    page.locator('.widget-dropdown:has(.widget-label:text-is("keep colours")) select').first.select_option("luminance")
    desk.wait_for_change(uploaded, "keeping the colours")
    desk.shot("playground_after")
    assert desk.errors() == []


def keep(request, page, name: str) -> None:
    """The still picture of a desk for the notebook's text, when asked for."""
    if request.config.getoption("--keep-pictures"):
        box = page.locator(".jp-OutputArea-output .widget-vbox").first
        box.screenshot(path=SHOTS / f"{name}_cut.png")
        target = ROOT / "nstlib" / "figures" / "desks" / f"{name}.jpg"
        target.parent.mkdir(exist_ok=True)
        Image.open(SHOTS / f"{name}_cut.png").convert("RGB").save(target, quality=82)
