"""Pictures by name: what is bundled is there, and a download is kept only when it is whole and right."""

import csv
import hashlib
import re
import socket
from http.server import BaseHTTPRequestHandler

import numpy as np
import pytest
from PIL import Image

from nstlib import ImageError, load_image, open_image, sample_names
from nstlib.pictures import samples
from nstlib.pictures.samples import MASTERPIECES, PAINTINGS, PHOTOGRAPHS, Masterpiece


@pytest.fixture
def offline(monkeypatch):
    def refuse(*args):
        raise AssertionError("a sample that comes with us must not ask the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.parametrize("name", ["astronaut", "cat", "coffee", "rocket", "motorcycle"])
def test_photographs(name, offline):
    assert name in PHOTOGRAPHS
    image = load_image(name)
    assert image.shape[:2] == (1, 3) and min(image.shape[2:]) >= 300
    assert image.std() > 0.1


def test_painting_names():
    ours = {"swirl", "stained_glass", "woodblock", "ink", "halftone", "watercolour"}
    famous = {"starry_night", "great_wave", "the_scream", "composition_vii"}  # bundled, with artist and source
    assert ours | famous == set(PAINTINGS) and famous <= set(MASTERPIECES)
    assert all(PAINTINGS[name].stat().st_size <= 120_000 for name in famous)


@pytest.mark.parametrize("name", PAINTINGS)
def test_paintings(name, offline):
    assert PAINTINGS[name].stat().st_size <= 200_000
    image = load_image(name)
    assert 512 <= max(image.shape[2:]) <= 768
    assert image.std() > 0.05


@pytest.mark.parametrize("size", [16, 100])
def test_size_is_the_long_side(size):
    height, width = load_image("cat").shape[2:]
    assert load_image("cat", size).shape == (1, 3, round(size * height / width), size)


def test_names_are_listed_once():
    names = [name for group in sample_names().values() for name in group]
    assert len(names) == len(set(names)) == len(PHOTOGRAPHS) + len(PAINTINGS.keys() | MASTERPIECES.keys())


@pytest.mark.parametrize("name", ["no_such_sample", "n" * 5000])
def test_unknown_name(name):
    with pytest.raises(ImageError):
        load_image(name)


def test_a_file_comes_before_a_sample_and_a_folder_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (2, 3), "red").save("cat", "PNG")
    (tmp_path / "swirl").mkdir()
    assert open_image("cat").size == (2, 3)
    assert max(open_image("swirl").size) >= 512


def test_enough_masterpieces():
    assert len(MASTERPIECES) >= 10
    assert len({piece.sha256 for piece in MASTERPIECES.values()}) == len(MASTERPIECES)


@pytest.mark.parametrize("name", MASTERPIECES)
def test_masterpiece_is_pinned(name):
    piece = MASTERPIECES[name]
    assert re.fullmatch(r"[\w.-]+/[\w.-]+/[0-9a-f]{40}/.+\.(jpg|png)", piece.address)
    assert re.fullmatch(r"[0-9a-f]{64}", piece.sha256)
    assert piece.artist and piece.title and re.search(r"\d", piece.year)


@pytest.mark.parametrize("name", MASTERPIECES)
def test_masterpiece_agrees_with_the_manifest(name, shared):
    with open(shared / "data" / "MANIFEST.csv", newline="", encoding="utf-8") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    row, piece = rows[f"styles/{name}.jpg"], MASTERPIECES[name]
    repository = row["source_repo"].removeprefix("github:")
    assert piece.address == f"{repository}/{row['source_commit']}/{row['source_path']}"
    assert piece.sha256 == row["original_sha256"]
    assert piece.artist in row["author"]
    if row["how"] == "unchanged blob":
        body = (shared / "data" / row["path"]).read_bytes()
        assert hashlib.sha256(body).hexdigest() == piece.sha256


class Handler(BaseHTTPRequestHandler):
    """Sends the server's `body`, and counts; `missing` bytes are promised and not sent."""

    def do_GET(self):
        self.server.requests += 1
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.body) + self.server.missing))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch, serve):
    """A host on this machine that has one painting, `sketch`."""
    server = serve(Handler)
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(tmp_path / "sketch.png")
    server.body, server.missing, server.status, server.requests = (tmp_path / "sketch.png").read_bytes(), 0, 200, 0
    piece = Masterpiece("A", "Sketch", "1900", "o/r/c/sketch.png", hashlib.sha256(server.body).hexdigest())
    monkeypatch.setattr(samples, "MASTERPIECES", {"sketch": piece})
    monkeypatch.setattr(samples, "HOST", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("NSTLIB_CACHE", str(tmp_path / "cache"))
    return server


def cached(tmp_path) -> list[str]:
    return [path.name for path in (tmp_path / "cache").glob("**/*") if path.is_file()]


def test_download_is_cached(server, tmp_path):
    first = load_image("sketch")
    assert first.shape == (1, 3, 4, 4)
    assert load_image("sketch").equal(first)
    assert server.requests == 1
    assert cached(tmp_path) == ["sketch.png"]


def test_spoiled_cache_is_mended(server, tmp_path):
    load_image("sketch")
    (tmp_path / "cache" / "sketch.png").write_bytes(b"spoiled")
    assert load_image("sketch").shape == (1, 3, 4, 4)
    assert server.requests == 2


@pytest.mark.parametrize("spoil", [{"body": b"another file"}, {"missing": 100}, {"status": 404}])
def test_a_bad_download_leaves_nothing(spoil, server, tmp_path):
    vars(server).update(spoil)
    with pytest.raises(ImageError, match=r"sketch: cannot be downloaded .*try again; .* astronaut .*swirl"):
        load_image("sketch")
    assert server.requests == 1
    assert cached(tmp_path) == []


def test_server_down(server, tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # taken, but nobody listens
        monkeypatch.setattr(samples, "HOST", f"http://127.0.0.1:{free.getsockname()[1]}/")
        with pytest.raises(
            ImageError, match=r"sketch: cannot be downloaded .*without one these work: astronaut .*swirl"
        ):
            load_image("sketch")
    assert server.requests == 0
    assert cached(tmp_path) == []


def test_an_error_without_words(server, monkeypatch):
    def fail(*args, **options):
        raise TimeoutError

    monkeypatch.setattr("pooch.retrieve", fail)
    with pytest.raises(ImageError, match=r"sketch: cannot be downloaded \(TimeoutError\)"):
        load_image("sketch")


def test_cache_that_is_no_folder(server, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(ImageError, match="sketch: cannot be downloaded"):
        load_image("sketch")
