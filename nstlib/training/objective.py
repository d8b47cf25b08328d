"""What a batch is judged by: the perceptual losses, stability between two views, closeness at low strength."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..critic.losses import PerceptualLoss
from ..painting.network import TransformerNet
from ..painting.upscale import UpscaleNet
from ..pictures.photos import PhotoFolder
from ..pictures.samples import load_style
from .config import TrainConfig
from .upscaling import UpscaleObjective

PIXEL_WEIGHT = 10.0  # of the pixels at strength 0
FLOW, ZOOM = 2.0, 0.03  # of the motion: standard deviation in pixels of a 4 × 4 grid; share of the size, at most
NOISE = 0.02  # standard deviation of the second view's noise, at most
DARK = 1e-3  # the least mean square of a photograph: a black one would have an infinite relative error


class StyleObjective:
    """The losses of Johnson et al. (2016) for one style or several, and their stability.

    Deviation from the paper: a network can please the critic with a weave that is locked to the grid of its own
    four-pixel cells, or with a frame, and it can make strokes of a camera's noise. So half of the photographs are
    painted a second time, moved and with noise, and the painting should be the moved painting, where there is one
    (`stability_weight`). Gupta et al. (Characterizing and Improving Stability in Neural Style Transfer, ICCV 2017)
    ask that of the frames of a video; Wang et al. (Consistent Video Style Transfer via Relaxation and
    Regularization, 2020) showed that random motion of single photographs is enough.

    Args:
        config: the settings of the training.
        rows: of an adjustable network, how many rows of γ and β it has; 0 for a network of one style.
    """

    def __init__(self, config: TrainConfig, rows: int, device: torch.device):
        self.config, self.rows, self.device = config, rows, device
        self.loss = PerceptualLoss(config).to(device)
        self.loss.set_styles([load_style(source, config.style_size).to(device) for source in config.sources])
        self.balance = torch.ones(len(config.names))

    def __call__(self, model: nn.Module, photos: Tensor) -> dict[str, Tensor]:
        """All losses of a batch of crops `(B, 3, side + margin, side + margin)`, and `total`, which is minimised."""
        side = self.config.image_size
        blend, own = self._draw_styles(len(photos)) if self.rows else (None, ())
        here = photos[..., :side, :side]
        moved, where = self._second_view(photos, blend) if self.config.margin else (photos[:0, :, :side, :side], None)
        blends = () if blend is None else (torch.cat([blend, blend[: len(moved)]]),)
        painted, again = model(torch.cat([here, moved]), *blends).split_with_sizes([len(here), len(moved)])
        self.loss.set_content(here)
        losses = self.loss(painted, *own)
        if self.config.margin:
            inside = ((where >= 0) & (where <= side - 1)).all(-1)[:, None]  # (b, 1, side, side)
            difference = (warp(painted[: len(again)], where) - again) * inside
            losses["stability"] = difference.square().sum() / (3 * inside.sum().clamp_min(1))
            losses["total"] = losses["total"] + self.config.stability_weight * losses["stability"]
        if blend is not None:  # the weaker the style, the closer to the photograph
            error, power = (p.square().mean((1, 2, 3)) for p in (painted - here, here))
            losses["pixels"] = (blend[:, 0].square() * (error / power.clamp_min(DARK))).mean()
            losses["total"] = losses["total"] + PIXEL_WEIGHT * losses["pixels"]
        return losses

    def _second_view(self, photos: Tensor, blend: Tensor | None) -> tuple[Tensor, Tensor]:
        """Half of the photographs, moved and with noise, and where their pixels come from."""
        some = photos[: (len(photos) + 1) // 2]  # of half the batch: a quarter of the time less
        where = random_motion(len(some), self.config.image_size, self.config.margin).to(photos.device)
        sigma = (NOISE * torch.rand(len(some), 1, 1, 1)).to(photos.device)
        if blend is not None:
            sigma = sigma * (1 - blend[: len(some), :1, None, None])  # at strength 0 noise is part of the photograph
        moved = warp(some, where)
        return moved + sigma * torch.randn_like(moved), where

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


def make_objective(
    config: TrainConfig, net: TransformerNet | UpscaleNet, photos: PhotoFolder, device: torch.device
) -> StyleObjective | UpscaleObjective:
    """What judges a batch: `objective(model, crops)` gives losses by name, of which `total` is minimised."""
    if config.objective != "style":  # "pixels" or "perceptual"
        return UpscaleObjective(config, device)
    styles = net.config.styles
    objective = StyleObjective(config, rows=len(styles) + 1 if styles else 0, device=device)
    if styles:
        objective.balance_styles(photos)
    return objective


def random_motion(count: int, side: int, most: int) -> Tensor:
    """Where each pixel of a second view lies in the first: `(count, side, side, 2)`, x and y in pixels.

    Each view is shifted by whole pixels, all phases of the network's cells alike, from a quarter of `most` to three
    quarters. Half of them also zoom and flow smoothly, by fractions of a pixel, as in a film.
    """
    shift = torch.randint(most // 4, most - most // 4 + 1, (count, 1, 1, 2))
    zoom = ZOOM * (2 * torch.rand(count, 1, 1, 1) - 1)
    coarse = FLOW * torch.randn(count, 2, 4, 4)
    flow = F.interpolate(coarse, (side, side), mode="bicubic", align_corners=True).movedim(1, -1)
    at = torch.arange(side, dtype=torch.float32)
    grid = torch.stack(torch.meshgrid(at, at, indexing="xy"), -1)  # (side, side, 2)
    moves = torch.rand(count, 1, 1, 1) < 0.5
    return grid + shift + moves * (zoom * (grid - (side - 1) / 2) + flow)


def warp(image: Tensor, where: Tensor) -> Tensor:
    """`image (B, 3, h, w)` at the positions `where (B, H, W, 2)`: `(B, 3, H, W)`, mirrored outside.

    Bicubic: linear interpolation blurs, and the network would learn to blur too.
    """
    size = where.new_tensor([image.shape[-1], image.shape[-2]])
    with torch.autocast(image.device.type, enabled=False):  # positions need float32
        return F.grid_sample(image.float(), (2 * where + 1) / size - 1, "bicubic", "reflection", align_corners=False)
