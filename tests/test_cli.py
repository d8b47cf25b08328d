"""The command: it paints, stores its settings, and meets wrong input with one line before any work."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nstlib import cli, load_image, open_image, sample_names, settings_of

QUICK = ["--size", "32", "--steps", "2", "--device", "cpu", "--backbone", "compact"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """An empty folder to work in; boxed messages as wide as a terminal."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "80")
    return folder


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_stylize(here, capsys):
    cli.main(["stylize", "cat", "--style", "swirl", *QUICK, "--output", "out.png"])
    assert files(here) == ["out.png"]
    assert open_image("out.png").size == (32, 21)
    settings = settings_of("out.png")
    assert (settings["content"], settings["style"], settings["size"], settings["steps"]) == ("cat", ["swirl"], 32, 2)
    difference = (load_image("out.png") - load_image("cat", 32)).abs()
    assert 0.003 < difference.mean() < 0.2  # painted, and still the cat
    assert "out.png: 32×21, painted" in capsys.readouterr().out


def test_output_is_named_after_both(here, photo_file):
    cli.main(["stylize", str(photo_file), "--style", "ink", "--style", "ink", *QUICK])
    assert files(here) == ["photo_ink.png"]


def test_film(here, capsys):
    cli.main(["stylize", "cat", "--style", "swirl", *QUICK, "--steps", "12", "--output", "a.jpg", "--film", "a.gif"])
    assert files(here) == ["a.gif", "a.jpg"]
    with Image.open("a.gif") as film:
        assert film.n_frames == 3  # steps 0 and 10, and the last
    assert "a.gif: 3 frames" in capsys.readouterr().out


def test_transparency_is_put_back(here, capsys):
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 4), dtype=np.uint8)
    Image.fromarray(pixels).save("cutout.png")
    cli.main(["stylize", "cutout.png", "--style", "swirl", *QUICK, "--output", "out.png"])
    assert np.array_equal(np.asarray(open_image("out.png"))[:, :, 3], pixels[:, :, 3])
    assert "transparency put back" in capsys.readouterr().out


def test_styles_are_blended(here):
    for name, blend in {"first": "1 0", "second": "0 1", "both": "1 3"}.items():
        styles = ["--style", "swirl", "halftone", "--style-blend", *blend.split()]
        cli.main(["stylize", "cat", *styles, *QUICK, "--output", f"{name}.png"])
    assert settings_of("both.png")["style_blend"] == [1, 3]
    pictures = [load_image(f"{name}.png") for name in ("first", "second", "both")]
    assert not pictures[0].equal(pictures[1]) and not pictures[0].equal(pictures[2])


def test_mask(here):
    for name, side in {"left": np.s_[:, :16], "right": np.s_[:, 16:]}.items():
        mask = np.zeros((21, 32), dtype=np.uint8)
        mask[side] = 255
        Image.fromarray(mask).save(f"{name}.png")
    masks = ["--style", "swirl", "halftone", "--mask", "left.png", "right.png"]
    cli.main(["stylize", "cat", *masks, *QUICK, "--output", "out.png"])
    assert settings_of("out.png")["mask"] == ["left.png", "right.png"]
    cli.main(["stylize", "cat", "--style", "swirl", "halftone", *QUICK, "--output", "plain.png"])
    assert not load_image("out.png").equal(load_image("plain.png"))


def test_luminance_keeps_the_hues(here):
    Image.new("RGB", (32, 24), (120, 140, 100)).save("green.png")
    for method in ("none", "luminance"):
        arguments = ["--preserve-colour", method, *QUICK, "--steps", "10", "--output", f"{method}.png"]
        cli.main(["stylize", "green.png", "--style", "swirl", *arguments])
    spread = {name: load_image(f"{name}.png").diff(dim=1).std((0, 2, 3)).max() for name in ("none", "luminance")}
    assert spread["luminance"] < 0.005 < spread["none"]  # differences of channels are all chroma


def test_samples_are_listed(capsys):
    cli.main(["samples"])
    said = capsys.readouterr().out
    assert [name for group in sample_names().values() for name in group if name not in said] == []


@pytest.mark.parametrize(
    "arguments, said",
    [
        ("", "stylize, samples"),
        ("paint", "paint"),
        ("stylize", "photograph to paint"),
        ("stylize cat", "--style"),
        ("stylize cat --style", "--style: give at least one picture"),
        ("stylize no.png --style swirl", "no.png: no such picture"),
        ("stylize cat --style no.png", "no.png: no such picture"),
        ("stylize cat --style swirl --size banana", "--size"),
        ("stylize cat --style swirl --size 3", "size=3: must be"),
        ("stylize cat --style swirl --size -5", "size=-5: must be"),
        ("stylize cat --style swirl --steps 1.5", "--steps"),
        ("stylize cat --style swirl --style-weight nan", "style_weight=nan"),
        ("stylize cat --style swirl --nonsense 1", "--nonsense"),
        ("stylize cat --style swirl --optimiser sgd", "adam"),
        ("stylize cat --style swirl --preserve-colour sepia", "luminance"),
        ("stylize cat --style swirl --style-layers relu9_9", "relu3_4"),
        ("stylize cat --style swirl --weights no.safetensors", "no.safetensors"),
        ("stylize cat --style swirl --device nonsense", "device"),
        ("stylize cat --style swirl --init no.png", "no.png"),
        ("stylize cat --style swirl --mask no.png", "no.png"),
        ("stylize cat --style swirl halftone --mask mask.png", "mask"),
        ("stylize cat --style swirl --style-blend 1 2", "style_blend=(1.0, 2.0)"),
        ("stylize cat --style swirl halftone --style-blend 0 0", "style_blend=(0.0, 0.0)"),
        ("stylize cat --style swirl --output no/out.png", "Make it first"),
        ("stylize cat --style swirl --output out.bmp", ".png"),
        ("stylize cat --style swirl --film out.mp4", ".gif"),
    ],
)
@pytest.mark.parametrize("columns", ["80", "30"])
def test_wrong_input(arguments, said, columns, here, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    Image.new("L", (8, 8), 255).save("mask.png")
    defaults = QUICK if arguments.startswith("stylize") else []
    given = arguments.split()
    defaults = [word for i, word in enumerate(defaults) if defaults[i - i % 2] not in given]
    with pytest.raises(SystemExit) as end:
        cli.main([*given[:2], *defaults, *given[2:]])
    lines = capsys.readouterr().err.splitlines()
    assert end.value.code == 2
    assert len(lines) == 1 and lines[0].startswith("nst: ") and said in lines[0], lines
    assert files(here) == ["mask.png"]


def test_film_of_nothing(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["stylize", "cat", "--style", "swirl", *QUICK, "--steps", "0", "--film", "a.gif"])
    assert end.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("nst: a.gif: a film needs")


def test_help(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["stylize", "--help"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    assert "--style-weight" in said and "weight of the style loss" in said


def test_interrupt_before_painting(monkeypatch):
    def interrupted(content):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "find_image", interrupted)
    with pytest.raises(SystemExit) as end:
        cli.main(["stylize", "cat", "--style", "swirl", *QUICK])
    assert end.value.code == 130


def test_installed_command(here):
    command = shutil.which("nst", path=str(Path(sys.executable).parent))
    if command is None:
        pytest.skip("nst is not installed beside this Python")
    done = subprocess.run([command, "stylize", "no.png", "--style", "swirl"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "nst: no.png: no such picture. Check the path; `nst samples` lists pictures by name.\n"
