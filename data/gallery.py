"""Paint the README's gallery: photographs from scikit-image in the styles of our own paintings.

python data/gallery.py
"""

from pathlib import Path

from PIL import Image

import nstlib as nst
from nstlib.files import write_aside
from nstlib.plots import sheet

PHOTOGRAPHS = ("astronaut", "cat", "coffee")
CONFIG = nst.GatysConfig(size=512, backbone="compact")


def square(image: Image.Image, side: int = 230) -> Image.Image:
    """The middle of a picture, as a square."""
    edge = min(image.size)
    left, top = ((length - edge) // 2 for length in image.size)
    return image.crop((left, top, left + edge, top + edge)).resize((side, side), Image.LANCZOS)


def main() -> None:
    """One row a photograph; the styles above."""
    styles = list(nst.PAINTINGS)
    tiles = [Image.new("RGB", (230, 230), "white")] + [square(nst.find_image(style)) for style in styles]
    for photograph in PHOTOGRAPHS:
        tiles.append(square(nst.find_image(photograph)))
        for style in styles:
            tiles.append(square(nst.to_pil(nst.stylize(photograph, style, CONFIG))))
    target = Path(__file__).parent / "gallery.jpg"
    with write_aside(target) as aside:
        sheet(tiles, columns=len(styles) + 1, height=170).save(aside, quality=86)
    print(f"{target.name}: {target.stat().st_size // 1000} KB")


if __name__ == "__main__":
    main()
