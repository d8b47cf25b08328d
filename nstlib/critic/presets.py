"""The papers' own settings, as plain dictionaries: `GatysConfig(**PRESETS["gatys2016"] | {"style_weight": 500.0})`."""

from typing import Literal

Preset = Literal["gatys2016", "johnson2016", "pytorch_examples"]
PLAIN = {  # of a painting's and a training's own choices the papers have none
    "tv_weight": 0.0,
    "style_layers": None,  # the papers' layers are those of their backbone
    "content_layers": None,
    "style_layer_weights": None,
    "style_scales": (1.0,),
    "preprocessing": None,
}
PRESETS: dict[Preset, dict] = {
    "gatys2016": PLAIN
    | {
        "backbone": "vgg19",
        "content_weight": 1.0,  # section 3: α/β = 1e-3
        "style_weight": 1e3,
        "formula": "gatys2016",
        "pooling": "avg",
    },  # the paper says "conv"; as its authors' code, we take the ReLUs
    "johnson2016": PLAIN
    | {
        "backbone": "vgg16",
        "content_weight": 1.0,  # layers of the paper's section 3.2, weights of the authors' code
        "style_weight": 5.0,
        "tv_weight": 0.033,  # its 1e-6 is for pixels of 0 … 255, and for half the squares: 1e-6 · 255² / 2
        "formula": "johnson2016",
        "pooling": "max",
    },
    "pytorch_examples": PLAIN
    | {
        "backbone": "vgg16",
        "preprocessing": "torchvision",  # torchvision's own VGG-16
        "content_weight": 1e5,
        "style_weight": 1e10,
        "formula": "johnson2016",
        "pooling": "max",
    },
}
