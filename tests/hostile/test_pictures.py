"""Pictures that are damaged, absurd or meant to harm: opened as they look, or refused in one line."""

import io
import os
import random
import re
import resource
import struct
import tempfile
import zlib
from contextlib import suppress
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from nstlib import (
    GatysConfig,
    ImageError,
    PhotoFolder,
    TransformerConfig,
    TransformerNet,
    load_image,
    open_image,
    paint,
    stylize,
)

Y, X = np.mgrid[0:24, 0:32]
PIXELS = np.stack([X * 8, Y * 10, (X + Y) * 4], axis=-1).astype(np.uint8)  # smooth: JPEG hardly changes it
PICTURE = Image.fromarray(PIXELS)
GREY = np.asarray(PICTURE.convert("L"))
SRGB = ImageCms.createProfile("sRGB")
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "TIFF")


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def opened(source, name: str = "") -> Image.Image | None:
    """The picture, whole and of a mode that we promise; `None` if it is refused as it should be."""
    try:
        image = open_image(source)
    except ImageError as error:
        assert "\n" not in str(error) and len(str(error)) < 500, error
        assert name in str(error) and str(error).endswith("."), error
        return None
    assert image.mode in ("RGB", "RGBA")
    image.load()
    return image


def mean_error(image: Image.Image, expected: np.ndarray) -> float:
    return np.abs(np.asarray(image.convert("RGB")).astype(int) - expected).mean()


def mutated(body: bytes, rng: random.Random) -> bytes:
    """Bits flipped, bytes set, pieces cut out, exchanged for noise, or repeated."""
    damaged = bytearray(body)
    start, end = sorted(rng.randrange(len(body) + 1) for _ in range(2))
    for _ in range(rng.choice((1, 1, 3, 10))):
        damaged[rng.randrange(min(len(body), rng.choice((64, len(body)))))] = rng.choice((0, 1, 127, 128, 255))
    flipped = bytearray(body)
    flipped[start % len(body)] ^= 1 << rng.randrange(8)
    noise = rng.randbytes(rng.randrange(1, 40))
    kinds = [bytes(damaged), bytes(flipped), body[:start] + body[end:], body[:start] + noise + body[end:]]
    return rng.choice([*kinds, body[:end] + body[start:], body[:end]])


def memory() -> int:
    """The most memory that this process has held so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


# ── the ways a good picture can be stored ───────────────────────────────────────────────────────────

LAB = ImageCms.profileToProfile(PICTURE, SRGB, ImageCms.createProfile("LAB"), outputMode="LAB")
WIDE = [Image.frombytes(mode, (32, 24), (GREY.astype(kind) * 257).tobytes()) for mode, kind in
        (("I;16", "<u2"), ("I;16L", "<u2"), ("I;16B", ">u2"))]  # fmt: skip
GREYS = [PICTURE.convert(mode) for mode in ("L", "I", "F", "LA")] + [PICTURE.convert("LA").convert("La"), *WIDE]
COLOURS = [PICTURE.convert(mode) for mode in ("RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV")]
COLOURS += [PICTURE.convert("RGBA").convert("RGBa"), LAB]
PALETTES = [PICTURE.quantize(256), PICTURE.quantize(256).convert("PA")]


@pytest.mark.parametrize("image", [*GREYS, *COLOURS, *PALETTES], ids=lambda image: image.mode)
def test_every_mode_looks_as_it_should(image, survived):
    expected = PIXELS if image.mode not in {grey.mode for grey in GREYS} else np.repeat(GREY[..., None], 3, axis=2)
    assert mean_error(open_image(image), expected) < (6 if image.mode in ("P", "PA") else 1.5)
    survived("pictures", "picture of an unusual mode, such as CMYK, LAB or 16 bits", 1)


def test_black_and_white_is_black_and_white(survived):
    image = PICTURE.convert("1")
    assert np.array_equal(np.asarray(open_image(image))[..., 0], np.asarray(image) * 255)
    survived("pictures", "picture of an unusual mode, such as CMYK, LAB or 16 bits", 1)


TURNED = {  # how an upright array is stored under each EXIF orientation
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[:, ::-1].swapaxes(0, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a[::-1].swapaxes(0, 1),
}


@pytest.mark.parametrize("orientation", TURNED)
def test_a_photograph_is_turned_upright(orientation, survived):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(TURNED[orientation](PIXELS)))
    image = open_image(encoded(stored, "JPEG", quality=95, exif=exif))
    assert image.size == (32, 24) and mean_error(image, PIXELS) < 3
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})):
        assert np.array_equal(np.asarray(open_image(encoded(stored, kind, exif=exif, **options))), PIXELS)
    survived("pictures", "photograph on its side or mirrored, by EXIF", 1)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_is_none_is_passed_over(orientation, survived):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(np.asarray(open_image(encoded(PICTURE, "PNG", exif=exif))), PIXELS)
    survived("pictures", "photograph on its side or mirrored, by EXIF", 1)


def test_damaged_profiles_do_no_harm(times, survived):
    """A damaged profile is passed over, or it converts; the picture opens in any case."""
    rng, good = random.Random(1), ImageCms.ImageCmsProfile(SRGB).tobytes()
    grey = PICTURE.convert("L")
    count = 100 * times
    for i in range(count):
        stored = (PICTURE, grey, PICTURE.convert("CMYK"))[i % 3]
        body = encoded(stored, "TIFF", icc_profile=mutated(good, rng))
        assert opened(body) is not None
    assert mean_error(open_image(encoded(PICTURE, "PNG", icc_profile=good)), PIXELS) < 1
    survived("pictures", "picture with a damaged colour profile", count)


# ── files ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", FORMATS)
def test_cut_short_anywhere(kind, times, tmp_path, survived):
    """A decoder may do without a file's last bytes; then it must show the picture, not a part of it."""
    rng, path = random.Random(kind), tmp_path / f"cut.{kind.lower()}"
    options = {"lossless": True} if kind == "WEBP" else {}
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8))
    body = encoded(image, kind, **options)
    whole, count = np.asarray(open_image(body)), 50 * times
    for _ in range(count):
        path.write_bytes(body[: rng.randrange(len(body))])
        image = opened(path, path.name)
        assert image is None or np.array_equal(np.asarray(image), whole)
    survived("pictures", "picture cut short at a random byte", count)


def test_changed_at_random(times, survived):
    """Every format that Pillow writes, so that a changed first byte cannot lead to one that nobody looked at."""
    Image.init()
    common = [encoded(PICTURE.convert(mode), kind) for kind in FORMATS for mode in ("RGB", "L")]
    common += [encoded(PICTURE.convert(mode), kind) for kind in ("PNG", "TIFF") for mode in ("P", "1", "RGBA", "I;16")]
    bodies = []
    for kind in sorted(Image.SAVE):
        for mode in ("RGB", "1"):
            with suppress(OSError, KeyError, ValueError, DeprecationWarning):  # not written so, or soon no more
                bodies.append(encoded(PICTURE.convert(mode), kind))
    assert len(bodies) > 20
    rng, before, count = random.Random(2), memory(), 10_000 * times
    refused = sum(opened(mutated(rng.choice(rng.choice((bodies, common))), rng)) is None for _ in range(count))
    assert count // 5 < refused < count  # some still open, and some do not: the changes matter
    assert memory() - before < 2**30
    survived("pictures", "picture file changed at random", count)


def test_changed_at_random_on_the_way_to_a_tensor(times, survived):
    rng, before, count = random.Random(3), memory(), 400 * times
    bodies = [encoded(PICTURE, kind) for kind in FORMATS]
    for i in range(count):
        try:
            image = load_image(mutated(rng.choice(bodies), rng), size=(None, 16)[i % 2])
        except ImageError as error:
            assert "\n" not in str(error)
        else:
            assert image.shape[:2] == (1, 3) and image.min() >= 0 and image.max() <= 1
    assert memory() - before < 2 * 2**30
    survived("pictures", "picture file changed at random", count)


def test_changed_at_random_among_photographs_to_train_on(times, tmp_path, survived):
    """They are skipped and counted when the folder is looked through, or replaced and named when drawn."""
    rng, count = random.Random(4), 200 * times
    photo = PICTURE.resize((96, 80))
    photo.save(tmp_path / "good.png")
    bodies = {kind: encoded(photo, kind) for kind in FORMATS}
    for i in range(count):
        kind = rng.choice(FORMATS)
        (tmp_path / f"{i}.{kind.lower()}").write_bytes(mutated(bodies[kind], rng))
    photos = PhotoFolder(tmp_path, side=32)
    assert len(photos) + sum(map(len, photos.skipped.values())) == count + 1
    assert sum(map(len, photos.skipped.values())) > 0
    for draw in range(len(photos)):
        crop, _ = photos[draw]
        assert crop.shape == (3, 32, 32) and crop.isfinite().all()
    survived("pictures", "photograph to train on, changed at random", count)


@pytest.mark.parametrize("kind, wrong", list(permutations(FORMATS, 2)))
def test_a_wrong_ending_does_not_matter(kind, wrong, tmp_path, survived):
    path = tmp_path / f"a.{wrong.lower()}"
    path.write_bytes(encoded(PICTURE, kind))
    assert mean_error(open_image(path), PIXELS) < 30  # a GIF has few colours
    survived("pictures", "picture with another format's ending", 1)


def test_what_is_no_picture_file(tmp_path, survived):
    os.mkfifo(tmp_path / "pipe.png")  # nobody writes into it: to open it is to wait for ever
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "empty.png").touch()
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "zeros.png").write_bytes(bytes(10_000))
    (tmp_path / "text.png").write_bytes(b"This is no picture.\n" * 50)
    names = ["pipe.png", "folder.png", "empty.png", "loop.png", "zeros.png", "text.png", "nul\0.png", "n" * 5000]
    names += ["missing.png", "n" * 300]
    said = "no such .*Check the path|is not a file|not a picture .*Use PNG"
    for name in names:
        for read in (open_image, load_image):
            with pytest.raises(ImageError, match=f"{re.escape(name)}: ({said}).*\\.$"):
                read(str(tmp_path / name))
    with pytest.raises(ImageError, match="/dev/zero: is not a file"):
        open_image("/dev/zero")
    survived("pictures", "pipe, device, folder, empty file or endless link in a picture's place", len(names) + 1)


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_a_file_that_may_not_be_read(survived):
    open_image(PIXELS)  # what Pillow loads late is loaded now, while it may be read
    with tempfile.TemporaryDirectory() as folder:  # not tmp_path, which only its owner may enter
        path = Path(folder) / "secret.png"
        path.write_bytes(encoded(PICTURE, "PNG"))
        os.chmod(folder, 0o755)
        path.chmod(0)
        user = os.geteuid()
        try:
            if user == 0:  # for whom there are no permissions
                os.seteuid(65534)
            with pytest.raises(ImageError, match=r"secret\.png: may not be read\. Change its permissions\."):
                open_image(path)
        finally:
            os.seteuid(user)
    survived("pictures", "picture that may not be read", 1)


def test_a_program_is_no_picture(tmp_path, monkeypatch, survived):
    """PostScript is a language: to show an EPS, Pillow would have Ghostscript run it."""
    ran = []
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *args, **options: ran.append(args))
    for ending in ("eps", "jpg"):
        path = tmp_path / f"drawing.{ending}"
        path.write_bytes(encoded(PICTURE, "EPS"))
        with pytest.raises(ImageError, match=rf"drawing\.{ending}: not a picture that can be read\. Use PNG"):
            open_image(path)
    PICTURE.resize((70, 70)).save(tmp_path / "good.png")
    (tmp_path / "drawing.jpg").write_bytes(encoded(PICTURE.resize((70, 70)), "EPS"))
    photos = PhotoFolder(tmp_path, side=32)
    assert [photos[i][0].shape for i in range(len(photos))] == [(3, 32, 32)] * len(photos)
    assert ran == []
    survived("pictures", "program (PostScript) under a picture's name", 3)


# ── sizes ───────────────────────────────────────────────────────────────────────────────────────────


def png(width: int, height: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A black and white PNG by hand, with packed rows and any other chunks."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", rows), (b"IEND", b"")]
    packed = (
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def test_bombs_are_not_unpacked(tmp_path, survived):
    """Small files that say to be, or would unpack to, gigabytes."""
    before = memory()
    packer = zlib.compressobj(9)
    gigabyte = b"".join([*(packer.compress(bytes(2**20)) for _ in range(1024)), packer.flush()])
    row = zlib.compress(bytes(100))
    whole = zlib.compress(bytes(24 * 5))
    bombs = {
        "bomb.png": png(90_000, 95_000, gigabyte),
        "widest.png": png(2**31 - 1, 2**31 - 1, row),
        "line.png": png(2**31 - 1, 1, row),
        "cut.png": png(9_400, 9_400, row),  # just below the limit, and most of it is missing
        "bomb.gif": b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(6) + b",\0\0\0\0\xff\xff\xff\xff\0\x02\x02D\x01\0;",
        "bomb.bmp": b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 40_000, 40_000, 1, 24, 0, 0, 0, 0, 0, 0),
        "bomb.ppm": b"P6 60000 60000 255\n",
        "text.png": png(32, 24, whole, (b"zTXt", b"a\0\0" + gigabyte)),
        "profile.png": png(32, 24, whole, (b"iCCP", b"a\0\0" + gigabyte)),
    }
    for name, body in bombs.items():
        path = tmp_path / name
        path.write_bytes(body)
        assert len(body) < 2**20 + 10_000
        image = opened(path, name)
        assert image is None or (name in ("text.png", "profile.png") and image.size == (32, 24))
    assert memory() - before < 2**30
    survived("pictures", "bomb: a small file that would unpack to gigabytes", len(bombs))


@pytest.mark.parametrize("width, height", [(1, 1), (20_000, 10), (10, 20_000), (65_000, 2), (2, 65_000)])
def test_extreme_shapes_go_all_the_way(width, height, tmp_path, survived):
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([x % 256, y % 256, (x + y) % 256], axis=-1).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert torch.equal(load_image(tmp_path / "a.png")[0].mul(255).permute(1, 2, 0), torch.from_numpy(pixels).float())
    net = TransformerNet(TransformerConfig(width=2, residual_blocks=1)).eval()
    config = GatysConfig(size=48, smallest=32, steps=1, backbone="compact", style_scales=(1.0,))
    longest = max(width, height)
    small = [max(1, round(side * 48 / longest)) for side in (height, width)]
    results = [(load_image(tmp_path / "a.png", 48), small), (paint(tmp_path / "a.png", net, 48), small)]
    results += [(paint(tmp_path / "a.png", net), [height, width]), (stylize(tmp_path / "a.png", "ink", config), small)]
    results += [(stylize("cat", tmp_path / "a.png", config), [32, 48])]
    for image, size in results:
        assert list(image.shape) == [1, 3, *size]
        assert image.isfinite().all() and image.min() >= 0 and image.max() <= 1
    survived(
        "pictures", "picture of 1 × 1, 20,000 × 10 or 65,000 × 2, opened, resized, painted, stylized", len(results)
    )


def test_an_animation_gives_its_first_frame_though_the_rest_is_damaged(times, survived):
    rng, count = random.Random(5), 50 * times
    frames = [Image.new("RGB", (32, 24), colour) for colour in ("red", "green", "blue")]
    body = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    first = len(encoded(frames[0], "GIF"))
    for _ in range(count):
        rest = mutated(body[first + 40 :], rng)
        image = opened(body[: first + 40] + rest)
        assert image is None or np.array_equal(np.asarray(image), np.asarray(frames[0]))
    survived("pictures", "animation whose later frames are damaged", count)


# ── real ones ───────────────────────────────────────────────────────────────────────────────────────


def test_hard_files_changed_at_random(shared, times, survived):
    rng, count = random.Random(6), 0
    for file in sorted((shared / "data" / "content").glob("hard_*")):
        body = file.read_bytes()
        assert opened(body) is not None
        for _ in range(10 * times):
            opened(mutated(body, rng))
            count += 1
    assert count >= 100
    survived("pictures", "real photograph's file changed at random", count)


def test_hard_files_have_their_colours(shared, survived):
    """Against what is known of them: cyan, magenta, yellow and black inks; the same photograph in 8 and in 16 bits."""
    folder = shared / "data" / "content"
    with Image.open(folder / "hard_cmyk_noprofile.jpg") as stored:
        inks = np.asarray(stored).astype(float) / 255
    colours = 255 * (1 - inks[..., :3]) * (1 - inks[..., 3:])
    assert mean_error(open_image(folder / "hard_cmyk_noprofile.jpg"), colours) < 2
    grey, colour = (load_image(folder / f"hard_16bit_{kind}.png") for kind in ("gray", "rgb"))
    luma = (colour * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    assert (grey - luma).abs().mean() < 0.01
    assert open_image(folder / "hard_rgba_cutout.png").getchannel("A").getextrema() == (0, 255)
    survived("pictures", "real photograph in CMYK, 16 bits or with transparency: colours checked", 4)
