"""Does an adjustable network keep its word? Strength, mixing, and each style against a network of its own.

Over unseen photographs: SSIM of strength 0 to the photograph; style loss as strength rises; a mix of one style
against that style; the objective of each style over that of a network of this style alone. `--write` puts the
results into the card.

python tests/benchmarks/studio_quality.py --photos DIR --styles DIR [--model NAME] [--singles DIR] [--write]
"""

import argparse
import statistics
from itertools import pairwise
from pathlib import Path

import torch
from measure import machine
from network_quality import losses_of, style_of
from skimage.metrics import structural_similarity

from nstlib import PerceptualLoss, TransformerNet, load_image, load_transformer, model_files, paint
from nstlib.painting.models import save_transformer
from nstlib.pictures.files import endings

STRENGTHS = [i / 10 for i in range(11)]


def ssim(net: TransformerNet, photos: list) -> list[float]:
    """Of strength 0 to the photographs, on 8-bit RGB."""
    pairs = [(photo[0].permute(1, 2, 0).numpy(), paint(photo, net, strength=0.0)[0]) for photo in photos]
    return [float(structural_similarity(a, b.permute(1, 2, 0).numpy(), channel_axis=2, data_range=1)) for a, b in pairs]


@torch.no_grad()
def style_losses(net: TransformerNet, style: str, photos: list, folder: Path) -> list[list[float]]:
    """For each photograph the style loss at each strength."""
    loss = PerceptualLoss(losses_of(net.card))
    loss.set_styles([style_of(net.card | {"style": style}, folder)])
    found = []
    for photo in photos:
        loss.set_content(photo)
        found.append([loss(paint(photo, net, styles=style, strength=s))["style"].item() for s in STRENGTHS])
    return found


@torch.no_grad()
def objective(net: TransformerNet, card: dict, photos: list, folder: Path) -> float:
    """Mean loss, by the settings of `card`, of the style in it."""
    loss = PerceptualLoss(losses_of(card))
    loss.set_styles([style_of(card, folder)])
    totals = []
    for photo in photos:
        loss.set_content(photo)
        totals.append(loss(net(photo, net.blend(card["style"]) if net.config.styles else None))["total"].item())
    return statistics.mean(totals)


def mixing(net: TransformerNet, photo) -> float:
    """The largest difference between a style, and a mix of it with nothing of another."""
    names = net.config.styles
    with torch.no_grad():
        pairs = [(net.blend(a), net.blend({a: 1.0, b: 0.0})) for a, b in pairwise(names)]
        return max((net(photo, one) - net(photo, mixed)).abs().max().item() for one, mixed in pairs)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="photographs that no network was trained on")
    parser.add_argument("--styles", type=Path, default=Path(), help="the paintings that are not bundled")
    parser.add_argument("--model", default="studio", help="an adjustable network")
    parser.add_argument("--singles", type=Path, help="networks of one style, NAME.safetensors; else the bundled ones")
    parser.add_argument("--write", action="store_true", help="store the results in the card")
    chosen = parser.parse_args()
    files = sorted(p for p in chosen.photos.iterdir() if p.suffix.lower() in endings())[:10]
    photos, net = [load_image(file, 384) for file in files], load_transformer(chosen.model)
    singles = {p.stem: p for p in chosen.singles.glob("*.safetensors")} if chosen.singles else model_files()
    print(f"{len(photos)} photographs, long side 384, {machine()}\n")
    kept = ssim(net, photos)
    print(f"strength 0: SSIM to the photograph {min(kept):.3f} … {max(kept):.3f}, median {statistics.median(kept):.3f}")
    print(f"a style, and a mix of it with nothing of another: at most {mixing(net, photos[0]):.1e} apart\n")
    print("| style | style loss at strength 0, 0.5, 1 | photographs where it falls at every tenth | single-style |")
    print("|---|---:|---:|---:|")
    ratios, falls = {}, {}
    for name in net.config.styles:
        found = style_losses(net, name, photos, chosen.styles)
        falls[name] = sum(all(a > b for a, b in pairwise(row)) for row in found)
        means = [statistics.mean(row[i] for row in found) for i in (0, 5, 10)]
        if name in singles:
            single = load_transformer(singles[name])
            single.card["style"] = name
            ratios[name] = objective(net, single.card, photos, chosen.styles)
            ratios[name] /= objective(single, single.card, photos, chosen.styles)
        shown = f"{ratios[name]:.2f}×" if name in ratios else "–"
        print(
            f"| {name} | {' '.join(f'{m:.3f}' for m in means)} | {falls[name]} of {len(found)} | {shown} |", flush=True
        )
    if chosen.write:
        ratios = {name: round(ratio, 3) for name, ratio in ratios.items()}
        net.card |= {"ssim_at_strength_0": round(min(kept), 3), "objective_over_single_style": ratios}
        save_transformer(net, model_files().get(chosen.model, Path(chosen.model)))
