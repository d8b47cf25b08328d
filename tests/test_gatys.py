"""The painter: sizes, progress, live changes, and everything that can go wrong on the way."""

import math
from dataclasses import replace
from importlib import import_module
from itertools import pairwise

import pytest
import torch
from PIL import Image

from nstlib.critic.extractor import FeatureExtractor
from nstlib.critic.losses import LossConfig, PerceptualLoss
from nstlib.errors import ImageError
from nstlib.painting.gatys import GatysConfig, GatysPainter
from nstlib.painting.memory import Need
from nstlib.painting.stylize import pyramid, stylize
from nstlib.pictures.colour import METHODS, recolour
from nstlib.pictures.files import save_image
from nstlib.pictures.pixels import resize
from nstlib.pictures.samples import load_image

pytestmark = pytest.mark.numeric
stylize_room = import_module("nstlib.painting.stylize")  # its name is also its function's
# two scales, for of so small a picture the usual third is hardly smaller than the second
QUICK = GatysConfig(backbone="compact", size=32, smallest=16, steps=3, style_scales=(1.0, 0.5), device="cpu")


@pytest.fixture(autouse=True)
def tiny_critic(monkeypatch):
    """Every critic here is a tiny random one, with no trial of its memory; what tests draw besides is seeded too."""
    torch.manual_seed(0)
    content, style = QUICK.layers()
    critic = FeatureExtractor("compact", tuple({*content, *style}), weights=None)
    monkeypatch.setattr(LossConfig, "extractor", lambda self: critic)
    monkeypatch.setattr("nstlib.painting.stylize.stylize_need", lambda *settings: Need(0, 0))


@pytest.fixture
def content():
    """A smooth picture (1, 3, 24, 32)."""
    return torch.linspace(0, 1, 32).expand(1, 3, 24, 32).clone()


@pytest.fixture
def style():
    """A picture of another shape (1, 3, 20, 16): a chequered one."""
    y, x = torch.meshgrid(torch.arange(20), torch.arange(16), indexing="ij")
    return ((x // 2 + y // 2) % 2 * torch.tensor([1.0, 0.6, 0.2]).view(3, 1, 1)).unsqueeze(0)


@pytest.fixture
def painter(content, style):
    return lambda **changes: GatysPainter(content, [style], replace(QUICK, **changes))


def is_picture(image):
    return bool(torch.isfinite(image).all() and image.min() >= 0 and image.max() <= 1)


# ── sizes ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("long_side", "smallest", "sizes"),
    [(512, 96, [96, 146, 222, 337, 512]), (96, 96, [96]), (50, 96, [50]), (97, 96, [96, 97]), (40, 16, [16, 25, 40])],
)
def test_pyramid(long_side, smallest, sizes):
    assert pyramid(long_side, smallest) == sizes


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ((24, 32), 32, (24, 32)),
        ((24, 32), 48, (36, 48)),  # larger than the content
        ((31, 23), "full", (31, 23)),
        ((50, 37), 33, (33, 24)),
        ((4, 80), 40, (2, 40)),  # a panorama
        ((1, 1), 16, (16, 16)),
        ((200, 10), 16, (16, 1)),
    ],
)
def test_output_has_the_size_asked_for(style, shape, size, expected):
    painted = stylize(torch.rand(1, 3, *shape), style, replace(QUICK, size=size, steps=1))
    assert painted.shape == (1, 3, *expected) and painted.dtype == torch.float32
    assert is_picture(painted)


@pytest.mark.parametrize(("scale", "sides"), [(1, [16, 25, 40]), (0.8, [16, 20, 32]), (2, [32, 50, 80])])
def test_style_is_scaled_with_the_painting(content, style, monkeypatch, scale, sides):
    set_styles, seen = PerceptualLoss.set_styles, []

    def spy(self, images, *rest):
        seen.append(max(images[0].shape))
        set_styles(self, images, *rest)

    monkeypatch.setattr(PerceptualLoss, "set_styles", spy)
    stylize(content, style, replace(QUICK, size=40, steps=1, style_scale=scale))
    assert seen == sides


def test_inputs_are_not_changed(content, style):
    before = content.clone(), style.clone()
    stylize(content, style, QUICK)
    GatysPainter(content, [style], QUICK).step(2)
    assert torch.equal(content, before[0]) and torch.equal(style, before[1])


# ── painting ────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_lowers_the_objective_tenfold(content, style):
    noise = torch.rand(content.shape, generator=torch.Generator().manual_seed(0))
    painter = GatysPainter(content, [style], replace(QUICK, content_weight=0.01, style_weight=1), image=noise)
    before = painter.step().losses["total"]
    assert painter.step(150).losses["total"] < before / 10


def test_total_is_of_the_picture_before_the_step(painter, content):
    state = painter().step()
    assert state.step == 1 and state.losses["content"] == 0  # the start was the content
    assert not torch.equal(state.image, content)


def test_same_seed_same_bytes(content, style):
    runs = [stylize(content, style, replace(QUICK, init="noise", seed=seed)) for seed in (1, 1, 2)]
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])


def test_state_does_not_follow_the_painter(painter):
    painting = painter()
    state = painting.step()
    before = state.image.clone()
    painting.step()
    assert torch.equal(state.image, before)


def test_lbfgs_lowers_the_loss(painter):
    painting = painter(optimiser="lbfgs")
    before = painting.step().losses["total"]
    state = painting.step(25)
    assert state.step == 26 and state.losses["total"] < before / 2
    assert painting.optimiser_name == "lbfgs" and not painting.notes


def test_lbfgs_says_the_losses_of_its_picture(painter):
    """Not those of the picture before it was clamped to [0, 1]."""
    painting = painter(optimiser="lbfgs")
    state = painting.step(10)
    with torch.no_grad():
        # float32, and the picture may lie otherwise in memory; the clamping changes far more
        assert painting.loss(state.image)["total"].item() == pytest.approx(state.losses["total"], rel=1e-4)


def test_stalled_lbfgs_hands_over_to_adam(painter, monkeypatch):
    painting = painter(optimiser="lbfgs")
    monkeypatch.setattr(painting.optimiser, "step", lambda closure: closure())  # goes nowhere
    painting.step(30)
    assert painting.optimiser_name == "lbfgs"
    state = painting.step(20)
    assert painting.optimiser_name == "adam" and "stalled" in painting.notes[0] and len(painting.notes) == 1
    assert painting.step(20).losses["total"] < state.losses["total"]


def test_heavier_weights_are_no_stall(painter, monkeypatch):
    painting = painter(optimiser="lbfgs")
    monkeypatch.setattr(painting.optimiser, "step", lambda closure: closure())  # goes nowhere
    painting.step(20)
    painting.configure(style_weight=1e5)  # of what was gained before nothing counts any more
    painting.step(30)
    assert painting.optimiser_name == "lbfgs" and not painting.notes


@pytest.mark.parametrize("init", ["content", "noise", "style", "file"])
def test_start(content, style, tmp_path, init):
    path = save_image(torch.full((1, 3, 9, 9), 0.6), tmp_path / "start.png")
    painted = stylize(content, style, replace(QUICK, steps=0, smallest=32, init=path if init == "file" else init))
    expected = {"content": content, "file": torch.full_like(content, 0.6)}.get(init)
    if expected is not None:
        torch.testing.assert_close(painted, expected, atol=0.51 / 255, rtol=0)  # a file has 8 bits
    else:
        assert (painted - content).abs().mean() > 0.2
    assert painted.shape == content.shape


@pytest.mark.parametrize("method", METHODS[1:])
def test_colours_of_the_content_are_kept(style, method, monkeypatch):
    """By luminance the painting takes the photograph's colours, else the style does before it is painted."""
    content, set_styles, seen = torch.rand(1, 3, 24, 32), PerceptualLoss.set_styles, []

    def spy(self, images, *rest):
        seen.append(images[0])
        set_styles(self, images, *rest)

    monkeypatch.setattr(PerceptualLoss, "set_styles", spy)
    plain, kept = (stylize(content, style, replace(QUICK, preserve_colour=m)) for m in ("none", method))
    if method == "luminance":
        assert torch.equal(kept, recolour(plain, load_image(content), method))
    else:
        means = [picture[:, :3].mean((2, 3)) for picture in (seen[-1], content, style)]
        assert (means[0] - means[1]).abs().max() < 0.1  # resized and clipped since
        assert (means[2] - means[1]).abs().max() > 0.3


# ── several styles and masks ────────────────────────────────────────────────────────────────────────


def test_blend_of_one_style_is_that_style_alone(content, style):
    other = torch.rand(1, 3, 20, 20)
    both = stylize(content, [other, style], replace(QUICK, style_blend=(0, 1)))
    assert torch.equal(both, stylize(content, style, QUICK))  # a target of 0 · G₁ + 1 · G₂ is G₂ to the bit
    assert not torch.allclose(both, stylize(content, [other, style], QUICK), atol=1e-3)


def test_masks_keep_styles_apart(content, tmp_path):
    left = torch.zeros(1, 3, 24, 32)
    left[..., :16] = 1
    masks = tuple(save_image(mask, tmp_path / f"{i}.png") for i, mask in enumerate((left, 1 - left)))
    red, blue = (torch.tensor(c).view(1, 3, 1, 1).expand(1, 3, 16, 16) for c in ((0.9, 0.1, 0.1), (0.1, 0.1, 0.9)))
    settings = replace(QUICK, mask=masks, steps=30, content_weight=0, init="noise")
    painted = stylize(content, [red, blue], settings)
    redness = (painted[:, 0] - painted[:, 2]).mean(1)[0]  # (32,)
    assert redness[:14].mean() > 0.1 and redness[18:].mean() < -0.1


# ── changes while it paints ─────────────────────────────────────────────────────────────────────────


def test_configure_changes_the_total_not_the_picture(painter):
    painting = painter()
    before = painting.step(2)
    painting.configure(style_weight=7, content_weight=2, tv_weight=3)
    assert torch.equal(painting.state().image, before.image)
    losses = painting.step().losses
    assert losses["total"] == pytest.approx(
        7 * losses["style"] + 2 * losses["content"] + 3 * losses["tv"], rel=1e-5
    )  # a float32 sum of three
    assert painting.state().step == 3


def test_configure_blend(content, style):
    painter = GatysPainter(content, [style, content], QUICK)
    painter.configure(style_blend=(0, 1))
    assert painter.step().losses["style"] == pytest.approx(0, abs=1e-6)  # a square of roundings
    painter.configure(style_blend=(1, 0))
    assert painter.step().losses["style"] > 0.01
    painter.configure(style_blend=None)
    assert painter.loss.blend == (0.5, 0.5)


@pytest.mark.parametrize(("before", "name"), [("lbfgs", "adam"), ("adam", "lbfgs")])
def test_configure_optimiser(painter, before, name):
    painting = painter(optimiser=before)
    painting.configure(optimiser=name, lr=0.5)
    assert (painting.optimiser_name, painting.lr) == (name, 0.5)
    assert painting.step(3).step == 3


def test_configure_keeps_adams_moments(painter):
    painting = painter()
    painting.step(2)
    optimiser = painting.optimiser
    painting.configure(lr=QUICK.lr, optimiser="adam", style_weight=3)
    painting.configure(lr=0.5)
    assert painting.optimiser is optimiser and optimiser.param_groups[0]["lr"] == 0.5 == painting.lr
    painting.step()
    assert optimiser.state[painting.image]["step"] == 3


def test_configure_refuses(painter):
    painting = painter()
    wrong = {"backbone": "vgg19", "weights": "w.pth", "preprocessing": "oxford", "pooling": "max", "mask": ("m.png",)}
    wrong |= {"style_layers": ("relu1_1",), "content_layers": ("relu1_1",), "style_scales": (1, 0.5), "device": "cpu"}
    wrong |= {"steps": 3, "preserve_colour": "luminance", "style_weight": -1, "style_blend": (1, 1), "optimiser": "sgd"}
    for name, value in (wrong | {"lr": 0}).items():
        with pytest.raises(ValueError, match=name):
            painting.configure(**{name: value})
        assert painting.config == QUICK
    assert painting.step().step == 1


# ── when things go wrong ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("optimiser", ["adam", "lbfgs"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_one_bad_loss_is_survived(painter, spoil, optimiser, value):
    spoil({2} if optimiser == "adam" else set(range(30)), value)
    painting = painter(optimiser=optimiser)
    state = painting.step(12)
    assert is_picture(state.image)
    assert "not finite" in painting.notes[0]
    assert painting.lr < QUICK.lr
    if optimiser == "adam":
        assert len(painting.notes) == 1 and painting.lr == QUICK.lr / 2
        assert math.isfinite(state.losses["total"])


def test_bad_step_brings_back_the_picture_before(painter, spoil):
    spoil({2})
    painting = painter()
    painting.step()
    good = painting.state().image  # judged finite by the second call, then changed by its step
    painting.step(2)
    assert torch.equal(painting.state().image, good)


def test_ever_bad_loss_stops(painter, content, spoil):
    spoil(range(10**6))
    painting = painter()
    state = painting.step(50)
    assert torch.equal(state.image, content) and state.step == 10
    assert len(painting.notes) == 2 and "stopped" in painting.notes[1]
    assert painting.step(5).step == 10


def test_a_stopped_painter_goes_on_with_other_weights(painter, spoil):
    spoil(range(10))
    painting = painter()
    before = painting.step(20)
    painting.configure(style_weight=1)
    after = painting.step(5)
    assert after.step == before.step + 5 and not torch.equal(after.image, before.image)
    assert painting.lr == QUICK.lr


@pytest.mark.parametrize("after", [1, 4])
def test_interrupt_keeps_the_picture_so_far(content, style, after):
    seen = []

    def callback(state):
        seen.append(state)
        if len(seen) == after:
            raise KeyboardInterrupt

    painted = stylize(content, style, QUICK, callback)
    assert len(seen) == after and painted.shape == content.shape and is_picture(painted)
    assert (painted - content).abs().mean() > 1e-3


def test_callback_sees_every_step(content, style):
    seen = []
    painted = stylize(content, style, QUICK, seen.append)
    assert [(max(s.image.shape), s.step) for s in seen] == [(z, n) for z in pyramid(32, 16) for n in (1, 2, 3)]
    assert torch.equal(seen[-1].image, painted)
    assert set(seen[0].losses) == {"content", "style", "tv", "total"}


def test_a_start_of_another_shape_is_refused(content, style):
    with pytest.raises(ValueError, match=r"image: has shape \(1, 3, 20, 16\), must have the content's"):
        GatysPainter(content, [style], QUICK, image=style)


# ── posters ─────────────────────────────────────────────────────────────────────────────────────────


def test_strokes_and_steps_of_a_poster():
    """Above the reference strokes grow with the root of the size, and steps shrink as it grows."""
    config = replace(QUICK, steps=60, style_scale=0.5)
    assert [size * stylize_room.stroke_scale(size, config) for size in (512, 1024, 4096)] == [256, 512, 1024]
    assert [stylize_room.steps_at(size, config) for size in (512, 1024, 1536, 4096)] == [60, 60, 40, 15]


def test_adams_moments_are_carried_to_a_larger_size(content, style, painter):
    """Of a flat map they stay flat; twice the sides are four times the pixels, and a quarter of the gradient."""
    small, large = painter(), GatysPainter(resize(content, (48, 64)), [style], QUICK)
    small.step(2)
    moments = small.moments()
    moments["exp_avg"].fill_(0.8), moments["exp_avg_sq"].fill_(0.8)
    large.carry_on(moments)
    carried = large.optimiser.state[large.image]
    assert carried["step"] == 2
    torch.testing.assert_close(carried["exp_avg"], torch.full_like(large.image, 0.2))
    torch.testing.assert_close(carried["exp_avg_sq"], torch.full_like(large.image, 0.05))
    assert is_picture(large.step(1).image)


def test_nothing_to_carry(content, style, painter):
    for small in (painter(), painter(optimiser="lbfgs")):  # before its first step, and without moments
        small.step(int(small.optimiser_name == "lbfgs"))
        large = painter()
        large.carry_on(small.moments())
        assert not large.optimiser.state[large.image]


@pytest.mark.parametrize("long_side", [17, 100, 333, 512, 1023, 4000])
def test_pyramid_ends_exactly_and_never_leaps(long_side):
    sizes = pyramid(long_side, 16)
    assert sizes[0] == 16 and sizes[-1] == long_side
    assert all(a < b <= 1.6 * a + 1 for a, b in pairwise(sizes))


def test_transparency_is_flattened_on_white(style):
    glass = Image.new("RGBA", (32, 24), (0, 0, 0, 0))
    assert torch.equal(stylize(glass, style, replace(QUICK, steps=0)), torch.ones(1, 3, 24, 32))


def test_stylize_survives_an_ever_bad_loss(content, style, spoil):
    spoil(range(10**6))
    painted = stylize(content, style, replace(QUICK, steps=12))
    assert painted.shape == content.shape and is_picture(painted)


def test_bad_arguments(content, style, photo_file):
    with pytest.raises(ValueError, match="1 masks for 2 styles"):
        stylize(content, [style, style], replace(QUICK, mask=(photo_file,)))
    with pytest.raises(ValueError, match="style_blend"):
        stylize(content, style, replace(QUICK, style_blend=(1, 1)))
    with pytest.raises(ValueError, match="style"):
        stylize(content, [], QUICK)
    with pytest.raises(ImageError, match="nosuch"):
        stylize(content, style, replace(QUICK, init="nosuch.png"))
