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
# # 05 · The control desk
#
# ![a slider is pulled to the right and a photograph turns into stained glass; it goes back, and the cat returns, though not quite](../data/openings/slider.webp)
#
# While this cat was painted, a hand pulled the style weight up to a thousand and let it go again. **Does the cat come back as it was?**
#
# **You will learn** what content weight, style weight, total variation, layers, blends and step size do: you move a slider while
# the picture is being painted, and watch it follow.
#
# As long as you like; the cells themselves take about 3 minutes on one CPU core · Previous: [04 · Gatys: painting by optimisation](04_gatys_painting_by_optimisation.ipynb) · Next: [06 · Perceptual losses](06_perceptual_losses.ipynb)

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
from dataclasses import replace

import nstlib as nst
from nstlib import ControlDesk, show
from nstlib.screen.plots import curves, picture

# %% [markdown]
# ## The desk
#
# This is a photograph of the desk. (A desk that works needs a running notebook, so on the repository's web page you see no more than
# this.)

# %%
picture("desks/control_desk.jpg")

# %% [markdown]
# Run the cell below, press ▶, and move whatever you like while the cat turns into a painting:
#
# - **▶** lets the painter run and turns into **❚❚**, which pauses it; **■** stops it; **step** makes one move, **reset** goes
#   back to the photograph, **undo** takes back the last change of a slider *and* the painting that followed from it.
# - **content weight**, **style weight**, **tv weight** and **step size** (the setting `lr`) are logarithmic: each notch of the slider
#   multiplies.
# - A weight that you pull far **down** is answered late, after some ten or twenty steps: Adam divides each gradient by the size that
#   the last hundred had, and they were much larger. A weight that you pull up is answered at once.
# - **style layers** say how much each layer's Gram matrix counts. Fine texture lives in `relu1_1`, large strokes in `relu3_4`.
# - Choose several **styles** (hold Ctrl or ⌘), and each gets a slider for its share.
# - **your own** takes a photograph from your disk; **save** writes the picture, with its settings inside.
# - **to training** prints the weights that you have found as settings for notebook 07.

# %%
ControlDesk(content="cat", styles=("swirl",))

# %% [markdown]
# ## How can it be so quick?
#
# Nothing starts again when a slider moves. The desk holds the stepper of notebook 04: `step(n)` paints n steps more, and
# `configure` changes the weights in between. The Gram matrices of the paintings do not depend on the weights, so they are computed
# only once. The line under the picture says how many steps a second your machine makes.
#
# All that the desk does, you can do in code. Here the style weight rises from 1 to 1000 and falls back to 1, with 40 steps at each:

# %%
size = 256
content, style = nst.load_image("cat", size), nst.load_image("swirl", size)
painter = nst.GatysPainter(content, [style], nst.GatysConfig(backbone="compact", style_weight=1))
frames, titles, history = [content], ["photograph"], []
for weight in (1, 10, 100, 1000, 1):
    painter.configure(style_weight=weight)
    for _ in range(40):
        state = painter.step()
        history.append(state.losses)
    frames.append(state.image)
    titles.append(f"style weight {weight}")
show(frames, titles, columns=3, height=170)

# %% [markdown]
# The last picture is on its way *back* to the photograph: whiskers and fur return first. But the blue stays. The painter only makes
# the loss smaller from where it stands, so the result depends on where it came from.
#
# You can see each change of the weight in the curves. Adam divides each gradient by the size that the last ones had. So after a change
# *upwards* its first steps are too long, and a loss may jump. After the change *down* to 1 they are too short: in ten
# steps the content loss falls only from 2.4 to about 1.7. (A new Adam, which remembers nothing, brings it to 0.8 in its first 5 steps;
# this one needs 40.)

# %%
curves({name: [losses[name] for losses in history] for name in ("content", "style")})

# %% [markdown]
# Two styles, here `swirl : stained_glass`, are blended by a weighted mean of their Gram matrices, and that slider may move as well:

# %%
styles = [style, nst.load_image("stained_glass", size)]
painter = nst.GatysPainter(content, styles, nst.GatysConfig(backbone="compact", style_weight=1000, style_blend=(1, 0)))
frames, titles = [], []
for share in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
    painter.configure(style_blend=(1 - share, share))
    frames.append(painter.step(60).image)
    titles.append(f"{100 - 100 * share:.0f} : {100 * share:.0f}")
show(frames, titles, columns=3, height=170)

# %% [markdown]
# And here each layer is used alone. The first gives the colours and a fine grain. The deep ones give long strokes. `relu3_4` says
# little about colour: the eyes stay almost as in the photograph, and the fur turns violet:

# %%
base = nst.GatysConfig(backbone="compact", style_weight=300)
frames, names = [], base.layers()[1]
for name in names:
    weights = tuple(float(other == name) for other in names)
    painter = nst.GatysPainter(content, [style], replace(base, style_layer_weights=weights))
    frames.append(painter.step(80).image)
show(frames, names, columns=2, height=190)

# %% [markdown]
# ## Things to try at the desk
#
# Predict each of them before you touch the slider.
#
# 1. Let it run with the defaults. Then drag the style weight to the far left. How long does it take until the cat is back?
# 2. Set `relu1_1` and `relu2_1` to 0. What is left of the strokes and of the colours?
# 3. Raise the tv weight until the fur is gone, but the eyes are still there.
# 4. Find weights that you like, press **to training**, and take them to notebook 07.
#
# <details><summary>What you should see</summary>
#
# 1. The fur is back after about as many steps as the painting took; the last of the blue needs several times as many.
# 2. The strokes stay, and the colours drift: the blue turns violet, the yellow pale. It is mostly the first layers that hold colours.
# 3. That is near 1000, the end of the slider. Total variation removes small contrasts first, and those of the eyes are large.
# 4. Our losses are relative, so the same numbers mean about the same there.
#
# Here are the first three without a desk:
#
# ```python
# def painter_with(**settings):
#     return nst.GatysPainter(content, [style], nst.GatysConfig(backbone="compact", **settings))
#
#
# painter = painter_with(tv_weight=0.1)
# back = [painter.step(60).image]
# painter.configure(style_weight=0.1)
# back += [painter.step(60).image for _ in range(2)]
# show(back, ["60 steps", "60 back", "120 back"], height=150)
#
# deep = painter_with(style_layer_weights=(0, 0, 1, 1)).step(60).image
# smooth = [painter_with(tv_weight=weight).step(60).image for weight in (100, 1000)]
# show([deep, *smooth], ["relu3_1 and relu3_4", "tv weight 100", "tv weight 1000"], height=150)
# ```
#
# </details>
#
# ## References
#
# - L. A. Gatys, A. S. Ecker, M. Bethge: *Image Style Transfer Using Convolutional Neural Networks*, CVPR 2016, equation 7 and
#   figure 4 (weights), figure 5 (content layers).
# - L. A. Gatys et al.: *Controlling Perceptual Factors in Neural Style Transfer*, CVPR 2017.
#
# ---
#
# **Each picture still takes hundreds of steps. Could a network learn to paint at once?** It needs a loss to learn from. The obvious loss
# compares pixels, and a network that learns from it blurs. The next notebook shows why.
#
# Previous: [04 · Gatys: painting by optimisation](04_gatys_painting_by_optimisation.ipynb) · Next: [06 · Perceptual losses](06_perceptual_losses.ipynb)
