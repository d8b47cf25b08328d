"""What all tests share: one thread, a tiny random critic, pictures, and the data that lies beside the project."""

import threading
from http.server import ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

SHARED = Path(__file__).parents[2] / "shared"
torch.set_num_threads(1)


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
def noise() -> torch.Tensor:
    """A random picture (1, 3, 40, 48)."""
    return torch.rand(1, 3, 40, 48, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def photo_file(tmp_path) -> Path:
    """A small PNG with some structure."""
    from PIL import Image

    y, x = np.mgrid[0:48, 0:64]
    pixels = np.stack([x * 4, y * 5, (x + y) * 2], axis=-1).astype(np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    return path
