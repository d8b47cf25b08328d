"""The command line: flags from functions, and what is wrong with them in one line."""

import io
import re
import sys
from contextlib import redirect_stderr
from functools import partial, wraps

import tyro

from ..critic.presets import PRESETS


def parse(commands: dict, arguments: list[str], description: str):
    """The command that the arguments ask for, ready to run; what tyro says of a wrong one is put in one line."""
    commands, message = {name: _deferred(command) for name, command in commands.items()}, io.StringIO()
    arguments = _with_preset(arguments)
    try:
        with redirect_stderr(message):
            return tyro.extras.subcommand_cli_from_dict(commands, prog="nst", args=arguments, description=description)
    except SystemExit as end:
        if end.code:
            print(f"nst: {as_flag(_plain(message.getvalue()))}", file=sys.stderr)
        raise


def _deferred(command):
    """The command with the same flags, but returned ready to run instead of run."""
    return wraps(command)(lambda *args, **kwargs: partial(command, *args, **kwargs))


def _with_preset(arguments: list[str]) -> list[str]:
    """With the flags of a preset, where one is asked for; what is given stands behind them and replaces them.

    The last flag of a preset has one value: one that takes several would take the names of the photographs too.
    """
    asked = re.search(r"--preset[= ](\w+)", " ".join(arguments))
    if not asked or asked[1] not in PRESETS or arguments[0] not in ("stylize", "train"):
        return arguments
    flags: list[str] = []
    for name, value in PRESETS[asked[1]].items():
        flags += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, tuple) else (value,))]
    return [arguments[0], *flags, *arguments[1:]]


def _plain(box: str) -> str:
    """tyro's boxed message as one plain sentence, with the flag that was meant."""
    lines = [line.strip("│ ") for line in box.splitlines()[1:]]
    said, *others = [part.strip() for part in re.split("[─-]{4,}", " ".join(lines)) if part.strip()]
    said = re.sub(r"^Error parsing __tyro[^:]*: ", "", said).strip()
    if wrong := re.match(r"Error parsing (--[\w-]+): no type matching (.*) could be instantiated from \[(.*?)\]", said):
        flag, wanted, value = wrong.groups()
        for kind, words in {"INT": "a whole number", "FLOAT": "a number", "|": " or "}.items():
            wanted = wanted.replace(kind, words)
        wanted = "numbers with spaces between them" if "..." in wanted else re.sub(r"[{}]", "", wanted)
        return f"{flag} {value.replace(chr(39), '')}: must be {wanted}"
    if meant := re.search(r"Perhaps you meant: (\S+)", " ".join(others)):
        return f"{said}. Did you mean {meant[1]}?"
    return said


def as_flag(message: str) -> str:
    """`style_weight=nan: …` with the name as it is written in a terminal; `content` and `split` have no dashes."""
    return re.sub(r"^(?!content=|split=)(\w+)=", lambda name: f"--{name[1].replace('_', '-')} ", message)
