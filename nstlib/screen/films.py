"""Flags of the command: what it makes a film of, and where that goes; shares of styles."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ..limits import Positive, UnitFloat, check_fields
from ..painting.video import VideoConfig
from ..pictures.clips import VIDEO, is_clip
from ..pictures.reel import ENDINGS

Time = Annotated[str | None, tyro.conf.arg(metavar="MIN:SEC")]


@dataclass(frozen=True)
class FilmConfig:
    """Of a clip: which part of it is painted, and how."""

    fps: Positive | None = None  # of a clip: at most so many frames a second
    start: Annotated[Time, tyro.conf.arg(name="from")] = None  # of a clip: begin here, such as 0:05
    end: Annotated[Time, tyro.conf.arg(name="to")] = None  # of a clip: end here
    carry: UnitFloat = VideoConfig.carry  # of a clip: share of the last frame that is carried along; 0 lets it flicker

    def __post_init__(self):
        check_fields(self)
        _seconds(self.start), _seconds(self.end)

    def video(self, size: int | None, fit: bool) -> VideoConfig:
        """The settings of the film, at a long side."""
        return VideoConfig(size, self.fps, _seconds(self.start) or 0.0, _seconds(self.end), self.carry, fit=fit)


def _seconds(text: str | None) -> float | None:
    """`1:02:03.5`, `0:05` or `5` in seconds."""
    if text is None:
        return None
    if not re.fullmatch(r"(\d+:){0,2}\d+(\.\d+)?", text):
        raise ValueError(f"{text}: is no time; write seconds, or minutes and seconds such as 0:05")
    return sum(float(part) * 60**i for i, part in enumerate(reversed(text.split(":"))))


def film_of(contents: tuple[str, ...], name: str, output: Path | None, config: FilmConfig) -> Path | None:
    """Where the film goes; `None` where no film is made, but pictures.

    A film is made of a video; of a folder whose output has the ending of a film; and of an animation if a flag of
    films is given, or the output is a video (or else each of its frames is painted as a picture is).
    """
    content = Path(contents[0])
    ending = output.suffix.lower() if output else None
    if len(contents) > 1:
        return None
    if content.is_dir():
        return output if ending in (*VIDEO, ".gif") else None
    moves = content.suffix.lower() in VIDEO
    if not moves and not (is_clip(content) and (ending in VIDEO or config != FilmConfig())):
        return None
    own = content.suffix.lower() if content.suffix.lower() in ENDINGS else ".mp4"
    return output or Path(f"{content.stem}_{name}{own}")


def shares(text: str | None) -> str | dict[str, float] | None:
    """`swirl:0.7,ink:0.3` as shares by name; a name alone as it is."""
    if text is None or not re.search("[:,]", text):
        return text
    try:
        pairs = [part.split(":") for part in text.split(",")]
        found = {name.strip(): float(share) for name, share in pairs}
        if len(found) == len(pairs):
            return found
    except ValueError:
        pass
    raise ValueError(f"--style {text}: write a name, or shares such as swirl:0.7,ink:0.3, each style once")
