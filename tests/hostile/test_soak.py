"""A long day in one process: memory stays where it was."""

import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nstlib.painting.fast import paint
from nstlib.painting.gatys import GatysConfig
from nstlib.painting.network import TransformerConfig, TransformerNet
from nstlib.painting.video import paint_video
from nstlib.pictures.clips import open_clip
from nstlib.pictures.colour import METHODS
from nstlib.pictures.reel import Reel
from nstlib.screen import control_desk
from nstlib.screen.control_desk import ControlDesk
from nstlib.screen.playground import Playground

STATM = Path("/proc/self/statm")
pytestmark = pytest.mark.skipif(not STATM.exists(), reason="memory is read from /proc, which is Linux'")
torch.set_num_threads(1)


def memory() -> int:
    """Resident memory of this process in bytes."""
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def is_flat(act, count: int) -> bool:
    """Whether memory stays where it is over so many acts."""
    seen = []
    for _ in range(count):
        act()
        seen.append(memory())
    return stays(seen)


def stays(seen: list[int]) -> bool:
    """Whether memory in the last quarter is within 2 % of that in the second quarter."""
    quarter = len(seen) // 4
    second, last = sum(seen[quarter : 2 * quarter]), sum(seen[-quarter:])
    print(f"{second / quarter / 1e6:.1f} MB, then {last / quarter / 1e6:.1f} MB")
    return last < 1.02 * second


def test_pictures(survived):
    rng = random.Random(1)
    net = TransformerNet(TransformerConfig(width=2, residual_blocks=0)).eval().requires_grad_(False)

    def act():
        picture = torch.rand(1, 3, rng.randint(16, 80), rng.randint(16, 80))
        paint(picture, net, preserve_colour=rng.choice(METHODS))

    assert is_flat(act, 2000)
    survived("soak", "a picture of another size painted in one process, memory flat", 2000)


def test_film(tmp_path, monkeypatch, survived):
    for module in ("av", "cv2"):
        pytest.importorskip(module)
    frames, seen, rng = tmp_path / "frames", [], np.random.default_rng(0)
    frames.mkdir()
    wide = rng.integers(0, 256, (48, 1064, 3), dtype=np.uint8)
    for i in range(1000):
        Image.fromarray(wide[:, i : i + 64]).save(frames / f"{i:04}.png", compress_level=0)

    def adding(self, i, pixels, add=Reel.add):
        add(self, i, pixels)
        seen.append(memory())

    monkeypatch.setattr(Reel, "add", adding)
    net = TransformerNet(TransformerConfig(width=2, residual_blocks=0)).eval().requires_grad_(False)
    film = open_clip(paint_video(frames, net, tmp_path / "film.mp4", passes=1))
    assert film.count == len(seen) == 1000 and stays(seen)
    survived("soak", "a frame of one film, memory flat", 1000)


def test_control_desk(monkeypatch, survived):
    monkeypatch.setattr(control_desk, "SIZES", (32,))
    config = GatysConfig(backbone="compact", size=32, device="cpu", style_scales=(1.0,))
    desk = ControlDesk(config=config, seconds=0)
    assert is_flat(desk.tick, 1000)
    assert desk.painter.count == 1000
    desk.close()
    survived("soak", "a tick of the control desk, memory flat", 1000)


def test_playground(survived):
    net = TransformerNet(TransformerConfig(width=4, residual_blocks=1, styles=("swirl", "ink"))).eval()
    playground, rng = Playground(net.requires_grad_(False), quick=48, size=64), random.Random(2)
    controls = [playground.strength, *playground.shares.values()]

    before = playground.picture.value

    def move():
        rng.choice(controls).value = rng.random()

    assert is_flat(move, 500)
    assert playground.picture.value != before
    playground.close()
    survived("soak", "a slider of the playground moved, memory flat", 500)
