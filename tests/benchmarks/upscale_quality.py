"""How good are the enlarging networks? PSNR, errors of features, time and memory, against bicubic enlargement.

Conventions: a picture is cut to a multiple of 4 and shrunk by Pillow's bicubic; PSNR of Y (BT.601, 16 … 235), 8 bits,
a border of 4 pixels left out; never mixed with that of RGB, which has its own column. Errors of features are
‖F − P‖² / ‖P‖² of the original VGG-19 (Oxford), max pooling. Means over the pictures.

python tests/benchmarks/upscale_quality.py --photos DIR --teacher WEIGHTS [--scale 2]
"""

import argparse
import time
from pathlib import Path

import torch
from measure import in_own_process, machine
from PIL import Image

from nstlib import FeatureExtractor, enlarge, to_tensor
from nstlib.painting.upscale import load_upscaler

BORDER = 4
LAYERS = ("relu2_2", "relu3_2")
MODELS = ("pixels", "perceptual")


def luma(image: torch.Tensor) -> torch.Tensor:
    """Y of BT.601 with its range of 16 to 235, divided by 255."""
    return ((image * torch.tensor([65.481, 128.553, 24.966]).view(3, 1, 1)).sum(1, keepdim=True) + 16) / 255


def psnr(x: torch.Tensor, y: torch.Tensor) -> float:
    """Decibels, without the border."""
    return -10 * (x - y)[..., BORDER:-BORDER, BORDER:-BORDER].square().mean().log10().item()


@torch.no_grad()
def marks(path: Path, scale: int, teacher: FeatureExtractor) -> dict[str, list[float]]:
    """For bicubic and each network: PSNR of Y, PSNR of RGB, errors of the features."""
    image = Image.open(path).convert("RGB")
    width, height = (side // 4 * 4 for side in image.size)
    image = image.crop((0, 0, width, height))
    small = image.resize((width // scale, height // scale), Image.Resampling.BICUBIC)
    results = {"bicubic": to_tensor(small.resize(image.size, Image.Resampling.BICUBIC))}
    results |= {model: enlarge(small, model, scale).mul(255).round() / 255 for model in MODELS}
    original = to_tensor(image)
    wanted, rows = teacher(original), {}
    for name, result in results.items():
        found = teacher(result)
        errors = [((found[n] - wanted[n]).square().sum() / wanted[n].square().sum()).item() for n in LAYERS]
        rows[name] = [psnr(luma(result), luma(original)), psnr(result, original), *errors]
    return rows


def quality(photos: Path, weights: Path, scale: int) -> None:
    teacher = FeatureExtractor("vgg19", LAYERS, weights=weights, preprocessing="oxford", pooling="max")
    print(f"{'':18}{'PSNR Y':>10}{'PSNR RGB':>10}" + "".join(f"{name:>10}" for name in LAYERS))
    for pattern in ("set14*", "kodim*"):
        pictures = sorted(photos.glob(pattern))
        rows = [marks(path, scale, teacher) for path in pictures]
        for name in rows[0]:
            means = torch.tensor([row[name] for row in rows]).mean(0).tolist()
            label = f"{pattern.strip('*')} ({len(pictures)})  ×{scale}  {name}"
            print(f"{label:30}{means[0]:8.2f}{means[1]:8.2f}{means[2]:8.4f}{means[3]:8.4f}", flush=True)


def seconds(side: int = 256) -> None:
    """The best of three, by wall clock and by the processor's own."""
    net, small = load_upscaler("pixels"), torch.rand(1, 3, side, side)
    enlarge(small, net)
    times = []
    for _ in range(3):
        wall, own = time.perf_counter(), time.process_time()
        enlarge(small, net)
        times.append((time.perf_counter() - wall, time.process_time() - own))
    wall, own = map(min, zip(*times, strict=True))
    print(f"{side}² → {4 * side}²: {wall:.2f} s, {own:.2f} s of processor, {torch.get_num_threads()} threads")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--scale", type=int, default=4)
    arguments = parser.parse_args()
    print(machine())
    quality(arguments.photos, arguments.teacher, arguments.scale)
    seconds()
    peak = in_own_process(str(Path(__file__).with_name("upscale_memory.py")))["peak"]
    print(f"12 megapixels: {peak:.0f} MiB over what the process held before, saving included")
