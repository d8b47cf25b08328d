"""Give a picture the colours of another one, so that the style's brush keeps the content's palette."""

from collections.abc import Callable, Iterable
from typing import Literal, get_args

import numpy as np
import torch
from skimage.exposure import match_histograms
from torch import Tensor

from ..limits import ImageBatch, checked

ColourMethod = Literal["none", "luminance", "mean", "histogram"]
METHODS = get_args(ColourMethod)
STRIP, LEVELS = 256, 4096  # rows; levels of a channel
RGB_TO_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


@checked
def recolour(image: ImageBatch, reference: ImageBatch, method: ColourMethod) -> Tensor:
    """`image` with the colours of `reference`, by one of three methods (or `"none"`).

    Args:
        image: `(B, 3, H, W)` in [0, 1].
        reference: one picture for all, or one for each; for `"luminance"` of the same size.
        method: `"luminance"` keeps the image's brightness (Y of YIQ) and takes the reference's chroma, and
            `"mean"` maps the colour mean and covariance linearly onto the reference's (Gatys et al.,
            Preserving Color in Neural Artistic Style Transfer, 2016, sections 3.1 and 3.2);
            `"histogram"` matches each channel's histogram.

    Returns:
        `(B, 3, H, W)` in [0, 1].

    Raises:
        ValueError: an unknown method.
    """
    image, reference = image.detach(), reference.detach().expand(len(image), -1, -1, -1)
    pairs = zip(image.split(1), reference.split(1), strict=True)
    return torch.cat([_recoloured(*pair, method) for pair in pairs])


def _recoloured(image: Tensor, reference: Tensor, method: ColourMethod) -> Tensor:
    """One picture, `(1, 3, H, W)`."""
    if method != "none" and is_grey(reference):  # one channel at a time makes colours out of grey
        image = _greyed(image)
        reference = reference.mean(1, keepdim=True).expand_as(reference)
    return {"none": lambda i, r: i, "luminance": _luminance, "mean": _mean, "histogram": _histogram}[method](
        image, reference
    )


def _greyed(image: Tensor) -> Tensor:
    return torch.einsum("c,bchw->bhw", RGB_TO_YIQ[0].to(image), image).unsqueeze(1).expand_as(image).clamp(0, 1)


def is_grey(image: Tensor) -> bool:
    """Whether a picture has no colours, but for the rounding of JPEG."""
    return (image.amax(1) - image.amin(1)).max().item() <= 2.5 / 255


def strips(height: int) -> list[tuple[int, int]]:
    """Rows from one to another, for what may be too large to be worked on at once."""
    return [(a, min(a + STRIP, height)) for a in range(0, height, STRIP)]


def recolour_strips(image: Tensor, strip: Callable[[int, int], Tensor], method: ColourMethod) -> None:
    """`recolour` in place and in little memory; a histogram is taken of 4,096 levels.

    Args:
        image: `(1, 3, H, W)` in [0, 1].
        strip: gives the reference's rows from one to another, `(1, 3, h, W)`; it has the image's size.
    """
    spans = strips(image.shape[-2]) if method != "none" else []
    read, change = strip, None
    if spans and all(is_grey(strip(a, b)) for a, b in spans):
        read = lambda a, b: strip(a, b).mean(1, keepdim=True).expand(-1, 3, -1, -1)  # noqa: E731
        for a, b in spans:
            image[..., a:b, :].copy_(_greyed(image[..., a:b, :]))
    if method == "mean":
        change = _linear(_moments(image[..., a:b, :] for a, b in spans), _moments(read(a, b) for a, b in spans))
    if method == "histogram":
        change = _matching(image, read, spans)
    for a, b in spans:
        rows = image[..., a:b, :]
        rows.copy_(change(rows) if change else _luminance(rows, read(a, b)))


def _luminance(image: Tensor, reference: Tensor) -> Tensor:
    matrix = RGB_TO_YIQ.to(image)
    yiq = torch.einsum("ij,bjhw->bihw", matrix, reference).clone()
    yiq[:, 0] = torch.einsum("j,bjhw->bhw", matrix[0], image)
    return torch.einsum("ij,bjhw->bihw", torch.linalg.inv(matrix), yiq).clamp(0, 1)


def _mean(image: Tensor, reference: Tensor) -> Tensor:
    return _linear(_moments([image]), _moments([reference]))(image)


def _moments(strips: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean `(3, 1)` and covariance `(3, 3)` of the colours of a picture in strips, in float64."""
    count, total, products = 0, 0.0, 0.0
    for strip in strips:
        x = strip[0].flatten(1).cpu().double() - 0.5  # (3, h*W); MPS has no float64
        count, total, products = count + x.shape[1], total + x.sum(1, keepdim=True), products + x @ x.T
    mean = total / count
    return mean + 0.5, products / count - mean @ mean.T


def _linear(source: tuple[Tensor, Tensor], target: tuple[Tensor, Tensor]) -> Callable[[Tensor], Tensor]:
    """The linear map of colours that gives a picture with the source's moments the target's."""
    (mean, covariance), (wanted, goal) = source, target
    matrix = _root(goal) @ torch.linalg.inv(_root(covariance))

    def change(image: Tensor) -> Tensor:
        mapped = matrix @ (image[0].flatten(1).cpu().double() - mean) + wanted
        return mapped.to(image).view_as(image).clamp(0, 1)

    return change


def _root(covariance: Tensor) -> Tensor:
    """The symmetric square root, of full rank even for a picture of one colour."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors @ torch.diag(values.clamp_min(1e-5).sqrt()) @ vectors.T


def _matching(image: Tensor, strip: Callable[[int, int], Tensor], spans) -> Callable[[Tensor], Tensor]:
    """The curve of each channel, over 4,096 levels, that gives the image the histogram of an 8-bit reference."""
    ours = _shares((image[..., a:b, :] for a, b in spans), LEVELS)
    theirs = _shares((strip(a, b) for a, b in spans), 256)
    curves = [np.interp(x, y, np.linspace(0, 1, 256)) for x, y in zip(ours, theirs, strict=True)]
    table = torch.from_numpy(np.stack(curves)).to(image)

    def change(rows: Tensor) -> Tensor:
        levels = rows[0].mul(LEVELS - 1).round().long()
        return torch.stack([curve[x] for curve, x in zip(table, levels, strict=True)])[None]

    return change


def _shares(strips: Iterable[Tensor], levels: int) -> np.ndarray:
    """The share of a picture's pixels at or below each level, by channel: `(3, levels)`."""
    each = (torch.stack([c.mul(levels - 1).round().histc(levels, 0, levels - 1) for c in x[0].cpu()]) for x in strips)
    counts = sum(x.double() for x in each).cumsum(1)
    return (counts / counts[:, -1:]).numpy()


def _histogram(image: Tensor, reference: Tensor) -> Tensor:
    source, target = image[0].cpu().numpy(), reference[0].cpu().numpy()
    return torch.from_numpy(match_histograms(source, target, channel_axis=0)).to(image).unsqueeze(0).clamp(0, 1)
