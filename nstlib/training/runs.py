"""The folder of a run: who may write there, checkpoint, log, card, sample sheets; and signals that wait."""

import hashlib
import json
import math
import multiprocessing
import os
import platform
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields
from pathlib import Path

import torch
from torch import Tensor

from ..critic.losses import LossConfig
from ..errors import CheckpointError, say
from ..painting.network import TransformerNet
from ..painting.upscale import SCALE, UpscaleNet
from ..pictures.files import save_image
from ..pictures.pixels import resize
from ..pictures.samples import load_image
from ..storage import check_name, hold, load_plain, sweep, write_aside, writing
from .config import TrainConfig, TrainState

VALIDATION = ("astronaut", "cat", "coffee", "rocket")  # on the sample sheets
HEIGHT = 256  # of each there, pixels


def claim_folder(run: Path, model: Path, owner: object) -> None:
    """Make the run's folders, keep other runs out, and clear away what a killed one had half written."""
    check_name(model)
    for path, folder in ((run, run), (run, run / "samples"), (model, model.parent)):
        with writing(path):
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK):
                raise PermissionError(f"no permission to write into {folder}")
    with writing(run):
        if not hold(run, owner):
            raise CheckpointError(
                f"{run}: another process trains in this folder. Wait for its end, stop it (Ctrl-C), or give another "
                f"--checkpoint-dir."
            )
    for folder, stem in ((run, None), (run / "samples", None), (model.parent, model.stem)):
        sweep(folder, stem)


# ── checkpoints ─────────────────────────────────────────────────────────────────────────────────────


def settings(config) -> dict:
    """The settings of a dataclass as plain data, equal before and after a file."""
    return json.loads(json.dumps(asdict(config), default=str))


def copy(value):
    """Nested dictionaries and lists with every tensor copied to the CPU."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: copy(item) for key, item in value.items()}
    return [copy(item) for item in value] if isinstance(value, list) else value


def save_checkpoint(path: Path, state: dict, config: dict) -> None:
    """Write a run's state with the settings that made it, aside and then renamed."""
    with writing(path), write_aside(path) as aside:
        torch.save(state | {"config": config}, aside)


@contextmanager
def reading_checkpoint(path: Path, flag: str) -> Iterator[None]:
    """Whatever a damaged checkpoint raises, as an error that names the file and the flag that gives another."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:  # on damaged files torch's unpickler raises almost anything
        raise CheckpointError(
            f"{path}: cannot be read ({type(error).__name__}). Give another {flag} to start anew."
        ) from error


def read_checkpoint(path: Path, config: dict, may_change: set[str], flag: str) -> dict:
    """The state of a run that was made with the same settings."""
    with reading_checkpoint(path, flag):
        saved = load_plain(path)
        before = saved["config"]
        other = [n for n in config if n not in may_change and before.get(n, config[n]) != config[n]]
    if other:
        said = ", ".join(f"{n}={before[n]} (now {config[n]})" for n in other)
        raise CheckpointError(f"{path}: was made with {said}. Use the same settings to go on, or another {flag}.")
    return saved


# ── log, card, sheet ────────────────────────────────────────────────────────────────────────────────


def write_log(folder: Path, state: TrainState, lr: float) -> None:
    """Add a line to `log.jsonl`."""
    line = {"step": state.step, **state.losses, "pictures_per_second": round(state.pictures_per_second, 2), "lr": lr}
    path = folder / "log.jsonl"
    with writing(path), open(path, "a") as file:
        file.write(json.dumps(line) + "\n")


def cut_log(path: Path, step: int) -> None:
    """Take away what was logged after the checkpoint: those steps are done again."""
    if path.exists():
        lines = [line for line in path.read_text().splitlines() if _step_of(line) <= step]
        with writing(path), write_aside(path) as aside:
            aside.write_text("".join(f"{line}\n" for line in lines))


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):  # a line that was cut short
        return math.inf


def card(config: TrainConfig, critic: str, styles: tuple[str, ...]) -> dict:
    """What a user of the network should know of its making, from its settings; no folders of this machine.

    Args:
        critic: the backbone that the run took.
        styles: of an adjustable network.
    """
    content, style = config.layers()
    judge = {"critic": Path(config.weights).name if config.weights else critic, "content_layers": content}
    common = (judge if config.objective != "pixels" else {}) | {
        "dataset": Path(config.dataset).name,
        "image_size": config.image_size,
        "lr": config.lr,
        "optimiser": config.optimiser,
        "started_from": Path(config.extend or config.init_model or "").stem or None,
        "seed": config.seed,
        "provenance": config.provenance,
    }
    if config.objective != "style":
        return {"objective": config.objective, **common}
    plain = settings(config)
    losses = {f.name: plain[f.name] for f in fields(LossConfig) if plain[f.name] is not None}
    if config.weights:
        losses["weights"] = Path(config.weights).name
    return common | {
        "style": list(styles) or config.names[0],
        "losses": losses,
        "style_layers": style,
        "style_size": config.style_size,
        "stability_weight": config.stability_weight,
    }


@torch.no_grad()
def save_sheet(folder: Path, net: TransformerNet | UpscaleNet, names: tuple[str, ...], step: int) -> Path:
    """Save the validation photographs as the network paints or enlarges them now."""
    painted, device = [], next(net.parameters()).device
    height, blends = HEIGHT, [()]
    if getattr(net.config, "styles", ()):
        height, blends = 96, [(net.blend(name),) for name in names]
    for name in VALIDATION:
        photo = load_image(name)
        size = (height, round(photo.shape[-1] * height / photo.shape[-2]))
        photo = start = resize(photo, size).to(device)
        if isinstance(net, UpscaleNet):
            photo = photo[..., : size[1] // SCALE * SCALE]
            start = resize(photo, (height // SCALE, size[1] // SCALE))
        painted.append(torch.cat([photo, *(net(start, *blend) for blend in blends)], 2).cpu())
    path = folder / "samples" / f"{step:06d}.jpg"
    return save_image(torch.cat(painted, 3), path, quality=88)


def machine(device: torch.device) -> str:
    """What it ran on, in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type.upper()}, {torch.get_num_threads()} threads ({platform.machine()})"


# ── signals ─────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect Ctrl-C and SIGTERM, so that a step is never cut in two; the second Ctrl-C stops at once."""
    received: list[int] = []

    def note(number, _):
        if received:
            raise KeyboardInterrupt
        received.append(number)

    if threading.current_thread() is not threading.main_thread():  # only there can signals be taken
        yield received
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore_signals(worker: int) -> None:
    """Signals to the whole group of processes are the trainer's business; it needs its workers to the end."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def startable(workers: int) -> int:
    """How many of the reading processes can be started: none from a script that each of them would run again.

    Windows, macOS, and Linux from Python 3.14 on start a process by importing the script, and what is not under
    `if __name__ == "__main__":` runs a second time.
    """
    script = getattr(sys.modules["__main__"], "__file__", None)
    if workers and script and multiprocessing.get_start_method() != "fork":
        with suppress(OSError, UnicodeDecodeError):  # a command's own starter, which is no text
            if "__main__" not in Path(script).read_text(encoding="utf-8"):
                say(f'{script}: no workers, for they need the training under `if __name__ == "__main__":`')
                return 0
    return workers


def file_hashes(sources: Sequence[str | Path]) -> list[str]:
    """The beginning of each file's SHA-256; of a sample its name."""
    return [
        hashlib.sha256(Path(source).read_bytes()).hexdigest()[:16] if os.path.isfile(source) else str(source)
        for source in sources
    ]
