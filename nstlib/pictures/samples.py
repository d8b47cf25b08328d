"""Pictures by name: our own paintings, photographs that scikit-image carries, paintings to download."""

import csv
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage import data as photographs
from skimage.segmentation import expand_labels
from torch import Tensor

from ..errors import ImageError, reason
from ..limits import Pixels, checked
from .convert import alpha_of, to_tensor
from .downloads import cache_folder, stay_https
from .files import Source, read_image
from .pixels import resize_pil

PHOTOGRAPHS = {
    "astronaut": lambda: photographs.astronaut(),
    "cat": lambda: photographs.chelsea(),
    "coffee": lambda: photographs.coffee(),
    "rocket": lambda: photographs.rocket(),
    "motorcycle": lambda: photographs.stereo_motorcycle()[0],
    "galaxies": lambda: photographs.hubble_deep_field(),
    "photographer": lambda: photographs.camera(),  # grey
}
PACKAGE = Path(__file__).parents[1]
PAINTINGS = {path.stem: path for path in sorted((PACKAGE / "paintings").glob("*.jpg"))}  # six of ours, four famous ones


@dataclass(frozen=True)
class Masterpiece:
    """A painting in the public domain (its author died over 70 years ago), bundled or downloaded on first use."""

    artist: str
    title: str
    year: str
    address: str  # owner/repository/commit/path on raw.githubusercontent.com
    sha256: str  # of the file


HOST = "https://raw.githubusercontent.com/"
with open(PACKAGE / "masterpieces.csv", encoding="utf-8", newline="") as _table:
    MASTERPIECES = {row.pop("name"): Masterpiece(**row) for row in csv.DictReader(_table)}


def sample_names() -> dict[str, list[str]]:
    """Names of all samples: photographs and paintings work offline, the other masterpieces are downloaded once."""
    return {
        "photographs": list(PHOTOGRAPHS),
        "paintings": list(PAINTINGS),
        "masterpieces": [name for name in MASTERPIECES if name not in PAINTINGS],
    }


@checked
def load_image(source: Source, size: Pixels | None = None) -> Tensor:
    """A picture as `(1, 3, H, W)` in [0, 1]: a sample's name, or anything `read_image` takes.

    Args:
        source: a file of that name comes before a sample. Transparency is flattened on white;
            `open_image` keeps it.
        size: long side in pixels, aspect kept; `None` for the picture's own size.

    Raises:
        ImageError: no such picture, or one that cannot be read or downloaded.
    """
    return to_tensor(resize_pil(open_image(source, size), size))


def load_style(source: Source, size: Pixels | None = None) -> Tensor:
    """Like `load_image`, for a style: of a transparent ground see `to_style`."""
    return to_style(resize_pil(open_image(source, size), size))


def open_mask(source: Source) -> Image.Image:
    """Where a style goes, as an `L` image: white there, black elsewhere.

    Where the picture has transparency, the transparency is the mask. Labels of 0 and 1 are black and white.
    """
    image = open_image(source)
    alpha = alpha_of(image)
    drawn = alpha is not None and alpha.getextrema()[0] < alpha.getextrema()[1]
    mask = alpha if drawn else image.convert("RGB").convert("L")
    highest = mask.getextrema()[1]
    if not highest:
        raise ImageError(f"{source}: the mask is black everywhere. Make white what is to be painted.")
    return mask.point(lambda value: 255 * value) if highest == 1 else mask


def to_mask(image: Image.Image, shape: tuple[int, int]) -> Tensor:
    """A mask as `(1, 1, H, W)` in [0, 1], of a height and width."""
    image = image.resize(shape[::-1], Image.Resampling.BILINEAR)  # which does not overshoot
    return to_tensor(image.convert("RGB"))[:, :1].contiguous()


def to_style(image: Image.Image) -> Tensor:
    """A style as `(1, 3, H, W)` in [0, 1]; one with a transparent ground as `(1, 4, H, W)`, how opaque it is the last.

    Each pixel of the ground has the colour of the nearest that is opaque, so that there is no edge between them.
    """
    alpha = alpha_of(image)
    if alpha is None:
        return to_tensor(image)
    opacity = np.asarray(alpha)
    numbers = np.arange(1, opacity.size + 1).reshape(opacity.shape)
    nearest = expand_labels(np.where(opacity < max(1, opacity.max() // 2), 0, numbers), sum(opacity.shape)) - 1
    pixels = to_tensor(image.convert("RGB")).flatten(2)[..., torch.from_numpy(nearest)]
    return torch.cat([pixels, torch.from_numpy(opacity / np.float32(255))[None, None]], 1)


@checked
def open_image(source: Source, side: Pixels | None = None) -> Image.Image:
    """Open a picture as 8-bit sRGB, upright: `RGB`, or `RGBA` where it has transparency.

    Args:
        source: a sample's name (a file of that name comes first), or what `read_image` takes: a file, its bytes, a
            PIL image, an array or a tensor.
        side: the long side that is needed, in pixels: a much larger JPEG is decoded smaller.

    Raises:
        ImageError: no such file or sample, not a picture, damaged, or too large to be trusted.
    """
    if not isinstance(source, str) or os.path.isfile(source):
        return read_image(source, side)
    if source in PHOTOGRAPHS:
        return read_image(PHOTOGRAPHS[source]())
    if source in PAINTINGS:
        return read_image(PAINTINGS[source], side)
    if source in MASTERPIECES:
        return read_image(fetch(source), side)
    return read_image(source, side)


def fetch(name: str) -> Path:
    """Download a masterpiece on first use, check its SHA-256, and return the cached file."""
    import pooch

    piece = MASTERPIECES[name]
    ending = Path(piece.address).suffix
    try:
        return Path(
            pooch.retrieve(
                HOST + piece.address,
                known_hash=f"sha256:{piece.sha256}",
                path=cache_folder(),
                fname=f"{name}{ending}",
                downloader=pooch.HTTPDownloader(timeout=30, progressbar=False, hooks={"response": stay_https}),
            )
        )
    except (OSError, ValueError) as error:  # no network, a broken connection, a wrong checksum
        raise ImageError(
            f"{name}: cannot be downloaded ({reason(error)}). Check the connection and try again; "
            f"without one these work: {' '.join([*PHOTOGRAPHS, *PAINTINGS])}."
        ) from error
