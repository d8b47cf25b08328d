"""The compact critic against VGG-19: seconds and memory of one step of Gatys' painting.

VGG-19 has Gatys' five style layers and relu4_2, with random weights, which cost the same. Both take turns
in one process for the times; each has a process of its own for the memory.
"""

import json
import statistics
import sys
import time

from measure import PeakMemory, in_own_process, machine

from nstlib import FeatureExtractor, GatysConfig, GatysPainter, PerceptualLoss, load_image, resize

REPEATS = {256: 9, 512: 7, 1024: 3}
CRITICS = {"compact": GatysConfig(backbone="compact"), "vgg19": GatysConfig(backbone="vgg19", style_scales=(1.0,))}


def pictures(size):
    """A photograph of 4:3 and a painting, the long sides `size`."""
    return resize(load_image("cat"), (size * 3 // 4, size)), resize(load_image("swirl"), size)


def painter(critic, content, style):
    config = CRITICS[critic]
    extractor = None
    if critic == "vgg19":
        content_layers, style_layers = config.layers()
        extractor = FeatureExtractor("vgg19", style_layers + content_layers, weights=None)
    return GatysPainter(content, [style], config, loss=PerceptualLoss(config, extractor))


def measure_times(size):
    """Median seconds a step of each critic, taking turns, after one step to warm up."""
    content, style = pictures(size)
    painters = {critic: painter(critic, content, style) for critic in CRITICS}
    times = {critic: [] for critic in CRITICS}
    for _ in range(1 + REPEATS[size]):
        for critic, painting in painters.items():
            start = time.perf_counter()
            painting.step()
            times[critic].append(time.perf_counter() - start)
    return {critic: statistics.median(seconds[1:]) for critic, seconds in times.items()}


def measure_memory(size, critic):
    """Peak MiB of building the critic and two steps, over imports, pictures and libraries loaded on first use."""
    content, style = pictures(size)
    small = CRITICS["compact"]
    extractor = FeatureExtractor("compact", sum(small.layers(), ()), weights=None)
    GatysPainter(content[..., :32, :32], [style], small, loss=PerceptualLoss(small, extractor)).step(2)
    peak = PeakMemory()
    painter(critic, content, style).step(2)
    return peak()


def test_critic_speed():
    print(f"\n\nOne step of Gatys' painting, 4:3, {machine()}\n")
    print("| long side | VGG-19 | compact | faster | VGG-19 | compact | less memory |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for size in REPEATS:
        times = in_own_process(__file__, "times", size)
        memory = {critic: in_own_process(__file__, "memory", size, critic) for critic in CRITICS}
        faster, less = (values["vgg19"] / values["compact"] for values in (times, memory))
        print(
            f"| {size} px | {times['vgg19']:.2f} s | {times['compact']:.3f} s | {faster:.1f}× "
            f"| {memory['vgg19']:.0f} MiB | {memory['compact']:.0f} MiB | {less:.1f}× |",
            flush=True,
        )
        assert set(times) == set(CRITICS)


if __name__ == "__main__":
    what, size, *critic = sys.argv[1:]
    print(json.dumps(measure_times(int(size)) if what == "times" else measure_memory(int(size), *critic)))
