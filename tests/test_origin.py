"""What a saved picture keeps of its photograph, and how it is stored."""

import numpy as np
import pytest
import torch
from PIL import Image

from nstlib import ImageError, open_image, save_image, settings_of
from nstlib.pictures import files
from nstlib.pictures.files import check_output, read_image

DATE, TAKEN, LATITUDE = 0x0132, 0x9003, 2


@pytest.fixture
def phone(tmp_path):
    """A photograph as a phone writes it: on its side, with date, place, owner and a thumbnail's tags."""
    exif = Image.Exif()
    exif.update({0x0112: 6, 0x010F: "Maker", DATE: "2024:05:06 07:08:09", 0x8298: "(c) owner"})
    exif[files.EXIF_IFD] = {TAKEN: "2024:05:06 07:08:09", 0xA002: 4000, 0xA003: 3000, 0x927C: b"\x00" * 500}
    exif[files.GPS_IFD] = {1: "N", LATITUDE: (52.0, 30.0, 0.0)}
    Image.new("RGB", (40, 30), "teal").save(tmp_path / "phone.jpg", exif=exif, dpi=(300, 300))
    return tmp_path / "phone.jpg"


@pytest.mark.parametrize("ending", [".png", ".jpg", ".webp", ".tif"])
def test_exif_is_kept_but_for_what_was_true_of_the_photograph(ending, phone, noise, tmp_path):
    path = save_image(noise, tmp_path / f"painted{ending}", {"steps": 3}, origin=phone)
    with Image.open(path) as image:
        exif = image.getexif()
        assert (exif[DATE], exif[0x8298], 0x0112 in exif) == ("2024:05:06 07:08:09", "(c) owner", False)
        assert exif.get_ifd(files.EXIF_IFD)[TAKEN] == "2024:05:06 07:08:09"
        assert not files.STALE & exif.get_ifd(files.EXIF_IFD).keys()
        assert tuple(exif.get_ifd(files.GPS_IFD)[LATITUDE]) == (52.0, 30.0, 0.0)
        if ending != ".webp":  # which has none
            assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)  # PNG counts dots a metre
        assert image.size == (48, 40)
    assert settings_of(path) == {"steps": 3}


@pytest.mark.parametrize("origin", [None, "cat", "missing.jpg", b"bytes"])
def test_what_has_no_exif_gives_none(origin, noise, tmp_path):
    path = save_image(noise, tmp_path / "a.jpg", origin=origin)
    with Image.open(path) as image:
        assert not dict(image.getexif())


def test_older_pictures_have_their_settings_in_the_description(tmp_path):
    exif = Image.Exif()
    exif[files.IMAGE_DESCRIPTION] = 'nstlib {"steps": 7}'
    Image.new("RGB", (9, 9)).save(tmp_path / "old.jpg", exif=exif)
    assert settings_of(tmp_path / "old.jpg") == {"steps": 7}


def test_png_of_16_bits(phone, noise, tmp_path):
    path = save_image(noise, tmp_path / "deep.png", {"steps": 3}, bits=16, origin=phone)
    body = path.read_bytes()
    assert body[24:26] == b"\x10\x02"  # 16 bits, RGB
    with Image.open(path) as image:
        assert settings_of(path) == {"steps": 3} and image.getexif()[DATE]
    high = np.asarray(open_image(path))  # Pillow shows the high bytes
    assert np.array_equal(high, ((noise[0] * 65535).round().permute(1, 2, 0).numpy().astype(np.uint16) >> 8))
    grey = torch.linspace(0, 1, 3000).expand(1, 3, 1, 3000)
    path = save_image(grey, tmp_path / "ramp.png", bits=16, alpha=Image.new("L", (3000, 1), 128))
    cv2 = pytest.importorskip("cv2", reason="Pillow cannot read 16 bits a channel")
    assert len(np.unique(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., 0])) == 3000


def test_16_bits_with_transparency(noise, tmp_path):
    path = save_image(noise, tmp_path / "deep.png", bits=16, alpha=Image.new("L", (48, 40), 128))
    image = open_image(path)
    assert image.mode == "RGBA" and image.getchannel("A").getextrema() == (128, 128)


@pytest.mark.parametrize("ending, side", [(".jpg", 65_501), (".webp", 16_384)])
def test_sides_that_a_format_does_not_have(ending, side, tmp_path):
    with pytest.raises(ImageError, match=r"pixels a side. End it in .png"):
        check_output(tmp_path / f"a{ending}", shape=(1, side))
    check_output(tmp_path / f"a{ending}", shape=(side - 1, 1))
    check_output(tmp_path / "a.png", shape=(side, side))


# ── opening ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_large_jpeg_is_decoded_small(tmp_path):
    Image.new("RGB", (800, 600), "teal").save(tmp_path / "a.jpg")
    assert read_image(tmp_path / "a.jpg", 50).size == (200, 150)  # at a quarter
    assert read_image(tmp_path / "a.jpg").size == (800, 600)


def test_what_pillow_only_warns_of_is_opened(tmp_path, monkeypatch):
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 700)
    assert open_image(tmp_path / "a.png").size == (40, 30)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(ImageError, match=r"a\.png: over 1,000 pixels. Make a smaller copy"):
        open_image(tmp_path / "a.png")


@pytest.mark.parametrize(
    "head, said",
    [
        (b"\0\0\0\x18ftypheic", "is a HEIC picture, which this Pillow does not open. Save it as JPEG or PNG."),
        (b"II*\0\x08\0\0\0", "is a TIFF of a kind that Pillow does not open"),
    ],
)
def test_the_cause_is_named(head, said, tmp_path):
    (tmp_path / "a.jpg").write_bytes(head + bytes(100))
    with pytest.raises(ImageError, match=said):
        open_image(tmp_path / "a.jpg")
