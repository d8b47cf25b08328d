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
# # 01 · Pictures as tensors
#
# ![six versions of a photograph of a cat: moved, darker, warmer, noisy, saved with few bytes, blurred](../data/openings/01.jpg)
#
# Compared pixel by pixel, these six pictures are equally far from the photograph, to four decimals. **Would you have said so?**
#
# **You will learn** how a picture becomes numbers and back, what goes wrong when it is resized carelessly, how colour can be taken
# apart, and why comparing pixels says little about how alike two pictures look.
#
# A few seconds, anywhere · Previous: [00 · Start here](00_start_here.ipynb) · Next: [02 · What the critic sees](02_what_the_critic_sees.ipynb)

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
import io

import nstlib as nst
import numpy as np
import torch
import torch.nn.functional as F
from nstlib import show
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

# %% [markdown]
# ## From file to tensor
#
# A colour picture is three grids of numbers, one for red, one for green, one for blue. Files keep them as whole
# numbers from 0 to 255, height × width × colour. Networks want real numbers, colour first, and a *batch*
# dimension in front, so that several pictures can be handled at once: `(B, 3, H, W)`, values in [0, 1].

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
# To halve a picture one could keep every second pixel. But detail that is finer than the new grid does not vanish then. It comes
# back as steps and patterns that are not in the photograph (*aliasing*). Compare the rims of the wheels and the bench below.
# The remedy is to blur just enough first, and that is what `nst.resize` does (in PyTorch, `interpolate` with `antialias=True`).
# A style is made of texture, so we must not add texture by mistake.

# %%
motorcycle = nst.load_image("motorcycle")
small = nst.resize(motorcycle, 120)
careless = F.interpolate(motorcycle, size=small.shape[-2:], mode="nearest")
pair = [F.interpolate(x, scale_factor=3, mode="nearest") for x in (careless, small)]
show(pair, ["every 6th pixel", "antialiased"], height=243)

# %% [markdown]
# ## Brightness and colour
#
# Screens work with red, green and blue. The eye works differently: it sees fine detail in **brightness**, and little of it in
# colour. A 3×3 matrix turns RGB into Y (brightness, or *luma*) and two colour differences I and Q:
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
# The third picture has lost nearly all detail in its colours, and one hardly notices. That is why a painting can
# keep the *photograph's* colours: take Y from the painting, I and Q from the photograph (Gatys et al. 2016, *Preserving
# Color in Neural Artistic Style Transfer*). `nst.recolour` knows that and two other ways: `mean` moves the colours'
# average and spread to the photograph's, and `histogram` matches red, green and blue, each on its own. Here `swirl` gets the
# colours of the cat in all three ways:

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
# The obvious distance between two pictures is the **mean squared error** of their pixels. Let us be fair to it. We move the cat by four
# pixels, and measure the error. Then we make it darker, warmer, noisy and blurred, each just so much that the error is *the same*. We
# find the right amount by bisection: try half; if the error is too small, take more, otherwise less. One
# more is a JPEG of only 3 KB, whose error happens to be the same.


# %%
def equally_wrong(change, error: float) -> Tensor:
    """The picture `change(strength)`, strength in [0, 1], whose mean squared error to the cat is as given."""
    low, high = 0.0, 1.0
    for _ in range(16):
        middle = (low + high) / 2
        if F.mse_loss(change(middle), cat) < error:
            low = middle
        else:
            high = middle
    return change(low)


moved = cat.roll(4, dims=-1)  # what leaves on the right comes in on the left
error = F.mse_loss(moved, cat).item()
torch.manual_seed(0)
grain, warmth = torch.randn_like(cat), torch.tensor([1.0, 0.0, -1.0]).view(1, 3, 1, 1)
file = io.BytesIO()
image.save(file, "JPEG", quality=3)  # the one quality that happens to fit: 3 KB
versions = {
    "moved by 4 pixels": moved,
    "darker": equally_wrong(lambda s: cat * (1 - s), error),
    "warmer": equally_wrong(lambda s: (cat + s * warmth).clamp(0, 1), error),
    "noisy": equally_wrong(lambda s: (cat + s * grain).clamp(0, 1), error),
    "JPEG, quality 3": to_tensor(Image.open(file)),
    "blurred": equally_wrong(lambda s: gaussian_blur(cat, [41, 41], [0.1 + 20 * s] * 2), error),
}
titles = [f"{name}: {F.mse_loss(x, cat):.4f}" for name, x in versions.items()]
show(list(versions.values()), titles, columns=3, height=220)

# %% [markdown]
# The number is the same six times. But one can hardly see that the first cat has moved, the second looks as if it sat in the shade,
# and the last one is only a blur. This error knows nothing of fur, eyes or edges. If we train a network to make it small, the network
# may well answer with a blur.
#
# Here is what another judge says about the same six. It is the *critic* of the next notebook (0: it finds no difference; 1: as far
# off as no picture at all):

# %%
critic = nst.FeatureExtractor("compact", ("relu3_4",))
with torch.no_grad():
    wanted = critic(cat)["relu3_4"]
    for name, x in versions.items():
        found = critic(x)["relu3_4"]
        print(f"{name:18} {(found - wanted).square().sum() / wanted.square().sum():.3f}")

# %% [markdown]
# The critic's order is close to what most people would say: darker and warmer are the smallest changes, the blur and the JPEG blocks
# are the largest.
#
# ## Exercises
#
# **1.** Guess first: by how many pixels may the cat move before the pixel distance is as large as to a plain grey picture?
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
# **2.** Give the coffee the colours of the painting `halftone`, once by `"mean"` and once by `"histogram"`. Predict first: `histogram` has
# each of red, green and blue exactly as in the painting. Does it also come closer to the painting's colours?
#
# <details><summary>Solution</summary>
#
# No. `mean` moves the three colours together: the coffee turns yellow and the white cup blue, as in the comic. `histogram` has each of them
# right and their combinations wrong: the wood turns pale pink, and its grain green.
#
# ```python
# coffee, halftone = nst.load_image("coffee"), nst.load_image("halftone")
# show([nst.recolour(coffee, halftone, way) for way in ("mean", "histogram")], ["mean", "histogram"])
# ```
# </details>
#
# ## References
#
# - L. I. Rudin, S. Osher, E. Fatemi: *Nonlinear total variation based noise removal algorithms*, Physica D, 1992.
# - L. A. Gatys, M. Bethge, A. Hertzmann, E. Shechtman: *Preserving Color in Neural Artistic Style Transfer*, 2016
#   (sections 3.1 and 3.2: mean and covariance; luminance).
#
# ---
#
# **The critic told the six cats apart. What does it look at?** In the next notebook you see what its filters report, layer by layer, and
# what is left of a photograph when only that report is kept.
#
# Previous: [00 · Start here](00_start_here.ipynb) · Next: [02 · What the critic sees](02_what_the_critic_sees.ipynb)
