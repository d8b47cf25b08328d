"""Weights and networks as other projects save them."""

import pytest
import torch

from nstlib import CheckpointError, FeatureExtractor, TransformerConfig, TransformerNet, WeightsError, load_transformer
from nstlib import paint as paint_picture
from nstlib.critic.extractor import layer_names
from nstlib.storage import read_weights

LAYERS = ("relu1_1", "conv2_1")


@pytest.fixture
def critic() -> dict[str, torch.Tensor]:
    """Random VGG-shaped weights of 0 … 255, RGB."""
    extractor = FeatureExtractor("compact", LAYERS, weights=None)
    return extractor.state()


def features(tmp_path, state: dict, preprocessing: str | None, image: torch.Tensor) -> list[torch.Tensor]:
    torch.save(state, tmp_path / "critic.pth")
    extractor = FeatureExtractor("vgg19", LAYERS, weights=tmp_path / "critic.pth", preprocessing=preprocessing)
    return list(extractor(image).values())


def by_vgg(state: dict) -> dict:
    names = layer_names("vgg19")
    return {f"{names[int(n.split('.')[1])]}.{n.split('.')[2]}": t for n, t in state.items()}


@pytest.mark.parametrize(
    "dress",
    [
        by_vgg,
        lambda state: {f"module.{name}": t for name, t in state.items()},
        lambda state: {name.replace("features.", "features.module."): t for name, t in state.items()},
        lambda state: {f"backbone.vgg.{name}": t for name, t in state.items()},
        lambda state: {"state_dict": state, "epoch": 3, "args": "x"},
        lambda state: {"model": by_vgg(state), "optimizer": {"lr": 1}},
    ],
    ids=["vgg_names", "module", "inner_module", "prefix", "state_dict", "checkpoint"],
)
def test_critics_in_every_dress(dress, critic, noise, tmp_path):
    plain = features(tmp_path, critic, "oxford", noise)
    dressed = features(tmp_path, dress(critic), "oxford", noise)
    assert all(map(torch.equal, plain, dressed))


def test_caffe_reads_blue_first(critic, noise, tmp_path):
    bgr = critic | {"features.0.weight": critic["features.0.weight"].flip(1)}
    pairs = zip(features(tmp_path, bgr, "caffe", noise), features(tmp_path, critic, "oxford", noise), strict=True)
    assert all(map(torch.equal, *zip(*pairs, strict=True)))


def test_what_is_no_critic_is_said(tmp_path):
    torch.save({"encoder.first": torch.ones(3)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"other.pth: no layer of VGG in it: its names are such as encoder.first"):
        FeatureExtractor("vgg19", LAYERS, weights=tmp_path / "other.pth")


def test_several_state_dicts_are_refused(tmp_path):
    torch.save({"generator": {"a": torch.ones(1)}, "critic": {"b": torch.ones(1)}}, tmp_path / "two.pth")
    with pytest.raises(WeightsError, match=r"two.pth: holds 2 state dicts"):
        read_weights(tmp_path / "two.pth")


# ── networks ────────────────────────────────────────────────────────────────────────────────────────

PLAIN = TransformerConfig(width=4, residual_blocks=1, legacy_range=True)


@pytest.fixture
def net() -> TransformerNet:
    """Reads and writes 0 … 255, RGB."""
    torch.manual_seed(0)
    net = TransformerNet(PLAIN).eval().requires_grad_(False)
    net.to_rgb.weight.mul_(60)
    net.to_rgb.bias.copy_(torch.tensor([90.0, 120.0, 150.0]))
    return net


def load(tmp_path, state: dict, **options) -> TransformerNet:
    torch.save(state, tmp_path / "net.pth")
    return load_transformer(tmp_path / "net.pth", **options)


def flipped(state: dict) -> dict:
    first, last = "down.0.conv.weight", ("to_rgb.weight", "to_rgb.bias")
    return state | {first: state[first].flip(1)} | {name: state[name].flip(0) for name in last}


@pytest.mark.parametrize(
    "dress",
    [
        lambda state: {f"module.{name}": t for name, t in state.items()},
        lambda state: {"state_dict": state, "epoch": 3, "style": "mosaic.jpg"},
    ],
)
def test_networks_in_every_dress(dress, net, noise, tmp_path):
    assert load(tmp_path, dress(net.state_dict()))(noise).equal(net(noise))


def test_a_network_of_bgr(net, noise, tmp_path):
    assert load(tmp_path, flipped(net.state_dict()), bgr=True)(noise).equal(net(noise))


@pytest.mark.parametrize(
    "values, mean, std",
    [
        ("0-1", (0, 0, 0), (255, 255, 255)),
        ("imagenet", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
        ("caffe", (123.68, 116.779, 103.939), (1, 1, 1)),
    ],
)
def test_networks_of_other_values(values, mean, std, net, noise, tmp_path):
    """The same network, as one that reads and writes (x − mean) / std."""
    mean, std, state = torch.tensor(mean).float(), torch.tensor(std).float(), dict(net.state_dict())
    weight = state["down.0.conv.weight"]
    state["down.0.conv.weight"] = weight * std.view(1, 3, 1, 1)
    state["down.0.conv.bias"] = state["down.0.conv.bias"] + (weight * mean.view(1, 3, 1, 1)).sum((1, 2, 3))
    state["to_rgb.weight"] = state["to_rgb.weight"] / std.view(3, 1, 1, 1)
    state["to_rgb.bias"] = (state["to_rgb.bias"] - mean) / std
    painted = load(tmp_path, state, values=values)(noise)
    torch.testing.assert_close(painted, net(noise), rtol=0, atol=1e-3)  # float32 through four instance norms


def test_a_painting_of_one_colour_is_said(net, noise, tmp_path, capsys):
    net.to_rgb.weight.div_(2000)
    net.to_rgb.bias.zero_()
    paint_picture(noise, load(tmp_path, net.state_dict()), passes=1)
    assert "the painting is of one colour" in capsys.readouterr().out


def test_two_networks_in_a_file_are_refused(net, tmp_path):
    with pytest.raises(CheckpointError, match="holds 2 state dicts"):
        load(tmp_path, {"a": net.state_dict(), "b": net.state_dict()})
