"""Files: write aside and rename, one run a folder, weights read without running code."""

import errno
import os
import pickle
import secrets
import time
import warnings
import weakref
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import torch
from safetensors import safe_open
from torch import Tensor

from .errors import CheckpointError, NstError, WeightsError, reason

try:
    import fcntl
except ImportError:  # Windows
    import msvcrt

# file and owners, by process: a forked one has none of its parent's locks
_held: dict[tuple[int, Path], tuple[IO, weakref.WeakSet]] = {}


@contextmanager
def write_aside(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it is renamed to `path`, on failure removed.

    A process that is killed leaves it: a training clears that away when it goes on, `nst stylize` and `nst paint`
    after an hour, for another process may be writing the same picture.

    Raises:
        OSError: the folder is missing or not writable, or the disk is full; an older `path` stays.
    """
    path = Path(path)
    aside = path.with_name(f".nst-{_short(path.stem)}-{secrets.token_hex(4)}.part{path.suffix}")
    try:
        yield aside
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def check_name(path: Path, kind: type[NstError] = CheckpointError) -> None:
    """Say before any work that a file's name is longer than a folder can hold."""
    length = len(os.fsencode(path.name) if os.name == "posix" else path.name)
    if length > 255:
        raise kind(f"{path}: the name has {length} bytes, and 255 are allowed. Give a shorter one.")


def _short(stem: str) -> str:
    """A name of eight letters for one of any length, for the longest that a file can have leaves no room for more."""
    return f"{zlib.crc32(stem.encode(errors='surrogateescape')):08x}"


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
    for part in folder.glob(f".nst-{_short(stem) if stem else '????????'}-????????.part*"):
        with suppress(OSError):  # gone already, or not ours to remove
            if not age or time.time() - part.stat().st_mtime > age:
                part.unlink()


def hold(folder: Path, owner: object) -> bool:
    """Keep a folder for this process; False if another has it.

    It is kept until every owner has let it go or is gone, or until the process ends, in whatever way. A file system
    that knows no locks keeps nobody out.
    """
    key = os.getpid(), folder.resolve()
    if key in _held:
        _held[key][1].add(owner)
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
    _held[key] = file, weakref.WeakSet([owner])
    return True


def let_go(folder: Path, owner: object) -> None:
    """Let other processes have the folder, if no other owner in this one holds it."""
    key = os.getpid(), folder.resolve()
    if key in _held:
        file, owners = _held[key]
        owners.discard(owner)
        if not owners:
            del _held[key]
            file.close()


DTYPES = {torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64}  # int64 counts batches
LARGEST_HEADER = 1_000_000  # bytes of names, settings and card; ours have a few thousand


def read_weights(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read `.safetensors` or `.pth`/`.pt` without running any code from it.

    Returns:
        The tensors by name, and the metadata (empty for `.pth`).

    Raises:
        WeightsError: the file is missing, broken, no weights file, or holds code.
    """
    path = Path(path)
    if not os.path.isfile(path):  # unlike Path.is_file, takes a name of any length
        raise WeightsError(f"{path}: no such weights file. Check the path, or use the bundled 'compact'.")
    try:
        state, metadata = _read_safetensors(path) if path.suffix == ".safetensors" else (load_plain(path), {})
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path}: holds more than tensors, or is no weights file; refused, for loading it could run code. "
            "Ask its author for a plain state dict or .safetensors."
        ) from error
    except Exception as error:  # on damaged files torch's unpickler raises almost anything
        raise WeightsError(f"{path}: cannot be read ({reason(error)}). Get the file again.") from error
    return plain_state_dict(path, state), metadata


def load_plain(path: str | Path) -> object:
    """What a `.pth` holds; no code is run, and nothing unpacked that is larger than the file (torch packs nothing)."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as parts:
            if sum(part.file_size for part in parts.infolist()) > os.path.getsize(path):
                raise ValueError("it is packed, and torch packs no weights")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about kinds of tensors that are refused later
        return torch.load(path, map_location="cpu", weights_only=True)


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with open(path, "rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if header > LARGEST_HEADER:
        raise ValueError(f"its header is said to have {header:,} bytes")
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}


def plain_state_dict(source: str | Path, state: object) -> dict[str, Tensor]:
    """The names and plain tensors of a state dict, alone or the only one in a checkpoint; `module.` is taken off."""
    inside = state.values() if isinstance(state, dict) and not _is_state(state) else [state]
    found = [one for one in inside if _is_state(one)]
    if len(found) != 1:
        said = f"holds {len(found)} state dicts" if found else "is not a state dict (names → tensors of numbers)"
        raise WeightsError(f"{source}: {said}. Save `model.state_dict()`.")
    return {".".join(part for part in name.split(".") if part != "module"): t for name, t in found[0].items()}


def _is_state(state: object) -> bool:
    return isinstance(state, dict) and bool(state) and all(map(_is_name, state)) and all(map(_is_plain, state.values()))


def _is_name(key: object) -> bool:
    return isinstance(key, str) and len(key) <= 200 and key.isprintable()


def _is_plain(tensor: object) -> bool:
    """Dense, real, on the CPU, not empty, and all of it in the file: strides of 0 can make 100 GB of one number."""
    if not isinstance(tensor, Tensor) or tensor.layout != torch.strided or tensor.dtype not in DTYPES:
        return False
    size = tensor.numel() * tensor.element_size()
    return tensor.device.type == "cpu" and 0 < size <= tensor.untyped_storage().nbytes()
