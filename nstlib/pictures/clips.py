"""Clips: video, animations and folders of frames, read with one frame in memory at a time."""

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import ImageError, NstError, reason, say
from .animations import animation_of, read_frames
from .convert import to_pil, to_tensor
from .files import endings, peek, read_image

VIDEO = set(".mp4 .mov .mkv .webm .m4v .avi .mpg .mpeg .wmv .flv .3gp .ts .mts .ogv".split())  # their endings
RATE = Fraction(25)  # frames a second, where a clip does not say
BT601, BT709, LIMITED, FULL = 5, 1, 1, 2  # FFmpeg's numbers for matrices and ranges
EXACT = 0x4 | 0x2000 | 0x40000  # swscale: bicubic, chroma at full size, rounded; its fast ways darken by 1/255


@dataclass(frozen=True)
class Frame:
    """A frame of a clip; its pixels are made when they are asked for, before the next frame is taken."""

    time: Fraction  # seconds from the beginning of what is read
    duration: Fraction  # seconds
    pixels: Callable[[], np.ndarray]  # (H, W, 3) of uint8, upright


@dataclass(frozen=True)
class Clip:
    """A clip that can be read as often as wanted: `for frame in clip`. Made by `open_clip`."""

    path: Path
    size: tuple[int, int]  # height, width, upright
    rate: Fraction  # frames a second, in the mean
    seconds: Fraction  # of the whole clip; 0 where it does not say
    time_base: Fraction = Fraction(1, 1000)  # seconds: its time stamps are multiples
    aspect: Fraction = Fraction(1)  # a pixel's width by its height
    start: Fraction = Fraction(0)  # seconds
    end: Fraction | None = None  # seconds; the first frame that is not read
    fps: float | None = None  # at most so many frames a second

    @property
    def count(self) -> int:
        """How many frames there are, nearly."""
        seconds = min(self.seconds, self.end or self.seconds) - self.start
        return max(1, round(seconds * min(self.rate, Fraction(self.fps or self.rate))))

    def __iter__(self) -> Iterator[Frame]:
        ticks = -1
        for frame in _reader(self.path)(self):
            if self.end is not None and frame.time >= self.end:
                return
            tick = ticks + 1 if self.fps is None else math.floor(frame.time * Fraction(self.fps) + Fraction(1, 100))
            if frame.time >= self.start and tick > ticks:
                ticks = tick
                yield Frame(frame.time - self.start, frame.duration, frame.pixels)


def is_clip(path: str | Path) -> bool:
    """Whether a file is a video, by its ending, or an animation of several frames."""
    return Path(path).suffix.lower() in VIDEO or animation_of(path) is not None


def open_clip(path: str | Path, start: float = 0.0, end: float | None = None, fps: float | None = None) -> Clip:
    """A video that FFmpeg reads, an animated GIF, WebP or PNG, or a folder of frames in the order of their names.

    Args:
        start, end: seconds; what lies before and from there on is not read.
        fps: at most so many frames a second (of a folder: its speed, 25 where nothing is said).

    Raises:
        ImageError: no such clip, or one that cannot be read.
        NstError: PyAV is not installed; animations and folders do without.
    """
    path, start = Path(path), Fraction(start).limit_denominator(1000)
    end = None if end is None else Fraction(end).limit_denominator(1000)
    if not path.exists():
        raise ImageError(f"{path}: no such clip. Check the path.")
    probe = {_read_folder: _probe_folder, _read_animation: _probe_animation, _read_video: _probe_video}[_reader(path)]
    known = probe(path, fps)
    if (end is not None and end <= start) or (known["seconds"] and start >= known["seconds"]):
        raise ValueError(f"{path}: has {float(known['seconds']):.2f} seconds; from {float(start):g} on nothing is left")
    return Clip(path, start=start, end=end, fps=None if path.is_dir() else fps, **known)


def _reader(path: Path) -> Callable[[Clip], Iterator[Frame]]:
    if path.is_dir():
        return _read_folder
    return _read_animation if peek(path, lambda image: True, False) else _read_video


def _flat(image: Image.Image) -> np.ndarray:
    return np.asarray(to_pil(to_tensor(image)))


# ── folders and animations ──────────────────────────────────────────────────────────────────────────


def _frames_of(folder: Path) -> list[Path]:
    """The pictures of a folder, frame_2 before frame_10."""
    files = [file for file in folder.iterdir() if file.suffix.lower() in endings() and file.name[0] != "."]
    return sorted(files, key=lambda file: [int(t) if t.isdigit() else t for t in re.split(r"(\d+)", file.name)])


def _probe_folder(path: Path, fps: float | None) -> dict:
    if not (files := _frames_of(path)):
        raise ImageError(f"{path}: no pictures in this folder")
    rate = Fraction(fps or RATE).limit_denominator(1001)
    height, width = _flat(read_image(files[0])).shape[:2]
    return {"size": (height, width), "rate": rate, "seconds": len(files) / rate, "time_base": 1 / rate}


def _read_folder(clip: Clip) -> Iterator[Frame]:
    for i, file in enumerate(_frames_of(clip.path)):
        image = read_image(file)
        if image.size[::-1] != clip.size:
            raise ImageError(f"{file}: has {image.width}×{image.height} pixels, the first frame another size")
        yield Frame(i / clip.rate, 1 / clip.rate, lambda image=image: _flat(image))


def _probe_animation(path: Path, fps: float | None) -> dict:
    frames = [(still.size[::-1], Fraction(span, 1000)) for still, span in read_frames(path)]
    seconds = sum(span for _, span in frames)
    return {"size": frames[0][0], "rate": len(frames) / seconds, "seconds": seconds}


def _read_animation(clip: Clip) -> Iterator[Frame]:
    time = Fraction(0)
    for still, milliseconds in read_frames(clip.path):
        span = Fraction(milliseconds, 1000)
        yield Frame(time, span, lambda still=still: _flat(still))
        time += span


# ── video ───────────────────────────────────────────────────────────────────────────────────────────


def pyav():
    try:
        import av
    except ImportError as error:
        raise NstError("video needs PyAV: pip install 'nstlib[video]'; GIF, WebP and frames do without") from error
    return av


@contextmanager
def _video(path: Path):
    """The container and its video stream."""
    av = pyav()
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ImageError(f"{path}: holds no pictures. Give a video.")
            container.streams.video[0].thread_type = "AUTO"
            yield container, container.streams.video[0]
    except (av.error.FFmpegError, av.error.EOFError, StopIteration) as error:
        raise ImageError(f"{path}: damaged, or no video that can be read ({reason(error)}). Get it again.") from error


def _probe_video(path: Path, fps: float | None) -> dict:
    with _video(path) as (container, stream):
        frame = next(_decoded(container, stream), None)
        if frame is None:
            raise ImageError(f"{path}: no frame of it can be read. Get it again.")
        turned = frame.rotation % 180 != 0
        rate = stream.average_rate or RATE
        seconds = (stream.duration or 0) * stream.time_base or Fraction(container.duration or 0, 1_000_000)
        aspect = stream.sample_aspect_ratio or Fraction(1)
        return {
            "size": (frame.width, frame.height) if turned else (frame.height, frame.width),
            "rate": rate,
            "seconds": seconds or stream.frames / rate,
            "time_base": stream.time_base,
            "aspect": 1 / aspect if turned else aspect,
        }


def _read_video(clip: Clip) -> Iterator[Frame]:
    with _video(clip.path) as (container, stream):
        if clip.start:
            container.seek(math.floor(clip.start / stream.time_base), stream=stream)
        time = Fraction(0)
        for frame in _decoded(container, stream):
            time = time if frame.pts is None else frame.pts * stream.time_base
            span = (frame.duration or 0) * stream.time_base or 1 / clip.rate
            yield Frame(time, span, lambda frame=frame: _rgb(frame))
            time += span


def _decoded(container, stream) -> Iterator:
    """Its frames; packets that are damaged are passed over, and said."""
    damaged = 0
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except pyav().error.InvalidDataError:
            damaged += 1
    if damaged:
        say(f"{container.name}: {damaged} damaged pieces were passed over")


def _rgb(frame) -> np.ndarray:
    """A frame's pixels by the matrix and range that it says, or else by those that players take."""
    said = int(frame.colorspace)
    matrix = said if said not in (0, 2, 3) else BT709 if frame.height >= 720 else BT601
    full = int(frame.color_range) == FULL or frame.format.name.startswith(("yuvj", "rgb", "bgr", "gbr"))
    ranges = {"src_color_range": FULL if full else LIMITED, "dst_color_range": FULL}
    rgb = frame.reformat(format="rgb24", src_colorspace=matrix, dst_colorspace=BT709, interpolation=EXACT, **ranges)
    return np.ascontiguousarray(np.rot90(rgb.to_ndarray(), frame.rotation // 90))
