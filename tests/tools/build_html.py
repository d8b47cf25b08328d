"""The series as a small static site: one page a notebook, pictures inside, and an index with thumbnails.

python tests/tools/build_html.py [FOLDER]      (make html; build/html)
"""

import base64
import html
import io
import re
import sys
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter
from PIL import Image

from nstlib.storage import write_aside

ROOT = Path(__file__).parents[2]
NO_WORDS = "No description has been provided for this image"  # what nbconvert writes
WIDTH = 300  # of a thumbnail, pixels
STYLE = """body{font:17px/1.5 system-ui,sans-serif;max-width:1000px;margin:3em auto;padding:0 1em;color:#222}
h1{font-weight:600}ul{list-style:none;padding:0;display:grid;grid-template-columns:repeat(auto-fill,minmax(280px,1fr));gap:1.6em}
li img{width:100%;height:190px;object-fit:cover;border-radius:6px}a{color:inherit;text-decoration:none}
a:hover b{text-decoration:underline}li p{margin:.3em 0;color:#555;font-size:.9em}"""


def build(folder: Path) -> Path:
    """Write the site; returns its first page."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        book = nbformat.read(path, 4)
        write(folder / f"{path.stem}.html", page(book))
        entries.append(entry(book, path.stem))
    title = "Neural style transfer, in notebooks"
    index = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    index += '<meta name="viewport" content="width=device-width">'
    write(folder / "index.html", f"{index}<h1>{title}</h1><ul>{''.join(entries)}</ul></html>")
    return folder / "index.html"


def page(book) -> str:
    """A notebook as one file, whose links lead to pages."""
    for cell in book.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"\((\d\d_\w+)\.ipynb\)", r"(\1.html)", cell.source)
    body, _ = HTMLExporter(theme="light").from_notebook_node(book)
    words = iter(alternatives(book))
    return re.sub(NO_WORDS, lambda _: next(words), body)


def alternatives(book) -> list[str]:
    """For each picture among the outputs its alternative text, or the heading that it stands under.

    nbconvert's own template drops them, and says `NO_WORDS` instead.
    """
    heading, found = "", []
    for cell in book.cells:
        if cell.cell_type == "markdown":
            heading = [heading, *re.findall(r"^#+ (.*)", cell.source, re.MULTILINE)][-1]
        for output in cell.get("outputs", []):
            for kind in {"image/png", "image/jpeg"} & output.get("data", {}).keys():
                found.append(html.escape(output.metadata.get(kind, {}).get("alt") or heading))
    return found


def entry(book, stem: str) -> str:
    """A notebook's place in the index: its last picture, title, and what one learns."""
    title, *_ = book.cells[0].source.removeprefix("# ").splitlines()
    learn = re.search(r"\*\*You will learn\*\*(.*?)\n\n", book.cells[0].source, re.DOTALL)
    words = html.escape(" ".join(learn[1].replace("*", "").split()) if learn else "")
    return (
        f'<li><a href="{stem}.html"><img src="{thumbnail(book)}" alt=""><b>{html.escape(title)}</b><p>{words}</p></a>'
    )


def thumbnail(book) -> str:
    """The largest picture among the outputs, small."""
    outputs = (output.get("data", {}) for cell in book.cells for output in cell.get("outputs", []))
    pictures = [data.get("image/jpeg") or data.get("image/png") for data in outputs]
    largest = max(filter(None, pictures), key=len)
    image = Image.open(io.BytesIO(base64.b64decode(largest))).convert("RGB")
    edge = min(image.width, round(image.height * 1.5))
    image = image.crop((0, 0, edge, round(edge / 1.5))).resize((2 * WIDTH, round(2 * WIDTH / 1.5)), Image.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def write(path: Path, text: str) -> None:
    with write_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    print(build(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "html"))
