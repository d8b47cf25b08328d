"""Paint at once: a trained network on a picture, from tensor to tensor and from file to tensor."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ..devices import available, best_device
from ..errors import CheckpointError, say
from ..limits import Pixels, UnitFloat, Weight, checked
from ..pictures.colour import ColourMethod, recolour
from ..pictures.convert import to_tensor
from ..pictures.files import Source
from ..pictures.pixels import crop, reflect_pad, resize_pil
from ..pictures.samples import open_image, open_mask, to_mask
from .memory import paint_need, shrink_to_memory
from .models import load_transformer
from .network import CELL, TransformerNet


@torch.inference_mode()
def paint_tensor(net: TransformerNet, image: Tensor, blend: Tensor | None = None, passes: int = 2) -> Tensor:
    """Paint pictures with a mirrored margin, which is cut off again.

    In flat areas a network weaves a pattern that is locked to the grid of its four-pixel cells. Two passes, half a
    cell apart, have it in opposite phase: their mean has the strokes and not the weave (cycle spinning, Coifman &
    Donoho, Translation-Invariant De-Noising, 1995).

    Args:
        image: `(B, 3, H, W)` in [0, 1], on the network's device.
        blend: of an adjustable network: `(B or 1, rows)`, see `TransformerNet.blend`.
        passes: 2 against the weave, 1 for half the time.

    Returns:
        `(B, 3, H, W)` in [0, 1], on the same device.
    """
    padded, half = reflect_pad(image), CELL // 2
    painted = net(padded, blend)
    if passes == 2 and min(padded.shape[-2:]) > half:
        moved = net(padded[..., half:, half:], blend)
        painted[..., half:, half:] = (painted[..., half:, half:] + moved) / 2
    return crop(painted, image.shape[-2:])


@checked
def paint(
    content: Source,
    model: TransformerNet | str | Path,
    size: Pixels | None = None,
    preserve_colour: ColourMethod = "none",
    styles: str | Mapping[str, Weight] | None = None,
    strength: UnitFloat | None = None,
    fit: bool = False,
    passes: Literal[1, 2] = 2,
    mask: Source | None = None,
) -> Tensor:
    """Paint a picture on the device where the network is, or the best there is; see `paint_tensor`.

    Args:
        content: a sample's name, a file, PIL image, array or tensor; transparency is flattened on white.
        model: a network, or the name or file of one.
        size: long side of the result in pixels; `None` for the picture's own.
        preserve_colour: keep the content's colours, by luminance, mean and covariance, or histogram.
        styles: of an adjustable network: a name, or weights by name such as `{"swirl": 0.7, "ink": 0.3}`.
        strength: of an adjustable network: from 0, the photograph, to 1.
        fit: where the memory does not suffice, paint at the largest size that fits.
        passes: 2 against the network's weave, 1 for half the time.
        mask: a picture, white or opaque where to paint; elsewhere the photograph stays as it is.

    Returns:
        `(1, 3, H, W)` in [0, 1], on the CPU.

    Raises:
        ImageError, CheckpointError: a picture or a model that cannot be read; memory that does not suffice.
        ValueError: a style or a strength that this network does not have.
    """
    net = model if isinstance(model, TransformerNet) else load_transformer(model).to(best_device())
    blend = asked_blend(net, styles, strength)
    device = next(net.parameters()).device
    free, picture = available(device), open_image(content, size)
    where = open_mask(mask) if mask is not None else None

    def work(side: int) -> Tensor:
        photo = to_tensor(resize_pil(picture, side))
        painted = paint_tensor(net, photo.to(device), blend, passes).cpu()
        if not torch.isfinite(painted).all():
            raise CheckpointError(
                "what this network paints is not finite: its weights are damaged. Get the file again."
            )
        if painted.std() < 0.01 < photo.std():
            say(
                "the painting is of one colour. If this network is from elsewhere, does it read and write other values "
                "than 0 … 255? See `values` of load_transformer, --values of nst paint."
            )
        painted = recolour(painted, photo, preserve_colour)
        return torch.lerp(photo, painted, to_mask(where, photo.shape[-2:])) if where else painted.clone()

    return shrink_to_memory(picture.size[::-1], size or max(picture.size), paint_need(net), free, fit, work)


def asked_blend(
    net: TransformerNet, styles: str | Mapping[str, Weight] | None, strength: float | None
) -> Tensor | None:
    """The network's `blend`; `None` for a network of one style that nobody asks for more.

    Raises:
        ValueError: a style or a strength that this network does not have.
    """
    if net.config.styles or styles is not None or strength is not None:
        return net.blend(styles, 1.0 if strength is None else strength)
    return None
