"""Tiles: what is computed part by part is what the whole gives, to the rounding of sums in another order."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from nstlib.critic.extractor import FeatureExtractor
from nstlib.critic.losses import DISTANCES, LossConfig, PerceptualLoss
from nstlib.critic.tiled import TiledLoss
from nstlib.painting import tiles as painting_tiles
from nstlib.painting.fast import paint_tensor
from nstlib.painting.network import ConditionalInstanceNorm, TransformerConfig, TransformerNet
from nstlib.painting.tiles import paint_tiled
from nstlib.pictures.convert import to_tensor
from nstlib.pictures.pixels import cut, tiles, widened

pytestmark = pytest.mark.numeric
EXACT = 2e-5  # sums of a few hundred float32 in another order, through eight normed layers, times 4


@pytest.fixture(autouse=True)
def float32(monkeypatch):
    """Tiles compute in float32, and keep it here; so must the whole."""
    monkeypatch.setenv("NSTLIB_PRECISION", "float32")
    monkeypatch.setattr(painting_tiles, "KEPT", torch.float32)


def random_picture(height: int, width: int, mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, len(mode)), dtype=np.uint8)
    return Image.fromarray(pixels, mode)


def random_net(**changes) -> TransformerNet:
    torch.manual_seed(0)
    net = TransformerNet(TransformerConfig(**{"width": 4, "residual_blocks": 2} | changes)).eval().requires_grad_(False)
    for module in net.modules():
        if isinstance(module, ConditionalInstanceNorm):
            module.weight.normal_(1, 0.3), module.bias.normal_()
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(), module.running_var.uniform_(0.5, 2)
    if changes.get("styles"):
        net.skip_share.normal_()
    net.to_rgb.weight.mul_(255 if net.config.legacy_range else 4)  # a picture with contrast
    return net


# ── the grid ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("shape", "side", "multiple"), [((70, 33), 32, 4), ((31, 9), 64, 8), ((5, 200), 16, 1)])
def test_tiles_cover_once(shape, side, multiple):
    count = torch.zeros(shape)
    for box in tiles(shape, (side, side), multiple):
        assert all(start % multiple == 0 for start, _ in box)
        cut(count, box).add_(1)
    assert (count == 1).all()


def test_a_halo_ends_at_the_border():
    assert widened(((0, 8), (8, 16)), 4, (40, 18)) == ((0, 12), (4, 18))


# ── a network ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"upsample": "deconv", "downsample": "maxpool"},
        {"norm": "batch"},
        {"legacy_range": True},
        {"styles": ("swirl", "ink")},
        {"residual_blocks": 0},
    ],
    ids=str,
)
@pytest.mark.parametrize("shape", [(61, 83), (130, 19), (20, 24)])  # uneven tiles, narrow ones, one tile
@pytest.mark.parametrize("passes", [1, 2])
def test_a_network_paints_the_same_in_tiles(changes, shape, passes):
    net, picture = random_net(**changes), random_picture(*shape)
    blend = net.blend({"swirl": 0.3, "ink": 0.7}, strength=0.6) if net.config.styles else None
    whole = paint_tensor(net, to_tensor(picture), blend, passes)
    assert whole.std() > 0.01
    torch.testing.assert_close(paint_tiled(net, picture, blend, passes, side=32), whole, rtol=0, atol=EXACT)


def test_what_is_kept_in_half_precision_does_not_show(monkeypatch):
    monkeypatch.setattr(painting_tiles, "KEPT", torch.float16)
    net, picture = random_net(residual_blocks=5), random_picture(130, 83)
    whole, tiled = paint_tensor(net, to_tensor(picture)), paint_tiled(net, picture, side=32)
    assert 0 < (tiled - whole).abs().max() < 1 / 255


def test_transparency_is_flattened_on_white():
    net, picture = random_net(), random_picture(40, 50, "RGBA")
    whole = paint_tensor(net, to_tensor(picture))
    torch.testing.assert_close(paint_tiled(net, picture, side=32), whole, rtol=0, atol=EXACT)


# ── the losses ──────────────────────────────────────────────────────────────────────────────────────


def judged(kind, config: LossConfig, shape: tuple[int, int], styles: int = 1, masks: bool = False, **options):
    """The losses of a random picture, and the gradient of their sum, in float64."""
    draw = torch.Generator().manual_seed(0)
    content, image, *pictures = (
        torch.rand(1, 3, *size, generator=draw, dtype=torch.float64)
        for size in [shape, shape, *[(70 + 9 * i, 50) for i in range(styles)]]
    )
    content_layers, style_layers = config.layers()
    critic = FeatureExtractor(config.backbone, tuple({*content_layers, *style_layers}), weights=None)
    loss = kind(config, critic.double(), **options)
    loss.set_content(content)
    guides = [torch.rand(1, 1, *shape, generator=draw, dtype=torch.float64) for _ in pictures] if masks else None
    if masks:  # of the second style only a part counts
        pictures[1] = torch.cat([pictures[1], pictures[1][:, :1].round()], 1)
    loss.set_styles(pictures, (0.3, 0.7)[:styles], guides)
    image.requires_grad_()
    losses = loss(image)
    losses["total"].backward()
    return losses, image.grad


BASE = LossConfig(backbone="compact", tv_weight=0.5)
WEIGHTS = (1.0, 2.0, 0.0, 1.0)
SEVERAL = replace(BASE, style_scales=(1.0, 0.5, 0.25))


@pytest.mark.parametrize(
    ("config", "shape", "options"),
    [
        (BASE, (64, 96), {}),
        (BASE, (61, 95), {}),
        (SEVERAL, (61, 95), {"styles": 2, "masks": True}),
        (replace(SEVERAL, style_scales=(0.5,)), (80, 70), {"styles": 2}),
        *(
            (replace(BASE, formula=name, pooling="max", style_layer_weights=WEIGHTS), (61, 95), {})
            for name in DISTANCES
        ),
        (LossConfig(backbone="vgg19", style_layers=("relu1_1", "pool1"), content_layers=("conv2_1",)), (61, 40), {}),
    ],
    ids=["even", "uneven", "masks", "one small scale", *DISTANCES, "vgg19"],
)
def test_losses_and_gradient_are_the_whole_pictures(config, shape, options):
    """Sums of 10⁵ float64 numbers in another order: 1e-16 · √10⁵, with room for what cancels."""
    whole, gradient = judged(PerceptualLoss, config, shape, **options)
    found, tiled = judged(TiledLoss, config, shape, **options, side=32)
    for name in whole:
        torch.testing.assert_close(found[name], whole[name], rtol=1e-11, atol=0)
    assert (tiled - gradient).norm() <= 1e-11 * gradient.norm()


def test_a_gradient_in_float32(monkeypatch):
    """1e-5 is promised; float32 has 6e-8, and no sum here is longer than 10⁵."""
    monkeypatch.setattr(torch, "float64", torch.float32)
    monkeypatch.setattr(FeatureExtractor, "double", lambda self: self)
    _, gradient = judged(PerceptualLoss, SEVERAL, (61, 95), 2, True)
    _, tiled = judged(TiledLoss, SEVERAL, (61, 95), 2, True, side=32)
    assert (tiled - gradient).norm() <= 1e-5 * gradient.norm()


def test_a_tile_needs_its_halo(monkeypatch):
    """The test of exactness can fail: without the halo it does."""
    _, gradient = judged(PerceptualLoss, BASE, (64, 96))
    monkeypatch.setattr("nstlib.critic.tiled.widened", lambda box, halo, shape: box)
    _, tiled = judged(TiledLoss, BASE, (64, 96), side=32)
    assert (tiled - gradient).norm() > 1e-3 * gradient.norm()
