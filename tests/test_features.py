"""The critic against torchvision, against F.conv2d, and against every kind of broken weights file.

What two ways of computing give is compared in float64: there roundings are 1e-13, on any processor, and mistakes 1e-2.
"""

import copy
import json
from collections import OrderedDict
from urllib.error import URLError

import pytest
import torch
import torch.nn.functional as F
import torchvision
from safetensors.torch import load_file, save_file
from torch import nn

from nstlib.critic.extractor import BUNDLED, PREPROCESSING, FeatureExtractor, default_backbone, layer_names
from nstlib.errors import WeightsError
from nstlib.storage import read_weights

pytestmark = pytest.mark.numeric
TAPS = ("relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1", "relu3_2", "relu3_3", "relu3_4")
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(scope="module", params=["vgg16", "vgg19"])
def vgg(request, tmp_path_factory):
    """torchvision's own network with random weights: (name, its `features`, its state dict on disk)."""
    with torch.device("meta"):  # 140 million weights that are not needed stay unmade
        features = getattr(torchvision.models, request.param)(weights=None).features
    features = features.to_empty(device="cpu").eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for module in features:
        if isinstance(module, nn.Conv2d):
            module.weight.normal_(std=(2 / (9 * module.in_channels)) ** 0.5, generator=generator)
            module.bias.normal_(std=0.1, generator=generator)
    state = {f"features.{name}": tensor for name, tensor in features.state_dict().items()}
    path = tmp_path_factory.mktemp("vgg") / f"{request.param}.{'pth' if request.param == 'vgg16' else 'safetensors'}"
    torch.save(state, path) if path.suffix == ".pth" else save_file(state, path)
    return request.param, features, path


def reference(layers, x, pooling="max"):
    """Every activation of torchvision's layers, in order, on the normalised picture."""
    x, outputs = (x - MEAN) / STD, []
    for layer in layers:
        if isinstance(layer, nn.MaxPool2d) and pooling == "avg":
            layer = nn.AvgPool2d(2)
        x = layer(x.clone())  # torchvision's ReLU works in place
        outputs.append(x)
    return outputs


@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_every_layer_equals_torchvision(vgg, noise, pooling):
    backbone, layers, path = vgg
    noise, names = noise.double(), layer_names(backbone)
    before = noise.clone()
    features = FeatureExtractor(backbone, tuple(reversed(names)), weights=path, pooling=pooling).double()(noise)
    assert isinstance(features, OrderedDict) and list(features) == names
    for got, expected in zip(features.values(), reference(copy.deepcopy(layers).double(), noise, pooling), strict=True):
        torch.testing.assert_close(got, expected)
    assert torch.equal(noise, before)


def test_stops_at_the_deepest_layer():
    extractor = FeatureExtractor("vgg19", ("relu2_1", "conv1_2"), weights=None)
    assert list(extractor.convs) == ["conv1_1", "conv1_2", "conv2_1"]
    assert extractor.layers == ("conv1_2", "relu2_1")


def test_random_weights_are_seeded_and_leave_the_global_seed_alone(noise):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second = (FeatureExtractor("compact", TAPS, weights=None)(noise) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in TAPS)
    assert torch.equal(before, torch.get_rng_state())


def test_gradients_reach_the_image_and_not_the_weights(noise):
    extractor = FeatureExtractor("compact", ("relu2_1",), weights=None)
    noise.requires_grad_()
    extractor(noise)["relu2_1"].sum().backward()
    assert noise.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in extractor.parameters())


@pytest.mark.parametrize("size", [(1, 1), (1, 37), (2, 3), (17, 5)])
def test_tiny_pictures_pass(size):
    features = FeatureExtractor("vgg19", ("relu3_4",), weights=None)(torch.rand(2, 3, *size))["relu3_4"]
    assert features.shape[:2] == (2, 256) and torch.isfinite(features).all()


# ── weights that stop early: the Oxford teacher ─────────────────────────────────────────────────────


def test_teacher_equals_plain_convolutions(teacher, noise):
    state, noise = {name: tensor.double() for name, tensor in load_file(teacher).items()}, noise.double()
    x = noise * 255 - torch.tensor([123.68, 116.779, 103.939]).view(3, 1, 1)
    expected = {}
    for i, name in enumerate(layer_names("vgg19")[:18]):
        if name.startswith("conv"):
            x = F.conv2d(x, state[f"features.{i}.weight"], state[f"features.{i}.bias"], padding=1)
        else:
            x = F.relu(x) if name.startswith("relu") else F.avg_pool2d(x, 2)
        expected[name] = x
    for backbone, preprocessing in (("vgg19", "oxford"), ("compact", "oxford"), ("vgg19", None)):  # None: the file says
        features = FeatureExtractor(backbone, TAPS, weights=teacher, preprocessing=preprocessing).double()(noise)
        for name in TAPS:  # Oxford's mean over 255 is stored in float32: 2⁻²⁴ of 124, against features up to 1e4
            torch.testing.assert_close(features[name], expected[name], rtol=1e-4, atol=1e-3)


def test_layer_beyond_the_weights(teacher):
    with pytest.raises(WeightsError, match=r"lack relu4_1.*conv1_1.*relu3_4"):
        FeatureExtractor("vgg19", ("relu1_1", "relu4_1"), weights=teacher, preprocessing="oxford")


def test_unknown_preprocessing_in_the_file(tmp_path):
    state = {"features.0.weight": torch.ones(4, 3, 3, 3)}
    save_file(state, tmp_path / "w.safetensors", {"preprocessing": "keras"})
    with pytest.raises(WeightsError, match=r"w\.safetensors.*keras.*preprocessing="):
        FeatureExtractor("vgg19", ("relu1_1",), weights=tmp_path / "w.safetensors")
    extractor = FeatureExtractor("vgg19", ("relu1_1",), weights=tmp_path / "w.safetensors", preprocessing="oxford")
    assert extractor.scaling == PREPROCESSING["oxford"]


# ── the bundled critic, and which backbone is taken ─────────────────────────────────────────────────


def test_bundled_critic(noise, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    extractor = FeatureExtractor(layers=TAPS)
    assert extractor.backbone == "compact"
    features = extractor(noise)
    assert list(features) == list(TAPS)
    assert all(torch.isfinite(f).all() and f.std() > 0 for f in features.values())
    path = BUNDLED / "compact.safetensors"
    assert path.stat().st_size <= 1_000_000
    assert {"mean", "std", "settings", "steps"} <= read_weights(path)[1].keys()
    with pytest.raises(WeightsError, match=r"relu4_1.*relu3_4"):
        FeatureExtractor("compact", ("relu4_1",))


def test_scaling_comes_from_the_file(noise):
    state, metadata = read_weights(BUNDLED / "compact.safetensors")
    state, noise = {name: tensor.double() for name, tensor in state.items()}, noise.double()
    mean, std = (torch.tensor([float(v) for v in metadata[key].split(",")]).view(3, 1, 1) for key in ("mean", "std"))
    x = F.conv2d((noise - mean) / std, state["features.0.weight"], state["features.0.bias"], padding=1)
    expected = F.conv2d(F.relu(x), state["heads.relu1_1.weight"])
    torch.testing.assert_close(FeatureExtractor("compact", ("relu1_1",)).double()(noise)["relu1_1"], expected)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty torch hub cache, and no network."""

    def refuse(*args, **kwargs):
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "urlopen", refuse)
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path / "hub"))
    checkpoints = tmp_path / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    yield checkpoints
    torch.hub.set_dir(before)


def test_downloaded_weights_are_used_offline(hub, noise, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert default_backbone() == "compact"
    state = {"features.0.weight": torch.randn(64, 3, 3, 3), "features.0.bias": torch.zeros(64)}
    torch.save(state, hub / "vgg19-dcbb9e9d.pth")
    assert default_backbone() == "vgg19"
    noise = noise.double()
    features = FeatureExtractor("vgg19", ("relu1_1",)).double()(noise)["relu1_1"]
    expected = F.relu(F.conv2d((noise - MEAN) / STD, state["features.0.weight"].double(), padding=1))
    torch.testing.assert_close(features, expected)


@pytest.mark.parametrize("backbone", ["vgg16", "vgg19"])
def test_no_network(hub, backbone):
    with pytest.raises(WeightsError, match=f"{backbone} cannot be .*compact"):
        FeatureExtractor(backbone, ("relu1_1",))


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"PK\x03\x04"])
def test_broken_download(hub, content):
    (hub / "vgg19-dcbb9e9d.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=r"vgg19.*compact"):
        FeatureExtractor("vgg19", ("relu1_1",))


# ── files that are not weights ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("thing", [torch.ones(3), [torch.ones(3)], {"epoch": 3}, {"m": {"w": {"x": torch.ones(3)}}}])
def test_not_a_state_dict(tmp_path, thing):
    torch.save(thing, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="not a state dict"):
        read_weights(tmp_path / "w.pth")


def test_state_can_be_loaded_again(tmp_path, noise):
    extractor = FeatureExtractor("compact", TAPS, weights=None)
    save_file(extractor.state(), tmp_path / "w.safetensors")
    again = FeatureExtractor("compact", TAPS, weights=tmp_path / "w.safetensors")
    assert all(map(torch.equal, extractor(noise).values(), again(noise).values()))


def test_bundled_critic_says_where_it_comes_from():
    _, metadata = read_weights(BUNDLED / "compact.safetensors")
    assert "CC BY 4.0" in metadata["provenance"] and "Simonyan" in metadata["provenance"]
    assert set(json.loads(metadata["errors"])) == {"feature", "gram"}
    assert "/" not in json.loads(metadata["settings"])["teacher"]


def test_pooling_changes_the_features_below_a_pool_only(noise):
    by_max, by_average = (
        FeatureExtractor("compact", ("relu1_2", "relu2_1"), weights=None, pooling=p)(noise) for p in ("max", "avg")
    )
    assert torch.equal(by_max["relu1_2"], by_average["relu1_2"])
    assert not torch.allclose(by_max["relu2_1"], by_average["relu2_1"], atol=1e-2)
