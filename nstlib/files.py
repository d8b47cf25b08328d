"""Write files so that a reader never meets half of one, and two runs never write into one folder."""

import errno
import glob
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from .errors import CheckpointError, NstError

try:
    import fcntl
except ImportError:  # Windows
    import msvcrt

_held: dict[tuple[int, Path], IO] = {}  # by process, for a forked one has none of its parent's locks


@contextmanager
def write_aside(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it is renamed to `path`, on failure removed.

    A process that is killed leaves it: a training clears that away when it goes on, `nst stylize` and `nst paint`
    after an hour, for another process may be writing the same picture.

    Raises:
        OSError: the folder is missing or not writable, or the disk is full; an older `path` stays.
    """
    path = Path(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=f".part{path.suffix}", dir=path.parent)
    os.close(handle)
    aside = Path(name)
    try:
        yield aside
        aside.chmod(0o666 & ~_umask())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _umask() -> int:
    """The mask a plain open() would use: mkstemp makes files that only their owner can read."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def writing(path: Path, kind: type[NstError] = CheckpointError) -> Iterator[None]:
    """What goes wrong in writing, said with the path and the remedy."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:  # torch.save on a full disk, Pillow
        raise kind(f"{path}: cannot be written ({error}). Is the folder writable, and the disk not full?") from error


def sweep(folder: Path, stem: str | None = None, age: float = 0.0) -> None:
    """Remove what `write_aside` had begun in a folder when its process was killed.

    Args:
        stem: only of files of this name; `None` for all.
        age: only what was not written to for so many seconds; 0 where no other process may write.
    """
    for part in folder.glob(f".{glob.escape(stem) if stem else '*'}-????????.part*"):
        with suppress(OSError):  # gone already, or not ours to remove
            if not age or time.time() - part.stat().st_mtime > age:
                part.unlink()


def hold(folder: Path) -> bool:
    """Keep a folder for this process, until `let_go` or its end of whatever kind; False if another has it.

    A file system that knows no locks keeps nobody out.

    Raises:
        OSError: the folder is missing or not writable.
    """
    key = os.getpid(), folder.resolve()
    if key in _held:
        return True
    file = open(folder / ".lock", "a")  # stays there: to remove it is to race with the next who opens it
    try:
        if os.name == "nt":
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock, not shared with forked readers of photos
    except OSError as error:
        file.close()
        return error.errno not in (errno.EACCES, errno.EAGAIN)
    _held[key] = file
    return True


def let_go(folder: Path) -> None:
    """Let other processes have the folder, if this one held it."""
    if file := _held.pop((os.getpid(), folder.resolve()), None):
        file.close()
