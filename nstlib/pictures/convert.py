"""Pictures as PIL images, arrays and tensors, and from one to the other."""

import io

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps
from torch import Tensor

from ..errors import ImageError
from ..limits import checked

PROGRAMS = {"EPS", "WMF", "EMF"}  # not opened: to show one is to run it, in Ghostscript or in Windows


def normalise(image: Image.Image) -> Image.Image:
    """Upright, sRGB, RGB or RGBA."""
    if image.format in PROGRAMS:
        raise Image.UnidentifiedImageError
    image.load()
    profile = image.info.get("icc_profile")
    image = _upright(image)
    if image.mode == "La":  # the one mode that Pillow converts to no other but this
        image = image.convert("LA")
    if image.mode.startswith("I") or image.mode == "F":
        return from_array(_to_unit(np.asarray(image)))
    if image.mode in ("P", "PA") or "transparency" in image.info:
        image = image.convert("RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB")
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    image = _to_srgb(image, profile)
    image = image if image.mode == "RGB" else image.convert("RGB")
    if alpha is not None and alpha.getextrema() != (255, 255):
        image.putalpha(alpha)
    return image


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF orientation says; EXIF that cannot be read is passed over."""
    try:
        turned = image.getexif().get(ImageOps.ExifTags.Base.Orientation, 1) != 1
        return ImageOps.exif_transpose(image) if turned else image  # without a copy, for it may be large
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
    top = 1.0 if highest <= 1 else 255.0 if kind != "u" and highest <= 255 else 65535.0
    return np.clip(values / top, 0, 1).astype(np.float32)


def from_array(array: np.ndarray) -> Image.Image:
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


def flattened(image: Image.Image) -> Image.Image:
    """A picture as `RGB`, transparency on white."""
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == "RGB" else image.convert("RGB")


@checked
def to_tensor(image: Image.Image) -> Tensor:
    """A PIL image as `(1, 3, H, W)` in [0, 1]; transparency is flattened on white."""
    pixels = torch.from_numpy(np.array(flattened(image)))  # (H, W, 3)
    return pixels.permute(2, 0, 1).unsqueeze(0).contiguous().float().div_(255)  # one copy in float, for it may be large


@checked
def to_pil(image: Tensor) -> Image.Image:
    """A tensor `(3, H, W)` or `(1, 3, H, W)` as an 8-bit PIL image; values outside [0, 1] are clipped."""
    if image.ndim == 4 and image.shape[0] == 1:
        image = image[0]
    if image.ndim != 3 or image.shape[0] != 3 or 0 in image.shape:
        raise ImageError(f"a tensor of shape {tuple(image.shape)} is not one picture. Give (3, H, W) or (1, 3, H, W).")
    pixels = torch.empty(*image.shape[1:], 3, dtype=torch.uint8)  # (H, W, 3)
    for rows, part in zip(image.detach().split(256, dim=1), pixels.split(256), strict=True):  # for it may be large
        if not image.is_floating_point() or not torch.isfinite(rows).all():
            raise ImageError(f"a tensor of {image.dtype} must hold finite floats in [0, 1]. Divide bytes by 255.")
        part.copy_(rows.permute(1, 2, 0).float().clamp(0, 1).mul(255).round())
    return Image.fromarray(pixels.numpy())


def alpha_of(image: Image.Image) -> Image.Image | None:
    """The transparency of a picture as an `L` image, or `None` where it is opaque."""
    return image.getchannel("A") if image.mode == "RGBA" else None


def with_alpha(image: Image.Image, alpha: Image.Image) -> Image.Image:
    """The picture with a transparency, stretched to its size."""
    image = image.convert("RGB")
    image.putalpha(alpha.resize(image.size, Image.Resampling.LANCZOS))
    return image
