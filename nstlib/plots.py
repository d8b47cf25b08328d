"""The figures of the notebooks: contact sheets in true pixels, loss curves, feature maps, Gram matrices."""

import io
import math
from collections.abc import Mapping, Sequence

import torch
from IPython.display import Image as Display
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .images import to_pil


def sheet(
    images: Sequence[Tensor | Image.Image],
    titles: Sequence[str] | None = None,
    columns: int | None = None,
    height: int = 240,
) -> Image.Image:
    """Pictures side by side on white, each `height` pixels tall, with a line of text under each."""
    pictures = [to_pil(image) if isinstance(image, Tensor) else image.convert("RGB") for image in images]
    pictures = [p.resize((max(1, round(p.width * height / p.height)), height), Image.LANCZOS) for p in pictures]
    columns, titles = columns or len(pictures), titles or [""] * len(pictures)
    gap, line = 8, 26 if any(titles) else 0
    width = max(p.width for p in pictures) + gap
    rows = math.ceil(len(pictures) / columns)
    page = Image.new("RGB", (width * columns - gap, (height + line + gap) * rows - gap), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.truetype(findfont("DejaVu Sans"), 13)
    for i, (picture, title) in enumerate(zip(pictures, titles, strict=True)):
        x, y = i % columns * width, i // columns * (height + line + gap)
        page.paste(picture, (x + (width - gap - picture.width) // 2, y))
        draw.text((x + (width - gap) / 2, y + height + 4), title, fill="black", font=font, anchor="ma")
    return page


def show(
    images: Sequence[Tensor | Image.Image] | Tensor,
    titles: Sequence[str] | None = None,
    columns: int | None = None,
    height: int = 240,
) -> Display:
    """Display pictures as one JPEG sheet; see `sheet`."""
    buffer = io.BytesIO()
    images = [images] if isinstance(images, Tensor | Image.Image) else images
    sheet(images, titles, columns, height).save(buffer, "JPEG", quality=88)
    return Display(buffer.getvalue(), format="jpeg")


def feature_maps(features: Tensor, count: int = 8) -> list[Image.Image]:
    """The `count` busiest channels of `(1, C, H, W)` as grey pictures, each stretched to its own range."""
    busiest = features[0].flatten(1).std(1).argsort(descending=True)[:count]
    maps = features[0, busiest].detach()
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return [to_pil(m.expand(3, -1, -1)) for m in (maps - low) / (high - low).clamp_min(1e-8)]


def curves(histories: Mapping[str, Sequence[float]], ylabel: str = "loss", xlabel: str = "step") -> Figure:
    """Losses against steps, on a logarithmic scale."""
    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    for label, values in histories.items():
        axes.plot(values, label=label, linewidth=1.8)
    axes.set(xlabel=xlabel, ylabel=ylabel, yscale="log")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    plt.close(figure)  # or the notebook shows it twice
    return figure


def heat_maps(grams: Mapping[str, Tensor]) -> Figure:
    """Gram matrices `(C, C)` as correlations between channels: dark is unrelated, bright goes together."""
    figure, axes = plt.subplots(1, len(grams), figsize=(3 * len(grams), 3.2), layout="constrained", squeeze=False)
    for axis, (title, matrix) in zip(axes[0], grams.items(), strict=True):
        norms = matrix.diagonal().clamp_min(1e-12).sqrt()
        axis.imshow((matrix / torch.outer(norms, norms)).cpu(), cmap="magma", vmin=0, vmax=1)
        axis.set_title(title, fontsize=11)
        axis.set_axis_off()
    plt.close(figure)
    return figure
