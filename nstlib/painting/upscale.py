"""Super-resolution: a small network makes a picture four times as large (Johnson et al. 2016, section 4.2)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..critic.extractor import BUNDLED
from ..devices import available
from ..errors import CheckpointError, ImageError
from ..limits import between, check_fields, checked
from ..pictures.convert import to_tensor
from ..pictures.files import Source
from ..pictures.pixels import cut, resample, tiles, widened
from ..pictures.samples import open_image
from .models import build_own, read_model
from .network import Width

SCALE = 4  # of the network itself
SIDE = 256  # pixels of the small picture that go through the network at a time
SHIPPED = ("perceptual", "pixels")
FIXED, PER_PIXEL = 200e6, 40  # bytes: a part's feature maps; the result in float32, and what saving it takes


@dataclass(frozen=True)
class UpscaleConfig:
    """The layout of an `UpscaleNet`."""

    width: Width = 32  # channels of each convolution
    depth: Annotated[int, between(0, 256)] = 16  # convolutions between the first and the last

    def __post_init__(self):
        check_fields(self)


class PReLU(nn.PReLU):
    """max(0, x) − a·max(0, −x) with `a` learned; in bfloat16 on a CPU it trains three times as fast as torch's own."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x) - self.weight.to(x.dtype).view(-1, 1, 1) * F.relu(-x)


class UpscaleNet(nn.Module):
    """`(B, 3, H, W)` in [0, 1] to `(B, 3, 4H, 4W)`: bicubic enlargement, plus what a few convolutions add.

    All convolutions work at the small size; a pixel shuffle (Shi et al. 2016) lays their 48 channels out as
    4×4 pixels of 3 colours. The layout is SRVGGNetCompact's (Wang et al., Real-ESRGAN, 2021). Deviation: the
    residual is added to bicubic enlargement instead of nearest neighbours.
    """

    @checked
    def __init__(self, config: UpscaleConfig | None = None, card: dict | None = None):
        super().__init__()
        self.config, self.card = config or UpscaleConfig(), card or {}
        width = self.config.width
        convs = [nn.Conv2d(inputs, width, 3, padding=1) for inputs in (3, *[width] * self.config.depth)]
        self.body = nn.Sequential(*(layer for conv in convs for layer in (conv, PReLU(width))))
        self.tail = nn.Conv2d(width, 3 * SCALE**2, 3, padding=1)
        for conv in convs:
            nn.init.kaiming_normal_(conv.weight, a=0.25)  # PReLU's slope at the start
            nn.init.zeros_(conv.bias)
        nn.init.zeros_(self.tail.weight)  # the first picture is the bicubic one
        nn.init.zeros_(self.tail.bias)
        self.to(memory_format=torch.channels_last)

    def forward(self, image: Tensor) -> Tensor:
        features = self.body(image.contiguous(memory_format=torch.channels_last))  # (B, width, H, W)
        return bicubic(image) + F.pixel_shuffle(self.tail(features), SCALE).to(image.dtype)


def bicubic(image: Tensor, scale: float = SCALE) -> Tensor:
    """Bicubic resampling `(B, C, H, W)` as Pillow does it: a = −1/2, and antialiased where it shrinks."""
    return resample(image, [max(1, round(side * scale)) for side in image.shape[-2:]])


@checked
def load_upscaler(model: str | Path = "pixels") -> UpscaleNet:
    """A trained network: `"pixels"` (closest), `"perceptual"` (nearer in features, faint grid), or a file of nst train.

    Raises:
        CheckpointError: no such file, or one that holds no network of this layout.
    """
    path, state, metadata = read_model(model, {name: BUNDLED / f"enlarge_{name}.safetensors" for name in SHIPPED})
    if metadata.get("architecture") != "UpscaleNet":
        raise CheckpointError(f"{path}: holds no UpscaleNet. Give {' or '.join(SHIPPED)}, or a file of `nst train`.")
    return build_own(path, state, metadata, UpscaleNet, UpscaleConfig)


def both_ways(net: UpscaleNet, image: Tensor) -> Tensor:
    """The mean of what a network makes of `(B, 3, H, W)` and of the same picture turned by 90°, turned back.

    Timofte et al., Seven Ways to Improve Example-Based Single Image Super Resolution, 2016, section 3.6, with two of
    their eight turns. It is nearer to the original, and a grid of one shows half as much.
    """
    return (net(image) + net(image.rot90(1, (-2, -1))).rot90(-1, (-2, -1))) / 2


@torch.inference_mode()
def enlarge_tensor(net: UpscaleNet, image: Tensor, side: int = SIDE) -> Tensor:
    """Four times as large: `(B, 3, H, W)` in [0, 1], on the network's device, to `(B, 3, 4H, 4W)` in [0, 1].

    See `both_ways`. Works in parts of `side` pixels that see as far beyond their edges as the network does. There is
    no norm, so the parts are the whole's, but for rounding.
    """
    halo = net.config.depth + 2  # each convolution reads one pixel further; bicubic enlargement reads two
    height, width = image.shape[-2:]
    result = image.new_empty(*image.shape[:2], SCALE * height, SCALE * width)
    for box in tiles((height, width), (side, side)):
        wide = widened(box, halo, (height, width))
        inner = [(SCALE * (a - c), SCALE * (b - c)) for (a, b), (c, _) in zip(box, wide, strict=True)]
        place = cut(result, [(SCALE * a, SCALE * b) for a, b in box])
        torch.clamp(cut(both_ways(net, cut(image, wide)), inner), 0, 1, out=place)
    return result


@checked
def enlarge(content: Source, model: UpscaleNet | str | Path = "pixels", scale: Literal[2, 4] = 4) -> Tensor:
    """Make a picture two or four times as large, on the device where the network is; see `load_upscaler`.

    Args:
        content: a sample's name, a file, PIL image, array or tensor; transparency is flattened on white.
        scale: 4, or 2: four times, shrunk again.

    Returns:
        `(1, 3, scale·H, scale·W)` in [0, 1], on the CPU.

    Raises:
        ImageError, CheckpointError: a picture or a model that cannot be read; memory that does not suffice.
    """
    net = model if isinstance(model, UpscaleNet) else load_upscaler(model)
    picture, device = open_image(content), next(net.parameters()).device
    need, free = FIXED + PER_PIXEL * SCALE**2 * picture.width * picture.height, available(torch.device("cpu"))
    if need > free:
        said = f"{scale * picture.width}×{scale * picture.height}: needs about {need / 1e9:.1f} GB of memory"
        raise ImageError(f"{said}, {free / 1e9:.1f} GB are free. Shrink the picture first, or close other programs.")
    large = enlarge_tensor(net, to_tensor(picture).to(device)).cpu()
    return large if scale == SCALE else bicubic(large, scale / SCALE).clamp_(0, 1)
