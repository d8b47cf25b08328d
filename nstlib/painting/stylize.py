"""Paint a picture by optimisation, coarse to fine, from file to tensor."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from ..critic.losses import PerceptualLoss
from ..critic.tiled import TiledLoss
from ..devices import available, best_device
from ..errors import say
from ..limits import Count, Pixels, checked
from ..pictures.animations import save_film
from ..pictures.colour import is_grey, recolour
from ..pictures.convert import flattened, to_tensor
from ..pictures.files import Source
from ..pictures.pixels import MARGIN, crop, reflect_pad, resize, resize_pil, scale_to_long_side
from ..pictures.samples import load_image, open_image, open_mask, to_mask, to_style
from .fast import paint_tensor
from .gatys import GatysConfig, GatysPainter, PaintState
from .memory import shrink_to_memory, stylize_need
from .models import load_transformer, model_files
from .network import TransformerNet

POSTER = 1024  # pixels, long side: above it strokes grow slower than the picture, and steps get fewer


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
            A transparent content is flattened on white; of a style what is opaque counts.
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
    picture = open_image(content, None if config.size == "full" else config.size)
    side = max(picture.size) if config.size == "full" else config.size
    sources = style if isinstance(style, list | tuple) else [style]
    shape = scale_to_long_side(picture.size[::-1], side)
    styles = [_sized(open_image(one, math.ceil(side * stroke_scale(side, config))), shape, config) for one in sources]
    masks = [open_mask(mask) for mask in config.mask] if config.mask else []
    if masks and len(masks) != len(styles):
        raise ValueError(f"{len(masks)} masks for {len(styles)} styles: give one mask for each style")
    network = network_of(sources, config.style_blend) if config.init == "network" else None
    loss = PerceptualLoss(config).to(device)
    whole, tiled = (stylize_need(loss, config, len(styles), tiles) for tiles in (False, True))

    def work(side: int) -> Tensor:
        photo = flattened(resize_pil(picture, side))  # 8 bits until it is needed, for it may be large
        shape = photo.height, photo.width
        sized = [to_style(_sized(one, shape, config)) for one in styles]
        start = paint_tensor(network[0], to_tensor(photo), network[1]).clone() if network else None

        def losses(size: tuple[int, int]) -> PerceptualLoss:
            largest = size if max(size) <= POSTER else shape  # so that no size takes more memory than the last
            return loss if whole(largest) <= free else TiledLoss(config, loss.extractor)

        return _stylized(photo, sized, [to_mask(mask, shape) for mask in masks], losses, config, callback, start)

    return shrink_to_memory(
        picture.size[::-1], side, lambda shape: min(whole(shape), tiled(shape)), free, config.fit, work
    )


def stroke_scale(size: int, config: GatysConfig) -> float:
    """The long side of the style pictures relative to a painting's, for a painting of this long side.

    Up to `POSTER` strokes grow with the painting. Above it they grow with the root of its size: as large as on a
    smaller one they have no detail of their own, and as small as on that they are a pattern.
    """
    return config.style_scale * min(1.0, math.sqrt(POSTER / size))


def steps_at(size: int, config: GatysConfig) -> int:
    """The optimiser steps at a size: above `POSTER`, where only detail is left to paint, they shrink as it grows."""
    return config.steps if size <= POSTER else math.ceil(config.steps * POSTER / size)


def style_shape(style: tuple[int, int], content: tuple[int, int], scale: float = 1.0) -> tuple[int, int]:
    """`(height, width)` of a style picture for a content's: as long as it, and with no more pixels.

    A panorama's style is not as long as it, for the other side of the style would need more than the panorama itself.
    """
    area = (content[0] + 2 * MARGIN) * (content[1] + 2 * MARGIN)
    shape = scale_to_long_side(style, max(16, round(max(content) * scale)))
    smaller = min(1.0, scale * math.sqrt(area / (shape[0] * shape[1])))
    return max(1, round(shape[0] * smaller)), max(1, round(shape[1] * smaller))


def _sized(style: Image.Image, shape: tuple[int, int], config: GatysConfig) -> Image.Image:
    return resize_pil(style, style_shape(style.size[::-1], shape, stroke_scale(max(shape), config)))


def _stylized(photo: Image.Image, styles, masks, losses, config, callback, start) -> Tensor:
    """The painting at the photograph's size, in the colours that were asked for; the photograph where no mask is."""
    method = config.preserve_colour
    if method in ("mean", "histogram"):
        colours = to_tensor(photo)
        styles = [torch.cat([recolour(one[:, :3], colours, method), one[:, 3:]], 1) for one in styles]
        del colours  # while it paints
    painted = _paint(photo, styles, masks, losses, config, callback, start)
    if method == "none" and not masks:
        return painted
    original = to_tensor(photo)
    if method == "luminance" or (method != "none" and is_grey(original)):
        painted = recolour(painted, original, "luminance")
    return torch.lerp(original, painted, sum(masks).clamp(max=1)) if masks else painted


def _paint(photo: Image.Image, styles, masks, losses, config, callback, start) -> Tensor:
    """The pyramid: each size starts from the last one's picture, above `POSTER` with Adam's moments too.

    A network's painting needs only the two largest sizes.
    """
    image, painter, moments = _start(photo, styles, config) if start is None else start, None, {}
    whole = shape = photo.height, photo.width
    if not config.steps:
        return resize(image, whole)
    sizes = pyramid(max(whole), config.smallest)[0 if start is None else -2 :]
    with tqdm(total=sum(steps_at(s, config) for s in sizes), desc="painting", mininterval=0.5, delay=0.1) as bar:
        try:
            for size in sizes:
                shape, scale = scale_to_long_side(whole, size), stroke_scale(size, config)
                painter = GatysPainter(
                    reflect_pad(resize(to_tensor(photo), shape)),
                    [resize(style, style_shape(style.shape[-2:], shape, scale)) for style in styles],
                    config,
                    image=reflect_pad(resize(image, shape)),
                    masks=[reflect_pad(resize(mask, shape)) for mask in masks] if masks else None,
                    loss=losses(shape),
                )
                image = None  # which may be large
                if size > POSTER:
                    painter.carry_on(moments)
                for _ in _advances(painter, steps_at(size, config), bar, size):
                    if callback:
                        state = painter.state()
                        callback(replace(state, image=crop(state.image, shape)))
                image = crop(painter.image.detach().cpu(), shape)
                moments, painter = painter.moments(), None  # before a larger one is made
        except KeyboardInterrupt:
            say("stopped; here is the picture so far")
            image = crop(painter.image.detach().cpu().clamp(0, 1), shape) if painter else image
    return resize(image, whole)


def _advances(painter: GatysPainter, steps: int, bar: tqdm, size: int) -> Iterator[None]:
    """Advance `steps` steps, and the bar with them; ends early when the painter can go no further."""
    before, done = -1, bar.n
    while before < painter.count < steps:
        before = painter.count
        painter.advance(min(steps - before, 10 if painter.optimiser_name == "lbfgs" else 1))
        losses = {name: painter.losses[name] for name in ("content", "style")}
        bar.set_postfix(size=size, **losses, refresh=False)  # drawn before its delay it is not closed
        bar.update(done + painter.count - bar.n)
        yield


def _start(photo: Image.Image, styles: Sequence[Tensor], config: GatysConfig) -> Tensor:
    """The picture that the painting starts from; any size."""
    if config.init == "content":
        return to_tensor(photo)
    if config.init == "noise":
        return torch.rand(1, 3, photo.height, photo.width, generator=torch.Generator().manual_seed(config.seed))
    return styles[0][:, :3] if config.init == "style" else load_image(config.init)


def network_of(
    styles: Sequence[Source], weights: Sequence[float] | None = None
) -> tuple[TransformerNet, Tensor | None]:
    """The shipped network that paints these styles, and its blend of them.

    Args:
        styles: names, or files of these names.
        weights: how much of each; `None` for equal parts.

    Raises:
        ValueError: no shipped network has these styles.
    """
    names = [Path(style).stem if isinstance(style, str | Path) else "a picture in memory" for style in styles]
    files = model_files()
    if len(names) == 1 and names[0] in files and names[0] != "studio":
        return load_transformer(names[0]), None
    studio = load_transformer("studio")
    if missing := [name for name in names if name not in studio.config.styles]:
        known = ", ".join(dict.fromkeys([*studio.config.styles, *files]))
        raise ValueError(f"init='network': no network paints {missing[0]}; there are {known}")
    return studio, studio.blend(dict(zip(names, weights or [1.0] * len(names), strict=True)))


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
