"""Picture files: open whatever people have, turn it into a tensor and back, save it with its settings."""

import io
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from ..errors import ImageError, reason
from ..limits import Count, between, checked
from ..storage import write_aside, writing

PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}  # opened from folders


FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}  # that we write


PROGRAMS = {"EPS", "WMF", "EMF"}  # not opened: to show one is to run it, in Ghostscript or in Windows


TOO_LARGE = (Image.DecompressionBombError, Image.DecompressionBombWarning)


IMAGE_DESCRIPTION = 0x010E  # the EXIF tag that carries our settings in JPEG and WebP


Quality = Annotated[int, between(1, 100)]


Source = str | Path | bytes | Image.Image | np.ndarray | Tensor


def read_image(source: Source) -> Image.Image:
    """Open a picture as 8-bit sRGB, upright: `RGB`, or `RGBA` where it has transparency.

    Args:
        source: a file, its bytes, a PIL image, an array (`H×W`, `H×W×1…4`; uint8, uint16, bool, or
            float in [0, 1]) or a tensor `(3, H, W)` or `(1, 3, H, W)` in [0, 1]. EXIF orientation is
            applied, an embedded colour profile converted, 16 bits brought to 8; of an animation the
            first frame is taken.

    Raises:
        ImageError: no such file, not a picture, damaged, or too large to be trusted.
    """
    if isinstance(source, Tensor):
        return to_pil(source)
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        with reading("this PIL image"):  # opened, but perhaps not read yet
            return _normalise(source)
    if isinstance(source, bytes):
        name, file = f"{len(source)} bytes", io.BytesIO(source)
    else:
        name, file = str(source), Path(source)
        if not os.path.exists(file):  # unlike Path.exists, takes a name of any length
            raise ImageError(f"{name}: no such picture. Check the path; `nst samples` lists pictures by name.")
        if not file.is_file():
            raise ImageError(f"{name}: is not a file. Give one picture.")
    with reading(name), Image.open(file) as image:
        return _normalise(image)


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Whatever Pillow raises on a picture that cannot be read, as an `ImageError` that names it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # oddities that Pillow reads over
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except TOO_LARGE as error:
        raise ImageError(f"{name}: over {Image.MAX_IMAGE_PIXELS:,} pixels. Make a smaller copy first.") from error
    except Image.UnidentifiedImageError as error:
        raise ImageError(f"{name}: not a picture that can be read. Use PNG, JPEG, WebP, GIF or TIFF.") from error
    except PermissionError as error:
        raise ImageError(f"{name}: may not be read. Change its permissions.") from error
    except Exception as error:  # on damaged files Pillow's decoders raise almost anything
        raise ImageError(f"{name}: damaged or cut short ({reason(error)}). Get the picture again.") from error


def _normalise(image: Image.Image) -> Image.Image:
    """Upright, sRGB, RGB or RGBA."""
    if image.format in PROGRAMS:
        raise Image.UnidentifiedImageError
    image.load()
    profile = image.info.get("icc_profile")
    image = _upright(image)
    if image.mode == "La":  # the one mode that Pillow converts to no other but this
        image = image.convert("LA")
    if image.mode.startswith("I") or image.mode == "F":
        return _from_array(_to_unit(np.asarray(image)))
    if image.mode in ("P", "PA") or "transparency" in image.info:
        image = image.convert("RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB")
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    image = _to_srgb(image, profile).convert("RGB")
    if alpha is not None and alpha.getextrema() != (255, 255):
        image.putalpha(alpha)
    return image


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF orientation says; EXIF that cannot be read is passed over."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # SyntaxError, struct.error and more, for the pixels are good
        return image


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert from an embedded colour profile; a profile that does not fit the picture is passed over."""
    if not profile:
        return image
    if image.mode in ("RGBA", "LA"):
        image = image.convert(image.mode[:-1])
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB") or image
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image


def _to_unit(values: np.ndarray) -> np.ndarray:
    """16 bits, integers of a range that must be guessed, or floats of either range, as floats in [0, 1]."""
    if not np.isfinite(values).all():
        raise ImageError("the picture holds values that are not finite. Replace them first.")
    highest, kind = values.max(initial=0), values.dtype.kind
    top = 1.0 if kind == "f" and highest <= 1 else 255.0 if kind != "u" and highest <= 255 else 65535.0
    return np.clip(values / top, 0, 1).astype(np.float32)


def _from_array(array: np.ndarray) -> Image.Image:
    """An array as a PIL image; floats must lie in [0, 1]."""
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 2, 3, 4) or 0 in array.shape:
        raise ImageError(f"an array of shape {array.shape} is not a picture. Give H×W or H×W×1…4.")
    if array.dtype == np.uint16:
        array = (array / 257).round().astype(np.uint8)
    elif array.dtype == bool:
        array = array.astype(np.uint8) * 255
    elif array.dtype.kind == "f":
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            raise ImageError("a float array must hold finite values in [0, 1]. Divide by 255, or clip it.")
        array = (array * 255).round().astype(np.uint8)
    elif array.dtype != np.uint8:
        raise ImageError(f"an array of {array.dtype} is not a picture. Use uint8, uint16, bool, or float in [0, 1].")
    channels = array.shape[2]
    image = Image.fromarray(np.ascontiguousarray(array[:, :, 0] if channels == 1 else array))
    return image.convert("RGBA" if channels in (2, 4) else "RGB")


@checked
def to_tensor(image: Image.Image) -> Tensor:
    """A PIL image as `(1, 3, H, W)` in [0, 1]; transparency is flattened on white."""
    if image.mode == "RGBA":
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    pixels = torch.from_numpy(np.array(image.convert("RGB")))  # (H, W, 3)
    return pixels.permute(2, 0, 1).unsqueeze(0).contiguous().float().div_(255)  # one copy in float, for it may be large


@checked
def to_pil(image: Tensor) -> Image.Image:
    """A tensor `(3, H, W)` or `(1, 3, H, W)` as an 8-bit PIL image; values outside [0, 1] are clipped."""
    if image.ndim == 4 and image.shape[0] == 1:
        image = image[0]
    if image.ndim != 3 or image.shape[0] != 3 or 0 in image.shape:
        raise ImageError(f"a tensor of shape {tuple(image.shape)} is not one picture. Give (3, H, W) or (1, 3, H, W).")
    if not image.is_floating_point() or not torch.isfinite(image).all():
        raise ImageError(f"a tensor of {image.dtype} must hold finite floats in [0, 1]. Divide bytes by 255.")
    pixels = image.detach().float().clamp(0, 1).mul(255).round().byte()
    return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())


def alpha_of(image: Image.Image) -> Image.Image | None:
    """The transparency of a picture as an `L` image, or `None` where it is opaque."""
    return image.getchannel("A") if image.mode == "RGBA" else None


def check_output(path: str | Path, formats: Sequence[str] = tuple(FORMATS)) -> Path:
    """Say before any work whether a picture can be saved under this name.

    Raises:
        ImageError: an ending we do not write, or a folder that is missing or not writable.
    """
    path = Path(path)
    if path.suffix.lower() not in formats:
        raise ImageError(
            f"{path}: cannot write {path.suffix or 'a name with no ending'}. End it in {', '.join(formats)}."
        )
    if not path.parent.is_dir():
        raise ImageError(f"{path}: there is no folder {path.parent}. Make it first, or choose another.")
    if path.is_dir():
        raise ImageError(f"{path}: is a folder. Give the name of a picture.")
    if not os.access(path.parent, os.W_OK):
        raise ImageError(f"{path}: cannot be written, for the folder {path.parent} is read-only. Choose another.")
    return path


@checked
def save_image(
    image: Tensor | Image.Image,
    path: str | Path,
    settings: dict | None = None,
    *,
    alpha: Image.Image | None = None,
    quality: Quality = 92,
) -> Path:
    """Save a picture, with the settings that made it in its metadata; written aside, then renamed.

    Args:
        image: `(1, 3, H, W)` or `(3, H, W)` in [0, 1], or a PIL image.
        path: ends in `.png`, `.jpg` or `.webp`.
        settings: anything JSON can hold; `settings_of(path)` reads it back.
        alpha: transparency to put back, stretched to the picture; JPEG, which has none, gets white.
        quality: of JPEG and WebP, 1–100.

    Raises:
        ImageError: the picture cannot be written; a file that was there before stays as it was.
    """
    path = check_output(path)
    picture = read_image(image)
    if alpha is not None:
        picture = picture.convert("RGB")
        picture.putalpha(alpha.resize(picture.size, Image.Resampling.LANCZOS))
    kind, options = FORMATS[path.suffix.lower()], {}
    if kind == "JPEG" and picture.mode == "RGBA":
        picture = to_pil(to_tensor(picture))
    if kind != "PNG":
        options["quality"] = quality
    if settings is not None:
        options |= _metadata(kind, json.dumps(settings, default=str))
    return _write(picture, path, kind, **options)


def _write(picture: Image.Image, path: Path, kind: str, **options) -> Path:
    """Encode in memory, then write: Pillow itself does not notice that a full disk took half of its last bytes."""
    buffer = io.BytesIO()
    with writing(path, ImageError):
        picture.save(buffer, kind, **options)
        with write_aside(path) as aside:
            aside.write_bytes(buffer.getbuffer())
    return path


def _metadata(kind: str, text: str) -> dict:
    """Pillow's save options that carry a text in the picture's metadata."""
    if kind == "PNG":
        info = PngInfo()
        info.add_text("nstlib", text, zip=len(text) > 1000)
        return {"pnginfo": info}
    exif = Image.Exif()
    exif[IMAGE_DESCRIPTION] = "nstlib " + text
    return {"exif": exif}


@checked
def settings_of(path: str | Path) -> dict:
    """The settings stored by `save_image`; empty for a picture made elsewhere.

    Raises:
        ImageError: the file is not a picture.
    """
    read_image(path)  # says what is wrong with the file, if anything is
    try:
        with Image.open(path) as image:
            text = getattr(image, "text", {}).get("nstlib")
            text = str(image.getexif().get(IMAGE_DESCRIPTION, "")) if text is None else f"nstlib {text}"
        return json.loads(text.removeprefix("nstlib ")) if text.startswith("nstlib ") else {}
    except Exception:  # EXIF that cannot be read, or a text that is not ours
        return {}


def jpeg_bytes(image: Tensor, quality: Quality = 90) -> bytes:
    """JPEG of a tensor, for widgets: small and quick."""
    buffer = io.BytesIO()
    to_pil(image).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def save_film(frames: Sequence, path: str | Path, milliseconds: Count = 80) -> Path:
    """Save pictures `(1, 3, H, W)` as an animated GIF or WebP of the last one's size, resting on the last."""
    path = check_output(path, (".gif", ".webp"))
    if not frames:
        raise ImageError(f"{path}: a film needs at least one picture. Paint at least one step.")
    size = to_pil(frames[-1]).size
    pictures = [to_pil(frame).resize(size, Image.Resampling.LANCZOS) for frame in frames]
    durations, kind = [milliseconds] * (len(pictures) - 1) + [1500], path.suffix[1:].upper()
    return _write(pictures[0], path, kind, save_all=True, append_images=pictures[1:], duration=durations, loop=0)
