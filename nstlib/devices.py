"""The machine: the best device, the precision it computes in, the memory that is free."""

import ctypes
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import torch

from .limits import checked


@checked
def best_device(name: str | None = None) -> torch.device:
    """The named device, or CUDA, MPS or the CPU, whichever is there first."""
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
        return torch.device(name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device={name!r}: not available on this machine; leave it out or say cpu") from error


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


CONTAINERS = {  # limit and use of a control group: version 2, version 1
    "/sys/fs/cgroup": ("memory.max", "memory.current", "inactive_file"),
    "/sys/fs/cgroup/memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def available(device: torch.device) -> float:
    """Bytes that can still be taken on a device: of a container, of the machine, or of the GPU."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # torch's own to use again
        return torch.cuda.mem_get_info(device)[0] + kept
    return min([psutil.virtual_memory().available, *map(_left_by, CONTAINERS)])


def _left_by(folder: str) -> float:
    """What the control group of a container leaves; its cache of files, which it can drop, is not counted."""
    limit, used, cached = CONTAINERS[folder]
    try:
        numbers = dict(line.split() for line in (Path(folder) / "memory.stat").read_text().splitlines())
        taken = int((Path(folder) / used).read_text()) - int(numbers.get(cached, 0))
        return int((Path(folder) / limit).read_text()) - taken
    except (OSError, ValueError):  # no container, or "max"
        return float("inf")


def give_back() -> None:
    """Return what is free to the system, on Linux: else its C library keeps what lies between blocks that are used."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # a C library without it
            ctypes.CDLL(None).malloc_trim(0)
