"""Make the clip of notebook 11 from scikit-image's photographs: a camera that moves, a thing that moves, a cut.

python data/clip.py
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from skimage import data

import nstlib
from nstlib.pictures.clips import Clip
from nstlib.pictures.reel import encode, join

SIZE, FRAMES, CUT, RATE = (192, 320), 75, 50, 25  # height and width; frames; the frame where the scene changes
FACE = 72  # pixels across
CLIP = Path(nstlib.__file__).parent / "figures" / "clips" / "coffee.mp4"


def view(photo: np.ndarray, centre: tuple[float, float], width: float) -> np.ndarray:
    """What a camera sees that looks at a point of a photograph and is as far away as `width` says, pixels."""
    scale = SIZE[1] / width
    matrix = np.float32([[scale, 0, SIZE[1] / 2 - scale * centre[0]], [0, scale, SIZE[0] / 2 - scale * centre[1]]])
    photo = cv2.GaussianBlur(photo, (0, 0), max(0.01, 0.4 / scale - 0.3))  # what is made smaller, or it shimmers
    return cv2.warpAffine(photo, matrix, SIZE[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def put(scene: np.ndarray, thing: np.ndarray, at: tuple[float, float]) -> np.ndarray:
    """A round thing before the scene, its edge soft, at any point between the pixels."""
    side = thing.shape[0]
    shift = np.float32([[1, 0, at[0] - side / 2], [0, 1, at[1] - side / 2]])
    y, x = np.mgrid[0:side, 0:side] - (side - 1) / 2
    disc = np.clip(side / 2 - 1 - np.hypot(x, y), 0, 1).astype(np.float32)
    mask = cv2.warpAffine(disc, shift, SIZE[::-1])[..., None]
    return scene + mask * (cv2.warpAffine(thing, shift, SIZE[::-1], borderMode=cv2.BORDER_REFLECT) - scene)


def camera(i: int) -> tuple[tuple[float, float], float]:
    """What frame i looks at: a point of the photograph, x and y, and the width seen, in its pixels."""
    t = i / CUT
    if i < CUT:
        return (250 + 90 * t, 190 + 20 * np.sin(3 * t)), 420 - 60 * t
    return (230 - 60 * (t - 1), 130 + 40 * (t - 1)), 300 + 120 * (t - 1)


def flight(i: int) -> np.ndarray:
    """Where the middle of the cat's face is in frame i, x and y in pixels of the clip."""
    return np.array([40 + 240 * i / CUT, 70 + 30 * np.sin(5 * i / CUT)])


def true_motion(here: int, there: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel of one frame lies in another, `(H, W, 2)`, and whether it is seen there. Both before the cut."""
    pixels = np.indices(SIZE).transpose(1, 2, 0)[..., ::-1].astype(np.float64)  # x, y
    middle = np.array(SIZE[::-1]) / 2
    (centre, width), (centre_there, width_there) = camera(here), camera(there)
    in_photo = centre + (pixels - middle) * width / SIZE[1]
    target = middle + (in_photo - centre_there) * SIZE[1] / width_there
    radius = np.linalg.norm(pixels - flight(here), axis=-1)
    on_face = radius < FACE / 2
    target[on_face] = (pixels + flight(there) - flight(here))[on_face]
    hidden = ~on_face & (np.linalg.norm(target - flight(there), axis=-1) < FACE / 2 + 4)
    inside = ((target > 2) & (target < np.array(SIZE[::-1]) - 3)).all(-1)
    return (target - pixels).astype(np.float32), inside & ~hidden & (np.abs(radius - FACE / 2) > 4)


def frames() -> Iterator[np.ndarray]:
    """First the coffee, before which a cat's face flies by; then the astronaut. With the noise of a camera."""
    coffee, cat, astronaut = data.coffee(), data.chelsea(), data.astronaut()
    face = cv2.resize(cat[10:250, 100:340], (FACE, FACE), interpolation=cv2.INTER_AREA).astype(np.float32)
    rng = np.random.default_rng(0)
    for i in range(FRAMES):
        scene = view(coffee if i < CUT else astronaut, *camera(i)).astype(np.float32)
        if i < CUT:
            scene = put(scene, face, flight(i))
        yield np.rint(scene + rng.normal(0, 1.0, scene.shape)).clip(0, 255).astype(np.uint8)


if __name__ == "__main__":
    times = [(Fraction(i, RATE), Fraction(1, RATE)) for i in range(FRAMES)]
    clip = Clip(CLIP, SIZE, Fraction(RATE), Fraction(FRAMES, RATE), Fraction(1, 12_800))
    part = CLIP.with_suffix(".mkv")
    CLIP.unlink(missing_ok=True)
    encode(frames(), part, clip, ".mp4")
    join([part], times, CLIP, clip, None, {"made by": "data/clip.py"})
    part.unlink()
    print(f"{CLIP.name}: {CLIP.stat().st_size // 1000} KB")
