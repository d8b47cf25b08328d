"""One step of a painting on one page: what goes into the critic, what it reports, what comes back to the picture."""

import io

import numpy as np
import torch
from IPython.display import Image as Display
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from PIL import Image
from torch import Tensor

from ..critic.losses import PerceptualLoss, gram
from .plots import _jpeg

INK, GREY, BLUE, RED, GREEN = "#333333", "#888888", "#1f77b4", "#d62728", "#2ca02c"
ROWS = {"photograph": 5.7, "picture": 3.85, "painting": 2.0}  # inches from below
HEIGHTS = (5.7, 4.5, 3.2, 2.0)  # of what the critic reports of photograph, picture, picture, painting
Point = tuple[float, float]


def one_step(loss: PerceptualLoss, photo: Tensor, painting: Tensor, picture: Tensor) -> Display:
    """Draw one step of a painting, with the features, Gram matrices, losses and gradient of this very step.

    Args:
        loss: shown with its weights, its first content layer and its second style layer.
        photo, picture: `(1, 3, H, W)`, of one shape.
        painting: `(1, 3, h, w)`.
    """
    loss.set_content(photo)
    loss.set_styles([painting])
    leaf = picture.clone().requires_grad_()
    losses = loss(leaf)
    losses["total"].backward()
    figure = Figure(figsize=(11, 6.5), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    _into_the_critic(axes, {"photograph": photo, "picture": picture, "painting": painting})
    _out_of_the_critic(axes, loss, photo, painting, picture)
    _weighed(axes, loss, {name: value.item() for name, value in losses.items()})
    _way_back(axes, leaf.grad)
    axes.set(xlim=(0, 11), ylim=(0, 6.5))
    axes.set_axis_off()
    page = io.BytesIO()
    figure.savefig(page, format="png")
    return _jpeg(Image.open(page).convert("RGB"), "one step: critic, content loss, style loss, gradient, picture")


def _into_the_critic(axes: Axes, pictures: dict[str, Tensor]) -> None:
    for name, picture in pictures.items():
        y = ROWS[name]
        width = _thumbnail(axes, picture[0].permute(1, 2, 0), (1.8, y), 1.25)
        axes.text(1.8, y - 0.7, f"the {name}", ha="center", va="top", fontsize=11, color=INK)
        _arrow(axes, [(1.8 + width / 2 + 0.08, y), (3.42, y)], GREY)
    _box(axes, (3.45, 1.35), (1.15, 5.0), INK, "the critic\n\nA trained\nnetwork.\nIts weights\nnever\nchange.")


def _out_of_the_critic(axes: Axes, loss: PerceptualLoss, photo: Tensor, painting: Tensor, picture: Tensor) -> None:
    content, style = loss.content_layers[0], loss.style_layers[1]
    with torch.no_grad():
        reports = [loss.extractor(image) for image in (photo, picture, painting)]
    busiest = reports[0][content][0].flatten(1).std(1).argsort(descending=True)[:3]
    for report, y in zip(reports[:2], HEIGHTS[:2], strict=True):
        _cards(axes, report[content][0, busiest.flip(0)], (6.1, y))
    grams = [gram(report[style])[0, :24, :24] for report in reports[1:]]
    for matrix, y in zip(grams, HEIGHTS[2:], strict=True):
        shades = colormaps["magma"]((matrix / grams[1].max()).clamp(0, 1).sqrt().numpy())
        _thumbnail(axes, shades, (6.1, y), 0.95)
    for owner, y in zip(("photograph", "picture", "picture", "painting"), HEIGHTS, strict=True):
        _arrow(axes, [(4.65, y), (5.5, y)], GREY)
        axes.text(5.03, y + 0.06, owner, ha="center", va="bottom", fontsize=9, color=GREY)
    for title, heights, colour in (
        (f"features ({content})", HEIGHTS[:2], BLUE),
        (f"Gram matrices ({style})", HEIGHTS[2:], RED),
    ):
        axes.text(6.1, sum(heights) / 2, title, ha="center", va="center", fontsize=9, color=colour)


def _weighed(axes: Axes, loss: PerceptualLoss, losses: dict[str, float]) -> None:
    """The two losses and their sum."""
    middle = ROWS["picture"]
    for name, ends, colour in (("content", HEIGHTS[:2], BLUE), ("style", HEIGHTS[2:], RED)):
        y, weight = sum(ends) / 2, getattr(loss.config, f"{name}_weight")
        _box(axes, (7.5, y - 0.42), (1.45, 0.84), colour, f"{name} loss\n{losses[name]:.3f}")
        for end in ends:
            _arrow(axes, [(6.75, end), (7.47, y + 0.25 * (end - y))], colour)
        _arrow(axes, [(8.97, y), (9.67, middle + 0.2 * (y - middle))], colour)
        axes.text(
            9.45, y + 0.1 * (y > middle) - 0.1 * (y < middle), f"× {weight:g}", va="center", fontsize=11, color=colour
        )
    _box(axes, (9.7, middle - 0.45), (1.1, 0.9), INK, f"total\n{losses['total']:.2f}")


def _way_back(axes: Axes, gradient: Tensor) -> None:
    """From the sum to the picture, with the gradient itself, its largest values cut off."""
    g = gradient[0].permute(1, 2, 0)
    scale = g.abs().flatten().kthvalue(int(0.98 * g.numel())).values
    _arrow(axes, [(10.25, 3.35), (10.25, 0.6), (0.45, 0.6), (0.45, ROWS["picture"]), (1.1, ROWS["picture"])], GREEN)
    _thumbnail(axes, (0.5 + g / (2 * scale)).clamp(0, 1), (6.1, 0.6), 0.95)
    axes.text(6.75, 0.68, "the gradient: how the total\nchanges with each pixel", va="bottom", fontsize=11, color=GREEN)
    axes.text(
        0.6, 0.68, "the step: each pixel moves\na little, against its gradient", va="bottom", fontsize=11, color=GREEN
    )


def _thumbnail(axes: Axes, image, centre: Point, height: float) -> float:
    """A picture `(H, W, 3 or 4)` on the page; returns its width."""
    (x, y), width = centre, height * image.shape[1] / image.shape[0]
    box = (x - width / 2, x + width / 2, y - height / 2, y + height / 2)
    axes.imshow(np.asarray(image), extent=box, aspect="auto", zorder=3, interpolation="antialiased")
    return width


def _cards(axes: Axes, maps: Tensor, centre: Point) -> None:
    """Feature maps `(N, H, W)`, one behind the other, their largest values cut off."""
    high = maps.flatten(1).quantile(0.97, dim=1).clamp_min(1e-8)[:, None, None]
    for i, each in enumerate((maps / high).clamp(0, 1).sqrt()):
        shift = 0.09 * (len(maps) - 1) / 2 - 0.09 * i
        _thumbnail(axes, each[..., None].expand(-1, -1, 3), (centre[0] + shift, centre[1] + shift), 0.78)


def _arrow(axes: Axes, points: list[Point], colour: str) -> None:
    x, y = zip(*points, strict=True)
    axes.plot(x, y, color=colour, linewidth=1.6, solid_joinstyle="round", zorder=2)
    style = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.6, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 14}
    axes.annotate("", points[-1], points[-2], arrowprops=style, zorder=2)


def _box(axes: Axes, corner: Point, size: Point, colour: str, text: str) -> None:
    look = {"boxstyle": "round,pad=0,rounding_size=0.12", "edgecolor": colour, "facecolor": "white", "linewidth": 1.6}
    axes.add_patch(FancyBboxPatch(corner, *size, zorder=2, **look))
    x, y = corner[0] + size[0] / 2, corner[1] + size[1] / 2
    axes.text(x, y, text, ha="center", va="center", fontsize=11, color=colour, zorder=4)
