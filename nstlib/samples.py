"""Pictures by name: our own paintings, photographs that scikit-image carries, paintings to download."""

import csv
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from PIL import Image
from skimage import data as photographs
from torch import Tensor

from .arguments import Pixels, checked
from .errors import ImageError, reason
from .images import Source, open_image, resize_pil, to_tensor

PHOTOGRAPHS = {
    "astronaut": lambda: photographs.astronaut(),
    "cat": lambda: photographs.chelsea(),
    "coffee": lambda: photographs.coffee(),
    "rocket": lambda: photographs.rocket(),
    "motorcycle": lambda: photographs.stereo_motorcycle()[0],
}
_INSTALLED, _CHECKOUT = Path(__file__).parent / "paintings", Path(__file__).parents[1] / "data" / "paintings"
_FOLDER = _INSTALLED if _INSTALLED.is_dir() else _CHECKOUT
PAINTINGS = {path.stem: path for path in sorted(_FOLDER.glob("*.jpg"))}  # painted by data/paint.py


@dataclass(frozen=True)
class Masterpiece:
    """A painting in the public domain (its author died over 70 years ago), downloaded on first use."""

    artist: str
    title: str
    year: str
    address: str  # owner/repository/commit/path on raw.githubusercontent.com
    sha256: str  # of the file


HOST = "https://raw.githubusercontent.com/"
with open(Path(__file__).with_name("masterpieces.csv"), encoding="utf-8", newline="") as _table:
    MASTERPIECES = {row.pop("name"): Masterpiece(**row) for row in csv.DictReader(_table)}


def sample_names() -> dict[str, list[str]]:
    """Names of all samples: photographs and paintings work offline, masterpieces are downloaded once."""
    return {
        "photographs": list(PHOTOGRAPHS),
        "paintings": list(PAINTINGS),
        "masterpieces": list(MASTERPIECES),
    }


@checked
def load_image(source: Source, size: Pixels | None = None) -> Tensor:
    """A picture as `(1, 3, H, W)` in [0, 1]: a sample's name, or anything `open_image` takes.

    Args:
        source: a file of that name comes before a sample. Transparency is flattened on white;
            `find_image` keeps it.
        size: long side in pixels, aspect kept; `None` for the picture's own size.

    Raises:
        ImageError: no such picture, or one that cannot be read or downloaded.
    """
    return to_tensor(resize_pil(find_image(source), size))


@checked
def find_image(source: Source) -> Image.Image:
    """Like `open_image`, and knows the samples' names; a PIL image in `RGB` or `RGBA`."""
    if not isinstance(source, str) or os.path.isfile(source):
        return open_image(source)
    if source in PHOTOGRAPHS:
        return open_image(PHOTOGRAPHS[source]())
    if source in PAINTINGS:
        return open_image(PAINTINGS[source])
    if source in MASTERPIECES:
        return open_image(fetch(source))
    return open_image(source)


def cache_folder() -> Path:
    """Where downloads are kept: `$NSTLIB_CACHE`, or the system's cache folder."""
    import pooch  # only here and in fetch: training runs on machines without it

    return Path(os.environ.get("NSTLIB_CACHE") or pooch.os_cache("nstlib"))


def stay_https(answer, **options) -> None:
    """For `requests`, a hook: a host that sends us on to plain http, or to a file, is not followed."""
    if urlsplit(answer.headers.get("Location", "")).scheme not in ("", "https"):
        answer.close()
        raise OSError(f"{answer.url} sends us on to an address without https")


def fetch(name: str) -> Path:
    """Download a masterpiece on first use, check its SHA-256, and return the cached file.

    Raises:
        ImageError: it cannot be had; says which samples need no download.
    """
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
