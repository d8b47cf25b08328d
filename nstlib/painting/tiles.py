"""A picture of any size through a network, tile by tile: the result is the whole's, the memory is the trunk's.

An instance norm needs the mean and the variance of each channel over the whole picture, and both are sums over pixels.
So each norm has a sweep over the tiles that sums them, and only then a layer after it is computed.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from ..pictures.convert import to_tensor
from ..pictures.pixels import Box, Span, cut, reflect_pad, tiles
from .network import CELL, ConditionalInstanceNorm, ConvBlock, TransformerNet, pad_to_multiple

TILE = 256  # pixels: the maps of a tile stay in a processor's cache
KEPT = torch.float16  # what is kept between two sweeps, but for the trunk; it differs by less than 1/500 of the range
Read = Callable[[Box], Tensor]  # a box of a picture, or of a layer's map, as (1, C, h, w)
Shape = Sequence[int]


@torch.no_grad()
def paint_tiled(
    net: TransformerNet, picture: Image.Image, blend: Tensor | None = None, passes: int = 2, side: int = TILE
) -> Tensor:
    """What `paint_tensor` paints, from an 8-bit picture of any size from 16 pixels.

    Args:
        net: in evaluation mode.
        blend, passes: see `paint_tensor`.
        side: of a tile, pixels.

    Returns:
        `(1, 3, H, W)` in [0, 1], on the CPU; see `KEPT` for how exact it is.
    """
    shape = picture.height, picture.width
    painted = torch.zeros(1, 3, *shape, dtype=KEPT)
    for moved in (0, CELL // 2)[:passes]:
        whole = TiledPass(net, picture, blend, moved, side)
        for box in tiles(shape, (side, side)):
            tile, new = cut(painted, box), whole(box).cpu()
            tile.copy_((tile + new) / 2 if moved else new)
        del whole  # its trunk, before the next is made
    return painted.float()


class TiledPass:
    """One pass of a network over a picture: the trunk is computed once and kept, all that is larger tile by tile.

    Args:
        moved: rows and columns of the mirrored margin that are left out, pixels.
    """

    def __init__(self, net: TransformerNet, picture: Image.Image, blend: Tensor | None, moved: int, side: int):
        self.net, self.picture, self.side = net, picture, side
        self.device = next(net.parameters()).device
        self.blend = net.blend() if net.config.styles and blend is None else blend
        lines = [_padded_line(length, moved) for length in (picture.height, picture.width)]
        (self.rows, top), (self.columns, left) = lines
        self.corner, self.shape = (top, left), (len(self.rows), len(self.columns))
        self.trunk = self._down()
        for block in net.residual:
            self._residual(block)
        self.up = self._settled(_layers(net.up), self._trunk, self.trunk.shape[-2:])
        self.up.append(net.to_rgb)

    def __call__(self, box: Box) -> Tensor:
        """The painting of a box of the picture, `(1, 3, h, w)` in [0, 1]."""
        box = tuple((a + start, b + start) for (a, b), start in zip(box, self.corner, strict=True))
        x = evaluate(self.up, self._trunk, self.trunk.shape[-2:], box).float()
        if self.net.config.styles:
            share = self.blend.to(self.net.skip_share) @ self.net.skip_share
            x += share * self._read(box).clamp(0.01, 0.99).logit()
        return (x / 255).clamp(0, 1) if self.net.config.legacy_range else x.sigmoid()

    def _read(self, box: Box) -> Tensor:
        """A box of the padded picture."""
        rows, columns = self.rows[slice(*box[0])], self.columns[slice(*box[1])]
        top, left = int(rows.min()), int(columns.min())
        piece = to_tensor(self.picture.crop((left, top, int(columns.max()) + 1, int(rows.max()) + 1)))
        return piece[..., rows - top, :][..., columns - left].to(self.device)

    def _trunk(self, box: Box) -> Tensor:
        return cut(self.trunk, box)

    def _settled(self, layers: Sequence, read: Read, shape: Shape) -> list:
        """The layers with each norm's statistics known; a sweep over the tiles for each."""
        known: list = []
        for layer in layers:
            known.append(self._measured(layer, known, read, shape) if _is_norm(layer) else layer)
        return known

    def _measured(self, norm: nn.Module, layers: list, read: Read, shape: Shape, out: Tensor | None = None) -> "Scaled":
        """The norm with the statistics of what the layers before it make; that is kept in `out`."""
        moments, size = Moments(), sizes(layers, shape)[-1]
        sides = (self.side, self.side) if out is None else (max(8, (self.side // CELL) ** 2 // size[1]), size[1])
        for box in tiles(size, sides):
            x = evaluate(layers, read, shape, box)
            moments.add(x)
            if out is not None:
                cut(out, box).copy_(x)
        return moments.normalise(norm, self.blend)

    def _down(self) -> Tensor:
        """The picture at a quarter of its size, `(1, 4·width, h, w)`."""
        *layers, norm, relu = _layers(self.net.down)
        if self.net.config.legacy_range:
            layers = [lambda x: x * 255, *layers]
        layers = self._settled(layers, self._read, self.shape)
        x = self._empty(norm.weight.shape[-1], *(n // CELL for n in self.shape))
        return relu(self._measured(norm, layers, self._read, self.shape, out=x)(x))

    def _residual(self, block: nn.Module) -> None:
        """Add f(trunk) to the trunk, in the memory of half a trunk more.

        f's second convolution writes where it reads, but one row higher: from the top down, that row is read no more.
        """
        shape = self.trunk.shape[-2:]
        room = self._empty(self.trunk.shape[1], shape[0] + 1, shape[1], dtype=KEPT)
        first, second = room[..., 1:, :], room[..., :-1, :]
        norm = self._measured(block.first.norm, [block.first.conv], self._trunk, shape, out=first)

        def read(box: Box) -> Tensor:
            return norm(cut(first, box).to(torch.float32, copy=True)).relu_()

        scaled = self._measured(block.second.norm, [block.second.conv], read, shape, out=second)
        for box in tiles(shape, (self.side // CELL, shape[1])):
            cut(self.trunk, box).addcmul_(cut(second, box).float(), scaled.scale).add_(scaled.shift)

    def _empty(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(1, *shape, dtype=dtype, device=self.device, memory_format=torch.channels_last)


def _padded_line(length: int, moved: int) -> tuple[Tensor, int]:
    """Which row (or column) of a picture each one of the padded picture is, and where the picture begins in it."""
    line = torch.arange(float(length)).view(1, 1, length, 1).expand(-1, -1, -1, 64)
    padded = reflect_pad(line)
    begin = (padded.shape[-2] - length) // 2 - moved
    return pad_to_multiple(padded[..., moved:, :])[0, 0, :, 0].long(), begin


def _layers(blocks: Sequence[ConvBlock]) -> list[nn.Module]:
    return [layer for block in blocks for layer in block]


def _is_norm(layer) -> bool:
    """Whether it needs statistics; batch norm has learned them."""
    return isinstance(layer, nn.InstanceNorm2d | ConditionalInstanceNorm)


class Scaled:
    """A norm whose statistics are known, γ(x − μ)/σ + β, as a scale and a shift `(1, C, 1, 1)`; in place."""

    def __init__(self, scale: Tensor, shift: Tensor):
        self.scale, self.shift = scale.view(1, -1, 1, 1), shift.view(1, -1, 1, 1)

    def __call__(self, x: Tensor) -> Tensor:
        return x.mul_(self.scale).add_(self.shift)


class Moments:
    """Mean and variance of each channel, summed over tiles in float64 (Chan, Golub & LeVeque 1983)."""

    def __init__(self):
        self.count, self.mean, self.squares = 0, 0.0, 0.0  # squares: Σ (x − mean)²

    def add(self, x: Tensor) -> None:
        flat = x.permute(0, 2, 3, 1).flatten(0, 2)  # (h*w, C)
        mean = flat.mean(0)
        squares, mean = ((flat - mean).square().sum(0).cpu().double(), mean.cpu().double())  # MPS has no float64
        total = self.count + len(flat)
        apart = mean - self.mean
        self.squares = self.squares + squares + apart.square() * (self.count * len(flat) / total)
        self.mean, self.count = self.mean + apart * (len(flat) / total), total

    def normalise(self, norm: nn.Module, blend: Tensor | None) -> Scaled:
        """The norm with these statistics; batch norm has its own."""
        weight, bias, mean, variance = norm.weight, norm.bias, self.mean, self.squares / self.count
        if isinstance(norm, ConditionalInstanceNorm):
            weight, bias = ((blend.to(rows) @ rows)[0] for rows in (weight, bias))
        if isinstance(norm, nn.BatchNorm2d):
            mean, variance = norm.running_mean.cpu().double(), norm.running_var.cpu().double()
        scale = weight.cpu().double() * (variance + getattr(norm, "eps", 1e-5)).rsqrt()
        shift = bias.cpu().double() - mean * scale
        return Scaled(scale.to(weight), shift.to(weight))


# ── a box of a layer's map from a box of its input ──────────────────────────────────────────────────


def evaluate(layers: Sequence, read: Read, shape: Shape, box: Box) -> Tensor:
    """A box of what layers make of a map of `shape`, computed from just what it depends on."""
    shapes = sizes(layers, shape)
    boxes = [box]
    for layer, size in zip(reversed(layers), reversed(shapes[:-1]), strict=True):
        spans = (_span_before(layer, span) for span in boxes[-1])
        boxes.append(tuple((max(0, a), min(n, b)) for (a, b), n in zip(spans, size, strict=True)))
    x = read(boxes.pop())
    for layer, size in zip(layers, shapes, strict=False):
        x = _run(layer, x, size, boxes.pop())
    return x


def sizes(layers: Sequence, shape: Shape) -> list[tuple[int, ...]]:
    """The size of the map before each layer, and after the last."""
    found = [tuple(shape)]
    for layer in layers:
        found.append(tuple(_length_after(layer, n) for n in found[-1]))
    return found


def _length_after(layer, length: int) -> int:
    if isinstance(layer, nn.Upsample | nn.ConvTranspose2d):
        return 2 * length
    if isinstance(layer, nn.MaxPool2d):
        return length // 2
    return (length - 1) // layer.stride[0] + 1 if isinstance(layer, nn.Conv2d) else length


def _span_before(layer, span: Span) -> Span:
    """What a layer reads for a span of its output; it may reach beyond the border."""
    a, b = span
    if isinstance(layer, nn.Upsample):
        return a // 2, (b + 1) // 2
    if isinstance(layer, nn.ConvTranspose2d):
        return a // 2, b // 2 + 1
    if isinstance(layer, nn.MaxPool2d):
        return 2 * a, 2 * b
    if isinstance(layer, nn.Conv2d):
        stride, padding = layer.stride[0], layer.padding[0]
        return a * stride - padding, (b - 1) * stride - padding + layer.kernel_size[0]
    return span


def _run(layer, x: Tensor, shape: Shape, box: Box) -> Tensor:
    """The box of a layer's output from just what it reads of an input of `shape`, mirrored at the true border only."""
    reads = [_span_before(layer, span) for span in box]
    if isinstance(layer, nn.Upsample | nn.ConvTranspose2d):
        first = [2 * start for start, _ in reads]
        return cut(layer(x), [(a - start, b - start) for (a, b), start in zip(box, first, strict=True)])
    if isinstance(layer, nn.Conv2d):
        (up, down), (left, right) = ((max(0, -a), max(0, b - n)) for (a, b), n in zip(reads, shape, strict=True))
        x = F.pad(x, (left, right, up, down), mode="reflect") if up or down or left or right else x
        return F.conv2d(x, layer.weight, layer.bias, layer.stride)
    return layer(x)
