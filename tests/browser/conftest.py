"""The browser of these tests, and an option."""

import pytest
from visitor import CAMERA, CHROMIUM, FLAGS


def pytest_addoption(parser):
    parser.addoption("--keep-pictures", action="store_true", help="store the desks' pictures that the notebooks show")


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium; where there is none, all that need it are skipped."""
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine (Debian: apt install chromium)")
    with playwright.sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=CHROMIUM, args=f"{FLAGS} {CAMERA}".split())
        yield chromium
        chromium.close()
