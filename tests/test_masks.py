"""Masks: where a style goes, in all the ways that people draw them, and the photograph stays where none is."""

import numpy as np
import pytest
import torch
from PIL import Image

from nstlib import GatysConfig, ImageError, PerceptualLoss, paint, stylize, to_tensor
from nstlib.critic.extractor import FeatureExtractor
from nstlib.critic.guides import guides
from nstlib.critic.losses import LossConfig
from nstlib.painting.stylize import style_shape
from nstlib.pictures.samples import open_mask, to_mask, to_style

LEFT = np.zeros((20, 30), np.uint8)
LEFT[:, :15] = 255


def with_alpha(grey: int) -> Image.Image:
    return Image.fromarray(np.dstack([np.full((20, 30, 3), grey, np.uint8), LEFT]))


@pytest.mark.parametrize(
    "drawn",
    [
        Image.fromarray(LEFT),
        with_alpha(255),  # white on transparent
        with_alpha(0),  # black on transparent
        Image.fromarray(LEFT).convert("1"),
        Image.fromarray(LEFT // 255),  # labels
        Image.fromarray((LEFT // 255).astype(np.uint16)),
        Image.fromarray(LEFT.astype(np.uint16) * 257),
    ],
    ids=["grey", "white", "black", "bits", "labels", "labels16", "grey16"],
)
def test_every_kind_of_mask(drawn, tmp_path):
    drawn.save(tmp_path / "mask.png")
    assert np.array_equal(np.asarray(open_mask(tmp_path / "mask.png")), LEFT)


def test_a_black_mask_is_refused(tmp_path):
    Image.new("L", (9, 9)).save(tmp_path / "mask.png")
    with pytest.raises(ImageError, match=r"mask.png: the mask is black everywhere"):
        open_mask(tmp_path / "mask.png")


@pytest.fixture
def left(tmp_path):
    Image.fromarray(LEFT).save(tmp_path / "left.png")
    return tmp_path / "left.png"


@pytest.mark.parametrize("colour", ["none", "luminance", "mean"])
@pytest.mark.parametrize("init", ["content", "noise"])
def test_stylize_leaves_the_photograph_where_no_mask_is(init, colour, left):
    photo = torch.rand(1, 3, 20, 30, generator=torch.Generator().manual_seed(0))
    settings = {"size": 30, "smallest": 20, "steps": 2, "init": init, "preserve_colour": colour}
    states = []
    config = GatysConfig(mask=(left,), backbone="compact", device="cpu", **settings)
    painted = stylize(photo, "swirl", config, states.append)
    photo = (photo * 255).round() / 255  # as opened
    assert painted[..., 15:].equal(photo[..., 15:]) and not painted[..., :15].equal(photo[..., :15])
    assert (states[-1].image - photo)[..., 15:].abs().max() < 1e-6  # one rounding: it is shown on the way too


def test_paint_leaves_the_photograph_where_the_mask_is_black(left, net):
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))
    painted = paint(photo, net, mask=left)
    assert painted[..., 15:].equal(to_tensor(photo)[..., 15:])
    assert painted[..., :15].equal(paint(photo, net)[..., :15])


def test_a_mask_of_another_size_is_stretched(left):
    mask = to_mask(open_mask(left), (40, 60))
    assert mask.shape == (1, 1, 40, 60) and mask[..., :28].min() == 1 and mask[..., 32:].max() == 0


# ── styles ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def sticker() -> Image.Image:
    """A pattern whose right half is transparent, and white there."""
    pixels = np.random.default_rng(0).integers(0, 100, (32, 64, 3), dtype=np.uint8)
    pixels[:, 32:] = 255
    alpha = np.full((32, 64, 1), 255, np.uint8)
    alpha[:, 32:] = 0
    return Image.fromarray(np.dstack([pixels, alpha]))


def test_the_ground_of_a_style_has_the_nearest_colour(sticker):
    style = to_style(sticker)
    assert style.shape == (1, 4, 32, 64)
    assert style[:, :3, :, 32:].equal(style[:, :3, :, 31:32].expand(-1, -1, -1, 32))
    assert style[:, 3].unique().tolist() == [0, 1]
    assert to_style(sticker.convert("RGB")).shape == (1, 3, 32, 64)


def test_only_the_opaque_part_of_a_style_counts(sticker):
    loss = PerceptualLoss(
        LossConfig(backbone="compact", style_layers=("relu1_1",), content_layers=("relu1_1",)),
        FeatureExtractor("compact", ("relu1_1",), weights=None),
    )
    grams = []
    whole = to_style(sticker)
    for style in (whole, whole[:, :3, :, :32], to_tensor(sticker)):
        loss.set_styles([style])
        grams.append(loss.styles[0][1.0, "relu1_1"])
    error, before = ((gram - grams[1]).norm() / grams[1].norm() for gram in (grams[0], grams[2]))
    assert error < 0.05 < before  # the last column of features sees over the edge


@pytest.mark.parametrize(
    "style, content", [((500, 500), (128, 4096)), ((900, 300), (64, 17000)), ((100, 300), (480, 640))]
)
def test_a_style_has_no_more_pixels_than_the_content(style, content):
    height, width = style_shape(style, content)
    area = (content[0] + 16) * (content[1] + 16)  # with its mirrored margin
    assert height * width <= area * 1.01  # whole pixels
    assert max(height, width) <= max(content)
    assert height / width == pytest.approx(style[0] / style[1], rel=0.05)  # whole pixels


# ── guides ──────────────────────────────────────────────────────────────────────────────────────────


def test_features_that_see_the_photograph_do_not_count():
    left = torch.zeros(1, 1, 4, 12)
    left[..., :6] = 1
    for layer, columns in {"relu1_1": 5, "relu2_2": 4, "pool3": 3}.items():
        (guide,) = guides([left], layer, (4, 12))
        assert guide[..., :columns].min() == 1 and guide[..., columns:].max() == 0
    (guide,) = guides([left], "relu2_1", (2, 6))
    assert guide[0, 0, 0].tolist() == [1, 0, 0, 0, 0, 0]


def test_between_two_styles_all_features_count():
    left = torch.zeros(1, 1, 4, 12)
    left[..., :6] = 1
    first, second = guides([left, 1 - left], "relu3_1", (4, 12))
    assert first.equal(left) and second.equal(1 - left)


def test_a_narrow_mask_counts_in_the_first_block_alone():
    line = torch.zeros(1, 1, 4, 12)
    line[..., 5] = 1
    assert guides([line], "relu1_2", (4, 12))[0].equal(line)
    assert guides([line], "relu3_1", (4, 12))[0].max() == 0
