"""The larger experiments of the notebooks, run once; their sheets are stored in nstlib/figures/sheets.

python data/experiments.py [--photos DIR] [--teacher FILE]

Every cell is kept in build/experiments: a run that was stopped goes on. Without photographs to train on, or
without VGG-19's first three blocks (`.safetensors`, Oxford preprocessing), their sheets are left as they are.
"""

import argparse
import io
import tempfile
from dataclasses import replace
from pathlib import Path

from PIL import Image

import nstlib as nst
from nstlib.screen.experiments import Cell, run_grid
from nstlib.screen.plots import curves, sheet
from nstlib.storage import write_aside

HERE = Path(__file__).parents[1] / "nstlib" / "figures" / "sheets"
CACHE = Path(__file__).parents[1] / "build" / "experiments"
BASE = nst.GatysConfig(backbone="compact", size=320, device="cpu")
LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu3_4")  # that all critics have


def gatys(config: nst.GatysConfig) -> tuple:
    """The cat in the style of stained glass, and its losses."""
    losses = []
    painted = nst.stylize("cat", "stained_glass", config, lambda state: losses.append(state.losses))
    return painted, {"losses": losses[-1]}


def weights() -> None:
    """Content weight along, style weight down."""
    contents, styles = (0.1, 1.0, 10.0, 100.0), (1.0, 10.0, 100.0, 1000.0)
    configs = {
        f"content {c:g}, style {s:g}": replace(BASE, content_weight=c, style_weight=s) for s in styles for c in contents
    }
    cells = run_grid(gatys, configs, CACHE / "gatys")
    store(picture(cells, columns=len(contents), height=150), "weights.jpg")


def critics(teacher: Path) -> None:
    """The compact critic and VGG-19's first blocks, average and max pooling."""
    vgg = replace(BASE, backbone="vgg19", weights=teacher, preprocessing="oxford", content_layers=("relu3_2",))
    configs = {
        f"{name}, {pooling}": replace(base, style_layers=LAYERS, pooling=pooling)
        for name, base in (("compact", BASE), ("VGG-19, three blocks", vgg))
        for pooling in ("avg", "max")
    }
    store(picture(run_grid(gatys, configs, CACHE / "gatys"), columns=2, height=220), "critics.jpg")


def paper(teacher: Path) -> None:
    """From the paper's way to ours, step by step; VGG-19's first three blocks above, the compact critic below."""
    ours = replace(BASE, size=256)
    adam = replace(ours, smallest=256, steps=120, style_scales=(1.0,))
    steps = {
        "noise, L-BFGS": replace(adam, init="noise", optimiser="lbfgs"),
        "photograph, L-BFGS": replace(adam, optimiser="lbfgs"),
        "photograph, Adam": adam,
        "pyramid, three scales": ours,
    }
    vgg = {"backbone": "vgg19", "weights": teacher, "preprocessing": "oxford", "content_layers": ("relu3_2",)}
    configs = {
        f"{name}: {title}": replace(config, style_layers=LAYERS, **options)
        for name, options in (("compact", {}), ("VGG-19, three blocks", vgg))
        for title, config in steps.items()
    }

    def rocket(config: nst.GatysConfig) -> tuple:
        return nst.stylize("rocket", "starry_night", config), {}

    cells = run_grid(rocket, configs, CACHE / "paper")
    rows = sorted(cells.items(), key=lambda cell: cell[0].startswith("compact"))
    store(picture(dict(rows), columns=len(steps), height=200), "paper.jpg")


def faces() -> None:
    """A face under three style weights, painted at 448 px and cut out."""

    def portrait(config: nst.GatysConfig) -> tuple:
        return nst.stylize("astronaut", "great_wave", config), {}

    configs = {f"style weight {w:g}": replace(BASE, size=448, style_weight=w) for w in (80.0, 40.0, 20.0)}
    cells = run_grid(portrait, configs, CACHE / "faces")
    heads = [cell.image.crop((90, 0, 350, 220)) for cell in cells.values()]
    store(sheet(heads, list(cells), height=220), "faces.jpg")


def fast(photos: Path) -> None:
    """Batch size down, epochs along."""
    configs = {
        f"batch {size}, epochs {epochs}": {"batch_size": size, "epochs": epochs}
        for size in (1, 4, 16)
        for epochs in (1, 2, 4)
    }

    def train(settings: dict) -> tuple:
        with tempfile.TemporaryDirectory() as folder:
            config = nst.TrainConfig(
                dataset=photos,
                style="stained_glass",
                save_model=Path(folder) / "net.safetensors",
                max_photos=600,
                image_size=128,
                workers=0,
                log_every=max(1, 40 // settings["batch_size"]),
                device="cpu",
                **settings,
            )
            states = []
            net = nst.train(config, callback=states.append)
        seen = [state.step * settings["batch_size"] for state in states]
        numbers = {"photographs": seen, "total": [state.losses["total"] for state in states]}
        return nst.paint("coffee", net, 320), numbers

    cells = run_grid(train, configs, CACHE / "fast")
    store(picture(cells, columns=3, height=190), "fast.jpg")
    longest = {title: cells[title].numbers for title in cells if title.endswith("epochs 4")}
    figure = curves(
        {t.split(",")[0]: (n["photographs"], smooth(n["total"])) for t, n in longest.items()}, xlabel="photographs"
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    store(Image.open(buffer).convert("RGB"), "fast_curves.jpg")


def smooth(values: list[float], over: int = 5) -> list[float]:
    """Each the mean of itself and the four before it."""
    return [
        sum(values[max(0, i - over + 1) : i + 1]) / len(values[max(0, i - over + 1) : i + 1])
        for i in range(len(values))
    ]


def picture(cells: dict[str, Cell], columns: int, height: int) -> Image.Image:
    return sheet([cell.image for cell in cells.values()], list(cells), columns, height)


def store(page: Image.Image, name: str) -> None:
    HERE.mkdir(exist_ok=True)
    with write_aside(HERE / name) as aside:
        page.save(aside, quality=84)
    print(f"{name}: {(HERE / name).stat().st_size // 1000} KB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a folder of photographs to train on")
    parser.add_argument("--teacher", type=Path, help="VGG-19's first three blocks")
    chosen = parser.parse_args()
    weights()
    faces()
    if chosen.teacher:
        critics(chosen.teacher)
        paper(chosen.teacher)
    if chosen.photos:
        fast(chosen.photos)
