"""What can go wrong in a way that a user can mend: which file, what is wrong, what to do."""

from contextlib import suppress

from tqdm.auto import tqdm


class NstError(Exception):
    """Base of all errors that nstlib raises about files; the command line prints them as one line."""


class ImageError(NstError):
    """A picture that cannot be opened, used or saved."""


class WeightsError(NstError):
    """Network weights that are missing, unreadable, unsafe or of another architecture."""


class CheckpointError(NstError):
    """A checkpoint or trained network that cannot be read or written."""


def reason(error: BaseException) -> str:
    """The first sentence of what another library says, to stand in a sentence of ours."""
    said = str(error).strip() or type(error).__name__
    return said.splitlines()[0].split(". ")[0].rstrip(".")[:200]


def say(text: str) -> None:
    """Print a status line; a console that lacks a letter, or a log on a full disk, never ends the work."""
    try:
        tqdm.write(text)
    except (OSError, ValueError):  # UnicodeEncodeError is a ValueError
        with suppress(OSError, ValueError):
            tqdm.write(text.encode("ascii", "replace").decode())
