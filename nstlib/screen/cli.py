"""The command `nst`: paint and train from a terminal; its flags are the fields of the configs."""

import io
import os
import re
import sys
import textwrap
from contextlib import redirect_stderr
from dataclasses import asdict
from functools import partial, wraps
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import Annotated, Literal

import tyro
from accelerate import PartialState
from tqdm.auto import tqdm

from ..critic.presets import Preset, apply_preset
from ..devices import best_device
from ..errors import ImageError, NstError
from ..limits import Side, UnitFloat, between, checked
from ..painting.export import export_onnx
from ..painting.fast import asked_blend, paint
from ..painting.gatys import GatysConfig
from ..painting.models import load_transformer, model_files
from ..painting.stylize import Film, stylize
from ..pictures.colour import ColourMethod
from ..pictures.downloads import fetch_coco
from ..pictures.files import FORMATS, PICTURES, alpha_of, check_output, save_image
from ..pictures.samples import MASTERPIECES, open_image, sample_names
from ..storage import sweep
from ..training.config import TrainConfig
from ..training.trainer import train

HOUR = 3600.0  # seconds; no picture takes so long to write


def stylize_command(
    content: tyro.conf.Positional[str],
    style: tuple[str, ...],
    config: tyro.conf.OmitArgPrefixes[GatysConfig],
    output: Path | None = None,
    film: Path | None = None,
    preset: Preset | None = None,
) -> None:
    """Paint a picture in the style of one or more others, by optimisation (Gatys et al. 2016).

    Args:
        content: photograph to paint: a file or a sample's name.
        style: pictures to take the style from: files or samples' names.
        config: settings of the painting.
        output: where to save, .png, .jpg or .webp; by default CONTENT_STYLE.png in this folder.
        film: also save the painting's progress as .gif or .webp.
        preset: a paper's own losses, for all that is left at its default.
    """
    config = apply_preset(config, preset) if preset else config
    output = check_output(output or Path(f"{Path(content).stem}_{Path(style[0]).stem}.png"))
    if film:
        check_output(film, (".gif", ".webp"))
    sweep(output.parent, age=HOUR)
    alpha = alpha_of(open_image(content))
    recorder = Film() if film else None
    painted = stylize(content, style, config, recorder)
    settings = {"content": content, "style": list(style), **asdict(config)}
    save_image(painted, output, settings, alpha=alpha)
    height, width = painted.shape[-2:]
    tqdm.write(f"{output}: {width}×{height}, painted" + ("; transparency put back" if alpha else ""))
    if film:
        tqdm.write(f"{recorder.save(film)}: {len(recorder.frames)} frames")


def paint_command(
    content: tyro.conf.Positional[tuple[str, ...]],
    model: str,
    output: Path | None = None,
    size: Side | None = None,
    content_scale: Annotated[float, between(1 / 64, 64)] = 1.0,
    preserve_colour: ColourMethod = "none",
    style: str | None = None,
    strength: UnitFloat | None = None,
    device: str | None = None,
    fit: bool = False,
    passes: Literal[1, 2] = 2,
) -> None:
    """Paint pictures with a trained network, at once (Johnson et al. 2016).

    Args:
        content: photographs: files, folders, or samples' names.
        model: a shipped network's name (see `nst models`) or the file of one.
        output: a file for one picture, a folder for more; by default CONTENT_MODEL.png in this folder, and
            for a folder FOLDER_MODEL beside it.
        size: long side of the result in pixels; by default the picture's own.
        content_scale: make the picture smaller by this factor before painting it.
        preserve_colour: keep the content's colours.
        style: of an adjustable network: a style, or shares such as swirl:0.7,ink:0.3; by default its first.
        strength: of an adjustable network: from 0, the photograph, to 1.
        device: cpu, cuda, mps; by default the best there is.
        fit: where the memory does not suffice, paint at the largest size that fits.
        passes: 2, half a cell of the network apart, against a weave in flat areas; 1 for half the time.
    """
    net = load_transformer(model).to(best_device(device))
    styles = _shares(style)
    asked_blend(net, styles, strength)  # what it does not have is said before any work is done
    jobs, failures = _paint_jobs(content, Path(model).stem, output), []
    for folder in {target.parent for _, target in jobs}:
        sweep(folder, age=HOUR)
    for source, target in tqdm(jobs, desc="painting", delay=1, disable=len(jobs) == 1):
        try:
            picture = open_image(source)
            side = round((size or max(picture.size)) / content_scale)
            painted = paint(picture, net, max(side, 1), preserve_colour, styles, strength, fit, passes)
            target.parent.mkdir(parents=True, exist_ok=True)
            settings = {"content": str(source), "model": model, "size": max(painted.shape[-2:]), "passes": passes}
            settings |= {"preserve_colour": preserve_colour}
            settings |= {"style": style, "strength": strength} if net.config.styles else {}
            save_image(painted, target, settings, alpha=alpha_of(picture))
            if len(jobs) == 1:
                tqdm.write(f"{target}: {painted.shape[-1]}×{painted.shape[-2]}, painted")
        except (ImageError, OSError) as error:  # OSError: the folder for it cannot be made
            failures.append(str(error))
    if len(jobs) > 1:
        folders = ", ".join(dict.fromkeys(str(target.parent) for _, target in jobs))
        tqdm.write(f"{len(jobs) - len(failures)} of {len(jobs)} pictures painted into {folders}")
    if failures:
        raise ImageError("\n     ".join(failures))


def _shares(text: str | None) -> str | dict[str, float] | None:
    """`swirl:0.7,ink:0.3` as shares by name; a name alone as it is."""
    if text is None or not re.search("[:,]", text):
        return text
    try:
        pairs = [part.split(":") for part in text.split(",")]
        shares = {name.strip(): float(share) for name, share in pairs}
        if len(shares) == len(pairs):
            return shares
    except ValueError:
        pass
    raise ValueError(f"--style {text}: write a name, or shares such as swirl:0.7,ink:0.3, each style once")


def _paint_jobs(contents: tuple[str, ...], model: str, output: Path | None) -> list[tuple[str | Path, Path]]:
    """What to paint, and where each result goes."""
    folders = [content for content in contents if Path(content).is_dir()]
    if len(contents) == 1 and not folders:
        return [(contents[0], check_output(output or Path(f"{Path(contents[0]).stem}_{model}.png")))]
    if output is not None and output.suffix.lower() in FORMATS:
        raise ValueError(f"--output {output}: give a folder, for there are several pictures")
    jobs: list[tuple[str | Path, Path]] = []
    for content in contents:
        path = Path(content)
        if path.is_dir():
            whole = Path(os.path.abspath(path))  # `.` and `..` have no name to add to
            into = output or whole.with_name(f"{whole.name}_{model}")
            files = sorted(file for file in path.iterdir() if file.suffix.lower() in PICTURES)
            if not files:
                raise ImageError(f"{path}: no pictures in this folder")
            jobs += [(file, into / f"{file.stem}.png") for file in files]
        else:
            jobs.append((content, (output or Path()) / f"{path.stem}_{model}.png"))
    return _without_collisions(jobs)


def _without_collisions(jobs: list[tuple[str | Path, Path]]) -> list[tuple[str | Path, Path]]:
    """Two sources of one name, such as a.jpg and a.png, get results of different names; no photograph is lost."""
    taken = {os.path.abspath(source) for source, _ in jobs}
    for i, (source, target) in enumerate(jobs):
        number, wanted = 2, target
        while os.path.abspath(target) in taken:
            target = wanted.with_stem(f"{wanted.stem}_{number}")
            number += 1
        taken.add(os.path.abspath(target))
        jobs[i] = (source, target)
    return jobs


def train_command(config: tyro.conf.OmitArgPrefixes[TrainConfig], preset: Preset | None = None) -> None:
    """Train a fast network (Johnson et al. 2016) on a style, or on several; the same command again goes on.

    Args:
        config: settings of the training.
        preset: a paper's own losses, for all that is left at its default.
    """
    train(apply_preset(config, preset) if preset else config)
    if PartialState().is_main_process:
        tqdm.write(f"{config.save_model}: paint with `nst paint PHOTO --model {config.save_model}`")


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


def export_command(model: str, onnx: Path) -> None:
    """Export a network to ONNX with dynamic height and width (needs `pip install nstlib[export]`).

    Args:
        model: a shipped network's name or the file of one.
        onnx: where to write, .onnx.
    """
    export_onnx(load_transformer(model), onnx)
    tqdm.write(f"{onnx}: input and output (1, 3, height, width) in [0, 1]")


def photos_command(
    split: tyro.conf.Positional[Literal["val2017", "train2014", "train2017"]], folder: Path = Path("photos")
) -> None:
    """Download the photographs of COCO to train on; a broken download goes on where it stopped.

    Args:
        split: val2017 (0.8 GB), train2014 (13 GB) or train2017 (18 GB).
        folder: they come into a folder of the split's name in it.
    """
    tqdm.write(f"{fetch_coco(split, folder)}: ready for `nst train --dataset`")


def samples_command() -> None:
    """List the pictures that can be named instead of a file."""
    names = sample_names()
    print("photographs  " + " ".join(names["photographs"]))
    print("paintings    " + " ".join(names["paintings"]))
    print("\ndownloaded on first use:")
    for name, piece in MASTERPIECES.items():
        print(f"  {name:22}{piece.artist}, {piece.title}, {piece.year}")


def main(arguments: list[str] | None = None) -> None:
    """Run `nst`; wrong input ends with one line and exit code 2."""
    functions = [stylize_command, paint_command, train_command, models_command, export_command]
    functions += [photos_command, samples_command]
    commands = {f.__name__.removesuffix("_command"): _deferred(checked(f)) for f in functions}
    try:
        _parse(commands, arguments)()
        sys.stdout.flush()  # here, where a reader that has gone is understood
    except (NstError, ValueError) as error:
        print(f"nst: {_as_flag(str(error))}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # the reader has gone, as in `nst models | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains on leaving
        sys.exit(141)
    except KeyboardInterrupt:
        sys.exit(130)


def _deferred(command):
    """The command with the same flags, but returned ready to run instead of run."""
    return wraps(command)(lambda *args, **kwargs: partial(command, *args, **kwargs))


def _parse(commands, arguments):
    """The command that the arguments ask for; tyro's boxed message about a wrong one is put in one line."""
    message = io.StringIO()
    try:
        with redirect_stderr(message):
            return tyro.extras.subcommand_cli_from_dict(commands, prog="nst", args=arguments, description=__doc__)
    except SystemExit as end:
        lines = [line.strip("│ ") for line in message.getvalue().splitlines()]
        text = dropwhile(_is_rule, lines[1:])  # below the title there is a rule where the terminal is ASCII
        said = " ".join(takewhile(lambda line: not _is_rule(line), text))
        if end.code:
            print(f"nst: {_as_flag(re.sub(r'^Error parsing __tyro[^:]*: ', '', said).strip())}", file=sys.stderr)
        raise


def _as_flag(message: str) -> str:
    """`style_weight=nan: …` with the name as it is written in a terminal; `content` and `split` have no dashes."""
    return re.sub(r"^(?!content=|split=)(\w+)=", lambda name: f"--{name[1].replace('_', '-')} ", message)


def _is_rule(line: str) -> bool:
    return "──" in line or "----" in line


if __name__ == "__main__":  # for `accelerate launch -m nstlib.screen.cli train …`
    main()
