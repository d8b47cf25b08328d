"""Stable films: flow, cuts, what is carried along, and runs that are stopped; hostile/test_interrupted kills them."""

import numpy as np
import pytest
import torch
from PIL import Image

from nstlib.errors import ImageError
from nstlib.painting.flow import as_sharp, motion
from nstlib.painting.gatys import GatysConfig
from nstlib.painting.video import TemporalLoss, VideoConfig, carried, paint_video, stylize_video
from nstlib.pictures.clips import open_clip
from nstlib.pictures.reel import Reel

cv2 = pytest.importorskip("cv2")


def scene(seed: int, shift: int = 0, size: int = 96) -> np.ndarray:
    """A picture with structure everywhere, moved to the left."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(30, 226, (12, 12, 3), dtype=np.uint8)
    whole = np.asarray(Image.fromarray(coarse).resize((2 * size, 2 * size), Image.Resampling.BICUBIC))
    return whole[:size, shift : shift + size]


@pytest.fixture
def frames(tmp_path):
    """A folder of ten frames: six of one scene that moves by 2 pixels, four of another."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for i in range(10):
        Image.fromarray(scene(0, 2 * i) if i < 6 else scene(1, 2 * i)).save(folder / f"{i:02}.png")
    return folder


def shown(path) -> list[np.ndarray]:
    return [frame.pixels() for frame in open_clip(path)]


def test_motion_is_found():
    flow, mask, cut = motion(scene(0, 3), scene(0))  # what is at x now was at x + 3
    assert np.abs(np.median(flow[16:-16, 16:-16], (0, 1)) - (3, 0)).max() < 0.2  # pixels: DIS is not exact
    assert mask[16:-16, 16:-16].mean() > 0.9 and not cut


def test_what_comes_into_the_picture_is_not_trusted(monkeypatch):
    ahead = np.full((32, 32, 2), (8, 0), np.float32)
    monkeypatch.setattr("nstlib.painting.flow.optical_flow", lambda here, there: ahead if here is grey else -ahead)
    grey = np.full((32, 32, 3), 128, np.uint8)
    mask = motion(grey, grey.copy())[1]
    assert mask[:, :20].min() > 0.9 and mask[:, 28:].max() < 0.1


def test_cuts_are_found_and_light_is_none():
    assert motion(scene(1), scene(0))[2]
    assert not motion(scene(0), (scene(0) * 0.9).astype(np.uint8))[2]


def test_what_is_hidden_is_not_carried():
    here, there = scene(0), scene(0).copy()
    there[30:60, 30:60] = scene(5)[30:60, 30:60]  # an object that has gone
    _, mask, cut = motion(here, there)
    assert mask[35:55, 35:55].mean() < 0.3 < 0.9 < mask[:20].mean() and not cut


def test_each_remedy_is_a_switch():
    same, other = (scene(0), scene(0)), (scene(1), scene(0))
    painted = scene(7)
    led, mask = carried(*same, painted, VideoConfig())
    assert mask.min() > 0.9 and np.abs(led * 255 - painted).max() < 1.5  # at rest: no flow but what DIS rounds
    assert carried(*other, painted, VideoConfig())[1].max() == 0
    assert carried(*other, painted, VideoConfig(cuts=False, mask=False))[1].min() == 1


def test_detail_is_as_strong_as_in_a_single_painting():
    painted = (scene(3) / 255 + np.random.default_rng(0).normal(0, 0.1, (96, 96, 3))).astype(np.float32)
    soft = cv2.GaussianBlur(painted, (0, 0), 0.45)
    again = as_sharp(soft, painted)
    assert detail(soft) < 0.9 * detail(painted) and abs(detail(again) / detail(painted) - 1) < 0.02
    assert np.abs(as_sharp(painted, soft) - painted).max() < 1e-6  # nothing is made softer
    flat = np.full((32, 32, 3), 0.5, np.float32)
    assert np.abs(as_sharp(flat, painted[:32, :32]) - flat).max() < 1e-5


def detail(image):
    return np.std(image - cv2.GaussianBlur(image, (0, 0), 2.0))


def test_carrying_makes_it_steady(tmp_path, net):
    folder = tmp_path / "noisy"
    folder.mkdir()
    for i in range(8):
        noise = np.random.default_rng(i).normal(0, 4, (96, 96, 3))
        Image.fromarray((scene(0) + noise).clip(0, 255).astype(np.uint8)).save(folder / f"{i}.png")
    flicker = []
    for carry in (0.0, 0.98):
        films = shown(paint_video(folder, net, tmp_path / f"out{carry > 0}", VideoConfig(carry=carry), passes=1))
        flicker.append(np.std(np.stack(films).astype(float)[3:], axis=0).mean())
    assert flicker[1] < 0.6 * flicker[0]


def test_stopped_films_go_on(tmp_path, frames, net, monkeypatch):
    whole = shown(paint_video(frames, net, tmp_path / "whole"))
    calls = []

    def stopping(self, i, pixels, add=Reel.add):
        add(self, i, pixels)
        calls.append(i)
        if i in (3, 6):
            raise KeyboardInterrupt

    monkeypatch.setattr(Reel, "add", stopping)
    for count in (4, 7, 10):
        assert len(shown(paint_video(frames, net, tmp_path / "parts"))) == count
    assert calls == list(range(10))  # nothing is painted twice
    assert all((a == b).all() for a, b in zip(whole, shown(tmp_path / "parts"), strict=True))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_pieces_are_joined(tmp_path, frames, net, monkeypatch):
    pytest.importorskip("av")
    monkeypatch.setattr("nstlib.pictures.reel.PIECE", 4)
    film = open_clip(paint_video(frames, net, tmp_path / "film.mp4"))
    assert [frame.time for frame in film] == [frame.time for frame in open_clip(frames)]
    stills = shown(paint_video(frames, net, tmp_path / "stills"))
    for a, b in zip(shown(film.path), stills, strict=True):
        assert np.abs(a.astype(int) - b).mean() < 12  # H.264, and half of the colours' pixels


def test_a_film_killed_while_it_encodes_a_piece(tmp_path, frames, net, monkeypatch):
    """The piece's frames are there, the piece is not: the next run makes it, and the film is the same to the byte."""
    pytest.importorskip("av")
    monkeypatch.setattr("nstlib.pictures.reel.PIECE", 4)

    class Killed(BaseException):
        """Nothing catches it, as nothing catches kill -9."""

    def killed(self, path, first, end):
        raise Killed

    for name in ("whole.mp4", "killed.mp4"):
        with monkeypatch.context() as patch:
            if name == "killed.mp4":
                patch.setattr(Reel, "_encode", killed)
                with pytest.raises(Killed):
                    paint_video(frames, net, tmp_path / name)
        paint_video(frames, net, tmp_path / name)
    assert (tmp_path / "whole.mp4").read_bytes() == (tmp_path / "killed.mp4").read_bytes()


def test_by_optimisation(tmp_path, frames):
    config = GatysConfig(backbone="compact", steps=5, smallest=48)
    film = shown(stylize_video(frames, "ink", tmp_path / "film.gif", config, VideoConfig(size=48, end=0.12)))
    assert [frame.shape for frame in film] == [(48, 48, 3)] * 3


def test_temporal_term():
    loss = TemporalLoss(GatysConfig(backbone="compact"))
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    loss.set_content(image)
    loss.set_styles([image])
    alone = loss(image)["total"]
    loss.led, loss.mask = image + 0.1, torch.zeros(1, 1, 32, 32)
    assert loss(image)["total"] == alone
    loss.mask = torch.ones(1, 1, 32, 32)
    torch.testing.assert_close(loss(image)["total"] - alone, torch.tensor(loss.weight * 0.01), rtol=1e-3, atol=0)


def test_what_cannot_be_made(tmp_path, frames, net):
    with pytest.raises(ImageError, match=r"cannot write \.avi"):
        paint_video(frames, net, tmp_path / "film.avi")
    with pytest.raises(ImageError, match="no such clip"):
        paint_video(tmp_path / "none.mp4", net, tmp_path / "film.mp4")
