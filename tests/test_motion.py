"""The random motion between the two views of a photograph that a stable network is trained on."""

import torch

from nstlib.training.objective import random_motion, warp


def test_warp_by_whole_pixels_equals_slicing():
    image = torch.rand(2, 3, 20, 24)
    rows, columns = torch.meshgrid(torch.arange(12.0) + 3, torch.arange(12.0) + 5, indexing="ij")
    where = torch.stack([columns, rows], -1).expand(2, -1, -1, -1)
    # positions pass through float32 coordinates in [-1, 1]: off by up to 24 · 2⁻²⁴ px, a few times
    torch.testing.assert_close(warp(image, where), image[..., 3:15, 5:17], rtol=0, atol=1e-4)


def test_gradient_flows_through_the_warp():
    image = torch.rand(1, 3, 16, 16, requires_grad=True)
    warp(image, random_motion(1, 12, 4)).sum().backward()
    assert image.grad.abs().sum() > 0


def test_motion_takes_every_phase_of_the_cells_and_both_kinds():
    torch.manual_seed(0)
    where = random_motion(100, 128, 24)
    whole = (where == where.round()).all(-1).flatten(1).all(1)
    assert 20 < whole.sum() < 80  # half of 100; 6 standard deviations are 30
    assert set((where[whole, 0, 0, 0] % 4).tolist()) == {0, 1, 2, 3}
    stretch = (where[~whole].diff(dim=1)[..., 1] - 1).abs().max()
    assert 0 < stretch < 1  # neighbours stay in order: nothing is folded


def test_warp_without_motion_is_the_identity():
    image = torch.rand(1, 3, 16, 16)
    at = torch.arange(16.0)
    still = torch.stack(torch.meshgrid(at, at, indexing="xy"), -1)[None]
    torch.testing.assert_close(warp(image, still), image, rtol=0, atol=1e-4)
