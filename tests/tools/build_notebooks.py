"""Execute the notebooks' .py sources and store them, with pictures, as .ipynb.

python tests/tools/build_notebooks.py [NN …]
"""

import sys
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

from nstlib.storage import write_aside

FOLDER = Path(__file__).parents[2] / "notebooks"


def build(source: Path) -> Path:
    """Run one source from top to bottom; the .ipynb is replaced only if every cell succeeds."""
    book = jupytext.read(source)
    NotebookClient(book, timeout=1800, record_timing=False, resources={"metadata": {"path": FOLDER}}).execute()
    for i, cell in enumerate(book.cells):
        cell["id"] = f"cell-{i:03}"
        if cell.cell_type == "code":
            cell.outputs = [tidy(o) for o in cell.outputs if not is_progress(o)]
    book.metadata.pop("widgets", None)
    book.metadata["language_info"] = {"name": "python"}
    target = source.with_suffix(".ipynb")
    with write_aside(target) as aside:
        nbformat.write(book, aside)
    return target


def is_progress(output) -> bool:
    """A progress bar: text on stderr, or a widget."""
    return output.get("name") == "stderr" or "application/vnd.jupyter.widget-view+json" in output.get("data", {})


def tidy(output):
    """Without the parts that differ from run to run."""
    if "data" in output:
        output["data"].pop("application/vnd.jupyter.widget-view+json", None)
    return output


if __name__ == "__main__":
    wanted = tuple(sys.argv[1:]) or ("",)
    for path in sorted(FOLDER.glob("[0-9][0-9]_*.py")):
        if path.name.startswith(wanted):
            print(f"{path.name} …", flush=True)
            print(f"  {build(path).stat().st_size // 1000} KB", flush=True)
