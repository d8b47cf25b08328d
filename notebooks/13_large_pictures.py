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
# # 13 · Large pictures
#
# ![a painted cup of coffee, once in one piece, once in tiles whose seams show](../data/openings/13.jpg)
#
# The same network painted both, the left one whole, the right one in six tiles. **Where do the seams come from, and can one avoid
# them?**
#
# **You will learn** what a network needs its memory for; the sums that make tiles exact, for a trained network and for Gatys; and what
# happens to the strokes when a picture becomes a poster.
#
# About 2 minutes on two CPU cores · Previous: [12 · Super-resolution](12_super_resolution.ipynb) · Next: [14 · Where next](14_where_next.ipynb)

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
from nstlib.critic.tiled import TiledLoss
from nstlib.painting.fast import paint_tensor
from nstlib.painting.tiles import paint_tiled
from nstlib.pictures.pixels import cut, tiles, widened
from torch import Tensor, nn

os.environ["NSTLIB_PRECISION"] = "float32"  # as tiles compute, so that both can be compared
net = nst.load_transformer("starry_night")
photo = nst.load_image("coffee")  # (1, 3, 400, 600)

# %% [markdown]
# ## The memory bill
#
# A network's weights are small, 0.4 million numbers here. Its *maps* are large: every layer makes one, with many channels
# for each pixel. Let us write down what each convolution makes of our photograph, in bytes for each pixel of the picture,
# and what that comes to at 10,000 × 7,500 pixels, which is a print of 85 × 64 cm at 300 pixels an inch.


# %%
def bill(net: nn.Module, image: Tensor) -> list[tuple[str, tuple, float]]:
    """Name, shape and bytes a pixel of what each convolution makes."""
    lines, hooks = [], []
    for name, layer in net.named_modules():
        if isinstance(layer, nn.Conv2d):

            def note(layer, given, made, name=name):
                lines.append((name, tuple(made.shape[1:]), 4 * made.numel() / image[0, 0].numel()))

            hooks.append(layer.register_forward_hook(note))
    with torch.inference_mode():
        net(image)
    for hook in hooks:
        hook.remove()
    return lines


print(f"{'layer':24}{'channels, height, width':>26}{'bytes a pixel':>15}{'at 10,000 × 7,500':>20}")
for name, shape, size in bill(net, photo):
    if "residual" not in name or "residual.0" in name:  # the five blocks are alike
        print(f"{name:24}{shape!s:>26}{size:15.0f}{size * 75e6 / 1e9:17.1f} GB")

# %% [markdown]
# The layers at the full size cost most. Beside each of them memory is needed for a norm, a ReLU and a copy with a mirrored border:
# about six such maps are in memory at once, 30 GB. The *trunk*, the residual blocks at a quarter of the size, is cheap: 16 bytes a pixel, 1.2 GB.
#
# So we keep the trunk whole, and compute everything that is larger in tiles. But simple tiles leave seams.
#
# ## Why tiles show seams
#
# Cut the photograph into six tiles, paint each, put them together:


# %%
def seam(image: Tensor, boxes) -> float:
    """Mean difference of neighbours across the upright cuts, against that of all neighbours; 1 is no seam."""
    differences = image.diff(dim=-1).abs()
    cuts = sorted({left - 1 for _, (left, _) in boxes if left})
    return float(differences[..., cuts].mean() / differences.mean())


boxes = tiles(photo.shape[-2:], (200, 200))
whole, naive = paint_tensor(net, photo), torch.empty_like(photo)
for box in boxes:
    cut(naive, box).copy_(paint_tensor(net, cut(photo, box)))
psnr = -10 * (whole - naive).square().mean().log10()
print(
    f"whole: seams {seam(whole, boxes):.2f}   each tile by itself: seams {seam(naive, boxes):.2f}, {psnr:.0f} dB from the whole"
)
show([whole, naive], ["whole", "each tile by itself"], height=330)

# %% [markdown]
# It is not only the border of a tile: whole tiles have other colours. (The whole picture has 1.10 and no seam: at these places it
# happens to change a little more than elsewhere.) The reason is *instance norm*. It subtracts each channel's mean over the picture and
# divides by its deviation. The second tile holds the bright cup, the fifth the dark saucer, and each has another mean than the picture.
# Look at one channel of the first layer:

# %%
with torch.inference_mode():
    first = net.down[0].conv(photo)[:, 5:6]  # (1, 1, 400, 600)
means = [f"{cut(first, box).mean():.2f}" for box in boxes]
print(f"mean of the picture: {first.mean():.2f}; of its tiles: {' '.join(means)}")

# %% [markdown]
# ## The sums that make tiles exact
#
# Mean and variance of the whole can be had from the tiles. Let tile $t$ have $n_t$ pixels, mean $\mu_t$ and variance $\sigma_t^2$, and
# let $N=\sum_t n_t$ (Chan, Golub & LeVeque, 1983):
#
# $$\mu=\frac1N\sum_{p}x_p$$
# $$\phantom{\mu}=\frac1N\sum_t n_t\,\mu_t$$
# $$\sigma^2=\frac1N\sum_t\sum_{p\in t}\big((x_p-\mu_t)+(\mu_t-\mu)\big)^2$$
# $$\phantom{\sigma^2}=\frac1N\sum_t n_t\big(\sigma_t^2+(\mu_t-\mu)^2\big)$$
#
# The mixed term is zero, because $\sum_{p\in t}(x_p-\mu_t)=0$. In code:

# %%
parts = [cut(first, box) for box in boxes]
n = torch.tensor([part.numel() for part in parts]) / first.numel()
mean = sum(share * part.mean() for share, part in zip(n, parts, strict=True))
variance = sum(s * (p.var(correction=0) + (p.mean() - mean) ** 2) for s, p in zip(n, parts, strict=True))
print(f"tiles: {mean:.6f} {variance:.6f}   whole: {first.mean():.6f} {first.var(correction=0):.6f}")

# %% [markdown]
# A later norm needs the earlier ones first. So we go over all tiles once for each norm outside of the trunk: sum the statistics of
# norm 1; then compute norm 1 and sum those of norm 2; and so on. The first convolutions are computed again each time, which adds half
# of the arithmetic; in return the maps of a small tile stay in the processor's cache. `nst.paint` does this by itself where the
# memory does not suffice for the whole.
#
# ## A halo for what a convolution reads
#
# A 3×3 convolution reads one pixel beyond the tile, and the next layer one more. So a tile is computed with a *halo*, which is cut
# off at the end. At the border of the picture there is no halo: there the layer mirrors, as it does in the whole. How wide must it
# be? As wide as the network reaches. Here the critic computes one tile, with halos of different widths:

# %%
critic = nst.FeatureExtractor("compact", ("relu3_4",))
box = ((128, 256), (256, 384))
with torch.no_grad():
    wanted = cut(critic(photo)["relu3_4"], [(a // 4, b // 4) for a, b in box])  # at a quarter of the size
    for halo in (0, 8, 16, 24, 32):
        wide = widened(box, halo, photo.shape[-2:])
        found = critic(cut(photo, wide))["relu3_4"]
        inner = [((a - c) // 4, (b - c) // 4) for (a, b), (c, _) in zip(box, wide, strict=True)]
        error = (cut(found, inner) - wanted).norm() / wanted.norm()
        print(f"halo {halo:2} pixels: relative error {error:.0e}")

# %% [markdown]
# With sums over the whole picture and halos of the right width, tiles are exact, but for rounding. Most of the rounding is our choice:
# what the library keeps between two sweeps, outside of the trunk, it keeps in half precision (16 bits), which takes half the memory.
# Here is the picture in tiles of 128 pixels, against the whole. The difference is far less than one step of an 8-bit picture:

# %%
exact = paint_tiled(net, nst.open_image("coffee"), side=128)
print(f"largest difference anywhere: {(exact - whole).abs().max() * 255:.2f} of 255; seams {seam(exact, boxes):.2f}")

# %% [markdown]
# ## Gatys in tiles
#
# Painting by optimisation needs far more memory, 1,100 bytes a pixel, for every map is kept until the gradient is computed. And its loss is
# a function of the whole picture, through the Gram matrix. But a Gram matrix is a sum over pixels, so it is a sum over tiles, and
# the chain rule does the rest:
#
# $$G=\sum_t G_t(x)\qquad\Longrightarrow\qquad\frac{\partial L}{\partial x}=\sum_t\Big\langle\frac{\partial L}{\partial G},\ \frac{\partial G_t}{\partial x}\Big\rangle$$
#
# First we go over all tiles and sum $G$. Then $\partial L/\partial G$ is computed once; it is a small matrix. Then we go over the tiles
# again and back-propagate tile by tile, and each tile's maps are freed before the next. For one layer:


# %%
def own_gram(image: Tensor, box, halo: int) -> Tensor:
    """A tile's share of the Gram matrix of relu3_4, (C, C)."""
    wide = widened(box, halo, image.shape[-2:])
    f = critic.activations(cut(image, wide))["relu3_4"]
    f = cut(f, [((a - c) // 4, (b - c) // 4) for (a, b), (c, _) in zip(box, wide, strict=True)])[0].flatten(1)
    return f @ f.T / (f.shape[0] * image[0, 0].numel() / 16)


def tiled_gradient(image: Tensor, target: Tensor, boxes, halo: int) -> Tensor:
    with torch.no_grad():
        total = sum(own_gram(image, box, halo) for box in boxes)
    total.requires_grad_()
    (slope,) = torch.autograd.grad((total - target).square().sum() / target.square().sum(), total)  # ∂L/∂G
    image = image.clone().requires_grad_()
    for box in boxes:
        (slope * own_gram(image, box, halo)).sum().backward()  # adds to image.grad
    return image.grad


# %%
with torch.no_grad():
    target = nst.gram(critic.activations(nst.load_image("swirl"))["relu3_4"])[0]
image = photo.clone().requires_grad_()
g = nst.gram(critic.activations(image)["relu3_4"])[0]
((g - target).square().sum() / target.square().sum()).backward()
grid = tiles(photo.shape[-2:], (160, 160), multiple=4)
for halo in (0, 8, 16, 24, 32):
    error = (tiled_gradient(photo, target, grid, halo) - image.grad).norm() / image.grad.norm()
    print(f"halo {halo:2} pixels: relative error of the gradient {error:.0e}")

# %% [markdown]
# The library's `TiledLoss` does this for all layers, style scales, masks, the content and the total variation. It takes the place of
# `PerceptualLoss`, and the rest of the painter does not notice. `nst stylize --size 6000` uses it where the memory asks for it.
# (What differs is rounding: in float32 the whole picture's own gradient is 3e-5 away from that in float64.)

# %%
config = nst.LossConfig(backbone="compact", style_scales=(1.0, 0.5, 0.25))
gradients = []
for loss in (nst.PerceptualLoss(config), TiledLoss(config, side=128)):
    loss.set_content(photo)
    loss.set_styles([nst.load_image("swirl")])
    image = photo.flip(-1).requires_grad_()
    loss(image)["total"].backward()
    gradients.append(image.grad)
print(f"relative difference of the gradients: {(gradients[0] - gradients[1]).norm() / gradients[0].norm():.0e}")

# %% [markdown]
# ## Strokes do not grow with the picture
#
# Memory is one half of the problem. A network has learned strokes of a certain number of *pixels*. Give it a larger picture, and it
# paints the same strokes, smaller beside the cup:

# %%
del os.environ["NSTLIB_PRECISION"]  # from here on as fast as can be
paintings = [nst.paint("coffee", net, size=size) for size in (300, 600, 1500)]
show(paintings, ["300 pixels: broad strokes", "600 pixels", "1,500 pixels: a fine pattern"], height=220)

# %% [markdown]
# In the right one the strokes are so small that from a distance one sees a photograph under a pattern. There is no single right size,
# for a poster is looked at from near and from far. What one can do:
#
# - **A trained network**: `stroke_size` paints small first, and gives the enlarged painting, mixed with the photograph, to the network
#   again, twice as large each time: broad strokes from the first passes, detail from the last.
# - **Gatys**: the coarse sizes of the pyramid set the large strokes before the large sizes begin. Up to 1,024 pixels the style picture
#   grows with the painting. Above, `stylize` lets it grow with the root of the size: at 4,096 pixels it is 2,048 wide. Its strokes are
#   half as large beside the motif, and twice as many pixels wide. `style_scale` moves both. The large sizes have fewer steps, and Adam
#   begins each with the moments of the one before, for only detail is left to paint.
#
# ## A poster
#
# Below are the whole, and a piece of it in which each pixel is shown. This network has learned stained glass. On the table it paints clean
# panes; in the smooth coffee the black lines between them break off. (The network for *The Starry Night* weaves fine threads, which show
# at this size.)

# %%
poster = nst.paint("coffee", "stained_glass", size=2400, stroke_size=4)
print(f"{poster.shape[-1]} × {poster.shape[-2]} pixels")
show([poster], ["the whole"], height=420)

# %%
show([poster[..., 500:900, 800:1600]], ["a piece, in true pixels"], height=400)

# %% [markdown]
# ## Exercises
#
# **1.** What does the halo cost? Predict: how many pixels are computed for one that is kept, with tiles of 128, 256 and 512 pixels and a
# halo of 32?
#
# <details><summary>Solution</summary>
#
# 2.25, 1.56 and 1.27.
#
# ```python
# for side in (128, 256, 512):
#     print(side, f"{(side + 2 * 32) ** 2 / side**2:.2f}")
# ```
# </details>
#
# **2.** Some programs take the norm's statistics from a small copy of the picture. Predict: is that exact? Compare a channel's mean and
# deviation at 600 and at 75 pixels.
#
# <details><summary>Solution</summary>
#
# No. The mean is nearly right (-2.158 for -2.156), but the deviation is 2 % too small: a small copy has lost some of the detail that
# the filter answers to.
#
# ```python
# with torch.inference_mode():
#     for size in (600, 75):
#         x = net.down[0].conv(nst.load_image("coffee", size))[:, 5]
#         print(size, f"{x.mean():.3f} {x.std():.3f}")
# ```
# </details>
#
# **3.** Write the total variation as a sum over tiles. What must neighbouring tiles share?
#
# <details><summary>Solution</summary>
#
# One row and one column: the difference across a cut belongs to exactly one of the two tiles. `TiledLoss._differences` has it.
# </details>
#
# ## References
#
# - D. Ulyanov, A. Vedaldi, V. Lempitsky: *Instance Normalization*, 2016.
# - T. Chan, G. Golub, R. LeVeque: *Algorithms for Computing the Sample Variance*, 1983.
# - L. Gatys, A. Ecker, M. Bethge: *Image Style Transfer Using Convolutional Neural Networks*, CVPR 2016.
# - J. Johnson, A. Alahi, L. Fei-Fei: *Perceptual Losses for Real-Time Style Transfer and Super-Resolution*, ECCV 2016.
#
# ---
#
# **Now you have seen all the tools. Where do they come from, what came after them, and which would you take today?** One notebook is
# left.
#
# Previous: [12 · Super-resolution](12_super_resolution.ipynb) · Next: [14 · Where next](14_where_next.ipynb)
