"""Cut the pictures at the head of the notebooks out of what the notebooks show.

python data/openings.py [NN …]      (after the notebooks were executed; the moving ones are data/motion.py's)
"""

import base64
import io
import sys
from pathlib import Path

import nbformat
from PIL import Image

import nstlib as nst
from nstlib.screen.plots import FIGURES, sheet
from nstlib.storage import write_aside

HERE = Path(__file__).parent
Part = tuple[int, tuple[int, int, int, int]]  # which of a notebook's pictures, and of it left, top, right, bottom
PARTS: dict[str, list[Part]] = {
    "01": [(5, (0, 0, 1009, 500))],
    "02": [
        (2, (620, 224, 810, 414)),
        (0, (24, 0, 129, 105)),
        (0, (528, 417, 633, 522)),
        (1, (632, 0, 782, 150)),
        (1, (158, 184, 308, 334)),
    ],
    "03": [(5, (0, 0, 871, 190))],
    "06": [(2, (0, 0, 300, 300)), (2, (0, 334, 300, 634))],
    "07": [(6, (0, 448, 871, 638)), (6, (0, 672, 871, 862))],
    "09": [(0, (0, 0, 592, 478))],
    "12": [(0, (0, 0, 976, 240))],
    "13": [(0, (0, 0, 998, 330))],
    "14": [(0, (0, 0, 1099, 240))],
}


def pictures(notebook: str) -> list[Image.Image]:
    """All pictures among a notebook's outputs."""
    (path,) = (HERE.parent / "notebooks").glob(f"{notebook}_*.ipynb")
    cells = nbformat.read(path, 4).cells
    data = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    found = [each.get("image/jpeg") or each.get("image/png") for each in data]
    return [Image.open(io.BytesIO(base64.b64decode(each))).convert("RGB") for each in found if each]


def opening(notebook: str) -> Image.Image:
    """Its parts side by side; those of 07 one above the other."""
    found = pictures(notebook)
    parts = [found[number].crop(box) for number, box in PARTS[notebook]]
    if len(parts) == 1:
        return parts[0]
    return sheet(parts, columns=1 if notebook == "07" else None, height=min(300, max(part.height for part in parts)))


def two_critics() -> Image.Image:
    """Of notebook 10: the cat, painted by VGG-19 and by the compact critic."""
    swap = Image.open(FIGURES / "critic" / "swap.jpg")
    return sheet([swap.crop((354, 0, 700, 230)), swap.crop((354, 264, 700, 494))], height=230)


def rocket() -> Image.Image:
    """Of notebook 04: the photograph, and the painting that notebook 14 shows."""
    painted = pictures("14")[3].crop((348, 0, 696, 230))
    return sheet([nst.open_image("rocket"), painted], height=260)


def store(page: Image.Image, name: str) -> None:
    page.thumbnail((900, 900), Image.Resampling.LANCZOS)
    target = HERE / "openings" / f"{name}.jpg"
    with write_aside(target) as aside:
        page.save(aside, quality=82)
    print(f"{target.name}: {page.size}, {target.stat().st_size // 1000} KB")


if __name__ == "__main__":
    own = {"04": rocket, "10": two_critics}
    for notebook in sys.argv[1:] or [*PARTS, *own]:
        store(own[notebook]() if notebook in own else opening(notebook), notebook)
