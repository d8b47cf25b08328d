"""The settings of a training, and what it reports."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from ..critic.losses import LossConfig
from ..limits import Count, Natural, Positive, UnitFloat, Weight, between
from ..painting.network import TransformerConfig

MAX_SHIFT = 24  # pixels between the two views


@dataclass(frozen=True, kw_only=True)
class TrainConfig(LossConfig):
    """All settings of a training run; the same names are the command line's flags."""

    dataset: Path  # folder of photographs
    objective: Literal["style", "pixels", "perceptual"] = "style"  # paint, or enlarge, judged by pixels or features
    style: str | Path | tuple[str | Path, ...] | None = None  # painting: file or sample's name; several: adjustable
    save_model: Path = Path("model.safetensors")  # where the trained network goes
    style_weight: Weight = 16.0  # weight of the style loss
    tv_weight: Weight = 0.2  # weight of the total variation; raise it against speckle
    content_layers: tuple[str, ...] | None = ("relu2_2", "relu3_2")  # the finer one keeps faces and flat areas readable
    style_scales: tuple[UnitFloat, ...] = (1.0, 0.5, 0.25, 0.125)  # the Gram losses are taken at these scales
    stability_weight: Weight = 100.0  # against flicker, and patterns that stick to grid or border; if scale-free
    steps: Count | None = None  # optimiser steps; None: by epochs
    epochs: Positive = 2.0  # times through the photographs, where steps are not given
    batch_size: Annotated[int, between(1, 4096)] = 4  # photographs a step, for each process
    accumulate: Count = 1  # batches a step: a larger batch in the same memory
    image_size: Annotated[int, between(32, 4096)] = 256  # side of the crops, pixels
    style_size: Annotated[int, between(32, 4096)] = 768  # long side of the style picture, pixels
    max_photos: Count | None = None  # use this many photographs, chosen by the seed
    optimiser: Literal["adam", "muon"] = "adam"  # Muon came further in the same minutes (notebook 09)
    lr: Positive = 2e-3  # Adam's rate at the start, falling to 0 along a cosine; Muon takes ten times as much
    network: TransformerConfig = field(default_factory=lambda: TransformerConfig(width=16))  # the layout
    extend: str | None = None  # add the styles to this adjustable network; its others stay as they are, to the bit
    init_model: str | None = None  # start from this trained network, with its layout; None: from random weights
    checkpoint_dir: Path | None = None  # state, log and sample sheets; None: SAVE_MODEL without its ending
    log_every: Count = 50  # steps between lines of the log
    checkpoint_every: Count = 500  # steps between checkpoints and sample sheets
    precision: Literal["no", "bf16", "fp16"] | None = None  # None: what suits the device
    compile: bool = False  # torch.compile the network: a minute's wait, then faster on CUDA
    workers: Annotated[int, between(0, 256)] = 2  # processes that read photographs
    seed: Natural = 0  # of the weights, the order and the crops
    provenance: str = ""  # kept in the network's card: where photographs and painting come from, their licences
    device: str | None = None  # cpu, cuda, mps; None: the best there is

    def __post_init__(self):
        super().__post_init__()
        if (self.style is None) == (self.objective == "style"):
            remedy = "must be a painting" if self.style is None else f"objective={self.objective!r} takes none"
            raise ValueError(f"style={self.style!r}: {remedy}")
        if self.objective != "style" and self.extend:
            raise ValueError(f"extend={self.extend!r}: is for styles; go on from a network that enlarges by init_model")
        if Path(self.save_model).suffix != ".safetensors":
            raise ValueError(f"save_model={str(self.save_model)!r}: networks are saved as .safetensors")
        if self.network.styles or self.network.legacy_range:
            raise ValueError("network: styles and legacy_range are not for training; name the paintings in style")

    @property
    def margin(self) -> int:
        """How far apart the two views for the stability are at most; 0 without."""
        return MAX_SHIFT if self.style and self.stability_weight and self.formula == "scale_free" else 0

    @property
    def sources(self) -> tuple[str, ...]:
        """The paintings, one or more."""
        return (self.style,) if isinstance(self.style, str | Path) else tuple(self.style or ())

    @property
    def names(self) -> tuple[str, ...]:
        """What the styles are called in an adjustable network."""
        return tuple(Path(source).stem for source in self.sources)

    @property
    def folder(self) -> Path:
        """Where checkpoint, log and sample sheets are."""
        return Path(self.checkpoint_dir or Path(self.save_model).with_suffix(""))


# of these a resumed run may have others; the rest decides what is learned, step by step
MAY_CHANGE = {"dataset", "save_model", "steps", "epochs", "checkpoint_dir", "log_every", "checkpoint_every"}
MAY_CHANGE |= {"compile", "workers", "device", "weights", "provenance"}


@dataclass(frozen=True)
class TrainState:
    """What the trainer reports."""

    step: int  # optimiser steps done
    losses: dict[str, float]  # content, style, tv, total, and stability or pixels where asked; mean since the last
    pictures_per_second: float  # over all processes, since the last report
    sheet: Path | None = None  # the sample sheet, where one was just saved
