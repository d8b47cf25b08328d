"""Grids of experiments: run once, kept, gone on with."""

import pytest
import torch

import nstlib as nst
from nstlib.screen.experiments import run_grid

CONFIGS = {f"style {w}": nst.GatysConfig(backbone="compact", style_weight=w) for w in (1.0, 10.0, 100.0)}


class Counter:
    def __init__(self, stop_at: int | None = None):
        self.seen, self.stop_at = [], stop_at

    def __call__(self, config):
        if len(self.seen) == self.stop_at:
            raise KeyboardInterrupt
        self.seen.append(config.style_weight)
        return torch.full((1, 3, 8, 12), config.style_weight / 200), {"losses": [config.style_weight, 0.5]}


def test_each_cell_is_run_once(tmp_path):
    run = Counter()
    cells = run_grid(run, CONFIGS, tmp_path)
    again = run_grid(run, {"new name": CONFIGS["style 10.0"], **CONFIGS}, tmp_path)
    assert run.seen == [1.0, 10.0, 100.0]
    assert list(cells) == list(CONFIGS) and cells["style 100.0"].image.getpixel((0, 0)) == (128, 128, 128)
    assert again["new name"].numbers == cells["style 10.0"].numbers == {"losses": [10.0, 0.5]}


def test_a_stopped_grid_goes_on(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run_grid(Counter(stop_at=2), CONFIGS, tmp_path)
    run = Counter()
    assert list(run_grid(run, CONFIGS, tmp_path)) == list(CONFIGS) and run.seen == [100.0]


def test_a_setting_more_is_another_cell(tmp_path):
    run = Counter()
    run_grid(run, CONFIGS, tmp_path)
    run_grid(run, {"seed": nst.GatysConfig(backbone="compact", style_weight=1.0, seed=1)}, tmp_path)
    assert run.seen == [1.0, 10.0, 100.0, 1.0]


def test_dictionaries_do_as_well(tmp_path):
    cells = run_grid(lambda d: (torch.zeros(1, 3, 4, 4), {"sum": d["a"] + d["b"]}), {"x": {"a": 1, "b": 2}}, tmp_path)
    assert cells["x"].numbers == {"sum": 3}


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(nst.ImageError, match="file: cannot be written"):
        run_grid(Counter(), CONFIGS, tmp_path / "file")
