"""The training set: any folder of photographs, in an order that a seed fixes and a number resumes."""

import random
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from tqdm.auto import tqdm

from .arguments import Count, Natural, Pixels, checked
from .errors import ImageError, reason
from .files import hold, let_go
from .images import PICTURES, TOO_LARGE, open_image, reading, to_tensor
from .samples import stay_https

SMALLEST = 64  # photographs with a shorter side are no use


class PhotoFolder(Dataset):
    """Random crops of a folder's photographs; item `i` is the i-th draw of an endless shuffled series.

    Every epoch is a new permutation, and which photograph, crop and flip a draw takes depends on the seed
    and on `i` alone: a run that stopped at draw `i` goes on with draw `i`.

    Args:
        folder: searched with its subfolders. Files that are no pictures, damaged, or under 64 px are
            skipped; `skipped` counts them by reason.
        side: of the square crops, pixels.
        max_photos: take this many, chosen by the seed; `None` for all.

    Raises:
        ImageError: no such folder, or no photograph in it.
    """

    @checked
    def __init__(self, folder: str | Path, side: Pixels = 256, max_photos: Count | None = None, seed: Natural = 0):
        self.folder, self.side, self.seed = Path(folder), side, seed
        if not self.folder.is_dir():
            raise ImageError(f"{folder}: no such folder. Give one with photographs, or get COCO by `nst photos`.")
        self.skipped: Counter[str] = Counter()
        self.files = self._find(max_photos)
        if not self.files:
            raise ImageError(f"{folder}: no photograph of at least {SMALLEST} px in this folder ({self.report()})")
        self._orders: dict[int, list[int]] = {}

    def _find(self, max_photos: int | None) -> list[Path]:
        files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        if max_photos:
            random.Random(self.seed).shuffle(files)
        found: list[Path] = []
        for path in tqdm(files, desc="looking through the photographs", delay=2, leave=False):
            problem = _problem(path)
            if problem:
                self.skipped[problem] += 1
            else:
                found.append(path)
            if max_photos and len(found) == max_photos:
                break
        return sorted(found)

    def report(self) -> str:
        """What was found and what was skipped, in one line."""
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(self.skipped.items()))
        return f"{len(self.files):,} photographs" + (f"; skipped {reasons}" if reasons else "")

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, draw: int) -> tuple[Tensor, list[str]]:
        """Draw `draw`: a crop `(3, side, side)` in [0, 1], and the files found damaged on the way to it."""
        damaged: list[str] = []
        epoch, first = divmod(draw, len(self))
        order = self._order(epoch)
        for file in order[first:] + order[:first]:  # in place of a damaged one, the next of the same epoch
            path = self.files[file]
            try:
                return self._crop(path, random.Random(f"{self.seed} {draw}")), damaged
            except ImageError:
                damaged.append(str(path.relative_to(self.folder)))
        raise ImageError(f"{self.folder}: every photograph in it is damaged. Get them again.")

    def _order(self, epoch: int) -> list[int]:
        if epoch not in self._orders:
            order = random.Random(f"{self.seed} epoch {epoch}").sample(range(len(self)), len(self))
            self._orders = {epoch: order}  # the last one is enough
        return self._orders[epoch]

    def _crop(self, path: Path, rng: random.Random) -> Tensor:
        """A random resized crop, mirrored every other time: 0.6 to 1 of the short side, squeezed to `side`."""
        with reading(str(path)), Image.open(path) as image:
            image.draft("RGB", (2 * self.side, 2 * self.side))  # a large JPEG is decoded at 1/2, 1/4, 1/8
            picture = open_image(image)
        edge = max(1, round(min(picture.size) * rng.uniform(0.6, 1)))
        left, top = (rng.randint(0, length - edge) for length in picture.size)
        box = (left, top, left + edge, top + edge)
        crop = picture.resize((self.side, self.side), Image.Resampling.BICUBIC, box=box, reducing_gap=2)
        tensor = to_tensor(crop)[0]  # (3, side, side)
        return tensor.flip(-1) if rng.random() < 0.5 else tensor


def _problem(path: Path) -> str:
    """Why a file is not a photograph to train on, from its first bytes; empty if it is one."""
    if path.suffix.lower() not in PICTURES:
        return "not a picture"
    try:
        with reading(str(path)), Image.open(path) as image:
            width, height = image.size
    except ImageError as error:
        return "too large" if isinstance(error.__cause__, TOO_LARGE) else "damaged"
    return f"under {SMALLEST} px" if min(width, height) < SMALLEST else ""


@dataclass(frozen=True)
class Draws(Sampler):
    """The numbers of the draws of one process, from optimiser step `start` to `stop`.

    A step takes `batch_size` draws for each of `accumulate` batches for each of `processes`; the same
    numbers are drawn however they are dealt out.
    """

    batch_size: int
    start: int
    stop: int
    accumulate: int = 1
    process: int = 0
    processes: int = 1

    def __iter__(self) -> Iterator[list[int]]:
        first, last = (step * self.accumulate for step in (self.start, self.stop))
        for batch in range(first, last):
            begin = (batch * self.processes + self.process) * self.batch_size
            yield list(range(begin, begin + self.batch_size))

    def __len__(self) -> int:
        return (self.stop - self.start) * self.accumulate


def collate(items: list[tuple[Tensor, list[str]]]) -> tuple[Tensor, list[str]]:
    """A batch `(B, 3, side, side)`, and all damaged files that were met."""
    return torch.stack([crop for crop, _ in items]), [name for _, damaged in items for name in damaged]


# ── COCO ────────────────────────────────────────────────────────────────────────────────────────────

COCO = "https://s3.amazonaws.com/images.cocodataset.org/zips/"  # the official bucket, by its https name
COCO_SPLITS = {  # SHA-256, as in TensorFlow Datasets; 5,000, 82,783 (what Johnson et al. used), 118,287 photographs
    "val2017": "4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
    "train2014": "ede4087e640bddba550e090eae701092534b554b42b05ac33f0300b984b31775",
    "train2017": "69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929",
}


@checked
def fetch_coco(split: str, folder: str | Path = "photos") -> Path:
    """Download and unpack the photographs of COCO (Lin et al. 2014), going on with a broken download.

    Args:
        split: `"val2017"` (0.8 GB), `"train2014"` (13 GB) or `"train2017"` (18 GB).
        folder: the photographs come into a folder of the split's name in it.

    Returns:
        The folder with the photographs.

    Raises:
        ValueError: an unknown split.
        ImageError: it cannot be downloaded, or what came is not what was published: run again to go on; or another
            process is at it.
    """
    if split not in COCO_SPLITS:
        raise ValueError(f"split={split!r}: choose {', '.join(COCO_SPLITS)}")
    folder = Path(folder)
    if (folder / split).is_dir():
        return folder / split
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not hold(folder):
            raise ImageError(f"{folder}: another process is getting photographs into it. Wait for its end.")
        if not (folder / split).is_dir():  # another process may have been quicker
            archive = _download(f"{COCO}{split}.zip", folder / f"{split}.zip", COCO_SPLITS[split])
            _unpack(archive, folder, split)
            archive.unlink()
    except OSError as error:
        raise ImageError(f"{folder}: cannot be written into ({reason(error)}). Choose another folder.") from error
    finally:
        let_go(folder)
    return folder / split


def _download(address: str, path: Path, sha256: str) -> Path:
    """Fetch to `path`.part, from where it ends if it is there; renamed once its checksum is right."""
    import pooch  # only here: training runs on machines without it
    import requests  # comes with pooch

    part = path.with_name(path.name + ".part")
    have = part.stat().st_size if part.exists() else 0
    if path.exists() and pooch.file_hash(path) == sha256:
        return path
    headers = {"Range": f"bytes={have}-", "Accept-Encoding": "identity"}
    try:
        with requests.get(address, headers=headers, stream=True, timeout=30, hooks={"response": stay_https}) as answer:
            if answer.status_code != 416:  # 416: there is no more, the part is whole
                answer.raise_for_status()
                _append(answer, part, have if answer.status_code == 206 else 0)
    except (requests.RequestException, OSError, ValueError) as error:
        raise ImageError(
            f"{address}: the download broke off ({reason(error)}). Run the same command again: it goes on from there."
        ) from error
    if not part.exists() or pooch.file_hash(part) != sha256:
        part.unlink(missing_ok=True)
        raise ImageError(f"{address}: what came has a wrong checksum and was removed. Run the same command again.")
    return part.replace(path)


def _append(answer, part: Path, have: int) -> None:
    total = have + int(answer.headers.get("Content-Length", 0))
    with (
        open(part, "ab" if have else "wb") as file,
        tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=part.stem) as bar,
    ):
        for chunk in answer.iter_content(1 << 16):  # what a broken connection costs at most
            file.write(chunk)
            bar.update(len(chunk))
    if total and part.stat().st_size < total:
        raise OSError(f"{part.stat().st_size:,} of {total:,} bytes came")


def _unpack(archive: Path, folder: Path, split: str) -> None:
    """Unpack aside and rename, so that a folder of the split's name is always whole."""
    aside = folder / f".{split}.part"
    try:
        with zipfile.ZipFile(archive) as pictures:
            names = [n for n in pictures.namelist() if n.startswith(f"{split}/") and Path(n).suffix == ".jpg"]
            for name in tqdm(names, desc=f"unpacking {split}", delay=1):
                pictures.extract(name, aside)  # zipfile takes `..` and leading slashes out of names
        (aside / split).replace(folder / split)
        aside.rmdir()
    except (zipfile.BadZipFile, OSError) as error:
        raise ImageError(f"{archive}: cannot be unpacked ({reason(error)}). Is there room on the disk?") from error
