"""Write where the repository is published: into pyproject.toml, and from there into badges and first cells.

python tests/tools/stamp.py owner/name      (make stamp REPO=owner/name; any git address will do; "" takes it out again)
"""

import re
import sys
from pathlib import Path

import jupytext
import nbformat

from nstlib.storage import write_aside

ROOT = Path(__file__).parents[2]
FIRST_CELL = re.compile(r"^# @title At home this cell does nothing\..*?(?=\n\n# %%)", re.MULTILINE | re.DOTALL)
TITLE = re.compile(r"^(# # .*)\n(?:#\n# \[!\[.*\n)?", re.MULTILINE)
ROW = re.compile(r"^(\| \[.*?\]\(notebooks/(\w+)\.ipynb\))(?: \[!\[.*?)?( \|)", re.MULTILINE)
URLS = re.compile(r'\n\[project\.urls\]\nRepository = "(.*)"\n')

BOOTSTRAP = """# @title At home this cell does nothing. {said}
import os
import sys

if "google.colab" in sys.modules or "KAGGLE_KERNEL_RUN_TYPE" in os.environ:
{install}
    print("nstlib is installed")"""
ZIP = """    if not os.path.exists("nstlib.zip"):
        sys.exit("Upload a zip of the repository as nstlib.zip beside this notebook, and run this cell again.")
    # %pip install -q nstlib.zip"""


def published(root: Path = ROOT) -> str:
    """The address in pyproject.toml; "" where the repository has none yet."""
    found = URLS.search((root / "pyproject.toml").read_text(encoding="utf-8"))
    return found[1] if found else ""


def bootstrap(address: str) -> str:
    """The first code cell of every notebook, as in its .py."""
    if address:
        return BOOTSTRAP.format(
            said="On Colab and Kaggle it installs the library.", install=f"    # %pip install -q git+{address}"
        )
    return BOOTSTRAP.format(said="On Colab or Kaggle it installs the library from a zip.", install=ZIP)


def badges(address: str, notebook: str) -> str:
    """Buttons that open a notebook on Colab and on Kaggle; "" where it is not published on GitHub."""
    if not address.startswith("https://github.com/"):
        return ""
    path = f"{address.removeprefix('https://github.com/')}/blob/main/notebooks/{notebook}.ipynb"
    colab, kaggle = "https://colab.research.google.com", "https://kaggle.com"
    return (
        f"[![Colab]({colab}/assets/colab-badge.svg)]({colab}/github/{path}) "
        f"[![Kaggle]({kaggle}/static/images/open-in-kaggle.svg)]({kaggle}/kernels/welcome?src=https://github.com/{path})"
    )


def stamp(address: str, root: Path = ROOT) -> None:
    """Write an address, or take it out with "", everywhere."""
    project = root / "pyproject.toml"
    text = URLS.sub("", project.read_text(encoding="utf-8"))
    urls = f'\n[project.urls]\nRepository = "{address}"\n' if address else ""
    store(project, text.replace("\n[project.scripts]", f"{urls}\n[project.scripts]"))
    readme = root / "README.md"
    rows = ROW.sub(lambda m: f"{m[1]}{' ' * bool(b := badges(address, m[2]))}{b}{m[3]}", readme.read_text("utf-8"))
    store(readme, rows)
    for script in sorted((root / "notebooks").glob("[0-9][0-9]_*.py")):
        stamp_notebook(address, script)


def stamp_notebook(address: str, script: Path) -> None:
    """The .py, and of the .ipynb the same cells, their outputs kept."""
    text, line = script.read_text(encoding="utf-8"), badges(address, script.stem)
    text = TITLE.sub(lambda m: f"{m[1]}\n" + (f"#\n# {line}\n" if line else ""), text, count=1)
    store(script, FIRST_CELL.sub(lambda _: bootstrap(address), text, count=1))
    book, source = nbformat.read(script.with_suffix(".ipynb"), 4), jupytext.read(script)
    for old, new in zip(book.cells, source.cells, strict=True):
        old.source = new.source
    with write_aside(script.with_suffix(".ipynb")) as aside:
        nbformat.write(book, aside)


def store(path: Path, text: str) -> None:
    with write_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def whole(repository: str) -> str:
    """`owner/name` as GitHub's address; a whole address, or "", as it is.

    Raises:
        ValueError: neither.
    """
    if not repository or re.match(r"(https|file|ssh)://\S+$", repository):
        return repository
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise ValueError(f"REPO={repository!r}: say owner/name, or a whole https:// address")
    return f"https://github.com/{repository}"


if __name__ == "__main__":
    try:
        stamp(whole(sys.argv[1]))
    except (IndexError, ValueError) as error:
        sys.exit(str(error) if isinstance(error, ValueError) else __doc__)
    print(f"published at: {published() or '(nowhere yet)'}")
