"""Paint at once: a trained network on a picture, from tensor to tensor and from file to tensor."""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import torch
from PIL import Image
from torch import Tensor

from ..critic.losses import PerceptualLoss
from ..devices import available, best_device, best_precision
from ..errors import CheckpointError, say
from ..limits import Natural, Pixels, UnitFloat, Weight, between, checked
from ..pictures.colour import ColourMethod, recolour, recolour_strips, strips
from ..pictures.convert import flattened, to_pil, to_tensor
from ..pictures.files import Source
from ..pictures.pixels import crop, reflect_pad, resize, resize_pil
from ..pictures.samples import open_image, open_mask, to_mask
from .memory import paint_need, shrink_to_memory, stylize_need
from .models import load_transformer
from .network import CELL, TransformerNet
from .polish import polish as polished
from .polish import polish_config, style_pictures
from .tiles import paint_tiled

SMALLEST = 16  # pixels a side: below it pictures are padded in another way
Strokes = Annotated[float, between(1, 8)]


@torch.inference_mode()
def paint_tensor(net: TransformerNet, image: Tensor, blend: Tensor | None = None, passes: int = 2) -> Tensor:
    """Paint pictures with a mirrored margin, which is cut off again.

    In flat areas a network weaves a pattern that is locked to the grid of its four-pixel cells. Two passes, half a
    cell apart, have it in opposite phase: their mean has the strokes and not the weave (cycle spinning, Coifman &
    Donoho, Translation-Invariant De-Noising, 1995).

    Processors that compute in bfloat16 do so, in half the time; the painting differs from float32's by 0.4/255 in the
    mean. The environment variable `NSTLIB_PRECISION=float32` forbids it.

    Args:
        image: `(B, 3, H, W)` in [0, 1], on the network's device.
        blend: of an adjustable network: `(B or 1, rows)`, see `TransformerNet.blend`.
        passes: 2 against the weave, 1 for half the time.

    Returns:
        `(B, 3, H, W)` in [0, 1], on the same device.
    """
    padded, half = reflect_pad(image), CELL // 2
    with torch.autocast("cpu", torch.bfloat16, enabled=_in_bfloat16(net, image.device)):
        painted = net(padded, blend)
        if passes == 2 and min(padded.shape[-2:]) > half:
            moved = net(padded[..., half:, half:], blend)
            painted[..., half:, half:] = (painted[..., half:, half:] + moved) / 2
    return crop(painted, image.shape[-2:])


def _in_bfloat16(net: TransformerNet, device: torch.device) -> bool:
    """Whether to paint in bfloat16; networks that write 0 … 255 need more digits."""
    allowed = os.environ.get("NSTLIB_PRECISION") != "float32" and not net.config.legacy_range
    return allowed and device.type == "cpu" and best_precision(device) == "bf16"


@torch.inference_mode()
def paint_strokes(
    net: TransformerNet, image: Tensor, blend: Tensor | None = None, passes: int = 2, stroke_size: float = 1.0
) -> Tensor:
    """Paint with strokes that are larger than a network's own: small first, then again and again twice as large.

    A network sees about 110 pixels at once, and no stroke holds together beyond that. At each size it is given the
    smaller painting, enlarged, and the photograph, half and half: the one brings large strokes, the other detail.

    Args:
        image, blend, passes: see `paint_tensor`.
        stroke_size: how many times as large, 1 to 8.

    Returns:
        `(B, 3, H, W)` in [0, 1].
    """
    painted, share = None, 0.5 if blend is None else 0.5 * blend[:, 1:].sum(1).view(-1, 1, 1, 1)  # strength 0: none
    while True:
        scaled = resize(image, tuple(max(1, round(side / stroke_size)) for side in image.shape[-2:]))
        if painted is not None:
            scaled = scaled + share * (resize(painted, tuple(scaled.shape[-2:])) - scaled)
        painted = paint_tensor(net, scaled, blend, passes)
        if stroke_size == 1:
            return painted
        stroke_size = max(1.0, stroke_size / 2)


def _large_strokes(
    net: TransformerNet, photo: Image.Image, blend: Tensor | None, passes: int, stroke_size: float
) -> Tensor:
    """`paint_strokes` in tiles, with 8 bits between one painting and the next."""
    painted, share = None, 0.5 if blend is None else 0.5 * float(blend[0, 1:].sum())  # at strength 0: none
    while True:
        scaled = photo  # itself, not Pillow's copy, for it may be large
        if stroke_size > 1:
            scaled = photo.resize([max(1, round(side / stroke_size)) for side in photo.size], Image.Resampling.BICUBIC)
        if painted is not None:
            scaled = Image.blend(scaled, to_pil(painted).resize(scaled.size, Image.Resampling.BICUBIC), share)
        painted = paint_tiled(net, scaled, blend, passes)
        if stroke_size == 1:
            return painted
        stroke_size = max(1.0, stroke_size / 2)


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
    stroke_size: Strokes = 1.0,
    polish: Natural = 0,
    polish_style: Source | None = None,
) -> Tensor:
    """Paint a picture on the device where the network is, or the best there is.

    See `paint_tensor`; what does not fit the memory goes through in tiles, in float32: see `paint_tiled`.

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
        stroke_size: how many times as large as the network's own the strokes are, from 1 to 8.
        polish: so many steps of Gatys' method finish the painting, 30 for instance; seconds, not milliseconds.
        polish_style: the picture of the style to polish with; `None` for the painting that the network was trained on.

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
    targets = style_pictures(net, blend, polish_style) if polish else None
    loss = PerceptualLoss(polish_config(net)).to(device) if polish else None
    where = open_mask(mask) if mask is not None else None
    whole = stylize_need(loss, loss.config, len(targets[0]) + 1) if polish else paint_need(net)
    tiled = paint_need(net, tiled=True)

    def in_tiles(shape: tuple[int, int]) -> bool:
        return not polish and min(shape) >= SMALLEST * stroke_size and whole(shape) > free

    def work(side: int) -> Tensor:
        photo = flattened(resize_pil(picture, side))
        if in_tiles((photo.height, photo.width)):
            painted = _large_strokes(net, photo, blend, passes, stroke_size)
            _check(painted, photo)
            return _finish_large(painted, photo, preserve_colour, where)
        original = to_tensor(photo)
        painted = paint_strokes(net, original.to(device), blend, passes, stroke_size).cpu()
        _check(painted, photo)
        painted = polished(painted.clone(), original, targets, polish, loss) if polish else painted
        return finished(painted, original, preserve_colour, where)

    def need(shape: tuple[int, int]) -> float:
        return min(whole(shape), tiled(shape)) if in_tiles(shape) else whole(shape)

    return shrink_to_memory(picture.size[::-1], size or max(picture.size), need, free, fit, work)


def _check(painted: Tensor, photo: Image.Image) -> None:
    if not math.isfinite(painted.sum()):
        raise CheckpointError("what this network paints is not finite: its weights are damaged. Get the file again.")
    if painted.std() < 0.01 < to_tensor(resize_pil(photo, 128)).std():
        say(
            "the painting is of one colour. If this network is from elsewhere, does it read and write other values "
            "than 0 … 255? See `values` of load_transformer, --values of nst paint."
        )


def finished(painted: Tensor, photo: Tensor, method: ColourMethod, where: Image.Image | None) -> Tensor:
    """The painting `(1, 3, H, W)` in the photograph's colours, with the photograph itself where no mask is."""
    painted = recolour(painted, photo, method)
    return torch.lerp(photo, painted, to_mask(where, tuple(photo.shape[-2:]))) if where else painted.clone()


def _finish_large(painted: Tensor, photo: Image.Image, method: ColourMethod, where: Image.Image | None) -> Tensor:
    """`finished`, strip by strip and in place."""

    def strip(a: int, b: int) -> Tensor:
        return to_tensor(photo.crop((0, a, photo.width, b)))

    recolour_strips(painted, strip, method)
    if where:
        where = where.resize(photo.size, Image.Resampling.BILINEAR)
        for a, b in strips(photo.height):
            rows, mask = painted[..., a:b, :], where.crop((0, a, photo.width, b))
            rows.copy_(torch.lerp(strip(a, b), rows, to_mask(mask, rows.shape[-2:])))
    return painted


def asked_blend(
    net: TransformerNet, styles: str | Mapping[str, Weight] | None, strength: float | None
) -> Tensor | None:
    """The network's `blend`; `None` for a network of one style that nobody asks for more."""
    if net.config.styles or styles is not None or strength is not None:
        return net.blend(styles, 1.0 if strength is None else strength)
    return None
