"""How good are trained networks? Two tables for the README; `--write` puts the second one's medians into the cards.

First, of paintings of unseen photographs, 320 px: content loss, style loss at four scales, and what noise of 2/255 in
the photograph becomes (RMS, of 255); the same in frames of films; and how strongly a network weaves in the rocket's
sky, in one pass and in two. Then Johnson et al.'s own measure (2016, figure 5): the loss of one pass at 256 px, and how
many iterations of Gatys' method (Adam from the content, same losses) reach as low.

python tests/benchmarks/network_quality.py --photos DIR --styles DIR [--videos DIR] [--models NAME …] [--write]
"""

import argparse
import statistics
import sys
from pathlib import Path

import numpy as np
import torch
from measure import machine
from PIL import Image

from nstlib import (
    GatysConfig,
    GatysPainter,
    LossConfig,
    PerceptualLoss,
    load_image,
    load_transformer,
    model_files,
    paint,
    resize,
    sample_names,
)
from nstlib.painting.models import save_transformer
from nstlib.painting.network import CELL, TransformerNet
from nstlib.pictures.clips import open_clip
from nstlib.pictures.files import endings

sys.path.append(str(Path(__file__).parents[2] / "data"))
from clip import CLIP
from frontier import SCALES, judge

MOST = 300  # iterations; a network that is better than so many counts as so many


def style_of(card: dict, folder: Path):
    """The painting that a network was trained on: bundled, or in the folder."""
    name = card["style"]
    source = name if name in sample_names()["paintings"] else next(iter(folder.glob(f"{name}.*")))
    return load_image(source if isinstance(source, str) else str(source), card["style_size"])


def losses_of(card: dict) -> LossConfig:
    settings = {name: tuple(v) if isinstance(v, list) else v for name, v in card["losses"].items()}
    return LossConfig(**settings | {"backbone": card["critic"]})


def iterations(loss: PerceptualLoss, photo, goal: float) -> int:
    """How many steps of Gatys' painting from the content until the loss is as low as `goal`."""
    fields = {name: getattr(loss.config, name) for name in LossConfig.__dataclass_fields__}
    painter = GatysPainter(photo, [photo], GatysConfig(**fields), loss=Kept(loss))
    for i in range(MOST):
        painter.step()
        if painter.losses["total"] <= goal:  # the loss before this step: that of i steps
            return i
    return MOST


class Kept(PerceptualLoss):
    """A loss whose style stays when a painter sets its own."""

    def __init__(self, loss: PerceptualLoss):
        super().__init__(loss.config, loss.extractor)
        self.styles, self.blend = loss.styles, loss.blend

    def set_styles(self, *_):
        pass


def measure(name: str, photos: list[Path], styles: Path) -> tuple[float, list[int]]:
    """Mean loss of the network over the photographs, and the iterations that equal each."""
    net = load_transformer(name)
    loss = PerceptualLoss(losses_of(net.card))
    loss.set_styles([style_of(net.card, styles)])
    totals, equal = [], []
    for path in photos:
        photo = resize(load_image(path), (256, 256))
        loss.set_content(photo)
        with torch.no_grad():
            totals.append(loss(net(photo))["total"].item())
        equal.append(iterations(loss, photo, totals[-1]))
    return statistics.mean(totals), equal


def noise_out(net: TransformerNet, picture: torch.Tensor) -> float:
    """What noise of 2/255 becomes in a painting, of 255."""
    noise = torch.randn(2, *picture.shape[1:], generator=torch.Generator().manual_seed(0)) * 2 / 255
    a, b = (paint((picture + each).clamp(0, 1), net) for each in noise)
    return 255 * (a - b).std().item() / 2**0.5


def painted(name: str, photos: list[Path], frames: list[torch.Tensor], styles: Path) -> str:
    """The first table's row."""
    net = load_transformer(name)
    style, rows = resize(style_of(net.card, styles), 320), []
    for path in photos:
        photo = resize(load_image(path), 320)
        rows.append([*judge(paint(photo, net), photo, style), noise_out(net, photo)])
    content, *at, noise = np.mean(rows, 0)
    sky = load_image("rocket", 640)[..., 20:180, :200]  # a flat place shows the weave best
    columns = [f"{content:.2f}", *(f"{loss:.3f}" for loss in at), f"{noise:.1f}"]
    columns += [", ".join(f"{noise_out(net, frame):.1f}" for frame in frames)]
    return " | ".join([*columns, *(f"{weave(paint(sky, net, passes=n)):.2f}" for n in (1, 2))])


def first_frame(path: Path) -> torch.Tensor:
    frame = next(iter(open_clip(path)))
    return resize(load_image(Image.fromarray(frame.pixels())), 320)


def weave(image: torch.Tensor) -> float:
    """What a picture `(1, 3, H, W)` has in common with itself a cell further: RMS, in 1/255, of its mean cell.

    Of the picture less its local mean, so that only the finest detail counts.
    """
    detail = image - torch.nn.functional.avg_pool2d(image, 2 * CELL + 1, 1, CELL, count_include_pad=False)
    height, width = (side // CELL for side in detail.shape[-2:])
    cells = detail[0, :, : height * CELL, : width * CELL].reshape(3, height, CELL, width, CELL)
    return 255 * cells.mean((1, 3)).square().mean().sqrt().item()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="photographs that no network was trained on")
    parser.add_argument("--videos", type=Path, help="folder of films, for the noise in their first frames")
    parser.add_argument("--styles", type=Path, default=Path(), help="the paintings that are not bundled")
    plain = [name for name in model_files() if not load_transformer(name).config.styles]
    parser.add_argument("--models", nargs="*", default=plain, help="networks of one style")
    parser.add_argument("--write", action="store_true", help="store the medians in the cards")
    chosen = parser.parse_args()
    photos = sorted(p for p in chosen.photos.iterdir() if p.suffix.lower() in endings())[:10]
    frames = [first_frame(path) for path in [CLIP, *(sorted(chosen.videos.glob("*.mp4")) if chosen.videos else [])]]
    print(f"{len(photos)} photographs, {machine()}\n")
    scales = " | ".join(f"style {scale:g}" for scale in SCALES)
    print(f"| network | content | {scales} | noise, photographs | noise, films | weave: one pass | two |")
    print("|---" * 10 + "|")
    for name in chosen.models:
        print(f"| {name} | {painted(name, photos, frames, chosen.styles)} |", flush=True)
    print("\n| network | loss, mean | Gatys iterations that equal it, median | least … most |\n|---|---:|---:|---:|")
    for name in chosen.models:
        mean, equal = measure(name, photos, chosen.styles)
        print(f"| {name} | {mean:.3f} | {statistics.median(equal):.0f} | {min(equal)} … {max(equal)} |", flush=True)
        if chosen.write:
            net = load_transformer(name)
            net.card |= {"gatys_iterations": round(statistics.median(equal)), "loss": round(mean, 3)}
            save_transformer(net, model_files().get(name, Path(name)))
