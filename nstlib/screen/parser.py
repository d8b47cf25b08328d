"""The command line: flags from functions, and what is wrong with them in one line."""

import inspect
import io
import re
import sys
from contextlib import redirect_stderr
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from functools import partial, wraps
from itertools import dropwhile, takewhile
from typing import Annotated, get_args, get_type_hints

import tyro

from ..critic.presets import PRESETS, with_preset


def deferred(command):
    """The command with the same flags, but returned ready to run instead of run."""
    return wraps(command)(lambda *args, **kwargs: partial(command, *args, **kwargs))


def flags_of(functions) -> list[str]:
    """The flags of all commands."""
    names: list[str] = []
    for hints in map(get_type_hints, functions):
        names += hints
        names += [field.name for hint in hints.values() if is_dataclass(hint) for field in fields(hint)]
    return [f"--{name.replace('_', '-')}" for name in names]


def _with_preset(command, arguments: list[str]):
    """The command whose settings begin with a preset's values, where one is asked for; what is given replaces them."""
    hints, asked = get_type_hints(command, include_extras=True), re.search(r"--preset[= ](\w+)", " ".join(arguments))
    if asked and asked[1] in PRESETS and "preset" in hints:
        settings, *marks = get_args(hints["config"])
        new, signature = with_preset(settings, asked[1]), inspect.signature(command)
        del command.__wrapped__  # or tyro reads the annotations there
        command.__signature__, command.__annotations__ = signature, hints | {"config": Annotated[(new, *marks)]}
    return command


def parse(commands, arguments, flags: list[str], description: str):
    """The command that the arguments ask for; tyro's boxed message about a wrong one is put in one line."""
    message, arguments = io.StringIO(), sys.argv[1:] if arguments is None else arguments
    commands = {name: _with_preset(command, arguments) for name, command in commands.items()}
    try:
        with redirect_stderr(message):
            return tyro.extras.subcommand_cli_from_dict(commands, prog="nst", args=arguments, description=description)
    except SystemExit as end:
        lines = [line.strip("│ ") for line in message.getvalue().splitlines()]
        text = dropwhile(_is_rule, lines[1:])  # below the title there is a rule where the terminal is ASCII
        said = " ".join(takewhile(lambda line: not _is_rule(line), text))
        if end.code:
            print(f"nst: {as_flag(_plain(said, flags))}", file=sys.stderr)
        raise


def _plain(said: str, flags: list[str]) -> str:
    """What tyro says of a wrong argument in one plain sentence, with the flag that was meant."""
    said = re.sub(r"^Error parsing __tyro[^:]*: ", "", said).strip()
    if wrong := re.match(r"Error parsing (--[\w-]+): no type matching (.*) could be instantiated from \[(.*?)\]", said):
        flag, wanted, value = wrong.groups()
        for kind, words in {"INT": "a whole number", "FLOAT": "a number", "|": " or "}.items():
            wanted = wanted.replace(kind, words)
        wanted = "numbers with spaces between them" if "..." in wanted else re.sub(r"[{}]", "", wanted)
        return f"{flag} {value.replace(chr(39), '')}: must be {wanted}"
    if unknown := re.match(r"Unrecognized options: (--[\w-]+)", said):
        meant = get_close_matches(unknown[1], flags, 1)
        return said + (f". Did you mean {meant[0]}?" if meant else "")
    return said


def as_flag(message: str) -> str:
    """`style_weight=nan: …` with the name as it is written in a terminal; `content` and `split` have no dashes."""
    return re.sub(r"^(?!content=|split=)(\w+)=", lambda name: f"--{name[1].replace('_', '-')} ", message)


def _is_rule(line: str) -> bool:
    return "──" in line or "----" in line
