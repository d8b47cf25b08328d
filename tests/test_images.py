"""Pictures: whatever people have is opened as it looks, or refused with its name and a remedy."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from nstlib import ImageError, load_image, open_image, resize, save_image, settings_of, to_pil, to_tensor
from nstlib.pictures.animations import save_film
from nstlib.pictures.files import alpha_of
from nstlib.pictures.pixels import resize_pil

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = PIXELS[:, :, 0]
ALPHA = PIXELS[:, :, 1]


def encoded(image: Image.Image | np.ndarray, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def pixels_of(source) -> np.ndarray:
    return np.asarray(open_image(source))


def grey_rgb(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[:, :, None], 3, axis=2)


def parts(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if ".part" in name]


@pytest.mark.parametrize("exif", [b"rubbish", b"Exif\0\0II*\0\xff\xff\xff\xff"])
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_rubbish_in_exif_is_passed_over(kind, exif, tmp_path):
    path = tmp_path / f"picture.{kind.lower()}"
    path.write_bytes(encoded(PIXELS, kind, exif=exif))
    assert open_image(path).size == (7, 5)
    assert settings_of(path) == {}


def test_transparency_is_kept_and_flattened_on_white():
    rgba = np.dstack([PIXELS, ALPHA])
    rgba[0, 0, 3], rgba[0, 1, 3] = 0, 255
    image = open_image(encoded(rgba))
    assert image.mode == "RGBA"
    assert np.array_equal(np.asarray(image), rgba)
    assert np.array_equal(np.asarray(alpha_of(image)), rgba[:, :, 3])
    share = torch.from_numpy(rgba[:, :, 3] / 255.0)
    expected = torch.from_numpy(PIXELS / 255.0).permute(2, 0, 1) * share + (1 - share)
    tensor = to_tensor(image)[0]
    assert torch.allclose(tensor, expected.float(), atol=1.01 / 255)
    assert tensor[:, 0, 0].eq(1).all()
    assert torch.equal(tensor[:, 0, 1], torch.from_numpy(PIXELS[0, 1]) / 255)


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palette(kind):
    flat = np.array([[0, 1], [2, 1]], dtype=np.uint8)
    colours = np.array([[10, 20, 30], [200, 0, 100], [0, 255, 0]], dtype=np.uint8)
    image = Image.fromarray(flat)
    image.putpalette(colours.tobytes())
    opaque, clear = open_image(encoded(image, kind)), open_image(encoded(image, kind, transparency=1))
    assert np.array_equal(np.asarray(opaque), colours[flat])
    assert clear.mode == "RGBA"
    assert np.array_equal(np.asarray(alpha_of(clear)), [[255, 0], [255, 0]])
    assert np.array_equal(np.asarray(clear)[:, 0, :3], colours[flat][:, 0])


def test_one_transparent_colour():
    image = open_image(encoded(PIXELS, transparency=tuple(int(v) for v in PIXELS[2, 3])))
    expected = np.full((5, 7), 255)
    expected[2, 3] = 0
    assert np.array_equal(np.asarray(alpha_of(image)), expected)


def test_opaque_alpha_is_dropped():
    image = open_image(encoded(np.dstack([PIXELS, np.full_like(ALPHA, 255)])))
    assert image.mode == "RGB"
    assert alpha_of(image) is None


BIT = Image.fromarray(GREY > 127)
WIDE = GREY.astype(np.uint16) * 257
CMYK = Image.merge("CMYK", [Image.new("L", (7, 5), value) for value in (255, 0, 0, 0)])
CYAN = np.broadcast_to(np.array([0, 255, 255], dtype=np.uint8), (5, 7, 3))


@pytest.mark.parametrize(
    "source, expected",
    [
        pytest.param(encoded(BIT), grey_rgb((GREY > 127) * 255), id="1"),
        pytest.param(encoded(CMYK, "TIFF"), CYAN, id="CMYK"),
        pytest.param(encoded(WIDE), grey_rgb(GREY), id="I;16"),
        pytest.param(encoded(np.full((2, 2), 200, np.uint16)), np.ones((2, 2, 3)), id="I;16 almost black"),
        pytest.param(encoded(WIDE.astype(np.int32), "TIFF"), grey_rgb(GREY), id="I, 16 bits"),
        pytest.param(encoded(GREY.astype(np.int32), "TIFF"), grey_rgb(GREY), id="I, 8 bits"),
        pytest.param(encoded(GREY.astype(np.float32), "TIFF"), grey_rgb(GREY), id="F to 255"),
        pytest.param(encoded((GREY / 255).astype(np.float32), "TIFF"), grey_rgb(GREY), id="F to 1"),
    ],
)
def test_modes(source, expected):
    image = open_image(source)
    assert image.mode == "RGB"
    assert np.array_equal(np.asarray(image), expected)


def test_animation_gives_its_first_frame():
    red, blue = Image.new("RGB", (4, 3), "red"), Image.new("RGB", (4, 3), "blue")
    for kind, options in (("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {})):
        source = encoded(red, kind, save_all=True, append_images=[blue], **options)
        assert np.array_equal(pixels_of(source), np.asarray(red)), kind


def profile(swap: bool = False) -> bytes:
    """LittleCMS's sRGB profile; with `swap`, its red and blue primaries are exchanged."""
    body = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    if swap:
        red, blue = body.index(b"rXYZ"), body.index(b"bXYZ")
        body[red : red + 4], body[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(body)


@pytest.mark.parametrize("alpha", [False, True])
def test_colour_profile(alpha):
    stored = np.dstack([PIXELS, ALPHA]) if alpha else PIXELS
    assert np.abs(pixels_of(encoded(stored, icc_profile=profile())).astype(int) - stored).max() <= 1
    converted = pixels_of(encoded(stored, icc_profile=profile(swap=True)))
    assert np.abs(converted[:, :, :3].astype(int) - PIXELS[:, :, ::-1]).max() <= 2
    assert np.array_equal(converted[:, :, 3:], stored[:, :, 3:])


def test_colour_profile_in_jpeg():
    red = open_image(encoded(Image.new("RGB", (8, 8), "red"), "JPEG", icc_profile=profile(swap=True)))
    assert np.abs(np.asarray(red).astype(int) - [0, 0, 255]).max() <= 3
    assert np.array_equal(pixels_of(red), np.asarray(red))  # converted once, not again


@pytest.mark.parametrize("stored, body", [(PIXELS, b"rubbish"), (PIXELS, profile()[:200]), (GREY, profile(swap=True))])
def test_profile_that_does_not_fit_is_passed_over(stored, body):
    expected = stored if stored.ndim == 3 else grey_rgb(stored)
    assert np.array_equal(pixels_of(encoded(stored, icc_profile=body)), expected)


UNIT = torch.from_numpy(PIXELS).permute(2, 0, 1) / 255


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(lambda path: str(path), id="str"),
        pytest.param(lambda path: path, id="Path"),
        pytest.param(lambda path: path.read_bytes(), id="bytes"),
        pytest.param(lambda path: Image.open(io.BytesIO(path.read_bytes())), id="PIL, not yet read"),
        pytest.param(lambda path: PIXELS, id="uint8"),
        pytest.param(lambda path: PIXELS[::-1][::-1], id="uint8 strided"),
        pytest.param(lambda path: PIXELS.astype(np.uint16) * 257, id="uint16"),
        pytest.param(lambda path: (PIXELS / 255).astype(np.float32), id="float32"),
        pytest.param(lambda path: PIXELS / 255, id="float64"),
        pytest.param(lambda path: UNIT, id="(3, H, W)"),
        pytest.param(lambda path: UNIT[None].clone().requires_grad_(), id="(1, 3, H, W) with gradient"),
    ],
)
def test_every_kind_of_source(source, tmp_path):
    path = tmp_path / "bild ä.png"
    path.write_bytes(encoded(PIXELS))
    assert torch.equal(load_image(source(path)), UNIT[None])


@pytest.mark.parametrize(
    "array, expected",
    [
        pytest.param(GREY, grey_rgb(GREY), id="H×W"),
        pytest.param(GREY[:, :, None], grey_rgb(GREY), id="H×W×1"),
        pytest.param(np.dstack([GREY, ALPHA]), np.dstack([GREY, GREY, GREY, ALPHA]), id="H×W×2"),
        pytest.param(np.dstack([PIXELS, ALPHA]), np.dstack([PIXELS, ALPHA]), id="H×W×4"),
        pytest.param(GREY > 127, grey_rgb((GREY > 127) * 255), id="bool"),
    ],
)
def test_array_shapes(array, expected):
    assert np.array_equal(pixels_of(array), expected)


@pytest.mark.parametrize(
    "bad, remedy",
    [
        pytest.param(np.zeros(5, np.uint8), "H×W", id="1-D"),
        pytest.param(np.zeros((3, 5, 7), np.uint8), "H×W", id="channels first"),
        pytest.param(np.zeros((0, 5, 3), np.uint8), "H×W", id="empty"),
        pytest.param(np.full((2, 2), np.nan), "finite", id="NaN"),
        pytest.param(np.full((2, 2), 1.01), "255", id="above 1"),
        pytest.param(np.full((2, 2), -0.01), "clip", id="below 0"),
        pytest.param(np.zeros((2, 2), np.int64), "uint8", id="int64"),
        pytest.param(torch.zeros(2, 3, 4, 4), r"\(1, 3, H, W\)", id="a batch"),
        pytest.param(torch.zeros(1, 4, 4), r"\(3, H, W\)", id="one channel"),
        pytest.param(torch.zeros(3, 0, 4), r"\(3, H, W\)", id="empty tensor"),
        pytest.param(torch.zeros(3, 4, 4, dtype=torch.uint8), "255", id="uint8 tensor"),
        pytest.param(torch.full((3, 4, 4), torch.nan), "finite", id="NaN tensor"),
    ],
)
def test_bad_arrays(bad, remedy):
    with pytest.raises(ImageError, match=remedy):
        open_image(bad)


NOISY = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def test_unreadable_folder_bytes_and_pil(tmp_path):
    with pytest.raises(ImageError, match=f"{tmp_path}: is not a file"):
        open_image(tmp_path)
    with pytest.raises(ImageError, match="7 bytes: not a picture"):
        open_image(b"rubbish")
    with pytest.raises(ImageError, match="PIL image: damaged"):
        open_image(Image.open(io.BytesIO(encoded(NOISY)[:-1000])))
    (tmp_path / "nan.tiff").write_bytes(encoded(np.full((2, 2), np.nan, np.float32), "TIFF"))
    with pytest.raises(ImageError, match=r"nan\.tiff: .*not finite"):
        open_image(tmp_path / "nan.tiff")


@pytest.mark.parametrize("size, expected", [((13, 29), (13, 29)), (24, (20, 24)), (96, (80, 96)), (48, (40, 48))])
def test_resize(noise, size, expected):
    small = resize(noise, size)
    assert small.shape == (1, 3, *expected)
    assert small.min() >= 0 and small.max() <= 1
    assert small.mean().item() == pytest.approx(noise.mean().item(), abs=0.02)


def test_resize_clips_the_overshoot_of_bicubic():
    edge = torch.zeros(1, 3, 8, 8)
    edge[..., 4:] = 1
    large = resize(edge, 32)
    assert large.min() == 0 and large.max() == 1


def test_resize_antialiases():
    """A fine checkerboard shrinks to grey; sampled at every fifth pixel it would stay black and white."""
    y, x = np.mgrid[0:120, 0:120]
    board = ((x + y) % 2).astype(np.float32)
    inner = (..., slice(1, -1), slice(1, -1))
    assert (resize(to_tensor(open_image(board)), 24)[inner] - 0.5).abs().max() < 0.02
    assert (to_tensor(resize_pil(open_image(board), 24))[inner] - 0.5).abs().max() < 0.02


def test_tensor_and_pil_round_trip(noise):
    image = Image.fromarray(PIXELS)
    tensor = to_tensor(image)
    assert tensor.dtype == torch.float32 and tensor.shape == (1, 3, 5, 7)
    assert np.array_equal(np.asarray(to_pil(tensor)), PIXELS)
    assert (to_tensor(to_pil(noise)) - noise).abs().max() <= 0.5 / 255 + 1e-6
    assert np.asarray(to_pil(torch.tensor([-1.0, 2.0, 0.5]).view(3, 1, 1))).tolist() == [[[0, 255, 128]]]


SETTINGS = {
    "content": "Grüße – 猫.png",
    "style": ["a", "b"],
    "steps": 150,
    "rate": 0.03,
    "nothing": None,
    "long": "é\n" * 3000,
}


@pytest.mark.parametrize("ending", [".png", ".jpg", ".JPEG", ".webp"])
@pytest.mark.parametrize("settings", [SETTINGS, {}, {"path": Path("x")}])
def test_settings_round_trip(photo_file, tmp_path, ending, settings):
    photo = load_image(photo_file)
    path = save_image(photo, tmp_path / f"größe{ending}", settings)
    assert settings_of(path) == ({"path": "x"} if "path" in settings else settings)
    difference = (load_image(path) - photo).abs()
    assert difference.max() == 0 if ending == ".png" else difference.mean() < 0.03


@pytest.mark.parametrize("description", ["a cat", "2021", '{"a": 1}', "nstlib", ""])
def test_settings_of_a_picture_made_elsewhere(description, tmp_path):
    exif = Image.Exif()
    exif[0x010E] = description
    (tmp_path / "camera.jpg").write_bytes(encoded(PIXELS, "JPEG", exif=exif))
    assert settings_of(tmp_path / "camera.jpg") == {}
    with pytest.raises(ImageError, match="no such picture"):
        settings_of(tmp_path / "no.jpg")


def test_alpha_is_put_back(noise, tmp_path):
    alpha = Image.fromarray(np.arange(40 * 48, dtype=np.uint16).reshape(40, 48).astype(np.uint8))
    image = open_image(save_image(noise, tmp_path / "a.png", alpha=alpha))
    assert np.array_equal(np.asarray(alpha_of(image)), np.asarray(alpha))
    half = alpha.resize((24, 20))
    assert alpha_of(open_image(save_image(noise, tmp_path / "b.webp", alpha=half))).size == (48, 40)
    clear = Image.new("L", (48, 40), 0)
    assert load_image(save_image(noise, tmp_path / "c.jpg", alpha=clear)).min() == 1


@pytest.mark.parametrize("ending", [".png", ".jpg", ".webp"])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "F"])
def test_save_takes_any_pil_mode(mode, ending, tmp_path):
    path = save_image(Image.new(mode, (4, 3)), tmp_path / f"a{ending}")
    assert open_image(path).size == (4, 3)


@pytest.mark.parametrize(
    "save",
    [
        lambda image, path: save_image(image, path),
        lambda image, path: save_film([image, 1 - image], path),
    ],
)
@pytest.mark.parametrize(
    "owner, method, error",
    [(Image.Image, "save", ValueError("encoding error 5")), (Path, "write_bytes", OSError("disk full"))],
)
def test_a_failed_save_leaves_the_old_file(save, owner, method, error, noise, tmp_path, monkeypatch):
    path = save_image(noise, tmp_path / "a.webp")
    before = path.read_bytes()

    def half(self, *args, **options):
        if isinstance(self, Path):
            self.write_text("half")
        raise error

    monkeypatch.setattr(owner, method, half)
    with pytest.raises(ImageError, match=rf"a\.webp: cannot be written \({error}\)\. .*disk not full"):
        save(noise, path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.webp"]


def test_an_interrupted_save_leaves_nothing(noise, tmp_path, monkeypatch):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_image(noise, tmp_path / "a.png")
    assert os.listdir(tmp_path) == []


def test_saved_files_have_the_rights_of_any_other(noise, tmp_path):
    (tmp_path / "plain").touch()
    path = save_image(noise, tmp_path / "a.png")
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize(
    "name, remedy",
    [("a.bmp", r"\.png"), ("a", r"\.png"), ("no/a.png", "Make it first"), ("folder.png", "name of a file")],
)
def test_bad_output_names(name, remedy, noise, tmp_path):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ImageError, match=f"{name}: .*{remedy}"):
        save_image(noise, tmp_path / name)
    assert os.listdir(tmp_path) == ["folder.png"]


@pytest.mark.parametrize("ending", [".gif", ".webp"])
def test_film(ending, tmp_path):
    colours = [torch.tensor(c, dtype=torch.float32).view(1, 3, 1, 1) for c in ((1, 0, 0), (0, 1, 0), (0, 0, 1))]
    frames = [c.expand(1, 3, *size) for c, size in zip(colours, [(4, 6), (8, 12), (16, 24)], strict=True)]
    with Image.open(save_film(frames, tmp_path / f"film{ending}", milliseconds=50)) as film:
        assert (film.n_frames, film.size) == (3, (24, 16))
        for index, colour in enumerate(colours):
            film.seek(index)
            assert np.abs(np.asarray(film.convert("RGB")) / 255 - colour.view(3).numpy()).max() < 0.05
    assert parts(tmp_path) == []


def test_a_film_is_gif_or_webp(noise, tmp_path):
    with pytest.raises(ImageError, match=r"a\.mp4: cannot write"):
        save_film([noise], tmp_path / "a.mp4")
