"""What a notebook writes out by hand does the same as the library's function of that name.

In float64, where roundings are far smaller than mistakes.
"""

import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from rounding import apart, gradients

import nstlib as nst
from nstlib.critic import losses
from nstlib.painting.network import ConditionalInstanceNorm
from nstlib.training import prune
from nstlib.training.trainer import Trainer

pytestmark = pytest.mark.numeric
NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def taught(notebook: str, *names: str):
    """The functions that a notebook's source defines."""
    (source,) = NOTEBOOKS.glob(f"{notebook}_*.py")
    tree = ast.parse(source.read_text())
    kinds = ast.FunctionDef | ast.ClassDef
    tree.body = [node for node in tree.body if isinstance(node, kinds) and node.name in names]
    space = {"torch": torch, "F": F, "np": np, "Tensor": torch.Tensor, "nn": torch.nn, "nst": nst}
    space |= {"relative": losses.relative}
    exec(compile(tree, str(source), "exec"), space)
    return [space[name] for name in names]


@pytest.fixture
def other() -> torch.Tensor:
    return torch.rand(1, 3, 40, 48, generator=torch.Generator().manual_seed(2)).double()


@pytest.fixture
def noise(noise) -> torch.Tensor:
    return noise.double()


def test_to_tensor():
    image = nst.open_image("cat")
    (to_tensor,) = taught("01", "to_tensor")
    assert torch.equal(to_tensor(image), nst.to_tensor(image))


def test_total_variation(noise):
    (total_variation,) = taught("01", "total_variation")
    assert total_variation(noise) == pytest.approx(nst.total_variation(noise).item())


def test_content_loss(noise, other):
    (content_loss,) = taught("02", "content_loss")
    assert content_loss(noise, other) == pytest.approx(losses.relative(noise, other).item())


def test_look(noise):
    (look,) = taught("02", "look")
    critic = nst.FeatureExtractor("compact", ("relu1_1", "relu2_2", "relu3_1")).double()
    features = critic(noise)
    assert look(critic, noise).keys() == features.keys()
    torch.testing.assert_close(look(critic, noise), dict(features))


def test_gram(noise):
    (gram,) = taught("03", "gram")
    torch.testing.assert_close(gram(noise), nst.gram(noise))


def test_style_loss(noise, other):
    _, style_loss = taught("03", "gram", "style_loss")
    config = nst.LossConfig(backbone="compact", style_scales=(1.0,))
    loss = nst.PerceptualLoss(config).double()
    loss.set_content(other)
    loss.set_styles([other])
    with torch.no_grad():
        target = {name: f for name, f in loss.extractor(other).items() if name in loss.style_layers}
        assert style_loss(loss.extractor(noise), target).item() == pytest.approx(loss(noise)["style"].item())


def test_objective():
    """At a size whose quarter has no side under 16 pixels, for smaller ones the library takes at 16."""
    (objective,) = taught("04", "objective")
    photo, painting, x = torch.rand(3, 3, 72, 80, generator=torch.Generator().manual_seed(4)).double().split(1)
    loss = nst.PerceptualLoss(nst.LossConfig(backbone="compact")).double()
    loss.set_content(photo)
    loss.set_styles([painting])
    names = ("relu1_1", "relu2_1", "relu3_1", "relu3_4")
    objective.__globals__.update(critic=loss.extractor, style_layers=names)
    assert objective(x, photo, painting).item() == pytest.approx(loss(x)["total"].item())


def test_net(noise):
    """The network of notebook 07 with the library's weights paints what the library paints."""
    _, _, Net = taught("07", "block", "Residual", "Net")
    net = nst.TransformerNet(nst.TransformerConfig(width=4)).double()
    mine = Net(4).double()
    mine.load_state_dict(dict(zip(mine.state_dict(), net.state_dict().values(), strict=True)))
    with torch.no_grad():
        torch.testing.assert_close(mine(noise).float(), net(noise))  # which gives float32, whatever it computes in


def test_paint(noise, other):
    (paint,) = taught("04", "paint")
    config = nst.GatysConfig(backbone="compact", device="cpu")
    painter = nst.GatysPainter(noise, [other], config, loss=nst.PerceptualLoss(config).double())
    painted, history = paint(painter.loss, noise, 5)
    state = painter.step(5)
    torch.testing.assert_close(painted, state.image)
    assert history[-1]["total"] == pytest.approx(state.losses["total"])


def test_train(config, monkeypatch):
    """The losses and the gradient of the first step, and the optimiser; what follows repeats them."""
    (loop,) = taught("07", "train")
    weights = {"style_weight": 0.1, "content_weight": 0.1}  # gradients so small that the trainer does not clip them
    config = replace(config, steps=1, style_scales=(1.0, 0.5, 0.25), stability_weight=0.0, **weights)
    monkeypatch.setattr(Trainer, "rate", lambda self: 1e-3)
    trainer = Trainer(config)
    net = nst.TransformerNet(config.network)
    net.load_state_dict(trainer.net.state_dict())
    batches = (torch.stack([trainer.photos[i][0] for i in range(2)]) for _ in range(1))
    with gradients() as seen:
        history = loop(net, trainer.objective.loss, batches, 1, 1e-3)
        state = trainer.step()
    assert state.losses["total"] == pytest.approx(history[0]["total"], rel=1e-3)  # float32, see `apart`
    assert apart(seen[0][1], seen[1][1]) < 1e-3
    assert seen[0][0] == seen[1][0] and seen[0][0]["lr"] == 1e-3


def test_distance(noise, other):
    (distance,) = taught("06", "distance")
    assert distance(noise, other) == pytest.approx(losses.relative(noise, other).item())


def test_choose_channels():
    (choose_channels,) = taught("10", "choose_channels")
    x = torch.randn(12, 200, generator=torch.Generator().manual_seed(3)).double()
    assert choose_channels(x @ x.T, 5) == prune.choose_channels(x @ x.T, 5)


def test_conditional_instance_norm():
    (conditional_instance_norm,) = taught("08", "conditional_instance_norm")
    norm, mix = ConditionalInstanceNorm(5, 3), torch.tensor([[0.5, 0.2, 0.3], [0.0, 1.0, 0.0]])
    torch.manual_seed(0)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = torch.randn(2, 5, 8, 9)
    with torch.no_grad():
        torch.testing.assert_close(conditional_instance_norm(x, norm.weight, norm.bias, mix), norm(x, mix))


def test_trusted():
    cv2 = pytest.importorskip("cv2")
    from nstlib.painting import flow

    y, x = np.mgrid[0:64, 0:96] / 9
    last = (127.5 + 90 * np.stack([np.sin(x + y), np.cos(2 * y - x), np.sin(3 * x)], -1)).astype(np.uint8)
    here = np.roll(last, 3, axis=1)
    here[20:40, 30:60] = 0
    (trusted,) = taught("11", "trusted")
    trusted.__globals__.update(ends=flow.ends, optical_flow=flow.optical_flow, warp=flow.warp)
    mask = trusted(here, last)
    assert 0 < mask.mean() < 1
    assert (flow.motion(here, last)[1] == cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.0)).all()
