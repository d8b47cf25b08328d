"""The critic: a frozen convolutional network whose activations the losses compare, layer by name."""

import math
import re
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import WeightsError, reason
from ..limits import checked
from ..storage import plain_state_dict, read_weights

BUNDLED = Path(__file__).parents[1] / "weights"
Backbone = Literal["compact", "vgg19", "vgg16"]
Pooling = Literal["avg", "max"]
LAYOUTS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}  # convolutions in each block


@dataclass(frozen=True)
class Preprocessing:
    """What a network expects: (x − mean) / std of an RGB picture in [0, 1]."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self):
        if len(self.mean) != 3 or len(self.std) != 3 or not all(map(math.isfinite, self.mean + self.std)):
            raise ValueError("mean and std must be three finite numbers each")
        if min(self.std) < 1e-6:
            raise ValueError("std must be above 0")


Expected = Literal["torchvision", "oxford", "caffe"]
PREPROCESSING = {
    "torchvision": Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "oxford": Preprocessing((123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255,) * 3),
}
PREPROCESSING["caffe"] = PREPROCESSING["oxford"]  # and BGR: the first convolution's channels are turned round


def layer_names(layout: str) -> list[str]:
    """All layers of `"vgg16"` or `"vgg19"` in order, such as `conv1_1, relu1_1, …, pool5`.

    A name's position in this list is its index in torchvision's `vgg.features`.
    """
    names = []
    for block, convolutions in enumerate(LAYOUTS[layout], start=1):
        for i in range(1, convolutions + 1):
            names += [f"conv{block}_{i}", f"relu{block}_{i}"]
        names.append(f"pool{block}")
    return names


def vgg_weights(backbone: str, preprocessing: str | None = None):
    """torchvision's weights for a backbone: Oxford's where it has them, unless its own are wanted."""
    from torchvision.models import VGG16_Weights, VGG19_Weights

    if backbone == "vgg16" and preprocessing != "torchvision":
        return VGG16_Weights.IMAGENET1K_FEATURES
    return {"vgg16": VGG16_Weights.IMAGENET1K_V1, "vgg19": VGG19_Weights.IMAGENET1K_V1}[backbone]


def default_backbone() -> str:
    """`"vgg19"` where CUDA is there and the weights are already downloaded, else `"compact"`."""
    if not torch.cuda.is_available():
        return "compact"
    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(vgg_weights("vgg19").url).name
    return "vgg19" if cached.exists() else "compact"


class FeatureExtractor(nn.Module):
    """The features of a picture at named layers of a frozen VGG-shaped network.

    Args:
        backbone: `"compact"` (bundled: VGG-19's first three blocks, distilled), `"vgg19"` or `"vgg16"`
            (torchvision's weights, downloaded once); `None` chooses with `default_backbone()`.
        layers: names such as `"relu3_1"`; for VGG also `"conv4_2"` or `"pool1"`.
        weights: `"default"`, the path of a state dict in torchvision's naming or Caffe's (`conv1_1.weight`; it may
            stop early), or `None` for random weights drawn from seed 0, for tests.
        preprocessing: for a weights path: `"torchvision"`, `"oxford"` (RGB, 0 … 255 less the mean) or `"caffe"`
            (the same in BGR: vgg_conv.pth, vgg19-d01eb7cb.pth). `None` reads it from the
            file's metadata, and without that takes `"torchvision"`. For `"vgg16"` without a path `"torchvision"`
            asks for the weights that torchvision trained itself, which pytorch/examples uses.
        pooling: `"max"` as in VGG, or `"avg"`, which Gatys et al. (2016, section 2) found to give
            slightly better pictures.

    Raises:
        ValueError: an unknown backbone, pooling, preprocessing or layer.
        WeightsError: weights that cannot be had or lack a layer that was asked for.

    Deviation from VGG: with heads in the file (as in the compact critic), a layer's activation is
    multiplied by its head, a 1×1 convolution, before it is returned; the next layer sees it without.
    """

    @checked
    def __init__(
        self,
        backbone: Backbone | None = None,
        layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1"),
        *,
        weights: str | Path | None = "default",
        preprocessing: Expected | None = None,
        pooling: Pooling = "avg",
    ):
        super().__init__()
        self.backbone = backbone or default_backbone()
        layout = "vgg16" if self.backbone == "vgg16" else "vgg19"
        state, scaling = self._load(layout, weights, preprocessing)
        self.pool = F.avg_pool2d if pooling == "avg" else F.max_pool2d
        try:
            self._build(state, layout, layers, scaling)
        except WeightsError as error:
            if weights in (None, "default"):
                raise
            raise WeightsError(f"{weights}: {error}") from error

    @classmethod
    def from_state(
        cls, state: dict[str, Tensor], layers: tuple[str, ...], scaling: Preprocessing
    ) -> "FeatureExtractor":
        """A VGG-19-shaped network from a state dict, average pooling, ready to be trained."""
        self = cls.__new__(cls)
        nn.Module.__init__(self)
        self.backbone, self.pool = "compact", F.avg_pool2d
        self._build(state, "vgg19", layers, scaling)
        return self.requires_grad_(True)

    def state(self) -> dict[str, Tensor]:
        """A copy of the weights in torchvision's naming, with `heads.LAYER.weight` where there are heads."""
        index = {name: i for i, name in enumerate(self.names)}
        named = {f"features.{index[n]}.{k}": v for n, conv in self.convs.items() for k, v in conv.state_dict().items()}
        named |= {f"heads.{n}.{k}": v for n, head in self.heads.items() for k, v in head.state_dict().items()}
        return {name: tensor.detach().clone().contiguous() for name, tensor in named.items()}

    def _build(self, state, layout, layers, scaling) -> None:
        self.names = self._check(layer_names(layout), layers, state)
        self.layers = tuple(name for name in self.names if name in layers)
        self.scaling = scaling
        self.register_buffer("mean", torch.tensor(scaling.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(scaling.std).view(1, 3, 1, 1))
        self.convs, self.heads, channels = nn.ModuleDict(), nn.ModuleDict(), 3
        for i, name in enumerate(self.names):
            if name.startswith("conv"):
                self.convs[name] = _convolution(state, f"features.{i}", channels, size=3)
                channels = self.convs[name].out_channels
            if name in self.layers and f"heads.{name}.weight" in state:
                self.heads[name] = _convolution(state, f"heads.{name}", channels, size=1)
        self.to(memory_format=torch.channels_last).eval().requires_grad_(False)

    def _load(self, layout, weights, preprocessing) -> tuple[dict[str, Tensor], Preprocessing]:
        if weights is None:
            return _random_state(layout, slim=self.backbone == "compact"), PREPROCESSING["torchvision"]
        if weights == "default" and self.backbone != "compact":
            return _download(self.backbone, preprocessing)
        path = BUNDLED / "compact.safetensors" if weights == "default" else weights
        state, metadata = read_weights(path)
        index = {name: i for i, name in enumerate(layer_names(layout))}
        state = {_torchvision_name(name, index): tensor for name, tensor in state.items()}
        if preprocessing is None and "mean" in metadata and "std" in metadata:
            try:
                mean, std = (tuple(float(v) for v in metadata[key].split(",")) for key in ("mean", "std"))
                return state, Preprocessing(mean, std)
            except ValueError as error:
                raise WeightsError(f"{path}: its mean and std cannot be used ({error}). Get the file again.") from error
        said = preprocessing or metadata.get("preprocessing", "torchvision").split(":")[0]
        if said not in PREPROCESSING:
            raise WeightsError(
                f"{path}: asks for preprocessing {said[:40]!r}. Say preprocessing={' or '.join(PREPROCESSING)}."
            )
        if said == "caffe" and "features.0.weight" in state:
            state["features.0.weight"] = state["features.0.weight"].flip(1)
        return state, PREPROCESSING[said]

    def _check(self, names: list[str], wanted: tuple[str, ...], state: dict[str, Tensor]) -> list[str]:
        """The layers to compute, up to the deepest wanted one."""
        convs = [i for i, name in enumerate(names) if name.startswith("conv")]
        end = next((i for i in convs if f"features.{i}.weight" not in state), len(names))
        heads = any(key.startswith("heads.") for key in state)  # then only layers with a head mean anything
        have = [name for name in names[:end] if not heads or f"heads.{name}.weight" in state]
        if not have:
            raise WeightsError(
                f"no layer of VGG in it: its names are such as {next(iter(state))}. Use features.0.weight or "
                f"conv1_1.weight, as torchvision and Caffe do."
            )
        lacking = [name for name in wanted if name not in have]
        if lacking:
            error = WeightsError if set(lacking) <= set(names) else ValueError
            raise error(
                f"the {self.backbone} weights lack {', '.join(lacking)}; the layers they have: {' '.join(have)}"
            )
        return names[: max(names.index(name) for name in wanted) + 1]

    def forward(self, image: Tensor) -> "OrderedDict[str, Tensor]":
        """Features `(B, C, H', W')` of `image (B, 3, H, W)` in [0, 1], by layer name, shallow first."""
        return OrderedDict((name, self.head(name, x)) for name, x in self.activations(image).items())

    def head(self, name: str, activation: Tensor) -> Tensor:
        """The layer's feature from its activation: R x where the layer has a head R, else x itself."""
        return self.heads[name](activation) if name in self.heads else activation

    def gram_head(self, name: str, gram: Tensor) -> Tensor:
        """The Gram matrix of `head(name, x)` from that of x: R G Rᵀ, which costs nothing at any size of picture."""
        if name not in self.heads:
            return gram
        r = self.heads[name].weight.flatten(1)  # (C_out, C_in)
        return r @ gram @ r.T * (r.shape[1] / r.shape[0])  # a Gram matrix has 1/C inside

    def activations(self, image: Tensor, layers: tuple[str, ...] | None = None) -> "OrderedDict[str, Tensor]":
        """Like `forward`, before the heads; of some of its layers only, where `layers` says which."""
        wanted = set(self.layers if layers is None else layers)
        x = ((image - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        features: OrderedDict[str, Tensor] = OrderedDict()
        for name in self.names:
            if name in self.convs:
                x = self.convs[name](x)
            elif name.startswith("relu"):
                x = F.relu(x, inplace=name.replace("relu", "conv") not in features)
            else:
                x = self.pool(x, 2) if min(x.shape[-2:]) > 1 else x
            if name in wanted:
                features[name] = x
                if len(features) == len(wanted):
                    break
        return features


def _torchvision_name(name: str, index: dict[str, int]) -> str:
    """`conv1_2.weight`, and `vgg.features.2.weight`, as `features.2.weight`."""
    layer, _, key = name.rpartition(".")
    return f"features.{index[layer]}.{key}" if layer in index else re.sub(r"^.*\.(?=features\.\d)", "", name)


def _convolution(state: dict[str, Tensor], prefix: str, inputs: int, size: int) -> nn.Conv2d:
    """A `size`×`size` convolution with the weights (and bias, if any) stored under a prefix."""
    weight, bias = state[f"{prefix}.weight"].float(), state.get(f"{prefix}.bias")
    if weight.shape[1:] != (inputs, size, size) or (bias is not None and bias.shape != weight.shape[:1]):
        shape = tuple(weight.shape)
        raise WeightsError(f"{prefix}: {shape} does not fit {inputs} channels; use VGG weights in torchvision's naming")
    out = weight.shape[0]
    conv = nn.utils.skip_init(nn.Conv2d, inputs, out, size, padding=size // 2, bias=bias is not None)
    with torch.no_grad():
        conv.weight.copy_(weight)
        if bias is not None:
            conv.bias.copy_(bias)
    if not all(torch.isfinite(parameter).all() for parameter in conv.parameters()):
        raise WeightsError(f"the weights of {prefix} are not finite; get the file again")
    return conv


def _random_state(layout: str, slim: bool) -> dict[str, Tensor]:
    """He-initialised weights from seed 0; `slim` gives a tiny network of three blocks."""
    generator = torch.Generator().manual_seed(0)
    widths, state, inputs = ((8, 12, 16) if slim else (64, 128, 256, 512, 512)), {}, 3
    for i, name in enumerate(layer_names(layout)):
        if name.startswith("conv") and int(name[4]) <= len(widths):
            width = widths[int(name[4]) - 1]
            scale = (2 / (9 * inputs)) ** 0.5
            state[f"features.{i}.weight"] = torch.randn(width, inputs, 3, 3, generator=generator) * scale
            state[f"features.{i}.bias"] = torch.zeros(width)
            inputs = width
    return state


def _download(backbone: str, preprocessing: str | None) -> tuple[dict[str, Tensor], Preprocessing]:
    """torchvision's weights, through torchvision's own cache."""
    weights = vgg_weights(backbone, preprocessing)
    try:
        state = weights.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except Exception as error:  # no network, half a file, or one that torch's unpickler stumbles over
        raise WeightsError(
            f"{weights.url}: the weights of {backbone} cannot be downloaded, or their copy in {torch.hub.get_dir()} "
            f"is broken ({reason(error)}). Use backbone='compact', which needs no download, or weights=FILE."
        ) from error
    transform = weights.transforms()
    return plain_state_dict(weights.url, state), Preprocessing(tuple(transform.mean), tuple(transform.std))
