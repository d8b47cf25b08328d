"""What a batch is judged by: the perceptual losses, stability between two views, closeness at low strength."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..critic.losses import PerceptualLoss
from ..pictures.photos import PhotoFolder
from ..pictures.samples import load_image
from .config import TrainConfig

PIXEL_WEIGHT = 10.0  # of the pixels at strength 0
DARK = 1e-3  # the least mean square of a photograph: a black one would have an infinite relative error


class StyleObjective:
    """The losses of Johnson et al. (2016) for one style or several, and their stability.

    Deviation from the paper: a network can please the critic with a weave that is locked to the grid of its
    own four-pixel cells, or with a frame. So of half the photographs a second view, a few pixels off, is painted, and
    where the two overlap they should be the same (`stability_weight`); Gupta et al. (Characterizing and Improving
    Stability in Neural Style Transfer, ICCV 2017) ask that of the frames of a video.

    Args:
        config: the settings of the training.
        rows: of an adjustable network, how many rows of γ and β it has; 0 for a network of one style.
    """

    def __init__(self, config: TrainConfig, rows: int, device: torch.device):
        self.config, self.rows, self.device = config, rows, device
        self.loss = PerceptualLoss(config).to(device)
        self.loss.set_styles([load_image(source, config.style_size).to(device) for source in config.sources])
        self.balance = torch.ones(len(config.names))

    def __call__(self, model: nn.Module, photos: Tensor) -> dict[str, Tensor]:
        """All losses of a batch of crops `(B, 3, side + margin, side + margin)`, and `total`, which is minimised."""
        side = self.config.image_size
        blend, own = self._draw_styles(len(photos)) if self.rows else (None, ())
        here, moved, down, right = photos, None, 0, 0
        if self.config.margin:
            down, right = torch.randint(1, self.config.margin + 1, (2,)).tolist()
            here, moved = photos[..., :side, :side], photos[..., down : down + side, right : right + side]
            moved = moved[: (len(photos) + 1) // 2]  # of half the batch: a quarter of the time less
        painted, again = _paint_both(model, here, moved, blend)
        self.loss.set_content(here)
        losses = self.loss(painted, *own)
        if moved is not None:
            difference = painted[: len(again), :, down:, right:] - again[..., : side - down, : side - right]
            losses["stability"] = difference.square().mean()
            losses["total"] = losses["total"] + self.config.stability_weight * losses["stability"]
        if blend is not None:  # the weaker the style, the closer to the photograph
            error, power = (p.square().mean((1, 2, 3)) for p in (painted - here, here))
            losses["pixels"] = (blend[:, 0].square() * (error / power.clamp_min(DARK))).mean()
            losses["total"] = losses["total"] + PIXEL_WEIGHT * losses["pixels"]
        return losses

    def _draw_styles(self, count: int) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """A random style and strength for each picture: the network's blend `(count, rows)`, the loss's own arguments.

        The style loss is weighted by the strength (Babaeizadeh & Ghiasi 2018 draw the weights
        of the losses), and balanced, so that no style starves.
        """
        styles = len(self.config.names)
        which = torch.randint(styles, (count,))
        strength = (2 * torch.rand(count) - 0.1).clamp(0, 1)  # 0 now and then, 1 nearly every other time
        one = F.one_hot(which, styles).float()
        blend = torch.zeros(count, self.rows)
        blend[:, 0] = 1 - strength
        blend[:, self.rows - styles :] = strength[:, None] * one
        return blend.to(self.device), (one.to(self.device), (strength * self.balance[which]).to(self.device))

    @torch.no_grad()
    def balance_styles(self, photos: PhotoFolder) -> None:
        """For each style, how much nearer to it than to the others photographs are: factors of mean 1 or so."""
        side = self.config.image_size
        crops = torch.stack([photos[i][0] for i in range(8)])[..., :side, :side].to(self.device)
        self.loss.set_content(crops)
        ones = crops.new_ones(8)
        rows = torch.eye(len(self.config.names), device=self.device)
        far = [self.loss(crops, row.expand(8, -1), ones)["style"].item() for row in rows]
        distances = torch.tensor(far, dtype=torch.float64).clamp_min(1e-12)  # 0 where all photographs are the style
        self.balance = (distances.mean() / distances).clamp_max(100).float()


def _paint_both(
    model: nn.Module, here: Tensor, moved: Tensor | None, blend: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """The photographs and the second views, painted in one pass."""
    if moved is None:
        return model(here, *(() if blend is None else (blend,))), None
    blends = () if blend is None else (torch.cat([blend, blend[: len(moved)]]),)
    painted = model(torch.cat([here, moved]), *blends)
    return painted[: len(here)], painted[len(here) :]
