"""The figures of the notebooks."""

import io
import json
import math
from typing import ClassVar

import pytest
import torch
from PIL import Image

from nstlib.critic.losses import LossConfig, PerceptualLoss
from nstlib.screen import plots
from nstlib.screen.diagram import one_step
from nstlib.training.config import TrainState


def colours(png: bytes) -> set:
    image = Image.open(io.BytesIO(png)).convert("RGB")
    return {colour for _, colour in image.getcolors(maxcolors=2**20)}


def test_quick_curves():
    drawn = plots.quick_curves({"content": [1.0, 0.5, 0.2], "style": [3.0, 0.0, 1e-9]}, (200, 80))
    assert Image.open(io.BytesIO(drawn)).size == (200, 80)
    assert {(31, 119, 180), (255, 127, 14)} <= colours(drawn)


@pytest.mark.parametrize("values", [[], [1.0], [2.0, 2.0], [1.0, math.inf, math.nan, 2.0]])
def test_quick_curves_of_little(values):
    assert Image.open(io.BytesIO(plots.quick_curves({"content": values}))).size == (384, 110)


def test_quick_curves_go_down_where_losses_fall():
    drawn = Image.open(io.BytesIO(plots.quick_curves({"content": [1.0, 0.1, 0.01]}, (100, 100)))).convert("RGB")
    rows = {x: [y for y in range(84) if drawn.getpixel((x, y)) == (31, 119, 180)] for x in (10, 90)}
    assert max(rows[10]) < min(rows[90])


def test_curves_stand_where_their_steps_say():
    figure = plots.curves({"style": ([50, 100], [3.0, 1.0])})
    assert figure.axes[0].lines[0].get_xdata().tolist() == [50, 100]


class Handle:
    """Stands in for IPython's DisplayHandle."""

    made: ClassVar[list] = []

    def __init__(self):
        self.shown = []
        self.made.append(self)

    def display(self, what):
        self.shown.append(("display", what))

    def update(self, what):
        self.shown.append(("update", what))


def test_live_plot_shows_the_whole_log_in_place(tmp_path, monkeypatch):
    Handle.made.clear()
    monkeypatch.setattr(plots, "DisplayHandle", Handle)
    live, sheet = plots.LivePlot(tmp_path), tmp_path / "sheet.jpg"
    Image.new("RGB", (8, 8)).save(sheet)
    with open(tmp_path / "log.jsonl", "w") as log:  # a resumed run: two lines were there before
        for step in (10, 20, 30):
            log.write(json.dumps({"step": step, "content": 1.0, "style": 2.0, "total": 3.0}) + "\n")
    live(TrainState(30, {}, 1.0))
    live(TrainState(30, {}, 1.0, sheet))
    curves, pictures = Handle.made
    assert [what for what, _ in curves.shown] == ["display", "update"] and len(pictures.shown) == 1
    assert curves.shown[0][1].axes[0].lines[0].get_xdata().tolist() == [10, 20, 30]


def test_a_stored_picture_is_shown_no_wider_than_asked_for(tmp_path):
    Image.new("RGB", (1400, 70)).save(tmp_path / "wide.png")
    shown = [plots.picture(tmp_path / "wide.png"), plots.picture("desks/playground.jpg", width=300)]
    sizes = [Image.open(io.BytesIO(each.data)).size for each in shown]
    assert sizes[0] == (1000, 50) and sizes[1][0] == 300


def test_sheet_is_in_true_pixels():
    page = plots.sheet([torch.zeros(1, 3, 20, 30), torch.ones(1, 3, 20, 10)], height=20)
    assert page.size == (2 * 38 - 8, 20)


def test_curves_have_plain_numbers():
    axes = plots.curves({"style": [60.0, 3.0]}).axes[0]
    axes.figure.canvas.draw()
    assert [label.get_text() for label in axes.yaxis.get_minorticklabels()].count("20") == 1


def test_one_step_is_drawn_and_not_taken():
    photo = torch.rand(1, 3, 32, 48)
    picture = (photo + 0.1 * torch.rand_like(photo)).clamp(0, 1)
    before, loss = picture.clone(), PerceptualLoss(LossConfig(backbone="compact"))
    shown = one_step(loss, photo, torch.rand(1, 3, 40, 40), picture)
    assert Image.open(io.BytesIO(shown.data)).size == (1100, 650)
    assert torch.equal(picture, before) and not picture.requires_grad
