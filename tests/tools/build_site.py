"""The series as a static site: a page a notebook, an index, and the playground, which paints in the browser.

python tests/tools/build_site.py [FOLDER]      (make site; build/site)

Everything that a page needs lies beside it. Two packages come from npm, once, with their version pinned and their
SHA-512 checked, and are kept in build/npm: onnxruntime-web, which runs the network, and KaTeX, which sets the equations
here and now, so that the pages need no script for them.
"""

import base64
import hashlib
import html
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import nbformat
import numpy as np
import onnx
from nbconvert import HTMLExporter
from PIL import Image
from pygments.formatters import HtmlFormatter

import nstlib
from nstlib.storage import write_aside

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "data" / "site"
RUNTIME, KATEX = "onnxruntime-web@1.30.0", "katex@0.19.1"
INTEGRITY = {  # as in a package-lock.json
    RUNTIME: "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
    KATEX: "sha512-jG8uKntjSEcm2EpQOh0XturpPuuC9r3Sq5HLHdsFdWZT27E672SF19QEi+of0/YeOy15lDgRhKvr5614uRrEfA==",
}
TYPESET = """const katex = require(process.argv[1]), asked = JSON.parse(require("fs").readFileSync(0, "utf8"));
const set = ([tex, displayMode]) => katex.renderToString(tex, { displayMode, strict: "error" });
console.log(JSON.stringify(asked.map(set)));"""
BOOTSTRAP = "# @title At home this cell does nothing."  # the first cell's beginning; it is left out here
SHOWN = "coffee"  # the photograph on the tiles of the styles
TILE = (240, 160)  # pixels
NO_WORDS = "No description has been provided for this image"  # what nbconvert writes
Equations = list[tuple[str, bool]]  # LaTeX, and whether it stands on its own line


def build(folder: Path) -> Path:
    """Write the site; returns its first page."""
    katex = unpack(KATEX, folder / "katex", r"katex\.min\.(js|css)|fonts/.*\.woff2")
    unpack(RUNTIME, folder / "ort", r"ort\.(wasm|webgpu)\.min\.mjs|ort-wasm-simd-threaded(\.asyncify)?\.(mjs|wasm)")
    build_pages(folder, lambda equations: typeset(equations, katex / "katex.min.js"))
    build_playground(folder)
    return folder / "index.html"


# ── the notebooks ───────────────────────────────────────────────────────────────────────────────────


def build_pages(folder: Path, typeset: Callable[[Equations], list[str]]) -> None:
    """The index, and a page a notebook."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(ROOT / "data" / "openings", folder / "openings", dirs_exist_ok=True)
    sheet = (SOURCE / "style.css").read_text(encoding="utf-8")
    write(folder / "style.css", f"{sheet}\n/* code */\n{code_colours()}\n")
    books = {path.stem: nbformat.read(path, 4) for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))}
    write(folder / "index.html", index(books))
    for name, book in books.items():
        write(folder / f"{name}.html", page(book, typeset))


def page(book, typeset: Callable[[Equations], list[str]]) -> str:
    """A notebook as a page, whose links lead to pages."""
    equations: Equations = []
    book.cells = [cell for cell in book.cells if not cell.source.startswith(BOOTSTRAP)]
    for cell in book.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"\((\d\d_\w+)\.ipynb\)", r"(\1.html)", cell.source)
            cell.source = cell.source.replace("(../data/openings/", "(openings/")
            cell.source = take_equations(cell.source, equations)
    body, _ = HTMLExporter(template_name="basic").from_notebook_node(book)
    words, done = iter(alternatives(book)), typeset(equations)
    body = re.sub(NO_WORDS, lambda _: next(words), body)
    body = re.sub(r"EQUATION(\d+)END", lambda found: done[int(found[1])], body)
    return filled("notebook.html", title=html.escape(title_of(book)), body=body)


def take_equations(source: str, equations: Equations) -> str:
    """Markdown with a placeholder for each equation, which is appended to the list; code keeps its dollars."""

    def take(found: re.Match) -> str:
        if found[1]:  # code
            return found[0]
        equations.append((found[2] or found[3], bool(found[2])))
        return f"EQUATION{len(equations) - 1}END"

    return re.sub(r"(```.*?```|`[^`]*`)|\$\$(.+?)\$\$|\$([^$\n]+?)\$", take, source, flags=re.DOTALL)


def typeset(equations: Equations, katex: Path) -> list[str]:
    """The equations as HTML with MathML inside, by KaTeX in Node.

    Raises:
        CalledProcessError: one that KaTeX cannot read; it has said which.
    """
    command = ["node", "-e", TYPESET, str(katex.resolve())]
    return json.loads(subprocess.run(command, input=json.dumps(equations), text=True, check=True, stdout=-1).stdout)


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


def code_colours() -> str:
    """Pygments' colours for code, on light and on dark ground."""
    both = (HtmlFormatter(style=style).get_style_defs(".highlight") for style in ("friendly", "monokai"))
    light, dark = ("\n".join(re.findall(r"^\.highlight \.\w+ .*", rules, re.MULTILINE)) for rules in both)
    return f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}"


# ── the index ───────────────────────────────────────────────────────────────────────────────────────


def index(books: dict) -> str:
    """The first page: the playground's door, then a card a notebook."""
    cards = "".join(card(book, name) for name, book in books.items())
    return filled("index.html", count=str(len(books)), cards=cards)


def card(book, name: str) -> str:
    """A notebook's place in the index: its last picture, title, and what one learns."""
    learn = re.search(r"\*\*You will learn\*\*(.*?)\n\n", book.cells[0].source, re.DOTALL)
    words = " ".join(learn[1].replace("*", "").split()) if learn else ""
    words = html.escape(words[:1].upper() + words[1:])
    title = html.escape(title_of(book))
    return f'<li><a href="{name}.html"><img src="{thumbnail(book)}" alt=""><b>{title}</b><p>{words}</p></a>'


def title_of(book) -> str:
    return book.cells[0].source.removeprefix("# ").splitlines()[0]


def thumbnail(book) -> str:
    """The largest picture among the outputs, small."""
    outputs = (output.get("data", {}) for cell in book.cells for output in cell.get("outputs", []))
    pictures = [data.get("image/jpeg") or data.get("image/png") for data in outputs]
    largest = max(filter(None, pictures), key=len)
    image = Image.open(io.BytesIO(base64.b64decode(largest))).convert("RGB")
    edge = min(image.width, round(image.height * 1.5))
    image = image.crop((0, 0, edge, round(edge / 1.5))).resize((600, 400), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


# ── the playground ──────────────────────────────────────────────────────────────────────────────────


def build_playground(folder: Path) -> None:
    """Its page and scripts, the network, photographs and tiles, and the runtime."""
    net = nstlib.load_transformer("studio")
    (folder / "pictures").mkdir(exist_ok=True)
    for script in ("playground.js", "worker.js", "service.js"):
        shutil.copy(SOURCE / script, folder)
    photographs = "".join(photograph(folder, name) for name in nstlib.sample_names()["photographs"])
    styles = "".join(tile(folder, net, style) for style in net.config.styles)
    for i, style in enumerate(("starry_night", "stained_glass", "the_scream")):
        save(nstlib.paint("rocket", net, size=480, styles=style), folder / "pictures" / f"door_{i}.jpg")
    weight = write_network(net, folder / "studio.onnx").stat().st_size
    page = filled("playground.html", photographs=photographs, styles=styles, megabytes=f"{weight / 1e6:.1f}")
    write(folder / "playground.html", page)


def photograph(folder: Path, name: str) -> str:
    """A button with a sample of scikit-image, which is stored at full size and small."""
    save(nstlib.load_image(name), folder / "pictures" / f"{name}.jpg", quality=93)
    small = save(nstlib.load_image(name, 200), folder / "pictures" / f"{name}_small.jpg")
    return (
        f'<button type="button" value="pictures/{name}.jpg"><img src="pictures/{small.name}" alt="{name}"></button>\n'
    )


def tile(folder: Path, net, style: str) -> str:
    """A button with a style's own painting."""
    painting = save(nstlib.paint(SHOWN, net, size=TILE[0], styles=style), folder / "pictures" / f"style_{style}.jpg")
    said = style.replace("_", " ")
    return f'<button value="{style}"><img src="pictures/{painting.name}" alt=""><span>{said}</span></button>'


def save(image, path: Path, quality: int = 85) -> Path:
    return nstlib.save_image(image, path, quality=quality)


def write_network(net, path: Path) -> Path:
    """The network as ONNX, its weights in float16, as its own file has them: half the bytes, the same numbers."""
    model = onnx.load(nstlib.export_onnx(net, path))
    casts, to_array, from_array = [], onnx.numpy_helper.to_array, onnx.numpy_helper.from_array
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and np.prod(tensor.dims) >= 64:
            half = from_array(to_array(tensor).astype(np.float16), f"{tensor.name}_half")
            casts.append(onnx.helper.make_node("Cast", [half.name], [tensor.name], to=onnx.TensorProto.FLOAT))
            tensor.CopyFrom(half)
    nodes = [*casts, *model.graph.node]
    for node in nodes:
        node.ClearField("metadata_props")  # where in Python it came from
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    del model.graph.value_info[:]
    with write_aside(path) as aside:
        onnx.save(model, aside)
    return path


def unpack(package: str, folder: Path, wanted: str) -> Path:
    """From a package of npm's the files in `dist` whose names match; returns the folder.

    Raises:
        SystemExit: npm is not installed, cannot get the package, or got something else.
    """
    store = ROOT / "build" / "npm"
    store.mkdir(parents=True, exist_ok=True)
    archive = store / f"{package.replace('@', '-')}.tgz"
    if not archive.is_file():
        try:
            subprocess.run(["npm", "pack", "--silent", package], cwd=store, check=True, stdout=subprocess.DEVNULL)
        except FileNotFoundError:
            sys.exit(f"the site needs {package} from npm: install Node.js with npm (Debian: apt install npm)")
        except subprocess.CalledProcessError:
            sys.exit(f"npm could not get {package}. Check the connection and say make site again.")
    if f"sha512-{base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()}" != INTEGRITY[package]:
        archive.unlink()
        sys.exit(f"{archive}: is not what was published as {package} (its SHA-512 differs). Say make site again.")
    with tarfile.open(archive) as files:
        for member in files.getmembers():
            name = member.name.removeprefix("package/dist/")
            if re.fullmatch(wanted, name):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                with write_aside(folder / name) as aside:
                    aside.write_bytes(files.extractfile(member).read())
    return folder


def filled(name: str, **parts: str) -> str:
    """A page of ours with its `<!-- part -->` filled in."""
    text = (SOURCE / name).read_text(encoding="utf-8")
    return re.sub(r"<!-- (\w+) -->", lambda found: parts[found[1]], text)


def write(path: Path, text: str) -> None:
    with write_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "site"
    build(place)
    print(f"Look at it with:  python -m http.server --directory {place} 8000  and open http://localhost:8000")
