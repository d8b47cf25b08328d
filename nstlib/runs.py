"""What a training run leaves on disk, and what it must not be stopped by: folder, lock, log, signals."""

import json
import math
import os
import platform
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from .errors import CheckpointError
from .files import hold, sweep, write_aside, writing


def take(run: Path, model: Path) -> None:
    """Make the run's folders, keep other runs out, and clear away what a killed one had half written."""
    for path, folder in ((run, run), (run, run / "samples"), (model, model.parent)):
        with writing(path):
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK):
                raise PermissionError(f"no permission to write into {folder}")
    with writing(run):
        if not hold(run):
            raise CheckpointError(
                f"{run}: another process trains in this folder. Wait for its end, stop it (Ctrl-C), or give another "
                f"--checkpoint-dir."
            )
    for folder, stem in ((run, None), (run / "samples", None), (model.parent, model.stem)):
        sweep(folder, stem)


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


def machine(device: torch.device) -> str:
    """What it ran on, in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type.upper()}, {torch.get_num_threads()} threads ({platform.machine()})"


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect Ctrl-C and SIGTERM, so that a step is never cut in two; the second Ctrl-C stops at once."""
    received: list[int] = []

    def note(number, frame):
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


def heedless(worker: int) -> None:
    """Signals to the whole group of processes are the trainer's business; it needs its workers to the end."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
