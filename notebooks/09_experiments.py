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
# # 09 · Experiments
#
# **You will learn** which settings matter and which do not, by looking: grids of content and style weight, critics, layers,
# pooling, optimisers, batch size and epochs; and how to run such grids without ever running anything twice.
#
# Time: about 1¼ minutes on two CPU cores
#
# Previous: [08 · The playground](08_playground.ipynb) · Next: [10 · The compact critic](10_the_compact_critic.ipynb)

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
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

import nstlib as nst
from nstlib.experiments import run_grid
from nstlib.plots import curves, show

gpu = torch.cuda.is_available()
size, steps = (512, 150) if gpu else (160, 60)
base = nst.GatysConfig(backbone="compact", size=size, steps=steps)
work = Path(tempfile.mkdtemp())  # on Colab, take a folder of your Drive, and nothing is lost with the session

# %% [markdown]
# ## Run a grid, keep every cell
#
# Every project about style transfer has a page of such pictures, made by a loop that someone ran overnight and lost at cell 37.
# Ours is one function. It takes an experiment (a function that gives a picture and some numbers for a config) and the configs,
# runs each once, and keeps it: a PNG with settings and numbers inside.


# %%
def painting(config: nst.GatysConfig) -> tuple[torch.Tensor, dict]:
    """The cat in stained glass; its losses on the way, and how long it took."""
    states, start = [], time.perf_counter()
    painted = nst.stylize("cat", "stained_glass", config, states.append)
    return painted, {
        "steps": [state.step for state in states],
        "total": [state.losses["total"] for state in states],
        "seconds": round(time.perf_counter() - start, 1),
    }


configs = {
    f"content {c:g}, style {s:g}": replace(base, content_weight=c, style_weight=s)
    for s in (10, 100, 1000)
    for c in (1, 10, 100)
}
start = time.perf_counter()
cells = run_grid(painting, configs, work / "weights")
print(f"first time {time.perf_counter() - start:.1f} s")
start = time.perf_counter()
cells = run_grid(painting, configs, work / "weights")
print(f"again      {time.perf_counter() - start:.1f} s")

# %%
show([cell.image for cell in cells.values()], list(cells), columns=3, height=180)

# %% [markdown]
# To the right the content counts more, downwards the style. Read it along the diagonals from top left to bottom right, where both
# grow together: nearly the same picture. **Only the ratio matters**, because Adam divides the gradient by its own size. So one
# slider would do for two; we keep both, for total variation is the third in the sum and must keep its place.
#
# The same on four times four, larger and longer (`python data/experiments.py`, run once):
#
# ![content weight along, style weight down](../data/experiments/weights.jpg)
#
# ## Which critic, which pooling?
#
# The same settings, the same four style layers, on our compact critic and on the first three blocks of the original VGG-19; average
# and max pooling (`python data/experiments.py --teacher FILE`):
#
# ![critics and pooling](../data/experiments/critics.jpg)
#
# The compact critic was distilled from that VGG, and one sees the family. Gatys et al. found average pooling to give
# slightly more appealing pictures than max pooling; the gradient of an average reaches every pixel, that of a maximum one in four.
#
# With internet, add `replace(base, backbone="vgg19")` and `"vgg16"` to the next cell, and have a coffee if you have no GPU.

# %%
configs = {f"{pooling} pooling": replace(base, pooling=pooling) for pooling in ("avg", "max")}
cells = run_grid(painting, configs, work / "weights")  # average pooling at the default weights
show([cell.image for cell in cells.values()], list(cells), height=220)

# %% [markdown]
# ## Which layers?
#
# Style from the first layer alone, then one more at a time. Fine texture first, then strokes, then whole panes of glass:

# %%
layers = ("relu1_1", "relu2_1", "relu3_1", "relu3_4")
configs = {f"… {layers[n - 1]}": replace(base, style_layers=layers[:n]) for n in range(1, len(layers) + 1)}
cells = run_grid(painting, configs, work / "layers")
show([cell.image for cell in cells.values()], ["relu1_1", *list(cells)[1:]], height=165)

# %% [markdown]
# And the content layer, at a content weight of 20, so that one sees it: a shallow one keeps the photograph's colours and edges, a
# deep one only what is where.

# %%
configs = {
    n: replace(base, content_layers=(n,), content_weight=20) for n in ("relu1_1", "relu2_2", "relu3_2", "relu3_4")
}
cells = run_grid(painting, configs, work / "layers")
show([cell.image for cell in cells.values()], list(cells), height=165)

# %% [markdown]
# ## Which optimiser, and how fast?
#
# The paper's L-BFGS against Adam at three step sizes. At a single size, without the pyramid, so that the curves can be compared:

# %%
flat = replace(base, size=size, smallest=size, steps=2 * steps)
configs = {f"Adam {lr}": replace(flat, step_size=lr) for lr in (0.01, 0.03, 0.1)}
configs["L-BFGS"] = replace(flat, optimiser="lbfgs")
cells = run_grid(painting, configs, work / "optimisers")
curves({name: (cell.numbers["steps"], cell.numbers["total"]) for name, cell in cells.items()})

# %%
show(
    [cell.image for cell in cells.values()],
    [f"{name} ({c.numbers['seconds']} s)" for name, c in cells.items()],
    height=165,
)

# %% [markdown]
# L-BFGS is ahead all the way, Adam with a step of 0.1 of the pixel range close behind, and 0.01 has not arrived. Our default is
# Adam with 0.03: it keeps no memory of the last twenty pictures, never stalls, and its weights may be changed between two steps,
# which the control desk does.
#
# ## Batch size and epochs of the fast network
#
# Johnson et al. trained on batches of 4 for two epochs. Is that a law? Nine networks, all on the same 600 photographs
# (`python data/experiments.py --photos DIR`):
#
# ![batch size down, epochs along](../data/experiments/fast.jpg)
#
# Loss against the number of photographs seen, for four epochs:
#
# ![loss against photographs](../data/experiments/fast_curves.jpg)
#
# For the same number of photographs a small batch takes more steps, and at first it is steps that are lacking. Batches of 1 and 4
# meet after 500 photographs; those of 16 are behind to the end. Four epochs of large batches look like one epoch of small ones.
# Here is the same in small, live: one style, 240 crops seen by each.


# %%
def training(settings: dict) -> tuple[torch.Tensor, dict]:
    """The coffee, painted by a network that has seen 240 crops; its losses on the way."""
    folder = Path(tempfile.mkdtemp())
    (folder / "photos").mkdir()
    for name in ("astronaut", "cat", "rocket", "motorcycle"):
        nst.save_image(nst.load_image(name, 320), folder / "photos" / f"{name}.jpg")
    config = nst.TrainConfig(
        dataset=folder / "photos",
        style="stained_glass",
        save_model=folder / "net.safetensors",
        steps=240 // settings["batch_size"],
        image_size=96,
        log_every=12 // settings["batch_size"] or 1,
        workers=0,
        **settings,
    )
    states = []
    net = nst.train(config, callback=states.append)
    shutil.rmtree(folder)
    seen = [state.step * settings["batch_size"] for state in states]
    return nst.paint("coffee", net, 256), {"seen": seen, "total": [state.losses["total"] for state in states]}


configs = {f"batches of {n}": {"batch_size": n} for n in (1, 4, 12)}
cells = run_grid(training, configs, work / "batches")
curves({name: (cell.numbers["seen"], cell.numbers["total"]) for name, cell in cells.items()}, xlabel="crops")

# %%
show([cell.image for cell in cells.values()], list(cells), height=165)

# %% [markdown]
# ## What came out
#
# | setting | matters? | |
# |---|---|---|
# | style : content | most of all | move it by factors of 3, not by sums |
# | style layers | much | they choose the size of what is copied |
# | content layer | much | shallow keeps faces, deep lets go |
# | size, pyramid | much | see notebook 04 |
# | optimiser | little | if each is given its time |
# | pooling | little | average is smoother |
# | batch size | little | count steps, not photographs |
#
# ## Exercises
#
# 1. Which is worth more, twice the steps or one more size in the pyramid? Compare `steps=2 * steps` with `smallest=64`.
# 2. `run_grid` knows a cell by its config alone. What goes wrong if you change `painting` and run again, and what is the remedy?
# 3. Repeat the grid of weights with `tv_weight=1`. Are the diagonals still equal?
#
# <details><summary>Solutions</summary>
#
# ```python
# # 1
# more, smaller = replace(base, steps=2 * steps), replace(base, smallest=64)
# configs = {"as it is": base, "twice the steps": more, "a smaller start": smaller}
# cells = run_grid(painting, configs, work / "worth")
# show([cell.image for cell in cells.values()], [f"{n} ({c.numbers['seconds']} s)" for n, c in cells.items()])
#
# # 2: the old cells are shown, for their configs are the same; give the new experiment a folder of its own
# cells = run_grid(painting, {"as it is": base}, work / "painting_2")
#
# # 3: no: with both weights small, total variation wins, and the picture is flat
# pairs = ((1, 10), (10, 100), (100, 1000))
# configs = {f"{c} : {s}": replace(base, content_weight=c, style_weight=s, tv_weight=1) for c, s in pairs}
# cells = run_grid(painting, configs, work / "tv")
# show([cell.image for cell in cells.values()], list(cells))
# ```
#
# </details>
#
# ## References
#
# - Gatys, Ecker & Bethge, *Image Style Transfer Using Convolutional Neural Networks*, CVPR 2016, figures 3 to 6.
# - Johnson, Alahi & Fei-Fei, *Perceptual Losses for Real-Time Style Transfer and Super-Resolution*, ECCV 2016, section 4.1.
#
# Previous: [08 · The playground](08_playground.ipynb) · Next: [10 · The compact critic](10_the_compact_critic.ipynb)
