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
# # 04 · Gatys: painting by optimisation
#
# ![a rocket on its pad at night, and the same painted like The Starry Night](../data/openings/04.jpg)
#
# The network learns nothing here. Only the pixels of the left picture change, until it is the right one. **In which direction does each
# of them have to move?**
#
# **You will learn** the loop that paints, written out once; what the pyramid, the weights and the start do to the picture; and how Adam
# compares with the paper's L-BFGS.
#
# About 9 minutes on one CPU core · Previous: [03 · Style is a Gram matrix](03_style_is_a_gram_matrix.ipynb) · Next: [05 · The control desk](05_control_desk.ipynb)

# %% cellView="form" jupyter={"source_hidden": true}
# @title At home this cell does nothing. On Colab or Kaggle it installs the library from a zip.
import os
import sys

if "google.colab" in sys.modules or "KAGGLE_KERNEL_RUN_TYPE" in os.environ:
    if not os.path.exists("nstlib.zip"):
        sys.exit("Upload a zip of the repository as nstlib.zip beside this notebook, and run this cell again.")
    # %pip install -q nstlib.zip
    print("nstlib is installed")

# %% [markdown]
# All sizes and steps of this notebook are chosen here. With internet, change `backbone` to `"vgg19"`: that downloads the
# original network (550 MB) once, and each step takes about seven times as long on a CPU.

# %%
from dataclasses import replace

import nstlib as nst
import torch
from nstlib import show
from nstlib.critic.losses import relative
from nstlib.painting.stylize import pyramid
from nstlib.screen.diagram import one_step
from nstlib.screen.plots import curves
from nstlib.screen.plots import picture as stored
from torch import Tensor

gpu = torch.cuda.is_available()
backbone = "compact"  # or "vgg19"
size, steps = (384, 200) if gpu else (256, 60)
base = nst.GatysConfig(backbone=backbone, size=size, steps=steps)
portrait = replace(base, size=size * 3 // 2, style_weight=30)  # larger, and lighter than the default of 80

# %% [markdown]
# ## The objective
#
# We know how to measure content (notebook 02) and style (notebook 03). A good painting $x$ is one that makes their weighted sum
# small (Gatys et al. 2016, equation 7; total variation, from notebook 01, is our addition):
#
# $$\mathcal L(x)=\alpha\,\mathcal L_\text{content}(x)+\beta\,\mathcal L_\text{style}(x)+\gamma\,\mathrm{TV}(x)$$
#
# You have written all its parts: `content_loss` in notebook 02, `gram` and `style_loss` in notebook 03. (The library calls the
# distance in both of them `relative`: $\lVert a-b\rVert^2/\lVert b\rVert^2$.) Here they are put together. One thing is new: the
# Gram matrices are taken of the picture at full, half and quarter size. At a quarter the critic sees four times as far, and asks
# for the painting's large forms.
#
# We paint a portrait of Eileen Collins, the first woman to command a Space Shuttle, in the style of *The Starry Night* (Vincent van
# Gogh, 1889). A face is the hardest subject: we see at once when something in it is wrong. On the whole photograph her face is only a
# sixth of the width. At 256 pixels that is 45, and with the default style weight of 80 one of the painting's bright patches covers her
# mouth. So we cut out head and shoulders, paint larger, and take a style weight of 30.

# %%
photo = nst.load_image("astronaut")[..., :300, 80:380]  # head and shoulders
content = nst.resize(photo, portrait.size)
style = nst.load_image("starry_night", size=portrait.size)
show([content, style], ["Eileen Collins (photograph: NASA)", "The Starry Night"], height=256)

# %%
style_layers = ("relu1_1", "relu2_1", "relu3_1", "relu3_4")
critic = nst.FeatureExtractor("compact", (*style_layers, "relu3_2"))


def objective(x: Tensor, photo: Tensor, painting: Tensor, alpha: float = 1.0, beta: float = 80.0) -> Tensor:
    """Content at relu3_2, style at four layers and three scales, for pictures (1, 3, H, W)."""
    content = relative(critic(x)["relu3_2"], critic(photo)["relu3_2"])
    distances = []
    for scale in (1, 0.5, 0.25):
        small = [nst.resize(p, tuple(round(side * scale) for side in p.shape[-2:])) for p in (x, painting)]
        features, target = (critic(picture) for picture in small)
        distances += [relative(nst.gram(features[name]), nst.gram(target[name])) for name in style_layers]
    return alpha * content + beta * sum(distances) / len(distances)


# %% [markdown]
# `nst.PerceptualLoss` is the same sum. It computes the features of photograph and painting only once, and knows other layers,
# weights, masks and blends. Do the two agree?

# %%
loss = nst.PerceptualLoss(nst.GatysConfig(backbone="compact"))
loss.set_content(content)
loss.set_styles([style])
with torch.no_grad():
    test = nst.resize(style, content.shape[-2:])
    ours, library = objective(test, content, style).item(), loss(test)["total"].item()
print(f"ours {ours:.5f}, the library's {library:.5f}")
assert abs(ours - library) < 1e-3 * library

# %%
loss = nst.PerceptualLoss(portrait)
loss.set_content(content)
loss.set_styles([style])
with torch.no_grad():
    for name, picture in (("photograph", content), ("painting", nst.resize(style, content.shape[-2:]))):
        print(name, {key: round(value.item(), 4) for key, value in loss(picture).items()})

# %% [markdown]
# The photograph has content loss 0 and a large style loss. With the painting it is the other way round. (Its style loss is not quite 0,
# because here it is stretched to the square of the photograph.) We want both small.
#
# ## The loop
#
# Here is all of it. The *pixels* are the parameters; the network never changes. Each step asks in which direction every pixel
# should move to please the critic, and moves it a little.


# %%
def paint(loss: nst.PerceptualLoss, start: Tensor, steps: int, lr: float = 0.03):
    """Minimise the loss over the pixels of a picture (1, 3, H, W); returns it and the losses on the way."""
    image, history = start.clone().requires_grad_(), []
    optimiser = torch.optim.Adam([image], lr=lr, betas=(0.9, 0.99))
    for _ in range(steps):
        optimiser.zero_grad()
        losses = loss(image)
        losses["total"].backward()  # one gradient for every pixel
        optimiser.step()
        with torch.no_grad():
            image.clamp_(0, 1)  # stay a picture
        history.append({name: value.item() for name, value in losses.items()})
    return image.detach(), history


# %% [markdown]
# Here is one of these steps, the eleventh. Everything that you see in it was computed just now: three of the features, a part of a Gram
# matrix, the losses, and the gradient (grey is 0; it is drawn far larger than it is). At the start the picture is the photograph, and
# the two stacks of features are the same. In a perfect copy of the style, the two Gram matrices would be the same.

# %%
early, _ = paint(loss, content, steps=10)
one_step(loss, content, style, early)

# %%
painted, history = paint(loss, content, steps)
titles = ["Vincent van Gogh, The Starry Night", f"Eileen Collins, after {steps} steps"]
show([nst.load_image("starry_night"), painted], titles, height=384)

# %%
curves({name: [losses[name] for losses in history] for name in ("content", "style", "total")})

# %% [markdown]
# The content loss starts at 0 (which a logarithmic axis cannot show) and rises to almost 0.9, while the style loss falls to a hundredth.
# Then the content loss falls again, slowly. The total is the content loss and 30 times the style loss.
#
# `nst.GatysPainter` is this loop as a *stepper*. Each call of `step(n)` returns where it is, and the weights may be changed between
# steps. The sliders and the command line drive the same stepper. It looks after two accidents: if a loss is not a finite number, it
# goes back to the last good picture and halves the step; and if L-BFGS no longer gains anything, it goes on with Adam.

# %%
painter = nst.GatysPainter(content, [style], portrait, loss=loss)
state = painter.step(steps)
print("same picture as the loop above:", torch.allclose(state.image, painted, atol=1e-4))

# %% [markdown]
# ## The pyramid
#
# At one size the loop repaints the surface, and large shapes stay as they are. So begin with a picture whose long side is 96
# pixels, where a stroke is a sixth of the head, and enlarge the result step by step. The whole pyramid is a loop around the loop:

# %%
print("sizes:", *pyramid(portrait.size))
picture = photo
for side in pyramid(portrait.size):
    target = nst.resize(photo, side)
    loss.set_content(target)
    loss.set_styles([nst.resize(style, side)])
    picture, _ = paint(loss, nst.resize(picture, target.shape[-2:]), steps // 2)
    print(f"{side} pixels done")

# %% [markdown]
# `nst.stylize` is that, with any number of styles, with masks, colours and a progress bar. It also paints a mirrored margin around the
# picture and cuts it off at the end: the critic pads with zeros, and without the margin it would see a black frame. Left: one size only.
# Look at the background: with a pyramid the spots become long bands, and a moon stands in the corner.

# %%
one_size = nst.stylize(photo, "starry_night", replace(portrait, smallest=portrait.size))
library = nst.stylize(photo, "starry_night", replace(portrait, steps=steps // 2))
show([one_size, picture, library], ["one size", "our pyramid", "nst.stylize"], height=384)

# %% [markdown]
# ## From the paper's way to ours
#
# The paper starts from noise and paints at one size with L-BFGS. We start from the photograph, paint with Adam (below you see the two
# compared), begin small, and compare the Gram matrices at three scales. Here these changes are made one after the other, for a rocket on
# its pad. The upper row follows VGG-19 and the lower row our compact critic. VGG-19 goes only to its third block, for no deeper weights
# were at hand; the paper goes to the fifth. The sheet was painted once, by `data/experiments.py`, and is stored:

# %%
stored("sheets/paper.jpg", width=1220)

# %% [markdown]
# First column: the strokes are free, but the upper half of the bright rocket has become dark. Second and third: from the photograph the
# rocket keeps its light, and the two optimisers paint nearly the same. (On VGG-19, L-BFGS stalled after 80 of 120 steps, and Adam did the
# rest.) Fourth: the sky is painted in wide bands, and a moon has come to the corner. In each column the two critics paint much the same.
# They differ most in the fourth, where the compact one has put a dark cloud behind the tip.

# %% [markdown]
# ## What the weights do
#
# Across: more style. Down: more total variation. Since our losses are scale-free, a weight found here is a first guess at other
# sizes, and for training a fast network too. But the critic's patches stay the same number of pixels wide, and on a small picture they
# cover more of the face: at 160 pixels a weight of 100 paints far more boldly than at 256. A larger picture needs a larger weight for
# the same boldness.

# %%
tiny = replace(base, size=160, steps=steps // 2)
grid, labels = [], []
for style_weight in (1, 10, 100, 1000):
    for tv_weight in (0, 10):
        grid.append(nst.stylize(photo, "swirl", replace(tiny, style_weight=style_weight, tv_weight=tv_weight)))
        labels.append(f"style {style_weight}, tv {tv_weight}")
show(grid[::2] + grid[1::2], labels[::2] + labels[1::2], columns=4, height=170)

# %% [markdown]
# ## Where to start
#
# From the photograph the composition is there from the first step. From noise the painter is freer, and has to find
# the shapes first. With a pyramid all three find the face, and differ in where the swirls and colours are. (The style weight is 30, as
# for the portrait. With 80, one of the eyes turned into a swirl when the start was noise: the face is small here, and the critic's
# patches cover much of it.)

# %%
starts = ["content", "style", "noise"]
show(
    [nst.stylize(photo, "swirl", replace(base, init=i, style_weight=30)) for i in starts],
    ["from " + i for i in starts],
    height=256,
)

# %% [markdown]
# ## Adam against L-BFGS
#
# The paper uses L-BFGS, which learns the curvature of the loss from past gradients and takes long, well-aimed steps. Adam
# scales each pixel's step by its own recent gradients. L-BFGS may look at the picture more than once a step and keeps a history
# in memory; it can also stall, and then `GatysPainter` says so and goes on with Adam.

# %%
histories = {}
for name in ("adam", "lbfgs"):
    painter = nst.GatysPainter(content, [style], replace(portrait, optimiser=name), loss=loss)
    histories[name] = range(10, steps + 1, 10), [painter.step(10).losses["total"] for _ in range(steps // 10)]
curves(histories, "total loss")

# %% [markdown]
# Step for step L-BFGS is ahead on so short a run. We stay with Adam, which needs no history, never stalls, and goes on well when a
# weight changes on the way.

# %% [markdown]
# ## Keeping the colours
#
# `luminance` paints brightness only and keeps the photograph's colours. `mean` and `histogram` first dye the *painting* in the
# photograph's colours. `histogram` treats red, green and blue apart, so that mixtures may come out which the photograph does not have:
# here green and violet.

# %%
methods = ["none", "luminance", "mean", "histogram"]
dyed = [nst.stylize("coffee", "stained_glass", replace(base, preserve_colour=m)) for m in methods]
show(dyed, methods, columns=2, height=220)

# %% [markdown]
# ## Two styles at once
#
# Gram matrices can be averaged, or each can be given a part of the picture by a soft mask. (A mask multiplies the features, so a
# Gram matrix sees its square. The two masks are square roots, and their squares add up to one everywhere.) The average says how
# much there should be of each, not where: the painter puts each style where the photograph suits it.

# %%
right = torch.linspace(-1.5, 2.5, 96).clamp(0, 1).expand(1, 3, 64, 96)  # grey in the middle quarter
nst.save_image(right.sqrt(), "mask_right.png")
nst.save_image((1 - right).sqrt(), "mask_left.png")
blended = nst.stylize("rocket", ["swirl", "halftone"], replace(base, style_blend=(0.5, 0.5)))
masked = nst.stylize("rocket", ["swirl", "halftone"], replace(base, mask=("mask_left.png", "mask_right.png")))
show([blended, masked], ["half and half", "swirl left, halftone right"], height=230)

# %% [markdown]
# ## Deviations from the paper
#
# | Gatys et al. 2016 | here | why |
# |---|---|---|
# | VGG-19, style up to conv5_1 | the compact critic, style up to relu3_4 | runs anywhere |
# | content at conv4_2 | at relu3_2 | we have three blocks only |
# | one size | a pyramid | large strokes; makes up for much of the depth |
# | Gram matrices of the picture as it is | of the picture at full, half and quarter size | large forms; the critic sees four times as far |
# | sums of squares | divided by the target's own | one weight means the same everywhere |
# | noise start | content start | keeps faces with fewer steps |
# | L-BFGS | Adam | less memory, never stalls |
# | pixels of any value | from 0 to 1 | stays a picture |
# | – | total variation | keeps speckle away, if asked |
#
# `nst.GatysConfig(**nst.PRESETS["gatys2016"])` gives settings with the paper's own layers, formulas and weights (it needs
# VGG-19); in a terminal that is `--preset gatys2016`.
#
# ## Exercises
#
# **1.** Change the weight while the painting runs: 40 steps with style weight 1000, then more with 1. Predict first: is the face back after
# 40 steps? And what comes back sooner, its lines or its colours?
#
# <details><summary>Solution</summary>
#
# After 40 steps hardly anything has changed: Adam divides each gradient by the mean size of about the last hundred, and with weight 1000
# those were far larger. After 200 steps the lines of the face are back. The colours are slower, and most of the blue stays.
#
# ```python
# small = nst.resize(content, 256)
# painter = nst.GatysPainter(small, [nst.resize(style, 256)], replace(portrait, style_weight=1000), loss=loss)
# wild = painter.step(40).image
# painter.configure(style_weight=1)
# tamed = [painter.step(n).image for n in (40, 160)]
# show([wild, *tamed], ["wild", "40 steps later", "200 steps later"], height=256)
# ```
# </details>
#
# **2.** Begin with the answer: paint the cat in the style of the cat. What will Adam do? And what will it do if the start has a little
# noise? Predict both, then run.
#
# <details><summary>Solution</summary>
#
# At the answer every gradient is exactly 0, and nothing moves. With a little noise the first step makes the loss several hundred times
# *larger*: Adam divides each gradient by its own size, so that the first step is as long for a tiny gradient as for a large one. Then the
# loss falls again.
#
# ```python
# cat = nst.load_image("cat", 128)
# for noise in (0, 0.01):
#     start = (cat + noise * torch.randn_like(cat)).clamp(0, 1)
#     painter = nst.GatysPainter(cat, [cat], replace(base, size=128), image=start)
#     print(noise, *[f"{painter.step(n).losses['total']:.4f}" for n in (1, 1, 8, 50)])
# ```
# </details>
#
# ## Reference
#
# L. A. Gatys, A. S. Ecker, M. Bethge: *Image Style Transfer Using Convolutional Neural Networks*, CVPR 2016, section 2.3,
# equation 7. Masks: L. A. Gatys et al.: *Controlling Perceptual Factors in Neural Style Transfer*, CVPR 2017, section 4.
#
# ---
#
# **The weights may change between two steps. What happens if you pull a slider while the picture is being painted?** Try it at the desk.
#
# Previous: [03 · Style is a Gram matrix](03_style_is_a_gram_matrix.ipynb) · Next: [05 · The control desk](05_control_desk.ipynb)
