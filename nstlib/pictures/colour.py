"""Give a picture the colours of another one, so that the style's brush keeps the content's palette."""

from typing import Literal, get_args

import torch
from skimage.exposure import match_histograms
from torch import Tensor

from ..limits import ImageBatch, checked

ColourMethod = Literal["none", "luminance", "mean", "histogram"]


METHODS = get_args(ColourMethod)


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
        luminance = torch.einsum("c,bchw->bhw", RGB_TO_YIQ[0].to(image), image)
        image = luminance.unsqueeze(1).expand_as(image).clamp(0, 1)
        reference = reference.mean(1, keepdim=True).expand_as(reference)
    return {"none": lambda i, r: i, "luminance": _luminance, "mean": _mean, "histogram": _histogram}[method](
        image, reference
    )


def is_grey(image: Tensor) -> bool:
    """Whether a picture has no colours, but for the rounding of JPEG."""
    return (image.amax(1) - image.amin(1)).max().item() <= 2.5 / 255


def _luminance(image: Tensor, reference: Tensor) -> Tensor:
    matrix = RGB_TO_YIQ.to(image)
    yiq = torch.einsum("ij,bjhw->bihw", matrix, reference).clone()
    yiq[:, 0] = torch.einsum("j,bjhw->bhw", matrix[0], image)
    return torch.einsum("ij,bjhw->bihw", torch.linalg.inv(matrix), yiq).clamp(0, 1)


def _mean(image: Tensor, reference: Tensor) -> Tensor:
    x, y = (picture[0].flatten(1).cpu().double() for picture in (image, reference))  # (3, H*W); MPS has no float64
    matrix = _root(torch.cov(y, correction=0)) @ torch.linalg.inv(_root(torch.cov(x, correction=0)))
    mapped = matrix @ (x - x.mean(1, keepdim=True)) + y.mean(1, keepdim=True)
    return mapped.to(image).view_as(image).clamp(0, 1)


def _root(covariance: Tensor) -> Tensor:
    """The symmetric square root, of full rank even for a picture of one colour."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors @ torch.diag(values.clamp_min(1e-5).sqrt()) @ vectors.T


def _histogram(image: Tensor, reference: Tensor) -> Tensor:
    source, target = image[0].cpu().numpy(), reference[0].cpu().numpy()
    return torch.from_numpy(match_histograms(source, target, channel_axis=0)).to(image).unsqueeze(0).clamp(0, 1)
