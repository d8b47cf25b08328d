"""Pixels: resize, add a mirrored margin, crop, cut into tiles."""

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..limits import ImageBatch, Pixels, checked

MARGIN = 8  # pixels, that `reflect_pad` adds on each side
Span = tuple[int, int]  # from, to
Box = Sequence[Span]  # rows, columns


def scale_to_long_side(size: tuple[int, int], long_side: int) -> tuple[int, int]:
    """`(height, width)` scaled so that the longer is `long_side`, each at least 1."""
    scale = long_side / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


@checked
def resize(image: ImageBatch, size: Pixels | tuple[Pixels, Pixels]) -> Tensor:
    """Resize `(B, C, H, W)` with antialiasing to `(height, width)`, or to a long side with aspect kept."""
    if isinstance(size, int):
        size = scale_to_long_side(image.shape[-2:], size)
    return image if image.shape[-2:] == tuple(size) else resample(image, size).clamp(0, 1)


def resample(image: Tensor, size: Sequence[int]) -> Tensor:
    """`(B, C, H, W)` at `(height, width)`, bicubic as Pillow does it, antialiased where it shrinks; may overshoot."""
    home = image.device
    image = image.cpu() if home.type == "mps" else image  # MPS has no antialiasing
    return F.interpolate(image, tuple(size), mode="bicubic", antialias=True, align_corners=False).to(home)


def at_scale(image: Tensor, scale: float) -> Tensor:
    """The picture at a style scale; one that is too small for it is taken at 16 pixels."""
    return resize(image, tuple(max(min(side, 16), round(side * scale)) for side in image.shape[-2:]))


def reflect_pad(image: Tensor) -> Tensor:
    """The picture with a mirrored margin: a network pads with zeros, and what it paints at its edges shows that."""
    height, width = (min(MARGIN, side - 1) for side in image.shape[-2:])
    return F.pad(image, (width, width, height, height), mode="reflect")


def crop(image: Tensor, shape: tuple[int, int]) -> Tensor:
    """The middle `(height, width)` of a picture: the margin off again."""
    top, left = ((side - inner) // 2 for side, inner in zip(image.shape[-2:], shape, strict=True))
    return image[..., top : top + shape[0], left : left + shape[1]].contiguous()


def resize_pil(image: Image.Image, size: int | tuple[int, int] | None) -> Image.Image:
    """Resize a PIL image to `(height, width)`, or by its long side; `None` keeps it."""
    if isinstance(size, int):
        size = scale_to_long_side((image.height, image.width), size)
    if size is None or size == (image.height, image.width):
        return image
    return image.resize(size[::-1], Image.Resampling.LANCZOS)


def tiles(shape: Sequence[int], sides: Sequence[int], multiple: int = 1) -> list[Box]:
    """Boxes that cover `(height, width)` once, of nearly equal size and at most about `sides`, cut at multiples."""

    def spans(length: int, side: int) -> list[Span]:
        count = -(-length // max(side, multiple))
        cuts = [round(i * length / count / multiple) * multiple for i in range(count)] + [length]
        return [(a, b) for a, b in pairwise(cuts) if a < b]

    rows, columns = (spans(length, side) for length, side in zip(shape, sides, strict=True))
    return [(r, c) for r in rows for c in columns]


def widened(box: Box, halo: int, shape: Sequence[int]) -> Box:
    """The box with a halo around it, as far as the picture goes."""
    return tuple((max(0, a - halo), min(n, b + halo)) for (a, b), n in zip(box, shape, strict=True))


def cut(image: Tensor, box: Box) -> Tensor:
    """A view of a box of `(..., H, W)`."""
    (top, bottom), (left, right) = box
    return image[..., top:bottom, left:right]
