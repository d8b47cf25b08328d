"""Training and painting speed of the fast network, side by side with the plain loop of pytorch/examples.

The plain loop is written out here: Johnson's layout of 1.68 million parameters, VGG-16 up to relu4_3, float32,
features of the photographs with gradient. All take turns in one process, 256², batch 4, random VGG weights,
which cost the same.
"""

import json
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from measure import PeakMemory, in_own_process, machine
from safetensors.torch import save_file

from nstlib import TrainConfig, TransformerConfig, TransformerNet, load_image, paint, save_image
from nstlib.critic.extractor import FeatureExtractor
from nstlib.training.trainer import Trainer

LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
REPEATS = 5


class PlainResidual(torch.nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.inner = torch.nn.Sequential(*plain_layer(channels, channels), *plain_layer(channels, channels)[:-1])

    def forward(self, x):
        return x + self.inner(x)


def plain_layer(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> list[torch.nn.Module]:
    conv = torch.nn.Conv2d(inputs, outputs, size, stride)
    return [torch.nn.ReflectionPad2d(size // 2), conv, torch.nn.InstanceNorm2d(outputs, affine=True), torch.nn.ReLU()]


def plain_net() -> torch.nn.Module:
    """Johnson's layout as pytorch/examples has it, with torch's own modules and nothing else."""
    double = torch.nn.Upsample(scale_factor=2, mode="nearest")
    down = [*plain_layer(3, 32, 9), *plain_layer(32, 64, 3, 2), *plain_layer(64, 128, 3, 2)]
    up = [double, *plain_layer(128, 64), double, *plain_layer(64, 32), *plain_layer(32, 3, 9)[:2]]
    return torch.nn.Sequential(*down, *(PlainResidual(128) for _ in range(5)), *up)


def plain_loop():
    """The loop of pytorch/examples' fast_neural_style, from its description: one call is one step."""
    net = plain_net()
    assert sum(p.numel() for p in net.parameters()) == 1_679_235
    vgg = torch.nn.Sequential(*list(_vgg().features)[:23])
    taps, grams = (3, 8, 15, 22), []
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)

    def features(x):
        found, x = [], (x - mean) / std
        for i, layer in enumerate(vgg):
            x = layer(x)
            if i in taps:
                found.append(x)
        return found

    def gram(x):
        flat = x.flatten(2)
        return flat @ flat.transpose(1, 2) / flat[0].numel()

    with torch.no_grad():
        grams = [gram(f) for f in features(load_image("swirl", 256).expand(4, -1, -1, -1))]

    def step():
        x = torch.rand(4, 3, 256, 256)
        y = net(x)
        of_y, of_x = features(y), features(x)
        style = sum(F.mse_loss(gram(f), g) for f, g in zip(of_y, grams, strict=True))
        loss = 1e5 * F.mse_loss(of_y[1], of_x[1]) + 1e10 * style
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def _vgg():
    from torchvision.models import vgg16

    return vgg16(weights=None).requires_grad_(False)


def trainer(folder: Path, **settings):
    config = TrainConfig(
        dataset=folder / "photos",
        style="swirl",
        save_model=folder / f"{len(settings)}.safetensors",
        steps=1000,  # so that the readers of photographs stay busy
        **settings,
    )
    return Trainer(config).advance


def measure_training() -> dict[str, float]:
    """Median seconds of a step of each, taking turns, after one to warm up."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "photos").mkdir()
        for photo in ("astronaut", "cat", "coffee"):
            save_image(load_image(photo, 400), folder / "photos" / f"{photo}.jpg")
        save_file(FeatureExtractor("vgg16", LAYERS, weights=None).state(), folder / "vgg16.safetensors")
        equal = {"network": TransformerConfig(), "style_scales": (1.0,), "pooling": "max", "backbone": "vgg16"}
        equal |= {
            "stability_weight": 0.0,
            "weights": folder / "vgg16.safetensors",
            "content_layers": ("relu2_2",),
            "style_layers": LAYERS,
        }
        contestants = {
            "plain loop": plain_loop(),
            "ours, equal architecture and critic, float32": trainer(folder, **equal, precision="no"),
            "ours, equal architecture and critic": trainer(folder, **equal),
            "ours, defaults": trainer(folder),
        }
        times = {name: [] for name in contestants}
        for _ in range(1 + REPEATS):
            for name, step in contestants.items():
                start = time.perf_counter()
                step()
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds[1:]) for name, seconds in times.items()}


def measure_painting() -> dict[str, float]:
    """Median seconds of 512²: one pass of either network, and all of `paint` with its two passes."""
    slim = _slim()
    nets = {"plain": plain_net(), "slim": slim, "paint": partial(paint, model=slim)}
    x, times = torch.rand(1, 3, 512, 512), {name: [] for name in nets}
    with torch.inference_mode():
        for _ in range(8):
            for name, net in nets.items():
                start = time.perf_counter()
                net(x)
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds[1:]) for name, seconds in times.items()}


def measure_memory() -> float:
    """Peak MiB of painting 1024² over what the process held with the network loaded."""
    net, x = _slim(), torch.rand(1, 3, 1024, 1024)
    with torch.inference_mode():
        net(x[..., :32, :32])
        peak = PeakMemory()
        net(x)
    return peak()


def _slim() -> TransformerNet:
    return TransformerNet(TransformerConfig(width=16)).eval()


def test_training_speed():
    times = in_own_process(__file__, "training")
    print(
        f"\n\nOne training step, 256², batch 4, {machine()}\n\n| | a step | pictures/s | faster |\n|---|---:|---:|---:|"
    )
    for name, seconds in times.items():
        print(f"| {name} | {seconds:.2f} s | {4 / seconds:.2f} | {times['plain loop'] / seconds:.1f}× |")
    painting = in_own_process(__file__, "painting")
    faster = painting["plain"] / painting["slim"]
    print(f"\nOne pass at 512²: plain {painting['plain']:.2f} s, shipped {painting['slim']:.3f} s, {faster:.1f}×")
    print(f"All of paint at 512², two passes: {painting['paint']:.3f} s")
    print(f"Painting 1024²: {in_own_process(__file__, 'memory'):.0f} MiB over the idle process")
    assert len(times) == 4 and len(painting) == 3


if __name__ == "__main__":
    print(
        json.dumps(
            {"training": measure_training, "painting": measure_painting, "memory": measure_memory}[sys.argv[1]]()
        )
    )
