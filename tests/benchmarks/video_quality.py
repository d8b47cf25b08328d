"""How steady are films? Warping error, sharpness, noise, colours, cuts and speed, with each remedy added in turn.

Prints the README's table: of the clip of notebook 11, and of the videos of a folder. Our own clip is judged by its true
motion, which data/clip.py knows. The others are judged by a flow that is finer than the one that films are made with,
but of the same kind, so that errors that the two share do not count.

python tests/benchmarks/video_quality.py [--videos DIR] [--models NAME …] [--frames N] [--size PIXELS]
"""

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from measure import machine
from network_quality import noise_out
from PIL import Image

import nstlib as nst
from nstlib.painting.flow import ends, motion, warp
from nstlib.painting.video import VideoConfig, paint_video
from nstlib.pictures.clips import open_clip
from nstlib.pictures.pixels import resize_pil

sys.path.append(str(Path(__file__).parents[2] / "data"))
from clip import CLIP, CUT, true_motion

REMEDIES = {
    "frame by frame": VideoConfig(carry=0.0),
    "carried everywhere, linear": VideoConfig(sharp=False, mask=False, cuts=False),
    "only where trusted": VideoConfig(sharp=False),
    "and kept sharp: the default": VideoConfig(),
}
LONG = 8  # frames of the long comparison


def flow_between(here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """A finer flow than the one that films are made with: DIS with twice the refinement."""
    finest = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    finest.setFinestScale(0)
    finest.setVariationalRefinementIterations(10)
    return finest.calc(*(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (here, there)), None)


def visible(flow: np.ndarray, home: np.ndarray) -> np.ndarray:
    """Ruder et al. (2016), equations 5 and 6: neither hidden nor at an edge of motion; and in the other frame too."""
    back, where = warp(home, flow), ends(flow)
    inside = ((where >= 0) & (where <= np.array(flow.shape[1::-1]) - 1)).all(-1)
    length = np.square(flow).sum(-1)
    edge = sum(np.square(slope).sum(-1) for slope in np.gradient(flow, axis=(0, 1)))
    hidden = np.square(flow + back).sum(-1) > 0.01 * (length + np.square(back).sum(-1)) + 0.5
    return ~hidden & inside & (edge <= 0.01 * length + 0.002)


def warping_error(film: list[np.ndarray], motions: list[tuple]) -> float:
    """Lai et al. (2018): root of the mean squared difference to an earlier frame led along, of [0, 1]."""
    errors = [np.square(film[i] / 255.0 - warp(film[j] / 255.0, flow))[mask].mean() for i, j, flow, mask in motions]
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


def true_motions(gap: int, count: int) -> list[tuple]:
    """The same of our own clip, whose motion is known."""
    return [(i, i - gap, *true_motion(i, i - gap)) for i in range(gap, min(count, CUT))]


def sharpness(film: list[np.ndarray]) -> float:
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32) for frame in film]
    return float(np.mean([np.abs(cv2.Laplacian(each, cv2.CV_32F)).mean() for each in grey]))


def style_loss(film: list[np.ndarray], style: str) -> float:
    """Of four frames, on the compact critic."""
    loss = nst.PerceptualLoss(nst.LossConfig(backbone="compact"))
    loss.set_styles([nst.load_image(style, 768)])
    loss.set_content(nst.to_tensor(nst.open_image(film[0])))
    return float(
        np.mean([loss(nst.to_tensor(nst.open_image(frame)))["style"].item() for frame in film[:: len(film) // 4]])
    )


def saturation(film: list[np.ndarray], scale: float = 1.0) -> float:
    """Mean difference of the largest and the smallest channel, of frames made smaller."""
    small = [cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for frame in film]
    return float(np.mean([frame.max(-1).astype(float) - frame.min(-1) for frame in small]))


def shown(path: Path) -> list[np.ndarray]:
    return [frame.pixels() for frame in open_clip(path)]


def report(clip: Path, model: str, args, folder: Path) -> None:
    net, begin = nst.load_transformer(model), args.start if clip != CLIP else 0.0
    end = begin + args.frames / float(open_clip(clip).rate)
    source = frames_of(clip, begin, end, args.size)
    known = clip == CLIP and args.size == 320
    near, far = (true_motions(gap, len(source)) if known else motions_of(source, gap) for gap in (1, LONG))
    height, width = source[0].shape[:2]
    print(f"\n{clip.name}, {model}, {len(source)} frames of {width}×{height}; the clip itself:")
    print(f"warping error {warping_error(source, near):.4f}, over {LONG} frames {warping_error(source, far):.4f}; "
          f"noise 2/255 → {noise_out(net, nst.to_tensor(nst.open_image(source[0]))):.1f}/255\n")  # fmt: skip
    print(f"| | warping error | over {LONG} frames | sharpness | style loss | frames/s |\n|---|--:|--:|--:|--:|--:|")
    first = None
    for name, remedy in REMEDIES.items():
        config = replace(remedy, size=args.size, start=begin, end=end)
        began = time.perf_counter()
        film = shown(paint_video(clip, net, folder / f"{clip.stem}-{model}-{len(name)}", config))
        speed = len(film) / (time.perf_counter() - began)
        values = warping_error(film, near), warping_error(film, far), sharpness(film), style_loss(film, model)
        first = first or values
        columns = [f"{value:.4f} ({value / one:.2f} ×)" for value, one in zip(values, first, strict=True)]
        print(f"| {name} | {' | '.join(columns)} | {speed:.2f} |", flush=True)
    movie = [frame[: film[0].shape[0], : film[0].shape[1]]
             for frame in shown(paint_video(clip, net, folder / f"{clip.stem}-{model}.mp4", config))]  # fmt: skip
    gap = np.abs(np.mean(movie, (0, 1, 2)) - np.mean(film, (0, 1, 2))).max()
    print(f"\nH.264: means differ by {gap:.2f}/255, contrast {np.std(movie) / np.std(film):.3f} ×, "
          f"saturation {saturation(movie) / saturation(film):.3f} ×, of the means of 2 × 2 pixels, which "
          f"have one colour in a film, {saturation(movie, 0.5) / saturation(film, 0.5):.3f} ×")  # fmt: skip


def frames_of(clip: Path, begin: float, end: float, size: int) -> list[np.ndarray]:
    """The clip's own frames, at the film's size."""
    return [np.asarray(resize_pil(Image.fromarray(each.pixels()), size)) for each in open_clip(clip, begin, end)]


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
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--start", type=float, default=0.0, help="of the videos of the folder, seconds")
    parser.add_argument("--size", type=int, default=320)
    args = parser.parse_args()
    clips = [CLIP, *(sorted(args.videos.glob("*.mp4")) if args.videos else [])]
    print(machine(), f"{torch.get_num_threads()} threads")
    for each in clips:
        print(f"{each.name}: cuts at {cuts(each)}")
    with tempfile.TemporaryDirectory() as scratch:
        for each in clips:
            for name in args.models:
                report(each, name, args, Path(scratch))
