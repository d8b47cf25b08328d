"""The fast network: one pass from photograph to painting (Johnson, Alahi & Fei-Fei, ECCV 2016)."""

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..limits import UnitFloat, Weight, between, check_fields, checked

CELL = 4  # pixels: the residual blocks see the picture at a quarter of its size
Width = Annotated[int, between(1, 512)]


@dataclass(frozen=True)
class TransformerConfig:
    """The layout of a network; but for norm and upsample the defaults are Johnson et al.'s (supplement, table 1)."""

    width: Width = 32  # channels of the first layer; the residual blocks have four times as many
    residual_blocks: Annotated[int, between(0, 512)] = 5  # at a quarter of the picture's size
    norm: Literal["instance", "batch"] = "instance"  # Johnson et al. had batch; instance spares the white blobs
    upsample: Literal["resize", "deconv"] = "resize"  # nearest-neighbour resize + convolution, or transposed
    downsample: Literal["stride", "maxpool"] = "stride"  # strided convolution, or convolution + max pooling
    legacy_range: bool = False  # reads and writes 0 … 255, clamped, as pytorch/examples' checkpoints do
    styles: tuple[str, ...] = ()  # names of the styles of an adjustable network; () for a network of one style

    def __post_init__(self):
        check_fields(self)
        if len(set(self.styles)) < len(self.styles):
            raise ValueError(f"styles={self.styles}: must be different names")
        if self.styles and (self.norm != "instance" or self.legacy_range):
            raise ValueError("styles: an adjustable network needs norm='instance' and legacy_range=False")


class ReflectionConv(nn.Conv2d):
    """Convolution of a picture that is mirrored at its border."""

    def forward(self, x: Tensor) -> Tensor:
        padding = [p for p in self.padding[::-1] for _ in range(2)]
        if torch.is_autocast_enabled(x.device.type):  # which would mirror in float32, and back
            with torch.autocast(x.device.type, enabled=False):
                x = F.pad(x, padding, mode="reflect")
        else:
            x = F.pad(x, padding, mode="reflect")
        return F.conv2d(x, self.weight, self.bias, self.stride)


class InstanceNorm(nn.InstanceNorm2d):
    """Instance norm (Ulyanov et al. 2016) that keeps to `channels_last`; torch's goes back to planes."""

    def forward(self, x: Tensor) -> Tensor:
        return _channels_last(super().forward(x))


def _channels_last(x: Tensor) -> Tensor:
    """What instance norm gives, in `channels_last`; its gradient in planes.

    On the CPU torch's backward of the norm of a single picture (B = 1) is wrong for a gradient in
    `channels_last` (seen with 2.15).
    """
    if x.requires_grad:
        x.register_hook(torch.Tensor.contiguous)
    return x.contiguous(memory_format=torch.channels_last)


class ConditionalInstanceNorm(nn.Module):
    """Conditional instance norm (Dumoulin, Shlens & Kudlur 2017, equation 5): every style has its own γ and β.

    Row 0 belongs to the photograph itself, row i to the i-th style. `blend (B or 1, rows)` says how much of each row
    a picture gets; between the rows γ and β are interpolated (their section 3.5).
    """

    def __init__(self, channels: int, rows: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(rows, channels))
        self.bias = nn.Parameter(torch.zeros(rows, channels))

    def forward(self, x: Tensor, blend: Tensor) -> Tensor:
        blend = blend.to(self.weight)
        gamma, beta = ((blend @ rows)[..., None, None] for rows in (self.weight, self.bias))  # (B, C, 1, 1)
        return _channels_last(F.instance_norm(x)) * gamma + beta


class ConvBlock(nn.Sequential):
    """Reflection-padded convolution, norm, ReLU: `(B, inputs, H, W)` to `(B, outputs, H', W')`.

    Args:
        scale: 1 keeps the size, 2 doubles it, 1/2 halves it.
        relu: without it the layer is linear after its norm, as at the end of a residual block.
    """

    def __init__(
        self, config: TransformerConfig, inputs: int, outputs: int, size: int = 3, scale: float = 1, relu: bool = True
    ):
        layers: list[tuple[str, nn.Module]] = []
        if scale == 2 and config.upsample == "deconv":
            conv = nn.ConvTranspose2d(inputs, outputs, size, stride=2, padding=size // 2, output_padding=1)
        else:
            stride = 2 if scale == 0.5 and config.downsample == "stride" else 1
            conv = ReflectionConv(inputs, outputs, size, stride, padding=size // 2)
        if scale == 2 and config.upsample == "resize":
            layers.append(("resize", nn.Upsample(scale_factor=2, mode="nearest")))
        layers.append(("conv", conv))
        if scale == 0.5 and config.downsample == "maxpool":
            layers.append(("pool", nn.MaxPool2d(2)))
        norm = InstanceNorm if config.norm == "instance" else nn.BatchNorm2d
        rows = len(config.styles) + 1
        layers.append(("norm", ConditionalInstanceNorm(outputs, rows) if config.styles else norm(outputs, affine=True)))
        if relu:
            layers.append(("relu", nn.ReLU(inplace=True)))
        super().__init__(OrderedDict(layers))

    def forward(self, x: Tensor, blend: Tensor | None = None) -> Tensor:
        for layer in self:
            x = layer(x, blend) if isinstance(layer, ConditionalInstanceNorm) else layer(x)
        return x


class Residual(nn.Module):
    """x + f(x), with f two convolutions and no ReLU after the sum (Gross & Wilber, 2016)."""

    def __init__(self, config: TransformerConfig, channels: int):
        super().__init__()
        self.first = ConvBlock(config, channels, channels)
        self.second = ConvBlock(config, channels, channels, relu=False)

    def forward(self, x: Tensor, blend: Tensor | None = None) -> Tensor:
        return x + self.second(self.first(x, blend), blend)


class TransformerNet(nn.Module):
    """Paints `(B, 3, H, W)` in [0, 1] in one pass; the output has exactly the input's size.

    Johnson et al. 2016, supplementary material: c9s1-32, d64, d128, five R128, u64, u32, c9s1-3.
    Deviations: reflection padding at every convolution instead of 40 px once and valid convolutions
    after it, so that the residual blocks keep the size; nearest-neighbour resize + convolution instead of
    transposed ones (Odena et al. 2016), against checkerboards; a sigmoid instead of 150·tanh, so that the
    output is a picture.

    With `config.styles` it is adjustable: several styles, mixed at will, and strength. Then a share of the
    photograph, learned for each row, is added before the sigmoid: instance norm throws away what strength 0
    must give back. Strength moves γ and β on the straight line from row 0 to the style, trained at random
    strengths; Babaeizadeh & Ghiasi (2018) have a small network there.

    Attributes:
        config: the layout.
        card: what is known of its training: style, critic, photographs, steps, quality; may be empty.
    """

    @checked
    def __init__(self, config: TransformerConfig | None = None, card: dict | None = None):
        super().__init__()
        self.config, self.card = config or TransformerConfig(), card or {}
        w, config = self.config.width, self.config
        self.down = nn.Sequential(
            ConvBlock(config, 3, w, size=9),
            ConvBlock(config, w, 2 * w, scale=0.5),
            ConvBlock(config, 2 * w, 4 * w, scale=0.5),
        )
        self.residual = nn.Sequential(*(Residual(config, 4 * w) for _ in range(config.residual_blocks)))
        self.up = nn.Sequential(ConvBlock(config, 4 * w, 2 * w, scale=2), ConvBlock(config, 2 * w, w, scale=2))
        self.to_rgb = ReflectionConv(w, 3, 9, padding=4)
        if config.styles:
            self.skip_share = nn.Parameter(torch.tensor([1.0] + [0.0] * len(config.styles)))  # share of the photograph
        self.to(memory_format=torch.channels_last)

    def forward(self, image: Tensor, blend: Tensor | None = None) -> Tensor:
        """The painting of `image (B, 3, H, W)`; `blend (B or 1, rows)` is for an adjustable network, see `blend`."""
        height, width = image.shape[-2:]
        x = image * 255 if self.config.legacy_range else image
        x = pad_to_multiple(x).contiguous(memory_format=torch.channels_last)  # (B, 3, 4h, 4w)
        if self.config.styles and blend is None:
            blend = self.blend()
        for block in (*self.down, *self.residual, *self.up):  # at their end (B, width, 4h, 4w)
            x = block(x, blend)
        x = self.to_rgb(x)[..., :height, :width].float()  # (B, 3, H, W)
        if self.config.styles:
            share = (blend.to(self.skip_share) @ self.skip_share).view(-1, 1, 1, 1)
            x = x + share * image.clamp(0.01, 0.99).logit()
        return (x / 255).clamp(0, 1) if self.config.legacy_range else x.sigmoid()

    @checked
    def blend(self, styles: str | Mapping[str, Weight] | None = None, strength: UnitFloat = 1.0) -> Tensor:
        """The `blend (1, rows)` of a style, or of several by weight, at a strength from 0 (photograph) to 1.

        Raises:
            ValueError: a network of one style, an unknown style, weights or a strength that cannot be.
        """
        names = self.config.styles
        if not names:
            raise ValueError(f"this network has one style, {self.card.get('style', 'unknown')}, and no strength")
        weights = {styles or names[0]: 1.0} if isinstance(styles, str | None) else dict(styles)
        unknown = [name for name in weights if name not in names]
        if unknown:
            raise ValueError(f"style {unknown[0]!r}: this network has {', '.join(names)}")
        total = sum(weights.values())
        if not 0 < total < math.inf:
            raise ValueError(f"styles={weights}: at least one weight must be above 0")
        row = [1 - strength] + [strength * weights.get(name, 0.0) / total for name in names]
        return torch.tensor([row], device=next(self.parameters()).device)


def pad_to_multiple(x: Tensor) -> Tensor:
    """Mirror the picture to the right and below until both sides are a multiple of `CELL`, at least 16."""
    height, width = x.shape[-2:]
    if height < 16 or width < 16:  # too small for a mirror: its last row and column are repeated
        x = F.pad(x, (0, max(0, 16 - width), 0, max(0, 16 - height)), mode="replicate")
    return F.pad(x, (0, -x.shape[-1] % CELL, 0, -x.shape[-2] % CELL), mode="reflect")
