"""How soon the playground page is there, how soon a picture follows a slider, and what the page weighs.

Printed for the README; nothing here depends on how fast a machine is.
"""

import statistics

import pytest

pytest.importorskip("nbconvert")
pytest.importorskip("onnxscript")
from build_site import build
from visitor import CHROMIUM, FLAGS, Playground, served

playwright = pytest.importorskip("playwright.sync_api")
PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (Debian: apt install chromium)")
@pytest.mark.filterwarnings("default")
def test_playground_page(tmp_path):
    try:
        build(tmp_path)
    except SystemExit as error:
        pytest.skip(str(error))
    with served(tmp_path) as address, playwright.sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        desk = Playground(chromium.new_page(), address)
        first, threads = desk.page.evaluate(PAINT), desk.page.evaluate("navigator.hardwareConcurrency")
        waited = []
        for i in range(20):
            waited.append(desk.change(lambda i=i: desk.slide("strength", 99 - i), whole=False)["waited"])
            desk.wait(desk.painted()["mine"] - 1)
        fetched = {url.removeprefix(f"{address}/") for url in desk.requests if url.startswith(address)}
        chromium.close()
    sizes = {name: (tmp_path / name).stat().st_size / 1e6 for name in fetched if (tmp_path / name).is_file()}
    runtime = sum(size for name, size in sizes.items() if name.startswith("ort/"))
    print(f"\nfirst paint {first / 1000:.2f} s; slider to picture at 256 px, {threads} threads: median of 20 ", end="")
    print(f"{statistics.median(waited):.0f} ms ({min(waited):.0f} to {max(waited):.0f})")
    print(f"page {sum(sizes.values()):.1f} MB: runtime {runtime:.1f}, network {sizes['studio.onnx']:.2f}")
    assert runtime > 1 and sum(sizes.values()) < 20
