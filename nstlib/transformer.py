"""The fast network: one pass from photograph to painting (Johnson, Alahi & Fei-Fei, ECCV 2016)."""

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from .colour import recolour
from .errors import CheckpointError, WeightsError
from .features import BUNDLED, read_weights
from .files import write_aside
from .images import Source, frame, unframe
from .samples import load_image

FORMAT = 1  # of the files that `save` writes


@dataclass(frozen=True)
class TransformerConfig:
    """The layout of a network; the defaults are Johnson et al.'s (supplementary material, table 1)."""

    width: int = 32  # channels of the first layer; the residual blocks have four times as many
    residual_blocks: int = 5  # at a quarter of the picture's size
    norm: Literal["instance", "batch"] = "instance"  # Johnson et al. had batch; instance spares the white blobs
    upsample: Literal["resize", "deconv"] = "resize"  # nearest-neighbour resize + convolution, or transposed
    downsample: Literal["stride", "maxpool"] = "stride"  # strided convolution, or convolution + max pooling
    legacy_range: bool = False  # reads and writes 0 … 255, clamped, as pytorch/examples' checkpoints do

    def __post_init__(self):
        for name in ("width", "residual_blocks"):
            value, least = getattr(self, name), name == "width"
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= 512:
                raise ValueError(f"{name}={value!r}: must be a whole number from {int(least)} to 512")
        if not isinstance(self.legacy_range, bool):
            raise ValueError(f"legacy_range={self.legacy_range!r}: must be True or False")
        for field in fields(self)[2:5]:
            if getattr(self, field.name) not in field.type.__args__:
                raise ValueError(
                    f"{field.name}={getattr(self, field.name)!r}: choose {' or '.join(field.type.__args__)}"
                )


class Convolution(nn.Sequential):
    """Reflection-padded convolution, normalised, with ReLU: `(B, inputs, H, W)` to `(B, outputs, H', W')`.

    Args:
        scale: 1 keeps the size, 2 doubles it, 1/2 halves it.
        relu: without it the layer is linear after its norm, as at the end of a residual block.
    """

    def __init__(
        self, config: TransformerConfig, inputs: int, outputs: int, size: int = 3, scale: float = 1, relu: bool = True
    ):
        options = {"padding": size // 2, "padding_mode": "reflect"}
        layers: list[tuple[str, nn.Module]] = []
        if scale == 2 and config.upsample == "deconv":
            conv = nn.ConvTranspose2d(inputs, outputs, size, stride=2, padding=size // 2, output_padding=1)
        else:
            stride = 2 if scale == 0.5 and config.downsample == "stride" else 1
            conv = nn.Conv2d(inputs, outputs, size, stride, **options)
        if scale == 2 and config.upsample == "resize":
            layers.append(("resize", nn.Upsample(scale_factor=2, mode="nearest")))
        layers.append(("conv", conv))
        if scale == 0.5 and config.downsample == "maxpool":
            layers.append(("pool", nn.MaxPool2d(2)))
        norm = nn.InstanceNorm2d if config.norm == "instance" else nn.BatchNorm2d
        layers.append(("norm", norm(outputs, affine=True)))
        if relu:
            layers.append(("relu", nn.ReLU(inplace=True)))
        super().__init__()
        for name, layer in layers:
            self.add_module(name, layer)


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

    Attributes:
        config: the layout.
        card: what is known of its training: style, critic, photographs, steps, quality; may be empty.
    """

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
        self.paint = nn.Conv2d(w, 3, 9, padding=4, padding_mode="reflect")
        self.to(memory_format=torch.channels_last)

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        x = image * 255 if self.config.legacy_range else image
        x = _pad_to_multiple(x).contiguous(memory_format=torch.channels_last)  # (B, 3, 4h, 4w)
        x = self.residual(self.down(x))  # (B, 4·width, h, w)
        x = self.paint(self.up(x))[..., :height, :width]  # (B, 3, H, W)
        return (x.float() / 255).clamp(0, 1) if self.config.legacy_range else x.float().sigmoid()

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
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with write_aside(path) as aside:
                save_file(state, aside, metadata)
        except Exception as error:  # safetensors has an error of its own for a full disk
            raise CheckpointError(
                f"{path}: cannot be written ({error}). Is the folder writable, and the disk not full?"
            ) from error
        return path


def _pad_to_multiple(x: Tensor, of: int = 4, least: int = 16) -> Tensor:
    """Mirror the picture to the right and below until both sides are a multiple of 4, at least 16."""
    height, width = x.shape[-2:]
    if height < least or width < least:  # too small for a mirror: its last row and column are repeated
        x = F.pad(x, (0, max(0, least - width), 0, max(0, least - height)), mode="replicate")
    return F.pad(x, (0, -x.shape[-1] % of, 0, -x.shape[-2] % of), mode="reflect")


def paint(
    content: Source,
    model: "TransformerNet | str | Path",
    size: int | None = None,
    preserve_colour: Literal["none", "luminance", "mean", "histogram"] = "none",
) -> Tensor:
    """Paint a picture in one pass, on the device where the network is, with a mirrored margin that is cut off.

    Args:
        content: a sample's name, a file, PIL image, array or tensor; transparency is flattened on white.
        model: a network, or the name or file of one.
        size: long side of the result in pixels; `None` for the picture's own.
        preserve_colour: keep the content's colours, by luminance, mean and covariance, or histogram.

    Returns:
        `(1, 3, H, W)` in [0, 1], on the CPU.

    Raises:
        ImageError, CheckpointError: a picture or a model that cannot be read.
    """
    net = model if isinstance(model, TransformerNet) else load_transformer(model)
    photo = load_image(content, size)
    with torch.inference_mode():
        painted = net(frame(photo).to(next(net.parameters()).device)).cpu()
    return recolour(unframe(painted, tuple(photo.shape[-2:])), photo, preserve_colour).clone()


# ── loading ─────────────────────────────────────────────────────────────────────────────────────────


def model_files() -> dict[str, Path]:
    """The bundled networks by name."""
    return {path.stem: path for path in sorted(BUNDLED.glob("*.safetensors")) if path.stem != "compact"}


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
        net = _hollow(TransformerConfig(**json.loads(metadata["config"])), json.loads(metadata["card"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: its settings cannot be read ({error}). Get the file again.") from error
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
    broken = [name for name, t in state.items() if not torch.isfinite(t).all()]
    if broken:
        raise CheckpointError(f"{path}: {broken[0]} is not finite. Get the file again.")
    state = {name: t.float() if t.is_floating_point() else t for name, t in state.items()}
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
    running = [name for name in state if name.rsplit(".", 1)[-1] in RUNNING]
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


RUNNING = ("running_mean", "running_var", "num_batches_tracked")


def _rename(net: TransformerNet, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Foreign names in order to ours in order: a layer's convolution, then its norm."""
    ours, foreign = (_groups(s) for s in (net.state_dict(), state))
    renamed = {}
    for (mine, _), (_, tensors) in zip(ours, foreign, strict=False):
        renamed |= {f"{mine}.{key}": tensor for key, tensor in tensors.items()}
    extra = {f"{name}.{key}": t for name, tensors in foreign[len(ours) :] for key, t in tensors.items()}
    return renamed | extra


def _groups(state: dict[str, Tensor]) -> list[tuple[str, dict[str, Tensor]]]:
    """The tensors of each layer, convolutions and norms paired in order of their kind."""
    layers: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        layer, _, key = name.rpartition(".")
        layers.setdefault(layer, {})[key] = tensor
    convs = [item for item in layers.items() if item[1].get("weight", torch.empty(0)).ndim == 4]
    norms = [item for item in layers.items() if item[1].get("weight", torch.empty(0)).ndim != 4]
    return convs + norms


# ── export ──────────────────────────────────────────────────────────────────────────────────────────


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
    program = torch.onnx.export(
        net.cpu().eval(),
        (torch.rand(1, 3, 66, 79),),
        input_names=["picture"],
        output_names=["painting"],
        dynamic_shapes=(sides,),
        dynamo=True,
        verbose=False,
    )
    try:
        with write_aside(path) as aside:
            program.save(aside)
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be written ({error}). Is the folder writable, and the disk not full?"
        ) from error
    return path
