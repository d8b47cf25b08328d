"""The figures of the notebooks: contact sheets in true pixels, loss curves, feature maps, Gram matrices."""

import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from IPython.display import DisplayHandle
from IPython.display import Image as Display
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont
from matplotlib.ticker import LogLocator
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..pictures.files import encoded, to_pil

FIGURES = Path(__file__).parents[1] / "figures"  # stored pictures of this project


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
    draw, font = ImageDraw.Draw(page), _font(13)
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
    """Display pictures as one JPEG sheet; see `sheet`. The titles are its alternative text too."""
    images = [images] if isinstance(images, Tensor | Image.Image) else images
    return _jpeg(sheet(images, titles, columns, height), ", ".join(titles or []))


def picture(path: str | Path, width: int = 1000) -> Display:
    """Display a file, or a picture of this project such as `desks/playground.jpg`, at most `width` pixels wide."""
    image = Image.open(FIGURES / path if (FIGURES / path).is_file() else path).convert("RGB")
    image.thumbnail((width, image.height), Image.LANCZOS)
    return _jpeg(image, Path(path).stem.replace("_", " "))


def _jpeg(page: Image.Image, alt: str) -> Display:
    return Display(encoded(page, "JPEG", quality=80), format="jpeg", metadata={"alt": alt})


def feature_maps(features: Tensor, count: int = 8) -> list[Image.Image]:
    """The `count` busiest channels of `(1, C, H, W)` as grey pictures, each stretched to its own range."""
    busiest = features[0].flatten(1).std(1).argsort(descending=True)[:count]
    maps = features[0, busiest].detach()
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return [to_pil(m.expand(3, -1, -1)) for m in (maps - low) / (high - low).clamp_min(1e-8)]


def curves(
    histories: Mapping[str, Sequence[float] | tuple[Sequence[float], Sequence[float]]],
    ylabel: str = "loss",
    xlabel: str = "step",
) -> Figure:
    """Losses against steps 0, 1, 2 …, or a pair of steps and losses, on a logarithmic scale."""
    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    for label, values in histories.items():
        x, y = values if isinstance(values, tuple) else (range(len(values)), values)
        axes.plot(x, y, label=label, linewidth=1.8)
    axes.set(xlabel=xlabel, ylabel=ylabel, yscale="log")
    axes.yaxis.set_major_formatter("{x:g}")  # 20 and not 2 × 10¹
    axes.yaxis.set_minor_formatter("{x:g}")
    low, high = axes.get_ylim()
    axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5) if high > 10 * low else range(2, 10)))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=len(histories), frameon=False)
    plt.close(figure)  # or the notebook shows it twice
    return figure


def heat_maps(grams: Mapping[str, Tensor]) -> Figure:
    """Gram matrices `(C, C)` as cosines between channels: red goes together, white is unrelated, blue is opposed."""
    figure, axes = plt.subplots(1, len(grams), figsize=(2.4 * len(grams), 2.6), layout="constrained", squeeze=False)
    for axis, (title, matrix) in zip(axes[0], grams.items(), strict=True):
        norms = matrix.diagonal().clamp_min(1e-12).sqrt()
        image = axis.imshow((matrix / torch.outer(norms, norms)).cpu(), cmap="RdBu_r", vmin=-1, vmax=1)
        axis.set_title(title, fontsize=11)
        axis.set_axis_off()
    figure.colorbar(image, ax=axes, shrink=0.8, ticks=(-1, 0, 1))
    plt.close(figure)
    return figure


def quick_curves(histories: Mapping[str, Sequence[float]], size: tuple[int, int] = (384, 110)) -> bytes:
    """Losses as a small PNG, each on its own logarithmic scale: drawn in a hundredth of matplotlib's time."""
    page = Image.new("RGB", size, "white")
    draw, (width, height) = ImageDraw.Draw(page), size
    for (label, values), colour in zip(histories.items(), ("#1f77b4", "#ff7f0e", "#2ca02c"), strict=False):
        logs = np.log(np.maximum(np.asarray(values[-2000:], dtype=float), 1e-12))
        logs = logs[np.isfinite(logs)]
        if len(logs) > 1:
            x = np.linspace(2, width - 3, len(logs))
            y = (logs.max() - logs) / max(np.ptp(logs), 1e-9) * (height - 26) + 4
            draw.line(list(zip(x.tolist(), y.tolist(), strict=True)), fill=colour, width=2)
        draw.text((4 + 70 * list(histories).index(label), height - 16), label, fill=colour, font=_font(12))
    return encoded(page, "PNG")


@cache
def _font(points: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(findfont("DejaVu Sans"), points)


class LivePlot:
    """A callback of `train` that shows the loss curves and the newest sample sheet, and keeps them up to date.

    Reads the run's log, so that a resumed run shows its whole history.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.handles: dict[str, DisplayHandle] = {}

    def __call__(self, state) -> None:
        lines = [json.loads(line) for line in (self.folder / "log.jsonl").read_text().splitlines()]
        steps = [line["step"] for line in lines]
        names = [name for name in ("content", "style", "total") if name in lines[-1]]
        self._show("curves", curves({n: (steps, [line[n] for line in lines]) for n in names}))
        if state.sheet:
            self._show("sheet", picture(state.sheet))

    def _show(self, name: str, what) -> None:
        if name in self.handles:
            self.handles[name].update(what)
        else:
            self.handles[name] = DisplayHandle()
            self.handles[name].display(what)
