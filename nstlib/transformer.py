"""The fast network: one pass from photograph to painting (Johnson, Alahi & Fei-Fei, ECCV 2016)."""

import copy
import json
import math
import os
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from .arguments import Pixels, Share, Weight, between, check_fields, checked
from .colour import Method, recolour
from .errors import CheckpointError, WeightsError, reason
from .features import BUNDLED, read_weights
from .files import write_aside, writing
from .images import Source, frame, resize_pil, to_tensor, unframe
from .memory import Need, available, measured, within_memory
from .samples import find_image

FORMAT = 1  # of the files that `save` writes
CELL = 4  # pixels: the residual blocks see the picture at a quarter of its size
Width = Annotated[int, between(1, 512)]


@dataclass(frozen=True)
class TransformerConfig:
    """The layout of a network; but for norm and upsample the defaults are Johnson et al.'s (supplement, table 1)."""

    width: Width = 32  # channels of the first layer; the residual blocks have four times as many
    residual_blocks: Annotated[int, between(0, 512)] = 5  # at a quarter of the picture's size
    norm: Literal["instance", "batch"] = "instance"  # Johnson et al. had batch; instance spares the white blobs
    upsample: Literal["resize", "deconv"] = "resize"  # nearest-neighbour resize + convolution, or transposed
    downsample: Literal["stride", "maxpool"] = "stride"  # strided convolution, or convolution + max pooling
    legacy_range: bool = False  # reads and writes 0 … 255, clamped, as pytorch/examples' checkpoints do
    styles: tuple[str, ...] = ()  # names of the styles of an adjustable network; () for a network of one style

    def __post_init__(self):
        check_fields(self)
        if len(set(self.styles)) < len(self.styles):
            raise ValueError(f"styles={self.styles}: must be different names")
        if self.styles and (self.norm != "instance" or self.legacy_range):
            raise ValueError("styles: an adjustable network needs norm='instance' and legacy_range=False")


class ReflectionConv(nn.Conv2d):
    """Convolution of a picture that is mirrored at its border."""

    def forward(self, x: Tensor) -> Tensor:
        padding = [p for p in self.padding[::-1] for _ in range(2)]
        if torch.is_autocast_enabled(x.device.type):  # which would mirror in float32, and back
            with torch.autocast(x.device.type, enabled=False):
                x = F.pad(x, padding, mode="reflect")
        else:
            x = F.pad(x, padding, mode="reflect")
        return F.conv2d(x, self.weight, self.bias, self.stride)


class InstanceNorm(nn.InstanceNorm2d):
    """Instance norm (Ulyanov et al. 2016) that keeps to `channels_last`; torch's goes back to planes."""

    def forward(self, x: Tensor) -> Tensor:
        return _channels_last(super().forward(x))


def _channels_last(x: Tensor) -> Tensor:
    """What instance norm gives, in `channels_last`; its gradient in planes.

    On the CPU torch's backward of the norm of a single picture (B = 1) is wrong for a gradient in
    `channels_last` (seen with 2.15).
    """
    if x.requires_grad:
        x.register_hook(torch.Tensor.contiguous)
    return x.contiguous(memory_format=torch.channels_last)


class ConditionalInstanceNorm(nn.Module):
    """Conditional instance norm (Dumoulin, Shlens & Kudlur 2017, equation 5): every style has its own γ and β.

    Row 0 belongs to the photograph itself, row i to the i-th style. `mix (B, rows)` says how much of each row a
    picture gets; between the rows γ and β are interpolated (their section 3.5).
    """

    def __init__(self, channels: int, rows: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(rows, channels))
        self.bias = nn.Parameter(torch.zeros(rows, channels))
        self.mix: Tensor | None = None  # set by the network before each pass

    def forward(self, x: Tensor) -> Tensor:
        mix = self.mix.to(self.weight)
        gamma, beta = ((mix @ rows)[..., None, None] for rows in (self.weight, self.bias))  # (B, C, 1, 1)
        return _channels_last(F.instance_norm(x)) * gamma + beta


class Convolution(nn.Sequential):
    """Reflection-padded convolution, normalised, with ReLU: `(B, inputs, H, W)` to `(B, outputs, H', W')`.

    Args:
        scale: 1 keeps the size, 2 doubles it, 1/2 halves it.
        relu: without it the layer is linear after its norm, as at the end of a residual block.
    """

    def __init__(
        self, config: TransformerConfig, inputs: int, outputs: int, size: int = 3, scale: float = 1, relu: bool = True
    ):
        layers: list[tuple[str, nn.Module]] = []
        if scale == 2 and config.upsample == "deconv":
            conv = nn.ConvTranspose2d(inputs, outputs, size, stride=2, padding=size // 2, output_padding=1)
        else:
            stride = 2 if scale == 0.5 and config.downsample == "stride" else 1
            conv = ReflectionConv(inputs, outputs, size, stride, padding=size // 2)
        if scale == 2 and config.upsample == "resize":
            layers.append(("resize", nn.Upsample(scale_factor=2, mode="nearest")))
        layers.append(("conv", conv))
        if scale == 0.5 and config.downsample == "maxpool":
            layers.append(("pool", nn.MaxPool2d(2)))
        norm = InstanceNorm if config.norm == "instance" else nn.BatchNorm2d
        rows = len(config.styles) + 1
        layers.append(("norm", ConditionalInstanceNorm(outputs, rows) if config.styles else norm(outputs, affine=True)))
        if relu:
            layers.append(("relu", nn.ReLU(inplace=True)))
        super().__init__(OrderedDict(layers))


class Residual(nn.Module):
    """x + f(x), with f two convolutions and no ReLU after the sum (Gross & Wilber, 2016)."""

    def __init__(self, config: TransformerConfig, channels: int):
        super().__init__()
        self.first = Convolution(config, channels, channels)
        self.second = Convolution(config, channels, channels, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.first(x))


class TransformerNet(nn.Module):
    """Paints `(B, 3, H, W)` in [0, 1] in one pass; the output has exactly the input's size.

    Johnson et al. 2016, supplementary material: c9s1-32, d64, d128, five R128, u64, u32, c9s1-3.
    Deviations: reflection padding at every convolution instead of 40 px once and valid convolutions
    after it, so that the residual blocks keep the size; nearest-neighbour resize + convolution instead of
    transposed ones (Odena et al. 2016), against checkerboards; a sigmoid instead of 150·tanh, so that the
    output is a picture.

    With `config.styles` it is adjustable: several styles, mixed at will, and strength. Then a share of the
    photograph, learned for each row, is added before the sigmoid: instance norm throws away what strength 0
    must give back. Strength moves γ and β on the straight line from row 0 to the style, trained at random
    strengths; Babaeizadeh & Ghiasi (2018) have a small network there.

    Attributes:
        config: the layout.
        card: what is known of its training: style, critic, photographs, steps, quality; may be empty.
    """

    @checked
    def __init__(self, config: TransformerConfig | None = None, card: dict | None = None):
        super().__init__()
        self.config, self.card = config or TransformerConfig(), card or {}
        w, config = self.config.width, self.config
        self.down = nn.Sequential(
            Convolution(config, 3, w, size=9),
            Convolution(config, w, 2 * w, scale=0.5),
            Convolution(config, 2 * w, 4 * w, scale=0.5),
        )
        self.residual = nn.Sequential(*(Residual(config, 4 * w) for _ in range(config.residual_blocks)))
        self.up = nn.Sequential(Convolution(config, 4 * w, 2 * w, scale=2), Convolution(config, 2 * w, w, scale=2))
        self.paint = ReflectionConv(w, 3, 9, padding=4)
        if config.styles:
            self.through = nn.Parameter(torch.tensor([1.0] + [0.0] * len(config.styles)))  # share of the photograph
        self.to(memory_format=torch.channels_last)

    def forward(self, image: Tensor, mix: Tensor | None = None) -> Tensor:
        """The painting of `image (B, 3, H, W)`; `mix (B or 1, rows)` is for an adjustable network, see `mix`."""
        height, width = image.shape[-2:]
        x = image * 255 if self.config.legacy_range else image
        x = _pad_to_multiple(x).contiguous(memory_format=torch.channels_last)  # (B, 3, 4h, 4w)
        if self.config.styles:
            mix = self.mix() if mix is None else mix
            for norm in (module for module in self.modules() if isinstance(module, ConditionalInstanceNorm)):
                norm.mix = mix
        x = self.residual(self.down(x))  # (B, 4·width, h, w)
        x = self.paint(self.up(x))[..., :height, :width].float()  # (B, 3, H, W)
        if self.config.styles:
            share = (mix.to(self.through) @ self.through).view(-1, 1, 1, 1)
            x = x + share * image.clamp(0.01, 0.99).logit()
        return (x / 255).clamp(0, 1) if self.config.legacy_range else x.sigmoid()

    @checked
    def mix(self, styles: str | Mapping[str, Weight] | None = None, strength: Share = 1.0) -> Tensor:
        """The `mix (1, rows)` for a style, or shares of several, at a strength from 0 (photograph) to 1.

        Raises:
            ValueError: a network of one style, an unknown style, shares or a strength that cannot be.
        """
        names = self.config.styles
        if not names:
            raise ValueError(f"this network has one style, {self.card.get('style', 'unknown')}, and no strength")
        shares = {styles or names[0]: 1.0} if isinstance(styles, str | None) else dict(styles)
        unknown = [name for name in shares if name not in names]
        if unknown:
            raise ValueError(f"style {unknown[0]!r}: this network has {', '.join(names)}")
        if not 0 < sum(shares.values()) < math.inf:
            raise ValueError(f"styles={shares}: at least one share must be above 0")
        row = [1 - strength] + [strength * shares.get(name, 0.0) / sum(shares.values()) for name in names]
        return torch.tensor([row], device=next(self.parameters()).device)

    @cached_property
    def need(self) -> Need:
        """The memory that `paint` takes with this network."""

        @torch.inference_mode()
        def trial(side: int) -> None:
            self(frame(torch.full((1, 3, side, side), 0.5)).to(next(self.parameters()).device))

        return measured(trial, fixed=28e6)  # the convolutions' code is made on first use

    def save(self, path: str | Path) -> Path:
        """Write weights in float16, layout and card to a `.safetensors` file, aside and then renamed.

        Raises:
            CheckpointError: another ending, weights that are not finite, or a folder that cannot be written.
        """
        path = Path(path)
        if path.suffix != ".safetensors":
            raise CheckpointError(f"{path}: trained networks are saved as .safetensors; change the ending")
        state = {name: t.detach().cpu() for name, t in self.state_dict().items()}
        state = {name: (t.half() if t.is_floating_point() else t).contiguous() for name, t in state.items()}
        broken = [name for name, t in state.items() if not torch.isfinite(t).all()]
        if broken:
            raise CheckpointError(f"{path}: not written, for {broken[0]} is not finite in float16; lower --lr")
        metadata = {"architecture": "TransformerNet", "format": str(FORMAT)}
        metadata |= {"config": json.dumps(asdict(self.config)), "card": json.dumps(self.card)}
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with write_aside(path) as aside:
                aside.write_bytes(to_bytes(state, metadata))  # its save_file has a temporary file of its own
        return path


def _pad_to_multiple(x: Tensor) -> Tensor:
    """Mirror the picture to the right and below until both sides are a multiple of `CELL`, at least 16."""
    height, width = x.shape[-2:]
    if height < 16 or width < 16:  # too small for a mirror: its last row and column are repeated
        x = F.pad(x, (0, max(0, 16 - width), 0, max(0, 16 - height)), mode="replicate")
    return F.pad(x, (0, -x.shape[-1] % CELL, 0, -x.shape[-2] % CELL), mode="reflect")


@checked
def paint(
    content: Source,
    model: "TransformerNet | str | Path",
    size: Pixels | None = None,
    preserve_colour: Method = "none",
    styles: str | Mapping[str, Weight] | None = None,
    strength: Share | None = None,
    fit: bool = False,
    passes: Literal[1, 2] = 2,
) -> Tensor:
    """Paint a picture on the device where the network is, with a mirrored margin that is cut off.

    In flat areas a network weaves a pattern that is locked to the grid of its four-pixel cells. Two passes, half a
    cell apart, have it in opposite phase: their mean has the strokes and not the weave (cycle spinning, Coifman &
    Donoho, Translation-Invariant De-Noising, 1995).

    Args:
        content: a sample's name, a file, PIL image, array or tensor; transparency is flattened on white.
        model: a network, or the name or file of one.
        size: long side of the result in pixels; `None` for the picture's own.
        preserve_colour: keep the content's colours, by luminance, mean and covariance, or histogram.
        styles: of an adjustable network: a name, or shares by name such as `{"swirl": 0.7, "ink": 0.3}`.
        strength: of an adjustable network: from 0, the photograph, to 1.
        fit: where the memory does not suffice, paint at the largest size that fits.
        passes: 2 against the weave, 1 for half the time.

    Returns:
        `(1, 3, H, W)` in [0, 1], on the CPU.

    Raises:
        ImageError, CheckpointError: a picture or a model that cannot be read; memory that does not suffice.
        ValueError: a style or a strength that this network does not have.
    """
    net = model if isinstance(model, TransformerNet) else load_transformer(model)
    mix = asked(net, styles, strength)
    device = next(net.parameters()).device
    free, picture = available(device), find_image(content)

    def work(side: int) -> Tensor:
        photo = to_tensor(resize_pil(picture, side))
        with torch.inference_mode():
            framed = frame(photo).to(device)
            painted, half = net(framed, mix), CELL // 2
            if passes == 2 and min(framed.shape[-2:]) > half:
                moved = net(framed[..., half:, half:], mix)
                painted[..., half:, half:] = (painted[..., half:, half:] + moved) / 2
            painted = painted.cpu()
        if not torch.isfinite(painted).all():
            raise CheckpointError(
                "what this network paints is not finite: its weights are damaged. Get the file again."
            )
        return recolour(unframe(painted, photo.shape[-2:]), photo, preserve_colour).clone()

    return within_memory(picture.size[::-1], size or max(picture.size), net.need, free, fit, work)


def asked(net: TransformerNet, styles: str | Mapping[str, Weight] | None, strength: float | None) -> Tensor | None:
    """The network's `mix`; `None` for a network of one style that nobody asks for more.

    Raises:
        ValueError: a style or a strength that this network does not have.
    """
    if net.config.styles or styles is not None or strength is not None:
        return net.mix(styles, 1.0 if strength is None else strength)
    return None


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
        elif name == "through":
            state[name] = state[name][rows] if own else tensor
    new.load_state_dict(state)
    return new


# ── loading ─────────────────────────────────────────────────────────────────────────────────────────


def model_files() -> dict[str, Path]:
    """The bundled networks by name."""
    return {path.stem: path for path in sorted(BUNDLED.glob("*.safetensors")) if path.stem != "compact"}


@checked
def load_transformer(model: str | Path, norm: Literal["instance", "batch"] | None = None) -> TransformerNet:
    """A trained network, ready to paint.

    Args:
        model: a bundled network's name (see `model_files`), a `.safetensors` file of ours, or a state dict
            (`.pth`) of pytorch/examples' layout, of any width and number of blocks.
        norm: of a foreign state dict; `None` takes instance norm, and drops running statistics.

    Raises:
        CheckpointError: no such model, or a file that holds no network of this layout.
    """
    names = model_files()
    path = names[str(model)] if str(model) in names and not os.path.isfile(model) else Path(model)
    if not os.path.isfile(path):  # unlike Path.is_file, takes a name of any length
        raise CheckpointError(f"{model}: no such model. Give a file, or one of: {' '.join(names)}.")
    try:
        state, metadata = read_weights(path)
    except WeightsError as error:
        raise CheckpointError(str(error)) from error
    if metadata.get("architecture") == "TransformerNet":
        return _load_own(path, state, metadata)
    return _load_foreign(path, state, norm)


def _load_own(path: Path, state: dict[str, Tensor], metadata: dict[str, str]) -> TransformerNet:
    if metadata.get("format") != str(FORMAT):
        raise CheckpointError(
            f"{path}: has format {metadata.get('format')!r}, this nstlib reads {FORMAT}. Update nstlib."
        )
    try:
        settings, card = json.loads(metadata["config"]), json.loads(metadata["card"])
        if not isinstance(card, dict) or not isinstance(settings.get("styles", []), list):
            raise TypeError("a card or a list of styles that is none")
        settings["styles"] = tuple(settings.get("styles", ()))
        net = _hollow(TransformerConfig(**settings), card)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its settings cannot be read ({reason(error)}). Get the file again.") from error
    return _fill(path, net, state)


def _hollow(config: TransformerConfig, card: dict) -> TransformerNet:
    """A network with shapes only: a file's settings may ask for more memory than there is."""
    with torch.device("meta"):
        return TransformerNet(config, card)


def _fill(path: Path, net: TransformerNet, state: dict[str, Tensor]) -> TransformerNet:
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
            print(f"{path.name}: dropped {len(running)} running statistics, which instance norm does not use")
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
    net = _hollow(config, {"source": path.name})
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


# ── export ──────────────────────────────────────────────────────────────────────────────────────────


@checked
def export_onnx(net: TransformerNet, path: str | Path) -> Path:
    """Write the network as ONNX: `picture` to `painting`, both `(1, 3, height, width)` in [0, 1], any size from 16.

    Raises:
        CheckpointError: another ending, the extra `export` is not installed, or the folder cannot be written.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise CheckpointError(f"{path}: is written as .onnx; change the ending")
    try:
        import onnxscript  # noqa: F401  (torch's exporter needs it)
    except ImportError as error:
        raise CheckpointError("export to ONNX needs more packages: pip install 'nstlib[export]'") from error
    sides = {2: torch.export.Dim("height", min=16), 3: torch.export.Dim("width", min=16)}
    with torch.no_grad():
        program = torch.onnx.export(
            copy.deepcopy(net).cpu().eval(),
            (torch.rand(1, 3, 66, 79),),
            input_names=["picture"],
            output_names=["painting"],
            dynamic_shapes=(sides,),
            dynamo=True,
            verbose=False,
        )
    with writing(path), write_aside(path) as aside:
        program.save(aside)
    return path
