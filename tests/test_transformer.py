"""The fast network: any size in and out, files that come back as they went, and other people's checkpoints."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from rounding import apart
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from nstlib.errors import CheckpointError
from nstlib.painting import fast, models
from nstlib.painting.fast import paint
from nstlib.painting.models import load_transformer, model_files, save_transformer
from nstlib.painting.network import TransformerConfig, TransformerNet
from nstlib.pictures.colour import METHODS
from nstlib.pictures.samples import load_image, open_image

pytestmark = pytest.mark.numeric
SMALL = {"width": 4, "residual_blocks": 1}
SWITCHES = [
    {},
    {"norm": "batch"},
    {"upsample": "deconv"},
    {"downsample": "maxpool"},
    {"width": 1},
    {"residual_blocks": 0},
    {"legacy_range": True},
]
SIZES = [(1, 1), (3, 5), (15, 40), (16, 16), (37, 53), (257, 171)]


def small(card: dict | None = None, **changes) -> TransformerNet:
    """A small network of random weights, its norms as far from the identity as after a training."""
    torch.manual_seed(0)
    net = TransformerNet(TransformerConfig(**SMALL | changes), card)
    spread_norms(net)
    return net.eval()


def spread_norms(net: nn.Module) -> None:
    for layer in net.modules():
        if isinstance(layer, nn.InstanceNorm2d | nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.3)
            if layer.track_running_stats:
                nn.init.normal_(layer.running_mean)
                nn.init.uniform_(layer.running_var, 0.5, 1.5)


def picture(height: int, width: int, batch: int = 1) -> torch.Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(2))


# ── the network ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("switch", SWITCHES, ids=str)
@torch.inference_mode()
def test_output_is_a_picture_of_the_inputs_size(switch, size):
    painted = small(**switch)(picture(*size, batch=2))
    assert painted.shape == (2, 3, *size)
    assert 0 <= painted.min() and painted.max() <= 1


def test_default_layout_is_johnsons():
    net = TransformerNet()
    table = [(c.out_channels, c.kernel_size[0], c.stride[0]) for c in net.modules() if isinstance(c, nn.Conv2d)]
    down, up = [(32, 9, 1), (64, 3, 2), (128, 3, 2)], [(64, 3, 1), (32, 3, 1), (3, 9, 1)]
    assert table == down + [(128, 3, 1)] * 10 + up
    assert sum(p.numel() for p in net.parameters()) == 1_679_235  # as pytorch/examples' TransformerNet has


def test_maxpool_halves_after_a_convolution_of_stride_1():
    strides = {c.stride for c in small(downsample="maxpool").modules() if isinstance(c, nn.Conv2d)}
    assert strides == {(1, 1)}


def test_residual_adds_without_a_relu_after_the_sum():
    block = small().residual[0]
    nn.init.zeros_(block.second.norm.weight)
    nn.init.constant_(block.second.norm.bias, -3.0)
    x = picture(8, 8).repeat(1, 6, 1, 1)[:, :16]  # (1, 16, 8, 8)
    torch.testing.assert_close(block(x), x - 3)


@torch.inference_mode()
def test_odd_sizes_are_mirrored_and_cut():
    net, photo = small(), picture(37, 53)
    torch.testing.assert_close(net(photo), net(F.pad(photo, (0, 3, 0, 3), mode="reflect"))[..., :37, :53])


@torch.inference_mode()
def test_a_tiny_picture_is_continued_by_its_border():
    net, pixel = small(), picture(1, 1)
    torch.testing.assert_close(net(pixel), net(pixel.expand(1, 3, 16, 16))[..., :1, :1])


@torch.inference_mode()
def test_a_picture_does_not_depend_on_its_batch():
    net, photos = small().double().train(), picture(24, 32, batch=3).double()
    torch.testing.assert_close(net(photos)[1:2], net(photos[1:2]))  # the output is rounded to float32, once


def test_gradients_reach_every_weight():
    net = small()
    net(picture(17, 18)).square().mean().backward()
    # a bias before an instance norm is taken out again by it, so its gradient is nothing but rounding
    dead = [name for name, p in net.named_parameters() if p.grad.abs().max() == 0 and not name.endswith("conv.bias")]
    assert dead == []


# ── files of ours ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "switches",
    [{}, {"norm": "batch", "upsample": "deconv", "downsample": "maxpool", "legacy_range": True}],
    ids=["default", "all switched"],
)
def test_save_and_load(switches, tmp_path):
    net = small({"style": "swirl", "steps": 7}, **switches)
    path = save_transformer(net, tmp_path / "new" / "folder" / "net.safetensors")
    again = load_transformer(path)
    assert (again.config, again.card) == (net.config, net.card)
    assert not again.training and not any(p.requires_grad for p in again.parameters())
    for name, tensor in net.state_dict().items():
        expected = tensor.half().float() if tensor.is_floating_point() else tensor
        torch.testing.assert_close(again.state_dict()[name], expected, rtol=0, atol=0)
    torch.testing.assert_close(again(picture(20, 24)), net(picture(20, 24)), rtol=0, atol=0.01)


def test_file_is_float16(tmp_path):
    path = save_transformer(small(norm="batch"), tmp_path / "net.safetensors")
    with safe_open(path, "pt") as file:
        kinds = {name.rpartition(".")[2]: file.get_tensor(name).dtype for name in file.keys()}
    assert kinds.pop("num_batches_tracked") == torch.int64  # a count
    assert set(kinds.values()) == {torch.float16}
    assert [file.name for file in tmp_path.iterdir()] == ["net.safetensors"]


@pytest.mark.parametrize("name", ["net.pth", "net"])
def test_wrong_ending(name, tmp_path):
    with pytest.raises(CheckpointError, match=rf"{name}: .*\.safetensors"):
        save_transformer(small(), tmp_path / name)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e6], ids=["nan", "inf", "too large for float16"])
def test_weights_that_are_not_finite_are_not_saved(value, tmp_path):
    net = small()
    nn.init.constant_(net.to_rgb.bias, value)
    with pytest.raises(CheckpointError, match=r"to_rgb\.bias is not finite"):
        save_transformer(net, tmp_path / "net.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "tensors, metadata, said",
    [
        ({"to_rgb.bias": torch.ones(4)}, {}, r"1 tensors do not fit .*to_rgb\.bias should be \(3,\) and is \(4,\)"),
        ({"to_rgb.bias": None}, {}, r"to_rgb\.bias should be \(3,\) and is absent"),
        ({"surplus": torch.ones(2)}, {}, r"surplus should be absent and is \(2,\)"),
        ({"to_rgb.bias": torch.full((3,), torch.nan)}, {}, r"to_rgb\.bias is not finite"),
        ({}, {"format": "2"}, "format '2'.*Update nstlib"),
        ({}, {"config": '{"colour": 1}'}, "settings cannot be read .*colour"),
        ({}, {"config": None}, "settings cannot be read .*config"),
    ],
)
def test_files_that_do_not_fit(tensors, metadata, said, tmp_path):
    path = save_transformer(small(), tmp_path / "net.safetensors")
    with safe_open(path, "pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()} | tensors
        metadata = file.metadata() | metadata
    state, metadata = ({k: v for k, v in given.items() if v is not None} for given in (state, metadata))
    save_file(state, path, metadata)
    with pytest.raises(CheckpointError, match=f"net.safetensors: .*{said}"):
        load_transformer(path)


# ── bundled networks ────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def bundle(tmp_path, monkeypatch) -> Path:
    """A folder of bundled networks, with two in it."""
    folder = tmp_path / "bundle"
    for width, name in enumerate(("wave", "night", "compact"), start=1):
        save_transformer(small(width=width), folder / f"{name}.safetensors")
    (folder / "SOURCES.md").write_text("not a network")
    monkeypatch.setattr(models, "BUNDLED", folder)
    return folder


def test_model_files(bundle):
    assert model_files() == {name: bundle / f"{name}.safetensors" for name in ("night", "wave")}


def test_bundled_networks_go_by_name(bundle, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert load_transformer("wave").config.width == 1
    (tmp_path / "night").mkdir()  # only a file comes before a bundled network
    assert load_transformer("night").config.width == 2
    torch.save(Example(width=3).state_dict(), "wave")
    assert load_transformer("wave").config.width == 3


@pytest.mark.parametrize("name", ["waves", "compact", "no/such.safetensors", "n" * 5000])
def test_unknown_model(name, bundle, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=rf"^{name}: no such model\. .* night wave\."):
        load_transformer(name)


@pytest.mark.parametrize("name", model_files())
def test_bundled_network(name):
    assert model_files()[name].stat().st_size <= 1_500_000
    net = load_transformer(name)
    assert net.card["style"] and net.card["critic"] and net.card["machine"]
    assert min(net.card[number] for number in ("photographs", "steps", "minutes", "pictures_per_step")) > 0
    painted = paint("cat", net, 64)
    assert torch.isfinite(painted).all() and painted.std() > 0.05


# ── pytorch/examples' checkpoints ───────────────────────────────────────────────────────────────────


class ConvLayer(nn.Module):
    """As in pytorch/examples: reflection padding, then convolution; upsampled before where that is asked for."""

    def __init__(self, inputs, outputs, size, stride, upsample=None):
        super().__init__()
        self.upsample = upsample
        self.reflection_pad = nn.ReflectionPad2d(size // 2)
        self.conv2d = nn.Conv2d(inputs, outputs, size, stride)

    def forward(self, x):
        if self.upsample:
            x = F.interpolate(x, scale_factor=self.upsample, mode="nearest")
        return self.conv2d(self.reflection_pad(x))


class ResidualBlock(nn.Module):
    def __init__(self, channels, norm):
        super().__init__()
        self.conv1, self.in1 = ConvLayer(channels, channels, 3, 1), norm(channels, affine=True)
        self.conv2, self.in2 = ConvLayer(channels, channels, 3, 1), norm(channels, affine=True)

    def forward(self, x):
        return x + self.in2(self.conv2(F.relu(self.in1(self.conv1(x)))))


class Example(nn.Module):
    """pytorch/examples' fast_neural_style/transformer_net.py, of any width; 0 … 255 in and out."""

    def __init__(self, width=4, norm=nn.InstanceNorm2d, transposed=False):
        super().__init__()
        torch.manual_seed(1)
        w = width

        def up(inputs, outputs):
            if transposed:
                return nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1)
            return ConvLayer(inputs, outputs, 3, 1, upsample=2)

        self.conv1, self.in1 = ConvLayer(3, w, 9, 1), norm(w, affine=True)
        self.conv2, self.in2 = ConvLayer(w, 2 * w, 3, 2), norm(2 * w, affine=True)
        self.conv3, self.in3 = ConvLayer(2 * w, 4 * w, 3, 2), norm(4 * w, affine=True)
        for i in range(1, 6):
            self.add_module(f"res{i}", ResidualBlock(4 * w, norm))
        self.deconv1, self.in4 = up(4 * w, 2 * w), norm(2 * w, affine=True)
        self.deconv2, self.in5 = up(2 * w, w), norm(w, affine=True)
        self.deconv3 = ConvLayer(w, 3, 9, 1)
        spread_norms(self)
        nn.init.normal_(self.deconv3.conv2d.weight, std=5)
        nn.init.constant_(self.deconv3.conv2d.bias, 128)  # else half of the output would be clamped
        self.eval()

    def forward(self, x):
        x = F.relu(self.in1(self.conv1(x)))
        x = F.relu(self.in2(self.conv2(x)))
        x = F.relu(self.in3(self.conv3(x)))
        x = self.res5(self.res4(self.res3(self.res2(self.res1(x)))))
        x = F.relu(self.in4(self.deconv1(x)))
        x = F.relu(self.in5(self.deconv2(x)))
        return self.deconv3(x)


def assert_paints_alike(net, example):
    """In float64; the painting itself is rounded to float32, at 0 … 255."""
    net.double(), example.double()
    for size in [(16, 20), (40, 64)]:
        with torch.inference_mode():
            painted, expected = net(picture(*size).double()), example(picture(*size).double() * 255).float() / 255
        inside = (expected == expected.clamp(0, 1)).float().mean()
        assert 0.3 < inside < 1  # some is clamped, but not so much that little is left to compare
        torch.testing.assert_close(painted, expected.clamp(0, 1))


@pytest.mark.parametrize("width", [4, 6])
@pytest.mark.parametrize("transposed", [False, True])
def test_examples_checkpoint(width, transposed, tmp_path, capsys):
    example = Example(width, transposed=transposed)
    torch.save(example.state_dict(), tmp_path / "candy.pth")
    net = load_transformer(tmp_path / "candy.pth")
    assert net.config == TransformerConfig(
        width=width, upsample="deconv" if transposed else "resize", legacy_range=True
    )
    assert_paints_alike(net, example)
    assert capsys.readouterr().out == ""


def test_the_public_files_running_statistics_are_dropped(tmp_path, capsys):
    example = Example()
    statistics = {f"in{i}.running_{kind}": torch.ones(4) for i in range(1, 6) for kind in ("mean", "var")}
    torch.save(example.state_dict() | statistics, tmp_path / "candy.pth")
    assert_paints_alike(load_transformer(tmp_path / "candy.pth"), example)
    assert capsys.readouterr().out.startswith("candy.pth: dropped 10 running statistics")


def test_layers_of_other_names_are_taken_in_order(tmp_path):
    example = Example()
    numbers: dict[str, int] = {}  # of the layers, in their order, as in an nn.Sequential
    state = {}
    for name, tensor in example.state_dict().items():
        layer, _, key = name.rpartition(".")
        state[f"model.{numbers.setdefault(layer, len(numbers))}.{key}"] = tensor
    torch.save(state, tmp_path / "w.pth")
    assert_paints_alike(load_transformer(tmp_path / "w.pth"), example)


def test_batch_norm_uses_its_running_statistics(tmp_path, capsys):
    example = Example(norm=nn.BatchNorm2d)
    torch.save(example.state_dict(), tmp_path / "w.pth")
    assert_paints_alike(load_transformer(tmp_path / "w.pth", norm="batch"), example)
    assert capsys.readouterr().out == ""


def test_a_foreign_network_can_be_saved_as_ours(tmp_path):
    torch.save(Example().state_dict(), tmp_path / "candy.pth")
    net = load_transformer(tmp_path / "candy.pth")
    again = load_transformer(save_transformer(net, tmp_path / "candy.safetensors"))
    assert (again.config, again.card) == (net.config, {"source": "candy.pth"})


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"conv1.conv2d.weight": torch.ones(4, 3, 3, 3)}, "is not a Johnson-type network"),
        ({"conv1.conv2d.weight": torch.ones(513, 3, 9, 9)}, "width=513"),
        ({"res3.conv2.conv2d.weight": torch.ones(16, 15, 3, 3)}, r"should be \(16, 16, 3, 3\) and is \(16, 15, 3, 3\)"),
        ({"deconv3.conv2d.bias": None}, r"to_rgb\.bias should be \(3,\) and is absent"),
        ({"in5.weight": None, "in5.bias": None}, "and is absent"),
        ({"in6.weight": torch.ones(4)}, r"in6\.weight should be absent"),
        ({"deconv3.conv2d.bias": torch.full((3,), torch.inf)}, "is not finite"),
    ],
)
def test_foreign_networks_that_do_not_fit(changes, said, tmp_path):
    state = {name: t for name, t in (Example().state_dict() | changes).items() if t is not None}
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=rf"w\.pth: .*{said}"):
        load_transformer(tmp_path / "w.pth")


def test_foreign_safetensors_are_refused(tmp_path):
    """That format sorts its tensors by name: `deconv1` would come before `res1`, and `res10` before `res2`."""
    save_file(Example().state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=r"w.safetensors: .*order of layers.*\.pth"):
        load_transformer(tmp_path / "w.safetensors")


# ── painting ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size, shape", [(None, (48, 64)), (32, (24, 32)), (100, (75, 100))])
def test_paint_size(size, shape, photo_file):
    painted = paint(photo_file, small(), size)
    assert painted.shape == (1, 3, *shape)
    assert painted.std() > 0.01 and not painted.is_inference()  # which could not be used in training


def test_a_network_by_name_paints_on_the_best_device(photo_file, tmp_path, monkeypatch):
    """One that is given as it is paints where it is."""
    asked, path = [], save_transformer(small(), tmp_path / "net.safetensors")
    monkeypatch.setattr(fast, "best_device", lambda: asked.append(1) or torch.device("cpu"))
    paint(photo_file, path)
    paint(photo_file, small())
    assert asked == [1]


@pytest.mark.parametrize("method", METHODS[1:])
def test_paint_keeps_the_colours(method):
    green = np.full((24, 32, 3), (100, 160, 90), dtype=np.uint8)
    mean, (painted, kept) = load_image(green).mean((2, 3)), (paint(green, small(), None, m) for m in ("none", method))
    hue, expected = ((colour[:, 1] - colour[:, 0]).item() for colour in (kept.mean((2, 3)), mean))
    assert abs(hue - expected) < 0.02 < abs((painted.mean((2, 3)) - mean).diff()[0, 0].item())


def test_paint_has_a_mirrored_margin():
    """The network meets the picture's edge 8 pixels outside the picture, so that it paints no frame."""
    seen = []

    class Recorder(TransformerNet):
        def forward(self, image, blend=None):
            seen.append(image)
            return image

    photo = torch.rand(1, 3, 24, 30, generator=torch.Generator().manual_seed(1))
    painted = paint(photo, Recorder(TransformerConfig(width=1, residual_blocks=0)))
    met = seen[-2]  # before it come the trials of its memory, after it the second pass
    assert met.shape[-2:] == (40, 46)
    torch.testing.assert_close(met[..., 8:-8, 7], met[..., 8:-8, 9])  # mirrored about the first column
    torch.testing.assert_close(painted, met[..., 8:-8, 8:-8])


def test_two_passes_take_away_what_is_locked_to_the_grid():
    class Weaver(TransformerNet):
        def forward(self, image, blend=None):
            column = torch.arange(image.shape[-1])
            return image + 0.1 * (1 - 2 * (column // 2 % 2))  # two columns lighter, two darker

    photo, net = torch.full((1, 3, 20, 30), 0.6), Weaver(TransformerConfig(width=1, residual_blocks=0))
    assert paint(photo, net, passes=1).unique().tolist() == pytest.approx([0.5, 0.7])
    torch.testing.assert_close(paint(photo, net), photo)
    with pytest.raises(ValueError, match="passes"):
        paint(photo, net, passes=3)


@pytest.mark.parametrize("styles", [(), ("a", "b")])
def test_the_gradient_of_a_batch_is_that_of_its_pictures(styles):
    """Torch's own instance norm gives a single picture a wrong gradient in channels_last on the CPU."""
    torch.manual_seed(1)
    net = TransformerNet(TransformerConfig(width=4, residual_blocks=1, styles=styles)).double()
    photos = torch.rand(2, 3, 24, 24, dtype=torch.float64)
    wanted = torch.rand(2, 3, 24, 24, dtype=torch.float64)

    def gradients(parts):
        net.zero_grad()
        for i in parts:
            (net(photos[i]).double() - wanted[i]).square().sum().backward()
        return [p.grad.clone() for p in net.parameters()]

    assert apart(gradients([slice(0, 1), slice(1, 2)]), gradients([slice(0, 2)])) < 1e-5  # the output is float32


def test_paint_flattens_transparency_on_white():
    pixels = np.zeros((20, 24, 4), dtype=np.uint8)  # black, and all of it transparent
    torch.testing.assert_close(paint(pixels, small()), paint(np.full((20, 24, 3), 255, np.uint8), small()))
    assert open_image(pixels).mode == "RGBA"


@pytest.mark.parametrize("side", [1, 2, 3])
def test_tiny_pictures_are_painted_in_two_passes(side):
    assert paint(torch.rand(1, 3, side, side), small()).shape == (1, 3, side, side)


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = save_transformer(small(), tmp_path / "net.safetensors")
    before = path.read_bytes()

    def full(aside, data):
        with open(aside, "wb") as file:
            file.write(data[:99])
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(CheckpointError, match=r"net.safetensors: cannot be written \(no space left\)"):
        save_transformer(small(width=5), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
