"""Memory: what a painting will take, told from a small one, and what the machine has free."""

import weakref
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil  # comes with accelerate
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from tqdm.auto import tqdm

from .errors import ImageError
from .images import MARGIN, fit

TRIALS = (64, 128)  # sides of the small pictures, pixels
LEAST = 16  # long side of a result, pixels
FRAME = 2 * MARGIN  # the mirrored margins of both sides, pixels
PICTURES = 24  # bytes a pixel for the picture outside of the network, before and after: floats
SPARE = 1.1  # the allocator's gaps and the convolutions' scratch; fitted by tests/benchmarks/test_memory_estimate.py
CONTAINERS = {  # limit and use of a control group: version 2, version 1
    "/sys/fs/cgroup": ("memory.max", "memory.current", "inactive_file"),
    "/sys/fs/cgroup/memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


class _Peak(TorchDispatchMode):
    """Follows the bytes of all tensors that are made while it is entered."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self.known: weakref.WeakSet = weakref.WeakSet()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or torch imports its compiler: a second, and 150 MB

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, Tensor) and tensor.untyped_storage() not in self.known:
                self._add(tensor.untyped_storage())
        return made

    def _add(self, storage) -> None:
        self.known.add(storage)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._remove, storage.nbytes())

    def _remove(self, size: int) -> None:
        self.now -= size


@dataclass(frozen=True)
class Need:
    """Bytes at the peak of a painting: a straight line over its pixels, for that is how activations grow."""

    fixed: float
    per_pixel: float

    def __call__(self, shape: tuple[int, int]) -> float:
        """Bytes for a result of `(height, width)`."""
        return self.fixed + self.per_pixel * _framed(shape)


def _framed(shape: tuple[int, int]) -> int:
    return (shape[0] + FRAME) * (shape[1] + FRAME)


def measured(paint: Callable[[int], object], fixed: float) -> Need:
    """The need of a method, from two small paintings of a square of `side` pixels.

    Args:
        paint: paints a square of the side that it is given.
        fixed: bytes that it takes at any size.
    """
    peaks = []
    for side in TRIALS:
        with _Peak() as peak:
            paint(side)
        peaks.append(peak.peak)
    small, large = (_framed((side, side)) for side in TRIALS)
    slope = (peaks[1] - peaks[0]) / (large - small)
    return Need(fixed + peaks[0] - slope * small, SPARE * slope + PICTURES)


def available(device: torch.device) -> float:
    """Bytes that can still be taken on a device: of a container, of the machine, or of the GPU."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # torch's own to use again
        return torch.cuda.mem_get_info(device)[0] + kept
    return min([psutil.virtual_memory().available, *map(_left_by, CONTAINERS)])


def _left_by(folder: str) -> float:
    """What the control group of a container leaves; its cache of files, which it can drop, is not counted."""
    limit, used, cached = CONTAINERS[folder]
    try:
        numbers = dict(line.split() for line in (Path(folder) / "memory.stat").read_text().splitlines())
        taken = int((Path(folder) / used).read_text()) - int(numbers.get(cached, 0))
        return int((Path(folder) / limit).read_text()) - taken
    except (OSError, ValueError):  # no container, or "max"
        return float("inf")


def within_memory(
    shape: tuple[int, int], side: int, need: Need, free: float, smaller: bool, paint: Callable[[int], Tensor]
) -> Tensor:
    """Paint at a long side, or say before any work that the memory does not suffice.

    Args:
        shape: `(height, width)` of the picture, of any size.
        side: long side of the result, pixels; what `paint` is given.
        need: what `paint` takes.
        free: bytes that there are.
        smaller: whether to paint at the largest size that fits instead; also after running out all the same.

    Raises:
        ImageError: it does not fit; with the size that would.
    """
    largest = _largest(shape, side, need, free)
    if largest < side:
        bytes_needed = need(fit(shape, side))
        said = f"{_size(shape, side)}: needs about {_bytes(bytes_needed)} of memory, {_bytes(free)} are free"
        if not largest:
            raise ImageError(f"{said}. Close other programs.")
        if not smaller:
            raise ImageError(f"{said}. --size {largest} would fit, and --fit takes it; or close other programs.")
        side = largest
        tqdm.write(f"{said}: painting {_size(shape, side)}")
    while True:
        try:
            return paint(side)
        except (MemoryError, RuntimeError) as error:
            if not _is_full(error):
                raise
            said, side = f"{_size(shape, side)}: the memory did not suffice", round(0.8 * side)
            if not smaller or side < LEAST:
                raise ImageError(f"{said}. Give --size {side} or less, or --fit, or close other programs.") from error
        if torch.cuda.is_available():  # here, where the attempt's tensors have gone with its traceback
            torch.cuda.empty_cache()
        tqdm.write(f"{said}; painting {_size(shape, side)}")


def _largest(shape: tuple[int, int], side: int, need: Need, free: float) -> int:
    """The largest long side up to the one asked for that fits, at least 16; 0 if none does."""
    sides = range(min(LEAST, side), side + 1)
    fitting = bisect_right(sides, free, key=lambda side: need(fit(shape, side)))
    return sides[fitting - 1] if fitting else 0


def _bytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _size(shape: tuple[int, int], side: int) -> str:
    height, width = fit(shape, side)
    return f"{width}×{height}"


def _is_full(error: Exception) -> bool:
    """Whether memory ran out: Python's, a GPU's, or that of torch on the CPU, which has no error of its own."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
