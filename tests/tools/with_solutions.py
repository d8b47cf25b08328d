"""Copies of the notebooks to be executed, with the solutions of their exercises as cells; the folder is printed.

python tests/tools/with_solutions.py [1|2]      (make notebooks; 1 or 2: every other one, from the first or the second)
"""

import re
import shutil
import sys
from pathlib import Path

import jupytext
import nbformat
from nbformat.v4 import new_code_cell

ROOT = Path(__file__).parents[2]
FEW = """from importlib import import_module as _import
_room = _import("nstlib.painting.stylize")
_usual, _room.steps_at = _room.steps_at, lambda size, config: min(config.steps, 5)"""
AS_USUAL = "_room.steps_at = _usual"


def solutions(markdown: str) -> list[str]:
    """The blocks of Python in a markdown cell's folded parts."""
    folded = re.findall(r"<details>.*?</details>", markdown, re.DOTALL)
    return [code for part in folded for code in re.findall(r"```python\n(.*?)```", part, re.DOTALL)]


def with_solutions(source: Path):
    """A notebook whose solutions follow the cell that holds them; `stylize` takes few steps in them: nobody looks."""
    book, cells = jupytext.read(source), []
    for cell in book.cells:
        found = solutions(cell.source) if cell.cell_type == "markdown" else []
        cells += [cell, *(new_code_cell(code) for code in ([FEW, *found, AS_USUAL] if found else []))]
    book.cells = cells
    return book


def write_all(folder: Path, first: int = 0, step: int = 1) -> Path:
    """All of them, or every other one, in `folder/notebooks`, beside the data they name."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "notebooks").mkdir(parents=True)
    (folder / "data").symlink_to(ROOT / "data")
    for source in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.py"))[first::step]:
        nbformat.write(with_solutions(source), folder / "notebooks" / f"{source.stem}.ipynb")
    return folder / "notebooks"


if __name__ == "__main__":
    if half := "".join(sys.argv[1:]):
        print(write_all(ROOT / "build" / f"executed-{half}", int(half) - 1, 2))
    else:
        print(write_all(ROOT / "build" / "executed"))
