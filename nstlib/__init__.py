"""Neural style transfer: a small library for the notebooks beside it.

Ground floor: `errors`, `limits`, `storage`, `devices`. On it stand five wings, each using only those before it:
`pictures` (pixels, files, samples), `critic` (features and losses), `painting` (by optimisation, by a network),
`training` (of networks, of a critic), `screen` (figures, desks, the command). Within a wing the rooms use only
those named before them: see the docstring of the wing.
"""

import os
from importlib import import_module

# before torch is loaded: threads that wait for each other must soon sleep, or beside another program all of them crawl;
# libgomp's stay awake for a moment, or waking them costs a fifth of the time where nothing else runs
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")

from .critic.extractor import FeatureExtractor
from .critic.losses import LossConfig, PerceptualLoss, gram, total_variation
from .critic.presets import PRESETS
from .errors import CheckpointError, ImageError, NstError, WeightsError
from .painting.export import export_onnx
from .painting.fast import paint
from .painting.gatys import GatysConfig, GatysPainter
from .painting.models import load_transformer, model_files, save_transformer
from .painting.network import TransformerConfig, TransformerNet
from .painting.stylize import Film, stylize
from .painting.upscale import enlarge
from .painting.video import VideoConfig, paint_video, stylize_video
from .pictures.colour import recolour
from .pictures.downloads import fetch_coco
from .pictures.files import save_image, settings_of, to_pil, to_tensor
from .pictures.photos import PhotoFolder
from .pictures.pixels import resize
from .pictures.samples import load_image, open_image, sample_names
from .training.config import TrainConfig
from .training.trainer import train

LATE = {"show": "plots", "ControlDesk": "control_desk", "Playground": "playground"}  # they need a notebook's packages
__all__ = [
    "PRESETS", "CheckpointError", "ControlDesk", "FeatureExtractor", "Film", "GatysConfig", "GatysPainter",
    "ImageError", "LossConfig", "NstError", "PerceptualLoss", "PhotoFolder", "Playground", "TrainConfig",
    "TransformerConfig", "TransformerNet", "VideoConfig", "WeightsError", "enlarge", "export_onnx", "fetch_coco",
    "gram", "load_image", "load_transformer", "model_files", "open_image", "paint", "paint_video", "recolour",
    "resize", "sample_names", "save_image", "save_transformer", "settings_of", "show", "stylize", "stylize_video",
    "to_pil", "to_tensor", "total_variation", "train",
]  # fmt: skip


def __getattr__(name: str):
    if name in LATE:
        return getattr(import_module(f".screen.{LATE[name]}", __name__), name)
    raise AttributeError(f"module 'nstlib' has no attribute {name!r}")
