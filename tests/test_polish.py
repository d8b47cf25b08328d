"""Polish, larger strokes and bfloat16: what `paint` can do beyond the network's own painting."""

import pytest
import torch

import nstlib as nst
from nstlib.painting import fast
from nstlib.painting.fast import paint_strokes, paint_tensor
from nstlib.painting.polish import polish, polish_config, style_pictures
from nstlib.painting.stylize import network_of
from nstlib.pictures import samples


@pytest.fixture
def net(studio) -> nst.TransformerNet:
    return studio


class Recorder(torch.nn.Module):
    """A network that keeps what it is given and paints a constant."""

    def __init__(self, paints: float):
        super().__init__()
        self.config, self.paints, self.given = nst.TransformerConfig(), paints, []

    def forward(self, image, blend=None):
        self.given.append(image)
        return torch.full_like(image, self.paints)


def test_style_pictures(net, noise):
    pictures, weights = style_pictures(net, net.blend({"swirl": 1, "ink": 3}, 0.5))
    assert weights == [0.125, 0.375] and torch.equal(pictures[1], nst.load_image("ink"))
    (picture,), weights = style_pictures(net, net.blend("ink", 0.5), noise)
    assert weights == [0.5] and picture.shape == noise.shape
    plain = nst.TransformerNet(nst.TransformerConfig(width=4, residual_blocks=0), {"style": "halftone"})
    (picture,), weights = style_pictures(plain, None)
    assert weights == [1.0] and torch.equal(picture, nst.load_image("halftone"))


@pytest.mark.parametrize("card", [{}, {"style": "my_painting"}, {"style": "starry_night"}])
def test_a_style_that_cannot_be_had_is_said(card, noise, monkeypatch):
    def fetch(name):
        raise nst.ImageError(f"{name}: cannot be downloaded.")

    monkeypatch.setattr("nstlib.pictures.samples.fetch", fetch)
    monkeypatch.setattr("nstlib.pictures.samples.PAINTINGS", {"swirl": samples.PAINTINGS["swirl"]})
    net = nst.TransformerNet(nst.TransformerConfig(width=4, residual_blocks=0), card)
    with pytest.raises(nst.ImageError, match=f"{card.get('style', 'without a card')}.*--polish-style FILE"):
        nst.paint(noise, net, polish=2)
    assert nst.paint(noise, net, polish=2, polish_style="swirl").shape == noise.shape


def test_polish_brings_the_objective_down(net, noise):
    loss = nst.PerceptualLoss(polish_config(net))
    targets = [nst.load_image("swirl", 48)], [1.0]
    polished = polish(noise, noise, targets, 9, loss)
    assert polished.shape == noise.shape and polished.min() >= 0 and polished.max() <= 1
    loss.set_content(noise)
    loss.set_styles(targets[0])
    assert loss(polished)["total"] < loss(noise)["total"]


def test_at_strength_0_the_photograph_is_the_style(net, noise):
    targets = style_pictures(net, net.blend(None, 0.0))
    assert targets == ([], [])
    torch.testing.assert_close(
        polish(noise, noise, targets, 2, nst.PerceptualLoss(polish_config(net))), noise, rtol=0, atol=0.1
    )
    # Adam's first step is 0.03 for every pixel however small the gradient, here of rounding


def test_larger_strokes_are_painted_small_first(noise):
    recorder = Recorder(1.0)
    paint_strokes(recorder, noise, passes=1, stroke_size=3.0)  # (40, 48): by 3, by 1.5, by 1; the margin is 8 or less
    assert [tuple(x.shape[-2:]) for x in recorder.given] == [(29, 32), (43, 48), (56, 64)]
    torch.testing.assert_close(recorder.given[-1][..., 8:-8, 8:-8], (noise + 1) / 2)
    recorder = Recorder(1.0)
    paint_strokes(recorder, noise, torch.tensor([[1.0, 0.0]]), passes=1, stroke_size=2.0)
    torch.testing.assert_close(recorder.given[-1][..., 8:-8, 8:-8], noise)  # at strength 0 nothing is mixed in


def test_larger_strokes_of_a_poster(noise, monkeypatch):
    photo, given = nst.to_pil(noise), []

    def white(net, picture, *rest):
        given.append(nst.to_tensor(picture))
        return torch.ones_like(given[-1])

    monkeypatch.setattr(fast, "paint_tiled", white)
    fast._large_strokes(None, photo, None, 1, 3.0)
    assert [tuple(x.shape[-2:]) for x in given] == [(13, 16), (27, 32), (40, 48)]
    torch.testing.assert_close(given[-1], (nst.to_tensor(photo) + 1) / 2, rtol=0, atol=1 / 255)
    fast._large_strokes(None, photo, torch.tensor([[1.0, 0.0]]), 1, 2.0)
    assert torch.equal(given[-1], nst.to_tensor(photo))


def test_strokes_of_the_networks_own_size(net, noise):
    assert torch.equal(paint_strokes(net, noise, net.blend("ink")), paint_tensor(net, noise, net.blend("ink")))
    assert not torch.equal(nst.paint(noise, net, stroke_size=2), nst.paint(noise, net))
    with pytest.raises(ValueError, match=r"stroke_size=0.5: must be .* from 1 to 8"):
        nst.paint(noise, net, stroke_size=0.5)


def test_bfloat16(net, noise, monkeypatch):
    exact = paint_tensor(net, noise)
    monkeypatch.delenv("NSTLIB_PRECISION")
    monkeypatch.setattr(fast, "best_precision", lambda device: "bf16")  # this processor may have to emulate it
    quick = paint_tensor(net, noise)
    assert quick.dtype == torch.float32 and not torch.equal(quick, exact)
    torch.testing.assert_close(quick, exact, rtol=0, atol=0.05)  # 8 bits a number, a dozen layers
    alone = net.blend({"swirl": 2.0, "ink": 0.0})
    assert torch.equal(paint_tensor(net, noise, alone), paint_tensor(net, noise, net.blend("swirl")))
    foreign = Recorder(0.5)
    foreign.config = nst.TransformerConfig(legacy_range=True)
    assert fast._in_bfloat16(net, noise.device) and not fast._in_bfloat16(foreign, noise.device)


def test_painting_from_the_networks_start():
    config = nst.GatysConfig(init="network", steps=0, size=64)
    painted = nst.stylize("cat", ["swirl", "ink"], config)
    torch.testing.assert_close(painted, nst.paint("cat", "studio", 64, styles={"swirl": 1, "ink": 1}))
    assert network_of(["folder/woodblock.jpg"])[0].card["style"] == "woodblock"
    for styles, wrong in ((["swirl", "nosuch"], "nosuch"), (["studio"], "studio"), ([b"PNG"], "a picture in memory")):
        with pytest.raises(ValueError, match=f"no network paints {wrong}; there are .*swirl"):
            network_of(styles)
