"""Paint the moving pictures at the head of notebooks 00, 05, 08 and 11, from scikit-image's photographs.

python data/motion.py [growing] [slider] [walk] [flicker]
"""

import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

import nstlib as nst
from nstlib.pictures.animations import save_animation
from nstlib.pictures.clips import open_clip

HERE = Path(__file__).parent / "openings"
SIZE = 300  # pixels, the long side


def growing() -> nst.Film:
    """A painting by optimisation, from the first small sketch to the last size."""
    film = nst.Film(every=11, size=SIZE)
    config = nst.GatysConfig(backbone="compact", size=SIZE, device="cpu")
    nst.stylize("cat", "starry_night", config, film)
    film.kept.insert(0, nst.load_image("cat", SIZE))
    return film


def slider() -> nst.Film:
    """A hand on the style weight: it pulls the slider up, and lets it go again."""
    content, style = nst.load_image("cat", SIZE), nst.load_image("stained_glass", SIZE)
    painter = nst.GatysPainter(content, [style], nst.GatysConfig(backbone="compact", style_weight=1, device="cpu"))
    frames = [below(content, 1)]
    for weight in (*np.geomspace(1, 1000, 10), *np.geomspace(1000, 0.1, 8)):
        painter.configure(style_weight=float(weight))
        frames.append(below(painter.step(12).image, weight))
    return nst.Film(frames, size=SIZE)


def below(image, weight: float):
    """A picture with the slider under it."""
    picture = nst.to_pil(image)
    page = Image.new("RGB", (picture.width, picture.height + 28), "white")
    page.paste(picture)
    place, line = 20 + (picture.width - 40) * (np.log10(weight) + 1) / 4, picture.height + 14
    y, x = np.mgrid[: page.height, : page.width]
    pixels = np.array(page)
    pixels[(abs(y - line) < 2) & (x > 18) & (x < picture.width - 18)] = (190, 190, 190)
    pixels[np.hypot(y - line, x - place) < 9] = (33, 120, 200)
    return nst.to_tensor(Image.fromarray(pixels))


def walk() -> nst.Film:
    """From one style of the network to another, and on."""
    stations, steps = ("starry_night", "stained_glass", "ink", "starry_night"), 6
    frames = []
    for here, there in pairwise(stations):
        for way in np.arange(steps) / steps:
            shares = {here: 1 - float(way), there: float(way)}
            frames.append(nst.paint("coffee", "studio", SIZE, styles=shares))
    return nst.Film(frames, size=SIZE)


def flicker() -> nst.Film:
    """A film painted frame by frame, and beside it one whose last painting is carried along."""
    clip, films = Path(nst.__file__).parent / "figures" / "clips" / "coffee.mp4", []
    with tempfile.TemporaryDirectory() as folder:
        for carry in (0.0, nst.VideoConfig.carry):
            config = nst.VideoConfig(size=230, end=0.8, carry=carry)
            path = nst.paint_video(clip, "starry_night", Path(folder) / f"{carry}.webp", config)
            films.append([frame.pixels() for frame in open_clip(path)])
    gap = np.full((films[0][0].shape[0], 8, 3), 255, np.uint8)
    sides = [np.hstack([left, gap, right]) for left, right in zip(*films, strict=True)]
    return nst.Film([nst.to_tensor(Image.fromarray(side)) for side in sides], size=468)


def save(film: nst.Film, path: Path, milliseconds: int = 130) -> Path:
    """As small as a page wants it; it rests on the last picture."""
    pictures = [nst.to_pil(frame) for frame in film.frames]
    durations = [milliseconds] * (len(pictures) - 1) + [1500]
    return save_animation(pictures, durations, path, quality=75)


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    for make in (growing, slider, walk, flicker):
        if not sys.argv[1:] or make.__name__ in sys.argv[1:]:
            path = save(make(), HERE / f"{make.__name__}.webp")
            print(f"{path.name}: {path.stat().st_size // 1000} KB", flush=True)
