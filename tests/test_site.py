"""The site's pages: every notebook has one, links lead to pages, nothing comes from elsewhere; and its workflow."""

import re

import pytest

pytest.importorskip("nbconvert")
pytest.importorskip("onnx")
import build_site
from build_site import NO_WORDS, ROOT, SOURCE, build_pages, take_equations, unpack

LATER = re.compile(r"playground\.html|katex/.*|pictures/door_\d\.jpg")  # not written by build_pages


@pytest.mark.filterwarnings("default")  # nbconvert's own
def test_pages(tmp_path):
    build_pages(tmp_path, lambda equations: [f"<i>{len(tex)}</i>" for tex, _ in equations])
    names = {path.stem for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")}
    assert {path.stem for path in tmp_path.glob("*.html")} == names | {"index"}
    for page in tmp_path.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        wanted = re.findall(r'<a [^>]*href="([^"#:]+)"|<img[^>]+src="(?!data:)([^"]+)"|<link[^>]+href="([^":]+)"', text)
        wanted = {next(filter(None, each)) for each in wanted}
        assert {w for w in wanted if not LATER.fullmatch(w) and not (tmp_path / w).is_file()} == set(), page.name
        assert not re.search(r"<script|EQUATION|At home this cell", text) and NO_WORDS not in text, page.name
        assert page.stem == "index" or ('alt=""' not in text and "playground.html" in text), page.name
    assert (tmp_path / "index.html").read_text(encoding="utf-8").count("<li>") == len(names)
    assert ".highlight .k" in (tmp_path / "style.css").read_text(encoding="utf-8")


def test_equations_are_taken_and_code_is_not():
    found = []
    text = "so $x_1$ and\n$$\\sum_i\nx_i$$ but `$HOME` and\n```\na $b$\n```\n5 $"
    assert take_equations(text, found) == ("so EQUATION0END and\nEQUATION1END but `$HOME` and\n```\na $b$\n```\n5 $")
    assert found == [("x_1", False), ("\\sum_i\nx_i", True)]


def test_another_package_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(build_site, "ROOT", tmp_path)
    archive = tmp_path / "build" / "npm" / "katex-0.tgz"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"something else")
    monkeypatch.setitem(build_site.INTEGRITY, "katex@0", build_site.INTEGRITY[build_site.KATEX])
    with pytest.raises(SystemExit, match=r"katex-0\.tgz: is not what was published as katex@0"):
        unpack("katex@0", tmp_path / "out", ".*")
    assert not archive.exists() and not (tmp_path / "out").exists()


def test_without_npm_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(build_site, "ROOT", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match=r"the site needs katex.* from npm: install Node\.js"):
        unpack(build_site.KATEX, tmp_path / "out", ".*")


def test_script_is_small_and_fetches_nothing_from_elsewhere():
    scripts = [path.read_text(encoding="utf-8") for path in sorted(SOURCE.glob("*.js"))]
    assert sum(len(text.splitlines()) for text in scripts) <= 300
    for path in SOURCE.iterdir():
        assert not re.search(r"https?://|//cdn", path.read_text(encoding="utf-8")), path.name


def test_workflow_waits_for_the_stamp():
    """Without an address in pyproject.toml every step after the question is passed over."""
    text = (ROOT / ".github" / "workflows" / "site.yml").read_text(encoding="utf-8")
    build, deploy = text.split("\n  deploy:\n")
    _, _, asked, *steps = build.split("\n      - ")
    assert r"grep -q '^\[project\.urls\]' pyproject.toml" in asked
    assert len(steps) == 4 and all("if: steps.stamped.outputs.yes" in step for step in steps)
    assert "if: needs.build.outputs.stamped" in deploy
