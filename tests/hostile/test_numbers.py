"""Absurd weights and rates, and pictures of nothing: every output is a picture, and what the guard did is said."""

import math
import random
import re
from dataclasses import replace
from itertools import product

import pytest
import torch

from nstlib.critic.losses import DISTANCES, PerceptualLoss
from nstlib.errors import CheckpointError
from nstlib.painting.fast import paint
from nstlib.painting.gatys import GatysConfig, GatysPainter
from nstlib.painting.models import load_transformer, model_files, save_transformer
from nstlib.painting.network import TransformerConfig, TransformerNet
from nstlib.painting.stylize import stylize
from nstlib.pictures.colour import METHODS, recolour
from nstlib.pictures.files import save_image
from nstlib.screen import cli
from nstlib.training.trainer import train

torch.set_num_threads(1)
# two scales: with their margin these pictures have 32 pixels, and a quarter of that would be taken at 16 too
QUICK = GatysConfig(size=16, smallest=16, steps=12, style_scales=(1.0, 0.5), backbone="compact", device="cpu")


def pictures(height: int = 16, width: int = 16) -> dict[str, torch.Tensor]:
    """Pictures of nothing, one of chance, and one of the two."""
    flat = torch.ones(1, 3, height, width)
    noise = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1))
    colour = flat * torch.tensor([0.9, 0.1, 0.4]).view(1, 3, 1, 1)
    return {"black": 0 * flat, "white": flat, "one colour": colour, "noise": noise, "a spark": flat * (noise > 0.99)}


def is_picture(image: torch.Tensor) -> bool:
    """Neither NaN nor infinite, and from 0 to 1."""
    return bool(torch.isfinite(image).all() and image.min() >= 0 and image.max() <= 1)


SETTINGS = [
    {"style_weight": 1e12},
    {"style_weight": 1e38},
    {"content_weight": 1e12, "tv_weight": 1e12},
    {"style_weight": 0.0, "content_weight": 0.0},
    {"lr": 1e3},
    {"lr": 1e3, "style_weight": 1e12, "init": "noise"},
]


def test_stylize(survived, times):
    rng, found = random.Random(1), pictures()
    choices = [found, found, SETTINGS, ["adam", "lbfgs"], DISTANCES, METHODS]
    for _ in range(80 * times):
        content, style, settings, optimiser, formula, method = (rng.choice(list(choice)) for choice in choices)
        config = replace(QUICK, optimiser=optimiser, formula=formula, preserve_colour=method, **settings)
        painted = stylize(found[content], found[style], config)
        assert painted.shape == (1, 3, 16, 16) and is_picture(painted), (content, style, config)
    survived("numbers", "a painting with absurd weights or steps, of pictures of nothing", 80 * times)


@pytest.mark.parametrize("optimiser", ["adam", "lbfgs"])
@pytest.mark.parametrize("formula", DISTANCES)
def test_a_painter_says_what_its_guard_did(optimiser, formula, capsys, survived):
    found, acted = pictures(), 0
    config = replace(QUICK, optimiser=optimiser, formula=formula, style_weight=3e38, content_weight=3e38)
    config = replace(config, style_scales=(1.0,))  # without a margin every scale is the picture itself
    loss = PerceptualLoss(config)
    for content, style in product(found, found):
        painter = GatysPainter(found[content], [found[style]], config, loss=loss)
        states = [painter.step() for _ in range(12)]
        assert all(is_picture(state.image) for state in states)
        said = capsys.readouterr().out
        assert all(note in said for note in painter.notes)
        if not all(math.isfinite(state.losses["total"]) for state in states):
            assert "the loss is not finite; back to the last good picture, half the step size" in said
            assert painter.lr < config.lr
            acted += 1
    assert acted
    survived("numbers", "weights that make a painting's loss infinite", acted)


@pytest.fixture
def folder(tmp_path):
    """A folder of photographs, two of which have nothing on them."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    for name, picture in pictures(64, 72).items():
        save_image(picture, folder / f"{name}.png")
    return folder


TRAININGS = [
    {},
    {"style": ("ink", "swirl")},
    {"style_weight": 1e12},
    {"style_weight": 3e38, "content_weight": 3e38},
    {"lr": 1e3},
    {"lr": 1e3, "style_weight": 1e12, "precision": "bf16"},
    {"lr": 1e30},
    {"tv_weight": 1e12, "stability_weight": 1e12},
    {"lr": 1e3, "network": TransformerConfig(width=4, residual_blocks=1, norm="batch")},
    {"lr": 1e3, "style": ("ink", "swirl")},
    *({"formula": formula, "style_weight": 1e12, "lr": 1e3} for formula in DISTANCES),
]


@pytest.mark.parametrize("style", ["black", "white", "one colour", "noise"])
@pytest.mark.parametrize("settings", TRAININGS, ids=str)
def test_training(settings, style, config, folder, capsys, survived):
    """It ends with a network that paints, or with an error that says what to lower; at usual settings, well."""
    config = replace(config, dataset=folder, style=str(folder / f"{style}.png"), steps=8, style_size=32)
    config = replace(config, checkpoint_every=4, **settings)
    error = ""
    try:
        train(config)
    except CheckpointError as caught:
        error = str(caught)
        assert "lower --lr" in error
    assert not error or settings not in TRAININGS[:2]
    assert capsys.readouterr().out.count("the loss is not finite; back to step") == (10 if "not stay" in error else 0)
    log = config.folder / "log.jsonl"
    assert not log.exists() or not re.search("NaN|Infinity", log.read_text())
    assert error or config.save_model.exists()
    if config.save_model.exists():
        net = load_transformer(config.save_model)  # refuses what is not finite
        for picture in pictures().values():
            assert is_picture(paint(picture, net))
    survived("numbers", "a training with absurd weights or rates", 1)


@pytest.mark.parametrize("model", [*model_files(), "of chance"])
def test_paint(model, survived):
    torch.manual_seed(0)
    net, found = TransformerNet(TransformerConfig(width=4, residual_blocks=1)), pictures()
    if model == "of chance":
        for parameter in net.requires_grad_(False).parameters():
            parameter.uniform_(-100, 100)
    else:
        net = load_transformer(model)
    for picture, method in product(found.values(), METHODS):
        assert is_picture(paint(picture, net, preserve_colour=method))
    survived("numbers", "a picture of nothing painted by a network", len(found) * len(METHODS))


def test_a_network_that_paints_no_numbers_leaves_no_picture(folder, tmp_path, capsys, survived):
    torch.manual_seed(0)
    net = TransformerNet(TransformerConfig(width=4, residual_blocks=1)).requires_grad_(False)
    for parameter in net.parameters():
        parameter.uniform_(-65504, 65504)  # the largest that a file of ours can hold
    model, output = save_transformer(net, tmp_path / "absurd.safetensors"), tmp_path / "out.png"
    with pytest.raises(SystemExit) as end:
        cli.main(
            ["paint", str(folder / "white.png"), "--model", str(model), "--device", "cpu", "--output", str(output)]
        )
    said = capsys.readouterr().err
    assert end.value.code == 2 and said.count("\n") == 1 and "finite" in said and not output.exists()
    survived("numbers", "a network whose painting is not of numbers", 1)


def test_recolour(survived):
    found = pictures() | {
        f"nearly {name}": (p + 1e-7 * torch.rand(p.shape)).clamp(0, 1) for name, p in pictures().items()
    }
    found["least"] = torch.full((1, 3, 16, 16), 1e-42)  # a denormal number
    for image, reference, method in product(found.values(), found.values(), METHODS):
        assert is_picture(recolour(image, reference, method))
    survived("numbers", "a picture of nothing given another one's colours", len(found) ** 2 * len(METHODS))
