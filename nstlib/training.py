"""Train a fast network (Johnson et al. 2016) on one style or several, on any device, losing nothing when stopped.

Every random choice is a function of the seed and of the step's number: a checkpoint holds the network,
the optimiser, the gradient scaler and how many steps are done, and from that the learning rate, the
crops and the random state of any step follow.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from . import runs
from .arguments import Count, Natural, Positive, Share, Weight, between, checked
from .errors import CheckpointError
from .features import load_plain
from .files import let_go, write_aside, writing
from .gatys import best_device
from .images import resize, save_image
from .losses import LossConfig, PerceptualLoss
from .photos import Draws, PhotoFolder, collate
from .samples import load_image
from .transformer import TransformerConfig, TransformerNet, adjustable, load_transformer

MAX_SHIFT = 24  # pixels between the two views
PIXEL_WEIGHT = 10.0  # of the pixels at strength 0
DARK = 1e-3  # mean square of the pixels that a darker photograph is taken to have, or a black one's loss is infinite
VALIDATION = ("astronaut", "cat", "coffee", "rocket")  # on the sample sheets


@dataclass(frozen=True, kw_only=True)
class TrainConfig(LossConfig):
    """All settings of a training run; the same names are the command line's flags."""

    dataset: Path  # folder of photographs
    style: str | Path | tuple[str | Path, ...]  # painting: file or sample's name; several make one adjustable network
    save_model: Path = Path("model.safetensors")  # where the trained network goes
    style_weight: Weight = 12.0  # weight of the style loss
    tv_weight: Weight = 0.2  # weight of the total variation; raise it against speckle
    content_layers: tuple[str, ...] | None = ("relu2_2", "relu3_2")  # the finer one keeps faces and flat areas readable
    style_scales: tuple[Share, ...] = (1.0, 0.5, 0.25)  # the Gram losses are taken at these scales of the picture
    stability_weight: Weight = 30.0  # against patterns that stick to pixel grid or border; with the scale-free formula
    steps: Count | None = None  # optimiser steps; None: by epochs
    epochs: Positive = 2.0  # times through the photographs, where steps are not given
    batch_size: Annotated[int, between(1, 4096)] = 4  # photographs a step, for each process
    accumulate: Count = 1  # batches a step: a larger batch in the same memory
    image_size: Annotated[int, between(32, 4096)] = 256  # side of the crops, pixels
    style_size: Annotated[int, between(32, 4096)] = 512  # long side of the style picture, pixels
    max_photos: Count | None = None  # use this many photographs, chosen by the seed
    lr: Positive = 2e-3  # Adam's rate at the start, falling to 0 along a cosine
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
        if Path(self.save_model).suffix != ".safetensors":
            raise ValueError(f"save_model={str(self.save_model)!r}: networks are saved as .safetensors")
        if self.network.styles or self.network.legacy_range:
            raise ValueError("network: styles and legacy_range are not for training; name the paintings in style")

    @property
    def margin(self) -> int:
        """How far apart the two views for the stability are at most; 0 without."""
        return MAX_SHIFT if self.stability_weight and self.formula == "scale_free" else 0

    @property
    def sources(self) -> tuple[str, ...]:
        """The paintings, one or more."""
        return (self.style,) if isinstance(self.style, str | Path) else tuple(self.style)

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


def best_precision(device: torch.device) -> str:
    """bf16 where the hardware computes in it, fp16 on older CUDA, else none.

    A Colab T4 claims bf16 and emulates it: only compute capability 8.0 and later counts.
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"
    if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        have = torch.cpu.get_capabilities()
        return "bf16" if have.get("avx512_bf16") or have.get("amx_bf16") else "no"
    return "no"


class Trainer:
    """Trains step by step; made again with the same settings, it goes on from its checkpoint.

    Deviation from Johnson et al.: a network can please the critic with a weave that is locked to the grid of its
    own four-pixel cells, or with a frame. So of half the photographs a second view, a few pixels off, is painted, and
    where the two overlap they should be the same (`stability_weight`); Gupta et al. (Characterizing and Improving
    Stability in Neural Style Transfer, ICCV 2017) ask that of the frames of a video.

    One at a time in a process: accelerate keeps precision and accumulation for all together. The run's folder is
    this process's own until its end, or until `train` ends.

    Raises:
        ImageError, WeightsError, CheckpointError, ValueError: before any work is done.
    """

    @checked
    def __init__(self, config: TrainConfig):
        self.config, self.count, self.rate_scale, self.seconds = config, 0, 1.0, 0.0
        self.notes: list[str] = []
        side = config.image_size + config.margin
        self.photos = PhotoFolder(config.dataset, side, config.max_photos, config.seed)
        styles = [load_image(source, config.style_size) for source in config.sources]
        self.accelerator = _accelerator(config)
        self.device, main = self.accelerator.device, self.accelerator.is_main_process
        self.loss = PerceptualLoss(config).to(self.device)
        self.loss.set_styles([style.to(self.device) for style in styles])
        torch.manual_seed(config.seed)
        self.net = _network(config).train().requires_grad_(True)
        if config.extend:
            _only_rows(self.net, config.names)
        self._balance = self._balance_styles() if self.net.config.styles else None
        if config.compile:
            self.net.compile()
        optimiser = torch.optim.Adam([p for p in self.net.parameters() if p.requires_grad], lr=config.lr)
        self.model, self.optimiser = self.accelerator.prepare(self.net, optimiser)
        self._sums, self._since, self._batches = {}, time.perf_counter(), None
        if main:
            runs.take(config.folder, Path(config.save_model))
            tqdm.write(self.photos.report())
        if (config.folder / "state.pth").exists():
            self._resume()
        if main:
            runs.cut_log(config.folder / "log.jsonl", self.count)
        self._good = self._state()

    @property
    def steps(self) -> int:
        """How many steps the run has in all."""
        if self.config.steps is not None:
            return self.config.steps
        return math.ceil(self.config.epochs * len(self.photos) / self.pictures_per_step)

    @property
    def pictures_per_step(self) -> int:
        return self.config.batch_size * self.config.accumulate * self.accelerator.num_processes

    def rate(self) -> float:
        """Adam's rate now: a warm-up of 50 steps, or a tenth of a short run, then a cosine down to 0."""
        warm = min(1.0, (self.count + 1) / min(50, 1 + self.steps // 10))
        progress = min(1.0, self.count / self.steps)
        return self.rate_scale * self.config.lr * warm * 0.5 * (1 + math.cos(math.pi * progress))

    @checked
    def step(self, n: Natural = 1) -> TrainState:
        """Advance up to `n` steps, not beyond the end; returns the mean losses over them."""
        for _ in range(min(n, self.steps - self.count)):
            self.advance()
        return self.report()

    def advance(self) -> None:
        """One optimiser step."""
        torch.manual_seed(hash((self.config.seed, self.count, self.accelerator.process_index)) % 2**63)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        for _ in range(self.config.accumulate):
            self._batch()
        self.count += 1

    def _batch(self) -> None:
        """Losses and gradients of one batch; on the last of a step, the optimiser moves."""
        photos = self._next()
        with self.accelerator.accumulate(self.model):
            with self.accelerator.autocast():
                losses = self._losses(photos)
            self.accelerator.backward(losses["total"])
            if self.accelerator.sync_gradients:
                self.accelerator.clip_grad_norm_(self.net.parameters(), 1.0)
            self.optimiser.step()
            self.optimiser.zero_grad()
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0) + value.detach()
        self._sums["batches"] = self._sums.get("batches", 0) + 1

    def _losses(self, photos: Tensor) -> dict[str, Tensor]:
        """All losses of a batch of crops, and `total`, which is minimised."""
        side, adjust = self.config.image_size, self._adjust(len(photos)) if self.net.config.styles else None
        here, moved, down, right = photos, None, 0, 0
        if self.config.margin:
            down, right = torch.randint(1, self.config.margin + 1, (2,)).tolist()
            here, moved = photos[..., :side, :side], photos[..., down : down + side, right : right + side]
            moved = moved[: (len(photos) + 1) // 2]  # of half the batch: a quarter of the time less
        painted, again = self._paint(here, moved, adjust)
        self.loss.set_content(here)
        losses = self.loss(painted)
        if moved is not None:
            difference = painted[: len(again), :, down:, right:] - again[..., : side - down, : side - right]
            losses["stability"] = difference.square().mean()
            losses["total"] = losses["total"] + self.config.stability_weight * losses["stability"]
        if adjust is not None:  # the weaker the style, the closer to the photograph
            error, power = (p.square().mean((1, 2, 3)) for p in (painted - here, here))
            losses["pixels"] = (adjust[:, 0].square() * (error / power.clamp_min(DARK))).mean()
            losses["total"] = losses["total"] + PIXEL_WEIGHT * losses["pixels"]
        return losses

    def _paint(self, here: Tensor, moved: Tensor | None, adjust: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The photographs and the second views, painted in one pass."""
        if moved is None:
            return self.model(here, *(() if adjust is None else (adjust,))), None
        mixes = () if adjust is None else (torch.cat([adjust, adjust[: len(moved)]]),)
        painted = self.model(torch.cat([here, moved]), *mixes)
        return painted[: len(here)], painted[len(here) :]

    def _adjust(self, count: int) -> Tensor:
        """A random style and strength for each picture of a batch: the network's mix `(count, rows)`.

        The style loss is weighted by the strength (Babaeizadeh & Ghiasi 2018 draw the weights
        of the losses), and balanced, so that no style starves.
        """
        names, rows = self.config.names, len(self.net.config.styles) + 1
        which = torch.randint(len(names), (count,))
        strength = (2 * torch.rand(count) - 0.1).clamp(0, 1)  # 0 now and then, 1 nearly every other time
        shares = F.one_hot(which, len(names)).float()
        self.loss.set_each(shares.to(self.device), (strength * self._balance[which]).to(self.device))
        mix = torch.zeros(count, rows)
        mix[:, 0] = 1 - strength
        mix[:, rows - len(names) :] = strength[:, None] * shares
        return mix.to(self.device)

    @torch.no_grad()
    def _balance_styles(self) -> Tensor:
        """For each style, how much nearer to it than to the others photographs are: factors of mean 1 or so."""
        side = self.config.image_size
        photos = torch.stack([self.photos[i][0] for i in range(8)])[..., :side, :side].to(self.device)
        self.loss.set_content(photos)
        shares, ones, far = torch.eye(len(self.config.names), device=self.device), photos.new_ones(8), []
        for row in shares:
            self.loss.set_each(row.expand(8, -1), ones)
            far.append(self.loss(photos)["style"].item())
        distances = torch.tensor(far, dtype=torch.float64).clamp_min(1e-12)  # 0 where all photographs are the style
        return (distances.mean() / distances).clamp_max(100).float()

    def _next(self) -> Tensor:
        """The next batch of crops, from the draw that the step's number says."""
        if self._batches is None:
            rank, size = self.accelerator.process_index, self.accelerator.num_processes
            draws = Draws(self.config.batch_size, self.count, self.steps, self.config.accumulate, rank, size)
            loader = DataLoader(
                self.photos,
                batch_sampler=draws,
                collate_fn=collate,
                num_workers=self.config.workers,
                worker_init_fn=runs.heedless,
                generator=torch.Generator(),  # its own: a loader made on resuming must not draw from the run's
            )
            self._batches = iter(loader)
        crops, damaged = next(self._batches)
        for name in damaged:
            note = f"{name}: damaged, skipped"
            if note not in self.notes:
                self._say(note)
        return crops.to(self.device, memory_format=torch.channels_last)

    def report(self) -> TrainState:
        """The mean losses of all processes, and the speed, since the last report."""
        batches, now = self._sums.pop("batches", 0), time.perf_counter()
        means = {name: self.accelerator.reduce(value / batches, "mean") for name, value in self._sums.items()}
        losses = {name: mean.item() for name, mean in means.items()}
        done = batches / self.config.accumulate * self.pictures_per_step
        self.seconds += now - self._since
        state = TrainState(self.count, losses, done / max(now - self._since, 1e-9))
        self._sums, self._since = {}, now
        return state

    def agreed(self, here: bool) -> bool:
        """Whether it is so in any process, so that all stop at the same step."""
        if self.accelerator.num_processes == 1:
            return here
        return self.accelerator.reduce(torch.tensor(float(here), device=self.device)).item() > 0

    # ── what is kept ────────────────────────────────────────────────────────────────────────────

    def _state(self) -> dict:
        scaler = self.accelerator.scaler
        state = {"net": self.net.state_dict(), "optimiser": self.optimiser.state_dict(), "count": self.count}
        state |= {"rate_scale": self.rate_scale, "seconds": self.seconds}
        return runs.copy(state | {"scaler": scaler.state_dict() if scaler else {}})

    def _settings(self) -> dict:
        """Those of the run, with the critic that it took: the default depends on what is downloaded."""
        return runs.settings(self.config) | {"backbone": self.loss.extractor.backbone}

    def _restore(self, state: dict) -> None:
        self.net.load_state_dict(state["net"])
        self.optimiser.load_state_dict(runs.copy(state["optimiser"]))
        if self.accelerator.scaler and state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.count, self.rate_scale, self.seconds = state["count"], state["rate_scale"], state["seconds"]
        self._batches, self._sums = None, {}

    def guard(self, losses: dict[str, float]) -> bool:
        """Whether losses and weights are finite; if not, go back to the last good state with half the rate.

        Raises:
            CheckpointError: the rate was halved ten times and it did not help.
        """
        finite = all(map(math.isfinite, losses.values()))  # in float16 the scaler keeps bad steps from the weights
        if finite and all(torch.isfinite(t).all() for t in self.net.state_dict().values()):
            self._good = self._state()
            return True
        at, scale = self.count, self.rate_scale / 2
        self._restore(self._good)
        self.rate_scale = scale
        if scale < 2**-10:
            raise CheckpointError(f"{self.config.folder}: the loss does not stay finite; lower --lr or the weights")
        self._say(f"step {at}: the loss is not finite; back to step {self.count}, half the rate")
        return False

    def save(self) -> Path | None:
        """Write the network, a sample sheet and the checkpoint, each aside and then renamed; returns the sheet.

        The checkpoint comes last: a run that is killed in between makes all three again.
        """
        if not self.accelerator.is_main_process:
            return None
        self.trained().save(self.config.save_model)
        sheet, path = self.sheet(), self.config.folder / "state.pth"
        with writing(path), write_aside(path) as aside:
            torch.save(self._state() | {"config": self._settings()}, aside)
        return sheet

    def trained(self) -> TransformerNet:
        """A copy of the network as it is now, on the CPU, with its card."""
        net = TransformerNet(self.net.config, self.card())
        net.load_state_dict({name: t.detach().cpu() for name, t in self.net.state_dict().items()})
        return net.eval().requires_grad_(False)

    def card(self) -> dict:
        """What a user of the network should know of its making; no folders of this machine."""
        config, settings = self.config, runs.settings(self.config)
        losses = {f.name: settings[f.name] for f in fields(LossConfig) if settings[f.name] is not None}
        if config.weights:
            losses["weights"] = Path(config.weights).name
        content, style = config.layers()
        return {
            "style": list(self.net.config.styles) or config.names[0],
            "critic": self.loss.extractor.backbone,
            "losses": losses,
            "content_layers": content,
            "style_layers": style,
            "photographs": len(self.photos),
            "dataset": Path(config.dataset).name,
            "image_size": config.image_size,
            "lr": config.lr,
            "style_size": config.style_size,
            "pictures_per_step": self.pictures_per_step,
            "steps": self.count,
            "stability_weight": config.stability_weight,
            "started_from": Path(config.extend or config.init_model or "").stem or None,
            "machine": runs.machine(self.device),
            "precision": self.accelerator.mixed_precision,
            "seed": config.seed,
            "minutes": round(self.seconds / 60, 1),
            "provenance": config.provenance,
        }

    @torch.no_grad()
    def sheet(self) -> Path:
        """Save the validation photographs as the network paints them now."""
        net, painted = self.trained().to(self.device), []
        height, mixes = (96, [net.mix(name) for name in self.config.names]) if net.config.styles else (256, [None])
        for name in VALIDATION:
            photo = load_image(name)
            size = (height, round(photo.shape[-1] * height / photo.shape[-2]))
            photo = resize(photo, size).to(self.device)
            painted.append(torch.cat([photo, *(net(photo, mix) for mix in mixes)], 2).cpu())
        path = self.config.folder / "samples" / f"{self.count:06d}.jpg"
        return save_image(torch.cat(painted, 3), path, quality=88)

    def log(self, state: TrainState) -> None:
        """Add a line to `log.jsonl`."""
        if self.accelerator.is_main_process:
            line = {"step": state.step, **state.losses, "pictures_per_second": round(state.pictures_per_second, 2)}
            path = self.config.folder / "log.jsonl"
            with writing(path), open(path, "a") as file:
                file.write(json.dumps(line | {"lr": self.rate()}) + "\n")

    def _resume(self) -> None:
        path = self.config.folder / "state.pth"
        now = self._settings()
        try:
            saved = load_plain(path)
            before = saved["config"]
            other = [n for n in now if n not in MAY_CHANGE and before.get(n, now[n]) != now[n]]
            if not other:
                self._restore(saved)
                self._check_restored()
        except Exception as error:  # on damaged files torch's unpickler raises almost anything
            raise CheckpointError(
                f"{path}: cannot be read ({type(error).__name__}). Give another --checkpoint-dir to start anew."
            ) from error
        if other:
            said = ", ".join(f"{n}={before[n]} (now {now[n]})" for n in other)
            raise CheckpointError(
                f"{path}: was made with {said}. Use the same settings to go on, or another --checkpoint-dir."
            )
        self._say(f"going on from step {self.count} of {self.steps}")

    def _check_restored(self) -> None:
        """Raise ValueError where a checkpoint holds what no run can have left."""
        moments = [(p, m) for p, s in self.optimiser.state.items() for name, m in s.items() if name != "step"]
        tensors = [*self.net.state_dict().values(), *(moment for _, moment in moments)]
        if not all(torch.isfinite(t).all() for t in tensors) or any(p.shape != m.shape for p, m in moments):
            raise ValueError("weights or moments that are not finite, or of another shape")
        if not (isinstance(self.count, int) and self.count >= 0 and 0 < self.rate_scale <= 1 and self.seconds >= 0):
            raise ValueError("a number of steps, a rate or a time that cannot be")

    def _say(self, note: str) -> None:
        self.notes.append(note)
        if self.accelerator.is_main_process:
            tqdm.write(note)


@checked
def train(config: TrainConfig, callback: Callable[[TrainState], None] | None = None) -> TransformerNet:
    """Train to the end, or to Ctrl-C, saving on the way; the same call again goes on where it stopped.

    Args:
        config: see `TrainConfig`.
        callback: is given a state at every line of the log, with the sample sheet where one was saved.

    Returns:
        The trained network on the CPU, as saved in `config.save_model`.

    Raises:
        ImageError, WeightsError, CheckpointError, ValueError: before any work is done.
        CheckpointError: at the start, another process trains in the same folder; on the way, the disk is full or
            the loss does not stay finite. The checkpoint before it stays, and the same call goes on from there.
    """
    try:
        return _train(Trainer(config), callback)
    finally:  # a notebook's process lives on
        let_go(config.folder)


def _train(trainer: Trainer, callback: Callable[[TrainState], None] | None) -> TransformerNet:
    config, main = trainer.config, trainer.accelerator.is_main_process
    with (
        runs.stop_signals() as stopped,
        tqdm(total=trainer.steps, initial=trainer.count, desc="training", disable=not main, mininterval=0.5) as bar,
    ):
        ends = False
        while trainer.count < trainer.steps and not ends:
            trainer.advance()
            bar.update()
            ends = trainer.agreed(bool(stopped)) or trainer.count == trainer.steps
            if ends or not trainer.count % config.log_every or not trainer.count % config.checkpoint_every:
                state = trainer.report()
                if not trainer.guard(state.losses):
                    bar.n, ends = trainer.count, False
                    continue
                trainer.log(state)
                bar.set_postfix(content=state.losses["content"], style=state.losses["style"])
                sheet = trainer.save() if ends or not trainer.count % config.checkpoint_every else None
                if callback and main:
                    callback(replace(state, sheet=sheet))
    if trainer.count < trainer.steps and main:
        tqdm.write(f"stopped at step {trainer.count} of {trainer.steps}; the same command goes on from there")
    if not Path(config.save_model).exists():  # of a finished run, and moved away since
        trainer.save()
    return trainer.trained()


# ── small helpers ───────────────────────────────────────────────────────────────────────────────────


def _network(config: TrainConfig) -> TransformerNet:
    """The network that a training begins with."""
    if config.extend:
        old = load_transformer(config.extend)
        if not old.config.styles or set(old.config.styles) & set(config.names):
            raise ValueError(
                f"extend={config.extend!r}: must be an adjustable network without {', '.join(config.names)}"
            )
        return adjustable(old, (*old.config.styles, *config.names))
    init = load_transformer(config.init_model) if config.init_model else None
    if len(config.names) == 1 and not (init and init.config.styles):
        return init or TransformerNet(config.network)
    return adjustable(init, config.names) if init else TransformerNet(replace(config.network, styles=config.names))


def _only_rows(net: TransformerNet, names: tuple[str, ...]) -> None:
    """Leave nothing to train but the γ, β and share of the last styles (Dumoulin et al. 2017, section 3.4)."""
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(name == "through" or ".norm." in name)
        if parameter.requires_grad:
            parameter.register_hook(lambda g: torch.cat([torch.zeros_like(g[: -len(names)]), g[-len(names) :]]))


def _accelerator(config: TrainConfig) -> Accelerator:
    """Device, precision and processes; a second run in one notebook may ask for others."""
    if not torch.distributed.is_initialized():
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
    device = best_device(config.device)
    if device.type == "cpu" and config.precision == "fp16":  # accelerate would compute in float32 and not say so
        raise ValueError("precision='fp16': not on a CPU; choose no or bf16")
    return Accelerator(
        cpu=device.type == "cpu",
        mixed_precision=config.precision or best_precision(device),
        gradient_accumulation_steps=config.accumulate,
    )
