"""The training set: any folder of photographs, in an order that a seed fixes and a number resumes."""

import os
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from tqdm.auto import tqdm

from ..errors import ImageError
from ..limits import Count, Natural, Pixels, checked
from .convert import to_tensor
from .files import TOO_LARGE, endings, read_image, reading

SMALLEST = 64  # photographs with a shorter side are no use


class PhotoFolder(Dataset):
    """Random crops of a folder's photographs; item `i` is the i-th draw of an endless shuffled series.

    Every epoch is a new permutation, and which photograph, crop and flip a draw takes depends on the seed
    and on `i` alone: a run that stopped at draw `i` goes on with draw `i`.

    Args:
        folder: searched with its subfolders, symbolic links too. Files that are no pictures, damaged, or under
            64 px are skipped; `skipped` lists them by reason.
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
        self.skipped: dict[str, list[str]] = defaultdict(list)
        self.files = self._find(max_photos)
        if not self.files:
            raise ImageError(f"{folder}: no photograph of at least {SMALLEST} px in this folder ({self.report()})")
        self._orders: dict[int, list[int]] = {}

    def _find(self, max_photos: int | None) -> list[Path]:
        files = sorted(_files(self.folder))
        if max_photos:
            random.Random(self.seed).shuffle(files)
        found: list[Path] = []
        for path in tqdm(files, desc="looking through the photographs", delay=2, leave=False):
            problem = _problem(path)
            if problem:
                self.skipped[problem].append(path.name)
            else:
                found.append(path)
            if max_photos and len(found) == max_photos:
                break
        return sorted(found)

    def report(self) -> str:
        """What was found and what was skipped, in one line."""
        reasons = ", ".join(f"{len(names)} {why} ({listed(names)})" for why, names in sorted(self.skipped.items()))
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
        picture = read_image(path, self.side)
        edge = max(1, round(min(picture.size) * rng.uniform(0.6, 1)))
        left, top = (rng.randint(0, length - edge) for length in picture.size)
        box = (left, top, left + edge, top + edge)
        crop = picture.resize((self.side, self.side), Image.Resampling.BICUBIC, box=box, reducing_gap=2)
        tensor = to_tensor(crop)[0]  # (3, side, side)
        return tensor.flip(-1) if rng.random() < 0.5 else tensor


def listed(names: list[str]) -> str:
    """The first three names of a list."""
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _files(folder: Path) -> Iterator[Path]:
    """All files below a folder; links to folders are followed, and no folder is entered twice."""
    seen = set()
    for at, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(at)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        yield from (path for name in names if (path := Path(at, name)).is_file())


def _problem(path: Path) -> str:
    """Why a file is not a photograph to train on, from its first bytes; empty if it is one."""
    if path.suffix.lower() not in endings():
        return "not a picture"
    try:
        with reading(str(path)), Image.open(path) as image:
            width, height = image.size
    except ImageError as error:
        return "too large" if isinstance(error.__cause__, TOO_LARGE) else "damaged"
    return f"under {SMALLEST} px" if min(width, height) < SMALLEST else ""


@dataclass(frozen=True)
class StepSampler(Sampler):
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
