"""How good are trained networks? Johnson et al.'s own measure (2016, figure 5), written into their cards.

For each network and each unseen photograph: its loss, and how many iterations of Gatys' method (Adam from the
content, same losses) reach as low; and how strongly it weaves in the rocket's sky, painting in one pass and in two.
Prints a table; `--write` puts the medians into the cards of the files.

python tests/benchmarks/network_quality.py --photos DIR --styles DIR [--models NAME …] [--write]
"""

import argparse
import statistics
from pathlib import Path

import torch
from measure import machine

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
from nstlib.painting.network import CELL
from nstlib.pictures.files import endings

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
    parser.add_argument("--styles", type=Path, default=Path(), help="the paintings that are not bundled")
    plain = [name for name in model_files() if not load_transformer(name).config.styles]
    parser.add_argument("--models", nargs="*", default=plain, help="networks of one style")
    parser.add_argument("--write", action="store_true", help="store the medians in the cards")
    chosen = parser.parse_args()
    photos = sorted(p for p in chosen.photos.iterdir() if p.suffix.lower() in endings())[:10]
    print(f"{len(photos)} photographs of 256 × 256, {machine()}\n")
    sky = load_image("rocket", 640)[..., 20:180, :200]  # a flat place shows it best
    print("| network | loss, mean | Gatys iterations that equal it, median | least … most | weave: one pass | two |")
    print("|---|---:|---:|---:|---:|---:|")
    for name in chosen.models:
        mean, equal = measure(name, photos, chosen.styles)
        one, two = (weave(paint(sky, name, passes=n)) for n in (1, 2))
        spread = f"{statistics.median(equal):.0f} | {min(equal)} … {max(equal)}"
        print(f"| {name} | {mean:.3f} | {spread} | {one:.2f} | {two:.2f} |", flush=True)
        if chosen.write:
            net = load_transformer(name)
            net.card |= {"gatys_iterations": round(statistics.median(equal)), "loss": round(mean, 3)}
            save_transformer(net, model_files().get(name, Path(name)))
