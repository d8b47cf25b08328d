# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: tags,-all
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
# **You will learn** what content weight, style weight, total variation, layers, blends and step size *feel* like: move a slider
# while the picture is being painted and watch it follow.
#
# Time: as long as you like; the cells themselves take half a minute on two CPU cores
#
# Previous: [04 · Gatys: painting by optimisation](04_gatys_painting_by_optimisation.ipynb) · Next: [06 · Perceptual losses](06_perceptual_losses.ipynb)

# %%
# At home this cell does nothing. On Colab or Kaggle it installs the library from a zip.
import os
import sys

if "google.colab" in sys.modules or "KAGGLE_KERNEL_RUN_TYPE" in os.environ:
    if not os.path.exists("nstlib.zip"):
        sys.exit("Upload a zip of the repository as nstlib.zip beside this notebook, and run this cell again.")
    # %pip install -q nstlib.zip
    print("nstlib is installed")

# %%
import nstlib as nst
from nstlib.plots import curves, show
from nstlib.widgets import ControlDesk

# %% [markdown]
# ## The desk
#
# Run the cell below and press ▶. On the repository's web page there is nothing to press; this is what it looks like:
#
# ![the control desk](../data/desks/control_desk.jpg)
#
# - **▶** lets the painter run and turns into **❚❚**, which pauses it; **■** stops it; **step** makes one move, **reset** goes
#   back to the photograph, **undo** takes back the last change of a slider *and* the painting that followed from it.
# - **content, style, tv weight** and **step size** are logarithmic: each notch of the slider multiplies.
# - **style layers** say how much each layer's Gram matrix counts. Fine texture lives in `relu1_1`, large strokes in `relu3_4`.
# - Choose several **styles** (hold Ctrl or ⌘) and each gets a slider for its share.
# - **your own** takes a photograph from your disk; **save** writes the picture, with its settings inside.
# - **to training** prints the weights that you found as the settings of a training, for notebook 07.

# %%
ControlDesk(content="cat", styles=("swirl",))

# %% [markdown]
# ## How can it be so quick?
#
# Nothing is restarted when a slider moves. The desk holds a `GatysPainter`, a *stepper*: `step(n)` advances it by n iterations,
# `configure` changes its weights in between. The Gram matrices of the styles do not depend on the weights and are computed once;
# a step at the desk's first size (192 pixels) takes about a fiftieth of a second with the compact critic on two cores.
#
# Everything that the desk does you can do in code. Here is a hand on the style slider, written down:

# %%
size = 256
content, style = nst.load_image("cat", size), nst.load_image("swirl", size)
painter = nst.GatysPainter(content, [style], nst.GatysConfig(backbone="compact", style_weight=1))
frames, titles, history = [], [], []
for weight in (1, 10, 100, 1000, 1):
    painter.configure(style_weight=weight)
    for _ in range(40):
        state = painter.step()
        history.append(state.losses)
    frames.append(state.image)
    titles.append(f"style weight {weight}")
show(frames, titles, height=150)

# %% [markdown]
# The last picture is on its way *back* to the photograph, though 160 steps of painting lie behind it: only the weights say where
# the optimiser wants to go, not how it came. In the curves you see each pull of the slider:

# %%
curves({name: [losses[name] for losses in history] for name in ("content", "style")})

# %% [markdown]
# A blend of two styles is a weighted mean of their Gram matrices, and may move as well:

# %%
styles = [style, nst.load_image("stained_glass", size)]
painter = nst.GatysPainter(content, styles, nst.GatysConfig(backbone="compact", style_weight=1000, style_blend=(1, 0)))
frames, titles = [], []
for share in (0.0, 0.25, 0.5, 0.75, 1.0):
    painter.configure(style_blend=(1 - share, share))
    frames.append(painter.step(60).image)
    titles.append(f"{100 - 100 * share:.0f} : {100 * share:.0f}")
show(frames, titles, height=150)

# %% [markdown]
# And the layers, one at a time. Each picture is painted by a single layer's Gram matrix:

# %%
base = nst.GatysConfig(backbone="compact", style_weight=300)
frames, names = [], base.layers()[1]
for name in names:
    weights = tuple(float(other == name) for other in names)
    painter = nst.GatysPainter(
        content, [style], nst.GatysConfig(backbone="compact", style_weight=300, style_layer_weights=weights)
    )
    frames.append(painter.step(80).image)
show(frames, names, height=190)

# %% [markdown]
# ## Things to try at the desk
#
# 1. Let it run with the defaults. Then drag the style weight to the far left. How long until the cat is back?
# 2. Turn off `relu1_1` and `relu2_1`. What is left of the brush?
# 3. Raise the tv weight until the fur is gone and the eyes are still there.
# 4. Find weights you like, press **to training**, and take them to notebook 07.
#
# <details><summary>What you should see</summary>
#
# 1. The fur is back after about as many steps as the painting took; the last of the blue needs several times as many.
# 2. Strokes in other colours: the painting's blue and yellow are mostly gone, for colour lives in the first layers.
# 3. Towards 1000, the end of the slider. Total variation eats small contrasts first; the eyes are large ones.
# 4. Because losses are scale-free, the same numbers mean about the same there.
#
# The first three without a desk:
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
# - Gatys, Ecker & Bethge, *Image Style Transfer Using Convolutional Neural Networks*, CVPR 2016, equation 7 and figure 4
#   (weights), figure 5 (content layers).
# - Gatys et al., *Controlling Perceptual Factors in Neural Style Transfer*, CVPR 2017.
#
# Previous: [04 · Gatys: painting by optimisation](04_gatys_painting_by_optimisation.ipynb) · Next: [06 · Perceptual losses](06_perceptual_losses.ipynb)
