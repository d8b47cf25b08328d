"""Memory: what a painting will take, and a smaller one where that does not fit."""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..critic.losses import PerceptualLoss
from ..critic.tiled import TILE as LOSS_TILE
from ..errors import ImageError, say
from ..pictures.pixels import MARGIN, scale_to_long_side
from .gatys import GatysConfig
from .network import TransformerNet
from .tiles import TILE

LEAST = 16  # long side of a result, pixels
PICTURE = 24  # bytes a pixel for the picture outside of the network, before and after
SPARE = 1.1  # the allocator's gaps and the convolutions' scratch; tests/benchmarks/test_memory_estimate.py measures it
FLOAT = 4  # bytes
Shape = tuple[int, int]  # height, width


@dataclass(frozen=True)
class Need:
    """Bytes at the peak of a painting: a straight line over its pixels, for that is how activations grow."""

    fixed: float
    per_pixel: float

    def __call__(self, shape: tuple[int, int]) -> float:
        """Bytes for a result of `(height, width)`, its mirrored margin included."""
        height, width = (side + 2 * MARGIN for side in shape)
        return self.fixed + self.per_pixel * height * width


def paint_need(net: TransformerNet, tiled: bool = False) -> Need:
    """The memory that `paint` takes: at the first norm six maps of `width` channels are alive, at the full size.

    In tiles it is that of a trunk of 4·width channels at a quarter of the size, half as much beside it, and of the
    bytes of the picture.
    """
    width = net.config.width
    if tiled:
        return Need(fixed=28e6 + 8 * width * FLOAT * (1.1 * TILE) ** 2, per_pixel=16 + 1.5 * width)
    return Need(fixed=28e6, per_pixel=PICTURE + SPARE * FLOAT * (6 * width + 3))


def stylize_need(loss: PerceptualLoss, config: GatysConfig, styles: int = 1, tiled: bool = False) -> Need:
    """The memory that `stylize` takes: all activations of a step and the gradients of the two largest, or the style's.

    Args:
        styles: how many there are.
        tiled: with the activations of one tile at a time; what stays are the picture, Adam's moments and the content.
    """
    kept, largest, content, size, channels = 0.0, 0, 0.0, 1.0, 3  # floats a pixel of the picture
    for name in loss.extractor.names:
        if name.startswith("pool"):
            size /= 4
            kept += channels * size
        elif name.startswith("conv"):
            channels = loss.extractor.convs[name].out_channels
            kept, largest = kept + channels * size, max(largest, channels * size)
        if tiled and name in loss.content_layers:
            content += channels * size
    scales = sum(scale**2 for scale in config.style_scales if scale < 1)
    if tiled:
        floats = 18 + content + 12 * scales + 4 * styles * bool(config.mask) + 120 * (config.optimiser == "lbfgs")
        tile = SPARE * FLOAT * (kept + 2.2 * largest + 30) * (LOSS_TILE + 64) ** 2
        return Need(fixed=400e6 + tile, per_pixel=16 + FLOAT * (floats + 6 * config.style_scale**2))
    floats = kept * (1 + scales) + 2.2 * largest + 30  # 30: the picture, its gradient, Adam's moments
    floats += 6 * (config.tv_weight > 0) + (20 + 4 * styles) * bool(config.mask)
    floats += 120 * (config.optimiser == "lbfgs")  # 20 pictures and 20 gradients
    floats = max(floats, 30 + config.style_scale**2 * (3 * largest + 6))  # the style's maps, no gradient
    return Need(fixed=230e6, per_pixel=PICTURE + SPARE * FLOAT * floats)  # fixed: torch's optimisers import much of it


def shrink_to_memory(
    shape: Shape, side: int, need: Callable[[Shape], float], free: float, smaller: bool, paint: Callable[[int], Tensor]
) -> Tensor:
    """Paint at a long side, or say before any work that the memory does not suffice, and which size would fit.

    Args:
        shape: `(height, width)` of the picture, of any size.
        side: long side of the result, pixels; what `paint` is given.
        need: the bytes that `paint` takes for a `(height, width)`.
        free: bytes that there are.
        smaller: whether to paint at the largest size that fits instead; also after running out all the same.
    """
    largest = _largest(shape, side, need, free)
    if largest < side:
        bytes_needed = need(scale_to_long_side(shape, side))
        said = f"{_size(shape, side)}: needs about {_bytes(bytes_needed)} of memory, {_bytes(free)} are free"
        if not largest:
            raise ImageError(f"{said}. Close other programs.")
        if not smaller:
            raise ImageError(f"{said}. --size {largest} would fit, and --fit takes it; or close other programs.")
        side = largest
        say(f"{said}: painting {_size(shape, side)}")
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
        say(f"{said}; painting {_size(shape, side)}")


def _largest(shape: Shape, side: int, need: Callable[[Shape], float], free: float) -> int:
    """The largest long side up to the one asked for that fits, at least 16; 0 if none does."""
    sides = range(min(LEAST, side), side + 1)
    fitting = bisect_right(sides, free, key=lambda side: need(scale_to_long_side(shape, side)))
    return sides[fitting - 1] if fitting else 0


def _bytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _size(shape: tuple[int, int], side: int) -> str:
    height, width = scale_to_long_side(shape, side)
    return f"{width}×{height}"


def _is_full(error: Exception) -> bool:
    """Whether memory ran out: Python's, a GPU's, or that of torch on the CPU, which has no error of its own."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
