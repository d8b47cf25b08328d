"""A film in the making: finished frames lie beside it, hidden, so that a killed run goes on with the next."""

import glob
import heapq
import json
import math
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import ImageError, say
from ..storage import hold, let_go, write_aside, writing
from .animations import ANIMATED, save_animation
from .clips import BT709, EXACT, FULL, LIMITED, VIDEO, Clip, pyav

H264 = (
    "libx264",
    {  # chromaloc: colours lie where swscale puts them; chroma-qp-offset: with fewer bits, pale ones turn grey
        "crf": "17",
        "preset": "faster",
        "bf": "0",  # packets come in the frames' order
        "x264-params": "chromaloc=1:chroma-qp-offset=-9",
    },
)
VP9 = "libvpx-vp9", {"crf": "24", "b": "0", "cpu-used": "4", "row-mt": "1", "lag-in-frames": "0", "auto-alt-ref": "0"}
VIDEOS = {".mp4": H264, ".mov": H264, ".mkv": H264, ".webm": VP9}
ENDINGS = (*VIDEOS, *ANIMATED)
PIECE = 48  # frames: of video, so many become one encoded piece, and their pictures are removed
Times = tuple[Fraction, Fraction]  # of a frame: its time, and how long it is shown, seconds


class Reel:
    """The frames of a film, in order; whatever moment the process is killed at, the finished ones stay.

    Args:
        output: the film to be: a video, an animation, or a name without ending, for a folder of frames.
        clip: what is painted.
        key: of all settings; with others, a film begins afresh.
    """

    def __init__(self, output: Path, clip: Clip, key: str):
        self.output, self.clip, self.ending = output, clip, output.suffix.lower()
        self.folder = output.with_name(f".{output.name}-{key}")
        with writing(output, ImageError):
            self.folder.mkdir(exist_ok=True)
            if not hold(self.folder, self):
                raise ImageError(f"{output}: another run is making this film. Let it finish, or stop it.")
        self.times: list[Times] = []  # of the frames of the clip so far
        self._tidy()
        self._gather()

    @property
    def pieces(self) -> list[Path]:
        """The encoded pieces."""
        return sorted(self.folder.glob("piece-??????.mkv"))

    @property
    def done(self) -> int:
        """How many frames are finished."""
        count = len(self.pieces) * PIECE
        while self._frame(count).exists():
            count += 1
        return count

    def _frame(self, i: int) -> Path:
        return self.folder / f"{i:06}.png"

    def _tidy(self) -> None:
        """Remove the pictures that are in a piece; but for the last, from which the next frame is painted."""
        encoded = len(self.pieces) * PIECE
        for file in {*self.folder.glob("*.png"), *self.folder.glob(".*.part*")}:  # a killed run's may be both
            if not file.stem.isdigit() or int(file.stem) < encoded - 1:
                file.unlink()

    def last(self) -> np.ndarray | None:
        """The last finished frame `(H, W, 3)` of uint8."""
        return np.asarray(Image.open(self._frame(self.done - 1))) if self.done else None

    def add(self, i: int, pixels: np.ndarray) -> None:
        """Keep frame number `i`."""
        with writing(self.output, ImageError), write_aside(self._frame(i)) as aside:
            Image.fromarray(pixels).save(aside, compress_level=1)
        self._gather()

    def _gather(self) -> None:
        """Encode what is enough for a piece; also what a killed run had no time for."""
        while self.ending in VIDEOS and self.done - (encoded := len(self.pieces) * PIECE) >= PIECE:
            path = self.folder / f"piece-{encoded // PIECE:06}.mkv"
            self._encode(path, encoded, encoded + PIECE)
            self._tidy()

    def _encode(self, path: Path, first: int, end: int) -> None:
        encode(self._pixels(first, end), path, self.clip, self.ending)

    def _pixels(self, first: int, end: int):
        return (np.asarray(Image.open(self._frame(i))) for i in range(first, end))

    def save(self, settings: dict, whole: bool) -> Path:
        """Write the film; with `whole` the hidden folder goes, else it stays to be gone on with."""
        done, clip = self.done, self.clip
        times = lasting(self.times[:done], clip.fps)
        if self.ending in ANIMATED:
            frames = (Image.fromarray(pixels) for pixels in self._pixels(0, done))
            save_animation(frames, [round(1000 * span) for _, span in times], self.output, quality=80, method=4)
        elif self.ending in VIDEOS:
            parts, encoded = self.pieces, len(self.pieces) * PIECE
            if done > encoded:
                parts.append(self.folder / "rest.mkv")
                self._encode(parts[-1], encoded, done)
            end = None if whole and clip.end is None else sum(times[-1]) if not whole else clip.end - clip.start
            join(parts, times, self.output, clip, end, settings)
        else:
            with writing(self.output, ImageError):
                self.output.mkdir(exist_ok=True)
                for i in range(done):
                    shutil.copyfile(self._frame(i), self.output / self._frame(i).name)
        if whole:
            self.close(remove=True)
        return self.output

    def close(self, remove: bool = False) -> None:
        """Let the folder go; and remove it, and what other settings have left of this film."""
        for folder in self.folder.parent.glob(f".{glob.escape(self.output.name)}-????????????") if remove else ():
            with suppress(OSError):
                if hold(folder, self):  # no other run is at it
                    shutil.rmtree(folder)
                    let_go(folder, self)
        let_go(self.folder, self)


def lasting(times: Sequence[Times], fps: float | None) -> list[Times]:
    """Each frame is shown until the next: with `fps` longer than in the clip, which has frames between them."""
    spans = [later - time if later > time else span for (time, span), (later, _) in pairwise(times)]
    last = times[-1][1] if fps is None else max(times[-1][1], 1 / Fraction(fps))
    return [(time, span) for (time, _), span in zip(times, [*spans, last], strict=True)]


def encode(frames: Iterable[np.ndarray], path: Path, clip: Clip, ending: str) -> None:
    """Encode frames `(H, W, 3)` as they come, without sound or times, for `join`.

    The matrix (BT.709) and the range are used and written, or players guess them and the colours wash out.

    Args:
        path: ends in .mkv.
        clip: what was painted; for its rate and shape of pixels.
        ending: of the film to be, such as `.mp4`; it decides the codec.
    """
    av, stream = pyav(), None
    codec, options = VIDEOS[ending]
    with writing(path, ImageError), write_aside(path) as aside, av.open(str(aside), "w", format="matroska") as out:
        for pixels in frames:
            pixels = np.pad(pixels, [(0, pixels.shape[0] % 2), (0, pixels.shape[1] % 2), (0, 0)], mode="edge")
            if stream is None:  # yuv420p has even sides; an odd one gets its last row twice
                stream = out.add_stream(codec, rate=clip.rate.limit_denominator(1001), options=options)
                stream.height, stream.width, stream.pix_fmt = *pixels.shape[:2], "yuv420p"
                context = stream.codec_context
                context.sample_aspect_ratio = clip.aspect
                context.colorspace = context.color_primaries = context.color_trc = BT709
                context.color_range = LIMITED
            ranges = {"src_color_range": FULL, "dst_color_range": LIMITED}
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame = frame.reformat(
                format="yuv420p", src_colorspace=BT709, dst_colorspace=BT709, interpolation=EXACT, **ranges
            )
            out.mux(stream.encode(frame))
        out.mux(stream.encode())


def join(parts: Sequence[Path], times: Sequence[Times], path: Path, clip: Clip, end: Fraction | None, settings: dict):
    """Put what `encode` has made one behind the other, with the clip's own times and sound, packet by packet.

    Args:
        times: time and duration of each frame, seconds.
        end: seconds, where the sound is cut off; `None` for all of it.
        settings: kept in the film's comment.
    """
    av = pyav()
    with writing(path, ImageError), write_aside(path) as aside, ExitStack() as open_files:
        out = open_files.enter_context(av.open(str(aside), "w"))
        out.metadata["comment"] = "nstlib " + json.dumps(settings, default=str)
        first = open_files.enter_context(av.open(str(parts[0])))
        stream = out.add_stream_from_template(first.streams.video[0])
        stream.time_base = clip.time_base
        sound = _sound(out, clip, end, open_files)
        pictures = _pictures(parts, times, stream, clip.time_base)
        for _, packet in heapq.merge(pictures, sound, key=lambda pair: pair[0]):
            out.mux_one(packet)


def _pictures(parts, times, stream, time_base) -> Iterator:
    """Packets of all parts with the times of their frames."""
    stamps = iter(times)
    for part in parts:
        with pyav().open(str(part)) as container:
            for packet in container.demux(container.streams.video[0]):
                if packet.size:
                    time, span = next(stamps)
                    packet.stream, packet.time_base = stream, time_base
                    packet.pts = packet.dts = round(time / time_base)
                    packet.duration = round(span / time_base)
                    yield time, packet


def _sound(out, clip: Clip, end: Fraction | None, open_files: ExitStack) -> Iterator:
    """The clip's packets of sound, with their times; kinds that the film cannot hold are left out, and said."""
    if clip.path.suffix.lower() not in VIDEO or not clip.path.exists():  # none, or frames that were made
        return iter(())
    source = open_files.enter_context(pyav().open(str(clip.path)))
    tracks = {}
    for track in source.streams.audio:
        if track.codec_context.name in out.supported_codecs:
            tracks[track.index] = out.add_stream_from_template(track)
        else:
            say(f"its sound ({track.codec_context.name}) cannot go into this kind of film; .mkv takes any")
    return _packets(source, tracks, clip.start, end) if tracks else iter(())


def _packets(source, tracks, start: Fraction, end: Fraction | None) -> Iterator:
    if start:
        source.seek(math.floor(start * 1_000_000))
    for packet in source.demux([source.streams[i] for i in tracks]):
        if packet.pts is None or packet.size == 0:
            continue
        time = packet.pts * packet.time_base
        if (start and time < start) or (end is not None and time >= start + end):
            continue
        shift = round(start / packet.time_base)
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        packet.stream = tracks[packet.stream.index]
        yield time - start, packet
