"""The control desk without a browser: its widgets change as under a hand, and what follows is looked at."""

import asyncio
import html
import io
from dataclasses import replace

import pytest
import torch
from PIL import Image

import nstlib as nst
from nstlib.pictures.files import jpeg_bytes
from nstlib.screen import control_desk
from nstlib.screen.control_desk import ControlDesk
from nstlib.screen.playground import Playground

CONFIG = nst.GatysConfig(backbone="compact", size=96, device="cpu")


@pytest.fixture
def desk(monkeypatch):
    """A small desk whose clock stands still, so that a tick is one step and changes do not melt into one."""
    clock = iter(range(0, 10**9, 5))
    monkeypatch.setattr(control_desk.time, "perf_counter", lambda: float(next(clock)))
    monkeypatch.setattr(control_desk.time, "monotonic", lambda: float(next(clock)))
    desk = ControlDesk(config=CONFIG)
    yield desk
    desk.close()


def upload(name: str, content: bytes, version: int):
    """What FileUpload's value is in ipywidgets 7 and 8."""
    if version == 7:
        return {name: {"metadata": {"name": name}, "content": content}}
    return ({"name": name, "content": memoryview(content)},)


def png(size=(90, 50)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, "red").save(buffer, "PNG")
    return buffer.getvalue()


def test_play_is_the_metronome(desk):
    before = desk.picture.value
    desk.play.value += 1
    assert desk.painter.count == 1 and desk.picture.value != before
    assert "step 1" in desk.status.value and "96×64" in desk.status.value
    assert Image.open(io.BytesIO(desk.picture.value)).size == (96, 64)
    assert Image.open(io.BytesIO(desk.curves.value)).format == "PNG"


@pytest.mark.parametrize("name", ["content_weight", "style_weight", "tv_weight", "lr"])
def test_slider_reweighs_the_running_painter(desk, name):
    desk.tick()
    painter, optimiser = desk.painter, desk.painter.optimiser
    desk.sliders[name].value *= 0.5
    assert desk.painter is painter and painter.count == 1, "restarted"
    assert getattr(painter.config, name) == desk.sliders[name].value
    assert painter.optimiser is optimiser, "Adam's moments are lost"


def test_targets_are_cached(desk, monkeypatch):
    def forbidden(*_):
        raise AssertionError("computed again")

    monkeypatch.setattr(desk.loss, "set_styles", forbidden)
    monkeypatch.setattr(desk.loss, "set_content", forbidden)
    desk.sliders["style_weight"].value = 7.0
    desk.layers["relu1_1"].value = 0.5
    desk.tick()
    assert desk.painter.count == 1


def test_layer_sliders(desk):
    desk.layers["relu1_1"].value = 0.0
    assert desk.loss.layer_weights["relu1_1"] == 0 and desk.loss.layer_weights["relu2_1"] > 1
    for slider in desk.layers.values():
        slider.value = 0.0
    assert desk.painter.config.style_layer_weights is None and desk.painter.config.style_weight == 0
    losses = desk.painter.step().losses
    rest = losses["content"] + desk.sliders["tv_weight"].value * losses["tv"]
    assert losses["total"] == pytest.approx(rest, rel=1e-4), "no layer, no style"
    desk.layers["relu2_1"].value = 0.5
    assert desk.painter.config.style_weight == desk.sliders["style_weight"].value


def test_styles_blend(desk):
    desk.tick()
    desk.styles.value = ("swirl", "ink")
    assert set(desk.blend) == {"swirl", "ink"} and len(desk.blend_box.children) == 2
    desk.blend["ink"].value = 0.25
    assert desk.loss.blend == pytest.approx((0.8, 0.2))
    desk.blend["swirl"].value = 0.0
    desk.blend["ink"].value = 0.0
    desk.tick()
    assert desk.painter.config.style_weight == 0, "nothing of either style"


def test_no_style_is_refused(desk):
    desk.styles.value = ()
    assert desk.styles.value == ("swirl",) and "at least one style" in desk.message.value


def test_undo_gives_back_sliders_and_picture(desk):
    desk.tick()
    image, weight = desk.image, desk.sliders["style_weight"].value
    desk.sliders["style_weight"].value = 5000.0
    desk.tick()
    assert not torch.equal(desk.image, image)
    desk.undo()
    assert desk.sliders["style_weight"].value == weight == desk.painter.config.style_weight
    torch.testing.assert_close(desk.image, image)
    desk.undo()
    assert "nothing to undo" in desk.message.value


def test_undo_of_styles_and_reset(desk):
    desk.tick()
    desk.styles.value = ("ink", "swirl")
    desk.blend["ink"].value = 0.3
    desk.undo()
    assert desk.blend["ink"].value == 1.0 and set(desk.styles.value) == {"ink", "swirl"}
    desk.undo()
    assert desk.styles.value == ("swirl",) and desk.blend_box.children == ()
    painted = desk.image
    desk.reset()
    assert desk.painter.count == 0 and not torch.equal(desk.image, painted)
    desk.undo()
    torch.testing.assert_close(desk.image, painted)


def test_size_goes_on_with_the_picture(desk):
    desk.tick()
    painted = desk.image
    desk.size.value = 128
    assert desk.image.shape[-2:] == (85, 128)
    torch.testing.assert_close(desk.image, nst.resize(painted, (85, 128)))


def test_another_photograph(desk):
    desk.content.value = "coffee"
    torch.testing.assert_close(desk.image, nst.resize(nst.load_image("coffee"), desk.shape))


@pytest.mark.parametrize("version", [7, 8])
def test_upload(desk, version):
    desk._uploaded({"new": upload("red.png", png(), version)})
    assert "red.png: 90×50" in desk.message.value
    assert desk.image[0, :, 20, 20].tolist() == pytest.approx([1, 0, 0], abs=0.01)
    desk.content.value = "cat"  # which it was before the upload
    torch.testing.assert_close(desk.image, nst.resize(nst.load_image("cat"), desk.shape))


@pytest.mark.parametrize("version", [7, 8])
def test_wrong_upload_breaks_nothing(desk, version):
    desk.tick()
    painted = desk.image
    desk._uploaded({"new": upload("notes.txt", b"not a picture", version)})
    assert "notes.txt" in desk.message.value and "not a picture" in desk.message.value
    torch.testing.assert_close(desk.image, painted)
    desk.tick()
    assert desk.painter.count == 2


def test_save(desk, tmp_path):
    desk.sliders["style_weight"].value = 250.0
    desk.tick()
    desk.file.value = str(tmp_path / "mine.png")
    desk.save_button.click()
    settings = nst.settings_of(tmp_path / "mine.png")
    assert settings["content"] == "cat" and settings["style"] == ["swirl"] and settings["steps"] == 1
    assert settings["style_weight"] == pytest.approx(250, rel=0.01)


@pytest.mark.parametrize("name", ["mine.doc", "missing_folder/mine.png", ""])
def test_save_where_it_cannot(desk, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    desk.file.value = name
    desk.save_button.click()
    assert "b00020" in desk.message.value and list(tmp_path.iterdir()) == []


def test_to_training_prints_settings_that_train(desk):
    import re

    desk.sliders["style_weight"].value = 12.0
    desk.layers["relu3_4"].value = 0.5
    desk.train_button.click()
    line = html.unescape(re.sub("<.*?>", "", desk.message.value)).removeprefix("config = ")
    config = eval(line, {"nst": nst})
    assert config.style == "swirl" and config.style_weight == pytest.approx(
        desk.sliders["style_weight"].value, rel=1e-3
    )
    assert config.style_layer_weights == (1.0, 1.0, 1.0, 0.5)


def test_a_new_desk_closes_the_old_one(desk):
    new = ControlDesk(config=CONFIG)
    before = desk.painter.count
    desk.tick()
    assert desk.closed and desk.painter.count == before
    new.tick()
    assert new.painter.count == 1
    new.close()


def test_what_a_desk_has_no_name_for(photo_file):
    """Files, and sizes of one's own, are choices like the samples."""
    desk = ControlDesk(str(photo_file), (str(photo_file), "ink"), nst.GatysConfig(backbone="compact", size=50))
    assert desk.shape == (38, 50) and set(desk.blend) == {str(photo_file), "ink"}
    desk.tick()
    assert desk.painter.count >= 1
    desk.content.value = "cat"
    assert desk.shape == (33, 50)
    desk.close()


@pytest.mark.parametrize("wrong", [{"content": "nosuch"}, {"styles": ("nosuch",)}, {"seconds": -1}], ids=str)
def test_a_desk_that_cannot_be_made_takes_none_away(desk, wrong):
    with pytest.raises((nst.ImageError, ValueError), match=r"nosuch|seconds"):
        ControlDesk(**{"config": CONFIG, **wrong})
    desk.tick()
    assert not desk.closed and desk.painter.count == 1 and ControlDesk.open_desk is desk


def test_message_is_escaped(desk):
    desk._uploaded({"new": upload("<b>.png", b"?", 8)})
    assert "<b>" not in desk.message.value and "&lt;b&gt;" in desk.message.value


def test_sliders_start_at_the_config():
    config = replace(CONFIG, style_weight=1e6, style_layer_weights=(0, 0, 1, 3), style_blend=(1, 0), style_scale=0.5)
    desk = ControlDesk(styles=("swirl", "ink"), config=config)
    shown = desk.settings()
    assert shown.style_weight == pytest.approx(1e6) and shown.style_layer_weights == (0, 0, 1, 3)
    assert shown.style_blend == (1, 0) and desk.painter.loss.blend == (1, 0)
    desk.to_training()
    assert 'style=("swirl", "ink")' in html.unescape(desk.message.value)
    desk.close()


# ── the playground ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def playground(studio):
    playground = Playground(studio, quick=64, size=96)
    yield playground
    playground.close()


def test_playground_paints_what_the_sliders_say(playground):
    playground.shares["ink"].value = 1.0
    playground.strength.value = 0.5
    photo = nst.resize(nst.load_image("cat"), 64)
    expected = nst.paint(photo, playground.net, styles={"swirl": 1, "ink": 1}, strength=0.5, passes=1)
    torch.testing.assert_close(playground.image, expected, atol=0.02, rtol=0)  # paint rounds a tensor to 8 bits
    assert Image.open(io.BytesIO(playground.picture.value)).size == (64, 43)
    playground.colours.value = "luminance"
    torch.testing.assert_close(playground.image, nst.recolour(expected, photo, "luminance"), atol=0.03, rtol=0)


def test_playground_refines_when_the_slider_rests(playground):
    playground.rest = 0.01

    async def slide_and_rest():
        for strength in (0.9, 0.8, 0.7):
            playground.strength.value = strength
        quick = playground.image.shape[-1]
        await asyncio.sleep(0.1)
        return quick, playground.image.shape[-1]

    assert asyncio.run(slide_and_rest()) == (64, 96)


def test_playground_walks_from_one_style_to_another(playground, monkeypatch):
    sizes = []
    monkeypatch.setattr(playground, "paint", sizes.append)
    playground.between.value = 0.25
    assert playground.settings()["styles"] == {"swirl": 0.75, "woodblock": 0.25}
    assert sizes == [64], "one picture for one move"
    playground.ends[1].value = "swirl"
    assert playground.settings()["styles"] == {"swirl": 1.0}


def test_playground_wipes_between_before_and_after(playground):
    painted = playground.picture.value
    playground.wipe.value = 1.0
    assert playground.picture.value == jpeg_bytes(playground.photo)
    playground.wipe.value = 0.5
    half = nst.to_tensor(Image.open(io.BytesIO(playground.picture.value)))
    torch.testing.assert_close(half[..., :40], playground.photo[..., :40], atol=0.2, rtol=0)
    torch.testing.assert_close(half[..., 56:], playground.image[..., 56:], atol=0.2, rtol=0)
    playground.wipe.value = 0.0
    assert playground.picture.value == painted


def test_playground_without_any_style_is_the_photograph(playground):
    playground.shares["swirl"].value = 0.0
    assert playground.settings()["strength"] == 0.0


def test_playground_refuses_a_network_of_one_style():
    with pytest.raises(ValueError, match="one style"):
        Playground(nst.TransformerNet(nst.TransformerConfig(width=4, residual_blocks=1)))


@pytest.mark.parametrize("version", [7, 8])
def test_playground_upload(playground, version):
    before = playground.picture.value
    playground._uploaded({"new": upload("notes.txt", b"not a picture", version)})
    assert "notes.txt" in playground.message.value and playground.picture.value == before
    playground._uploaded({"new": upload("red.png", png(), version)})
    assert "red.png: 90×50" in playground.message.value and playground.picture.value != before
    assert playground.image.shape[-2:] == (50, 90)


def test_playground_saves_at_full_size(playground, tmp_path):
    playground.strength.value = 0.5
    playground.file.value = str(tmp_path / "mine.png")
    playground.save_button.click()
    assert nst.open_image(tmp_path / "mine.png").size == (96, 64)
    settings = nst.settings_of(tmp_path / "mine.png")
    assert settings["strength"] == 0.5 and settings["styles"] == {"swirl": 1.0}
    playground.file.value = "mine.doc"
    playground.save_button.click()
    assert "b00020" in playground.message.value


def test_playground_polishes(playground, tmp_path, monkeypatch):
    monkeypatch.setattr("nstlib.screen.playground.POLISH", 2)
    playground.strokes.value = 2.0
    playground.paint(96)
    painted = playground.image
    playground.polish_button.click()
    assert playground.image.shape == painted.shape and not torch.equal(playground.image, painted)
    playground.file.value = str(tmp_path / "mine.png")
    polished = playground.image
    playground.save_button.click()
    assert playground.image is polished, "not painted again"
    settings = nst.settings_of(tmp_path / "mine.png")
    assert (settings["polish"], settings["stroke_size"]) == (2, 2.0)
    monkeypatch.setattr("nstlib.pictures.samples.PAINTINGS", {})
    playground.polish_button.click()
    assert "polish needs the picture of the style" in playground.message.value


def test_a_new_playground_closes_the_old_one(playground):
    new = Playground(playground.net, quick=64, size=96)
    before = playground.picture.value
    playground.strength.value = 0.2
    assert playground.closed and playground.picture.value == before
    new.close()
