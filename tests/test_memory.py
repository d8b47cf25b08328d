"""Memory: what a painting needs is said before it begins, with the size that fits; `--fit` takes that size."""

from dataclasses import replace
from importlib import import_module
from pathlib import Path

import psutil
import pytest
import torch

from nstlib import GatysConfig, ImageError, PerceptualLoss, devices, open_image
from nstlib import paint as paint_picture
from nstlib.critic.extractor import FeatureExtractor
from nstlib.critic.tiled import TiledLoss
from nstlib.devices import available
from nstlib.painting import fast, gatys
from nstlib.painting.memory import Need, paint_need, shrink_to_memory, stylize_need
from nstlib.painting.models import save_transformer
from nstlib.painting.network import TransformerConfig, TransformerNet
from nstlib.painting.stylize import stylize
from nstlib.pictures.colour import METHODS
from nstlib.pictures.pixels import MARGIN, scale_to_long_side
from nstlib.screen import cli

pytestmark = pytest.mark.numeric
stylize_room = import_module("nstlib.painting.stylize")
CONFIG = GatysConfig(backbone="compact", size=64, smallest=32, steps=1, device="cpu")
SHAPES = [(48, 64), (192, 256), (768, 1024), (3072, 4096)]


@pytest.fixture
def loss() -> PerceptualLoss:
    content, style = CONFIG.layers()
    return PerceptualLoss(CONFIG, FeatureExtractor("compact", tuple({*content, *style}), weights=None))


@pytest.fixture
def machine(monkeypatch):
    """`machine(10)` leaves room for ten pixels a side, framed, of a painting that needs a byte a pixel."""

    def make(side: int) -> None:
        for module in (stylize_room, fast):
            monkeypatch.setattr(module, "available", lambda device: (side + 2 * MARGIN) ** 2)
        monkeypatch.setattr(stylize_room, "stylize_need", lambda *settings: Need(0, 1))
        monkeypatch.setattr(fast, "paint_need", lambda net, tiled=False: Need(0, 1))

    return make


# ── the estimate ────────────────────────────────────────────────────────────────────────────────────


def test_needs_grow_with_the_pixels(net, loss):
    for need in (paint_need(net), stylize_need(loss, CONFIG)):
        sizes = [need(shape) for shape in SHAPES]
        assert sizes == sorted(sizes) and sizes[-1] > 8 * sizes[-2]


def test_wider_networks_need_more(net):
    wide = TransformerNet(TransformerConfig(width=8, residual_blocks=1)).eval()
    assert 1.5 < paint_need(wide).per_pixel / paint_need(net).per_pixel < 2.1


def test_settings_that_need_more(loss):
    plain = stylize_need(loss, CONFIG)
    for changes in ({"optimiser": "lbfgs"}, {"style_scale": 4.0}, {"tv_weight": 1.0}, {"style_scales": (1.0, 0.9)}):
        assert stylize_need(loss, replace(CONFIG, **changes)).per_pixel > 1.01 * plain.per_pixel, changes


def test_tiles_need_less_where_the_picture_is_large(net, loss):
    for need in (lambda *tiled: paint_need(net, *tiled), lambda *tiled: stylize_need(loss, CONFIG, 1, *tiled)):
        assert need(True)(SHAPES[-1]) < 0.6 * need()(SHAPES[-1])


@pytest.mark.parametrize("preserve_colour", METHODS)
def test_what_does_not_fit_is_painted_in_tiles(preserve_colour, net, noise, monkeypatch):
    """Colours too: the mean and covariance are sums; a histogram is taken of levels."""
    monkeypatch.setenv("NSTLIB_PRECISION", "float32")
    picture = open_image(noise)
    net.to_rgb.weight.mul_(20)  # contrast: else recolouring enlarges the rounding of float16
    whole = paint_picture(picture, net, preserve_colour=preserve_colour)
    monkeypatch.setattr(fast, "paint_need", lambda net, tiled=False: Need(0, 0 if tiled else 1e12))
    tiled = paint_picture(picture, net, preserve_colour=preserve_colour)
    assert (tiled - whole).abs().mean() < (2 / 255 if preserve_colour == "histogram" else 1 / 1000)


def test_a_painting_that_does_not_fit_is_painted_in_tiles(noise, monkeypatch):
    used = []
    monkeypatch.setattr(stylize_room, "stylize_need", lambda loss, config, n, tiled: Need(0, 0 if tiled else 1e12))
    monkeypatch.setattr(stylize_room, "TiledLoss", lambda *given: used.append(given) or TiledLoss(*given, side=16))
    assert stylize(noise, noise, replace(CONFIG, size=48)).shape == (1, 3, 40, 48)
    assert len(used) == 2  # at 32 and at 48 pixels


# ── what is free ────────────────────────────────────────────────────────────────────────────────────


def test_free_memory_of_a_machine(monkeypatch):
    monkeypatch.setattr(devices, "CONTAINERS", {})
    assert 0 < available(torch.device("cpu")) <= psutil.virtual_memory().total


@pytest.mark.parametrize("limit, left", [("1000000", 1000000 - 300000 + 100000), ("max", None)])
def test_free_memory_of_a_container(limit, left, tmp_path, monkeypatch):
    """Its limit, less what it uses; files that are only cached can be dropped."""
    contents = {"memory.max": limit, "memory.current": "300000", "memory.stat": "anon 7\ninactive_file 100000"}
    for name, text in contents.items():
        (tmp_path / name).write_text(text)
    files = devices.CONTAINERS["/sys/fs/cgroup"]
    monkeypatch.setattr(devices, "CONTAINERS", {str(tmp_path): files, "/nonexistent": files})
    free = available(torch.device("cpu"))
    assert free == left if left else free > 1000000


def test_free_memory_of_a_gpu(monkeypatch):
    numbers = {"mem_get_info": (500, 1000), "memory_reserved": 300, "memory_allocated": 100}
    for name, number in numbers.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, number=number: number)
    assert available(torch.device("cuda")) == 500 + 300 - 100


# ── before a painting ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("shape", [(30, 40), (40, 30), (3, 4000), (40, 40), (6000, 8000)])
def test_the_size_that_is_said_fits(shape):
    side, need, free = max(shape), Need(500.0, 10.0), 20000.0
    with pytest.raises(ImageError, match=rf"^{shape[1]}×{shape[0]}: needs about .* --size \d+ would fit") as error:
        shrink_to_memory(shape, side, need, free, False, lambda side: pytest.fail("painted"))
    largest, painted = int(str(error.value).split("--size ")[1].split()[0]), []
    shrink_to_memory(shape, largest, need, free, False, painted.append)
    assert painted == [largest] and need(scale_to_long_side(shape, largest)) <= free
    assert need(scale_to_long_side(shape, largest + 1)) > free  # and no larger one does


def test_nothing_fits():
    for smaller in (False, True):
        with pytest.raises(ImageError, match=r"Close other programs\.$"):
            shrink_to_memory((30, 40), 40, Need(500.0, 1.0), 400.0, smaller, lambda side: pytest.fail("painted"))


def test_enough_memory_changes_nothing(capsys):
    assert shrink_to_memory((3, 5), 10, Need(0, 1), 10**6, True, torch.zeros).shape == (10,)
    assert capsys.readouterr().out == ""


def test_fit_paints_smaller_and_says_so(machine, net, noise, capsys):
    machine(40)
    painted = stylize(noise, noise, replace(CONFIG, fit=True))
    assert painted.shape == paint_picture(noise, net, 64, fit=True).shape
    height, width = painted.shape[-2:]
    assert 40 < width < 48 and height == round(width * 40 / 48)
    assert f"64×53: needs about 0 MB of memory, 0 MB are free: painting {width}×{height}" in capsys.readouterr().out


def test_the_command_says_what_fits(machine, net, photo_file, tmp_path, monkeypatch, capsys):
    machine(40)
    monkeypatch.chdir(tmp_path)
    save_transformer(net, "net.safetensors")
    before = sorted(Path().iterdir())
    commands = [
        f"stylize {photo_file} --style swirl --size 64 --steps 1",
        f"paint {photo_file} --model net.safetensors",
    ]
    for command in commands:
        arguments = [*command.split(), "--device", "cpu", "--output", "out.png"]
        with pytest.raises(SystemExit) as end:
            cli.main(arguments)
        said = capsys.readouterr().err.splitlines()[-1]
        assert end.value.code == 2 and said.startswith("nst: 64×48: needs about")
        assert sorted(Path().iterdir()) == before  # nothing was written
        side = int(said.split("--size ")[1].split()[0])
        cli.main([*arguments, "--fit"])
        assert max(open_image("out.png").size) == side
        Path("out.png").unlink()
        capsys.readouterr()


# ── out of memory all the same ──────────────────────────────────────────────────────────────────────

ERRORS = [
    torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_running_out_of_memory(error, capsys):
    sides = []

    def paint(side: int) -> torch.Tensor:
        sides.append(side)
        if len(sides) < 3:
            raise error
        return torch.zeros(side)

    assert shrink_to_memory((30, 40), 100, Need(0, 0), 1, True, paint).shape == (64,)
    assert sides == [100, 80, 64]
    assert "100×75: the memory did not suffice; painting 80×60" in capsys.readouterr().out
    sides.clear()
    with pytest.raises(ImageError, match=r"100×75: the memory did not suffice\. Give --size 80 or less, or --fit"):
        shrink_to_memory((30, 40), 100, Need(0, 0), 1, False, paint)
    assert sides == [100]


@pytest.mark.parametrize(
    "error, expected", [(MemoryError(), ImageError), (RuntimeError("mat1 and mat2 shapes"), RuntimeError)]
)
def test_errors_that_smaller_pictures_do_not_help(error, expected):
    def paint(side: int) -> torch.Tensor:
        raise error

    with pytest.raises(expected, match=r"did not suffice|mat1"):
        shrink_to_memory((75, 100), 100, Need(0, 0), 1, True, paint)


@pytest.mark.parametrize("agreed", [True, False])
def test_a_full_gpu_in_the_middle_of_a_painting(agreed, net, noise, monkeypatch):
    """A stand-in that raises once; both ways to paint."""
    forward, calls = TransformerNet.forward, []
    monkeypatch.setattr(fast, "paint_need", lambda net, tiled=False: Need(0, 0))

    def full_once(self, *given):
        calls.append(given)
        if len(calls) == 1:
            raise ERRORS[0]
        return forward(self, *given)

    monkeypatch.setattr(TransformerNet, "forward", full_once)
    advance = gatys.GatysPainter.advance
    monkeypatch.setattr(stylize_room, "stylize_need", lambda *settings: Need(0, 0))
    monkeypatch.setattr(
        gatys.GatysPainter, "advance", lambda self, n: advance(self, n) if calls else full_once(self, n)
    )
    for paint in (
        lambda: paint_picture(noise, net, fit=agreed),
        lambda: stylize(noise, noise, replace(CONFIG, size=48, fit=agreed)),
    ):
        calls.clear()
        if agreed:
            assert paint().shape == (1, 3, 32, 38)
        else:
            with pytest.raises(ImageError, match="48×40: the memory did not suffice"):
                paint()
