"""The command `nst`: paint, enlarge and train from a terminal; its flags are the fields of the configs."""

import os
import sys
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import tyro
from accelerate import PartialState
from PIL import Image
from torch import Tensor

from ..critic.presets import Preset
from ..devices import best_device
from ..errors import NstError, say
from ..limits import Side, UnitFloat, between, checked
from ..painting.export import export_onnx
from ..painting.fast import asked_blend, paint
from ..painting.gatys import GatysConfig
from ..painting.models import Values, load_transformer, model_files
from ..painting.polish import style_pictures
from ..painting.stylize import Film, stylize
from ..painting.upscale import enlarge as enlarge_picture
from ..painting.upscale import load_upscaler
from ..painting.video import paint_video, stylize_video
from ..pictures.colour import ColourMethod
from ..pictures.downloads import fetch_coco
from ..pictures.files import check_output
from ..pictures.samples import MASTERPIECES, sample_names, to_style
from ..training.config import TrainConfig
from ..training.trainer import train
from .films import FilmConfig, film_of, shares
from .jobs import BrushConfig, Jobs, OutputConfig, run
from .parser import as_flag, parse


def stylize_command(
    content: tyro.conf.Positional[tuple[str, ...]],
    style: tuple[str, ...],
    config: tyro.conf.OmitArgPrefixes[GatysConfig],
    saving: tyro.conf.OmitArgPrefixes[OutputConfig],
    clip: tyro.conf.OmitArgPrefixes[FilmConfig],
    film: Path | None = None,
    preset: Preset | None = None,
) -> None:
    """Paint pictures in the style of one or more others, by optimisation (Gatys et al. 2016).

    Args:
        content: photographs to paint: files, folders, or samples' names; or a video.
        style: pictures to take the style from: files or samples' names.
        config: settings of the painting.
        saving: where the paintings go.
        clip: of a video: which part, and how; the same command goes on with a film that was stopped.
        film: of one picture: also save the painting's progress as .gif or .webp.
        preset: a paper's own losses, for all that is not given.
    """
    size = None if config.size == "full" else config.size
    if target := film_of(content, Path(style[0]).stem, saving.output, clip):
        return say(f"{stylize_video(content[0], style, target, config, clip.video(size, config.fit))}: painted")
    jobs, recorder = Jobs(content, Path(style[0]).stem, saving.output), None
    if film:
        check_output(film, (".gif", ".webp"))
        if len(jobs) > 1:
            raise ValueError(f"--film {film}: is for one picture, and there are {len(jobs)}")
        recorder = Film()
    run(
        jobs,
        saving,
        size,
        lambda picture, side: stylize(picture, style, config, recorder),
        {"style": list(style), **asdict(config)},
    )
    if recorder:
        say(f"{recorder.save(film)}: {len(recorder.frames)} frames")


def paint_command(
    content: tyro.conf.Positional[tuple[str, ...]],
    model: str,
    saving: tyro.conf.OmitArgPrefixes[OutputConfig],
    clip: tyro.conf.OmitArgPrefixes[FilmConfig],
    brush: tyro.conf.OmitArgPrefixes[BrushConfig],
    size: Side | None = None,
    content_scale: Annotated[float, between(1 / 64, 64)] = 1.0,
    preserve_colour: ColourMethod = "none",
    style: str | None = None,
    strength: UnitFloat | None = None,
    mask: Path | None = None,
    device: str | None = None,
    fit: bool = False,
    passes: Literal[1, 2] | None = None,
    enlarge: bool = False,
    values: Values = "0-255",
    bgr: bool = False,
) -> None:
    """Paint pictures with a trained network, at once (Johnson et al. 2016).

    Args:
        content: photographs: files, folders, or samples' names; or a video.
        model: a shipped network's name (see `nst models`) or the file of one.
        saving: where the paintings go.
        clip: of a video: which part, and how; the same command goes on with a film that was stopped.
        brush: of pictures: larger strokes, and a finish by Gatys' method.
        size: long side of the result in pixels; by default the picture's own.
        content_scale: make the picture smaller by this factor before painting it.
        preserve_colour: keep the content's colours.
        style: of an adjustable network: a style, or shares such as swirl:0.7,ink:0.3; by default its first.
        strength: of an adjustable network: from 0, the photograph, to 1.
        mask: a picture, white or opaque where to paint; elsewhere the photograph stays as it is.
        device: cpu, cuda, mps; by default the best there is.
        fit: where the memory does not suffice, paint at the largest size that fits.
        passes: 2, half a cell of the network apart, against a weave in flat areas; 1 for half the time; by default
            2 for pictures and 1 for films, in which the carried painting has the same effect.
        enlarge: make the painting four times as large afterwards, as `nst enlarge` does.
        values: of a network from elsewhere: what it reads and writes.
        bgr: of a network from elsewhere: it reads and writes blue first.
    """
    net = load_transformer(model, values=values, bgr=bgr).to(best_device(device))
    styles = shares(style)
    blend = asked_blend(net, styles, strength)  # what it does not have is said before any work is done
    _ = brush.polish and style_pictures(net, blend, brush.polish_style)
    target = film_of(content, Path(model).stem, saving.output, clip)
    passes = passes or (1 if target else 2)
    settings = {"model": model, "passes": passes, "preserve_colour": preserve_colour}
    settings |= asdict(brush) if brush != BrushConfig() else {}
    settings |= {"mask": mask} if mask else {}
    settings |= {"enlarge": enlarge} if enlarge else {}
    upscaler = load_upscaler().to(best_device(device)) if enlarge else None
    settings |= {"style": style, "strength": strength} if net.config.styles else {}

    if target:
        if enlarge or brush != BrushConfig():
            raise ValueError(f"{content[0]}: is a clip; --stroke-size, --polish and --enlarge are for pictures")
        told = {"preserve_colour": preserve_colour, "passes": passes, "styles": styles, "strength": strength}
        return say(f"{paint_video(content[0], net, target, clip.video(size, fit), mask=mask, **told)}: painted")

    def painter(picture: Image.Image, side: int) -> Tensor:
        painted = paint(picture, net, side, preserve_colour, styles, strength, fit, passes, mask, **asdict(brush))
        return enlarge_picture(painted, upscaler) if upscaler else painted

    run(Jobs(content, Path(model).stem, saving.output), saving, size, painter, settings, content_scale)


def enlarge_command(
    content: tyro.conf.Positional[tuple[str, ...]],
    saving: tyro.conf.OmitArgPrefixes[OutputConfig],
    scale: Literal[2, 4] = 4,
    model: str = "pixels",
    device: str | None = None,
) -> None:
    """Make pictures four times or twice as large (super-resolution, Johnson et al. 2016).

    Args:
        content: photographs or paintings: files, folders, or samples' names.
        saving: where the results go; by default CONTENT_x4.png in this folder, and for a folder FOLDER_x4 beside it.
        scale: 4, or 2.
        model: pixels (closest), perceptual (nearer in features, a faint grid), or a file of `nst train --objective`.
        device: cpu, cuda, mps; by default the best there is.
    """
    net = load_upscaler(model).to(best_device(device))
    jobs = Jobs(content, f"x{scale}", saving.output, "enlarged")
    run(
        jobs,
        saving,
        None,
        lambda picture, side: enlarge_picture(to_style(picture)[:, :3], net, scale),
        {"model": model, "scale": scale},
        1 / scale,
    )


def train_command(config: tyro.conf.OmitArgPrefixes[TrainConfig], preset: Preset | None = None) -> None:
    """Train a network to paint or to enlarge (Johnson et al. 2016); the same command again goes on.

    Args:
        config: settings of the training.
        preset: a paper's own losses, for all that is not given.
    """
    train(config)
    if PartialState().is_main_process:
        command = "paint" if config.objective == "style" else "enlarge"
        say(f"{config.save_model}: {command} with `nst {command} PHOTO --model {config.save_model}`")


def models_command() -> None:
    """List the shipped networks: size, style, training and quality."""
    for name, path in model_files().items():
        net = load_transformer(path)
        styles = ", ".join(net.config.styles) or net.card["style"]
        card, parameters = net.card, sum(p.numel() for p in net.parameters())
        print(f"{name}  {path.stat().st_size / 1e6:.2f} MB, {parameters:,} parameters, width {net.config.width}")
        print(f"    style     {styles}; critic {card['critic']}; {card['photographs']:,} photographs")
        print(f"    training  {card['steps']:,} steps of {card['pictures_per_step']}, {card['minutes']} minutes")
        started = f", started from {card['started_from']}" if card.get("started_from") else ""
        print(f"              on {card['machine']}{started}")
        for part in ("before", "after"):
            if part in card:
                print(textwrap.fill(card[part], 110, initial_indent=f"    {part:9} ", subsequent_indent=14 * " "))
        if "gatys_iterations" in card:
            print(f"    quality   objective of {card['gatys_iterations']} Gatys iterations on unseen photographs")
        if "ssim_at_strength_0" in card:
            print(f"    quality   at strength 0, SSIM {card['ssim_at_strength_0']} or more to unseen photographs")


def export_command(model: str, onnx: Path, values: Values = "0-255", bgr: bool = False) -> None:
    """Export a network to ONNX with dynamic height and width (needs `pip install nstlib[export]`).

    Args:
        model: a shipped network's name or the file of one.
        onnx: where to write, .onnx.
        values: of a network from elsewhere: what it reads and writes; the exported one has [0, 1] all the same.
        bgr: of a network from elsewhere: it reads and writes blue first; the exported one red.
    """
    net = load_transformer(model, values=values, bgr=bgr)
    export_onnx(net, onnx)
    say(f"{onnx}: input and output (1, 3, height, width) in [0, 1]")
    if net.config.styles:
        say(f"    and blend (1, {len(net.config.styles) + 1}): photograph, {', '.join(net.config.styles)}")


def photos_command(
    split: tyro.conf.Positional[Literal["val2017", "train2014", "train2017"]], folder: Path = Path("photos")
) -> None:
    """Download the photographs of COCO to train on; a broken download goes on where it stopped.

    Args:
        split: val2017 (0.8 GB), train2014 (13 GB) or train2017 (18 GB).
        folder: they come into a folder of the split's name in it.
    """
    say(f"{fetch_coco(split, folder)}: ready for `nst train --dataset`")


def samples_command() -> None:
    """List the pictures that can be named instead of a file."""
    names = sample_names()
    print("photographs  " + " ".join(names["photographs"]))
    print("paintings    " + " ".join(names["paintings"]))
    print("\ndownloaded on first use:")
    for name in names["masterpieces"]:
        piece = MASTERPIECES[name]
        print(f"  {name:22}{piece.artist}, {piece.title}, {piece.year}")


def main(arguments: list[str] | None = None) -> None:
    """Run `nst`; wrong input ends with one line and exit code 2."""
    functions = [stylize_command, paint_command, train_command, enlarge_command, models_command, export_command]
    functions += [photos_command, samples_command]
    commands = {f.__name__.removesuffix("_command"): checked(f) for f in functions}
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a console that lacks a letter gets a question mark
    try:
        parse(commands, sys.argv[1:] if arguments is None else arguments, __doc__)()
        sys.stdout.flush()  # here, where a reader that has gone is understood
    except (NstError, ValueError) as error:
        print(f"nst: {as_flag(str(error))}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # the reader has gone, as in `nst models | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains on leaving
        sys.exit(141)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":  # for `accelerate launch -m nstlib.screen.cli train …`
    main()
