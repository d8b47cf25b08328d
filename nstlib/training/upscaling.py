"""What a network that enlarges is judged by, and how its small pictures are made."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..critic.losses import relative
from ..painting.upscale import SCALE, bicubic
from ..pictures.convert import to_tensor
from ..pictures.files import jpeg_bytes, read_image
from ..pictures.pixels import resize
from .config import TrainConfig

L1_WEIGHT = 0.2  # of the pixels, beside the features


class UpscaleObjective:
    """What an enlarging network is judged by: its pixels (L1), or the critic's features and a fifth of that.

    Johnson et al. 2016, section 4.2. Deviations: two layers instead of one, errors relative to the size of the
    features, and some L1, which keeps the colours, instead of matching histograms afterwards. The critic pools 2×2
    pixels, twice, and is blind to some patterns with a period of 4 pixels; a network that paints 4×4 cells finds them
    in minutes. So each batch is cut off by 0 to 3 pixels at the top and at the left before the critic sees it.
    """

    def __init__(self, config: TrainConfig, device: torch.device):
        self.extractor = config.extractor().to(device) if config.objective == "perceptual" else None
        self.layers = config.layers()[0]

    def __call__(self, model: nn.Module, photos: Tensor) -> dict[str, Tensor]:
        """All losses of a batch of crops `(B, 3, side, side)`, and `total`, which is minimised.

        The originals are the crops at half the size: photographs are JPEGs, and sharp to the pixel only there.
        """
        original = resize(photos, (photos.shape[-2] // 2 // SCALE * SCALE, photos.shape[-1] // 2 // SCALE * SCALE))
        enlarged = model(degrade(original))
        losses = {"pixels": F.l1_loss(enlarged, original)}
        if not self.extractor:
            return losses | {"total": losses["pixels"]}
        down, right = torch.randint(SCALE, (2,)).tolist()
        with torch.no_grad():
            wanted = self.extractor(original[..., down:, right:])
        found = self.extractor(enlarged[..., down:, right:])
        losses["content"] = sum(relative(found[name], wanted[name]) for name in self.layers) / len(self.layers)
        return losses | {"total": losses["content"] + L1_WEIGHT * losses["pixels"]}


def degrade(photos: Tensor) -> Tensor:
    """Photographs `(B, 3, H, W)` in [0, 1] as small ones, `(B, 3, H/4, W/4)`, in 8 bits.

    Of fifty pictures 34 are shrunk bicubically, 5 by the mean of 4×4 pixels, 4 blurred first (σ of 0.5 to 2 pixels),
    and 7 saved as JPEG of quality 60 to 95 afterwards. A network that knows one way enlarges the faults of the others.
    """
    from torchvision.transforms.functional import gaussian_blur  # takes longer to import than all of nstlib

    small = bicubic(photos, 1 / SCALE).clamp(0, 1)
    for i, draw in enumerate(torch.rand(len(photos)).tolist()):
        if draw < 0.10:
            small[i] = F.avg_pool2d(photos[i], SCALE)
        elif draw < 0.18:
            sigma = 0.5 + 1.5 * torch.rand(()).item()
            small[i] = bicubic(gaussian_blur(photos[i : i + 1], 13, sigma), 1 / SCALE)[0]
        elif draw < 0.32:
            quality = int(torch.randint(60, 96, ()))
            small[i] = to_tensor(read_image(jpeg_bytes(small[i].cpu(), quality)))[0]
    return small.clamp(0, 1).mul(255).round() / 255
