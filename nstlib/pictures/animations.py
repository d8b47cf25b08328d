"""Animated pictures, GIF, WebP and APNG: all frames in and out, and the film of a painting's progress."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageSequence

from ..errors import ImageError
from ..limits import Count
from .convert import normalise, to_pil
from .files import check_output, peek, reading, write_picture

ANIMATED = {".gif": "GIF", ".webp": "WEBP", ".png": "PNG"}


@dataclass(frozen=True)
class Animation:
    """What kind of animation a file holds."""

    kind: str  # Pillow's name of the format
    loop: int | None  # how often it is played, 0 for ever; None: once


def animation_of(source: object) -> Animation | None:
    """The animation that a file is, or `None` for a still, for several pages, and for what is no file."""
    return peek(source, _animation, None)


def _animation(image: Image.Image) -> Animation | None:
    if image.format not in ANIMATED.values() or getattr(image, "n_frames", 1) == 1:
        return None
    return Animation(image.format, image.info.get("loop"))


def pages_of(source: object) -> int:
    """How many pages a TIFF has; 1 for everything else."""
    return peek(source, lambda image: image.n_frames if image.format == "TIFF" else 1, 1)


def read_frames(path: str | Path) -> Iterator[tuple[Image.Image, int]]:
    """The frames of an animation, as `open_image` gives pictures, each with its milliseconds."""
    with reading(str(path)), Image.open(path) as image:
        for frame in ImageSequence.Iterator(image):
            still = normalise(frame.copy())
            yield still, int(frame.info.get("duration") or 100)  # WebP has it once the frame is decoded


def save_animation(
    frames: Iterable[Image.Image], milliseconds: Sequence[int], path: Path, loop: int | None = 0, **options
) -> Path:
    """Write PIL images as an animated GIF, WebP or PNG, each shown for its milliseconds.

    Args:
        frames: taken one after the other; for PNG all are in memory.
        loop: how often it is played, 0 for ever; `None`: once.
        options: Pillow's, of the format.
    """
    kind, images = ANIMATED[path.suffix.lower()], iter(frames)
    first = next(images)
    later = list(images) if kind == "PNG" else images  # Pillow looks through those twice
    options |= {"save_all": True, "append_images": later, "duration": list(milliseconds)}
    return write_picture(first, path, kind, **options, **({} if loop is None else {"loop": loop}))


def save_film(frames: Sequence, path: str | Path, milliseconds: Count = 80) -> Path:
    """Save pictures `(1, 3, H, W)` as an animated GIF or WebP of the last one's size, resting on the last."""
    path = check_output(path, (".gif", ".webp"))
    if not frames:
        raise ImageError(f"{path}: a film needs at least one picture. Paint at least one step.")
    size = to_pil(frames[-1]).size
    pictures = [to_pil(frame).resize(size, Image.Resampling.LANCZOS) for frame in frames]
    durations = [milliseconds] * (len(pictures) - 1) + [1500]
    return save_animation(pictures, durations, path, quality=92)
