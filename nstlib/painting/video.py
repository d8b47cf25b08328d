"""Moving pictures: a clip painted frame by frame, while what the last frame had is carried along."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from ..critic.losses import PerceptualLoss
from ..devices import available, best_device
from ..errors import say
from ..limits import Positive, Side, UnitFloat, Weight, check_fields, checked
from ..pictures.clips import Clip, open_clip
from ..pictures.colour import ColourMethod, recolour
from ..pictures.convert import to_tensor
from ..pictures.files import Source, check_output
from ..pictures.pixels import crop, reflect_pad, resize, resize_pil
from ..pictures.reel import ENDINGS, Reel
from ..pictures.samples import load_image, open_mask
from .fast import asked_blend, finished, paint_tensor
from .flow import as_sharp, motion, opencv, warp
from .gatys import GatysConfig, GatysPainter
from .memory import paint_need, shrink_to_memory, stylize_need
from .models import load_transformer
from .network import TransformerNet
from .stylize import pyramid

Pixels = np.ndarray  # (H, W, 3) of uint8
Painter = Callable[[Pixels, Pixels | None, Pixels | None], Pixels]  # of a frame, the one before it, its painting


@dataclass(frozen=True)
class VideoConfig:
    """What part of a clip is painted, how large, and how it is kept from flickering."""

    size: Side | None = None  # long side of the film, pixels; None: the clip's own
    fps: Positive | None = None  # at most so many frames a second; None: all
    start: Weight = 0.0  # seconds
    end: Positive | None = None  # seconds; None: to the end
    carry: UnitFloat = 0.98  # how much of the last painting, led along the flow, where that can be trusted; 0: nothing
    sharp: bool = True  # led by Lanczos interpolation; by a network, detail as strong as in a single painting too
    mask: bool = True  # only where the flow can be trusted; without, everywhere
    cuts: bool = True  # begin afresh where a scene ends
    fit: bool = False  # where the memory does not suffice, paint at the largest size that fits

    def __post_init__(self):
        check_fields(self)


@checked
def paint_video(
    clip: str | Path,
    model: TransformerNet | str | Path,
    output: str | Path,
    config: VideoConfig | None = None,
    **settings,
) -> Path:
    """Paint a clip with a network, without flicker; its sound and its times are kept.

    x_t = p_t + carry · m · (warp(x_{t-1}) - p_t), where p_t is painted from frame t alone, and m says where the
    flow of the clip can be trusted (see `motion`). Killed at any moment, the same call goes on with the next frame,
    and the film is the same. Ctrl-C writes what is done.

    Args:
        clip: what `open_clip` reads: a video, an animation, a folder of frames.
        model: a network, or the name or file of one; it paints on the device where it is.
        output: ends in .mp4, .mov, .mkv, .webm, .gif, .webp or .apng; without an ending a folder of frames.
        config: see `VideoConfig`.
        settings: `styles`, `strength`, `preserve_colour`, `passes` and `mask`, as in `paint`; but by default one pass,
            for a painting that is carried over the network's grid has no weave.

    Returns:
        The path of the film.

    Raises:
        ImageError, CheckpointError: a clip or a model that cannot be read; a film that cannot be written.
        ValueError: a stretch that holds no frame; a style or a strength that the network does not have.
        NstError: PyAV or OpenCV is missing.
    """
    config = config or VideoConfig()
    net = model if isinstance(model, TransformerNet) else load_transformer(model)
    single, free = _network(net, **settings), available(next(net.parameters()).device)
    weights = hashlib.sha256(b"".join(t.cpu().numpy().tobytes() for t in net.state_dict().values())).hexdigest()
    named = net.card.get("style", "") if isinstance(model, TransformerNet) else str(model)

    def painter(frame: Pixels, before: Pixels | None, painted: Pixels | None) -> Pixels:
        alone = single(_tensor(frame))[0].permute(1, 2, 0).numpy()
        if before is None or not config.carry:
            return _bytes(alone)
        led, mask = carried(frame, before, painted, config)
        mixed = alone + config.carry * mask * (led - alone)
        return _bytes(as_sharp(mixed, alone) if config.sharp else mixed)

    said = settings | {"model": named, "weights": weights}
    return _film(clip, Path(output), config, painter, said, lambda: (paint_need(net), free))


def _network(
    net, styles=None, strength=None, preserve_colour: ColourMethod = "none", passes: int = 1, mask: Source | None = None
):
    """From picture to painting, `(1, 3, H, W)` both, on the CPU."""
    where = open_mask(mask) if mask is not None else None
    blend, device = asked_blend(net, styles, strength), next(net.parameters()).device

    def paint(image: Tensor) -> Tensor:
        return finished(paint_tensor(net, image.to(device), blend, passes).cpu(), image, preserve_colour, where)

    return paint


def carried(frame: Pixels, before: Pixels, painted: Pixels, config: VideoConfig) -> tuple[np.ndarray, np.ndarray]:
    """The last painting as this frame would have it, `(H, W, 3)` in [0, 1]; and where to trust it, `(H, W, 1)`."""
    flow, mask, cut = motion(frame, before)
    if config.cuts and cut:
        mask = np.zeros_like(mask)
    elif not config.mask:
        mask = np.ones_like(mask)
    return warp(painted.astype(np.float32) / 255, flow, config.sharp).clip(0, 1), mask[..., None]


class TemporalLoss(PerceptualLoss):
    """The critic, with a term that holds a painting to the last one where the flow can be trusted.

    weight · Σ mask · (x - led)² / (C·H·W) (Ruder, Dosovitskiy & Brox, Artistic Style Transfer for Videos, 2016,
    equation 7).
    """

    led: Tensor | None = None  # (1, 3, H, W)
    mask: Tensor | None = None  # (1, 1, H, W)
    weight = 1000.0

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        losses = super().forward(image)
        if self.led is None:
            return losses
        temporal = (self.mask * (image - self.led).square()).mean()
        return losses | {"temporal": temporal, "total": losses["total"] + self.weight * temporal}


@checked
def stylize_video(
    clip: str | Path,
    style: Source | Sequence[Source],
    output: str | Path,
    gatys: GatysConfig | None = None,
    config: VideoConfig | None = None,
) -> Path:
    """Paint a clip by optimisation (Ruder, Dosovitskiy & Brox 2016); otherwise like `paint_video`.

    The first frame of a scene is painted coarse to fine. Every other begins with the last painting, led along
    the flow, and is held to it; a fifth of the steps suffices.

    Args:
        style: one or several pictures, as for `stylize`.
        gatys: settings of the painting; `size`, `init` and `fit` are not used.
        config: see `VideoConfig`.
    """
    gatys, config = gatys or GatysConfig(), config or VideoConfig()
    device = best_device(gatys.device)
    free, loss = available(device), TemporalLoss(gatys).to(device)
    sources = style if isinstance(style, list | tuple) else [style]
    styles = [load_image(each) for each in sources]
    masks = [load_image(mask).mean(1, keepdim=True) for mask in gatys.mask or ()]
    if masks and len(masks) != len(styles):
        raise ValueError(f"{len(masks)} masks for {len(styles)} styles: give one mask for each style")
    method = gatys.preserve_colour
    early, late = ("none", method) if method == "luminance" else (method, "none")  # of the styles, of the painting

    def run(photo: Tensor, image: Tensor, changes: dict) -> Tensor:
        shape = photo.shape[-2:]
        drawn = [recolour(picture, photo, early) for picture in styles]
        drawn = [resize(picture, max(16, round(max(shape) * gatys.style_scale))) for picture in drawn]
        guides = [reflect_pad(resize(mask, tuple(shape))) for mask in masks] or None
        now = replace(gatys, **changes)
        painter = GatysPainter(reflect_pad(photo), drawn, now, image=reflect_pad(image), masks=guides, loss=loss)
        return crop(painter.step(now.steps).image, tuple(shape))

    def painter(frame: Pixels, before: Pixels | None, painted: Pixels | None) -> Pixels:
        photo, loss.led = _tensor(frame), None
        led, mask = carried(frame, before, painted, config) if before is not None else (None, np.zeros(1))
        if not config.carry or not mask.any():
            image = photo
            for side in pyramid(max(photo.shape[-2:]), gatys.smallest):
                small = resize(photo, side)
                image = run(small, resize(image, tuple(small.shape[-2:])), {})
        else:
            led, mask = (torch.from_numpy(x.astype(np.float32)).permute(2, 0, 1)[None] for x in (led, mask))
            loss.led, loss.mask = (reflect_pad(x).to(device) for x in (led, mask))
            start = photo + mask * (led - photo)
            image = run(photo, start, {"steps": max(1, gatys.steps // 5), "lr": gatys.lr / 3})
        return _bytes(recolour(image, photo, late)[0].permute(1, 2, 0).numpy())

    pictures = hashlib.sha256(b"".join(picture.numpy().tobytes() for picture in [*styles, *masks])).hexdigest()
    said = {"style": [str(each)[:200] for each in sources], "pictures": pictures, "gatys": asdict(gatys)}
    return _film(clip, Path(output), config, painter, said, lambda: (stylize_need(loss, gatys, len(styles)), free))


def _film(source: str | Path, output: Path, config: VideoConfig, painter: Painter, settings: dict, memory) -> Path:
    """The loop over the frames: what is finished is passed over, and every new frame is kept at once."""
    check_output(output, (*ENDINGS, ""))
    clip = open_clip(source, config.start, config.end, config.fps)
    if config.carry:
        opencv()  # or say that it is missing, before any work
    side = config.size or max(clip.size)
    side = shrink_to_memory(clip.size, side, *memory(), config.fit, lambda fitting: fitting)
    reel = Reel(output, clip, _key(clip, side, config, settings))
    whole = _paint_all(reel, side, painter)
    if not reel.done:
        reel.close(remove=True)
        raise KeyboardInterrupt
    return reel.save(settings | asdict(config), whole)


def _paint_all(reel: Reel, side: int, painter: Painter) -> bool:
    """Paint what is not finished yet; False where Ctrl-C ended it."""
    before, painted, done = None, reel.last(), reel.done
    try:
        with tqdm(total=reel.clip.count, initial=done, desc="painting", unit="frame") as bar:
            for i, frame in enumerate(reel.clip):
                reel.times.append((frame.time, frame.duration))
                if i < done - 1:
                    continue
                pixels = np.asarray(resize_pil(Image.fromarray(frame.pixels()), side))
                if i >= done:
                    painted = painter(pixels, before, painted)
                    reel.add(i, painted)
                    bar.update()
                before = pixels
    except KeyboardInterrupt:
        say(f"stopped after {reel.done} of about {reel.clip.count} frames; the same command goes on")
        return False
    return True


def _key(clip: Clip, side: int, config: VideoConfig, settings: dict) -> str:
    """Twelve letters that stand for the clip and all settings."""
    stat = clip.path.stat()
    told = [str(clip.path.resolve()), stat.st_size, stat.st_mtime_ns, side, asdict(config), settings]
    return hashlib.sha256(json.dumps(told, default=str, sort_keys=True).encode()).hexdigest()[:12]


def _tensor(pixels: Pixels) -> Tensor:
    return to_tensor(Image.fromarray(pixels))


def _bytes(values: np.ndarray) -> Pixels:
    return np.rint(values * 255).clip(0, 255).astype(np.uint8)
