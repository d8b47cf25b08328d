"""The losses against hand-solved values, finite differences and the papers' formulas.

All in float64: there roundings are 1e-13, on any processor, and mistakes 1e-2; torch's own tolerance is 1e-7.
"""

from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck, gradgradcheck

from nstlib.critic import losses as losses_room
from nstlib.critic.extractor import FeatureExtractor
from nstlib.critic.losses import (
    LossConfig,
    PerceptualLoss,
    gram,
    half_sum,
    masked_gram,
    per_element,
    quarter_sum,
    relative,
    squared_variation,
    total_variation,
)
from nstlib.critic.presets import PRESETS
from nstlib.painting.gatys import GatysConfig
from nstlib.training.config import TrainConfig

pytestmark = pytest.mark.numeric
CONTENT, STYLE = ("relu3_2",), ("relu1_1", "relu2_1", "relu3_1", "relu3_4")
DISTANCES = [relative, half_sum, quarter_sum, per_element]


def rand(*shape, seed=0, dtype=torch.float64):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.fixture(autouse=True)
def float64():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def critic():
    return FeatureExtractor("compact", tuple({*CONTENT, *STYLE}), weights=None).double()


@pytest.fixture
def pictures():
    """Content, style and a third picture, each (1, 3, 32, 40)."""
    return [rand(1, 3, 32, 40, seed=seed) for seed in (1, 2, 3)]


@pytest.fixture
def loss_of(critic, pictures):
    """Builds a PerceptualLoss whose content and only style are the first two pictures."""

    def build(styles=None, blend=None, masks=None, **settings):
        loss = PerceptualLoss(LossConfig(backbone="compact", **{"style_scales": (1.0,)} | settings), critic)
        loss.set_content(pictures[0])
        loss.set_styles(styles or [pictures[1]], blend, masks)
        return loss

    return build


# ── Gram matrices ───────────────────────────────────────────────────────────────────────────────────


def test_gram_by_hand():
    # channels (1, 2) and (3, 4) of a 1×2 picture: 1·1+2·2 = 5, 1·3+2·4 = 11, 3·3+4·4 = 25; C·H·W = 4
    features = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(1, 2, 1, 2)
    assert torch.equal(gram(features), torch.tensor([[[5.0, 11.0], [11.0, 25.0]]]) / 4)


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_gram_equals_einsum(memory):
    features = torch.randn(3, 5, 4, 7).contiguous(memory_format=memory)
    torch.testing.assert_close(gram(features), torch.einsum("bihw,bjhw->bij", features, features) / (5 * 4 * 7))


@pytest.mark.parametrize("inside", [True, False], ids=["backward under autocast", "backward outside"])
def test_gram_is_float32_under_autocast(inside):
    features = (300 * rand(1, 4, 30, 30, dtype=torch.float32)).requires_grad_()
    (expected,) = torch.autograd.grad(gram(features).square().sum(), features)
    with torch.autocast("cpu", torch.bfloat16):
        g = gram(features)
        total = g.square().sum()
        if inside:
            (got,) = torch.autograd.grad(total, features)
    if not inside:
        (got,) = torch.autograd.grad(total, features)
    assert g.dtype == torch.float32
    torch.testing.assert_close(g, gram(features))
    torch.testing.assert_close(got, expected)


def test_gram_of_half_precision_does_not_overflow():
    features = torch.full((1, 2, 64, 64), 200.0, dtype=torch.float16)  # Σ = 1.6e8, over float16's 65504
    assert torch.equal(gram(features), torch.full((1, 2, 2), 200.0**2 / 2, dtype=torch.float32))


@pytest.mark.parametrize("grey", [1.0, 0.5])
def test_masked_gram_of_an_even_mask_is_gram(grey):
    features = torch.randn(1, 5, 6, 8)
    torch.testing.assert_close(masked_gram(features, torch.full((1, 1, 24, 32), grey)), gram(features))


def test_masked_gram_looks_only_under_its_mask():
    features, mask = torch.randn(1, 5, 6, 8), torch.zeros(1, 1, 24, 32)
    mask[..., :16] = 1
    changed = features.clone()
    changed[..., 4:] = 99
    torch.testing.assert_close(masked_gram(features, mask), masked_gram(changed, mask))
    assert not torch.allclose(masked_gram(features, 1 - mask), masked_gram(changed, 1 - mask))


def test_masked_gram_does_not_depend_on_the_area():
    tile, mask = torch.randn(1, 5, 6, 4), torch.zeros(1, 1, 6, 8)
    mask[..., :4] = 1
    torch.testing.assert_close(masked_gram(torch.cat([tile, tile], -1), mask), gram(tile))


def test_black_mask_is_finite():
    features = torch.randn(1, 3, 4, 4, requires_grad=True)
    g = masked_gram(features, torch.zeros(1, 1, 4, 4))
    g.sum().backward()
    assert not g.any() and torch.isfinite(features.grad).all()


# ── total variation and distances ───────────────────────────────────────────────────────────────────


def test_variation_by_hand():
    # 0 0 1 1 in each of 2 rows: 3 differences across a row, of which one is 1 → mean 1/3; down 0.
    # Squares: 2 rows × 3 channels, one 1 in each → 6.
    picture = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(1, 3, 2, 4)
    assert total_variation(picture).item() == pytest.approx(1 / 3)
    assert squared_variation(picture).item() == 6
    assert total_variation(picture.mT).item() == pytest.approx(1 / 3)
    for shape in ((2, 3, 5, 6), (1, 3, 1, 1)):  # flat, or one pixel
        assert total_variation(torch.full(shape, 0.7)) == squared_variation(torch.full(shape, 0.7)) == 0


def test_distances_by_hand():
    # x = (1, 2), target = (3, 4): differences −2, −2, so Σ² = 8; ‖target‖² = 25; 2 elements
    x, target = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]])
    values = [distance(x, target).item() for distance in DISTANCES]
    assert values == pytest.approx([8 / 25, 4, 2, 4])


@pytest.mark.parametrize("distance", DISTANCES)
def test_distance_is_a_mean_over_the_batch(distance):
    x, target = rand(2, 3, 4, 5, seed=1), rand(2, 3, 4, 5, seed=2)
    singles = [distance(x[i : i + 1], target[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(distance(x, target), sum(singles) / 2)
    assert distance(x, x) == 0


def test_relative_distance_to_nothing_is_finite():
    assert torch.isfinite(relative(torch.ones(1, 3), torch.zeros(1, 3)))


@pytest.mark.parametrize(
    "function",
    [
        gram,
        lambda x: masked_gram(x, rand(1, 1, 4, 5, seed=9)),
        total_variation,
        squared_variation,
        *(lambda x, d=distance: d(x, rand(*x.shape, seed=7, dtype=x.dtype)) for distance in DISTANCES),
    ],
    ids=["gram", "masked_gram", "tv", "squared_tv", *(d.__name__ for d in DISTANCES)],
)
def test_gradients(function):
    x = rand(2, 3, 4, 5, seed=3, dtype=torch.float64).requires_grad_()
    assert gradcheck(function, x)
    assert gradgradcheck(function, x)


# ── the weighted sum ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("formula", ["scale_free", "gatys2016", "johnson2016"])
def test_zero_on_its_own_targets(loss_of, pictures, formula):
    loss = loss_of(formula=formula)
    assert loss(pictures[0])["content"] == 0 < loss(pictures[0])["style"]
    assert loss(pictures[1])["style"] == 0 < loss(pictures[1])["content"]


def test_total_is_the_weighted_sum(loss_of, pictures):
    losses = loss_of(style_weight=3, content_weight=5, tv_weight=7)(pictures[2])
    expected = 5 * losses["content"] + 3 * losses["style"] + 7 * losses["tv"]
    torch.testing.assert_close(losses["total"], expected)
    assert losses["tv"] == total_variation(pictures[2])


def test_scale_free_by_formula(loss_of, critic, pictures):
    f, p, a = (critic(pictures[i]) for i in (2, 0, 1))
    losses = loss_of()(pictures[2])
    content = ((f["relu3_2"] - p["relu3_2"]).norm() / p["relu3_2"].norm()) ** 2
    style = sum(((gram(f[n]) - gram(a[n])).norm() / gram(a[n]).norm()) ** 2 for n in STYLE) / 4
    torch.testing.assert_close(losses["content"], content)
    torch.testing.assert_close(losses["style"], style)


def test_scale_free_does_not_see_the_scale_of_the_features(pictures):
    losses = []
    for scale in (1, 50):
        critic = FeatureExtractor("compact", (*CONTENT, *STYLE), weights=None).double()
        critic.convs["conv1_1"].weight.mul_(scale)  # no biases: every layer scales with it
        loss = PerceptualLoss(LossConfig(backbone="compact"), critic)
        loss.set_content(pictures[0])
        loss.set_styles([pictures[1]])
        losses.append(loss(pictures[2])["total"])
    torch.testing.assert_close(losses[0], losses[1])


def flat(features):
    return features[0].flatten(1)  # (C, H*W)


def gatys(f, p, a, x):
    """Equations 1, 4 and 5: ½Σ(F−P)² and Σ_l ⅕ · 1/(4N²M²) Σ(G−A)², G_ij = Σ_k F_ik F_jk."""
    style = 0
    for name in ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"):
        (n, m), g, target = flat(f[name]).shape, flat(f[name]), flat(a[name])
        style += 0.2 / (4 * n**2 * m**2) * (g @ g.T - target @ target.T).square().sum()
    return (f["relu4_2"] - p["relu4_2"]).square().sum() / 2, style


def johnson(f, p, a, x):
    """Equations 2 and 3: ‖φ−φ‖²/(CHW), G/(CHW); of equation 4 the mean, as the authors' code and pytorch/examples."""
    style = 0
    for name in ("relu1_2", "relu2_2", "relu3_3", "relu4_3"):
        g, target = (flat(y[name]) @ flat(y[name]).T / y[name].numel() for y in (f, a))
        style += (g - target).square().mean()
    return F.mse_loss(f["relu2_2"], p["relu2_2"]), style


@pytest.mark.parametrize(
    ("name", "formula", "weights"),
    [
        ("gatys2016", gatys, (1, 1e3, 0)),
        ("johnson2016", johnson, (1, 5, 0.033)),
        ("pytorch_examples", johnson, (1e5, 1e10, 0)),
    ],
)
def test_presets_equal_the_papers(pictures, name, formula, weights):
    config = LossConfig(**PRESETS[name])
    critic = FeatureExtractor(config.backbone, sum(config.layers(), ()), weights=None, pooling=config.pooling).double()
    loss, (content, style, x) = PerceptualLoss(config, critic), pictures
    loss.set_content(content)
    loss.set_styles([style])
    losses = {name: value.item() for name, value in loss(x).items()}
    expected = [value.item() for value in formula(critic(x), critic(content), critic(style), x)]
    variation = ((x[..., 1:, :] - x[..., :-1, :]) ** 2).sum() + ((x[..., 1:] - x[..., :-1]) ** 2).sum()
    expected.append(variation.item())
    assert [losses["content"], losses["style"], losses["tv"]] == pytest.approx(expected)
    assert losses["total"] == pytest.approx(sum(w * e for w, e in zip(weights, expected, strict=True)))


def test_presets_ask_for_their_papers_critic():
    configs = {name: LossConfig(**preset) for name, preset in PRESETS.items()}
    asked = {name: (c.backbone, c.pooling, c.layers()[0]) for name, c in configs.items()}
    assert asked == {
        "gatys2016": ("vgg19", "avg", ("relu4_2",)),
        "johnson2016": ("vgg16", "max", ("relu2_2",)),
        "pytorch_examples": ("vgg16", "max", ("relu2_2",)),
    }


@pytest.mark.parametrize("config", [GatysConfig, partial(TrainConfig, dataset=Path("photos"), style="ink")])
def test_a_preset_leaves_nothing_of_the_losses_to_our_defaults(config):
    for name, preset in PRESETS.items():
        made = config(**preset)
        assert {f.name: getattr(made, f.name) for f in fields(LossConfig)} == asdict(LossConfig(**preset)), name


def test_the_default_critic_is_chosen_once(monkeypatch, critic, pictures):
    """VGG-19 may be downloaded, by another program, while a painting runs."""
    monkeypatch.setattr(losses_room, "default_backbone", lambda: "compact")
    config = LossConfig()
    loss = PerceptualLoss(config, critic)
    loss.set_content(pictures[0])
    loss.set_styles([pictures[1]])
    monkeypatch.setattr(losses_room, "default_backbone", lambda: "vgg19")
    loss.configure(replace(config, style_weight=5.0))
    assert loss(pictures[2])["total"] > 0 and loss.config.backbone == "compact"
    assert LossConfig().backbone == "vgg19"


def test_content_needs_its_own_layers_only(noise):
    loss, computed = PerceptualLoss(LossConfig(backbone="compact", content_layers=("relu2_1",))), []
    for name, layer in [*loss.extractor.convs.items(), *loss.extractor.heads.items()]:
        layer.register_forward_hook(lambda *_, name=name: computed.append(name))
    loss.set_content(noise.float())
    assert computed == ["conv1_1", "conv1_2", "conv2_1", "relu2_1"]
    torch.testing.assert_close(loss.content["relu2_1"], loss.extractor(noise.float())["relu2_1"])


def test_a_layer_named_twice_is_refused():
    with pytest.raises(ValueError, match=r"style_layers=.*different"):
        LossConfig(backbone="compact", style_layers=("relu1_1", "relu1_1"))


def test_a_mask_for_each_style(critic, pictures):
    with pytest.raises(ValueError, match="1 masks for 2 styles"):
        PerceptualLoss(LossConfig(backbone="compact"), critic).set_styles(pictures[:2], masks=[pictures[0][:, :1]])


# ── several styles, layers, scales, masks ───────────────────────────────────────────────────────────


def test_blend_mixes_the_targets(loss_of, critic, pictures):
    loss = loss_of([pictures[1], pictures[2]], (3, 1), style_layers=("relu2_1",))
    grams = [gram(critic(picture)["relu2_1"]) for picture in pictures]
    expected = relative(grams[0], 0.75 * grams[1] + 0.25 * grams[2])
    torch.testing.assert_close(loss(pictures[0])["style"], expected)
    loss.set_blend((0, 5))
    torch.testing.assert_close(loss(pictures[0])["style"], relative(grams[0], grams[2]))


@pytest.mark.parametrize("blend", [(1,), (1, 1, 1), (-1, 2), (0, 0), (1, float("nan")), (1, float("inf"))])
def test_bad_blend(loss_of, pictures, blend):
    with pytest.raises(ValueError, match="blend="):
        loss_of(pictures[1:], blend)


def test_style_layer_weights(loss_of, critic, pictures):
    f, a = critic(pictures[0]), critic(pictures[1])
    one, two = (relative(gram(f[name]), gram(a[name])) for name in ("relu1_1", "relu2_1"))
    loss = loss_of(style_layers=("relu1_1", "relu2_1"), style_layer_weights=(3, 1))
    torch.testing.assert_close(loss(pictures[0])["style"], (3 * one + two) / 4)


def test_style_scales(loss_of, critic, pictures):
    style = loss_of(style_scales=(1, 0.5), style_layers=("relu2_1",))(pictures[0])["style"]
    by_hand = []
    for size in ((32, 40), (16, 20)):
        small = [F.interpolate(p, size, mode="bicubic", antialias=True).clamp(0, 1) for p in pictures[:2]]
        by_hand.append(relative(*(gram(critic(p)["relu2_1"]) for p in small)))
    torch.testing.assert_close(style, sum(by_hand) / 2)


def test_half_masks_look_at_their_halves(loss_of, pictures):
    left = torch.zeros(1, 1, 32, 40)
    left[..., :20] = 1
    # relu1_1 sees one pixel around, so two pixels from the border the other half is out of sight
    loss = loss_of(pictures[1:], (1, 0), [left, 1 - left], style_layers=("relu1_1",))
    changed = pictures[0].clone()
    changed[..., 22:] = 0
    before, after = (loss(picture)["style"] for picture in (pictures[0], changed))
    torch.testing.assert_close(before, after)
    loss.set_blend((0, 1))
    assert not torch.isclose(loss(pictures[0])["style"], loss(changed)["style"], rtol=0.01)


# ── settings ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "settings",
    [
        *({"style_scales": value} for value in ((), (0,), (1, 2), (1, 1))),
        *({"style_layer_weights": value} for value in ((1, 1), (0, 0, 0, 0), (1, 1, 1, -1))),
    ],
    ids=str,
)
def test_bad_settings(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        LossConfig(**{"backbone": "compact", **settings})


def test_batches_are_judged_sample_by_sample(loss_of, critic, pictures):
    loss = PerceptualLoss(LossConfig(backbone="compact"), critic)
    loss.set_content(torch.cat(pictures[:2]))
    loss.set_styles([pictures[1]])
    both = loss(torch.cat([pictures[2], pictures[2]]))["content"]
    singles = []
    for picture in pictures[:2]:
        loss.set_content(picture)
        singles.append(loss(pictures[2])["content"])
    torch.testing.assert_close(both, sum(singles) / 2)


@pytest.mark.parametrize("blend", [(1, 0), (1e-3, 0), (0, 1)])
def test_blend_of_one_is_that_style(loss_of, pictures, blend):
    chosen = pictures[1] if blend[0] else pictures[2]
    two, one = loss_of([pictures[1], pictures[2]], blend), loss_of([chosen])
    assert two.blend == tuple(map(bool, blend))
    torch.testing.assert_close(two(pictures[0])["style"], one(pictures[0])["style"])


def test_mask_of_ones_is_no_mask(loss_of, pictures):
    masked, plain = loss_of(masks=[torch.ones(1, 1, 32, 40)]), loss_of()
    torch.testing.assert_close(masked(pictures[2])["style"], plain(pictures[2])["style"])


def test_configure_takes_new_weights(loss_of, pictures):
    loss = loss_of(style_weight=1)
    before = loss(pictures[2])
    loss.configure(LossConfig(backbone="compact", style_weight=1000, style_scales=(1.0,)))
    after = loss(pictures[2])
    torch.testing.assert_close(after["style"], before["style"])
    torch.testing.assert_close(after["total"], after["content"] + 1000 * after["style"])


def test_config_builds_its_critic():
    config = LossConfig(backbone="compact", style_layers=("relu1_2",), content_layers=("relu2_1",), pooling="max")
    extractor = config.extractor()
    assert (extractor.backbone, extractor.layers, extractor.pool) == ("compact", ("relu1_2", "relu2_1"), F.max_pool2d)
