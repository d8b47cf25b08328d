"""Paint the README's galleries: scikit-image's photographs by optimisation, and by the shipped networks.

python data/gallery.py
"""

from pathlib import Path

from PIL import Image

import nstlib as nst
from nstlib.screen.plots import sheet
from nstlib.storage import write_aside

PHOTOGRAPHS = ("astronaut", "cat", "coffee")
CORNERS = ("stained_glass", "starry_night", "woodblock", "halftone")
STYLES = ("starry_night", "great_wave", "the_scream", "stained_glass", "swirl")
CONFIG = nst.GatysConfig(size=448, backbone="compact")


def square(image: Image.Image, side: int = 230) -> Image.Image:
    """The middle of a picture, as a square."""
    edge = min(image.size)
    left, top = ((length - edge) // 2 for length in image.size)
    return image.crop((left, top, left + edge, top + edge)).resize((side, side), Image.LANCZOS)


def networks() -> None:
    """One row a photograph; a column for each shipped network."""
    names = [name for name in nst.model_files() if name != "studio"]
    tiles = [square(nst.to_pil(nst.paint(photo, name, 512)), 320) for photo in PHOTOGRAPHS for name in names]
    store(sheet(tiles, names * len(PHOTOGRAPHS), columns=len(names), height=280), "networks.jpg")


def studio() -> None:
    """A map: the styles in its corners and all that lies between them."""
    steps, tiles = [i / 4 for i in range(5)], []
    for y in steps:
        for x in steps:
            shares = ((1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y)
            tiles.append(nst.paint("cat", "studio", 320, styles=dict(zip(CORNERS, shares, strict=True))))
    store(sheet([square(nst.to_pil(tile), 240) for tile in tiles], columns=5, height=220), "studio.jpg")


def store(page: Image.Image, name: str) -> None:
    target = Path(__file__).parent / name
    with write_aside(target) as aside:
        page.save(aside, quality=86)
    print(f"{target.name}: {target.stat().st_size // 1000} KB")


def optimisation() -> None:
    """One row a photograph; the styles above."""
    tiles = [square(nst.open_image(style), 300) for style in STYLES]
    face = nst.open_image("astronaut").crop((80, 0, 380, 300))  # where a face is small, a stroke is as large as an eye
    for photograph in (face, *PHOTOGRAPHS[1:]):
        tiles += [square(nst.to_pil(nst.stylize(photograph, style, CONFIG)), 300) for style in STYLES]
    store(sheet(tiles, columns=len(STYLES), height=280), "gallery.jpg")


if __name__ == "__main__":
    networks()
    studio()
    optimisation()
