"""What all tests share: one thread, pictures, a small training, and the data that lies beside the project."""

import math
import os
import sys
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nstlib import storage
from nstlib.critic.losses import PerceptualLoss
from nstlib.painting.models import save_transformer
from nstlib.painting.network import TransformerConfig, TransformerNet
from nstlib.training.config import TrainConfig

SHARED = Path(__file__).parents[2] / "shared"
sys.path.insert(0, str(Path(__file__).parent / "tools"))  # the build tools have tests too
os.environ["NSTLIB_PRECISION"] = "float32"  # pictures are compared; what bfloat16 changes has tests of its own
torch.set_num_threads(int(os.environ.get("TEST_THREADS", "1")))  # `make unit-elsewhere` asks for two


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty folder to work in; boxed messages as wide as a terminal."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "80")
    return folder


@pytest.fixture
def shared() -> Path:
    """The folder of development data; tests that use it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the development data is not beside the project")
    return SHARED


@pytest.fixture
def teacher(shared) -> Path:
    return shared / "weights" / "vgg19_oxford_conv1-3.safetensors"


@pytest.fixture
def serve(monkeypatch):
    """Start a host on this machine: `serve(Handler)` gives its server, which ends with the test."""
    running = []

    def start(handler) -> ThreadingHTTPServer:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        running.append((server, thread))
        return server

    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    yield start
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def evil():
    """Something that makes a file, `evil(path)`, when it is unpickled."""

    class Evil:
        def __init__(self, path):
            self.path = str(path)

        def __reduce__(self):
            return Path.touch, (Path(self.path),)

    return Evil


@pytest.fixture
def net() -> TransformerNet:
    """A small network of random weights."""
    torch.manual_seed(1)
    return TransformerNet(TransformerConfig(width=4, residual_blocks=1)).eval().requires_grad_(False)


@pytest.fixture
def studio() -> TransformerNet:
    """A small adjustable network whose rows all differ."""
    torch.manual_seed(1)
    net = TransformerNet(TransformerConfig(width=4, residual_blocks=1, styles=("swirl", "ink", "woodblock"))).eval()
    for name, tensor in net.state_dict().items():
        if ".norm." in name or name == "skip_share":
            tensor += 0.3 * torch.randn(tensor.shape)
    return net.requires_grad_(False)


@pytest.fixture
def model(net, tmp_path) -> str:
    """Its file, as it is named from the folder `here`."""
    card = {"style": "swirl", "critic": "compact", "photographs": 1234, "pictures_per_step": 4, "steps": 5000}
    net.card |= card | {"minutes": 61.5, "machine": "an abacus", "started_from": None, "gatys_iterations": 77}
    save_transformer(net, tmp_path / "tiny.safetensors")
    return "../tiny.safetensors"


@pytest.fixture
def noise() -> torch.Tensor:
    """A random picture (1, 3, 40, 48)."""
    return torch.rand(1, 3, 40, 48, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def photo_file(tmp_path) -> Path:
    """A small PNG with some structure."""
    y, x = np.mgrid[0:48, 0:64]
    pixels = np.stack([x * 4, y * 5, (x + y) * 2], axis=-1).astype(np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    """A folder of a dozen small photographs."""
    folder, rng = tmp_path_factory.mktemp("private") / "holiday", np.random.default_rng(0)
    folder.mkdir()
    for i in range(12):
        pixels = rng.integers(0, 256, (5, 6 + i % 3, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((72 + i, 64 + i), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def config(photos, tmp_path, monkeypatch) -> Iterator[TrainConfig]:
    """A training of a dozen steps of two crops."""
    monkeypatch.setattr("nstlib.training.runs.VALIDATION", ("cat",))  # one, and small, is enough on most sheets
    monkeypatch.setattr("nstlib.training.runs.HEIGHT", 32)
    yield TrainConfig(
        dataset=photos,
        style="ink",
        save_model=tmp_path / "net.safetensors",
        style_scales=(1.0,),
        steps=12,
        batch_size=2,
        image_size=32,
        style_size=48,
        network=TransformerConfig(width=4, residual_blocks=1),
        log_every=1,
        checkpoint_every=5,
        precision="no",
        workers=0,
        backbone="compact",
        device="cpu",
    )
    while storage._held:  # a trainer made by hand keeps its folder, with an open file, until the process ends
        storage._held.popitem()[1][0].close()


@pytest.fixture
def spoil(monkeypatch):
    """`spoil(calls, value)` multiplies the total loss at these calls, counted from 0; returns the list of all calls."""
    forward, calls = PerceptualLoss.forward, []

    def start(bad_calls, value=math.nan) -> list[int]:
        def spoiled(self, image):
            calls.append(len(calls))
            losses = forward(self, image)
            return losses | {"total": losses["total"] * (value if calls[-1] in bad_calls else 1)}

        monkeypatch.setattr(PerceptualLoss, "forward", spoiled)
        return calls

    return start
