"""The training set: which photographs are taken, and in which order."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from nstlib.errors import ImageError
from nstlib.pictures.photos import PhotoFolder, StepSampler, collate

NOISE = np.random.default_rng(0).integers(0, 256, (90, 110, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder for photographs."""
    path = tmp_path / "photos"
    path.mkdir()
    return path


@pytest.fixture
def greys(folder) -> Path:
    """Five flat photographs, the i-th of grey i: a draw's value says which one it is from."""
    for i in range(5):
        Image.new("RGB", (80, 64), (i, i, i)).save(folder / f"{i}.png")
    return folder


def drawn(photographs: PhotoFolder, draws) -> list[int]:
    return [round(photographs[i][0].mean().item() * 255) for i in draws]


def cut(path: Path) -> None:
    """A photograph whose header is good and whose pixels end half way: only reading it all shows that."""
    Image.fromarray(NOISE).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


# ── what is found ───────────────────────────────────────────────────────────────────────────────────


def test_what_is_no_photograph_is_skipped_and_counted(folder, monkeypatch):
    (folder / "deep" / "er").mkdir(parents=True)
    for name in ("a.jpg", "B.PNG", "deep/er/c.webp"):
        Image.fromarray(NOISE).save(folder / name)
    for name in ("notes.txt", "deep/list.csv"):
        (folder / name).write_text("text")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 no more")
    for size in [(63, 100), (100, 63), (1, 1)]:
        Image.new("L", size).save(folder / f"{size}.png")
    Image.new("1", (300, 100)).save(folder / "300.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", NOISE.shape[0] * NOISE.shape[1])
    found = PhotoFolder(folder)
    assert [path.relative_to(folder).as_posix() for path in found.files] == ["B.PNG", "a.jpg", "deep/er/c.webp"]
    assert len(found) == 3
    counts = {why: len(names) for why, names in found.skipped.items()}
    assert counts == {"not a picture": 2, "damaged": 1, "under 64 px": 3, "too large": 1}
    assert "3 photographs; skipped 1 damaged (broken.jpg), 2 not a picture (list.csv, notes.txt)" in found.report()


def test_links_to_folders_are_followed_once(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    Image.fromarray(NOISE).save(tmp_path / "elsewhere" / "a.jpg")
    (folder / "val2017").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(folder)  # a loop
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    assert [path.name for path in PhotoFolder(folder).files] == ["a.jpg"]


@pytest.mark.parametrize("ending", ["avif", "jfif", "ppm", "tga", "jp2", "JPEG"])
def test_all_that_pillow_opens_are_photographs(ending, folder):
    Image.fromarray(NOISE).save(folder / f"a.{ending}", "JPEG" if ending in ("jfif", "JPEG") else None)
    assert len(PhotoFolder(folder)) == 1


def test_photographs_of_64_px_are_enough(greys):
    assert PhotoFolder(greys).report() == "5 photographs"


@pytest.mark.parametrize("name", ["none", "photo.png"])
def test_no_folder(name, tmp_path, photo_file):
    with pytest.raises(ImageError, match=rf"{name}: no such folder\. .*nst photos"):
        PhotoFolder(tmp_path / name)


def test_folder_without_photographs(folder):
    (folder / "notes.txt").write_text("text")
    with pytest.raises(ImageError, match=r"no photograph of at least 64 px .*skipped 1 not a picture"):
        PhotoFolder(folder)


def test_max_photos_are_chosen_by_the_seed(folder):
    for i in range(20):
        Image.new("L", (64, 64)).save(folder / f"{i:02}.png")
        (folder / f"{i:02}.txt").write_text("text")
    chosen = [[path.name for path in PhotoFolder(folder, max_photos=6, seed=seed).files] for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]
    assert all(len(names) == 6 and names == sorted(names) for names in chosen)
    assert chosen[0] != [f"{i:02}.png" for i in range(6)]
    assert len(PhotoFolder(folder, max_photos=100)) == 20


# ── what is drawn ───────────────────────────────────────────────────────────────────────────────────


def test_each_epoch_is_another_permutation(greys):
    epochs = [drawn(PhotoFolder(greys, side=32), range(e * 5, e * 5 + 5)) for e in range(4)]
    assert all(sorted(epoch) == [0, 1, 2, 3, 4] for epoch in epochs)
    assert len(set(map(tuple, epochs))) > 1
    assert drawn(PhotoFolder(greys, side=32, seed=1), range(10)) != epochs[0] + epochs[1]


def test_a_draw_depends_on_seed_and_number_alone(folder):
    for i in range(3):
        Image.fromarray(NOISE[i:, i:]).save(folder / f"{i}.png")
    once = [PhotoFolder(folder, 32, seed=4)[i][0] for i in range(7)]
    again = PhotoFolder(folder, 32, seed=4)
    assert all(again[i][0].equal(once[i]) for i in (5, 0, 6, 2, 2, 1))
    other = PhotoFolder(folder, 32, seed=5)
    assert not any(other[i][0].equal(once[i]) for i in range(7))
    assert len({crop.sum().item() for crop in once}) == 7  # three photographs, but seven crops


def test_crops_are_square_parts_mirrored_every_other_time(folder):
    y, x = np.mgrid[0:100, 0:200]
    Image.fromarray(np.stack([x, y, 0 * x], -1).astype(np.uint8)).save(folder / "slopes.png")
    found = PhotoFolder(folder, side=32)
    crops = torch.stack([found[i][0] for i in range(40)]) * 255  # (40, 3, 32, 32)
    assert crops.shape == (40, 3, 32, 32) and crops.min() >= 0 and crops.max() <= 199.5
    across = crops[:, 0].diff(dim=-1)[..., 4:-4].mean((1, 2))  # photograph's pixels in one of the crop's
    down = crops[:, 1].diff(dim=-2)[..., 4:-4, :].mean((1, 2))
    torch.testing.assert_close(across.abs(), down, rtol=0.02, atol=0)
    assert 0.58 < down.min() * 32 / 100 < 0.7 and 0.9 < down.max() * 32 / 100 < 1.02
    assert 10 < (across < 0).sum() < 30
    assert crops[:, 0].amin((1, 2)).max() > 80 and crops[:, 0].amin((1, 2)).min() < 20  # from all over the width


@pytest.mark.parametrize(
    "mode, colour, ending, expected",
    [
        ("L", 51, ".png", (0.2, 0.2, 0.2)),
        ("P", 0, ".gif", (0, 0, 0)),
        ("RGBA", (255, 0, 0, 255), ".png", (1, 0, 0)),
        ("RGBA", (0, 0, 0, 0), ".png", (1, 1, 1)),  # flattened on white, as contents and styles are
        ("LA", (51, 255), ".png", (0.2, 0.2, 0.2)),
        ("CMYK", (0, 255, 255, 0), ".jpg", (1, 0, 0)),
        ("I;16", 257 * 51, ".png", (0.2, 0.2, 0.2)),
    ],
)
def test_every_mode_comes_out_as_rgb(mode, colour, ending, expected, folder):
    Image.new(mode, (70, 80), colour).save(folder / f"a{ending}")
    crop, damaged = PhotoFolder(folder, side=32)[0]
    assert crop.shape == (3, 32, 32) and damaged == []
    torch.testing.assert_close(crop, torch.tensor(expected).view(3, 1, 1).expand_as(crop).float(), rtol=0, atol=0.01)


def test_a_large_jpeg_looks_like_itself(folder):
    """It is decoded at a part of its size, which must not show."""
    y, x = np.mgrid[0:600, 0:600] // 3
    Image.fromarray(np.stack([x, y, 0 * x], -1).astype(np.uint8)).save(folder / "slopes.jpg", quality=95)
    crop = PhotoFolder(folder, side=32)[0][0] * 255
    across, down = crop[0].diff(dim=-1)[:, 4:-4].mean().abs(), crop[1].diff(dim=-2)[4:-4].mean()
    torch.testing.assert_close(across, down, rtol=0.05, atol=0)
    assert 0.59 < down * 32 / 200 < 1.02


@pytest.mark.parametrize("ending", [".jpg", ".png"])
def test_a_damaged_photograph_is_replaced_and_named(ending, folder):
    (folder / "deep").mkdir()
    cut(folder / "deep" / f"cut{ending}")
    for i in (1, 2):
        Image.new("RGB", (70, 70), (i, i, i)).save(folder / f"{i}.png")
    found = PhotoFolder(folder, side=32)
    assert len(found) == 3 and not found.skipped  # its header is good
    named = [found[i][1] for i in range(3)]
    assert sorted(named) == [[], [], [str(Path("deep") / f"cut{ending}")]]
    assert set(drawn(found, range(3))) == {1, 2}


def test_one_good_photograph_is_found_from_every_draw(folder):
    for i in range(3):
        cut(folder / f"cut{i}.jpg")
    Image.new("RGB", (70, 70), (9, 9, 9)).save(folder / "good.png")
    assert drawn(PhotoFolder(folder, side=32), range(24)) == [9] * 24


def test_only_damaged_photographs(folder):
    for name in ("a.jpg", "b.png"):
        cut(folder / name)
    with pytest.raises(ImageError, match="every photograph in it is damaged"):
        PhotoFolder(folder, side=32)[0]


def test_a_photograph_that_went_away_is_named(greys):
    found = PhotoFolder(greys, side=32)
    (greys / "3.png").unlink()
    assert [name for i in range(5) for name in found[i][1]] == ["3.png"]


# ── how draws are dealt out ─────────────────────────────────────────────────────────────────────────


def test_draws_by_hand():
    assert list(StepSampler(2, 0, 3)) == [[0, 1], [2, 3], [4, 5]]
    assert list(StepSampler(2, 1, 2, accumulate=2)) == [[4, 5], [6, 7]]
    assert list(StepSampler(2, 0, 2, process=1, processes=2)) == [[2, 3], [6, 7]]
    assert list(StepSampler(2, 3, 3)) == []


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_resumed_run_draws_the_rest(accumulate):
    whole = list(StepSampler(4, 0, 10, accumulate))
    assert list(StepSampler(4, 0, 6, accumulate)) + list(StepSampler(4, 6, 10, accumulate)) == whole
    assert len(StepSampler(4, 6, 10, accumulate)) == 4 * accumulate == len(list(StepSampler(4, 6, 10, accumulate)))


def test_two_processes_draw_what_one_would():
    both = zip(*(StepSampler(3, 2, 5, 2, process, 2) for process in (0, 1)), strict=True)
    assert [first + second for first, second in both] == list(StepSampler(6, 2, 5, 2))


def test_batches(greys):
    cut(greys / "cut.jpg")
    found = PhotoFolder(greys, side=32)
    loader = DataLoader(found, batch_sampler=StepSampler(3, 0, 2), collate_fn=collate, num_workers=0)
    batches = list(loader)
    assert [tuple(crops.shape) for crops, _ in batches] == [(3, 3, 32, 32)] * 2
    assert [name for _, damaged in batches for name in damaged] == ["cut.jpg"]
    assert torch.cat([crops for crops, _ in batches]).equal(torch.stack([found[i][0] for i in range(6)]))
