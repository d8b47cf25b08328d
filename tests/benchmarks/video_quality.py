"""How steady are films? Warping error, sharpness, noise, colours, cuts and speed, with each remedy added in turn.

Prints the README's table: of the clip of notebook 11, and of the videos of a folder.

python tests/benchmarks/video_quality.py [--videos DIR] [--models NAME …] [--frames N] [--size PIXELS]
"""

import argparse
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from measure import machine

import nstlib as nst
from nstlib.painting.flow import motion
from nstlib.painting.video import VideoConfig, paint_video
from nstlib.pictures.clips import open_clip

OWN = Path(nst.__file__).parent / "figures" / "clips" / "coffee.mp4"
REMEDIES = {
    "frame by frame": VideoConfig(carry=0.0),
    "+ carried, linear, everywhere": VideoConfig(sharp=False, mask=False, cuts=False),
    "+ where it can be trusted": VideoConfig(sharp=False),
    "+ Lanczos: the default": VideoConfig(),
}
LONG = 8  # frames of the long comparison


def flow_between(here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """A finer flow than the one that films are made with: DIS at full size."""
    finest = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    finest.setFinestScale(0)
    finest.setVariationalRefinementIterations(10)
    return finest.calc(*(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (here, there)), None)


def led(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    y, x = np.indices(flow.shape[:2], dtype=np.float32)
    return cv2.remap(image, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT)


def visible(flow: np.ndarray, home: np.ndarray) -> np.ndarray:
    """Ruder et al. (2016), equations 5 and 6: neither hidden nor at an edge of motion."""
    back = led(home, flow)
    length = np.square(flow).sum(-1)
    edge = sum(np.square(slope).sum(-1) for slope in np.gradient(flow, axis=(0, 1)))
    hidden = np.square(flow + back).sum(-1) > 0.01 * (length + np.square(back).sum(-1)) + 0.5
    return ~hidden & (edge <= 0.01 * length + 0.002)


def warping_error(film: list[np.ndarray], motions: list[tuple]) -> float:
    """Lai et al. (2018): root of the mean squared difference to an earlier frame led along, of [0, 1]."""
    errors = [np.square(film[i] / 255.0 - led(film[j] / 255.0, flow))[mask].mean() for i, j, flow, mask in motions]
    return float(np.sqrt(np.mean(errors)))


def motions_of(frames: list[np.ndarray], gap: int) -> list[tuple]:
    """Number of a frame and of the one `gap` before it, flow and mask; not over cuts."""
    found = []
    for i in range(gap, len(frames)):
        here, there = frames[i], frames[i - gap]
        flow = flow_between(here, there)
        mask = visible(flow, flow_between(there, here))
        if mask.mean() > 0.15:
            found.append((i, i - gap, flow, mask))
    return found


def sharpness(film: list[np.ndarray]) -> float:
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32) for frame in film]
    return float(np.mean([np.abs(cv2.Laplacian(each, cv2.CV_32F)).mean() for each in grey]))


def style_loss(film: list[np.ndarray], reference: list[np.ndarray]) -> float:
    """Distance of the Gram matrices to those of the frames painted one by one, on the compact critic."""
    loss = nst.PerceptualLoss(nst.LossConfig(backbone="compact"))
    pairs = [[nst.to_tensor(nst.open_image(f)) for f in (a, b)] for a, b in zip(film, reference, strict=True)]
    values = []
    for painted, single in pairs[:: max(1, len(pairs) // 4)]:
        loss.set_content(single)
        loss.set_styles([single])
        values.append(float(loss(painted)["style"]))
    return float(np.mean(values))


def shown(path: Path) -> list[np.ndarray]:
    return [frame.pixels() for frame in open_clip(path)]


def noise_out(net, frame: np.ndarray) -> float:
    """What noise of 2/255 becomes, of 255."""
    noise = np.random.default_rng(0).normal(0, 2, (2, *frame.shape))
    a, b = (nst.paint(np.clip(frame + n, 0, 255).round().astype(np.uint8), net)[0].numpy() for n in noise)
    return float(np.std(a - b) / np.sqrt(2) * 255)


def report(clip: Path, model: str, args, folder: Path) -> None:
    net, begin = nst.load_transformer(model), args.start if clip != OWN else 0.0
    end = begin + args.frames / float(open_clip(clip).rate)
    source = shown(paint_frames(clip, folder / "source", begin, end, args.size))
    near, far = motions_of(source, 1), motions_of(source, LONG)
    print(
        f"\n{clip.name}, {model}, {len(source)} frames of {source[0].shape[1]}×{source[0].shape[0]}; the clip itself:"
    )
    print(f"warping error {warping_error(source, near):.4f}, over {LONG} frames {warping_error(source, far):.4f}; "
          f"noise 2/255 → {noise_out(net, source[0]):.1f}/255\n")  # fmt: skip
    print(f"| | warping error | over {LONG} frames | sharpness | Gram distance | frames/s |\n|---|--:|--:|--:|--:|--:|")
    single = first = None
    for name, remedy in REMEDIES.items():
        config = VideoConfig(size=args.size, start=begin, end=end, carry=remedy.carry, sharp=remedy.sharp,
                             mask=remedy.mask, cuts=remedy.cuts)  # fmt: skip
        began = time.perf_counter()
        film = shown(paint_video(clip, net, folder / f"{clip.stem}-{model}-{len(name)}", config))
        speed = len(film) / (time.perf_counter() - began)
        values = warping_error(film, near), warping_error(film, far), sharpness(film)
        single, first = single or film, first or values
        ratios = [f"{value:.4f} ({value / one:.2f} ×)" for value, one in zip(values[:2], first[:2], strict=True)]
        ratios += [f"{values[2] / first[2]:.2f} ×", f"{style_loss(film, single):.4f}", f"{speed:.2f}"]
        print(f"| {name} | {' | '.join(ratios)} |", flush=True)
    movie = shown(paint_video(clip, net, folder / f"{clip.stem}-{model}.mp4", config))
    gap = np.mean(
        [a.mean((0, 1)) - b[: a.shape[0], : a.shape[1]].mean((0, 1)) for a, b in zip(film, movie, strict=True)], 0
    )
    contrast = np.std(movie) / np.std(film)
    print(f"\nH.264: means differ by {np.abs(gap).max():.2f}/255, contrast {contrast:.3f} ×")


def paint_frames(clip: Path, folder: Path, begin: float, end: float, size: int) -> Path:
    """The clip's own frames, at the film's size."""
    from PIL import Image

    folder = Path(tempfile.mkdtemp(dir=folder.parent))
    for i, frame in enumerate(open_clip(clip, begin, end)):
        image = Image.fromarray(frame.pixels())
        height, width = (round(side * size / max(image.size)) for side in image.size[::-1])
        image.resize((width, height), Image.Resampling.LANCZOS).save(folder / f"{i:04}.png")
    return folder


def cuts(clip: Path) -> list[int]:
    frames, last = [], None
    for i, frame in enumerate(open_clip(clip)):
        pixels = frame.pixels()
        if last is not None and motion(pixels, last)[2]:
            frames.append(i)
        last = pixels
    return frames


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=Path)
    parser.add_argument("--models", nargs="+", default=["starry_night", "great_wave"])
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--start", type=float, default=0.0, help="of the videos of the folder, seconds")
    parser.add_argument("--size", type=int, default=320)
    args = parser.parse_args()
    clips = [OWN, *(sorted(args.videos.glob("*.mp4")) if args.videos else [])]
    print(machine(), f"{torch.get_num_threads()} threads")
    for each in clips:
        print(f"{each.name}: cuts at {cuts(each)}")
    with tempfile.TemporaryDirectory() as scratch:
        for each in clips:
            for name in args.models:
                report(each, name, args, Path(scratch))
