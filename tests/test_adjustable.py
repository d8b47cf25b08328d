"""One network for many styles: mixing, strength, training, and adding a style."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

from nstlib.critic.losses import LossConfig, PerceptualLoss
from nstlib.painting.fast import paint
from nstlib.painting.models import adjustable, load_transformer, save_transformer
from nstlib.painting.network import TransformerConfig, TransformerNet
from nstlib.pictures.files import save_image, settings_of
from nstlib.screen.cli import main
from nstlib.training.objective import PIXEL_WEIGHT
from nstlib.training.trainer import Trainer, train

pytestmark = pytest.mark.numeric
TINY = TransformerConfig(width=4, residual_blocks=1)
NAMES = ("swirl", "ink", "woodblock")


@pytest.fixture
def net(studio):
    """Of these three styles."""
    return studio


@pytest.fixture
def config(config):
    """A small training of three styles."""
    return replace(config, style=NAMES, steps=6, checkpoint_every=3)


# ── the network ─────────────────────────────────────────────────────────────────────────────────────


def test_mix():
    net = TransformerNet(replace(TINY, styles=NAMES))
    assert net.blend().tolist() == [[0, 1, 0, 0]]
    assert net.blend("ink", 0.25).tolist() == [[0.75, 0, 0.25, 0]]
    assert net.blend({"ink": 3, "woodblock": 1}, 0.5).tolist() == [[0.5, 0, 0.375, 0.125]]


@pytest.mark.parametrize("styles", ["ukiyo", {"ink": -1.0, "swirl": 2.0}, {"ink": 0.0}, {"ink": float("nan")}], ids=str)
def test_bad_mixes_are_named(net, styles):
    with pytest.raises(ValueError, match=r"ukiyo|styles="):
        net.blend(styles)


def test_a_network_of_one_style_has_no_strength(noise):
    plain = TransformerNet(TINY)
    for adjust in ({"strength": 0.5}, {"styles": "ink"}):
        with pytest.raises(ValueError, match="one style"):
            paint(noise, plain, **adjust)


@pytest.mark.parametrize(
    "settings", [{"norm": "batch"}, {"legacy_range": True}, {"styles": ("a", "a")}, {"styles": (1,)}]
)
def test_layouts_that_cannot_be_adjustable(settings):
    with pytest.raises(ValueError, match="styles"):
        replace(TINY, **{"styles": NAMES} | settings)


def test_rows_are_interpolated(net):
    """Half of two styles is the network whose γ, β and share are the means of theirs."""
    photo, net = torch.rand(1, 3, 24, 28).double(), net.double()
    both = net(photo, net.blend({"swirl": 1, "ink": 1}))
    state = {n: t.clone() for n, t in net.state_dict().items()}
    for name, tensor in state.items():
        if ".norm." in name or name == "skip_share":
            tensor[1] = (tensor[1] + tensor[2]) / 2
    net.load_state_dict(state)
    torch.testing.assert_close(net(photo, net.blend("swirl")), both)


def test_each_picture_of_a_batch_has_its_own_mix(net):
    photos, net = torch.rand(2, 3, 24, 28).double(), net.double()
    mixes = torch.cat([net.blend("ink", 0.3), net.blend("swirl")])
    together = net(photos, mixes)
    for i in range(2):
        torch.testing.assert_close(together[i : i + 1], net(photos[i : i + 1], mixes[i : i + 1]))


def test_the_photograph_comes_through(net):
    """With nothing painted, row 0's share of 1 gives the photograph back."""
    torch.nn.init.zeros_(net.to_rgb.weight)
    torch.nn.init.zeros_(net.to_rgb.bias)
    net.skip_share[0] = 1.0
    photo = torch.rand(1, 3, 24, 28) * 0.9 + 0.05
    torch.testing.assert_close(
        net(photo, net.blend("ink", 0.0)), photo, atol=1e-5, rtol=0
    )  # logit and sigmoid, float32


def test_save_and_load(net, tmp_path):
    save_transformer(net, tmp_path / "many.safetensors")
    loaded = load_transformer(tmp_path / "many.safetensors")
    assert loaded.config == net.config and loaded.config.styles == NAMES
    photo = torch.rand(1, 3, 24, 28)
    torch.testing.assert_close(
        loaded(photo, loaded.blend("ink")), net(photo, net.blend("ink")), atol=2e-2, rtol=0
    )  # float16


def test_begin_with_a_network_of_one_style():
    plain = TransformerNet(TINY).double().eval()
    new = adjustable(plain, NAMES).double().eval()
    photo = torch.rand(1, 3, 24, 28).double()
    torch.testing.assert_close(new(photo, new.blend("woodblock")).float(), plain(photo))


def test_begin_with_a_network_of_many_styles(net):
    new = adjustable(net, (*NAMES, "halftone")).eval()
    photo = torch.rand(1, 3, 24, 28)
    assert torch.equal(new(photo, new.blend("ink", 0.5)), net(photo, net.blend("ink", 0.5)))
    assert torch.equal(new(photo, new.blend("halftone")), net(photo, net.blend("swirl")))


# ── its losses and its training ─────────────────────────────────────────────────────────────────────


def test_each_picture_has_its_own_target():
    loss = PerceptualLoss(LossConfig(backbone="compact")).double()
    styles, pictures = torch.rand(2, 3, 32, 32).double().split(1), torch.rand(2, 3, 32, 32).double()
    loss.set_styles(styles)
    loss.set_content(pictures)
    found = loss(pictures, torch.eye(2).double().flip(0), torch.tensor([1.0, 0.25]).double())["style"]
    alone = []
    for i, blend in enumerate(((0, 1), (1, 0))):
        loss.set_blend(blend)
        loss.set_content(pictures[i : i + 1])
        alone.append(loss(pictures[i : i + 1])["style"])
    torch.testing.assert_close(found, (alone[0] + 0.25 * alone[1]) / 2)


def test_training_draws_styles_and_strengths(config):
    trainer = Trainer(config)
    mixes = torch.cat([trainer.objective._draw_styles(8)[0] for _ in range(50)])
    torch.testing.assert_close(mixes.sum(1), torch.ones(400))
    strength, which = 1 - mixes[:, 0], mixes[:, 1:].argmax(1)[mixes[:, 0] < 1]
    assert (strength == 0).any() and (strength == 1).sum() > 100 and ((strength > 0.1) & (strength < 0.9)).sum() > 100
    assert which.bincount(minlength=3).min() > 80, "a style starves"


def test_styles_are_balanced(config):
    """Whatever a style's Gram matrices are, photographs are equally far from all after balancing."""
    trainer = Trainer(config)
    photos = torch.stack([trainer.photos[i][0] for i in range(8)])[..., :32, :32]
    trainer.objective.loss.set_content(photos)
    far = []
    for i, factor in enumerate(trainer.objective.balance):
        far.append(trainer.objective.loss(photos, torch.eye(3)[i].expand(8, -1), factor.expand(8))["style"].item())
    assert far == pytest.approx([far[0]] * 3, rel=1e-3)  # float32 losses
    assert trainer.objective.balance.max() > 1.05 * trainer.objective.balance.min()


def test_the_weaker_the_style_the_closer_to_the_photograph(config):
    trainer = Trainer(replace(config, stability_weight=0.0))
    photos = torch.stack([trainer.photos[i][0] for i in range(2)])
    own = torch.eye(3)[:2], torch.ones(2)
    trainer.objective._draw_styles = lambda count: (torch.tensor([[1.0, 0, 0, 0], [0.5, 0.5, 0, 0]]), own)
    trainer.model = lambda x, blend: x * 0.5
    losses = trainer.objective(trainer.model, photos)
    assert losses["pixels"] == pytest.approx((0.25 + 0.25 * 0.25) / 2)
    rest = trainer.objective.loss(photos * 0.5, *own)["total"]
    assert losses["total"].item() == pytest.approx((rest + PIXEL_WEIGHT * losses["pixels"]).item(), rel=1e-4)


def test_extend_leaves_the_others_to_the_bit(config):
    net = train(config)
    assert net.card["style"] == list(NAMES) and net.config.styles == NAMES
    longer = replace(
        config,
        style="halftone",
        extend=str(config.save_model),
        save_model=config.save_model.with_name("more.safetensors"),
    )
    train(longer)
    old, new = load_transformer(config.save_model), load_transformer(longer.save_model)
    assert new.config.styles == (*NAMES, "halftone")
    photo = torch.rand(1, 3, 24, 28)
    for name in NAMES:
        assert torch.equal(old(photo, old.blend(name, 0.7)), new(photo, new.blend(name, 0.7)))
    assert not torch.allclose(new(photo, new.blend("halftone")), new(photo, new.blend("swirl")), atol=1e-4)


@pytest.mark.parametrize("style", ["halftone", "swirl"])
def test_one_style_from_a_network_of_many(config, tmp_path, style):
    """It has that style alone, and says from what it was made."""
    save_transformer(TransformerNet(replace(TINY, styles=NAMES)), tmp_path / "three.safetensors")
    net = train(replace(config, style=style, init_model=str(tmp_path / "three.safetensors")))
    assert net.config.styles == (style,) and net.card["started_from"] == "three"


def test_extend_what_cannot_be(config, tmp_path):
    save_transformer(TransformerNet(TINY), tmp_path / "plain.safetensors")
    with pytest.raises(ValueError, match="adjustable"):
        train(replace(config, style="halftone", extend=str(tmp_path / "plain.safetensors")))
    save_transformer(TransformerNet(replace(TINY, styles=NAMES)), tmp_path / "three.safetensors")
    with pytest.raises(ValueError, match="ink"):
        train(replace(config, style="ink", extend=str(tmp_path / "three.safetensors")))


# ── the command ─────────────────────────────────────────────────────────────────────────────────────


def test_paint_command(net, tmp_path, photo_file, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save_transformer(net, "many.safetensors")
    loaded = load_transformer("many.safetensors")
    main(["paint", str(photo_file), "--model", "many.safetensors", "--style", "swirl:1,ink:3", "--strength", "0.5"])
    expected = paint(photo_file, loaded, styles={"swirl": 1, "ink": 3}, strength=0.5)
    save_image(expected, "expected.png")
    assert Image.open("photo_many.png").tobytes() == Image.open("expected.png").tobytes()
    settings = settings_of("photo_many.png")
    assert settings["style"] == "swirl:1,ink:3" and settings["strength"] == 0.5
    for wrong in (["--style", "ukiyo"], ["--style", "ink:much"], ["--strength", "2"]):
        with pytest.raises(SystemExit) as end:
            main(["paint", str(photo_file), "--model", "many.safetensors", *wrong])
        assert end.value.code == 2
    assert capsys.readouterr().err.count("\n") == 3


def test_all_of_one_style_is_that_style(net):
    photo, net = torch.rand(1, 3, 24, 28).double(), net.double()
    one = net(photo, net.blend("ink"))
    torch.testing.assert_close(net(photo, net.blend({"swirl": 0.0, "ink": 1.0})), one)
    assert not torch.allclose(net(photo, net.blend("swirl")), one, atol=1e-3)
