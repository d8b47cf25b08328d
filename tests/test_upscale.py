"""Enlarging: the network's arithmetic, parts that equal the whole, pictures of all kinds, training it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from nstlib import CheckpointError, ImageError, TrainConfig, load_image, model_files, open_image, train
from nstlib.painting import upscale
from nstlib.painting.upscale import UpscaleConfig, UpscaleNet, bicubic, enlarge, enlarge_tensor, load_upscaler
from nstlib.pictures.files import read_image
from nstlib.screen import cli
from nstlib.training.upscaling import UpscaleObjective, degrade


@pytest.fixture
def net() -> UpscaleNet:
    """A small network of random weights, its last convolution too."""
    torch.manual_seed(0)
    net = UpscaleNet(UpscaleConfig(width=4, depth=2))
    torch.nn.init.normal_(net.tail.weight, std=0.1)
    return net.requires_grad_(False)


def test_bicubic_is_pillows():
    """Pillow rounds to 8 bits after each of its two passes: 1/255 and a half."""
    image = open_image("cat").crop((0, 0, 80, 60))
    for size in ((20, 15), (320, 240)):
        wanted = np.asarray(image.resize(size, Image.Resampling.BICUBIC)) / 255.0
        found = bicubic(load_image(image), size[0] / 80)[0].permute(1, 2, 0).clamp(0, 1)
        assert np.abs(found.numpy() - wanted).max() < 1.6 / 255


def test_prelu_is_torchs(noise):
    ours, theirs = upscale.PReLU(3), torch.nn.PReLU(3)
    theirs.load_state_dict(ours.state_dict())
    torch.testing.assert_close(ours(noise - 0.5), theirs(noise - 0.5))


def test_untrained_network_is_bicubic(noise):
    assert torch.equal(UpscaleNet()(noise), bicubic(noise))


def test_parts_are_the_whole(net, noise):
    """But for the rounding of sums of 36 products, and of bicubic weights that are computed from other offsets."""
    whole = ((net(noise) + net(noise.mT.flip(-2)).flip(-2).mT) / 2).clamp(0, 1)  # the turned one too
    torch.testing.assert_close(enlarge_tensor(net, noise, side=13), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (33, 5)])
@pytest.mark.parametrize("scale", [2, 4])
def test_any_size(net, size, scale):
    large = enlarge(torch.rand(1, 3, *size), net, scale)
    assert large.shape == (1, 3, scale * size[0], scale * size[1])
    assert 0 <= large.min() and large.max() <= 1


def test_too_large_is_said_before_any_work(net, monkeypatch):
    monkeypatch.setattr(upscale, "available", lambda device: 1e6)
    with pytest.raises(ImageError, match=r"256×192: needs about 0\.2 GB"):
        enlarge(torch.rand(1, 3, 48, 64), net)


@pytest.mark.parametrize("name", ["pixels", "perceptual"])
def test_shipped_networks(name):
    """Sharper than bicubic: an edge is steeper. Small, and of a known making."""
    net = load_upscaler(name)
    path = upscale.BUNDLED / f"enlarge_{name}.safetensors"
    assert path.stat().st_size <= 400_000 and path.stem not in model_files()
    assert net.card["objective"] == name and net.card["photographs"] and net.card["provenance"]
    edge = torch.full((1, 3, 16, 16), 0.25)
    edge[..., 8:] = 0.75
    steepest = [x.diff(dim=-1)[..., 20:44, :].abs().max() for x in (enlarge_tensor(net, edge), bicubic(edge))]
    assert steepest[0] > 1.2 * steepest[1]


def test_other_files_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no such model"):
        load_upscaler(tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError, match="holds no UpscaleNet"):
        load_upscaler(model_files()["woodblock"])


# ── the command ─────────────────────────────────────────────────────────────────────────────────────


def test_command_keeps_transparency(tmp_path, monkeypatch):
    """Colours under transparent pixels, here a loud green, do not show in the result."""
    monkeypatch.chdir(tmp_path)
    pixels = np.zeros((12, 16, 4), np.uint8)
    pixels[:] = (0, 255, 0, 0)
    pixels[:, :8] = (200, 30, 40, 255)
    Image.fromarray(pixels).save("cutout.png")
    cli.main(["enlarge", "cutout.png", "--model", "pixels"])
    with Image.open("cutout_x4.png") as image:
        large = np.asarray(image).astype(int)
    assert large.shape == (48, 64, 4)
    assert large[:, :24, 3].min() > 250 and large[:, 40:, 3].max() < 5
    seen = large[large[..., 3] > 25]
    assert (seen[:, 1] < 120).all()


def test_command_on_a_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for mode in ("L", "CMYK"):
        Image.new(mode, (9, 6)).save(f"in/{mode}.jpg")
    (tmp_path / "in" / "broken.png").write_bytes(b"no picture")
    with pytest.raises(SystemExit):
        cli.main(["enlarge", "in", "--scale", "2", "--model", "pixels"])
    assert sorted(path.name for path in (tmp_path / "in_x2").iterdir()) == ["CMYK.png", "L.png"]
    assert read_image("in_x2/L.png").size == (18, 12)
    assert "broken.png: not a picture" in capsys.readouterr().err


def test_paint_and_enlarge(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cli.main(["paint", "cat", "--model", "woodblock", "--size", "32", "--enlarge", "--output", "a.png"])
    assert open_image("a.png").size == (128, 84)


# ── training ────────────────────────────────────────────────────────────────────────────────────────


def test_degrade(noise):
    torch.manual_seed(0)
    photos = noise.expand(24, -1, -1, -1)
    small = degrade(photos)
    assert small.shape == (24, 3, 10, 12)
    assert torch.equal((small * 255).round() / 255, small)
    kinds = {tuple(picture.flatten().tolist()) for picture in small}
    assert len(kinds) > 3  # bicubic, box, blurred, JPEG
    assert tuple(((bicubic(noise, 1 / 4).clamp(0, 1) * 255).round() / 255).flatten().tolist()) in kinds


def test_objective_by_hand(config, noise):
    """Pixels: mean |x − y|. Perceptual: the mean of the relative errors of two layers and a fifth of the pixels."""
    photos, device = F.interpolate(noise, (64, 64)), torch.device("cpu")
    pixels = UpscaleObjective(replace(config, style=None, objective="pixels"), device)
    perfect = lambda small: F.interpolate(photos, (32, 32), mode="bicubic", antialias=True).clamp(0, 1)  # noqa: E731
    assert pixels(perfect, photos)["total"] == 0
    assert pixels(lambda small: perfect(small) + 0.25, photos)["total"] == pytest.approx(0.25)
    perceptual = UpscaleObjective(replace(config, style=None, objective="perceptual"), device)
    losses = perceptual(lambda small: perfect(small) + 0.25, photos)
    assert losses["total"] == pytest.approx((losses["content"] + 0.2 * losses["pixels"]).item())
    assert perceptual(lambda small: torch.zeros(1, 3, 32, 32), photos)["content"] > 0.5


@pytest.mark.parametrize("objective", ["pixels", "perceptual"])
def test_training(config, objective):
    train(replace(config, style=None, objective=objective, image_size=64, steps=2))
    assert load_upscaler(config.save_model).card["objective"] == objective
    assert json.loads((config.folder / "log.jsonl").read_text().splitlines()[-1])["pixels"] > 0


def test_objective_and_style_go_together(config):
    with pytest.raises(ValueError, match="style"):
        replace(config, objective="pixels")
    with pytest.raises(ValueError, match="style"):
        TrainConfig(dataset=config.dataset)
