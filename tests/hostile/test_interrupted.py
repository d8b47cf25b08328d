"""Runs that are killed, doubled, or have no room to write: nothing is half written, nothing is lost."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nstlib import cli
from nstlib.images import open_image, settings_of
from nstlib.training import TrainConfig, Trainer, train
from nstlib.transformer import TransformerConfig, load_transformer

REPOSITORY = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
ENVIRONMENT["PYTHONPATH"] = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals and limits of POSIX")


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """A folder of half a dozen small photographs."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for i in range(6):
        pixels = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((72 + i, 64 + i), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder


def training(photos: Path, folder: Path) -> list[str]:
    """A run of a dozen steps, with four checkpoints, into a folder."""
    flags = {"dataset": photos, "style": photos / "0.png", "save-model": folder / "net.safetensors", "steps": 12}
    flags |= {"batch-size": 1, "image-size": 32, "style-size": 32, "style-scales": 1.0, "width": 4}
    flags |= {"residual-blocks": 1, "log-every": 2, "checkpoint-every": 3, "precision": "no", "workers": 0}
    flags |= {"backbone": "compact", "device": "cpu"}
    return ["train", *(part for name, value in flags.items() for part in (f"--{name}", str(value)))]


def painting(photos: Path, output: Path) -> list[str]:
    """A painting of 2 × 20 steps."""
    flags = ["--size", "32", "--smallest", "20", "--steps", "20", "--backbone", "compact", "--device", "cpu"]
    return ["stylize", str(photos / "1.png"), "--style", str(photos / "0.png"), *flags, "--output", str(output)]


class Victims:
    """Starts runs of `nst` within milliseconds, and has them killed; see warm.py."""

    def __init__(self, photos: Path, folder: Path):
        warm = [sys.executable, str(Path(__file__).with_name("warm.py")), json.dumps(training(photos, folder / "warm"))]
        pipe, self.output = subprocess.PIPE, folder / "output.txt"
        self.process = subprocess.Popen(warm, env=ENVIRONMENT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    def run(self, arguments: list[str], **when) -> int:
        """The exit status of a run, killed at the moment given; negative where it was."""
        order = {"arguments": arguments, "output": str(self.output)} | when
        print(json.dumps(order), file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def finish(self, arguments: list[str]) -> None:
        """A run that nobody kills; it must end well."""
        assert self.run(arguments) == 0, self.output.read_text()


@pytest.fixture(scope="module")
def victims(photos, tmp_path_factory):
    victims = Victims(photos, tmp_path_factory.mktemp("victims"))
    yield victims
    victims.process.communicate()


def check_training(folder: Path) -> None:
    """Whatever is there under its final name is whole."""
    state, model = folder / "net" / "state.pth", folder / "net.safetensors"
    step = torch.load(state, weights_only=True)["count"] if state.exists() else 0
    if model.exists() or step:
        assert load_transformer(model).card["steps"] >= step  # it is written before the checkpoint
    for sheet in folder.glob("net/samples/[!.]*"):
        open_image(sheet)
    log = folder / "net" / "log.jsonl"
    for line in log.read_text().split("\n")[:-1] if log.exists() else ():  # the last may be cut short
        json.loads(line)


def result(folder: Path) -> dict:
    """All that a finished run leaves, without what its hours on the clock are."""
    state = torch.load(folder / "net" / "state.pth", weights_only=True)
    lines = map(json.loads, (folder / "net" / "log.jsonl").read_text().splitlines())
    tensors = {name: tensor.tolist() for name, tensor in state["net"].items()}
    moments = {key: [t.tolist() for t in value.values()] for key, value in state["optimiser"]["state"].items()}
    log = [{name: value for name, value in line.items() if name != "pictures_per_second"} for line in lines]
    files = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    sheets = {path.name: path.read_bytes() for path in folder.glob("net/samples/*")}
    model = {name: t.tolist() for name, t in load_transformer(folder / "net.safetensors").state_dict().items()}
    return {"net": tensors, "optimiser": moments, "log": log, "files": files, "sheets": sheets, "model": model}


KILLS = {
    "at a random moment": lambda rng, seconds, folder: {"seconds": rng.uniform(0, seconds)},
    "between two operations on files": lambda rng, seconds, folder: {"operation": (rng.randint(1, 40), str(folder))},
    "in the middle of writing a file": lambda rng, seconds, folder: {"bytes": rng.randint(1, 60_000)},
}


def test_a_training_killed_again_and_again_ends_as_if_it_had_not(photos, victims, tmp_path, survived, times):
    rng, counts, resumed, runs = random.Random(6), dict.fromkeys(KILLS, 0), 0, 0
    start = time.perf_counter()
    victims.finish(training(photos, tmp_path / "whole"))
    seconds, expected = time.perf_counter() - start, result(tmp_path / "whole")
    while min(counts.values()) < 30 * times:
        folder = tmp_path / str(runs)
        ended = False
        while not ended:
            for what, kill in KILLS.items():
                status = victims.run(training(photos, folder), **kill(rng, seconds, folder))
                assert status in (0, -signal.SIGKILL, -signal.SIGXFSZ), victims.output.read_text()
                counts[what] += status < 0
                check_training(folder)
                ended = status == 0
                if ended:
                    break
        runs += 1
        assert result(folder) == expected
    print(counts, runs, seconds)
