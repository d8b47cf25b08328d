"""Train a network to paint or to enlarge (Johnson et al. 2016), on any device, losing nothing when stopped.

Every random choice is a function of the seed and of the step's number: a checkpoint holds the network,
the optimiser, the gradient scaler and how many steps are done, and from that the learning rate, the
crops and the random state of any step follow.
"""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from ..errors import CheckpointError, say
from ..limits import Natural, checked
from ..painting.models import save_transformer
from ..painting.network import TransformerNet
from ..painting.upscale import UpscaleNet
from ..pictures.photos import PhotoFolder, StepSampler, collate
from ..storage import let_go
from . import runs
from .config import MAY_CHANGE, TrainConfig, TrainState
from .muon import Muon
from .objective import make_objective
from .start import first_network, make_accelerator, train_only_rows


class Trainer:
    """Trains step by step; made again with the same settings, it goes on from its checkpoint.

    One at a time in a process: accelerate keeps precision and accumulation for all together. The run's folder is
    this process's own until `train` has ended for each of its trainers, or the process has.

    Raises:
        ImageError, WeightsError, CheckpointError, ValueError: before any work is done.
    """

    @checked
    def __init__(self, config: TrainConfig):
        self.config, self.count, self.rate_scale, self.seconds, self.notes = config, 0, 1.0, 0.0, []
        self.photos = PhotoFolder(config.dataset, config.image_size + config.margin, config.max_photos, config.seed)
        self.accelerator = make_accelerator(config)
        self.device, main = self.accelerator.device, self.accelerator.is_main_process
        torch.manual_seed(config.seed)
        self.net = first_network(config).train().requires_grad_(True)
        self.objective = make_objective(config, self.net, self.photos, self.device)
        self._known = self._settings()  # now, for a file may be replaced while the run goes on
        if config.extend:
            train_only_rows(self.net, config.names)
        if config.compile:
            self.net.compile()
        if config.optimiser == "muon":
            optimiser = Muon(self.net, config.lr)
        else:
            optimiser = torch.optim.Adam([p for p in self.net.parameters() if p.requires_grad], lr=config.lr)
        self.model, self.optimiser = self.accelerator.prepare(self.net, optimiser)
        self._sums, self._since, self._batches = {}, time.perf_counter(), None
        if main:
            runs.claim_folder(config.folder, Path(config.save_model), self)
            say(self.photos.report())
        try:
            if (config.folder / "state.pth").exists():
                self._resume()
            if main:
                runs.cut_log(config.folder / "log.jsonl", self.count)
        except BaseException:
            let_go(config.folder, self)
            raise
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
                losses = self.objective(self.model, photos)
            self.accelerator.backward(losses["total"])
            if self.accelerator.sync_gradients:
                self.accelerator.clip_grad_norm_(self.net.parameters(), 1.0)
            self.optimiser.step()
            self.optimiser.zero_grad()
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0) + value.detach()
        self._sums["batches"] = self._sums.get("batches", 0) + 1

    def _next(self) -> Tensor:
        """The next batch of crops, from the draw that the step's number says."""
        if self._batches is None:
            rank, size = self.accelerator.process_index, self.accelerator.num_processes
            draws = StepSampler(self.config.batch_size, self.count, self.steps, self.config.accumulate, rank, size)
            loader = DataLoader(
                self.photos,
                batch_sampler=draws,
                collate_fn=collate,
                num_workers=runs.startable(self.config.workers),
                worker_init_fn=runs.ignore_signals,
                generator=torch.Generator(),  # its own: a loader made on resuming must not draw from the run's
            )
            self._batches = iter(loader)
        crops, damaged = next(self._batches)
        for note in [f"{name}: damaged, skipped" for name in damaged]:
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
        """Those of the run, with what may be another thing under the same name: the styles, and the critic's file."""
        kept = {"style_files": self.config.sources, "critic_file": (self.config.weights or "",)}
        return runs.settings(self.config) | {name: runs.file_hashes(files) for name, files in kept.items()}

    def _restore(self, state: dict) -> None:
        self.net.load_state_dict(state["net"])
        self.optimiser.load_state_dict(runs.copy(state["optimiser"]))
        if self.accelerator.scaler and state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.count, self.rate_scale, self.seconds = state["count"], state["rate_scale"], state["seconds"]
        self._batches, self._sums = None, {}

    def guard(self, losses: dict[str, float]) -> bool:
        """Whether losses and weights are finite; if not, go back to the last good state with half the rate."""
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
        net = self.trained()
        save_transformer(net, self.config.save_model)
        sheet = runs.save_sheet(self.config.folder, net.to(self.device), self.config.names, self.count)
        runs.save_checkpoint(self.config.folder / "state.pth", self._state(), self._known)
        return sheet

    def trained(self) -> TransformerNet | UpscaleNet:
        """A copy of the network as it is now, on the CPU, with its card."""
        net = type(self.net)(self.net.config, self.card())
        net.load_state_dict({name: t.detach().cpu() for name, t in self.net.state_dict().items()})
        return net.eval().requires_grad_(False)

    def card(self) -> dict:
        """What a user of the network should know of its making."""
        return runs.card(self.config, self.config.backbone, getattr(self.net.config, "styles", ())) | {
            "photographs": len(self.photos),
            "pictures_per_step": self.pictures_per_step,
            "steps": self.count,
            "machine": runs.machine(self.device),
            "precision": self.accelerator.mixed_precision,
            "minutes": round(self.seconds / 60, 1),
        }

    def _resume(self) -> None:
        path, flag = self.config.folder / "state.pth", "--checkpoint-dir"
        saved = runs.read_checkpoint(path, self._known, MAY_CHANGE, flag)
        with runs.reading_checkpoint(path, flag):
            self._restore(saved)
            self._check_restored()
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
            say(note)


@checked
def train(config: TrainConfig, callback: Callable[[TrainState], None] | None = None) -> TransformerNet | UpscaleNet:
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
    trainer = Trainer(config)
    try:
        return _train(trainer, callback)
    finally:  # a notebook's process lives on
        let_go(config.folder, trainer)


def _train(trainer: Trainer, callback: Callable[[TrainState], None] | None) -> TransformerNet | UpscaleNet:
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
                if main:
                    runs.write_log(config.folder, state, trainer.rate())
                bar.set_postfix({n: state.losses[n] for n in ("content", "style", "pixels") if n in state.losses})
                sheet = trainer.save() if ends or not trainer.count % config.checkpoint_every else None
                if callback and main:
                    callback(replace(state, sheet=sheet))
    if trainer.count < trainer.steps and main:
        say(f"stopped at step {trainer.count} of {trainer.steps}; the same command goes on from there")
    if not Path(config.save_model).exists():  # of a finished run, and moved away since
        trainer.save()
    return trainer.trained()
