"""Trained networks: save and load them, the shipped ones, and those of other projects."""

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from ..critic.extractor import BUNDLED, PREPROCESSING
from ..errors import CheckpointError, WeightsError, reason, say
from ..limits import checked
from ..storage import read_weights, write_aside, writing
from .network import TransformerConfig, TransformerNet

FORMAT = 1  # of the files that `save_transformer` writes
Values = Literal["0-255", "0-1", "imagenet", "caffe"]
VALUES = {name: ([255 * m for m in p.mean], [255 * s for s in p.std]) for name, p in PREPROCESSING.items()}
VALUES |= {"0-255": ([0.0] * 3, [1.0] * 3), "0-1": ([0.0] * 3, [255.0] * 3), "imagenet": VALUES["torchvision"]}


def adjustable(net: TransformerNet, styles: tuple[str, ...]) -> TransformerNet:
    """A network of these styles that begins with another one's weights.

    A style that `net` has keeps its γ and β; every other begins with those of its first style, or of its only
    one. All other weights are `net`'s.
    """
    new = TransformerNet(replace(net.config, styles=styles))
    own = {name: i for i, name in enumerate(net.config.styles, start=1)}
    rows = [0] + [own.get(name, 1) for name in styles]  # where each new row comes from
    state = net.state_dict()
    for name, tensor in new.state_dict().items():
        if name.rsplit(".", 2)[-2:-1] == ["norm"]:
            state[name] = state[name][rows] if own else state[name].expand(len(rows), -1).clone()
        elif name == "skip_share":
            state[name] = state[name][rows] if own else tensor
    new.load_state_dict(state)
    return new


@checked
def save_transformer(net: nn.Module, path: str | Path) -> Path:
    """Write a network, one that paints or one that enlarges, as `.safetensors`: weights in float16, layout and card.

    Raises:
        CheckpointError: another ending, weights that are not finite, or a folder that cannot be written.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise CheckpointError(f"{path}: trained networks are saved as .safetensors; change the ending")
    state = {name: t.detach().cpu() for name, t in net.state_dict().items()}
    state = {name: (t.half() if t.is_floating_point() else t).contiguous() for name, t in state.items()}
    broken = [name for name, t in state.items() if not torch.isfinite(t).all()]
    if broken:
        raise CheckpointError(f"{path}: not written, for {broken[0]} is not finite in float16; lower --lr")
    metadata = {"architecture": type(net).__name__, "format": str(FORMAT)}
    metadata |= {"config": json.dumps(asdict(net.config)), "card": json.dumps(net.card)}
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_aside(path) as aside:
            aside.write_bytes(to_bytes(state, metadata))  # its save_file has a temporary file of its own
    return path


def model_files() -> dict[str, Path]:
    """The bundled networks by name."""
    paths = sorted(BUNDLED.glob("*.safetensors"))
    return {path.stem: path for path in paths if not path.stem.startswith(("compact", "enlarge_"))}


@checked
def load_transformer(
    model: str | Path,
    norm: Literal["instance", "batch"] | None = None,
    values: Values = "0-255",
    bgr: bool = False,
) -> TransformerNet:
    """A trained network, ready to paint.

    Args:
        model: a bundled network's name (see `model_files`), a `.safetensors` file of ours, or a state dict
            (`.pth`) of pytorch/examples' layout, of any width and number of blocks.
        norm: of a foreign state dict; `None` takes instance norm, and drops running statistics.
        values: of a foreign state dict: what it reads and writes: 0 … 255, 0 … 1, `"imagenet"` (of 0 … 1, less the
            mean, by the deviation) or `"caffe"` (of 0 … 255, less the mean).
        bgr: of a foreign state dict: whether it reads and writes blue first.

    Raises:
        CheckpointError: no such model, or a file that holds no network of this layout.
    """
    path, state, metadata = read_model(model, model_files())
    if metadata.get("architecture") == "UpscaleNet":
        raise CheckpointError(f"{path}: enlarges and does not paint. Use it with `nst enlarge --model`.")
    if metadata.get("architecture") == "TransformerNet":
        return build_own(path, state, metadata, TransformerNet, TransformerConfig)
    return _in_bytes(_load_foreign(path, state, norm), *VALUES[values], bgr)


def read_model(model: str | Path, names: dict[str, Path]) -> tuple[Path, dict[str, Tensor], dict[str, str]]:
    """Path, tensors and metadata of a network's file, or of one that is shipped under a name."""
    path = names[str(model)] if str(model) in names and not os.path.isfile(model) else Path(model)
    if not os.path.isfile(path):  # unlike Path.is_file, takes a name of any length
        raise CheckpointError(f"{model}: no such model. Give a file, or one of: {' '.join(names)}.")
    try:
        return path, *read_weights(path)
    except WeightsError as error:
        raise CheckpointError(str(error)) from error


def _in_bytes(net: TransformerNet, mean: tuple, std: tuple, bgr: bool) -> TransformerNet:
    """A network of (x − mean) / std, x in 0 … 255, as one of x itself: the first and last convolution take it in."""
    mean, std = torch.tensor(mean), torch.tensor(std)
    first, last = net.down[0].conv, net.to_rgb
    if bgr:
        first.weight.copy_(first.weight.flip(1))
        last.weight.copy_(last.weight.flip(0))
        last.bias.copy_(last.bias.flip(0))
    weight = first.weight / std.view(1, 3, 1, 1)
    first.bias.sub_((weight * mean.view(1, 3, 1, 1)).sum((1, 2, 3)))
    first.weight.copy_(weight)
    last.weight.mul_(std.view(3, 1, 1, 1))
    last.bias.mul_(std).add_(mean)
    return net


def build_own(path: Path, state: dict[str, Tensor], metadata: dict[str, str], kind: type, layout: type) -> nn.Module:
    """A network of a class `kind` with settings of a dataclass `layout`, from a file that nstlib has written."""
    if metadata.get("format") != str(FORMAT):
        raise CheckpointError(
            f"{path}: has format {metadata.get('format')!r}, this nstlib reads {FORMAT}. Update nstlib."
        )
    try:
        settings, card = json.loads(metadata["config"]), json.loads(metadata["card"])
        if not isinstance(card, dict) or not isinstance(settings.get("styles", []), list):
            raise TypeError("a card or a list of styles that is none")
        if "styles" in settings:
            settings["styles"] = tuple(settings["styles"])
        net = _hollow(kind, layout(**settings), card)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its settings cannot be read ({reason(error)}). Get the file again.") from error
    return _fill(path, net, state)


def _hollow(kind: type, config, card: dict) -> nn.Module:
    """A network with shapes only: a file's settings may ask for more memory than there is."""
    with torch.device("meta"):
        return kind(config, card)


def _fill(path: Path, net: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    """Put the weights in, or say which do not fit."""
    wanted = {name: tuple(t.shape) for name, t in net.state_dict().items()}
    given = {name: tuple(t.shape) for name, t in state.items()}
    wrong = sorted(name for name in wanted.keys() | given.keys() if wanted.get(name) != given.get(name))
    if wrong:
        name = wrong[0]
        raise CheckpointError(
            f"{path}: {len(wrong)} tensors do not fit this layout; {name} should be "
            f"{wanted.get(name, 'absent')} and is {given.get(name, 'absent')}. Is it another architecture?"
        )
    state = {name: t.float() if t.is_floating_point() else t for name, t in state.items()}
    broken = [name for name, t in state.items() if not torch.isfinite(t).all()]
    if broken:
        raise CheckpointError(f"{path}: {broken[0]} is not finite. Get the file again.")
    net.to_empty(device="cpu").load_state_dict(state)
    return net.eval().requires_grad_(False)


def _load_foreign(path: Path, state: dict[str, Tensor], norm: str | None) -> TransformerNet:
    """A Johnson-type state dict, its layers taken in order whatever their names.

    The layout is pytorch/examples': input and output in 0 … 255, affine norms, resize or transposed
    convolutions, which the shape of their weights gives away.
    """
    if path.suffix == ".safetensors":
        raise CheckpointError(
            f"{path}: has no card of nstlib, and the order of layers, by which networks from elsewhere are read, "
            f"is lost in .safetensors. Give the .pth."
        )
    running = [name for name in state if name.endswith(("running_mean", "running_var", "num_batches_tracked"))]
    if norm != "batch":
        state = {name: t for name, t in state.items() if name not in running}
        if running:
            say(f"{path.name}: dropped {len(running)} running statistics, which instance norm does not use")
    weights = [t for name, t in state.items() if t.ndim == 4]
    if len(weights) < 6 or len(weights) % 2 or weights[0].shape[1:] != (3, 9, 9):
        raise CheckpointError(
            f"{path}: is not a Johnson-type network (a 9×9 convolution of RGB first, an even number of "
            f"convolutions). Networks that nstlib trains, and pytorch/examples' checkpoints, can be loaded."
        )
    width, up = weights[0].shape[0], weights[-3]
    try:
        config = TransformerConfig(
            width=width,
            residual_blocks=(len(weights) - 6) // 2,
            norm=norm or "instance",
            upsample="resize" if up.shape[0] == 2 * width else "deconv",
            legacy_range=True,
        )
    except ValueError as error:
        raise CheckpointError(f"{path}: cannot be built ({error}).") from error
    net = _hollow(TransformerNet, config, {"source": path.name})
    return _fill(path, net, _rename(net, state))


def _rename(net: TransformerNet, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Foreign names in order to ours in order: a layer's convolution, then its norm."""
    ours, foreign = (_groups(s) for s in (net.state_dict(), state))
    names = [name for name, _ in ours + foreign[len(ours) :]]  # what is too much keeps its name
    return {f"{name}.{key}": t for name, (_, group) in zip(names, foreign, strict=False) for key, t in group.items()}


def _groups(state: dict[str, Tensor]) -> list[tuple[str, dict[str, Tensor]]]:
    """The tensors of each layer, convolutions and norms paired in order of their kind."""
    layers: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        layer, _, key = name.rpartition(".")
        layers.setdefault(layer, {})[key] = tensor
    return sorted(layers.items(), key=lambda item: item[1].get("weight", torch.empty(0)).ndim != 4)
