"""What the command paints, and where each result goes."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from ..errors import ImageError, say
from ..limits import Natural, check_fields
from ..painting.fast import Strokes
from ..pictures.animations import ANIMATED, animation_of, pages_of, read_frames, save_animation
from ..pictures.convert import alpha_of, to_pil, with_alpha
from ..pictures.files import FORMATS, Bits, Quality, check_bits, check_output, endings, metadata, save_image
from ..pictures.photos import listed
from ..pictures.pixels import scale_to_long_side
from ..pictures.samples import open_image
from ..storage import sweep

FILES = ("content", "style", "model", "mask", "init", "weights", "polish_style")  # settings that name files
Painter = Callable[[Image.Image, int], Tensor]
HOUR = 3600.0  # seconds; no picture takes so long to write


@dataclass(frozen=True)
class OutputConfig:
    """Where the paintings go, and how they are saved."""

    output: Path | None = None  # a file for one picture, a folder for more; by default a name of content and style
    skip_existing: bool = False  # pass over what is painted already
    quality: Quality = 92  # of .jpg and .webp
    bits: Bits = 8  # a channel; 16 for .png

    def __post_init__(self):
        check_fields(self)


@dataclass(frozen=True)
class BrushConfig:
    """How a network paints pictures, besides its style."""

    stroke_size: Strokes = 1.0  # how many times as large as the network's own the strokes are, from 1 to 8
    polish: Natural = 0  # so many steps of Gatys' method finish the painting; 30 are a good number, and take seconds
    polish_style: str | None = None  # the picture to polish with; by default the one that the network was trained on

    def __post_init__(self):
        check_fields(self)


@dataclass(frozen=True)
class Job:
    """One picture to paint."""

    source: str | Path  # a file, or a sample's name
    target: Path


class Jobs(list[Job]):
    """The pictures to paint, and the names of the files that were passed over in folders."""

    def __init__(self, contents: tuple[str, ...], name: str, output: Path | None, done: str = "painted"):
        super().__init__()
        self.skipped: list[str] = []
        self.done = done  # what becomes of a picture, in a word
        several = len(contents) > 1 or os.path.isdir(contents[0])
        if several and output is not None and output.suffix.lower() in FORMATS and not output.is_dir():
            raise ValueError(f"--output {output}: give a folder, for there are several pictures")
        if not several and output is not None and not os.path.isdir(output):
            self.append(Job(contents[0], check_output(output, _formats(contents[0]))))
            return
        for content in contents:
            path = Path(content)
            if os.path.isdir(content):
                whole = Path(os.path.abspath(path))  # `.` and `..` have no name to add to
                into = output or whole.with_name(f"{whole.name}_{name}")
                self += [Job(file, into / f"{file.stem}{_ending(file)}") for file in self._pictures(path)]
            else:
                self.append(Job(content, (output or Path()) / f"{path.stem}_{name}{_ending(content)}"))
        self._without_collisions()
        if not several:
            check_output(self[0].target, _formats(self[0].source))

    def _pictures(self, folder: Path) -> list[Path]:
        files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
        found = [file for file in files if file.suffix.lower() in endings()]
        self.skipped += [file.name for file in files if file not in set(found)]
        if not found:
            raise ImageError(f"{folder}: no pictures in this folder" + (f" ({self.report()})" if self.skipped else ""))
        return found

    def _without_collisions(self) -> None:
        """Two sources of one name, such as a.jpg and a.png, get results of different names; no photograph is lost."""
        taken = {os.path.abspath(job.source) for job in self}
        for i, job in enumerate(self):
            number, target = 2, job.target
            while os.path.abspath(target) in taken:
                target = job.target.with_stem(f"{job.target.stem}_{number}")
                number += 1
            taken.add(os.path.abspath(target))
            self[i] = Job(job.source, target)

    def report(self) -> str:
        """What was passed over in folders."""
        return f"skipped {len(self.skipped)} that Pillow does not open here: {listed(self.skipped)}"


def _ending(source: str | Path) -> str:
    """Of what is painted from a picture: an animation stays one."""
    animation = animation_of(source)
    return next((ending for ending, kind in ANIMATED.items() if animation and kind == animation.kind), ".png")


def _formats(source: str | Path) -> tuple[str, ...]:
    return (*FORMATS, ".gif") if animation_of(source) else tuple(FORMATS)


def plain_settings(settings: dict) -> dict:
    """Settings with the names of files and not their folders, which are nobody else's business."""
    return {key: _name(value) if key in FILES else value for key, value in settings.items()}


def _name(value):
    if isinstance(value, list | tuple):
        return [_name(one) for one in value]
    return Path(value).name if isinstance(value, str | Path) else value


def run(jobs: Jobs, config: OutputConfig, size: int | None, paint: Painter, settings: dict, scale: float = 1.0) -> None:
    """Paint all jobs; what goes wrong with one is said at the end, and the others are painted.

    Args:
        size: the long side of the results in pixels; `None` for the pictures' own.
        paint: a picture in `RGB` or `RGBA`, painted at a long side, as `(1, 3, H, W)`.
        settings: kept in the pictures, with the content's name.
        scale: makes the results smaller by this factor.
    """
    failures, there = [], 0
    for job in jobs:
        check_bits(job.target, config.bits)
    for folder in {job.target.parent for job in jobs}:
        sweep(folder, age=HOUR)
    for job in tqdm(jobs, desc=f"pictures {jobs.done}", delay=1, disable=len(jobs) == 1):
        if config.skip_existing and job.target.exists():
            there += 1
            continue
        try:
            job.target.parent.mkdir(parents=True, exist_ok=True)
            said = _paint_one(job, config, size, scale, paint, {"content": job.source, **settings})
            if len(jobs) == 1:
                say(f"{job.target}: {said.replace('painted', jobs.done)}")
        except (ImageError, OSError) as error:  # OSError: the folder for it cannot be made
            failures.append(str(error))
    if len(jobs) > 1 or there:
        folders = ", ".join(dict.fromkeys(str(job.target.parent) for job in jobs))
        done = f"{len(jobs) - len(failures) - there} of {len(jobs)} pictures {jobs.done} into {folders}"
        say("; ".join([done, *([f"{there} were there"] * bool(there)), *([jobs.report()] * bool(jobs.skipped))]))
    if failures:
        raise ImageError("\n     ".join(failures))


def _paint_one(job: Job, config: OutputConfig, size: int | None, scale: float, paint: Painter, settings: dict) -> str:
    """Paint a picture, or every frame of an animation; what was done, in words."""
    picture, settings = open_image(job.source, size), plain_settings(settings)
    side = max(1, round((size or max(picture.size)) / scale))
    shape = scale_to_long_side(picture.size[::-1], side)
    check_output(job.target, _formats(job.source), shape)
    animation, said = animation_of(job.source), "painted"
    if animation and job.target.suffix.lower() in ANIMATED:
        frames, milliseconds = [], []
        for frame, duration in read_frames(job.source):
            painted, alpha = to_pil(paint(frame, side)), alpha_of(frame)
            frames.append(with_alpha(painted, alpha) if alpha else painted)
            milliseconds.append(duration)
        options = metadata(ANIMATED[job.target.suffix.lower()], json.dumps(settings, default=str))
        save_animation(frames, milliseconds, job.target, animation.loop, quality=config.quality, **options)
        return f"{shape[1]}×{shape[0]}, {len(frames)} frames painted"
    if animation:
        said += "; of the animation the first frame, for all give a name in .gif, .webp or .png"
    if (pages := pages_of(job.source)) > 1:
        said += f"; of {pages} pages the first"
    alpha = alpha_of(picture)
    if alpha and job.target.suffix.lower() not in (".jpg", ".jpeg"):
        said += "; transparency put back"
    painted = paint(picture, side)
    options = {"quality": config.quality, "bits": config.bits, "origin": job.source}
    save_image(painted, job.target, settings | {"size": max(painted.shape[-2:])}, alpha=alpha, **options)
    return f"{painted.shape[-1]}×{painted.shape[-2]}, {said}"
