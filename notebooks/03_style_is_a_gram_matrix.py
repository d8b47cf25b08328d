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
# # 03 · Style is a Gram matrix
#
# ![three textures: stained glass, swirls, waves](../data/openings/03.jpg)
#
# These three pictures grew out of random noise. None of them is a copy of a painting. **What was the computer told about the
# paintings?**
#
# **You will learn** how to describe a painting's style so that places no longer matter, how to compare two styles, and how to grow
# endless new texture.
#
# About 4 minutes on one CPU core · Previous: [02 · What the critic sees](02_what_the_critic_sees.ipynb) · Next: [04 · Gatys: painting by optimisation](04_gatys_painting_by_optimisation.ipynb)

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
import nstlib as nst
import torch
from nstlib import show
from matplotlib import pyplot as plt
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from nstlib.screen.plots import heat_maps
from torch import Tensor

gpu = torch.cuda.is_available()
size, steps = (384, 300) if gpu else (192, 100)
layers = ("relu1_1", "relu2_1", "relu3_1", "relu3_4")
critic = nst.FeatureExtractor("compact", layers)

# %%
show(nst.load_image("starry_night"), ["Vincent van Gogh, The Starry Night, 1889"], height=380)

# %% [markdown]
# ## Which features occur together?
#
# What would you recognise in any corner of this painting? A brush stroke in *The Starry Night* is blue **and** curved **and** has a
# thin bright edge. A style is a list of things that occur together. So for each pair
# of channels $i, j$ we ask: do they answer at the same places? Multiply them place by place and add up. With the
# features flattened to a matrix $F$ of $C$ rows (channels) and $H\cdot W$ columns (places $k$), that is one matrix product, the
# **Gram matrix**:
#
# $$G_{ij}=\frac1{C\,H\,W}\sum_{k}F_{ik}F_{jk}\qquad\text{or}\qquad G=\frac{FF^\top}{C\,H\,W}$$
#
# Gatys et al. (2016, equation 3) leave out the fraction; with it (Johnson et al. 2016, equation 3) pictures of different
# sizes can be compared.


# %%
def gram(features: Tensor) -> Tensor:
    """Gram matrices (B, C, C) of features (B, C, H, W)."""
    flat = features.flatten(2)  # (B, C, H*W)
    return flat @ flat.transpose(1, 2) / (flat.shape[1] * flat.shape[2])


# %% [markdown]
# By hand: two channels at three places, $F=\begin{pmatrix}1&2&0\\0&1&3\end{pmatrix}$. Then
# $FF^\top=\begin{pmatrix}5&2\\2&10\end{pmatrix}$, divided by $2\cdot3$; to compare, the cell multiplies by 6 again.

# %%
gram(torch.tensor([[[[1.0, 2, 0]], [[0.0, 1, 3]]]])) * 6

# %% [markdown]
# ## It does not know where
#
# Shuffle all the places and the sum stays the same. The Gram matrix does not know the composition, only what occurs together:

# %%
swirl = nst.load_image("swirl", size=384)
with torch.no_grad():
    features = critic(swirl)["relu2_1"]
shuffled = features.flatten(2)[:, :, torch.randperm(features[0, 0].numel())].view_as(features)
difference = (gram(shuffled) - gram(features)).norm() / gram(features).norm()
print(f"relative difference after shuffling every place: {difference:.1e}")

# %% [markdown]
# ## A style's fingerprint
#
# Red means that two channels go together, blue that one is high where the other is low, white that they have nothing to do with
# each other. To see the differences better, each channel's mean is taken off first, and each is scaled so that with itself it
# gives 1. (We show the 32 channels that are strongest in `swirl`, in the same order everywhere.) Each painting has its own pattern,
# and so has a photograph. Each square below is one Gram matrix of 32 × 32 entries.

# %%
pictures = {name: nst.load_image(name, size=384) for name in ("swirl", "woodblock", "halftone", "cat")}
with torch.no_grad():
    centred = {name: critic(x)["relu2_1"] for name, x in pictures.items()}
    grams = {name: gram(f - f.mean((2, 3), keepdim=True))[0] for name, f in centred.items()}
order = grams["swirl"].diagonal().argsort(descending=True)[:32]
show(list(pictures.values()), list(pictures), height=130)

# %%
heat_maps({name: g[order][:, order] for name, g in grams.items()})

# %% [markdown]
# ## How far apart are two styles?
#
# Gatys et al. (2016, equations 4 and 5) sum squared differences of Gram matrices over several layers $l\in L$: $G^l$ of our
# picture, $A^l$ of the painting. As with content we divide by the target's own size, squared ($\lVert\cdot\rVert_F^2$ is the sum of
# the squares of all entries), so that the same weight means the same everywhere:
#
# $$\mathcal L_\text{style}=\frac1{|L|}\sum_{l\in L}\frac{\lVert G^l-A^l\rVert_F^2}{\lVert A^l\rVert_F^2}$$


# %%
def style_loss(features: dict[str, Tensor], target: dict[str, Tensor]) -> Tensor:
    """Mean over the layers of ‖G − A‖² / ‖A‖²."""
    grams = [(gram(features[name]), gram(target[name])) for name in target]
    return sum((g - a).square().sum() / a.square().sum() for g, a in grams) / len(grams)


# %% [markdown]
# A test: cut each painting into a left and a right half. Does the critic know which halves belong together? Each row is a left
# half, each column a right half; the smallest number of each row is marked.

# %%
names = ["swirl", "stained_glass", "woodblock", "starry_night", "great_wave", "the_scream"]
with torch.no_grad():
    whole = {n: nst.load_image(n, size=384) for n in names}
    left = {n: critic(x[..., : x.shape[-1] // 2]) for n, x in whole.items()}
    right = {n: critic(x[..., x.shape[-1] // 2 :]) for n, x in whole.items()}
print(" " * 14, *[f"{n:>13}" for n in names])
for a in names:
    row = [style_loss(left[a], right[b]).item() for b in names]
    print(f"{a:14}", *[f"{v:12.3f}{'*' if v == min(row) else ' '}" for v in row])

# %% [markdown]
# A star on the diagonal means that the critic found the other half. It did so for five of six. For the left half of *The Great Wave*
# it chose `woodblock`, which is also a print of a wave. (The loss is not symmetric: it is divided by the squared norm
# of the second picture's Gram matrices.)
#
# The same distances, between all paintings and all photographs, as a map: what lies close together has a similar style.
# (*Classical scaling* finds the places in two dimensions: the two strongest directions of the table of distances.) Half of the
# pictures would lie in one heap, so we keep only their *order* along each axis, with equal steps. The two prints of waves are
# neighbours, and so are two dark photographs, a rocket at night and a field of galaxies. The two night skies with swirls are not far from
# each other. But two dimensions cannot hold all distances: neighbours on the map may differ in another direction.

# %%
names = [*nst.sample_names()["paintings"], *nst.sample_names()["photographs"]]
with torch.no_grad():
    reports = {n: critic(nst.load_image(n, size=256)) for n in names}
    table = torch.tensor([[style_loss(reports[a], reports[b]).item() for b in names] for a in names])
distances = (table + table.T).sqrt()
centre = torch.eye(len(names)) - 1 / len(names)
values, vectors = torch.linalg.eigh(-0.5 * centre @ distances.square() @ centre)
places = (vectors[:, -2:] * values[-2:].clamp_min(0).sqrt()).argsort(0).argsort(0)  # 0, 1, 2 … along each axis

figure, axes = plt.subplots(figsize=(9, 6), layout="constrained")
for name, (x, y) in zip(names, places.tolist(), strict=True):
    thumbnail = OffsetImage(nst.load_image(name, 40)[0].permute(1, 2, 0).numpy())
    axes.add_artist(AnnotationBbox(thumbnail, (x, y), frameon=False))
axes.set(xlim=(-1, len(names)), ylim=(-1, len(names)))
axes.set_axis_off()

# %% [markdown]
# ## Texture out of nothing
#
# If the Gram matrices really hold the style, a picture with the same Gram matrices must look as if the same hand had painted it.
# Start from noise and let the optimiser work, with content weight 0. The deeper the layers
# that take part, the larger the structures that come back.

# %%
painting = nst.load_image("stained_glass", size=size)
noise = torch.rand((1, 3, size, size), generator=torch.Generator().manual_seed(0))
textures = []
for depth in range(1, 5):
    config = nst.GatysConfig(backbone="compact", style_layers=layers[:depth], content_weight=0, lr=0.05)
    painter = nst.GatysPainter(noise, [painting], config)
    textures.append(painter.step(steps).image)
titles = ["the painting", *["up to " + name for name in layers]]
show([painting, *textures], titles, columns=5, height=170)

# %% [markdown]
# The first layer knows only colours and the finest grain. With `relu2_1` there are pebbles of glass with dark rims, with `relu3_1`
# panes with dark lead between them.
#
# Structures larger than the deepest layer can see at once do not come back. A deeper network helps; so does a simpler trick,
# *scale*: begin with a tiny picture, in which a pane is only a few pixels wide, and enlarge it step by step. That is a
# **pyramid**, and it makes up for much of the depth that our small critic lacks.

# %%
canvas = torch.zeros(1, 3, 256, 384)  # only its shape counts, for the content weight is 0
grown = []
for name in ("stained_glass", "swirl", "woodblock"):
    config = nst.GatysConfig(
        backbone="compact",
        size=size * 3 // 2,
        steps=steps // 2,
        smallest=48,
        content_weight=0,
        init="noise",
        lr=0.05,
    )
    grown.append(nst.stylize(canvas, name, config))
show(grown, ["stained_glass", "swirl", "woodblock"], height=190)

# %% [markdown]
# These three pictures are new, and panes, swirls and waves are back. No photograph was used: they are style alone.
#
# ## A leak
#
# We said that a Gram matrix does not know where. But look at the three pictures again: the blue glass, the hills and the water are at
# the bottom, as in the paintings. Is that chance? Turn the last painting upside down, and grow from the same noise:

# %%
wave = nst.load_image("woodblock", size=size * 3 // 2)
upright, turned = nst.stylize(canvas, wave, config), nst.stylize(canvas, wave.flip(-2), config)
show([upright, turned], ["from the painting", "from the painting upside down"], height=250)

# %% [markdown]
# It is no chance: now the water is at the top. Something tells the picture where up is. It is the **padding**: at the border of a
# picture a convolution sees zeros, so channels answer in another way there. At the top border of the painting these special answers
# occur together with sky, at the bottom border with water. In the tiny pictures of the first sizes, the border is a large part of
# all places.
#
# A cure for textures: let the picture go on at its opposite side (*circular* padding). Then there is no border.

# %%
circular = nst.PerceptualLoss(config)
for conv in circular.extractor.convs.values():
    conv.padding_mode = "circular"
grown, generator = [], torch.Generator().manual_seed(0)
for source in (wave, wave.flip(-2)):
    picture = torch.rand(1, 3, 32, 48, generator=generator.manual_seed(0))
    for side in (48, 96, 192, size * 3 // 2):
        start = nst.resize(picture, (side * 2 // 3, side))
        painter = nst.GatysPainter(start, [nst.resize(source, side)], config, loss=circular)
        picture = painter.step(steps // 2).image
    grown.append(picture)
show(grown, ["circular, from the painting", "circular, upside down"], height=250)

# %% [markdown]
# Without a border nothing tells where up is. Sky and water lie where the noise happened to put them, and they go on across the edge:
# such pictures can be laid side by side like tiles. Padding comes back in notebook 04, as a margin that is cut off, and
# in 07, as the frame that fast networks tend to paint.
#
# ## Exercises
#
# **1.** Grow a texture from the average of two paintings' Gram matrices, `swirl` and `woodblock`. Predict first: patches of the one beside
# patches of the other, or something that is neither?
#
# <details><summary>Solution</summary>
#
# Patches: mostly swirls, with pieces of sand-coloured sky and white foam. Where they meet, the one turns into the other.
#
# ```python
# config = nst.GatysConfig(backbone="compact", size=256, steps=50, smallest=48, content_weight=0, init="noise", lr=0.05)
# show(nst.stylize(canvas, ["swirl", "woodblock"], config), height=300)
# ```
# </details>
#
# **2.** `style_scale` changes how large the painting is when its Gram matrices are taken. Grow `stained_glass` with
# `style_scale=0.5`. Predict first: larger panes or smaller ones?
#
# <details><summary>Solution</summary>
#
# Smaller: the painting is shrunk, so its panes cover fewer pixels of the new picture.
#
# ```python
# from dataclasses import replace
#
# half = replace(config, style_scale=0.5)
# show(nst.stylize(canvas, "stained_glass", half), height=300)
# ```
# </details>
#
# ## References
#
# - L. A. Gatys, A. S. Ecker, M. Bethge: *Texture Synthesis Using Convolutional Neural Networks*, NIPS 2015.
# - L. A. Gatys, A. S. Ecker, M. Bethge: *Image Style Transfer Using CNNs*, CVPR 2016, section 2.2, equations 3–5.
# - J. Johnson, A. Alahi, L. Fei-Fei: *Perceptual Losses for Real-Time Style Transfer*, ECCV 2016, section 3.2, equation 3.
#
# ---
#
# **You can measure content and you can measure style. What happens if one picture has to come close in both at once?** It becomes a
# painting. The next notebook writes the painter, in about a dozen lines.
#
# Previous: [02 · What the critic sees](02_what_the_critic_sees.ipynb) · Next: [04 · Gatys: painting by optimisation](04_gatys_painting_by_optimisation.ipynb)
