"""Guides: where in a picture each style counts, at the size of a layer's features."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def guides(masks: Sequence[Tensor], layer: str, size: Sequence[int]) -> list[Tensor]:
    """The masks `(1, 1, H, W)` as `(1, 1, h, w)`, without the features that see over the edge of all masks together.

    Beyond that edge the photograph stays. If features that see it counted, the rim would be painted in the opposite
    colours to make up for it. In block b of VGG they are about b cells wide. A mask that is narrower than that counts
    in the first block alone, whole.
    """
    masks = [F.adaptive_avg_pool2d(mask, size) for mask in masks]
    reach, beyond = int(layer[4]), 1 - sum(masks).clamp(max=1)  # relu3_1 and pool3 are of block 3
    inner = 1 - F.max_pool2d(beyond, 2 * reach + 1, stride=1, padding=reach)
    shrunk = [mask * inner for mask in masks]
    if reach > 1:
        return shrunk
    return [torch.where(small.amax() > 0, small, mask) for small, mask in zip(shrunk, masks, strict=True)]


def normalised(guide: Tensor) -> Tensor:
    """T scaled to a mean square of 1, so that masks of any area weigh the same (Gatys et al. 2017, section 4)."""
    return guide / guide.square().mean().clamp_min(1e-8).sqrt()
