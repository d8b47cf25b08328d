"""Pictures by name: what is bundled is there; what is downloaded is named with its checksum."""

import csv
import hashlib
import re
import socket

import pytest
from PIL import Image

from nstlib import load_image, open_image, sample_names
from nstlib.pictures.samples import MASTERPIECES, PAINTINGS, PHOTOGRAPHS


@pytest.fixture
def offline(monkeypatch):
    def refuse(*args):
        raise AssertionError("a sample that comes with us must not ask the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.parametrize("name", ["astronaut", "cat", "coffee", "rocket", "motorcycle", "galaxies", "photographer"])
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


def test_names_are_listed_once():
    names = [name for group in sample_names().values() for name in group]
    assert len(names) == len(set(names)) == len(PHOTOGRAPHS) + len(PAINTINGS.keys() | MASTERPIECES.keys())


def test_a_file_comes_before_a_sample_and_a_folder_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (2, 3), "red").save("cat", "PNG")
    (tmp_path / "swirl").mkdir()
    assert open_image("cat").size == (2, 3)
    assert max(open_image("swirl").size) >= 512


@pytest.mark.parametrize("name", MASTERPIECES)
def test_masterpiece_is_pinned(name):
    piece = MASTERPIECES[name]
    assert re.fullmatch(r"[\w.-]+/[\w.-]+/[0-9a-f]{40}/.+\.(jpg|png)", piece.address)
    assert re.fullmatch(r"[0-9a-f]{64}", piece.sha256)
    assert [other.sha256 for other in MASTERPIECES.values()].count(piece.sha256) == 1
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
