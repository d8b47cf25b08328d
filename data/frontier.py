"""The frontier of notebook 09: what settings of a painting cost in seconds, and what they give.

python data/frontier.py [--size 384] [--photographs NAME …] [--styles NAME_OR_FILE …] [--settings NAME …]

Every painting is judged by the compact critic: the style loss at 1, 1/2, 1/4 and 1/8 of its size, and the content
loss. Seconds are of one core's work (`time.process_time`), so that other jobs do not count. Each row is kept in the
CSV file: a run that was stopped goes on.
"""

import argparse
import csv
import statistics
import time
from dataclasses import replace
from pathlib import Path

import torch

import nstlib as nst

SCALES = (1.0, 0.5, 0.25, 0.125)
HALF, QUARTER, EIGHTH = SCALES[:2], SCALES[:3], SCALES
SETTINGS = {  # what differs from OLD
    "one scale, 150 steps, weight 100": {},
    "one scale, 50 steps, weight 100": {"steps": 50},
    "two scales, 50 steps, weight 40": {"style_scales": HALF, "steps": 50, "style_weight": 40.0},
    "three scales, 60 steps, weight 100": {"style_scales": QUARTER, "steps": 60},
    "three scales, 40 steps, weight 60": {"style_scales": QUARTER, "steps": 40, "style_weight": 60.0},
    "three scales, 50 steps, weight 40": {"style_scales": QUARTER, "steps": 50, "style_weight": 40.0},
    "three scales, 50 steps, weight 80": {"style_scales": QUARTER, "steps": 50, "style_weight": 80.0},
    "four scales, 50 steps, weight 40": {"style_scales": EIGHTH, "steps": 50, "style_weight": 40.0},
}
OLD = nst.GatysConfig(backbone="compact", device="cpu", steps=150, style_weight=100.0, style_scales=(1.0,))
COLUMNS = ("settings", "size", "photograph", "style", "seconds", "content", *(f"style at {s:g}" for s in SCALES))


def judge(painted: torch.Tensor, photo: torch.Tensor, style: torch.Tensor) -> list[float]:
    """Content loss and the style losses at all scales, of pictures `(1, 3, H, W)`."""
    found = []
    for scale in SCALES:
        loss = nst.PerceptualLoss(nst.LossConfig(backbone="compact", style_scales=(scale,)))
        loss.set_content(photo)
        loss.set_styles([style])
        with torch.no_grad():
            losses = loss(painted)
        found.append(losses["style"].item())
    return [losses["content"].item(), *found]


def measure(photograph: str, style: str, config: nst.GatysConfig, pictures: Path | None, name: str) -> list[float]:
    """Seconds, then what `judge` says."""
    start = time.process_time()
    painted = nst.stylize(photograph, style, config)
    seconds = time.process_time() - start
    if pictures:
        pictures.mkdir(parents=True, exist_ok=True)
        nst.save_image(painted, pictures / f"{photograph}_{Path(style).stem}_{name.replace(' ', '_')}.png")
    side = max(painted.shape[-2:])
    photo = nst.resize(nst.load_image(photograph), tuple(painted.shape[-2:]))
    return [seconds, *judge(painted, photo, nst.load_image(style, round(side * config.style_scale)))]


def table(path: Path) -> str:
    """Means over photographs and styles, one row for each setting, as Markdown."""
    groups: dict[tuple, list[list[float]]] = {}
    for row in read(path):
        groups.setdefault((row["size"], row["settings"]), []).append([float(row[name]) for name in COLUMNS[4:]])
    lines = ["| size | settings | paintings | " + " | ".join(COLUMNS[4:]) + " |", "|---:|---|" + "---:|" * 7]
    for (size, name), rows in groups.items():
        means = [statistics.mean(column) for column in zip(*rows, strict=True)]
        numbers = " | ".join([f"{means[0]:.1f}", f"{means[1]:.2f}", *(f"{mean:.4f}" for mean in means[2:])])
        lines.append(f"| {size} | {name} | {len(rows)} | {numbers} |")
    return "\n".join(lines)


def ratios(path: Path, size: str, first: str, second: str) -> str:
    """Where both settings painted the same: means, and the second's numbers divided by the first's."""
    rows = {(row["settings"], row["photograph"], row["style"]): row for row in read(path) if row["size"] == size}
    both = [key[1:] for key in rows if key[0] == first and (second, *key[1:]) in rows]
    lines = [f"{len(both)} paintings each of {size} px: {first}; {second}; their ratios, median (least … greatest)"]
    for column in COLUMNS[4:] if both else ():
        a, b = ([float(rows[(name, *key)][column]) for key in both] for name in (first, second))
        quotients = [y / x for x, y in zip(a, b, strict=True)]
        least, median, most = min(quotients), statistics.median(quotients), max(quotients)
        lines.append(
            f"{column}: {statistics.mean(a):.4f}; {statistics.mean(b):.4f}; {median:.2f} ({least:.2f} … {most:.2f})"
        )
    return "\n".join(lines)


def read(path: Path) -> list[dict]:
    """The rows so far."""
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def main(chosen: argparse.Namespace) -> None:
    """Measure what is missing, and print the table."""
    done = {tuple(row[name] for name in COLUMNS[:4]) for row in read(chosen.csv)}
    with open(chosen.csv, "a", newline="") as file:
        writer = csv.writer(file)
        if not done:
            writer.writerow(COLUMNS)
        for name in chosen.settings:
            config = replace(OLD, size=chosen.size, **SETTINGS[name])
            for photograph, style in ((p, s) for p in chosen.photographs for s in chosen.styles):
                key = (name, str(chosen.size), photograph, Path(style).stem)
                if key not in done:
                    numbers = measure(photograph, style, config, chosen.pictures, name)
                    writer.writerow([*key, *(f"{number:.5g}" for number in numbers)])
                    file.flush()
    print(table(chosen.csv))
    print(ratios(chosen.csv, str(chosen.size), "one scale, 150 steps, weight 100", "three scales, 50 steps, weight 80"))


if __name__ == "__main__":
    samples = nst.sample_names()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=384, help="long side, pixels")
    parser.add_argument("--photographs", nargs="*", default=samples["photographs"])
    parser.add_argument("--styles", nargs="*", default=samples["paintings"][:6])
    parser.add_argument("--settings", nargs="*", default=list(SETTINGS), choices=SETTINGS)
    parser.add_argument("--csv", type=Path, default=Path(__file__).with_name("frontier.csv"))
    parser.add_argument("--pictures", type=Path, help="keep the paintings in this folder")
    main(parser.parse_args())
