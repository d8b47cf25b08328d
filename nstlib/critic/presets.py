"""The papers' own settings, as plain dictionaries."""

from dataclasses import fields, replace
from typing import Literal

from ..limits import checked
from .losses import LossConfig

Preset = Literal["gatys2016", "johnson2016", "pytorch_examples"]
PRESETS: dict[Preset, dict] = {
    "gatys2016": {
        "backbone": "vgg19",
        "content_weight": 1.0,  # section 3: α/β = 1e-3
        "style_weight": 1e3,
        "formula": "gatys2016",
        "pooling": "avg",
    },  # the paper says "conv"; as its authors' code, we take the ReLUs
    "johnson2016": {
        "backbone": "vgg16",
        "content_weight": 1.0,  # layers of the paper's section 3.2, weights of the authors' code
        "style_weight": 5.0,
        "tv_weight": 0.033,  # its 1e-6 is for pixels of 0 … 255, and for half the squares: 1e-6 · 255² / 2
        "formula": "johnson2016",
        "pooling": "max",
    },
    "pytorch_examples": {
        "backbone": "vgg16",
        "preprocessing": "torchvision",  # torchvision's own VGG-16
        "content_weight": 1e5,
        "style_weight": 1e10,
        "formula": "johnson2016",
        "pooling": "max",
    },
}


@checked
def apply_preset(config: LossConfig, preset: Preset) -> LossConfig:
    """`config` with a preset's settings in every field of the losses that still has its default."""
    preset = LossConfig(**PRESETS[preset])
    default = {field.name: field.default for field in fields(config)}
    left = [field.name for field in fields(LossConfig) if getattr(config, field.name) == default[field.name]]
    return replace(config, **{field: getattr(preset, field) for field in left})
