"""A visitor of the built site: headless Chromium with the playground open, for the browser tests and the benchmark."""

import base64
import functools
import io
import json
import shutil
import threading
import time
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from PIL import Image

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync --disable-background-networking"
CAMERA = "--use-fake-device-for-media-stream --use-fake-ui-for-media-stream"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@contextmanager
def served(folder: Path):
    """The address of a server as `python -m http.server` starts it."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Playground:
    """The playground page, open."""

    def __init__(self, page, address: str):
        self.page, self.requests, self.errors = page, [], []
        page.set_default_timeout(120_000)
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda m: m.type == "error" and self.errors.append(m.text))
        page.goto(f"{address}/playground.html")
        self.wait()

    def painted(self) -> dict:
        """What the page says of the picture that it shows: `mine`, its number, `whole`, `width`, `waited`."""
        return json.loads(self.page.locator("body").get_attribute("data-painted") or '{"mine": 0, "whole": false}')

    def wait(self, after: int = 0, whole: bool = True, seconds: float = 240) -> dict:
        """Wait for a picture asked for later than number `after`; `whole`: the full size that it rests at."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            now = self.painted()
            if now["mine"] > after and now["whole"] >= whole:
                return now
            time.sleep(0.02)
        raise AssertionError(f"no picture: {self.page.inner_text('#status')} {self.trouble()}")

    def change(self, act, whole: bool = True) -> dict:
        """Do something, and wait for the picture that follows."""
        before = self.painted()["mine"]
        act()
        return self.wait(before, whole)

    def slide(self, name: str, value: float) -> None:
        script = "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input')); }"
        self.page.locator(f"#{name}").evaluate(script, value)

    def pixels(self, canvas: str = "after") -> np.ndarray:
        """What a canvas shows, `(H, W, 3)` in 0 … 255."""
        data = self.page.locator(f"#{canvas}").evaluate("canvas => canvas.toDataURL()")
        image = Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2])))
        return np.asarray(image.convert("RGB")).astype(int)

    def trouble(self) -> str:
        return self.page.inner_text("#trouble")
