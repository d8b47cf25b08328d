"""Neural style transfer: a small library for the notebooks beside it.

Floors, each using only those below: `errors`, `files`, `images` · `samples`, `colour`, `features` ·
`losses` · `gatys` · `distil` · `plots`, `cli`.
"""

from .colour import recolour
from .errors import CheckpointError, ImageError, NstError, WeightsError
from .features import FeatureExtractor
from .gatys import Film, GatysConfig, GatysPainter, PaintState, pyramid, stylize
from .images import (
    alpha_of,
    jpeg_bytes,
    open_image,
    resize,
    save_film,
    save_image,
    settings_of,
    to_pil,
    to_tensor,
)
from .losses import PRESETS, LossConfig, PerceptualLoss, gram, masked_gram, total_variation
from .samples import PAINTINGS, find_image, load_image, sample_names

__all__ = [
    "PAINTINGS",
    "PRESETS",
    "CheckpointError",
    "FeatureExtractor",
    "Film",
    "GatysConfig",
    "GatysPainter",
    "ImageError",
    "LossConfig",
    "NstError",
    "PaintState",
    "PerceptualLoss",
    "WeightsError",
    "alpha_of",
    "find_image",
    "gram",
    "jpeg_bytes",
    "load_image",
    "masked_gram",
    "open_image",
    "pyramid",
    "recolour",
    "resize",
    "sample_names",
    "save_film",
    "save_image",
    "settings_of",
    "stylize",
    "to_pil",
    "to_tensor",
    "total_variation",
]
