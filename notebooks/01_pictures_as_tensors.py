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
# # 01 · Pictures as tensors
#
# **You will learn** how a picture becomes numbers and back, what goes wrong when it is resized carelessly, how
# colour can be taken apart, and why comparing two pictures pixel by pixel says little about how alike they look.
#
# Time: a few seconds, anywhere
#
# Previous: [00 · Start here](00_start_here.ipynb) · Next: [02 · What the critic sees](02_what_the_critic_sees.ipynb)

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
import numpy as np
import torch
import torch.nn.functional as F
from nstlib import show
from torch import Tensor

# %% [markdown]
# ## From file to tensor
#
# A colour picture is three grids of numbers, one for red, one for green, one for blue. Files keep them as whole
# numbers from 0 to 255, height × width × colour. Networks want real numbers, colour first, and a *batch*
# dimension in front, so that several pictures can travel together: `(B, 3, H, W)`, values in [0, 1].

# %%
image = nst.open_image("cat")


def to_tensor(image) -> Tensor:
    """A PIL image as (1, 3, H, W) in [0, 1]."""
    pixels = torch.from_numpy(np.array(image))  # (H, W, 3), 0 … 255
    return pixels.permute(2, 0, 1).unsqueeze(0).float() / 255  # (1, 3, H, W), 0 … 1


cat = to_tensor(image)
cat.shape, cat.dtype, cat.min().item(), cat.max().item()

# %% [markdown]
# `nst.load_image` does the same, and takes care of what people's pictures bring along: photographs that lie on
# their side until their EXIF tag is read, transparency, grey, palettes, CMYK, 16 bits, colour profiles.

# %%
assert torch.equal(cat, nst.load_image("cat"))
red, green, blue = (cat * mask.view(1, 3, 1, 1) for mask in torch.eye(3))
show([cat, red, green, blue], ["all", "red", "green", "blue"], height=150)

# %% [markdown]
# ## Resizing, the wrong way and the right way
#
# To halve a picture one could keep every second pixel. But detail finer than the new grid does not vanish then:
# it comes back disguised as coarse patterns (*aliasing*). The remedy is to blur just enough first, and that is what
# `nst.resize` does (in PyTorch, `interpolate` with `antialias=True`). Style lives in texture, so we had better not
# invent any.

# %%
motorcycle = nst.load_image("motorcycle")
small = nst.resize(motorcycle, 120)
careless = F.interpolate(motorcycle, size=small.shape[-2:], mode="nearest")
pair = [F.interpolate(x, scale_factor=3, mode="nearest") for x in (careless, small)]
show(pair, ["every 6th pixel", "antialiased"], height=243)

# %% [markdown]
# ## Brightness and colour
#
# Red, green and blue are how screens work. The eye works differently: it sees form in **brightness** and is lazy
# about colour. A 3×3 matrix turns RGB into Y (brightness, or *luma*) and two colour differences I and Q:
#
# $$\begin{pmatrix}Y\\I\\Q\end{pmatrix}=\begin{pmatrix}0.299&0.587&0.114\\0.596&-0.274&-0.322\\0.211&-0.523&0.312\end{pmatrix}\begin{pmatrix}R\\G\\B\end{pmatrix}$$

# %%
to_yiq = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
yiq = torch.einsum("ij,bjhw->bihw", to_yiq, cat)
blurred = yiq.clone()
blurred[:, 1:] = F.avg_pool2d(yiq[:, 1:], 15, stride=1, padding=7, count_include_pad=False)
back = torch.einsum("ij,bjhw->bihw", torch.linalg.inv(to_yiq), blurred).clamp(0, 1)
show(
    [cat, yiq[:, :1].expand(-1, 3, -1, -1), back],
    ["original", "Y alone", "Y sharp, colour blurred over 15 × 15"],
    height=200,
)

# %% [markdown]
# The third picture has lost nearly all detail in its colours, and you would hardly notice. That is why a painting can
# keep the *photograph's* colours: take Y from the painting, I and Q from the photograph (Gatys et al. 2016, *Preserving
# Color in Neural Artistic Style Transfer*). `nst.recolour` knows that and two other ways: `mean` moves the colours'
# average and spread to the photograph's, and `histogram` matches red, green and blue, each on its own.

# %%
swirl = nst.resize(nst.load_image("swirl"), tuple(cat.shape[-2:]))
methods = ["luminance", "mean", "histogram"]
show([swirl] + [nst.recolour(swirl, cat, m) for m in methods], ["swirl", *methods], height=150)

# %% [markdown]
# ## How rough is a picture?
#
# *Total variation* adds up how much each pixel differs from its neighbours, below and to the right. We take the mean,
# so that the size of the picture does not matter (row $i$, column $j$):
#
# $$\mathrm{TV}(x)=\operatorname{mean}|x_{i+1,j}-x_{i,j}|+\operatorname{mean}|x_{i,j+1}-x_{i,j}|$$
#
# It will later keep speckle out of our paintings.


# %%
def total_variation(image: Tensor) -> Tensor:
    """Mean absolute difference of neighbours, down plus across, of (B, C, H, W)."""
    down = (image[..., 1:, :] - image[..., :-1, :]).abs().mean()
    across = (image[..., :, 1:] - image[..., :, :-1]).abs().mean()
    return down + across


torch.manual_seed(0)
noise = (cat + 0.15 * torch.randn_like(cat)).clamp(0, 1)
soft = F.avg_pool2d(cat, 9, stride=1, padding=4, count_include_pad=False)
show([soft, cat, noise], [f"TV {total_variation(x):.3f}" for x in (soft, cat, noise)], height=200)

# %% [markdown]
# ## Why not simply compare pixels?
#
# The obvious distance between two pictures is the mean squared difference of their pixels. Here are four versions of the
# cat. Which one looks least like the original? And which one does the pixel distance call the worst? (What `roll` pushes out on the
# right comes back in on the left.)

# %%
shifted = cat.roll(6, dims=-1)
darker = cat * 0.85
versions = {"6 pixels to the right": shifted, "blurred": soft, "noisy": noise, "15 % darker": darker}
titles = [f"{name}: {F.mse_loss(x, cat):.4f}" for name, x in versions.items()]
show(list(versions.values()), titles, columns=2, height=200)

# %% [markdown]
# The noise is the worst, and few will disagree. But a shift of six pixels, which you would hardly notice, costs six
# times as much as a blur that anyone sees. Pixels know nothing of fur, eyes or edges. We need a judge who does: that
# is the next notebook.
#
# ## Exercises
#
# **1.** By how many pixels may the cat move before the pixel distance is as large as to a plain grey picture?
#
# <details><summary>Solution</summary>
#
# By about thirty.
#
# ```python
# grey = F.mse_loss(torch.full_like(cat, 0.5), cat)
# distances = [F.mse_loss(cat.roll(n, dims=-1), cat).item() for n in range(0, 150, 10)]
# print(f"grey {grey:.4f}", [f"{d:.4f}" for d in distances])
# ```
# </details>
#
# **2.** Give the coffee the colours of the painting `halftone` with the method `"mean"`.
#
# <details><summary>Solution</summary>
#
# ```python
# show(nst.recolour(nst.load_image("coffee"), nst.load_image("halftone"), "mean"))
# ```
# </details>
#
# ## References
#
# - L. I. Rudin, S. Osher, E. Fatemi: *Nonlinear total variation based noise removal algorithms*, Physica D, 1992.
# - L. A. Gatys, M. Bethge, A. Hertzmann, E. Shechtman: *Preserving Color in Neural Artistic Style Transfer*, 2016
#   (sections 3.1 and 3.2: mean and covariance; luminance).
#
# Previous: [00 · Start here](00_start_here.ipynb) · Next: [02 · What the critic sees](02_what_the_critic_sees.ipynb)
