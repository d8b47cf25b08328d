"""Distillation: the linear algebra by hand, and a short run on a teacher of a few channels."""

import json
import random
import stat
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from nstlib.critic.extractor import FeatureExtractor, layer_names
from nstlib.critic.losses import gram
from nstlib.errors import CheckpointError, ImageError, WeightsError
from nstlib.pictures.files import save_image
from nstlib.storage import read_weights
from nstlib.training.distil import (
    Crops,
    DistilConfig,
    Distiller,
    HalfFinished,
    distil,
    export,
    feature_error,
    gram_error,
    student_of,
)
from nstlib.training.prune import TAPS, choose_channels, metric_head, prune, reconstruction, second_moments

pytestmark = pytest.mark.numeric
WIDTHS = (6, 6, 8, 8, 10, 10, 10, 10)  # of the fake teacher


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def fake_teacher(tmp_path):
    """A VGG-19 of three slim blocks with Oxford's preprocessing, on disk."""
    generator, state, inputs = torch.Generator().manual_seed(3), {}, 3
    for tap, width in zip(TAPS, WIDTHS, strict=True):
        prefix = f"features.{layer_names('vgg19').index(tap) - 1}"
        state[f"{prefix}.weight"] = torch.randn(width, inputs, 3, 3, generator=generator) * (2 / 9 / inputs) ** 0.5
        state[f"{prefix}.bias"] = torch.rand(width, generator=generator)
        inputs = width
    state["features.0.weight"] /= 100  # Oxford's pictures span 0…255
    save_file(state, tmp_path / "teacher.safetensors")
    return tmp_path / "teacher.safetensors"


@pytest.fixture
def config(tmp_path, fake_teacher):
    """Six steps on five small pictures."""
    folder = tmp_path / "photos"
    (folder / "inner").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(5):
        pixels = rng.integers(0, 256, (6, 5 + i, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((40, 30), Image.Resampling.BICUBIC).save(folder / "inner" / f"{i}.png")
    (folder / "notes.txt").write_text("not a picture")
    return DistilConfig(
        photos=folder,
        teacher=str(fake_teacher),
        output=tmp_path / "students" / "student.safetensors",  # a folder that is made
        widths=(4, 4, 6, 6, 8, 8, 8, 8),
        steps=6,
        batch_size=2,
        crop=24,
        save_every=2,
    )


def moment(channels, rank, seed=0):
    """Second moments of features whose channels span `rank` dimensions, and the features (C, n)."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(channels, rank, generator=generator, dtype=torch.float64)
    features = mixing @ torch.randn(rank, 200, generator=generator, dtype=torch.float64)
    return features @ features.T / 200, features


# ── linear algebra ──────────────────────────────────────────────────────────────────────────────────


def test_second_moments_by_hand():
    # two samples of one pixel with channels (1, 2) and (3, 4): E = ((1+9)/2, (2+12)/2; …, (4+16)/2)
    features = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(2, 2, 1, 1)
    expected = torch.tensor([[5.0, 7.0], [7.0, 10.0]], dtype=torch.float64)
    assert torch.equal(second_moments({"relu1_1": features})["relu1_1"], expected)


def test_choose_channels_takes_the_one_that_explains_the_others():
    # channel 2 is the sum of channels 0 and 1, which are independent
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    assert choose_channels(features @ features.T, 1) == [2]


def test_choose_channels_takes_no_copies():
    # channels 0 and 1 are the loudest but the same; 2 adds what they lack
    features = torch.tensor([[3.0, 0.0], [3.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    assert choose_channels(features @ features.T, 2) in ([0, 2], [1, 2])


@pytest.mark.parametrize(("channels", "rank"), [(8, 3), (12, 5), (6, 6)])
def test_chosen_channels_reconstruct_a_deficient_moment(channels, rank):
    second, features = moment(channels, rank, seed=4)
    kept = choose_channels(second, rank)
    assert np.linalg.matrix_rank(features[kept].numpy()) == rank and kept == sorted(kept)
    rebuilt = reconstruction(second, kept) @ features[kept]
    assert (rebuilt - features).square().sum() / features.square().sum() < 1e-6


def test_more_channels_than_there_is_to_explain():
    assert choose_channels(moment(6, 2)[0], 6) == list(range(6))


def test_reconstruction_is_least_squares():
    second, features = moment(7, 7)
    kept = [0, 2, 5]
    expected = np.linalg.lstsq(features[kept].T.numpy(), features.T.numpy(), rcond=None)[0].T
    np.testing.assert_allclose(reconstruction(second, kept).numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("rank", [4, 2])
def test_metric_head_keeps_distances(rank):
    generator = torch.Generator().manual_seed(1)
    w = torch.randn(9, rank, generator=generator, dtype=torch.float64)
    w = w @ torch.randn(rank, 4, generator=generator, dtype=torch.float64)
    s, t = torch.rand(2, 4, 50, generator=generator, dtype=torch.float64)
    r = metric_head(w).double()
    assert torch.equal(r, r.triu()) and (r.diagonal() >= 0).all()
    torch.testing.assert_close((r @ s - r @ t).norm(), (w @ s - w @ t).norm(), rtol=1e-5, atol=0)
    small, large = (m @ (s @ s.T - t @ t.T) @ m.T for m in (r, w))
    torch.testing.assert_close(small.norm(), large.norm(), rtol=1e-5, atol=0)


def test_metric_head_with_a_dead_first_channel():
    w = torch.tensor([[0.0, 1.0], [0.0, 2.0], [0.0, 2.0]])
    assert metric_head(w)[:, 1].norm().item() == pytest.approx(3)


def test_errors_by_hand():
    # target channel (0, 2): variance about its mean 1+1 = 2; predicted (0, 1): squared error 1
    target, predicted = (torch.tensor(v).view(1, 1, 1, 2) for v in ([0.0, 2.0], [0.0, 1.0]))
    assert feature_error(predicted, target).item() == 0.5
    assert gram_error(predicted, target).item() == pytest.approx((4 - 1) ** 2 / 4**2)
    assert feature_error(target, target) == gram_error(target, target) == 0


# ── pruning ─────────────────────────────────────────────────────────────────────────────────────────


def load_teacher(path):
    return FeatureExtractor("vgg19", TAPS, weights=path, preprocessing="oxford")


def errors(student, teacher, picture):
    got, expected = student(picture), teacher(picture)
    return [feature_error(got[name], expected[name]).item() for name in TAPS]


@torch.no_grad()
def test_pruning_nothing_changes_nothing(fake_teacher):
    teacher, pictures = load_teacher(fake_teacher), torch.rand(4, 3, 32, 32)
    student = student_of(prune(teacher, second_moments(teacher(pictures)), WIDTHS), teacher)
    for got, expected in zip(student(pictures).values(), teacher(pictures).values(), strict=True):
        assert (got - expected).norm() / expected.norm() < 3e-4  # what the ridge costs


@torch.no_grad()
def test_pruning_more_loses_more(fake_teacher):
    teacher, pictures = load_teacher(fake_teacher), torch.rand(4, 3, 32, 32)
    moments = second_moments(teacher(pictures))
    most, few = (student_of(prune(teacher, moments, w), teacher) for w in ((5, 5, 7, 7, 9, 9, 9, 9), (2,) * 8))
    assert sum(errors(most, teacher, pictures)) < sum(errors(few, teacher, pictures))
    assert [conv.out_channels for conv in few.convs.values()] == [2] * 8


@torch.no_grad()
def test_exported_critic_measures_as_the_student(fake_teacher, tmp_path):
    teacher, (x, y) = load_teacher(fake_teacher), torch.rand(2, 1, 3, 32, 32)
    student = student_of(prune(teacher, second_moments(teacher(torch.cat([x, y]))), (4, 4, 6, 6, 8, 8, 8, 8)), teacher)
    export(student, tmp_path / "s.safetensors", {})
    critic = FeatureExtractor("compact", TAPS, weights=tmp_path / "s.safetensors")
    for name in TAPS:
        fx, fy, gx, gy = (network(p)[name] for network in (student, critic) for p in (x, y))
        torch.testing.assert_close((gx - gy).norm(), (fx - fy).norm(), rtol=0.01, atol=0)
        wide, slim = (a.shape[1] * (gram(a) - gram(b)).norm() for a, b in ((fx, fy), (gx, gy)))
        torch.testing.assert_close(slim, wide, rtol=0.02, atol=0)


# ── the run ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("bfloat16", [False, True])
def test_short_run_exports_a_critic(config, noise, bfloat16):
    path = distil(replace(config, bfloat16=bfloat16))
    critic = FeatureExtractor("compact", TAPS, weights=path)
    assert [f.shape[1] for f in critic(noise).values()] == list(config.widths)
    assert critic.scaling.mean == pytest.approx((123.68 / 255, 116.779 / 255, 103.939 / 255))
    metadata = read_weights(path)[1]
    settings = json.loads(metadata["settings"])
    assert metadata["steps"] == "6" and settings["widths"] == list(config.widths)
    assert settings["teacher"] == "teacher.safetensors" and "photos" not in settings
    assert {t.dtype for t in load_file(path).values()} == {torch.float16}
    assert stat.S_IMODE(path.stat().st_mode) & 0o444 == 0o444  # others may read it
    assert {p.name for p in path.parent.iterdir()} == {"student.safetensors", "student.checkpoint.pth"}


def test_training_lowers_the_error(config):
    run = Distiller(replace(config, steps=400, lr=0.03))
    run.rate = lambda: 0.003  # without the slow warm-up
    teacher, test = run.teacher, torch.rand(8, 3, 24, 24)
    with torch.no_grad():
        before = sum(errors(run.student, teacher, test))
    run.step(25)
    with torch.no_grad():
        assert sum(errors(run.student, teacher, test)) < before


def test_rate_warms_up_and_falls_to_zero(config):
    run = Distiller(replace(config, steps=1000))
    rates = []
    for run.count in (0, 99, 199, 500, 1000):
        rates.append(run.rate() / config.lr)
    assert rates == pytest.approx([1 / 200, 0.488, 0.905, 0.5, 0], abs=1e-3)


def test_stopped_run_goes_on(config, monkeypatch):
    step, counts = Distiller.step, []

    def interrupted(self, n=1):
        counts.append(self.count)
        if len(counts) == 1:
            step(self, 3)
            raise KeyboardInterrupt
        return step(self, n)

    monkeypatch.setattr(Distiller, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        distil(config)
    assert read_weights(config.output)[1]["steps"] == "3"  # usable as it is
    stopped = load_file(config.output)
    again = Distiller(config)
    assert again.count == 3 and again.optimiser.state_dict()["state"][0]["step"] == 3
    distil(config)
    assert counts == [0, 3] and read_weights(config.output)[1]["steps"] == "6"
    assert any(not torch.equal(tensor, stopped[name]) for name, tensor in load_file(config.output).items())


def test_finished_run_is_left_as_it_is(config):
    before = load_file(distil(config))
    after = load_file(distil(config))
    assert all(torch.equal(before[name], after[name]) for name in before)


# ── pictures ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("side", [8, 24, 64])  # 64 is more than the pictures have
def test_crops(config, side):
    crops = [Crops(config.photos, side, random.Random(seed)).batch(6) for seed in (1, 2)]
    assert crops[0].shape == (6, 3, side, side) and crops[0].dtype == torch.float32
    assert all(0 <= c.min() and c.max() <= 1 for c in crops) and not torch.equal(*crops)


def test_half_finished_pictures_move_towards_their_styles(config):
    crops = Crops(config.photos, 24, random.Random(1))
    student = FeatureExtractor("compact", ("relu1_1", "relu2_1"), weights=None)
    pool = HalfFinished(crops, crops, size=4, life=10**6)

    def distance():
        pairs = zip(student(pool.pictures).values(), student(pool.targets).values(), strict=True)
        return sum(gram_error(*pair).item() for pair in pairs)

    before = distance()
    for _ in range(20):
        assert pool.advance(student, 2).shape == (2, 3, 24, 24)
    assert distance() < before and 0 <= pool.pictures.min() and pool.pictures.max() <= 1


def test_half_finished_pictures_grow_old(config):
    crops = Crops(config.photos, 24, random.Random(1))
    pool = HalfFinished(crops, crops, size=2, life=3)
    targets, pool.ages = pool.targets.clone(), [3, 0]
    pool.advance(FeatureExtractor("compact", ("relu1_1",), weights=None), 2)
    assert pool.ages == [0, 1]
    assert not torch.equal(pool.targets[0], targets[0]) and torch.equal(pool.targets[1], targets[1])


def test_damaged_photographs_are_skipped(config, tmp_path, capsys):
    folder = tmp_path / "some"
    folder.mkdir()
    (folder / "bad.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match="no picture left"):
        Crops(folder, 8, random.Random(1)).crop()
    save_image(torch.rand(1, 3, 40, 40), folder / "good.png")
    assert Crops(folder, 8, random.Random(1)).batch(8).shape == (8, 3, 8, 8)
    assert "bad.png" in capsys.readouterr().out


def test_other_settings_do_not_go_on(config):
    distil(config)
    with pytest.raises(CheckpointError, match=r"student.checkpoint.pth: was made with lr=.* \(now 0.5\)"):
        distil(replace(config, lr=0.5))
    config.output.with_suffix(".checkpoint.pth").write_bytes(b"no checkpoint")
    with pytest.raises(CheckpointError, match="another --output"):
        distil(config)


def test_no_pictures(config, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "nosuch"):
        with pytest.raises(ValueError, match=f"{folder.name}: no pictures"):
            distil(replace(config, photos=folder))


def test_no_teacher(config):
    with pytest.raises(WeightsError, match="nosuch"):
        distil(replace(config, teacher="nosuch.safetensors"))
