"""Grids of experiments: each cell is run once, kept on disk, and found there the next time."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from ..errors import ImageError
from ..pictures.files import read_image, save_image, settings_of
from ..storage import writing


class Cell(NamedTuple):
    """What one experiment gave."""

    image: Image.Image
    numbers: dict[str, Any]  # whatever the experiment measured: losses, curves, seconds


def run_grid(
    run: Callable[[Any], tuple[Tensor, dict[str, Any]]], configs: Mapping[str, Any], folder: str | Path
) -> dict[str, Cell]:
    """Run an experiment for every config, or take what an earlier run left in the folder.

    Stopped half-way, the same call goes on with the first cell that is missing. A cell is known by the settings
    that differ from their defaults, so a folder belongs to one `run`; titles may change.

    Args:
        run: gives the picture `(1, 3, H, W)` in [0, 1] and numbers that JSON can hold, for a config.
        configs: a dataclass, or a dictionary of arguments, for each title.
        folder: where the cells are kept, each a PNG with config and numbers inside.
    """
    folder, cells = Path(folder), {}
    with writing(folder, ImageError):
        folder.mkdir(parents=True, exist_ok=True)
    for title, config in tqdm(configs.items(), desc="experiments", delay=1):
        settings = _changed(config) if is_dataclass(config) else dict(config)
        text = json.dumps(settings, default=str, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        path = folder / f"{re.sub('[^0-9a-z]+', '_', title.lower())[:40]}-{digest}.png"
        path = next(iter(sorted(folder.glob(f"*-{digest}.png"))), path)
        if not path.exists():
            image, numbers = run(config)
            save_image(image, path, {"config": json.loads(text), "numbers": numbers})
        cells[title] = Cell(read_image(path), settings_of(path).get("numbers", {}))
    return cells


def _changed(config) -> dict[str, Any]:
    """The settings that differ from their defaults: a version with one setting more knows its old cells."""
    defaults = {f.name: f.default if f.default_factory is MISSING else f.default_factory() for f in fields(config)}
    return {name: getattr(config, name) for name in defaults if getattr(config, name) != defaults[name]}
