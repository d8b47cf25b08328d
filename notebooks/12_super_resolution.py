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
# # 12 · Super-resolution
#
# ![a face of a few large pixels, the same enlarged smoothly, and the original photograph](../data/openings/12.jpg)
#
# The left picture has 1,200 pixels, the right one sixteen times as many. **How much of the right one can be found from the left, and how
# much is a guess?**
#
# **You will learn** how a network enlarges a picture four times, what it does when it is asked for the pixels, what it does when it is
# asked for the features, and why the sharper picture gets the worse mark.
#
# About a minute and a half on two CPU cores · Previous: [11 · Moving pictures](11_video.ipynb) · Next: [13 · Large pictures](13_large_pictures.ipynb)

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
import copy
from functools import partial

import nstlib as nst
import torch
import torch.nn.functional as F
from nstlib import show
from matplotlib import pyplot as plt
from nstlib.painting.upscale import bicubic, enlarge_tensor, load_upscaler
from skimage import data as photographs
from torch import Tensor, nn

steps = 400 if torch.cuda.is_available() else 120  # of the training below
critic = nst.FeatureExtractor("compact", ("relu2_2", "relu3_2"))

# %% [markdown]
# The title of the paper behind notebooks 06 and 07 goes on: *Perceptual Losses for Real-Time Style Transfer **and
# Super-Resolution***. This is the second half. The question is the same as in notebook 06: what should the loss compare?
#
# ## One pixel becomes sixteen
#
# We take a photograph, make it four times smaller, and try to get the large one back. The simple way is **bicubic** resampling:
# every new pixel is a weighted mean of the 4×4 small pixels around it. No network, no training. It is what every image viewer does.


# %%
def small_and_large(name: str) -> tuple[Tensor, Tensor]:
    """A photograph, cut to a multiple of 4, and the same four times smaller, in 8 bits."""
    large = nst.load_image(name)
    large = large[..., : large.shape[-2] // 4 * 4, : large.shape[-1] // 4 * 4]
    return (bicubic(large, 1 / 4).clamp(0, 1) * 255).round() / 255, large


small, large = small_and_large("astronaut")
eyes = (..., slice(60, 180), slice(160, 320))  # rows and columns, in pixels of the large picture
nearest = F.interpolate(small, scale_factor=4, mode="nearest")
show(
    [nearest[eyes], bicubic(small).clamp(0, 1)[eyes], large[eyes]],
    ["the small picture", "bicubic", "the original"],
    height=240,
)

# %% [markdown]
# Bicubic enlargement is smooth. It adds no detail, because it knows nothing about faces, hair or letters. A network can learn
# from photographs which large picture usually belongs to a small one.
#
# ## The network
#
# It works at the *small* size, where a convolution costs a sixteenth. Its last convolution gives 48 channels for each small pixel,
# and 48 = 3 colours × 4 × 4 pixels. The **pixel shuffle** (Shi et al., 2016) lays them out as a picture. With numbers:

# %%
channels = torch.arange(16.0).view(1, 16, 1, 1)  # 16 channels, one pixel
print(F.pixel_shuffle(channels, 4)[0, 0].int())  # one channel, 4×4 pixels


# %% [markdown]
# Here is the whole network. The convolutions do not make the whole picture, only what bicubic enlargement *lacks*; the two are added.


# %%
class Enlarger(nn.Module):
    """(B, 3, H, W) to (B, 3, 4H, 4W)."""

    def __init__(self, width: int = 32, depth: int = 16):
        super().__init__()
        layers = []
        for inputs in (3, *[width] * depth):
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.PReLU(width)]
        self.body = nn.Sequential(*layers)
        self.tail = nn.Conv2d(width, 48, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        detail = F.pixel_shuffle(self.tail(self.body(image)), 4)  # (B, 3, 4H, 4W)
        return bicubic(image) + detail


for_pixels = load_upscaler("pixels")
ours = Enlarger()
ours.load_state_dict(for_pixels.state_dict())
with torch.no_grad():
    print(f"{sum(p.numel() for p in ours.parameters()):,} numbers")
    print(f"largest difference to the library's: {(ours(small) - for_pixels(small)).abs().max():.1e}")

# %% [markdown]
# The weights come from the library. They were trained for the **pixels**: the loss is the mean of $|x-y|$ over all pixels of the
# network's picture $x$ and the original $y$, and nothing else. `enlarge_tensor` runs the network twice: on the picture, and on the
# picture turned by 90°. It turns the second result back and takes the mean of the two, which is a little nearer to the original:

# %%
by_pixels = enlarge_tensor(for_pixels, small)
show(
    [bicubic(small).clamp(0, 1)[eyes], by_pixels[eyes], large[eyes]],
    ["bicubic", "trained for the pixels", "the original"],
    height=240,
)

# %% [markdown]
# Edges are sharper, and no step of optimisation was needed. But skin and hair are smooth, as if painted. Notebook 06 says why:
# many large pictures belong to one small picture. The network cannot know which of them you have in mind. The best bet for the
# pixels is the *mean* of all these pictures (strictly, for this loss, the median), and the mean of many hairs in different places is a
# smooth surface.
#
# ## Asked for the features
#
# Now we go on with the same network, on the same kind of photographs, and change only the loss. It compares features of the critic,
# $\lVert F-P\rVert^2/\lVert P\rVert^2$ at `relu2_2` and `relu3_2`, plus a tenth of the pixel loss, which keeps the colours.
# We show it crops of four photographs, and never the astronaut.

# %%
lessons = [nst.load_image(name) for name in ("cat", "coffee", "motorcycle")]
lessons += [nst.load_image(photographs.grass())]


def crops(count: int = 6, side: int = 96) -> Tensor:
    """Random crops of the lessons `(count, 3, side, side)`."""
    chosen = []
    for i in torch.randint(len(lessons), (count,)).tolist():
        y, x = (int(torch.randint(length - side, ())) for length in lessons[i].shape[-2:])
        chosen.append(lessons[i][..., y : y + side, x : x + side])
    return torch.cat(chosen)


def feature_loss(x: Tensor, y: Tensor) -> Tensor:
    """Johnson et al. 2016, equation 2, relative to the size of the features."""
    with torch.no_grad():
        wanted = critic(y)
    found = critic(x)
    return sum((found[n] - wanted[n]).square().sum() / wanted[n].square().sum() for n in wanted) / len(wanted)


def go_on(net: nn.Module, most: int = 1) -> nn.Module:
    """Train a copy of a network for the features; the critic sees pictures that are cut off by less than `most` pixels."""
    torch.manual_seed(0)
    student = copy.deepcopy(net).requires_grad_()
    optimiser = torch.optim.Adam(student.parameters(), lr=3e-4)
    for _ in range(steps):
        target = crops()
        picture = student(bicubic(target, 1 / 4))
        down, right = torch.randint(most, (2,)).tolist()
        loss = feature_loss(picture[..., down:, right:], target[..., down:, right:])
        loss = loss + 0.1 * (picture - target).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return student.requires_grad_(False)


student = go_on(for_pixels)

# %% [markdown]
# These steps are enough to see the direction. The library has a network that was trained for 3,000 steps, on two thousand
# photographs: `load_upscaler("perceptual")`. Its critic was VGG-19 itself, and it looked at `relu1_2` too, which sees every pixel.

# %%
for_features = load_upscaler("perceptual")
by_student, by_features = (enlarge_tensor(net, small) for net in (student, for_features))
show(
    [by_pixels[eyes], by_student[eyes], by_features[eyes], large[eyes]],
    ["for the pixels", f"+ {steps} steps for features", "for features, the library's", "the original"],
    columns=2,
    height=360,
)

# %% [markdown]
# Eyes, mouth and hair are hardly clearer. What has changed most is a **grid** over the second picture, with a period of four
# pixels. Its cause is the critic. It averages 2×2 pixels, twice, and cannot see some patterns with this period. The
# network paints in cells of 4×4 pixels, so it soon finds such a pattern. The cure is to cut 0 to 3 pixels off at the top and
# at the left, at random, before the critic looks: then its cells and the network's lie differently each time. The library trains
# like this (`nst train --objective perceptual`), and exercise 1 tries it. It weakens the grid and does not remove it: the network
# cannot know where the hairs are, and to the critic a regular pattern is a smaller error than a smooth surface. So each weight of the
# third network is a mean: 60 % of the network trained for features, 40 % of the one trained for pixels. A faint rest of the grid is
# left. `nst.enlarge` takes the network for the pixels unless you ask for `"perceptual"`.
#
# ## Two judges
#
# Which result is better? The usual measure is **PSNR**, $-10\log_{10}$ of the mean squared error, in decibels: higher is better. One
# has to say of what it was taken. Ours: the brightness $Y$ of ITU-R BT.601 with its range of 16 to 235, a border of 4 pixels left
# out. The second judge is the critic: the relative error of its features at `relu3_2`. Lower is better.


# %%
def luma(image: Tensor) -> Tensor:
    """Brightness Y (BT.601, 16 … 235) of RGB in [0, 1], as a share of 255."""
    weights = torch.tensor([65.481, 128.553, 24.966]).view(1, 3, 1, 1)
    return ((image * weights).sum(1) + 16) / 255


def psnr(x: Tensor, y: Tensor) -> float:
    """Of Y, without a border of 4 pixels; decibels."""
    difference = (luma(x) - luma(y))[..., 4:-4, 4:-4]
    return -10 * difference.square().mean().log10().item()


@torch.no_grad()
def error(x: Tensor, y: Tensor) -> float:
    """‖F − P‖² / ‖P‖² at relu3_2."""
    found, wanted = critic(x)["relu3_2"], critic(y)["relu3_2"]
    return ((found - wanted).square().sum() / wanted.square().sum()).item()


print(f"{'':12}{'PSNR of Y, dB':^30}{'error of features':^30}")
print(f"{'':12}" + 2 * f"{'bicubic':>10}{'pixels':>10}{'features':>10}")
for name in ("astronaut", "rocket"):
    low, high = small_and_large(name)
    results = [bicubic(low).clamp(0, 1), enlarge_tensor(for_pixels, low), enlarge_tensor(for_features, low)]
    marks = [f"{psnr(r, high):10.2f}" for r in results] + [f"{error(r, high):10.3f}" for r in results]
    print(f"{name:12}" + "".join(marks))

# %% [markdown]
# The two judges disagree. For PSNR the network that was trained for the pixels is the best; that is no surprise, since PSNR *is* a
# pixel loss. The critic prefers the other one. Here the differences are small: about 0.1 dB at most, and less than 0.01 of the error. In the
# paper the gap is wide: on its test set Set5 it has bicubic 28.43 dB, trained for pixels 28.40, trained for features 27.09, and the
# last is the sharpest. So a table of PSNR says which network is closest, and not which picture looks best.
#
# Here are more crops, one and a half times enlarged: fur, grass, and a rocket before the sky. Look at the grass: neither network
# brings its blades back, and the one for features has put its grid there.

# %%
places = {
    "cat": (slice(90, 190), slice(120, 280)),
    "grass": (slice(200, 300), slice(200, 360)),
    "rocket": (slice(180, 280), slice(280, 440)),
}
rows, titles = [], []
for name, box in places.items():
    low, high = small_and_large(photographs.grass() if name == "grass" else name)
    for title, result in {
        "bicubic": bicubic(low).clamp(0, 1),
        "pixels": enlarge_tensor(for_pixels, low),
        "features": enlarge_tensor(for_features, low),
        "original": high,
    }.items():
        rows.append(result[(..., *box)])
        titles.append(f"{name}, {title}")
show(rows, titles, columns=4, height=150)

# %% [markdown]
# ## What goes wrong: ringing and checkerboards
#
# Enlarge an edge between dark and bright. A resampling with negative weights overshoots: there is a darker line on the dark side and
# a brighter one on the bright side. That is **ringing**. And the pixel shuffle has its own fault: each of the 4×4 places in a
# cell is painted by other channels, so in a flat area they may disagree. That is a **checkerboard** with a period of 4 pixels.

# %%
edge = torch.full((1, 3, 24, 24), 0.25)
edge[..., 12:] = 0.75
figure, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
nets = {
    "bicubic": bicubic,
    "for the pixels": partial(enlarge_tensor, for_pixels),
    "for features, one pass": for_features,
    "for features, both": partial(enlarge_tensor, for_features),
}
sky = nst.load_image("rocket")[..., :40, :80]  # flat, and not yet seen by the networks at this size
for name, net in nets.items():
    with torch.no_grad():
        axes[0].plot(net(edge)[0, 1, 48, 36:60], label=name)
        large_sky = net(sky)[0].mean(0)  # (160, 320)
    phases = large_sky[16:-16, 16:-16].unflatten(0, (-1, 4)).unflatten(2, (-1, 4)).mean((0, 2))  # (4, 4)
    axes[1].plot(255 * (phases - phases.mean()).flatten(), ".-", label=name)
axes[0].set(title="across an edge", xlabel="pixel", ylabel="value")
axes[1].set(title="the 16 places of a cell, in a sky", xlabel="place", ylabel="difference from their mean, of 255")
axes[0].legend(frameon=False, loc="lower right")
plt.close(figure)
figure

# %% [markdown]
# Left: bicubic enlargement overshoots on both sides of the edge. The networks are much steeper, and overshoot more. Right (in the same
# colours): a flat line would be a picture without a grid. The unit is one of the 255 steps of an 8-bit picture. The network for the
# pixels has almost no grid, less than 0.2 steps. In one pass of the one for features a place differs by up to one step. Turned by 90° the
# grid is another one, so in the mean of both passes it is at most 0.4 steps. (One pass had three steps, which one sees in a smooth
# sky, before we corrected its last bias on forty blurred photographs.)
#
# ## What was not there
#
# An enlarged picture looks like a photograph, so it is easy to forget that fifteen of its sixteen pixels are guesses. With
# letters one can check the guess. Here is a printed page, made four times smaller, until the letters are about three pixels high.

# %%
low, high = small_and_large(photographs.page())
box = (..., slice(60, 130), slice(20, 230))
guesses = [bicubic(low).clamp(0, 1), enlarge_tensor(for_pixels, low), enlarge_tensor(for_features, low), high]
show([g[box] for g in guesses], ["bicubic", "for the pixels", "for features", "the original"], columns=2, height=150)

# %% [markdown]
# The networks draw strokes with clean edges, and most of them are not the strokes of a letter. A clean picture need not be right, and
# whoever reads it is more sure of a wrong letter.
#
# With a face it is the same, but nobody can check it. Eyes that come out of a blur are *likely* eyes, made from the photographs of
# the training. They are not the eyes of this person. **Never use an enlarged picture as evidence**: not for a number plate, not
# for a face, not in medicine.
#
# ## Your own pictures
#
# ```
# nst enlarge photo.jpg                          # four times as large: photo_x4.png
# nst enlarge holiday --scale 2                  # a folder, twice as large
# nst paint photo.jpg --model starry_night --size 1024 --enlarge
# ```
#
# The last line paints at 1024 pixels and enlarges the painting four times. The next cell does the same with a smaller painting,
# and shows a part of it at pixel size:

# %%
painted = nst.paint("cat", "starry_night", size=256)
poster = nst.enlarge(painted)
print(tuple(painted.shape), "→", tuple(poster.shape))
show(
    [large[..., 100:460, 260:660] for large in (bicubic(painted).clamp(0, 1), poster)],
    ["bicubic", "nst.enlarge"],
    height=360,
)

# %% [markdown]
# ## Exercises
#
# **1.** Train the student again, but let the critic see the pictures at every phase of its pooling. Is the grid gone?
#
# <details><summary>Solution</summary>
#
# `most=4` cuts off 0 to 3 pixels. The grid becomes weaker. Compare the background beside the hair.
#
# ```python
# cured = enlarge_tensor(go_on(for_pixels, most=4), small)
# show([by_student[eyes], cured[eyes]], ["in step", "at every phase"], height=360)
# ```
# </details>
#
# **2.** Most of what the networks learned from was shrunk by *bicubic* resampling. Predict: what happens when the small picture was made
# by taking every fourth pixel?
#
# <details><summary>Solution</summary>
#
# Such a picture is not smooth: thin lines are broken and edges are stairs. The networks take the stairs for detail and sharpen
# them.
#
# ```python
# picked = large[..., 2::4, 2::4]
# results = [enlarge_tensor(net, image)[eyes] for image in (picked, small) for net in (for_pixels, for_features)]
# titles = ["every 4th, pixels", "every 4th, features", "bicubic, pixels", "bicubic, features"]
# show(results, titles, columns=2, height=300)
# ```
# </details>
#
# **3.** Enlarge twice: 16 times as large. Predict: what will the second pass do with the guesses of the first?
#
# <details><summary>Solution</summary>
#
# The second pass takes the guesses of the first for a photograph, its faults too, and sharpens them. The result looks like paint.
#
# ```python
# tiny = bicubic(large, 1 / 16).clamp(0, 1)
# twice = enlarge_tensor(for_features, enlarge_tensor(for_features, tiny))
# show([bicubic(tiny, 16).clamp(0, 1), twice, large], ["bicubic", "twice four times", "the original"], height=300)
# ```
# </details>
#
# ## References
#
# - J. Johnson, A. Alahi, L. Fei-Fei: *Perceptual Losses for Real-Time Style Transfer and Super-Resolution*, ECCV 2016: section 4.2.
# - W. Shi et al.: *Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural Network*,
#   CVPR 2016: the pixel shuffle.
# - X. Wang et al.: *Real-ESRGAN*, ICCV Workshops 2021: the layout of the network, and why training pictures are spoiled in several ways.
# - A. Odena, V. Dumoulin, C. Olah: *Deconvolution and Checkerboard Artifacts*, Distill 2016.
# - Y. Blau, T. Michaeli: *The Perception-Distortion Tradeoff*, CVPR 2018: why the two judges must disagree.
#
# ---
#
# **Fifteen of sixteen pixels of an enlarged picture are guesses. Why not paint it large from the start?** For a poster the memory does not
# suffice. One can paint it in tiles, but simple tiles leave seams. The next notebook begins with them.
#
# Previous: [11 · Moving pictures](11_video.ipynb) · Next: [13 · Large pictures](13_large_pictures.ipynb)
