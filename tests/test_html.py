"""The static site: every notebook has its page, links lead to pages, pictures are inside."""

import re

import pytest

pytest.importorskip("nbconvert")
from build_html import NO_WORDS, ROOT, build


@pytest.mark.filterwarnings("default")  # nbconvert's own
def test_site(tmp_path):
    index = build(tmp_path / "site")
    names = {path.stem for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")}
    assert {path.stem for path in index.parent.glob("*.html")} == names | {"index"}
    for page in index.parent.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        links = re.findall(r'href="([^"#:]+)"', text)
        assert [link for link in links if not (page.parent / link).is_file()] == [], page.name
        assert NO_WORDS not in text and (page == index or 'alt=""' not in text), page.name
        assert re.findall(r'<img[^>]+src="(?!data:)[^"]*"', text) == [], page.name
    assert index.read_text(encoding="utf-8").count("<li>") == len(names)
