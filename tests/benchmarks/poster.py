"""Posters: tiles against the whole at 2048 pixels (8 GB), and what large pictures take, each in a process of its own.

python tests/benchmarks/poster.py [compare] [paint] [stylize]      (all three: an hour of one core)
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import torch
from measure import in_own_process, machine

from nstlib import FeatureExtractor, LossConfig, PerceptualLoss, load_image, load_transformer
from nstlib.critic.tiled import TiledLoss
from nstlib.painting.fast import paint_tensor
from nstlib.painting.tiles import TILE, paint_tiled
from nstlib.pictures.convert import to_tensor
from nstlib.pictures.pixels import resize_pil
from nstlib.pictures.samples import open_image
from nstlib.screen.cli import main

os.environ["NSTLIB_PRECISION"] = "float32"  # tiles compute in it
NETWORK = "starry_night"
SIDE = 2048
STEPS = 50  # at each size of Gatys' painting; fewer above 1024 pixels
FREE = 2.5e9  # bytes for it, beside what the process holds before


def peak() -> float:
    """The most memory that this process has held, GB, all included."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e9 for line in lines if line.startswith("VmHWM"))


def seams(image: torch.Tensor, side: int = TILE) -> float:
    """Mean difference of neighbours across the tiles' borders, relative to that of all neighbours; 1 is no seam."""
    ratios = []
    for dim in (-2, -1):
        count = -(-image.shape[dim] // side)
        cuts = torch.tensor([round(i * image.shape[dim] / count) - 1 for i in range(1, count)])
        differences = image.diff(dim=dim).abs()
        ratios.append(differences.index_select(dim, cuts).mean() / differences.mean())
    return float(sum(ratios) / 2)


def timed(function):
    start = time.process_time()
    result = function()
    return result, time.process_time() - start


def compare() -> dict:
    picture = resize_pil(open_image("coffee"), SIDE)
    net, photo = load_transformer(NETWORK), to_tensor(picture)
    whole, before = timed(lambda: paint_tensor(net, photo))
    tiled, seconds = timed(lambda: paint_tiled(net, picture))
    return {
        "difference": float((whole - tiled).abs().max() * 255),
        "seconds": [before, seconds],
        "seams": [seams(whole), seams(tiled)],
    }


def gradient() -> dict:
    """Gatys' gradient at a finished painting, where much cancels: in float64, whole and in tiles, and in float32."""
    photo = to_tensor(resize_pil(open_image("coffee"), SIDE))
    image = paint_tensor(load_transformer(NETWORK), photo)
    gradients, times = {}, {}
    for dtype in (torch.float64, torch.float32):
        for kind in (PerceptualLoss, TiledLoss):
            config = LossConfig(backbone="compact", style_scales=(1.0, 0.5, 0.25))
            loss = kind(config, FeatureExtractor("compact", sum(config.layers(), ())).to(dtype))
            loss.set_content(photo.to(dtype))
            loss.set_styles([load_image("swirl", SIDE // 2).to(dtype)])
            pixels = image.to(dtype).clone().requires_grad_()
            _, times[kind, dtype] = timed(lambda: loss(pixels)["total"].backward())  # noqa: B023  (called at once)
            gradients[kind, dtype] = pixels.grad.double()
    exact = gradients[PerceptualLoss, torch.float64]
    errors = {key: float((found - exact).norm() / exact.norm()) for key, found in gradients.items()}
    return {
        "tiles": errors[TiledLoss, torch.float64],
        "float32": [errors[kind, torch.float32] for kind in (PerceptualLoss, TiledLoss)],
        "seconds": [times[kind, torch.float32] for kind in (PerceptualLoss, TiledLoss)],
    }


def paint(source: str, target: str) -> dict:
    _, seconds = timed(lambda: main(["paint", source, "--model", NETWORK, "--output", target]))
    return {"seconds": seconds, "peak": peak()}


def stylize(source: str, target: str) -> dict:
    """Gatys at 4096 × 3072 by the command, with so much memory at hand that it paints in tiles."""
    sys.modules["nstlib.painting.stylize"].available = lambda device: FREE
    flags = ["--style", "swirl", "--size", "4096", "--backbone", "compact", "--steps", str(STEPS)]
    _, seconds = timed(lambda: main(["stylize", source, *flags, "--output", target]))
    return {"seconds": seconds, "peak": peak()}


def report(cases: list[str]) -> None:
    print(f"{machine()}; seconds are of one core\n")
    if "compare" in cases:
        fast, gatys = in_own_process(__file__, "run", "compare"), in_own_process(__file__, "run", "gradient")
        print(f"| {SIDE} px | whole | tiles | largest difference | seams, whole and tiles |\n|---|---:|---:|---:|---:|")
        print("| network | {:.1f} s | {:.1f} s |".format(*fast["seconds"]), end=" ")
        print("{:.3f}/255 | {:.3f}, {:.3f} |".format(fast["difference"], *fast["seams"]))
        print("| a gradient of Gatys | {:.1f} s | {:.1f} s |".format(*gatys["seconds"]), end=" ")
        print(f"{gatys['tiles']:.0e} relative, in float64 | |\n")
        print("float32's own error of that gradient: {:.0e} whole, {:.0e} in tiles\n".format(*gatys["float32"]))
        assert fast["difference"] <= 1 and gatys["tiles"] <= 1e-5
        assert gatys["float32"][1] <= 2 * gatys["float32"][0]  # the tiles add no error of their own
        assert abs(fast["seams"][0] - fast["seams"][1]) < 0.01
    print("| | seconds | peak of the process |\n|---|---:|---:|", flush=True)
    if "paint" in cases:
        with tempfile.TemporaryDirectory() as folder:
            source = os.path.join(folder, "huge.jpg")
            open_image("coffee").resize((10_000, 7_500)).save(source, quality=90)
            found = in_own_process(__file__, "run", "paint", source, os.path.join(folder, "painted.jpg"))
        print(f"| nst paint, 10,000 × 7,500, 2 passes | {found['seconds']:.0f} | {found['peak']:.2f} GB |", flush=True)
        assert found["peak"] <= 4
    if "stylize" in cases:
        with tempfile.TemporaryDirectory() as folder:
            source = os.path.join(folder, "large.png")
            open_image("coffee").resize((4096, 3072)).save(source)
            found = in_own_process(__file__, "run", "stylize", source, os.path.join(folder, "painted.jpg"))
        print(f"| nst stylize, 4096 × 3072 | {found['seconds']:.0f} | {found['peak']:.2f} GB |")
        assert found["peak"] <= 2.5


if __name__ == "__main__":
    if sys.argv[1:2] == ["run"]:
        print(json.dumps(globals()[sys.argv[2]](*sys.argv[3:])))
    else:
        report(sys.argv[1:] or ["compare", "paint", "stylize"])
