"""What pays in training? Short trials of equal processor time, each with one thing changed; a table for notebook 09.

python data/trials.py --photos DIR [--style NAME_OR_FILE] [--minutes 5] [--trials NAME …] [--csv FILE]

Each network is trained from random weights and judged on photographs that it has not seen, by the compact critic: the
content loss, the style losses at 1, 1/2, 1/4 and 1/8 of the size, how strongly it weaves in the rocket's sky, and what
noise of 2/255 becomes. Each row is kept in the CSV file: a run that was stopped goes on.
"""

import argparse
import csv
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from frontier import SCALES, judge, read
from torch import nn

import nstlib as nst
from nstlib.painting.network import ConvBlock, TransformerNet
from nstlib.training import trainer as training

sys.path.append(str(Path(__file__).parents[1] / "tests" / "benchmarks"))
from network_quality import noise_out, weave

TRIALS = {  # what differs from TrainConfig's defaults
    "as nstlib trains": {},
    "style at full scale only": {"style_scales": (1.0,)},
    "crops of 384 px, two a step": {"image_size": 384, "batch_size": 2},
    "24 channels instead of 16": {"network": nst.TransformerConfig(width=24)},
    "float32 instead of bfloat16": {"precision": "no"},
    "transposed convolutions": {"network": nst.TransformerConfig(width=16, upsample="deconv")},
    "no stability loss": {"stability_weight": 0.0},
    "a stage at ⅛": {},
    "pixel shuffle": {},
    "mean of the weights (EMA)": {},
    "Muon instead of Adam": {"optimiser": "muon"},
}
COLUMNS = ("trial", "style", "minutes", "steps", "content", *(f"style at {s:g}" for s in SCALES), "weave", "noise")
KEEP = 0.98  # of the mean of the weights, at each step


class EighthNet(TransformerNet):
    """With one more stage down and up: the residual blocks work at an eighth of the picture's size."""

    def __init__(self, config: nst.TransformerConfig, card: dict | None = None):
        super().__init__(config, card)
        channels = 4 * config.width
        self.down.append(ConvBlock(config, channels, channels, scale=0.5))
        self.up.insert(0, ConvBlock(config, channels, channels, scale=2))
        self.to(memory_format=torch.channels_last)


class ShuffleUp(nn.Module):
    """Twice as large by a convolution to four times the channels, laid out as 2×2 pixels (Shi et al. 2016)."""

    def __init__(self, config: nst.TransformerConfig, inputs: int, outputs: int):
        super().__init__()
        self.block, self.shuffle = ConvBlock(config, inputs, 4 * outputs), nn.PixelShuffle(2)

    def forward(self, x: torch.Tensor, blend: None = None) -> torch.Tensor:
        return self.shuffle(self.block(x))


def network(trial: str, config: nst.TransformerConfig) -> TransformerNet:
    if trial == "a stage at ⅛":
        return EighthNet(config)
    net = TransformerNet(config)
    if trial == "pixel shuffle":
        w = config.width
        net.up = nn.Sequential(ShuffleUp(config, 4 * w, 2 * w), ShuffleUp(config, 2 * w, w))
        net.to(memory_format=torch.channels_last)
    return net


def trained(trial: str, photos: Path, style: str, minutes: float) -> tuple[TransformerNet, int]:
    """The network after so many minutes of processor time, and how many steps these were.

    The learning rate falls along a cosine, so the number of steps must be known first: it follows from ten steps.
    """
    steps = 10
    for limit in (None, minutes):
        with tempfile.TemporaryDirectory() as folder:
            config = nst.TrainConfig(
                dataset=photos, style=style, steps=steps, workers=0, backbone="compact", device="cpu",
                save_model=Path(folder) / "trial.safetensors", **TRIALS[trial],
            )  # fmt: skip
            training.first_network = lambda config: network(trial, config.network)
            run = training.Trainer(config)
            mean = {name: t.clone() for name, t in run.net.state_dict().items()}
            for i in range(steps):
                if i == steps // 2:
                    start = time.process_time()
                run.advance()
                for name, t in run.net.state_dict().items():
                    mean[name].lerp_(t, 1 - KEEP) if t.is_floating_point() else mean[name].copy_(t)
            training.let_go(config.folder, run)
        if limit is None:
            steps = round(60 * minutes / ((time.process_time() - start) / (steps - steps // 2)))
    if trial.startswith("mean"):
        run.net.load_state_dict(mean)
    return run.net.eval().requires_grad_(False), steps


def quality(net: TransformerNet, style: str) -> list[float]:
    """What `COLUMNS` has after the steps, means over seven photographs."""
    painting, rows = nst.load_image(style, 320), []
    for name in nst.sample_names()["photographs"]:
        photo = nst.load_image(name, 320)
        photo = nst.resize(photo, tuple(side // 8 * 8 for side in photo.shape[-2:]))
        rows.append([*judge(nst.paint(photo, net), photo, painting), noise_out(net, photo)])
    *losses, noise = (statistics.mean(column) for column in zip(*rows, strict=True))
    return [*losses, weave(nst.paint(nst.load_image("rocket", 640)[..., 16:176, :200], net, passes=1)), noise]


def main(chosen: argparse.Namespace) -> None:
    """Train and judge what is missing."""
    done = {(row["trial"], row["style"], row["minutes"]) for row in read(chosen.csv)}
    with open(chosen.csv, "a", newline="") as file:
        writer = csv.writer(file)
        if not done:
            writer.writerow(COLUMNS)
        for trial in chosen.trials:
            key = (trial, Path(chosen.style).stem, f"{chosen.minutes:g}")
            if key not in done:
                net, steps = trained(trial, chosen.photos, chosen.style, chosen.minutes)
                writer.writerow([*key, steps, *(f"{number:.4g}" for number in quality(net, chosen.style))])
                file.flush()
                if chosen.pictures:
                    chosen.pictures.mkdir(parents=True, exist_ok=True)
                    nst.save_image(nst.paint("astronaut", net, size=384), chosen.pictures / f"{key[1]}_{trial}.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="photographs to train on")
    parser.add_argument("--style", default="starry_night")
    parser.add_argument("--minutes", type=float, default=5, help="of processor time, a trial")
    parser.add_argument("--trials", nargs="*", default=list(TRIALS), choices=TRIALS)
    parser.add_argument("--csv", type=Path, default=Path(__file__).with_name("trials.csv"))
    parser.add_argument("--pictures", type=Path, help="keep a painting of each in this folder")
    main(parser.parse_args())
