"""The command `nst`: paint from a terminal; its flags are the fields of the configs."""

import io
import re
import sys
from contextlib import redirect_stderr
from dataclasses import asdict
from functools import partial, wraps
from itertools import takewhile
from pathlib import Path

import tyro
from tqdm.auto import tqdm

from .errors import NstError
from .gatys import Film, GatysConfig, stylize
from .images import alpha_of, check_output, save_image
from .samples import MASTERPIECES, find_image, sample_names


def stylize_command(
    content: tyro.conf.Positional[str],
    style: tuple[str, ...],
    config: tyro.conf.OmitArgPrefixes[GatysConfig],
    output: Path | None = None,
    film: Path | None = None,
) -> None:
    """Paint a picture in the style of one or more others, by optimisation (Gatys et al. 2016).

    Args:
        content: photograph to paint: a file or a sample's name.
        style: pictures to take the style from: files or samples' names.
        config: settings of the painting.
        output: where to save, .png, .jpg or .webp; by default CONTENT_STYLE.png in this folder.
        film: also save the painting's progress as .gif or .webp.
    """
    if not style:
        raise ValueError("--style: give at least one picture")
    output = check_output(output or Path(f"{Path(content).stem}_{Path(style[0]).stem}.png"))
    if film:
        check_output(film, (".gif", ".webp"))
    alpha = alpha_of(find_image(content))
    recorder = Film() if film else None
    painted = stylize(content, style, config, recorder)
    settings = {"content": content, "style": list(style), **asdict(config)}
    save_image(painted, output, settings, alpha=alpha)
    height, width = painted.shape[-2:]
    tqdm.write(f"{output}: {width}×{height}, painted" + ("; transparency put back" if alpha else ""))
    if film:
        tqdm.write(f"{recorder.save(film)}: {len(recorder.frames)} frames")


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
    commands = {"stylize": _deferred(stylize_command), "samples": _deferred(samples_command)}
    try:
        _parse(commands, arguments)()
    except (NstError, ValueError) as error:
        print(f"nst: {error}", file=sys.stderr)
        sys.exit(2)
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
        said = " ".join(takewhile(lambda line: "──" not in line, lines[1:]))
        if end.code:
            print(f"nst: {re.sub(r'^Error parsing __tyro[^:]*: ', '', said).strip()}", file=sys.stderr)
        raise
