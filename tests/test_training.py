"""Training: what it learns, and that no stop, kill, bad loss or bad file costs any of it."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rounding import apart, gradients

from nstlib.critic.extractor import FeatureExtractor
from nstlib.critic.losses import PerceptualLoss
from nstlib.devices import best_precision
from nstlib.errors import CheckpointError, ImageError
from nstlib.painting.gatys import GatysConfig
from nstlib.painting.models import load_transformer, save_transformer
from nstlib.painting.network import TransformerConfig, TransformerNet
from nstlib.pictures.samples import load_image, open_image
from nstlib.storage import let_go
from nstlib.training import runs as run_folder
from nstlib.training import start as start_room
from nstlib.training.config import MAY_CHANGE, TrainConfig
from nstlib.training.muon import Muon, orthogonal
from nstlib.training.trainer import Trainer, train

TINY = TransformerConfig(width=4, residual_blocks=1)


def elsewhere(config, name="other"):
    """The same settings with files of another name."""
    return replace(config, save_model=config.save_model.with_name(f"{name}.safetensors"))


def weights(config):
    """The network of the checkpoint, which unlike the model file is in float32."""
    return torch.load(config.folder / "state.pth", weights_only=True)["net"]


def halves(net):
    """The weights of a network in float16, as in a model file."""
    return {name: tensor.half() for name, tensor in net.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def log(config):
    """The lines of the log without the speed."""
    lines = [json.loads(line) for line in (config.folder / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "pictures_per_second"} for line in lines]


def files(config):
    """What the run has written, byte by byte."""
    paths = [config.save_model, *(path for path in config.folder.rglob("*") if path.is_file())]
    return {path: path.read_bytes() for path in paths}


class Stop(Exception):
    """Raised by a test in the middle of a run."""


def cut(config, step):
    """Train, and break off at a step."""

    def callback(state):
        if state.step == step:
            raise Stop

    with pytest.raises(Stop):
        train(config, callback)


# ── settings ────────────────────────────────────────────────────────────────────────────────────────


def test_the_smallest_sizes():
    """Nonsense for every field is in hostile/test_arguments.py."""
    for name in ("image_size", "style_size"):
        with pytest.raises(ValueError, match=f"^{name}=31"):
            TrainConfig(dataset=Path(), style="ink", **{name: 31})
    for name, value in {"size": 15, "smallest": 15}.items():
        with pytest.raises(ValueError, match=f"^{name}={value}"):
            GatysConfig(**{name: value})


@pytest.mark.parametrize(("changes", "steps"), [({}, 6), ({"max_photos": 5}, 3), ({"epochs": 0.01}, 1)], ids=str)
def test_steps_from_epochs(config, changes, steps):
    """Two epochs of 12 photographs, 2 · 2 in a step."""
    assert Trainer(replace(config, steps=None, accumulate=2, **changes)).steps == steps


def test_rate_warms_up_and_falls_to_zero(config):
    trainer, rates = Trainer(replace(config, steps=200)), []
    for trainer.count in (0, 49, 100, 150, 200):
        rates.append(trainer.rate() / config.lr)
    cosine = [0.5 * (1 + math.cos(math.pi * count / 200)) for count in (49, 150)]
    assert rates == pytest.approx([1 / 21, cosine[0], 0.5, cosine[1], 0])  # a tenth of the run warms up
    assert Trainer(replace(config, steps=10_000)).rate() / config.lr == pytest.approx(1 / 50)  # 50 steps at most


def test_best_precision(monkeypatch):
    for expected, words in {"bf16": ({"avx512_bf16": True}, {"amx_bf16": True}), "no": ({"avx2": True},)}.items():
        for capabilities in words:
            monkeypatch.setattr(torch.cpu, "get_capabilities", lambda c=capabilities: c, raising=False)
            assert best_precision(torch.device("cpu")) == expected
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)  # as in an older torch
    assert best_precision(torch.device("cpu")) == best_precision(torch.device("mps")) == "no"
    for capability, expected in {(7, 5): "fp16", (8, 0): "bf16", (9, 0): "bf16"}.items():
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, c=capability: c)
        assert best_precision(torch.device("cuda")) == expected


def test_what_is_missing_is_said_before_any_work(config, tmp_path):
    (tmp_path / "empty").mkdir()
    wrong = {
        "nosuch": ({"dataset": tmp_path / "nosuch"}, ImageError),
        "empty": ({"dataset": tmp_path / "empty"}, ImageError),
        "no.png": ({"style": "no.png"}, ImageError),
        "no.safetensors": ({"init_model": "no.safetensors"}, CheckpointError),
        "device='abacus'": ({"device": "abacus"}, ValueError),
        "precision='fp16'": ({"precision": "fp16"}, ValueError),
    }
    for said, (changes, error) in wrong.items():
        with pytest.raises(error, match=said):
            train(replace(config, **changes))
    assert not config.folder.exists()


# ── learning ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.numeric
@pytest.mark.parametrize(("optimiser", "lr", "most"), [("adam", 0.02, 0.5), ("muon", 0.003, 0.6)])
def test_the_loss_falls(config, optimiser, lr, most):
    train(replace(config, steps=40, lr=lr, checkpoint_every=100, optimiser=optimiser))
    losses = [line["total"] for line in log(config)]
    assert np.mean(losses[-5:]) < most * np.mean(losses[:5])
    assert len(losses) == 40
    assert log(config)[-1].keys() == {"step", "content", "style", "tv", "stability", "total", "lr"}


@pytest.mark.numeric
@pytest.mark.parametrize("shape", [(8, 72), (72, 8), (16, 16)])
def test_muon_makes_steps_orthogonal(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values, before = torch.linalg.svdvals(orthogonal(matrix)), torch.linalg.svd(matrix, full_matrices=False)
    assert 0.4 < values.min() and values.max() < 1.3  # the smallest of a square matrix may start near 0
    assert (orthogonal(matrix) * (before.U @ before.Vh)).sum() > 0.8 * min(shape)  # the same directions


def test_muon_takes_the_inner_convolutions():
    net = TransformerNet(TINY)
    adam, muon = Muon(net, 0.001).param_groups
    ends = [*net.down[0].conv.parameters(), *net.to_rgb.parameters()]
    assert len(muon["params"]) == 6 and all(p.dim() == 4 for p in muon["params"])
    assert {id(p) for p in ends} <= {id(p) for p in adam["params"]}
    assert len(adam["params"]) + 6 == len(list(net.parameters()))


@pytest.mark.numeric
def test_stability_is_what_a_move_changes(config, monkeypatch):
    for name in ("FLOW", "ZOOM", "NOISE"):  # whole pixels only
        monkeypatch.setattr(f"nstlib.training.objective.{name}", 0.0)
    trainer = Trainer(config)
    side = config.image_size
    photos = torch.stack([trainer.photos[i][0] for i in range(2)])
    assert photos.shape[-1] == side + config.margin > side
    trainer.model = torch.nn.Identity()
    # bicubic at whole pixels: positions are right to some 1e-5 px, squares of that
    assert trainer.objective(trainer.model, photos)["stability"] < 1e-8
    grid = torch.zeros(1, 3, side, side)
    grid[..., ::8, ::8] = 0.5  # a pattern that stays where it is while the photograph moves
    trainer.model = lambda x: x + grid
    found = [trainer.objective(trainer.model, photos) for _ in range(20)]
    moved = [losses["stability"].item() for losses in found if losses["stability"] > 1e-6]
    assert len(moved) > 10 and np.mean(moved) == pytest.approx(2 * 0.5**2 / 64, rel=0.3), "lacks here, too much there"
    monkeypatch.setattr("nstlib.training.objective.NOISE", 0.02)
    trainer.model = torch.nn.Identity()
    assert 0 < trainer.objective(trainer.model, photos)["stability"] < 0.02**2
    trainer.model = lambda x: x + grid
    trainer.objective.loss.set_content(photos[..., :side, :side])
    added = found[0]["total"] - trainer.objective.loss(photos[..., :side, :side] + grid)["total"]
    assert added.item() == pytest.approx(config.stability_weight * found[0]["stability"].item(), rel=1e-3)


def test_stability_forbids_a_frame(config):
    trainer = Trainer(config)
    frame = torch.zeros(1, 3, config.image_size, config.image_size)
    frame[..., -4:, :] = 0.5
    trainer.model = lambda x: x + frame
    assert trainer.objective(trainer.model, torch.stack([trainer.photos[0][0]]))["stability"] > 0


def test_stability_can_be_left_out(config):
    for changes in ({"stability_weight": 0.0}, {"formula": "johnson2016"}):
        trainer = Trainer(elsewhere(replace(config, **changes), next(iter(changes))))
        photos = torch.stack([trainer.photos[0][0]])
        assert photos.shape[-1] == config.image_size
        assert "stability" not in trainer.objective(trainer.model, photos)


@pytest.mark.numeric
def test_same_seed_same_network(config):
    runs, starts = [], []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        trainer = Trainer(elsewhere(replace(config, seed=seed), name))
        starts.append(trainer.trained().state_dict())
        trainer.step(3)
        runs.append(trainer.trained().state_dict())
    assert same(starts[0], starts[1]) and not same(starts[0], starts[2])
    assert same(runs[0], runs[1]) and not same(runs[0], runs[2])


def test_content_is_not_differentiated_and_the_style_is_seen_once(config, monkeypatch):
    activations, set_styles, graded, styles = FeatureExtractor.activations, PerceptualLoss.set_styles, [], []

    def spy(self, image, *layers):
        graded.append(torch.is_grad_enabled())
        return activations(self, image, *layers)

    monkeypatch.setattr(FeatureExtractor, "activations", spy)
    monkeypatch.setattr(PerceptualLoss, "set_styles", lambda self, s: styles.append(len(s)) or set_styles(self, s))
    trainer = Trainer(replace(config, accumulate=3))
    assert styles == [1] and graded == [False]
    trainer.step(2)
    assert styles == [1] and graded[1:] == [False, True] * 6  # a batch: the photographs, then what was painted
    assert not any(target.requires_grad for target in trainer.objective.loss.content.values())


@pytest.mark.numeric
def test_accumulation_is_a_larger_batch(config):
    config = replace(config, style_weight=0.1, content_weight=0.1, stability_weight=0.0)  # no clipping, no random moves
    with gradients() as seen:
        parts = {"whole": (4, 1), "halves": (2, 2), "quarters": (1, 4)}
        losses = [
            Trainer(elsewhere(replace(config, batch_size=batch, accumulate=accumulate), name)).step().losses
            for name, (batch, accumulate) in parts.items()
        ]
    (_, whole), *others = seen
    for (_, other), found in zip(others, losses[1:], strict=True):
        assert apart(other, whole) < 1e-3
        assert found == pytest.approx(losses[0], rel=1e-3)


@pytest.mark.numeric
def test_start_from_a_trained_network(config):
    layout = TransformerConfig(width=6, residual_blocks=2, downsample="maxpool")
    first = load_transformer(save_transformer(TransformerNet(layout), config.save_model.with_name("first.safetensors")))
    trainer = Trainer(replace(config, init_model=str(config.save_model.with_name("first.safetensors"))))
    assert trainer.net.config == layout
    assert same(trainer.net.state_dict(), first.state_dict())
    trainer.step()
    assert trainer.card()["started_from"] == "first" and trainer.card()["steps"] == 1


@pytest.mark.numeric
def test_one_precision_after_another(config):
    for precision in ("no", "bf16", "no"):
        trainer = Trainer(elsewhere(replace(config, precision=precision, accumulate=2), precision))
        assert math.isfinite(trainer.step(2).losses["total"])
        assert trainer.card()["precision"] == precision
        assert {t.dtype for t in trainer.net.state_dict().values()} == {torch.float32}


# ── what is kept ────────────────────────────────────────────────────────────────────────────────────


def test_sheets_and_states(config, monkeypatch):
    monkeypatch.setattr("nstlib.training.runs.VALIDATION", ("cat", "astronaut"))
    monkeypatch.setattr("nstlib.training.runs.HEIGHT", 256)
    states = []
    train(replace(config, log_every=3), states.append)
    assert [state.step for state in states] == [3, 5, 6, 9, 10, 12]
    sheets = [config.folder / "samples" / f"{step:06d}.jpg" for step in (5, 10, 12)]
    assert [state.sheet for state in states] == [None, sheets[0], None, None, sheets[1], sheets[2]]
    assert sorted((config.folder / "samples").iterdir()) == sheets
    sheet = open_image(sheets[-1])
    assert sheet.size == (385 + 256, 2 * 256)  # two photographs, 256 high, above what becomes of them
    cat = np.asarray(load_image("cat", 385)[0].permute(1, 2, 0) * 255)
    assert np.abs(np.asarray(sheet, float)[:256, :385] - cat).mean() < 8  # but for JPEG
    assert all(state.losses.keys() == {"content", "style", "tv", "stability", "total"} for state in states)
    assert all(state.pictures_per_second > 0 for state in states)


@pytest.mark.numeric
def test_model_file_is_the_network_returned(config):
    net, loaded = train(config), load_transformer(config.save_model)
    assert same(halves(net), halves(loaded))
    assert same(net.state_dict(), weights(config)) and loaded.config == net.config == TINY
    assert not net.training and not any(p.requires_grad for p in net.parameters())


def test_card(config, tmp_path):
    style, critic = tmp_path / "mine.png", tmp_path / "critic.pth"
    shutil.copy(next(config.dataset.iterdir()), style)
    torch.save(FeatureExtractor("compact", ("relu3_4",), weights=None).state(), critic)
    changes = {"weights": critic, "content_layers": ("relu2_1",), "content_weight": 2, "accumulate": 2}
    train(replace(config, style=str(style), **changes))
    card = load_transformer(config.save_model).card
    expected = {
        "style": "mine",
        "critic": "critic.pth",
        "dataset": "holiday",
        "photographs": 12,
        "image_size": 32,
        "style_size": 48,
        "pictures_per_step": 4,
        "steps": 12,
        "lr": config.lr,
        "seed": 0,
        "precision": "no",
        "started_from": None,
        "content_layers": ["relu2_1"],
        "style_layers": ["relu1_1", "relu2_1", "relu3_1", "relu3_4"],
    }
    assert {name: card[name] for name in expected} == expected
    assert card["losses"]["content_weight"] == 2 and card["losses"]["style_scales"] == [1.0]
    assert card["losses"]["weights"] == "critic.pth"
    assert card["minutes"] >= 0 and card["machine"].startswith("CPU")
    assert str(tmp_path) not in json.dumps(card) and "private" not in json.dumps(card)  # no folders of ours


def test_seconds_add_up(config):
    cut(config, 5)
    path = config.folder / "state.pth"
    state = torch.load(path, weights_only=True)
    assert 0 < state["seconds"] < 60
    torch.save(state | {"seconds": 3600}, path)
    assert 60 <= train(config).card["minutes"] < 61


@pytest.mark.numeric
def test_batch_norm_learns_nothing_from_the_sheets(config):
    settings = replace(config, network=replace(TINY, norm="batch"))
    train(settings)
    train(replace(elsewhere(settings), checkpoint_every=100))
    assert same(weights(settings), weights(elsewhere(settings)))


# ── going on ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.numeric
@pytest.mark.parametrize(
    "changes",
    [
        {"accumulate": 2, "workers": 1},
        {"precision": "bf16", "style": ("swirl", "ink")},
        {"network": replace(TINY, norm="batch"), "optimiser": "muon"},
        {"style": None, "objective": "perceptual", "image_size": 64},
    ],
    ids=str,
)
def test_a_stopped_run_ends_as_if_it_had_not(config, changes):
    config = replace(config, **changes)
    whole = train(elsewhere(config))
    cut(config, 7)  # two steps after the last checkpoint
    assert torch.load(config.folder / "state.pth", weights_only=True)["count"] == 5
    parts = train(config)
    assert same(whole.state_dict(), parts.state_dict()) and same(weights(elsewhere(config)), weights(config))
    assert log(config) == log(elsewhere(config))


def test_stop_signal_between_checkpoints(config, capsys):
    def callback(state):
        if state.step == 7:  # while no step is under way
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    train(config, callback)
    count = torch.load(config.folder / "state.pth", weights_only=True)["count"]
    assert count in (7, 8) and f"stopped at step {count} of 12" in capsys.readouterr().out
    assert load_transformer(config.save_model).card["steps"] == count == log(config)[-1]["step"]
    assert signal.getsignal(signal.SIGINT) is before
    assert same(train(config).state_dict(), train(elsewhere(config)).state_dict())


def test_second_stop_signal_stops_at_once(config):
    def callback(state):
        if state.step == 7:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(config, callback)
    assert same(train(config).state_dict(), train(elsewhere(config)).state_dict())


def test_a_finished_run_is_left_as_it_is_and_brings_back_its_model_file(config, monkeypatch):
    net, before = train(config), files(config)
    monkeypatch.setattr(Trainer, "advance", None)
    assert same(train(config).state_dict(), net.state_dict())
    assert files(config) == before
    config.save_model.unlink()
    train(config)
    assert same(halves(load_transformer(config.save_model)), halves(net))


@pytest.mark.parametrize("cut_short", ["trained", "save_sheet"])
def test_a_run_that_breaks_off_while_it_saves_the_end(config, monkeypatch, cut_short):
    cut(config, 5)
    owner = run_folder if cut_short == "save_sheet" else Trainer
    function = getattr(owner, cut_short)

    def breaks_off(*given):
        if given[-1] == 12 or getattr(given[0], "count", 0) == 12:
            raise Stop
        return function(*given)

    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(owner, cut_short, breaks_off)
        train(config)
    net = train(config)
    assert same(halves(load_transformer(config.save_model)), halves(net))
    assert load_transformer(config.save_model).card["steps"] == 12
    assert (config.folder / "samples" / "000012.jpg").exists()


def test_more_steps_later(config):
    train(config)
    longer = replace(config, steps=20)
    net = train(longer)
    assert [line["step"] for line in log(longer)] == list(range(1, 21)) and net.card["steps"] == 20
    assert Trainer(longer).optimiser.state_dict()["state"][0]["step"] == 20


def test_another_painting_under_the_same_name_refuses_to_go_on(config, tmp_path):
    style = tmp_path / "style.png"
    config = replace(config, style=style)
    open_image("ink").save(style)
    cut(config, 5)
    open_image("swirl").save(style)
    with pytest.raises(CheckpointError, match=r"state\.pth: was made with style_files=.*now"):
        Trainer(config)


def test_a_name_that_is_too_long_is_refused_before_the_training(config):
    config = replace(config, save_model=config.save_model.with_name("x" * 250 + ".safetensors"))
    with pytest.raises(CheckpointError, match="the name has 262 bytes, and 255 are allowed"):
        Trainer(config)


@pytest.mark.parametrize(
    "method, script, expected",
    [
        ("spawn", "train()", 0),
        ("forkserver", "train()", 0),
        ("spawn", 'if __name__ == "__main__":', 3),
        ("fork", "", 3),
    ],
)
def test_workers_are_started_where_they_can_be(method, script, expected, tmp_path, monkeypatch, capsys):
    (tmp_path / "script.py").write_text(script)
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(tmp_path / "script.py"))
    monkeypatch.setattr(run_folder.multiprocessing, "get_start_method", lambda: method)
    assert run_folder.startable(3) == expected
    assert ("no workers, for they need the training under" in capsys.readouterr().out) == (expected == 0)


def test_other_settings_refuse_to_go_on(config, monkeypatch):
    cut(config, 5)
    monkeypatch.chdir(config.save_model.parent)
    before = files(config)
    others = {"style_weight": 1.0, "stability_weight": 1.0, "seed": 1, "network": replace(TINY, width=5), "lr": 1e-3}
    others |= {"style": "swirl", "batch_size": 3, "image_size": 40, "precision": "bf16", "style_scales": (1.0, 0.5)}
    for name, value in (others | {"init_model": "net.safetensors"}).items():
        with pytest.raises(CheckpointError, match=rf"state\.pth: was made with {name}=.*now.*--checkpoint-dir"):
            train(replace(config, **{name: value}))
        assert files(config) == before


def test_another_default_critic_refuses_to_go_on(config):
    """As when VGG-19 has been downloaded since; the default is not the same then."""
    config = replace(config, backbone=None)
    cut(config, 5)
    state = torch.load(config.folder / "state.pth", weights_only=True)
    assert state["config"]["backbone"] == "compact"
    state["config"]["backbone"] = "vgg19"
    torch.save(state, config.folder / "state.pth")
    with pytest.raises(CheckpointError, match=r"backbone=vgg19 \(now compact\)"):
        train(config)


def test_no_value_keeps_a_run_from_going_on(config, photo_file):
    """Numbers as from `for lr in np.logspace(…)`, paths in a tuple: a checkpoint that held one could not be read."""
    config = replace(config, lr=np.float64(config.lr), style_scales=(np.float64(1.0), np.float64(0.5)))
    config = replace(config, style=(photo_file, "ink"))
    cut(config, 5)
    train(config)
    assert "going on" in " ".join(Trainer(config).notes)


def test_settings_that_may_change(config, tmp_path):
    whole = train(elsewhere(config))
    cut(config, 5)
    shutil.copytree(config.dataset, tmp_path / "moved")
    config.folder.rename(tmp_path / "run")
    changes = {
        "dataset": tmp_path / "moved",
        "save_model": tmp_path / "renamed.safetensors",
        "checkpoint_dir": tmp_path / "run",
        "log_every": 3,
        "checkpoint_every": 4,
        "workers": 1,
        "epochs": 5.0,
    }
    assert changes.keys() <= MAY_CHANGE
    assert same(train(replace(config, **changes)).state_dict(), whole.state_dict())
    assert (tmp_path / "renamed.safetensors").exists()


def test_another_critic_under_the_same_name_refuses_to_go_on(config, tmp_path):
    """A file of weights may move; what is in it decides what is learned."""
    critic = FeatureExtractor("compact", ("relu3_4",), weights=None)
    torch.save(critic.state(), tmp_path / "critic.pth")
    config = replace(config, weights=tmp_path / "critic.pth")
    cut(config, 5)
    moved = replace(config, weights=(tmp_path / "critic.pth").rename(tmp_path / "moved.pth"))
    Trainer(moved)
    critic.convs["conv1_1"].bias += 1
    torch.save(critic.state(), tmp_path / "moved.pth")
    for other in (moved, replace(config, weights=None)):
        with pytest.raises(CheckpointError, match=r"was made with critic_file="):
            train(other)


def test_a_folder_is_let_go_by_its_last_trainer(config):
    """Of two in one process; and by one that cannot go on."""
    locked = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'a'), fcntl.LOCK_EX | fcntl.LOCK_NB)"

    def is_held() -> bool:
        code = [sys.executable, "-c", locked, str(config.folder / ".lock")]
        return subprocess.run(code, stderr=subprocess.DEVNULL).returncode != 0

    trainer = Trainer(config)
    train(replace(config, steps=2))
    assert is_held(), "the first trainer is still there"
    let_go(config.folder, trainer)
    assert not is_held()
    with pytest.raises(CheckpointError, match="seed"):
        train(replace(config, seed=3))
    assert not is_held()


def test_a_gpu_of_many_is_the_one_that_was_named(config, monkeypatch):
    chosen = []
    monkeypatch.setattr(start_room, "best_device", torch.device)
    monkeypatch.setattr(start_room, "Accelerator", lambda **settings: settings)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    for name in ("cuda:1", "cuda", "cpu"):
        start_room.make_accelerator(replace(config, device=name))
    assert chosen == [torch.device("cuda:1")]


def test_log_that_was_cut_short(config):
    cut(config, 7)
    with open(config.folder / "log.jsonl", "a") as file:
        file.write('{"step": 8, "cont')
    train(config)
    assert [line["step"] for line in log(config)] == list(range(1, 13))


# ── a loss that is not finite ───────────────────────────────────────────────────────────────────────


@pytest.mark.numeric
def test_one_bad_loss_is_survived(config, spoil, capsys):
    config = replace(config, log_every=2)
    spoil({7})  # in step 8, after the checkpoint of 5 and the report of 6
    net = train(config)
    assert "step 8: the loss is not finite; back to step 6, half the rate" in capsys.readouterr().out
    assert all(torch.isfinite(t).all() for t in net.state_dict().values())
    lines = log(config)
    assert [line["step"] for line in lines] == [2, 4, 5, 6, 8, 10, 12]
    train(elsewhere(config))
    for got, usual in zip(lines, log(elsewhere(config)), strict=True):
        assert got["lr"] == pytest.approx(usual["lr"] * (0.5 if got["step"] > 6 else 1))
        assert math.isfinite(got["total"]) and (got == usual) == (got["step"] <= 6)


def test_a_loss_that_is_not_finite_is_noticed_with_good_weights(config):
    """In float16 the gradient scaler keeps bad steps from the weights, for ever if need be."""
    trainer = Trainer(config)
    trainer.step(2)
    assert trainer.guard({"total": 1.0}) and not trainer.guard({"total": math.nan}) and trainer.rate_scale == 0.5


@pytest.mark.numeric
def test_rollback_brings_back_everything(config, spoil):
    spoil({3, 4})
    trainer = Trainer(config)
    trainer.step(3)
    assert trainer.guard({})
    net, optimiser = trainer.net.state_dict(), trainer.optimiser.state_dict()["state"]
    good = [{name: t.clone() for name, t in net.items()}, {n: t.clone() for n, t in optimiser[0].items()}]
    for scale in (0.5, 0.25):
        trainer.step()
        assert not trainer.guard({}) and trainer.count == 3 and trainer.rate_scale == scale
        assert same(trainer.net.state_dict(), good[0])
        assert same(trainer.optimiser.state_dict()["state"][0], good[1])
    trainer.step()
    assert trainer.guard({}) and trainer.count == 4 and len(trainer.notes) == 2


def test_halved_rate_is_remembered(config, spoil):
    spoil({2})
    cut(config, 5)
    assert Trainer(config).rate_scale == 0.5


def test_ever_bad_loss_stops_and_leaves_the_files(config, spoil):
    cut(config, 5)
    before = files(config)
    calls = spoil(range(10**6))
    with pytest.raises(CheckpointError, match=r"the loss does not stay finite; lower --lr"):
        train(config)
    assert len(calls) == 11  # at the whole rate, and at ten halves
    assert files(config) == before


# ── files ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["net", "net/samples"])
def test_a_file_where_the_folder_should_be(config, tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    with pytest.raises(CheckpointError, match=r"net: cannot be written"):
        train(config)


@pytest.mark.parametrize("name", ["net.safetensors", "net/state.pth", "net/log.jsonl"])
def test_a_folder_where_a_file_should_be(config, tmp_path, name):
    trainer = Trainer(config)
    (tmp_path / name).mkdir()
    with pytest.raises(CheckpointError, match=f"{Path(name).name}: cannot be written"):
        run_folder.write_log(trainer.config.folder, trainer.step(), trainer.rate())
        trainer.save()


def test_photographs_damaged_since_are_named_once(config, tmp_path, capsys):
    folder = shutil.copytree(config.dataset, tmp_path / "photos")
    trainer = Trainer(replace(config, dataset=folder, steps=20))  # 40 draws: each photograph three times or more
    for name in ("3.png", "7.png"):
        (folder / name).write_bytes((folder / name).read_bytes()[:500])  # its header is whole
    trainer.step(20)
    assert sorted(trainer.notes) == ["3.png: damaged, skipped", "7.png: damaged, skipped"]
    assert capsys.readouterr().out.count("damaged") == 2


# ── processes ───────────────────────────────────────────────────────────────────────────────────────


def start(*command):
    """A process, in a group of its own, with one thread."""
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_until(condition, *processes):
    while not condition() and any(process.poll() is None for process in processes):
        time.sleep(0.002)


def finish(process):
    """Wait for a process, which must end well; returns what it printed."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


def logged(config):
    """How many lines the log has."""
    path = config.folder / "log.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


ABSENT = ("pooch", "matplotlib", "IPython", "ipywidgets", "tyro", "requests", "torchvision")
TWICE = """
import sys
sys.modules |= dict.fromkeys({absent})
from pathlib import *
from nstlib import TrainConfig, TransformerConfig, train
train({config})
train({config})
"""


def test_stop_signals(config):
    """To the whole group, as a terminal, timeout or a batch system sends them, and so to the readers too.

    Training needs no notebook's nor download packages, and Python warns of nothing.
    """
    config = replace(config, steps=1000, checkpoint_every=1000, workers=1)
    process, steps = start("-W", "error", "-c", TWICE.format(absent=ABSENT, config=config)), []
    for number in (signal.SIGINT, signal.SIGTERM):
        enough = logged(config) + 7
        wait_until(lambda enough=enough: logged(config) >= enough, process)
        os.killpg(process.pid, number)
        steps.append(logged(config))
    out = finish(process)
    said = [int(n) for n in re.findall(r"stopped at step (\d+) of 1000; the same command goes on from there", out)]
    assert all(before <= step < 1000 for before, step in zip(steps, said, strict=True))
    assert f"going on from step {said[0]} " in out
    assert [line["step"] for line in log(config)] == [*range(1, said[1] + 1)]
    assert load_transformer(config.save_model).card["steps"] == said[1]
    alone = Trainer(elsewhere(replace(config, workers=0)))
    alone.step(said[1])
    assert same(weights(config), alone.net.state_dict())


TWO = """
import os, torch, warnings
from pathlib import *
from torch.optim.optimizer import register_optimizer_step_pre_hook
from nstlib import TrainConfig, TransformerConfig
from nstlib.screen.cli import train_command
warnings.simplefilter("error")
rank = os.environ["RANK"]
Path(f"pid{{rank}}").write_text(str(os.getpid()))
def note(optimiser, given, named):
    if not Path(f"gradient{{rank}}.pt").exists():
        torch.save([p.grad for p in optimiser.param_groups[0]["params"]], f"gradient{{rank}}.pt")
register_optimizer_step_pre_hook(note)
train_command({config})
"""


def test_two_processes_are_one_with_a_larger_batch(config, here):
    """As accelerate's own command starts them: the first step to the rounding, who saves and speaks, that both stop
    at one step, and that the same command goes on from there; the rest is accelerate's."""
    config = replace(config, steps=40, checkpoint_every=15, stability_weight=0.0)  # moves differ by process
    Path("script.py").write_text(TWO.format(config=config))
    command = "-m accelerate.commands.launch --multi_gpu --num_processes 2 --main_process_port 0 script.py"
    first = start(*command.split())
    wait_until(lambda: logged(config) >= 7, first)
    os.kill(int(Path("pid1").read_text()), signal.SIGTERM)  # to one: both stop, at the same step
    out = [finish(first), finish(start(*command.split()))]
    assert out[0].count("stopped at step") == out[1].count("going on from step") == 1
    assert [said.count("paint with `nst paint") for said in out] == [1, 1]  # the other process is quiet
    alone = Trainer(elsewhere(replace(config, batch_size=4)))
    with gradients() as seen:
        expected = alone.step()
    first, second = (torch.load(f"gradient{rank}.pt") for rank in "01")
    assert all(map(torch.equal, first, second))  # what moves the weights is the same in both, to the bit
    assert apart(first, seen[0][1]) < 1e-3
    found = log(config)
    assert [line["step"] for line in found] == list(range(1, 41))
    assert {name: found[0][name] for name in expected.losses} == pytest.approx(expected.losses, rel=1e-3)
    assert load_transformer(config.save_model).card["pictures_per_step"] == 4 == alone.pictures_per_step
