"""Paint a picture by optimisation, coarse to fine, from file to tensor."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..critic.losses import PerceptualLoss
from ..devices import available, best_device
from ..limits import Count, Pixels, checked
from ..pictures.colour import recolour
from ..pictures.files import Source, save_film, to_tensor
from ..pictures.pixels import crop, reflect_pad, resize, resize_pil, scale_to_long_side
from ..pictures.samples import load_image, open_image
from .gatys import GatysConfig, GatysPainter, PaintState
from .memory import shrink_to_memory, stylize_need


def pyramid(long_side: Count, smallest: Count = 96) -> list[int]:
    """Sizes from coarse to fine, each at most 1.6 times the one before: 512 → 96, 146, 222, 337, 512."""
    if long_side <= smallest:
        return [long_side]
    levels = math.ceil(math.log(long_side / smallest) / math.log(1.6))
    return [round(smallest * (long_side / smallest) ** (i / levels)) for i in range(levels + 1)]


@checked
def stylize(
    content: Source,
    style: Source | Sequence[Source],
    config: GatysConfig | None = None,
    callback: Callable[[PaintState], None] | None = None,
) -> Tensor:
    """Paint the content in the style, coarse to fine: large strokes first, detail last.

    Args:
        content, style: sample names, files, PIL images, arrays or tensors; several styles in a list.
            Transparency is flattened on white.
        config: see `GatysConfig`.
        callback: is given every state.

    Returns:
        `(1, 3, H, W)` in [0, 1], of exactly the size asked for (with `fit`, or smaller). Ctrl-C ends early with
        the picture so far.

    Raises:
        ImageError, WeightsError, ValueError: before any work is done; an ImageError too where memory for the
            size does not suffice.

    Deviation from Gatys et al. (2016): a pyramid of sizes and Adam instead of L-BFGS at one size; at the
    same cost the large shapes of the style arrive, which a shallow critic could not see at full size.
    """
    config = config or GatysConfig()
    device = best_device(config.device)
    free = available(device)  # now: what is loaded from here on is part of the need
    picture = open_image(content)
    sources = list(style) if isinstance(style, list | tuple) else [style]
    styles = [load_image(source) for source in sources]
    masks = [load_image(mask).mean(1, keepdim=True) for mask in config.mask] if config.mask else None
    if masks and len(masks) != len(styles):
        raise ValueError(f"{len(masks)} masks for {len(styles)} styles: give one mask for each style")
    loss = PerceptualLoss(config).to(device)

    def work(side: int) -> Tensor:
        return _stylized(to_tensor(resize_pil(picture, side)), styles, masks, loss, config, callback)

    side = max(picture.size) if config.size == "full" else config.size
    need = stylize_need(loss, config, len(styles))
    return shrink_to_memory(picture.size[::-1], side, need, free, config.fit, work)


def _stylized(photo, styles, masks, loss, config, callback) -> Tensor:
    """The painting at the photograph's size, in the colours that were asked for."""
    if config.preserve_colour in ("mean", "histogram"):
        styles = [recolour(picture, photo, config.preserve_colour) for picture in styles]
    painted = _paint(photo, styles, masks, loss, config, callback)
    return recolour(painted, photo, "luminance") if config.preserve_colour == "luminance" else painted


def _paint(photo, styles, masks, loss, config, callback) -> Tensor:
    """The pyramid: each size starts from the last one's picture."""
    image = _start(photo, styles, config)
    sizes = pyramid(max(photo.shape[-2:]), config.smallest)
    styles = [resize(style, _style_size(sizes[-1], config)) for style in styles]  # once; smaller ones from these
    with tqdm(total=config.steps * len(sizes), desc="painting", mininterval=0.5, delay=0.1) as bar:
        try:
            for size in sizes:
                shape = scale_to_long_side(photo.shape[-2:], size)
                painter = GatysPainter(
                    reflect_pad(resize(photo, shape)),
                    [resize(style, _style_size(size, config)) for style in styles],
                    config,
                    image=reflect_pad(resize(image, shape)),
                    masks=[reflect_pad(resize(mask, shape)) for mask in masks] if masks else None,
                    loss=loss,
                )
                for state in _states(painter, config.steps):
                    state = replace(state, image=crop(state.image, shape))
                    image = state.image
                    losses = {name: state.losses[name] for name in ("content", "style")}
                    bar.set_postfix(size=size, **losses, refresh=False)  # drawn before its delay it is not closed
                    bar.update(state.step - (bar.n - config.steps * sizes.index(size)))
                    if callback:
                        callback(state)
        except KeyboardInterrupt:
            tqdm.write("stopped; here is the picture so far")
    return resize(image, photo.shape[-2:])


def _style_size(size: int, config: GatysConfig) -> int:
    """The long side of the style pictures for a painting of this long side."""
    return max(16, round(size * config.style_scale))


def _states(painter: GatysPainter, steps: int):
    """The states of `steps` steps; ends early when the painter can go no further."""
    before = -1
    while before < painter.count < steps:
        before = painter.count
        yield painter.step(min(steps - before, 10 if painter.optimiser_name == "lbfgs" else 1))


def _start(photo: Tensor, styles: Sequence[Tensor], config: GatysConfig) -> Tensor:
    """The picture that the painting starts from; any size."""
    if config.init == "content":
        return photo
    if config.init == "noise":
        return torch.rand(photo.shape, generator=torch.Generator().manual_seed(config.seed))
    return styles[0] if config.init == "style" else load_image(config.init)


class Film:
    """A callback that keeps every n-th picture and the last, small, to be saved as an animated GIF or WebP.

    Args:
        frames: pictures `(1, 3, H, W)` that it begins with.
        every: keep one picture of so many states.
        size: long side of the kept pictures, pixels.
    """

    @checked
    def __init__(self, frames: list[Tensor] | None = None, every: Count = 10, size: Pixels = 320):
        self.kept, self.every, self.size, self.count = [resize(f, size) for f in frames or ()], every, size, 0
        self.latest: Tensor | None = None  # where it is not among the kept

    def __call__(self, state: PaintState) -> None:
        self.latest = resize(state.image, self.size)
        if self.count % self.every == 0:
            self.kept.append(self.latest)
            self.latest = None
        self.count += 1

    @property
    def frames(self) -> list[Tensor]:
        """The pictures `(1, 3, h, w)` so far, the newest last."""
        return self.kept if self.latest is None else [*self.kept, self.latest]

    def save(self, path: str | Path) -> Path:
        """Write the film; it rests on the last picture for a second and a half."""
        return save_film(self.frames, path)
