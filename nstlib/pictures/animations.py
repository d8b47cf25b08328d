"""Animated pictures, GIF, WebP and APNG: all frames in and out, and the film of a painting's progress."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageSequence

from ..errors import ImageError
from ..limits import Count
from .convert import normalise, to_pil
from .files import check_output, metadata, peek, reading, write_picture

ANIMATED = {".gif": "GIF", ".webp": "WEBP", ".png": "PNG"}


@dataclass(frozen=True)
class Animation:
    """What a file with several pictures holds."""

    kind: str  # Pillow's name of the format
    durations: tuple[int, ...]  # of each frame, milliseconds
    loop: int | None  # how often it is played, 0 for ever; None: once


def animation_of(source: object) -> Animation | None:
    """The animation that a file is, or `None` for a still, for several pages, and for what is no file."""
    return peek(source, _animation, None)


def _animation(image: Image.Image) -> Animation | None:
    if image.format not in ANIMATED.values() or getattr(image, "n_frames", 1) == 1:
        return None
    durations = [int(frame.info.get("duration") or 100) for frame in ImageSequence.Iterator(image)]
    return Animation(image.format, tuple(durations), image.info.get("loop"))


def pages_of(source: object) -> int:
    """How many pages a TIFF has; 1 for everything else."""
    return peek(source, lambda image: image.n_frames if image.format == "TIFF" else 1, 1)


def read_frames(path: str | Path) -> Iterator[Image.Image]:
    """The frames of an animation, one after the other, as `open_image` gives pictures.

    Raises:
        ImageError: a damaged frame.
    """
    with reading(str(path)), Image.open(path) as image:
        for frame in ImageSequence.Iterator(image):
            yield normalise(frame.copy())


def save_frames(
    frames: Sequence[Image.Image], path: Path, animation: Animation, settings: dict | None = None, quality: int = 92
) -> Path:
    """Save PIL images as an animation, with the durations of another one.

    Raises:
        ImageError: another ending than .gif, .webp or .png, or the folder cannot be written.
    """
    path = check_output(path, tuple(ANIMATED), frames[0].size[::-1])
    kind, options = ANIMATED[path.suffix.lower()], {} if animation.loop is None else {"loop": animation.loop}
    if settings is not None and kind != "GIF":
        options |= metadata(kind, json.dumps(settings, default=str))
    if kind == "WEBP":
        options["quality"] = quality
    durations = list(animation.durations[: len(frames)])
    return write_picture(frames[0], path, kind, save_all=True, append_images=frames[1:], duration=durations, **options)


def save_film(frames: Sequence, path: str | Path, milliseconds: Count = 80) -> Path:
    """Save pictures `(1, 3, H, W)` as an animated GIF or WebP of the last one's size, resting on the last."""
    path = check_output(path, (".gif", ".webp"))
    if not frames:
        raise ImageError(f"{path}: a film needs at least one picture. Paint at least one step.")
    size = to_pil(frames[-1]).size
    pictures = [to_pil(frame).resize(size, Image.Resampling.LANCZOS) for frame in frames]
    durations = (milliseconds,) * (len(pictures) - 1) + (1500,)
    return save_frames(pictures, path, Animation("", durations, 0))
