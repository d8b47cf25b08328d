"""Colours of another picture: each method keeps what it promises, on pictures where nothing is clipped.

In float64, where the linear algebra rounds by 1e-13 on any processor.
"""

import pytest
import torch
from torch import Tensor

from nstlib import GatysConfig, recolour, stylize
from nstlib.pictures.colour import METHODS, RGB_TO_YIQ

pytestmark = pytest.mark.numeric
REAL = METHODS[1:]  # "none" is the first


def picture(seed: int, low: float, high: float) -> Tensor:
    """Random and with correlated channels, (1, 3, 20, 24), within [low, high]."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(1, 3, 20, 24, generator=generator, dtype=torch.float64)
    mixing = torch.tensor([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.0, 0.2, 0.8]], dtype=torch.float64)
    mixed = torch.einsum("ij,bjhw->bihw", mixing, noise)
    return low + (high - low) * mixed


IMAGE, REFERENCE = picture(1, 0.3, 0.6), picture(2, 0.45, 0.65)


def yiq(image: Tensor) -> Tensor:
    return torch.einsum("ij,bjhw->bihw", RGB_TO_YIQ.to(image), image)


def moments(image: Tensor) -> tuple[Tensor, Tensor]:
    flat = image[0].flatten(1).double()
    return flat.mean(1), torch.cov(flat, correction=0)


def unclipped(image: Tensor) -> bool:
    return bool(((image > 0) & (image < 1)).all())


def test_luminance_keeps_brightness_and_takes_chroma():
    result = recolour(IMAGE, REFERENCE, "luminance")
    assert unclipped(result)
    assert torch.allclose(yiq(result)[:, 0], yiq(IMAGE)[:, 0])
    assert torch.allclose(yiq(result)[:, 1:], yiq(REFERENCE)[:, 1:])


def test_luminance_by_hand():
    grey, red = torch.full((1, 3, 1, 1), 0.5), torch.tensor([0.4, 0.2, 0.2]).view(1, 3, 1, 1)
    brightness = 0.299 * 0.4 + 0.701 * 0.2  # of red; the result is red made brighter by 0.5 − 0.2598
    expected = red + (0.5 - brightness)
    assert torch.allclose(recolour(grey, red, "luminance"), expected, atol=2e-3)  # the matrix has 3 decimals


def test_mean_takes_mean_and_covariance():
    result = recolour(IMAGE, REFERENCE, "mean")
    assert unclipped(result)
    for ours, theirs in zip(moments(result), moments(REFERENCE), strict=True):
        assert torch.allclose(ours, theirs)
    assert not torch.allclose(moments(IMAGE)[1], moments(REFERENCE)[1], atol=1e-4)


def test_mean_is_linear():
    """Pixels that were equal stay equal, and the midpoint of two stays the midpoint."""
    image = IMAGE.clone()
    image[..., 0, 2] = (image[..., 0, 0] + image[..., 0, 1]) / 2
    result = recolour(image, REFERENCE, "mean")
    assert torch.allclose(result[..., 0, 2], (result[..., 0, 0] + result[..., 0, 1]) / 2)


def test_histogram_takes_the_values():
    result = recolour(IMAGE, REFERENCE, "histogram")
    for channel in range(3):
        ours, theirs = (x[0, channel].flatten().sort()[0] for x in (result, REFERENCE))
        assert torch.allclose(ours, theirs, atol=2e-3)  # equal values are interpolated
        order = IMAGE[0, channel].flatten().argsort()
        assert result[0, channel].flatten()[order].diff().min() >= 0


@pytest.mark.parametrize("method", METHODS)
def test_own_colours_change_nothing(method):
    assert torch.allclose(recolour(IMAGE, IMAGE, method), IMAGE)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("references", [1, 2])
def test_a_batch_is_recoloured_picture_by_picture(method, references):
    batch, wanted = torch.cat([IMAGE, picture(5, 0.2, 0.7)]), torch.cat([REFERENCE, picture(6, 0.3, 0.9)])[:references]
    alone = [recolour(batch[i : i + 1], wanted[i % references : i % references + 1], method) for i in range(2)]
    assert torch.equal(recolour(batch, wanted, method), torch.cat(alone))


@pytest.mark.parametrize("method", REAL)
@pytest.mark.parametrize("image, reference", [("flat", "full"), ("full", "flat"), ("flat", "flat"), ("full", "black")])
def test_one_colour(method, image, reference):
    full = picture(3, 0.0, 1.0)
    pictures = {"full": full, "flat": torch.full_like(full, 0.3), "black": torch.zeros_like(full)}
    result = recolour(pictures[image], pictures[reference], method)
    assert torch.isfinite(result).all()
    assert result.min() >= 0 and result.max() <= 1
    if method == "mean":
        clipping = 0.005 if reference == "black" else 1e-3  # the least spread, cut off below 0
        assert (result.mean((0, 2, 3)) - pictures[reference].mean((0, 2, 3))).abs().max() < clipping


@pytest.mark.parametrize("method", METHODS)
def test_no_gradient_and_no_change_of_the_input(method):
    image = IMAGE.float().requires_grad_()
    before = image.detach().clone()
    result = recolour(image, REFERENCE.float(), method)
    assert not result.requires_grad
    assert result.dtype == torch.float32
    assert torch.equal(image, before)


@pytest.mark.parametrize("method", REAL)
def test_grey_stays_grey(method):
    grey = REFERENCE.mean(1, keepdim=True).expand_as(REFERENCE)
    result = recolour(IMAGE, grey, method)
    assert (result.amax(1) - result.amin(1)).max() < 1e-5  # float32, a matrix of 3 × 3 there and back
    assert result.std() > 0.01


@pytest.mark.parametrize("method", ["mean", "histogram"])
def test_sizes_may_differ(method):
    result = recolour(IMAGE, REFERENCE[..., :7, :9], method)
    assert result.shape == IMAGE.shape


@pytest.mark.parametrize("method", REAL)
def test_a_grey_photograph_is_painted_grey(method):
    grey = REFERENCE.mean(1, keepdim=True).expand_as(REFERENCE)
    settings = {"size": 24, "smallest": 24, "steps": 3, "backbone": "compact", "device": "cpu"}
    painted = stylize(grey, "swirl", GatysConfig(preserve_colour=method, **settings))
    assert (painted.amax(1) - painted.amin(1)).max() < 1e-5
