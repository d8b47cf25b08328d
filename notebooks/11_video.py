# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: tags,jupyter,cellView,-all
#     formats: ipynb,py:percent
#     notebook_metadata_filter: kernelspec,jupytext,-jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 11 · Moving pictures
#
# ![two painted films side by side: the left flickers, the right is calm](../data/openings/flicker.webp)
#
# The same network painted both films. **Why does the left one flicker, and what was done to the right one?**
#
# **You will learn** how to see and measure flicker; how the motion between two frames is found, and where it cannot be found; how the
# last painting is carried along; and why colours of films so often look washed out.
#
# Two minutes on two CPU cores · Previous: [10 · The compact critic](10_the_compact_critic.ipynb) · Next: [12 · Super-resolution](12_super_resolution.ipynb)

# %% cellView="form" jupyter={"source_hidden": true}
# @title At home this cell does nothing. On Colab or Kaggle it installs the library from a zip.
import os
import sys

if "google.colab" in sys.modules or "KAGGLE_KERNEL_RUN_TYPE" in os.environ:
    if not os.path.exists("nstlib.zip"):
        sys.exit("Upload a zip of the repository as nstlib.zip beside this notebook, and run this cell again.")
    # %pip install -q nstlib.zip
    print("nstlib is installed")

# %%
# Films need two more packages there.
if "google.colab" in sys.modules or "KAGGLE_KERNEL_RUN_TYPE" in os.environ:
    # %pip install -q "av>=15.1" "opencv-python-headless>=4.10"
    print("av and OpenCV are installed")

# %%
import base64
import tempfile
from itertools import pairwise
from pathlib import Path

import nstlib as nst
import cv2
import numpy as np
from IPython.display import HTML
from matplotlib import pyplot as plt
from nstlib.painting.flow import ends, motion, optical_flow, warp
from nstlib.pictures.clips import open_clip
from PIL import Image

size, model = 256, "starry_night"
folder = Path(tempfile.mkdtemp())

# %% [markdown]
# ## A clip
#
# It is made from scikit-image's photographs (`data/clip.py`): a camera that pans and comes closer, a cat's face that flies by, and after
# two seconds a cut. Each frame has the noise of a camera, one grey level of 255. `open_clip` reads any video, animated GIF or WebP,
# or folder of frames, and has one frame in memory at a time. To paint your own, change the name here.

# %%
clip = open_clip(Path(nst.__file__).parent / "figures" / "clips" / "coffee.mp4")
height = round(size * clip.size[0] / clip.size[1])
frames = [np.asarray(Image.fromarray(f.pixels()).resize((size, height), Image.Resampling.LANCZOS)) for f in clip]
print(f"{len(frames)} frames, {float(clip.rate):g} a second, {clip.size[1]}×{clip.size[0]}")
nst.show([Image.fromarray(frames[i]) for i in (0, 24, 49, 50, 62, 74)], columns=3, height=150)

# %% [markdown]
# ## Frame by frame
#
# This is the simplest way: each frame is a picture, and a network paints pictures. `carry=0` switches off everything that this notebook
# adds later.

# %%
count = 24  # frames, of which films are made here
config = dict(size=size, end=float(count / clip.rate))


def film(name: str, **remedies) -> list[np.ndarray]:
    """The first frames, painted with these settings."""
    path = nst.paint_video(clip.path, model, folder / name, nst.VideoConfig(**config, **remedies))
    return [frame.pixels() for frame in open_clip(path)]


single = film("single", carry=0.0)
nst.show([Image.fromarray(single[i]) for i in (10, 11, 12)], columns=3, height=160)

# %% [markdown]
# Each of the three is a good painting. Played one after the other they flicker: strokes come and go. A single picture cannot show that,
# but a *slice* can: take one column of pixels out of each frame, and put the columns side by side. Time runs to the right. What moves
# smoothly leaves smooth lines. What flickers changes from column to column: look at the yellow.


# %%
def slice_through_time(film: list[np.ndarray], column: int) -> Image.Image:
    """One column of every frame, each ten pixels wide."""
    return Image.fromarray(np.stack([frame[:, column] for frame in film], axis=1).repeat(10, axis=1))


nst.show(
    [slice_through_time(frames[:count], 150), slice_through_time(single, 150)],
    ["the clip", "frame by frame"],
    height=308,
)

# %% [markdown]
# Where does it come from? Where the photograph changes a little, a stroke may appear or vanish. Two things change from frame to frame:
# the noise, and where everything lies. First the noise alone:

# %%
noise = np.random.default_rng(0).normal(0, 2, (2, *frames[0].shape))
noisy = [np.clip(frames[0] + each, 0, 255).round().astype(np.uint8) for each in noise]
a, b = (nst.paint(each, model)[0] * 255 for each in noisy)
print(f"noise of 2/255 in the clip becomes {float((a - b).std()) / 2**0.5:.1f}/255 in the painting")

# %% [markdown]
# That is little more than the clip has: this network was trained to stay calm when there is noise. So motion does more. The network
# works in cells of 4 × 4 pixels (notebook 07). Without any noise, a shift of the photograph by exactly one pixel changes the
# painting by 4/255 (RMS).
#
# ## Where did every pixel go?
#
# If the painting of the last frame is to be used again, it must be moved as the clip moved. *Optical flow* says for every pixel of this
# frame where it lies in the last: a vector field $w(x)$ with $I_t(x)\approx I_{t-1}(x+w(x))$. OpenCV's DIS (Kroeger et al. 2016) finds
# it in some ten milliseconds, from the *clip* and not from the painting.

# %%
here, last = frames[12], frames[11]
flow = optical_flow(here, last)
arrows = cv2.resize(here, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
for y, x in np.ndindex(height // 12, size // 12):
    foot = np.array([12 * x + 8, 12 * y + 8])
    tip = foot + 4 * flow[foot[1], foot[0]]  # four times as long as the motion
    cv2.arrowedLine(
        arrows, *((4 * point).round().astype(int).tolist() for point in (foot, tip)), (255, 255, 255), 2, 16
    )
nst.show([Image.fromarray(arrows)], ["where each pixel came from"], height=320)

# %% [markdown]
# The camera's pan and zoom are there, and the face flies the other way. Now the flow *warps* the last frame onto this one. But some
# things cannot be found in it: what was hidden behind the face, and what was outside of the picture. A flow there is a guess. Three
# tests find such places:
#
# - go to the last frame with $w$ and back with the flow in the other direction, $\hat w$. A pixel that does not return to where it
#   began was hidden. (After Sundaram et al. 2010: $\lVert w+\hat w(x+w)\rVert^2>0.01(\lVert w\rVert^2+\lVert\hat w\rVert^2)+1$; they
#   have 0.5 at the end.)
# - $x+w$ must lie inside the picture.
# - the colours must match: $\lvert I_t(x)-I_{t-1}(x+w)\rvert$ of at most 20/255.


# %%
def trusted(here: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Where the flow from this frame to the last can be trusted, (H, W) of bool."""
    flow, home = optical_flow(here, last), optical_flow(last, here)
    back = warp(home, flow, sharp=False)
    length = np.square(flow).sum(-1) + np.square(back).sum(-1)
    comes_home = np.square(flow + back).sum(-1) <= 0.01 * length + 1.0
    x, y = np.moveaxis(ends(flow), -1, 0)
    inside = (x >= -0.5) & (x <= x.shape[1] - 0.5) & (y >= -0.5) & (y <= y.shape[0] - 0.5)
    same_colour = np.abs(here.astype(np.float32) - warp(last, flow, sharp=False)).mean(-1) <= 20
    return comes_home & inside & same_colour


mask = trusted(here, last)
masked = np.where(mask[..., None], here, (255, 0, 80)).astype(np.uint8)
print(f"{mask.mean():.0%} of the pixels can be trusted; over the cut, {trusted(frames[50], frames[49]).mean():.0%}")
nst.show([Image.fromarray(here), Image.fromarray(masked)], ["a frame", "red: no use"], height=190)

# %% [markdown]
# Over the cut nothing is left, and that is how cuts are found: less than 15 % to be trusted, and less than 60 % of matching colours.

# %%
trust = [motion(b, a) for a, b in pairwise(frames)]
cuts = [i + 1 for i, (_, _, cut) in enumerate(trust) if cut]
plt.figure(figsize=(9, 2.4))
plt.plot(range(1, len(frames)), [m.mean() for _, m, _ in trust])
plt.axhline(0.15, color="grey", lw=0.8)
plt.gca().set(xlabel="frame", ylabel="share trusted", ylim=(0, 1), title=f"a cut before frame {cuts}")
plt.show()

# %% [markdown]
# ## The last painting, carried along
#
# Let $p_t$ be frame $t$ painted alone. The film shows
#
# $$x_t = p_t + c\,m_t\,\bigl(W(x_{t-1}) - p_t\bigr),$$
#
# with the warp $W$, the mask $m_t$, and $c=0.98$: where the flow can be trusted, 98 % stays, and 2 % is new. Each remedy is
# a switch, so that we can see what it gains. The measure is Lai et al.'s *warping error* (2018): the difference between a frame and the
# last one, moved along the flow of the clip, where that can be trusted; "over 8" is the same against the frame eight earlier. Beside it
# stands how sharp the film is, against frame by frame, because a blurred film would not flicker either.


# %%
def errors(film: list[np.ndarray], gap: int = 1) -> list[float]:
    """Of each frame: mean squared difference to the one `gap` earlier, led along; of [0, 1]."""
    found = []
    for i in range(gap, len(film)):
        flow, mask, _ = motion(frames[i], frames[i - gap])
        difference = (film[i] - warp(film[i - gap].astype(np.float32), flow)) / 255
        found.append(np.square(difference)[mask > 0.5].mean())
    return found


def warping_error(film: list[np.ndarray], gap: int = 1) -> float:
    return float(np.sqrt(np.mean(errors(film, gap))))


def sharpness(film: list[np.ndarray]) -> float:
    """Mean absolute Laplacian of the brightness."""
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32) for frame in film]
    return float(np.mean([np.abs(cv2.Laplacian(each, cv2.CV_32F)).mean() for each in grey]))


films = {
    "frame by frame": single,
    "carried everywhere, linear": film("everywhere", mask=False, sharp=False),
    "only where trusted": film("masked", sharp=False),
    "and kept sharp": film("sharp"),
}
print(f"{'':28} error   over 8   sharpness")
print(f"{'the clip itself':28} {warping_error(frames[:count]):.4f}  {warping_error(frames[:count], 8):.4f}")
for name, each in films.items():
    print(
        f"{name:28} {warping_error(each):.4f}  {warping_error(each, 8):.4f}   {sharpness(each) / sharpness(single):.2f}"
    )

# %%
nst.show([slice_through_time(each, 150) for each in films.values()], list(films), columns=2, height=240)

# %% [markdown]
# From frame to frame the error falls to a fifth of what it was, and over eight frames to 0.6. (The clip itself has an error of 0.013: its
# noise is new in every frame, and a carried painting has less of it.) But the flow that judges here has also made the film, so what it
# gets wrong does not count. We made the clip, so we know its true motion. Judged by that, a film of 320 pixels has 0.28 of
# the error of its single frames, and 0.54 over eight frames (`tests/benchmarks/video_quality.py`).
#
# In the slices, look once more at the yellow of the last three: it is smoother than in the first. Below are the last frames of the four
# films. Look at the second: without the mask, the face leaves a trail. The third is soft, for linear interpolation takes the mean of
# neighbours, and after 23 frames it has done so 23 times. The fourth uses Lanczos' kernel, which looks at eight pixels in each direction,
# some of them with a minus sign, so that less is lost. And what is still lost is given back: fine detail, the picture less a blurred copy
# of it, is made as strong as in $p_t$ (`as_sharp`).

# %%
nst.show([Image.fromarray(each[-1]) for each in films.values()], list(films), columns=2, height=190)

# %% [markdown]
# The error of each frame, along time. The first frame is painted alone, and is sharp; the two soft films need some six frames to settle:

# %%
plt.figure(figsize=(9, 2.8))
for name, each in {"the clip itself": frames[:count], **films}.items():
    plt.plot(range(1, len(each)), np.sqrt(errors(each)), label=name)
plt.gca().set(xlabel="frame", ylabel="warping error", ylim=(0, None))
plt.legend(frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))
plt.show()

# %% [markdown]
# ## Washed-out colours
#
# Videos do not store red, green and blue, but brightness $Y$ and two differences of colour, the latter once for 2 × 2 pixels. Two
# things must be known to show them: the *matrix* (BT.601 of old television, BT.709 of today's), and the *range*: films use 16 to 235 for
# black to white, pictures 0 to 255. If the file does not say which was used, the player has to guess. This is what a wrong guess does:

# %%
import av

painted = films["and kept sharp"][-1]
BT601, BT709, FILM, FULL = 5, 1, 1, 2  # FFmpeg's numbers
# bicubic, chroma at full size, rounded
stored = av.VideoFrame.from_ndarray(painted, format="rgb24").reformat(
    format="yuv420p",
    src_colorspace=BT709,
    dst_colorspace=BT709,
    src_color_range=FULL,
    dst_color_range=FILM,
    interpolation=0x42004,
)


def seen(matrix: int, read_as: int) -> np.ndarray:
    """The stored frame as a player shows it that guesses this matrix and range."""
    options = dict(src_colorspace=matrix, dst_colorspace=BT709, src_color_range=read_as, dst_color_range=FULL)
    return stored.reformat(format="rgb24", interpolation=0x42004, **options).to_ndarray()


guesses = {
    "as written": seen(BT709, FILM),
    "range guessed wrong": seen(BT709, FULL),
    "matrix guessed wrong": seen(BT601, FILM),
}
for name, image in guesses.items():
    shift, contrast = (image.mean((0, 1)) - painted.mean((0, 1))).round(1), image.std() / painted.std()
    print(f"{name:22} shift of red, green, blue {shift}, contrast {contrast:.2f}")
nst.show([Image.fromarray(image) for image in guesses.values()], list(guesses), columns=3, height=150)

# %% [markdown]
# The middle one is the common fault: black has turned grey, white too, and a seventh of the contrast is gone. `paint_video` converts
# with BT.709 and the film's range, *and writes both into the file*. It also tells FFmpeg to round exactly: with its fast settings every
# channel comes out about one level darker.
#
# ## The film
#
# All three seconds, over the cut, at ten frames a second. The same line makes an `.mp4` from a video, with its sound, copied packet by packet:

# %%
path = nst.paint_video(clip.path, model, folder / "film.webp", nst.VideoConfig(size=200, fps=10))
print(f"{path.stat().st_size // 1000} KB")
HTML(f'<img alt="the painted film" src="data:image/webp;base64,{base64.b64encode(path.read_bytes()).decode()}">')

# %% [markdown]
# In a terminal:
#
# ```
# nst paint holiday.mp4 --model great_wave --from 0:05 --to 0:12 --size 640
# nst stylize holiday.mp4 --style swirl --size 320
# ```
#
# Every finished frame is kept beside the film. A run that was killed, or stopped with Ctrl-C, goes on where it was when the same command
# is given again.
#
# ## By optimisation
#
# `stylize_video` does without a network (Ruder, Dosovitskiy & Brox 2016). Each frame begins with the last painting, moved along the flow,
# and the objective of notebook 04 gets one more term, $\lambda\sum m_t\,(x-W(x_{t-1}))^2$. This start is close to the result, so a fifth
# of the steps is enough. Here are three frames:

# %%
gatys = nst.GatysConfig(backbone="compact", steps=50)
optimised = [
    frame.pixels()
    for frame in open_clip(
        nst.stylize_video(clip.path, "swirl", folder / "gatys", gatys, nst.VideoConfig(size=160, end=0.12))
    )
]
nst.show([Image.fromarray(frame) for frame in optimised[:3]], columns=3, height=150)

# %% [markdown]
# ## Exercises
#
# **1.** What does a larger `carry` give, and what does it cost? Predict first, then try 0.5 and 0.9.
#
# <details><summary>Solution</summary>
#
# The more is carried, the steadier the film. But errors of flow and interpolation stay longer too, and so do strokes that belong to
# something that has changed.
#
# ```python
# for carry in (0.5, 0.9):
#     each = film(f"carry{round(100 * carry)}", carry=carry)
#     print(carry, f"{warping_error(each):.4f}", f"{warping_error(each, 8):.4f}", f"{sharpness(each) / sharpness(single):.2f}")
# ```
# </details>
#
# **2.** Why is the flow taken from the clip and not from the painting?
#
# <details><summary>Solution</summary>
#
# The painting flickers, and flow would explain its flicker as motion. The clip is what really moved.
# </details>
#
# ## References
#
# - M. Ruder, A. Dosovitskiy, T. Brox: *Artistic Style Transfer for Videos*, GCPR 2016; equations 5 to 7.
# - T. Kroeger, R. Timofte, D. Dai, L. Van Gool: *Fast Optical Flow using Dense Inverse Search*, ECCV 2016.
# - W.-S. Lai, J.-B. Huang, O. Wang, E. Shechtman, E. Yumer, M.-H. Yang: *Learning Blind Video Temporal Consistency*, ECCV 2018.
# - N. Sundaram, T. Brox, K. Keutzer: *Dense Point Trajectories by GPU-Accelerated Large Displacement Optical Flow*, ECCV 2010.
#
# ---
#
# **Often one wants a film or a print larger than it was painted. Can a network add the pixels that are missing? And are they right?**
#
# Previous: [10 · The compact critic](10_the_compact_critic.ipynb) · Next: [12 · Super-resolution](12_super_resolution.ipynb)
