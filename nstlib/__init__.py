"""Neural style transfer: a small library for the notebooks beside it.

Floors, each using only those below: `errors`, `arguments`, `files`, `images` · `samples`, `colour`, `features`,
`memory`, `experiments` · `losses` · `gatys`, `transformer` · `photos`, `runs`, `training`, `distil` · `plots`,
`widgets`, `cli`.
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
from .losses import PRESETS, LossConfig, PerceptualLoss, apply_preset, gram, masked_gram, total_variation
from .photos import PhotoFolder, fetch_coco
from .samples import PAINTINGS, find_image, load_image, sample_names
from .training import TrainConfig, Trainer, TrainState, train
from .transformer import TransformerConfig, TransformerNet, export_onnx, load_transformer, model_files, paint

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
    "PhotoFolder",
    "TrainConfig",
    "TrainState",
    "Trainer",
    "TransformerConfig",
    "TransformerNet",
    "WeightsError",
    "alpha_of",
    "apply_preset",
    "export_onnx",
    "fetch_coco",
    "find_image",
    "gram",
    "jpeg_bytes",
    "load_image",
    "load_transformer",
    "masked_gram",
    "model_files",
    "open_image",
    "paint",
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
    "train",
]
