"""The memory that `nst` expects to take, against what it takes, each case in a process of its own."""

import json
import sys

import torch
from measure import MIB, PeakMemory, in_own_process, machine

from nstlib import GatysConfig, PerceptualLoss, TransformerConfig, TransformerNet, paint, stylize
from nstlib.painting.memory import paint_need, stylize_need

SIZES = (256, 512, 1024, 2048)


def measure(what: str, size: int) -> dict[str, float]:
    """Peak MiB over the idle process, and the estimate, of a picture of 4:3."""
    torch.set_num_threads(1)
    shape = (size * 3 // 4, size)
    picture = torch.rand(3, *shape)
    config = GatysConfig(size=size, steps=2, backbone="compact", device="cpu")
    net = TransformerNet(TransformerConfig(width=16)).eval().requires_grad_(False)
    peak = PeakMemory()
    if what == "paint":
        paint(picture, net)
        measured = peak()
        return {"measured": measured, "estimate": paint_need(net)(shape) / MIB}
    stylize(picture, "swirl", config)
    measured = peak()
    return {"measured": measured, "estimate": stylize_need(PerceptualLoss(config), config)(shape) / MIB}


def test_memory_estimate():
    print(f"\n\nPeak memory of a 4:3 picture, one thread, {machine()}\n")
    print("| | long side | estimate | measured | ratio |")
    print("|---|---:|---:|---:|---:|")
    ratios = []
    for what in ("paint", "stylize"):
        for size in SIZES:
            case = in_own_process(__file__, what, size)
            ratios.append(case["estimate"] / case["measured"])
            print(f"| {what} | {size} | {case['estimate']:.0f} MiB | {case['measured']:.0f} MiB | {ratios[-1]:.2f} |")
    assert 0.75 < min(ratios) and max(ratios) < 1.25


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
