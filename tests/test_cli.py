"""The command: it paints, stores its settings, and meets wrong input with one line before any work."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nstlib import load_image, open_image, sample_names, settings_of
from nstlib.painting import models
from nstlib.painting.fast import paint
from nstlib.pictures.animations import read_frames
from nstlib.screen import cli, jobs

QUICK = ["--size", "32", "--steps", "2", "--device", "cpu", "--backbone", "compact"]


pytestmark = pytest.mark.usefixtures("here")


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


def test_film(here, capsys):
    cli.main(["stylize", "cat", "--style", "swirl", *QUICK, "--steps", "12", "--output", "a.jpg", "--film", "a.gif"])
    assert files(here) == ["a.gif", "a.jpg"]
    with Image.open("a.gif") as film:
        assert film.n_frames == 3  # steps 0 and 10, and the last
    assert "a.gif: 3 frames" in capsys.readouterr().out


# ── nst paint ───────────────────────────────────────────────────────────────────────────────────────


def test_paint(here, model, capsys):
    cli.main(["paint", "cat", "--model", model, "--size", "64", "--device", "cpu"])
    assert files(here) == ["cat_tiny.png"]
    torch.testing.assert_close(load_image("cat_tiny.png"), paint("cat", model, 64), rtol=0, atol=1 / 255)
    settings = {"content": "cat", "model": "tiny.safetensors", "size": 64, "preserve_colour": "none", "passes": 2}
    assert settings_of("cat_tiny.png") == settings
    assert "cat_tiny.png: 64×43, painted" in capsys.readouterr().out


@pytest.mark.parametrize(
    "flags, size", [("", (64, 48)), ("--content-scale 2", (32, 24)), ("--size 80 --content-scale 2", (40, 30))]
)
def test_paint_size(flags, size, here, model, photo_file):
    cli.main(["paint", str(photo_file), "--model", model, "--output", "out.jpg", *flags.split()])
    assert files(here) == ["out.jpg"]
    assert open_image("out.jpg").size == size


@pytest.fixture(params=["paint", "stylize"])
def command(request, model) -> list[str]:
    """Both commands, with what they need besides a picture."""
    return ["paint", "--model", model] if request.param == "paint" else ["stylize", "--style", "swirl", *QUICK]


def test_transparency_is_put_back(command, capsys):
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 4), dtype=np.uint8)
    Image.fromarray(pixels).save("cutout.png")
    cli.main([*command, "cutout.png", "--output", "out.png"])
    assert np.array_equal(np.asarray(open_image("out.png"))[:, :, 3], pixels[:, :, 3])
    assert "transparency put back" in capsys.readouterr().out


@pytest.fixture
def album(here) -> Path:
    """A folder with three pictures, two of them of one stem."""
    (here / "album").mkdir()
    for name, size in {"a.jpg": (20, 30), "a.png": (30, 20), "b.png": (25, 25)}.items():
        Image.new("RGB", size, "orange").save(here / "album" / name)
    (here / "album" / "notes.txt").write_text("no picture")
    return here / "album"


def test_paint_a_folder_into_itself_keeps_the_photographs(here, album, model):
    before = {name: (album / name).read_bytes() for name in files(album)}
    cli.main(["paint", "album", "--model", model, "--output", "album"])
    assert all((album / name).read_bytes() == content for name, content in before.items())
    assert files(album) == ["a.jpg", "a.png", "a_2.png", "a_3.png", "b.png", "b_2.png", "notes.txt"]


@pytest.mark.parametrize("content", [".", "../album", "../album/"])
def test_a_folders_paintings_come_beside_it(content, here, album, model, monkeypatch):
    monkeypatch.chdir(album)
    cli.main(["paint", content, "--model", f"../{model}"])
    assert len(files(here / "album_tiny")) == 3


def test_corrupt_pictures_are_listed_at_the_end(here, album, model, capsys):
    for name in ("a0.png", "z.jpg"):
        (album / name).write_bytes(b"corrupt")
    with pytest.raises(SystemExit) as end:
        cli.main(["paint", "album", "--model", model])
    assert end.value.code == 2
    assert files(here / "album_tiny") == ["a.png", "a_2.png", "b.png"]
    said = capsys.readouterr()
    assert "3 of 5 pictures painted" in said.out
    errors = said.err.splitlines()[-2:]
    assert "nst: album/a0.png: not a picture" in errors[0] and "album/z.jpg: not a picture" in errors[1]


def test_paint_several_into_a_folder(here, model, album):
    cli.main(["paint", "cat", "album", "--model", model, "--size", "32", "--output", "new/out"])
    assert files(here / "new" / "out") == ["a.png", "a_2.png", "b.png", "cat_tiny.png"]


def test_output_folder_that_cannot_be_made(here, model, album, capsys):
    Path("out").write_text("a file")
    with pytest.raises(SystemExit) as end:
        cli.main(["paint", "album", "--model", model, "--output", "out"])
    assert end.value.code == 2
    assert "'out'" in capsys.readouterr().err.splitlines()[-1]
    assert Path("out").read_text() == "a file"


# ── the other commands ──────────────────────────────────────────────────────────────────────────────


def test_models_are_listed(here, model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(models, "BUNDLED", tmp_path)
    Path("tiny").write_text("a file here that has the name of a shipped network")
    cli.main(["models"])
    said = capsys.readouterr().out
    for fact in ("tiny  0.02 MB, 9,651 parameters, width 4", "swirl", "critic compact", "1,234 photographs"):
        assert fact in said
    for fact in ("5,000 steps of 4", "61.5 minutes", "an abacus", "77 Gatys iterations"):
        assert fact in said
    assert "started from" not in said


def test_export(here, model, monkeypatch, capsys):
    exported, told, load = [], {}, cli.load_transformer
    monkeypatch.setattr(cli, "export_onnx", lambda net, path: exported.append((net.config.width, path)))
    monkeypatch.setattr(cli, "load_transformer", lambda path, **options: told.update(options) or load(path))
    cli.main(["export", "--model", model, "--onnx", "tiny.onnx", "--values", "0-1", "--bgr"])
    assert exported == [(4, Path("tiny.onnx"))] and told == {"values": "0-1", "bgr": True}
    assert "tiny.onnx: input and output" in capsys.readouterr().out


def test_photos(here, monkeypatch, capsys):
    monkeypatch.setattr(cli, "fetch_coco", lambda split, folder: folder / split)
    cli.main(["photos", "train2014", "--folder", "coco"])
    assert capsys.readouterr().out.startswith("coco/train2014: ready for")


@pytest.fixture
def asked(monkeypatch) -> list:
    """The settings that `nst train` and `nst stylize` would work with."""
    settings = []
    monkeypatch.setattr(cli, "train", settings.append)
    monkeypatch.setattr(cli, "stylize", lambda *given: settings.append(given[2]) or load_image("cat"))
    return settings


def test_train(here, asked, capsys):
    cli.main("train --dataset d --style ink --save-model m.safetensors --steps 9 --width 8".split())
    (config,) = asked
    assert (config.dataset, config.style, config.steps, config.network.width) == (Path("d"), "ink", 9, 8)
    assert config.formula == "scale_free"
    assert "nst paint PHOTO --model m.safetensors" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["train --dataset . --style ink", "stylize cat --style ink"])
def test_preset(command, asked):
    cli.main([*command.split(), "--preset", "pytorch_examples", "--style-weight", "5"])
    (config,) = asked
    said = (config.formula, config.backbone, config.pooling, config.content_weight, config.style_weight)
    assert said == ("johnson2016", "vgg16", "max", 1e5, 5)  # what was said goes before the preset


@pytest.mark.parametrize(
    "command, usual", [("train --dataset . --style ink", 12.0), ("stylize cat --style ink", 100.0)]
)
def test_what_is_said_goes_before_the_preset_even_if_it_is_the_default(command, usual, asked):
    cli.main(["--preset=johnson2016" if word == "PRESET" else word for word in f"{command} PRESET".split()])
    cli.main([*command.split(), "--style-weight", str(usual), "--preset", "johnson2016"])
    assert [config.style_weight for config in asked] == [5.0, usual]


def test_samples_are_listed(capsys):
    cli.main(["samples"])
    said = capsys.readouterr().out
    assert [name for group in sample_names().values() for name in group if name not in said] == []


@pytest.mark.parametrize(
    "arguments, said",
    [
        ("", "stylize, paint, train"),
        ("nonsense", "nonsense"),
        ("stylize", "--style"),
        ("stylize cat", "--style"),
        ("stylize cat --style", "--style (): may not be empty"),
        ("stylize no.png --style swirl", "no.png: no such picture"),
        ("stylize cat --style no.png", "no.png: no such picture"),
        ("stylize cat --style swirl --size 3", "--size 3: must be"),
        ("stylize cat --style swirl --style-weight nan", "--style-weight nan: must be"),
        ("stylize cat --style swirl --nonsense 1", "--nonsense"),
        ("stylize cat --style swirl --optimiser sgd", "adam"),
        ("stylize cat --style swirl --preserve-colour sepia", "luminance"),
        ("stylize cat --style swirl --style-layers relu9_9", "relu3_4"),
        ("stylize cat --style swirl --weights no.safetensors", "no.safetensors"),
        ("stylize cat --style swirl --device nonsense", "device"),
        ("stylize cat --style swirl --init no.png", "no.png"),
        ("stylize cat --style swirl --mask no.png", "no.png"),
        ("stylize cat --style swirl halftone --mask mask.png", "mask"),
        ("stylize cat --style swirl --style-blend 1 2", "--style-blend (1.0, 2.0)"),
        ("stylize cat --style swirl halftone --style-blend 0 0", "--style-blend (0.0, 0.0)"),
        ("stylize cat --style swirl --output no/out.png", "Make it first"),
        ("stylize cat --style swirl --output out.bmp", ".png"),
        ("stylize cat --style swirl --film out.mp4", ".gif"),
        ("paint cat", "--model"),
        ("paint --model ../tiny.safetensors", "content=(): may not be empty"),
        ("paint no.png --model ../tiny.safetensors", "no.png: no such picture"),
        ("paint .. --model ../tiny.safetensors", "..: no pictures in this folder"),
        ("paint cat --model no", "no: no such model"),
        ("paint cat --model mask.png", "mask.png: "),
        ("paint cat --model ../tiny.safetensors --output no/out.png", "Make it first"),
        ("paint cat --model ../tiny.safetensors --output out.bmp", ".png"),
        ("paint cat cat --model ../tiny.safetensors --output out.png", "--output out.png: give a folder"),
        ("paint . --model ../tiny.safetensors --output out.png", "--output out.png: give a folder"),
        ("paint cat --model ../tiny.safetensors --size 15", "--size 15: must be a whole number from 16"),
        ("paint cat --model ../tiny.safetensors --preserve-colour sepia", "luminance"),
        ("paint cat --model ../tiny.safetensors --device nonsense", "device"),
        ("export --model no --onnx out.onnx", "no: no such model"),
        ("export --model ../tiny.safetensors --onnx out.pth", "out.pth: is written as .onnx"),
        ("photos val2016", "val2017"),
        ("photos val2017 --folder mask.png", "mask.png: cannot be written into"),
        ("train --style ink", "--dataset"),
        ("train --dataset no --style ink", "no: no such folder"),
        ("train --dataset . --style ink", ".: no photograph of at least 64 px"),
        ("train --dataset . --style ink --styles a b", "name the paintings in style"),
        ("paint cat --model studio --style swirl:0.7,swirl:0.3", "each style once"),
        ("train --dataset . --style ink --save-model m.pth", "--save-model 'm.pth'"),
        ("train --dataset . --style ink --preset gatys", "gatys2016"),
    ],
)
@pytest.mark.parametrize("columns", ["80", "30"])
def test_wrong_input(arguments, said, columns, here, model, capsys, monkeypatch):
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
    assert "---" not in lines[0]  # nothing of the box that tyro draws
    assert files(here) == ["mask.png"]


def test_film_of_nothing(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["stylize", "cat", "--style", "swirl", *QUICK, "--steps", "0", "--film", "a.gif"])
    assert end.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("nst: a.gif: a film needs")


@pytest.mark.parametrize(
    ("command", "flag", "explained"),
    [("stylize", "--style-weight", "weight of the style loss"), ("train", "--style", "painting: file")],
)
def test_help(capsys, command, flag, explained):
    with pytest.raises(SystemExit) as end:
        cli.main([command, "--help"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    assert flag in said and explained in said


def test_interrupt_before_painting(monkeypatch):
    def interrupted(content, size):
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs, "open_image", interrupted)
    with pytest.raises(SystemExit) as end:
        cli.main(["stylize", "cat", "--style", "swirl", *QUICK])
    assert end.value.code == 130


def test_a_reader_that_goes_away():
    """As in `nst models | head -1`, of the installed command: no traceback."""
    command = shutil.which("nst", path=str(Path(sys.executable).parent))
    if command is None:
        pytest.skip("nst is not installed beside this Python")
    reading, writing = os.pipe()
    os.close(reading)
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run([command, "models"], stdout=writing, stderr=subprocess.PIPE, text=True, env=buffered)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_clips(tmp_path, monkeypatch, capsys):
    pytest.importorskip("cv2")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "frames").mkdir()
    for i in range(4):
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (32, 32, 3), np.uint8)).save(f"frames/{i}.png")
    cli.main("paint frames --model woodblock --output film.gif --fps 10 --from 0.1".split())
    cli.main("paint film.gif --model studio --style ink:1,swirl:1 --carry 0".split())
    cli.main("stylize film.gif --style ink --steps 2 --size 16 --smallest 16 --backbone compact --to 0:00.1".split())
    frames = {path.name: len(list(read_frames(path))) for path in tmp_path.glob("film*.gif")}
    assert frames == {"film.gif": 3, "film_studio.gif": 3, "film_ink.gif": 1}
    for time in ("x", "1:2:3:4"):
        with pytest.raises(SystemExit):
            cli.main(["paint", "film.gif", "--model", "woodblock", "--from", time])
        assert "write seconds" in capsys.readouterr().err


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


def test_luminance_keeps_the_hues(command):
    light = np.random.default_rng(0).integers(0, 80, (24, 32, 1), dtype=np.uint8)
    Image.fromarray(light + np.array((120, 140, 100), np.uint8)).save("green.png")
    spread = []
    for method in ("none", "luminance"):
        cli.main([*command, "green.png", "--preserve-colour", method, "--output", f"{method}.png"])
        spread.append(load_image(f"{method}.png").diff(dim=1).std((0, 2, 3)).max())
    assert spread[1] < 0.005 < spread[0]  # differences of channels are all chroma
