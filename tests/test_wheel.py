"""The wheel: installed elsewhere, without the checkout, it still paints."""

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LACKING = [name for name in ("pip", "setuptools") if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(LACKING), reason=f"building a wheel needs {' and '.join(LACKING)}")
PAINT = """
import sys
import nstlib
from nstlib.screen import cli
assert nstlib.__file__.startswith(sys.argv[1]), nstlib.__file__
cli.main("stylize cat --style swirl --size 32 --steps 2 --backbone compact --device cpu --output out.png".split())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy of the sources, so that no build/ is left in the checkout."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "nstlib", source / "nstlib", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet"]
    build = [sys.executable, "-m", "pip", "wheel", ".", *options, "-w", str(target)]
    done = subprocess.run(build, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = target.glob("nstlib-*.whl")
    return built


def test_contents(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (scripts,) = [archive.read(name).decode() for name in names if name.endswith("entry_points.txt")]
    ours = {path.relative_to(ROOT).as_posix() for path in (ROOT / "nstlib").rglob("*.*") if path.is_file()}
    assert {name for name in ours if "__pycache__" not in name} <= names, "a checkout and a wheel are alike"
    assert {name.split("/")[0].split("-")[0] for name in names} == {"nstlib"}
    assert "nst = nstlib.screen.cli:main" in scripts


def test_paints_without_the_checkout(wheel, tmp_path):
    installed, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    elsewhere.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    environment = {**os.environ, "PYTHONPATH": str(installed), "NSTLIB_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", PAINT, str(installed)]
    done = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in elsewhere.iterdir()] == ["out.png"]
    assert not (tmp_path / "cache").exists()  # nothing was downloaded
