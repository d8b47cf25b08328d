"""What the command paints and where each result goes: nothing is refused after the work, nothing passed over unsaid."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from nstlib import open_image, settings_of
from nstlib.errors import say
from nstlib.pictures.animations import animation_of, read_frames
from nstlib.screen import cli

QUICK = ["--style", "swirl", "--size", "32", "--steps", "1", "--device", "cpu", "--backbone", "compact"]


pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture
def nst(capsys):
    """`nst("paint …")`: what was printed."""

    def run(*arguments: str) -> str:
        try:
            cli.main([part for argument in arguments for part in argument.split()])
        except SystemExit as end:
            assert end.code == 2
        said = capsys.readouterr()
        return said.out + said.err.splitlines()[-1] if "nst: " in said.err else said.out

    return run


def photo(path: str, size: tuple[int, int] = (24, 18), **options) -> None:
    Path(path).parent.mkdir(exist_ok=True)
    Image.effect_noise(size, 90).convert("RGB").save(path, **options)


def names(folder: str) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


@pytest.mark.parametrize("command", ["paint", "stylize"])
def test_several_pictures_and_folders(command, model, nst):
    for name in ("album/a.ppm", "album/b.jfif", "album/c.tga", "album/d.jp2", "lone.png"):
        photo(name, format="JPEG" if name.endswith("jfif") else None)
    Path("album/notes.txt").touch()
    Path("album/old.heic").touch()
    Path("album/.hidden.jpg").touch()
    flags = ["--model", model, "--size", "32", "--device", "cpu"] if command == "paint" else QUICK
    style = "tiny" if command == "paint" else "swirl"
    said = nst(command, "album lone.png", *flags)
    assert "5 of 5 pictures painted" in said
    assert "skipped 2 that Pillow does not open here: notes.txt, old.heic" in said
    assert names(f"album_{style}") == ["a.png", "b.png", "c.png", "d.png"] and Path(f"lone_{style}.png").exists()
    Path(f"album_{style}/b.png").unlink()
    kept = Path(f"album_{style}/a.png").stat().st_mtime_ns
    assert "1 of 5 pictures painted" in (said := nst(command, "album lone.png --skip-existing", *flags))
    assert "4 were there" in said
    assert Path(f"album_{style}/a.png").stat().st_mtime_ns == kept and Path(f"album_{style}/b.png").exists()


@pytest.mark.parametrize("command", ["paint", "stylize"])
def test_an_existing_folder_as_output(command, model, nst):
    photo("a.jpg")
    Path("out.png").mkdir()  # whatever its name is
    flags = ["--model", model, "--device", "cpu"] if command == "paint" else QUICK
    nst(command, "a.jpg --output out.png", *flags)
    assert names("out.png") == ["a_tiny.png" if command == "paint" else "a_swirl.png"]


def test_a_film_is_for_one_picture(nst):
    assert "--film a.gif: is for one picture, and there are 2" in nst("stylize cat coffee --film a.gif", *QUICK)


@pytest.mark.parametrize("ending", [".gif", ".webp", ".png"])
def test_of_an_animation_every_frame_is_painted(ending, model, nst):
    frames = [Image.effect_noise((24, 18), 90).convert("RGB") for _ in range(3)]
    frames[0].save(f"a{ending}", save_all=True, append_images=frames[1:], duration=[100, 200, 300], loop=0)
    assert "24×18, 3 frames painted" in nst("paint", f"a{ending}", "--model", model)
    painted, durations = zip(*read_frames(f"a_tiny{ending}"), strict=True)
    assert durations == (100, 200, 300) and animation_of(f"a_tiny{ending}").loop == 0
    assert len({frame.tobytes() for frame in painted}) == 3
    if ending != ".gif":
        assert settings_of(f"a_tiny{ending}")["model"] == "tiny.safetensors"
    assert "of the animation the first frame" in nst("paint", f"a{ending}", "--model", model, "--output one.jpg")


def test_of_a_tiff_of_many_pages_the_first(model, nst):
    pages = [Image.new("RGB", (24, 18), colour) for colour in ("red", "green")]
    pages[0].save("a.tif", save_all=True, append_images=pages[1:])
    assert "of 2 pages the first" in nst("paint a.tif --model", model)


def test_a_still_is_not_saved_as_gif(model, nst, monkeypatch):
    photo("a.png")
    monkeypatch.setattr(cli, "paint", None)  # refused before any work
    assert "cannot write .gif" in nst("paint a.png --output b.gif --model", model)


def test_pictures_too_long_for_their_format_are_refused_before_the_work(model, nst, monkeypatch):
    photo("a.png", (300, 4))
    monkeypatch.setattr(cli, "paint", None)
    said = nst("paint a.png --output b.webp --size 17000 --model", model)
    assert "b.webp: 17000×227, and .webp has at most 16,383 pixels a side" in said


def test_names_as_long_as_they_may_be(model, nst, monkeypatch):
    name = "写" * 80  # 240 bytes of UTF-8
    photo(f"{name}.jpg")
    nst("paint", f"{name}.jpg --output {name}.png --model", model)
    assert Path(f"{name}.png").exists()
    monkeypatch.setattr(cli, "paint", None)
    assert "the name has 263 bytes, and 255 are allowed" in nst(
        "paint", f"{name}.jpg --output {name}_{'x' * 18}.png --model", model
    )


def test_settings_name_no_folders(here, model, nst):
    photo("album/a.jpg")
    Image.new("L", (24, 18), 255).save("album/mask.png")
    nst("paint", f"{here}/album/a.jpg --mask {here}/album/mask.png --output b.png --model", model)
    nst("stylize", f"{here}/album/a.jpg --mask {here}/album/mask.png --output c.jpg", *QUICK)
    for name in ("b.png", "c.jpg"):
        assert str(here) not in str(settings_of(name)) and settings_of(name)["content"] == "a.jpg"
    assert settings_of("c.jpg")["mask"] == ["mask.png"]


def test_quality_and_bits(model, nst):
    photo("a.png", (64, 64))
    for quality in (20, 90):
        nst(f"paint a.png --output {quality}.jpg --quality {quality} --model", model)
    assert Path("20.jpg").stat().st_size < Path("90.jpg").stat().st_size
    assert "16 bits a channel are written as .png only" in nst("paint a.png --output b.jpg --bits 16 --model", model)
    nst("paint a.png --output b.png --bits 16 --model", model)
    assert Path("b.png").read_bytes()[24] == 16  # the depth in IHDR
    nst("paint a.png --output b.tif --model", model)
    assert open_image("b.tif").size == (64, 64)


def test_transparency_is_not_said_to_be_in_a_jpeg(model, nst):
    Image.new("RGBA", (24, 18), (200, 100, 50, 128)).save("a.png")
    assert "transparency" not in nst("paint a.png --output b.jpg --model", model)
    assert "transparency put back" in nst("paint a.png --output b.webp --model", model)


@pytest.mark.parametrize(
    "flags, said",
    [
        ("--size 512x512", "--size 512x512: must be a whole number or full"),
        ("--style-blend 3,7", "--style-blend 3,7: must be numbers with spaces between them"),
        ("--preserve-color mean", "Did you mean --preserve-colour?"),
        ("--optimizer lbfgs", "Did you mean --optimiser?"),
    ],
)
def test_one_plain_sentence_for_a_wrong_flag(flags, said, nst):
    printed = nst("stylize cat", *QUICK, flags)
    assert said in printed and "<" not in printed


@pytest.mark.parametrize("encoding", ["cp1251", "cp437", "ascii"])
def test_a_status_line_never_ends_a_run(encoding, model, nst, monkeypatch):
    console = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", console)
    photo("a.png")
    cli.main(["paint", "a.png", "--model", model])
    console.flush()
    assert Path("a_tiny.png").exists() and b"24?18, painted" in console.buffer.getvalue().replace(b"\xd7", b"?")


def test_say_on_a_console_without_the_letter(monkeypatch):
    console = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", console)
    say("3×4")
    console.flush()
    assert b"3?4" in console.buffer.getvalue()


SCRIPT = """
import multiprocessing, sys
if __name__ != "__mp_main__":
    multiprocessing.set_start_method("spawn")
import nstlib
config = nstlib.TrainConfig(
    dataset=sys.argv[1], style="ink", save_model="net.safetensors", steps=1, image_size=32, style_size=32,
    batch_size=1, style_scales=(1.0,), network=nstlib.TransformerConfig(width=4, residual_blocks=1), device="cpu",
    backbone="compact",
)
nstlib.train(config)
"""


def test_a_plain_script_trains_where_processes_are_spawned(photos):
    Path("script.py").write_text(SCRIPT, encoding="utf-8")
    ran = subprocess.run([sys.executable, "script.py", str(photos)], capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0 and Path("net.safetensors").exists(), ran.stderr
    assert "no workers, for they need the training under" in ran.stdout and "Traceback" not in ran.stderr
