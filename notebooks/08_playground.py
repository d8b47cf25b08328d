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
# # 08 · The playground
#
# ![a cup of coffee, whose style changes slowly from The Starry Night to stained glass, to ink, and back](../data/openings/walk.webp)
#
# One photograph, one network, and a walk through three of its nine styles. **Where does a network keep a style, if it can be half one
# and half another?**
#
# **You will learn** how one network can hold nine styles, how they mix, how strength becomes a slider, and how to teach the network a
# style of your own in a minute, without making it forget the others.
#
# About 2 minutes on one CPU core, and as long as you like at the desk · Previous: [07 · Training a fast network](07_training_a_fast_network.ipynb) · Next: [09 · Experiments](09_experiments.ipynb)

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
import statistics
import tempfile
import time
from pathlib import Path

import nstlib as nst
import torch
from nstlib import Playground, show
from nstlib.screen.plots import picture
from torch import Tensor

gpu = torch.cuda.is_available()
size, steps = (768, 1500) if gpu else (448, 200)

# %% [markdown]
# ## The desk first
#
# This is a picture of the desk. (A desk that works needs a running notebook, so on the repository's web page you see no more than
# this.)

# %%
picture("desks/playground.jpg")

# %% [markdown]
# Run the cell below, and move something:
#
# - **strength** goes from the photograph to the full style; **stroke size** makes the strokes larger.
# - **styles**: each has a share. Pull up two or three, and they mix.
# - **from one to another** walks between two styles.
# - **before | after** wipes the photograph over the painting.
# - **keep colours** paints with the strokes of the style and the colours of the photograph.
# - **polish** finishes the picture by a few steps of optimisation (notebook 04). It takes seconds.
#
# While a slider moves, the picture is painted small; when it has rested for a moment, at full size.

# %%
desk = Playground("studio", content="cat")
desk

# %% [markdown]
# Nothing is optimised here. Each move of a slider is one small pass through a network, and when it rests, two at full size (the
# *cycle spinning* of notebook 07). How long does that take?

# %%
for pixels in (desk.quick, desk.size):
    times = []
    for _ in range(15):
        start = time.perf_counter()
        desk.paint(pixels)  # what a slider calls: the first as it moves, the second when it rests
        times.append(1000 * (time.perf_counter() - start))
    height, width = desk.image.shape[-2:]
    print(f"{width} × {height}: {statistics.median(times):.0f} ms")

# %% [markdown]
# ## Nine styles, one network
#
# The network of notebook 07 learned one painting, with all its weights. Dumoulin, Shlens & Kudlur (2017) found
# that most weights can serve every style. The convolutions learn what all styles share, such as finding edges and painting strokes. Then
# two numbers a channel are enough for a style $s$, a scale $\gamma_s$ and a shift $\beta_s$ after each instance norm (their equation 5; these are
# not the weights $\beta$ and $\gamma$ of notebook 04):
#
# $$z=\gamma_s\,\frac{x-\mu(x)}{\sigma(x)}+\beta_s$$
#
# Each channel $x$ of each picture is first brought to mean 0 and deviation 1 ($\mu$ and $\sigma$ are what it had before). Then
# $\gamma$ and $\beta$ say how strong each channel is, and so which strokes are painted. To mix styles, we mix these numbers:


# %%
def conditional_instance_norm(x: Tensor, gamma: Tensor, beta: Tensor, mix: Tensor) -> Tensor:
    """Channels x (B, C, H, W), normalised, then scaled and shifted by the shares mix (B, S) of S styles' γ, β (S, C)."""
    mean, variance = x.mean((2, 3), keepdim=True), x.var((2, 3), keepdim=True, unbiased=False)
    gamma, beta = (mix @ gamma)[..., None, None], (mix @ beta)[..., None, None]  # (B, C, 1, 1)
    return gamma * (x - mean) / (variance + 1e-5).sqrt() + beta


# %% [markdown]
# `TransformerNet(TransformerConfig(styles=…))` is the network of notebook 07 with this norm, and with one more number a style,
# `skip_share`: the share of the photograph itself that is added at the end. How much of all that belongs to a single style?

# %%
net = nst.load_transformer("studio")
names = net.config.styles
rows = {name: p for name, p in net.named_parameters() if ".norm." in name or name == "skip_share"}
everything, own = sum(p.numel() for p in net.parameters()), sum(p[0].numel() for p in rows.values())
print(f"{everything:,} numbers in all; {own:,} for each of {len(names)} styles: {own / everything:.1%}")

# %% [markdown]
# So a style is a short list of numbers. Must one train to find it? Ghiasi et al. (2017) let a second network look at a painting and
# *predict* its $\gamma$ and $\beta$: then any painting is a style, at once. That network learned from 80,000 paintings, so nstlib has
# none. AdaIN (Huang & Belongie 2017) takes another way: $\gamma$ and $\beta$ are the deviation $\sigma$ and the mean $\mu$ of the
# painting's own features, and a second network turns the changed features into a picture. Here each style was trained.
#
# Here are all nine. We cut out head and shoulders, as in notebook 04: where a face is small, a stroke is as large as an eye.

# %%
photo = nst.resize(nst.load_image("astronaut")[..., :300, 80:380], (size, size))
show([nst.paint(photo, net, styles=name) for name in names], names, columns=3, height=240)

# %% [markdown]
# ## Strength
#
# In notebook 05 a slider changed the style weight. A network has its style weight from the training, and nobody wants to train
# again for a little less style. Babaeizadeh & Ghiasi (2018) draw the style weight at random in each step of training, and give it to
# the network as an input. Ours gets it through $\gamma$ and $\beta$: beside the nine styles there is a row for *the photograph itself*,
# and strength is the place on the straight line from there to the style. In training each picture has a random style and a random strength:
# its style loss is multiplied by it, and the weaker the style, the more it costs to differ from the photograph's pixels (that is our
# addition; the paper has only the first).

# %%
coffee, strengths = nst.load_image("coffee", size), (0.0, 0.25, 0.5, 0.75, 1.0)
painted = [nst.paint(coffee, net, styles="starry_night", strength=s) for s in strengths]
show(painted, [f"strength {s}" for s in strengths], columns=3, height=190)

# %% [markdown]
# Does more strength give more style? The critic can measure it, here for `swirl`:

# %%
loss = nst.PerceptualLoss(nst.LossConfig(backbone="compact"))
loss.set_content(coffee)
loss.set_styles([nst.load_image("swirl", size)])
with torch.no_grad():
    for s in strengths:
        losses = loss(nst.paint(coffee, net, styles="swirl", strength=s))
        print(f"strength {s:4}:  style loss {losses['style']:.3f}, content loss {losses['content']:.3f}")

# %% [markdown]
# It does: from line to line the style loss falls and the content loss rises.
#
# ## A map of styles
#
# A mix of $\gamma$ and $\beta$ is not two half transparent paintings, one laid over the other. It is one painting, whose strokes are
# between the two styles. Left the mean of two paintings, pixel by pixel; right one painting with the mean of the two rows:

# %%
two = [nst.paint("cat", net, size, styles=name) for name in ("ink", "stained_glass")]
half = nst.paint("cat", net, size, styles={"ink": 0.5, "stained_glass": 0.5})
show([(two[0] + two[1]) / 2, half], ["crossfade of pixels", "mix of γ and β"], height=260)

# %% [markdown]
# And here is a walk from one style to the other:

# %%
ways = [i / 5 for i in range(6)]
walk = [nst.paint("cat", net, 256, styles={"ink": 1 - w, "stained_glass": w}) for w in ways]
show(walk, [f"{100 - 100 * w:.0f} : {100 * w:.0f}" for w in ways], columns=3, height=170)

# %% [markdown]
# The colours of the glass come late, in the last two steps. And here is a square with a style in each corner: watercolour and starry
# night above, woodblock and halftone below. Between them lie styles for which there is no painting:

# %%
corners = ("watercolour", "starry_night", "woodblock", "halftone")  # top left, top right, bottom left, bottom right
grid = []
for y in [i / 4 for i in range(5)]:
    for x in [i / 4 for i in range(5)]:
        shares = ((1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y)
        grid.append(nst.paint("rocket", net, 240, styles=dict(zip(corners, shares, strict=True))))
show(grid, columns=5, height=100)

# %% [markdown]
# ## Keep the colours
#
# One can take the strokes of the style and the colours of the photograph: by luminance, by mean and spread, or by histogram
# (notebook 01). A network cannot change the painting that it has learned, so the finished picture is recoloured. Luminance takes
# the colour of each pixel from the photograph, and only its brightness from the painting. The mean gives nearly the photograph's
# colours. The histogram treats red, green and blue apart, and much of the style's colour stays.

# %%
ways = ("none", "luminance", "mean", "histogram")
show([nst.paint(coffee, net, styles="stained_glass", preserve_colour=way) for way in ways], ways, columns=2, height=200)

# %% [markdown]
# ## A tenth style, and it is yours
#
# Since the convolutions serve all styles, a new style needs only a row of $\gamma$ and $\beta$. `extend` trains that and nothing else:
# it takes a minute or two, and the nine others stay as they are, to the last bit. Let us take a painting as different
# from the nine as can be, Wassily Kandinsky's *Composition VII* (1913). Your own drawing would do as well: write its path.

# %%
work = Path(tempfile.mkdtemp())
(work / "photos").mkdir()
for name in ("astronaut", "cat", "coffee", "rocket"):
    nst.save_image(nst.load_image(name, 320), work / "photos" / f"{name}.jpg")

config = nst.TrainConfig(
    dataset=work / "photos",
    style="composition_vii",
    extend="studio",
    save_model=work / "ten.safetensors",
    steps=steps,
    lr=1e-2,
    style_weight=40,  # bolder than the others
    image_size=128,
    workers=0,
)
ten = nst.train(config)

# %%
pictures = [nst.paint(name, ten, size, styles="composition_vii") for name in ("cat", "coffee")]
show([nst.load_image("composition_vii", size), *pictures], ["Kandinsky, 1913", "the cat", "the coffee"], height=230)

# %%
both = nst.paint("cat", net, size, styles="swirl"), nst.paint("cat", ten, size, styles="swirl")
print("swirl is as it was, to the last bit:", torch.equal(*both))

# %% [markdown]
# The colours are Kandinsky's, the shapes are not: four photographs and one minute are little. In a terminal, the first of these
# commands trains longer, on 5,000 photographs, and the second paints with the result:
#
# ```
# nst train --dataset photos/val2017 --extend studio --style my_painting.jpg --save-model ten.safetensors
# nst paint holiday.jpg --model ten.safetensors --style my_painting:0.7,ink:0.3 --strength 0.6
# ```
#
# ## Exercises
#
# **1.** `net.blend("swirl")` is the row of shares that goes into the network. What lies *beyond* strength 1? Predict, then run.
#
# <details><summary>Solution</summary>
#
# The straight line goes on, and γ and β leave the range they were trained in. At 1.3 the same strokes are bolder; at 1.6 colours
# glare, and dark and light begin to change places.
#
# ```python
# with torch.no_grad():
#     more = [net(photo, s * net.blend("swirl") + (1 - s) * net.blend("swirl", 0.0)) for s in (1.0, 1.3, 1.6)]
# show(more, ["1", "1.3", "1.6"])
# ```
# </details>
#
# **2.** The left side of a picture shall be ink, and turn into stained glass towards the right. Can a mix of γ and β do that? Predict
# first.
#
# <details><summary>Solution</summary>
#
# No: a mix of γ and β belongs to the whole picture. So paint it twice, and fade from one painting to the other.
#
# ```python
# left, right = (nst.paint(photo, net, styles=name) for name in ("ink", "stained_glass"))
# ramp = torch.linspace(0, 1, photo.shape[-1])
# show(left * (1 - ramp) + right * ramp)
# ```
# </details>
#
# **3.** Make a film that walks from watercolour to *The Starry Night* and back. Predict first: where on the way does the blue arrive, at
# once, evenly, or at the end?
#
# <details><summary>Solution</summary>
#
# Evenly, by about the same amount at each step. That is not so for every pair: from ink to stained glass, above, the colours come late.
# The mix of γ and β is a straight line, but the picture need not follow it.
#
# ```python
# ways = [i / 12 for i in [*range(13), *range(11, 0, -1)]]
# film = [nst.paint("cat", net, 256, styles={"watercolour": 1 - w, "starry_night": w}) for w in ways]
# nst.Film(film).save(work / "walk.gif")
# ```
# </details>
#
# ## References
#
# - V. Dumoulin, J. Shlens, M. Kudlur: *A Learned Representation for Artistic Style*, ICLR 2017, equation 5, sections 3.4 (a new
#   style) and 3.5 (mixing).
# - X. Huang, S. Belongie: *Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization*, ICCV 2017.
# - G. Ghiasi, H. Lee, M. Kudlur, V. Dumoulin, J. Shlens: *Exploring the Structure of a Real-Time, Arbitrary Neural Artistic Stylization
#   Network*, BMVC 2017.
# - M. Babaeizadeh, G. Ghiasi: *Adjustable Real-time Style Transfer*, 2018.
# - L. A. Gatys et al.: *Controlling Perceptual Factors in Neural Style Transfer*, CVPR 2017 (colour).
#
# ---
#
# **There are many settings by now. Which of them make a difference that you can see? And could you tell, without a label, which method
# painted a picture?** The next notebook ends with a quiz.
#
# Previous: [07 · Training a fast network](07_training_a_fast_network.ipynb) · Next: [09 · Experiments](09_experiments.ipynb)
