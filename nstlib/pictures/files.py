"""Picture files: open whatever people have, save a picture with its settings and the photograph's own data."""

import io
import json
import os
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from ..errors import ImageError, reason
from ..limits import between, checked
from ..storage import check_name, write_aside, writing
from .convert import PROGRAMS, alpha_of, from_array, normalise, to_pil, to_tensor, with_alpha

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}  # written
SIDES = {"JPEG": 65_500, "WEBP": 16_383, "GIF": 65_535}  # the longest side that a format can have, pixels
HEADERS = {"BUFR", "GRIB", "HDF5", "MPEG"}  # Pillow knows these files and opens none
HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
TOO_LARGE = (Image.DecompressionBombError,)
IMAGE_DESCRIPTION, SOFTWARE = 0x010E, 0x0131  # EXIF tags; the second carries our settings, in older files the first
EXIF_IFD, GPS_IFD = 0x8769, 0x8825
KEPT = (IMAGE_DESCRIPTION, 0x010F, 0x0110, 0x0132, 0x013B, 0x8298, *range(0x9C9B, 0x9CA0))  # camera, date, owner, title
STALE = {0x927C, 0xA002, 0xA003, 0xA005}  # maker's note, which has addresses in it, and the size of the photograph
T = TypeVar("T")
Quality = Annotated[int, between(1, 100)]
Bits = Literal[8, 16]
Source = str | Path | bytes | Image.Image | np.ndarray | Tensor


@cache
def endings() -> frozenset[str]:
    """The endings of all pictures that Pillow opens on this machine."""
    Image.init()
    kinds = Image.OPEN.keys() - PROGRAMS - HEADERS
    return frozenset(ending for ending, kind in Image.registered_extensions().items() if kind in kinds)


def read_image(source: Source, side: int | None = None) -> Image.Image:
    """Open a picture as 8-bit sRGB, upright: `RGB`, or `RGBA` where it has transparency.

    Args:
        source: a file, its bytes, a PIL image, an array (`H×W`, `H×W×1…4`; uint8, uint16, bool, or
            float in [0, 1]) or a tensor `(3, H, W)` or `(1, 3, H, W)` in [0, 1]. EXIF orientation is
            applied, an embedded colour profile converted, 16 bits brought to 8; of an animation the
            first frame is taken.
        side: the long side that is needed, in pixels: a JPEG of four times that and more is decoded smaller.

    Raises:
        ImageError: no such file, not a picture, damaged, or too large to be trusted.
    """
    if isinstance(source, Tensor):
        return to_pil(source)
    if isinstance(source, np.ndarray):
        return from_array(source)
    if isinstance(source, Image.Image):
        with reading("this PIL image"):  # opened, but perhaps not read yet
            return normalise(source)
    if isinstance(source, bytes):
        name, file = f"{len(source)} bytes", io.BytesIO(source)
    else:
        name, file = str(source), Path(source)
        if not os.path.exists(file):  # unlike Path.exists, takes a name of any length
            raise ImageError(f"{name}: no such picture. Check the path; `nst samples` lists pictures by name.")
        if not file.is_file():
            raise ImageError(f"{name}: is not a file. Give one picture.")
    with reading(name), Image.open(file) as image:
        if side:
            image.draft(image.mode, (2 * side, 2 * side))
        return normalise(image)


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Whatever Pillow raises on a picture that cannot be read, as an `ImageError` that names it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # oddities that Pillow reads over, and pictures that it finds large
            yield
    except TOO_LARGE as error:
        raise ImageError(f"{name}: over {2 * Image.MAX_IMAGE_PIXELS:,} pixels. Make a smaller copy first.") from error
    except Image.UnidentifiedImageError as error:
        raise ImageError(f"{name}: {_unread(name)}") from error
    except PermissionError as error:
        raise ImageError(f"{name}: may not be read. Change its permissions.") from error
    except Exception as error:  # on damaged files Pillow's decoders raise almost anything
        raise ImageError(f"{name}: damaged or cut short ({reason(error)}). Get the picture again.") from error


def peek(source: object, ask: Callable[[Image.Image], T], otherwise: T) -> T:
    """What `ask` finds in a picture's file before its pixels are decoded; `otherwise` where there is no such."""
    with suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(source) as image:
            return ask(image)
    return otherwise


def _unread(name: str) -> str:
    """Why Pillow does not know a file, from its first bytes."""
    head = b""
    with suppress(OSError, ValueError), open(name, "rb") as file:
        head = file.read(12)
    if head[4:8] == b"ftyp" and head[8:] in (*HEIC, b"avif"):
        kind = "an AVIF" if head[8:] == b"avif" else "a HEIC"
        return f"is {kind} picture, which this Pillow does not open. Save it as JPEG or PNG."
    if head[:4] in (b"II*\0", b"MM\0*"):
        return "is a TIFF of a kind that Pillow does not open (floats in three channels?). Save it with 8 or 16 bits."
    return "not a picture that can be read. Use PNG, JPEG, WebP, GIF or TIFF."


def check_output(
    path: str | Path, formats: Sequence[str] = tuple(FORMATS), shape: tuple[int, int] | None = None
) -> Path:
    """Say before any work that a picture or film cannot be saved under this name.

    Args:
        formats: the endings that are written; "" for a folder.
        shape: `(height, width)` of the picture, where it is known.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in formats:
        known = ", ".join(filter(None, formats))
        raise ImageError(f"{path}: cannot write {path.suffix or 'a name with no ending'}. End it in {known}.")
    check_name(path, ImageError)
    if not os.path.isdir(path.parent):
        raise ImageError(f"{path}: there is no folder {path.parent}. Make it first, or choose another.")
    if ending and os.path.isdir(path):
        raise ImageError(f"{path}: is a folder. Give the name of a file.")
    if not os.access(path.parent, os.W_OK):
        raise ImageError(f"{path}: cannot be written, for the folder {path.parent} is read-only. Choose another.")
    most = SIDES.get(FORMATS.get(ending, "GIF"), 2**31 - 1)
    if shape and max(shape) > most:
        raise ImageError(
            f"{path}: {shape[1]}×{shape[0]}, and {ending} has at most {most:,} pixels a side. End it in .png, or give "
            f"a smaller --size."
        )
    return path


@checked
def save_image(
    image: Tensor | Image.Image,
    path: str | Path,
    settings: dict | None = None,
    *,
    alpha: Image.Image | None = None,
    quality: Quality = 92,
    bits: Bits = 8,
    origin: Source | None = None,
) -> Path:
    """Save a picture, with the settings that made it in its metadata; written aside, then renamed.

    Args:
        image: `(1, 3, H, W)` or `(3, H, W)` in [0, 1], or a PIL image.
        path: ends in `.png`, `.jpg`, `.webp` or `.tif`.
        settings: anything JSON can hold; `settings_of(path)` reads it back.
        alpha: transparency to put back, stretched to the picture; JPEG, which has none, gets white.
        quality: of JPEG and WebP, 1–100.
        bits: a channel; 16 for PNG only.
        origin: the photograph's file: its EXIF data (date, place, camera, owner) and dpi are kept.

    Raises:
        ImageError: the picture cannot be written; a file that was there before stays as it was.
    """
    picture = read_image(image)
    path = check_output(path, shape=picture.size[::-1])
    check_bits(path, bits)
    kind, options = FORMATS[path.suffix.lower()], peek(origin, _kept, {}) if isinstance(origin, str | Path) else {}
    if alpha is not None:
        picture = with_alpha(picture, alpha)
    if kind == "JPEG" and picture.mode == "RGBA":
        picture = to_pil(to_tensor(picture))
    if kind in ("JPEG", "WEBP"):
        options["quality"] = quality
    if settings is not None:
        options |= metadata(kind, json.dumps(settings, default=str), options.get("exif"))
    if bits == 16:
        return _write_deep(image if isinstance(image, Tensor) else to_tensor(image), alpha_of(picture), path, options)
    return write_picture(picture, path, kind, **options)


def check_bits(path: Path, bits: int) -> None:
    """Raise ImageError where a format has no 16 bits a channel."""
    if bits == 16 and path.suffix.lower() != ".png":
        raise ImageError(f"{path}: 16 bits a channel are written as .png only. Change the ending, or leave out --bits.")


def write_picture(picture: Image.Image, path: Path, kind: str, **options) -> Path:
    """Encode in memory, then write: Pillow itself does not notice that a full disk took half of its last bytes."""
    with writing(path, ImageError):
        data = encoded(picture, kind, **options)
        with write_aside(path) as aside:
            aside.write_bytes(data)
    return path


def encoded(picture: Image.Image, kind: str, **options) -> bytes:
    """What a file of a picture holds."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def _write_deep(image: Tensor, alpha: Image.Image | None, path: Path, options: dict) -> Path:
    """A PNG of 16 bits a channel, which Pillow does not write: the pixels, in the chunks of a small PNG that it did."""
    pixels = image.detach().cpu().float().reshape(3, *image.shape[-2:]).permute(1, 2, 0).numpy()
    if alpha is not None:
        pixels = np.dstack([pixels, np.asarray(alpha, np.float32) / 255])
    height, width, channels = pixels.shape
    rows = (pixels.clip(0, 1) * 65535).round().astype(">u2", order="C").view(np.uint8).reshape(height, -1)
    rows = np.insert(np.diff(rows, axis=0, prepend=np.uint8(0)), 0, 2, axis=1)  # 2: each row is less the one above it
    new = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 16, 2 if channels == 3 else 6, 0, 0, 0),
        b"IDAT": zlib.compress(rows.tobytes()),
    }
    shell, at = encoded(Image.new("RGB", (1, 1)), "PNG", **options), 8
    with writing(path, ImageError), write_aside(path) as aside, open(aside, "wb") as file:
        file.write(shell[:at])
        while at < len(shell):
            length, kind = struct.unpack(">I4s", shell[at : at + 8])
            body = kind + new.get(kind, shell[at + 8 : at + 8 + length])
            file.write(struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)))
            at += length + 12
    return path


def _kept(image: Image.Image) -> dict:
    """Pillow's save options that carry a photograph's own data on: not its orientation, thumbnail and size."""
    old, new, options = image.getexif(), Image.Exif(), {}
    new.update({tag: old[tag] for tag in KEPT if tag in old})
    for part in (EXIF_IFD, GPS_IFD):
        if inner := {tag: value for tag, value in old.get_ifd(part).items() if tag not in STALE}:
            new[part] = inner
    if len(data := new.tobytes()) < 60_000:  # JPEG has room for 65,533, our settings with it
        options["exif"] = Image.Exif()
        options["exif"].load(data)  # as if from a file, which TIFF needs
    if image.info.get("dpi"):
        options["dpi"] = tuple(map(float, image.info["dpi"]))
    return options


def metadata(kind: str, text: str, exif: Image.Exif | None = None) -> dict:
    """Pillow's save options that carry a text in the picture's metadata."""
    if kind == "PNG":
        info = PngInfo()
        info.add_text("nstlib", text, zip=len(text) > 1000)
        return {"pnginfo": info}
    exif = exif or Image.Exif()
    exif[SOFTWARE] = "nstlib " + text
    return {"exif": exif}


@checked
def settings_of(path: str | Path) -> dict:
    """The settings stored by `save_image`; empty for a picture made elsewhere.

    Raises:
        ImageError: the file is not a picture.
    """
    read_image(path)  # says what is wrong with the file, if anything is
    return peek(path, _settings, {})


def _settings(image: Image.Image) -> dict:
    exif, text = image.getexif(), getattr(image, "text", {}).get("nstlib")
    said = [f"nstlib {text}"] if text else [str(exif.get(tag, "")) for tag in (SOFTWARE, IMAGE_DESCRIPTION)]
    return json.loads(next(one for one in said if one.startswith("nstlib ")).removeprefix("nstlib "))


def jpeg_bytes(image: Tensor, quality: Quality = 90) -> bytes:
    """JPEG of a tensor, for widgets: small and quick."""
    return encoded(to_pil(image), "JPEG", quality=quality)
