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
# # 10 · The compact critic
#
# ![two paintings of a cat in stained glass that look nearly the same](../data/openings/10.jpg)
#
# One of these was painted with VGG-19 as the critic (its first three blocks, 2.3 million weights), the other with a network that has a
# fifth of the weights. **Which is which?**
#
# <details><summary>The answer</summary>
#
# Left VGG-19, right the small one.
# </details>
#
# **You will learn** how to choose the filters worth keeping, how the small network learned from the large one, and a one-line proof that
# lets few channels measure distances in many.
#
# 10 seconds on two CPU cores · Previous: [09 · Experiments](09_experiments.ipynb) · Next: [11 · Moving pictures](11_video.ipynb)

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
import json
from pathlib import Path

import nstlib as nst
import torch
import torch.nn.functional as F
from nstlib import show
from matplotlib import pyplot as plt
from nstlib.screen.plots import picture
from PIL import Image
from torch import Tensor

# %% [markdown]
# The teacher is the first three blocks of the original VGG-19 (Simonyan & Zisserman). Its weights are not part of this project, so
# whatever needs them below is **read from stored measurements**, made by `tests/benchmarks/critic_quality.py` on pictures that were
# not used in the training: 44 for the errors, eight crops for the trade-off, our five photographs for the swap test. Everything else is
# computed here.

# %%
folder = Path(nst.__file__).parent / "figures" / "critic"
measured = json.loads((folder / "results.json").read_text())
print("measured on", measured["machine"])

# %% [markdown]
# ## Why so many channels say the same
#
# VGG learned to tell a thousand things apart, and nothing forced it to do so with few channels. Look at the activations of one layer over many
# pictures as points $f$ in a space of $C$ dimensions, one for each channel, with second moments $M=\mathbb E[ff^\top]$. If the
# eigenvalues of $M$ fall quickly, a few directions carry nearly everything. The blue curves show what the best $K$ directions
# leave unexplained.

# %%
figure, axes = plt.subplots(1, 3, figsize=(9.5, 3.4), layout="constrained", sharey=True)
labels = {"best": "best K directions", "greedy": "K channels, chosen greedily", "random": "K channels, at random"}
for axis, (layer, curve) in zip(axes, measured["spectrum"].items(), strict=True):
    for who, label in labels.items():
        axis.plot(curve["counts"], curve[who], marker=".", label=label)
    axis.set(title=layer, xlabel="K", yscale="log")
axes[0].set_ylabel("energy unexplained")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
plt.show()

# %% [markdown]
# ## Keep the channels that explain the others
#
# Directions are mixtures of channels, and to compute a mixture one needs all of them. So we keep *channels*: each time the one
# that explains most of what is still unexplained, and subtract what it explains. That is Cholesky factorisation with greedy
# pivoting. It mostly leaves (orange, above) one and a half to two times what the best directions leave, and clearly less than channels
# taken at random.


# %%
def choose_channels(moment: Tensor, keep: int) -> list[int]:
    """Greedy pivoted Cholesky on second moments (C, C): the channels that explain most of the others."""
    residual, chosen = moment.clone(), []
    for _ in range(keep):
        explained = residual.square().sum(0) / residual.diagonal().clamp_min(1e-12)
        explained[chosen] = -1
        pivot = int(explained.argmax())
        chosen.append(pivot)
        column = residual[:, pivot].clone()
        residual -= torch.outer(column, column) / column[pivot].clamp_min(1e-12)
    return sorted(chosen)


# %% [markdown]
# All $C$ channels are then rebuilt from the $K$ kept ones by least squares, $\hat f=W f_\text{kept}$ with
# $W=M_{:,\text{kept}}\,M_{\text{kept},\text{kept}}^{-1}$ (channel pruning: He, Zhang & Sun, 2017). Try it on a layer of our own critic,
# which is harder to prune, for it is pruned already:

# %%
critic = nst.FeatureExtractor("compact", ("relu2_1",))
with torch.no_grad():
    features = critic.activations(nst.load_image("cat"))["relu2_1"]
flat = features.transpose(0, 1).flatten(1).double()  # (C, H*W)
moment = flat @ flat.T / flat.shape[1]
for keep in (8, 16, 32, 48):
    kept = choose_channels(moment, keep)
    w = torch.linalg.solve(moment[kept][:, kept], moment[kept]).T  # (C, K)
    print(f"{keep} of {len(moment)} channels leave {(flat - w @ flat[kept]).square().sum() / flat.square().sum():.1%}")

# %% [markdown]
# ## Folding
#
# Rebuilding the channels in every layer would cost more than it saves. But the next layer is a convolution, which is linear, so
# the rebuilding can be multiplied into its filters, once, before the network is used. A filter that expected 64 channels now reads 24:

# %%
w = torch.randn(64, 24)  # rebuilds 64 channels from 24
filters = torch.randn(128, 64, 3, 3)
folded = torch.einsum("ochw,ck->okhw", filters, w)  # (128, 24, 3, 3)
kept = torch.randn(1, 24, 10, 10)
rebuilt = torch.einsum("ck,bkhw->bchw", w, kept)
difference = (F.conv2d(rebuilt, filters) - F.conv2d(kept, folded)).norm() / F.conv2d(kept, folded).norm()
print(f"{filters.numel()} weights → {folded.numel()}; relative difference {difference:.0e}")

# %% [markdown]
# Choose, rebuild, fold, layer after layer: that gives a slim network without a single step of training. How slim should it be? Here
# is the trade-off. Hollow circles are networks that were only pruned. Full circles are the same after 600 steps of training, as the
# next section describes. "25%" keeps a quarter of the channels of every layer, and so on. The one that we ship keeps more of block 2,
# which is hard to prune. At full resolution, where most time is spent, it has only 16 and 32 channels. (Its errors after 7,500 steps
# stand further down, on other pictures: compare only within the plot.)

# %%
figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.4), sharey=True, layout="constrained")
for axis, (key, unit, label) in zip(
    axes,
    [("parameters", 1e3, "thousands of weights"), ("seconds", 1e-3, "ms, forward and back through all 8 layers")],
    strict=True,
):
    for row in measured["tradeoff"][:-1]:  # the last is the teacher
        colour = "tab:red" if row["width"] == "shipped" else "tab:blue"
        x = row[key] / unit
        axis.plot([x, x], [row["error"], row["distilled"]], color=colour, linewidth=0.8)
        axis.plot(x, row["error"], "o", color=colour, fillstyle="none")
        axis.plot(x, row["distilled"], "o", color=colour)
        axis.annotate(f"  {row['width']}", (x, row["error"]), color=colour)
    axis.set(xlabel=label, ylim=(0, None))
    axis.margins(x=0.12)
axes[0].set(ylabel="feature error")
plt.show()

# %% [markdown]
# ## Distillation
#
# Now the student learns: all eight layers at once are asked to predict the teacher's features $t^l$ from its own, $s^l$,
# through a linear *head* each, $W^l s^l\approx t^l$, on crops of photographs with shifted colours and noise. Two things matter
# here:
#
# - **Half-finished paintings.** An optimiser that follows the student finds the pictures on which the student is wrong. So a
#   third of each batch are pictures on their way from photograph to painting, *painted with the student as the critic*. The student
#   learns the teacher's features of them.
# - **Gram matrices.** They are what the losses will compare, so their error counts too.
#
# (Each point is a single batch, hence the noise. At 4,500 steps the run was resumed for another 3,000, with the learning rate raised
# again.)

# %%
log = measured["errors"]["log"]
figure, axis = plt.subplots(figsize=(7, 2.8), layout="constrained")
axis.plot(*zip(*log, strict=True), linewidth=1)
axis.set(xlabel="step", ylabel="mean feature error of a batch", yscale="log")
plt.show()

# %% [markdown]
# ## Few channels, the teacher's metric
#
# The heads $W$ lead back to the teacher's many channels. Do we have to go there whenever we compare two pictures? No. Write
# $W=QR$ (the QR decomposition) with $Q^\top Q=1$ and $R$ square. For any two Gram matrices $G$, $G^*$ of the student's features,
#
# $$\lVert W(G-G^*)W^\top\rVert_F=\lVert Q\,R(G-G^*)R^\top Q^\top\rVert_F=\lVert R(G-G^*)R^\top\rVert_F,$$
#
# because multiplying by $Q$ keeps every length. So $R$, a small square matrix, is all of the head that has to be shipped: distances
# after it are those between the teacher's features, as the student predicts them.

# %%
w, g = torch.randn(256, 88).double(), torch.randn(88, 88).double()
r = torch.linalg.qr(w).R
print(f"{(w @ g @ w.T).norm():.10f} with 256 channels\n{(r @ g @ r.T).norm():.10f} with 88")

# %% [markdown]
# And since the Gram matrix of $Rs$ is $RGR^\top$, our style loss applies $R$ to a small matrix, not to every pixel. (The heads have
# no bias: with one, the errors would fall by less than one per cent of themselves.)
#
# ## How good is it?
#
# An error of 0 would be the teacher itself. For features, an error of 1 is what the mean of each channel alone would give; for Gram
# matrices, what zeros would give.

# %%
errors = measured["errors"]
print(f"{errors['pictures']} test pictures; {measured['bytes'] / 1e6:.3f} MB\n")
print(f"{'layer':9} features  Gram")
for layer, error in errors["feature"].items():
    print(f"{layer:9} {error:8.3f}  {errors['gram'][layer]:.3f}")

# %% [markdown]
# **The swap test** is the one that counts. Five photographs in four styles are painted twice with the same settings: once
# following VGG-19, once following the compact critic. Then VGG-19 judges both. We also show both critics pairs of half-finished
# paintings and ask which is closer to the style: first both painted for the same critic, then one for each. (If each tossed a coin, they
# would agree on half of the pairs.) The last line is the time and memory of one step of painting, with VGG-19 up to `relu5_1`.

# %%
swap, speed = measured["swap"], measured["speed"]
print(
    f"objective under VGG-19, compact / own: median {swap['ratio_median']}, mean {swap['ratio_mean']}, worst {swap['ratio_max']}"
)
styles = sorted(row["compact"]["style"] / row["teacher"]["style"] for row in swap["rows"])
print(f"the style loss in it: median {styles[len(styles) // 2]:.2f}, worst {styles[-1]:.2f}")
print(f"agree which of two pictures is closer to the style: {swap['agreed']} of {swap['pairs']} pairs;")
print(f"one painted on VGG-19, the other on the compact critic: {swap['agreed_mixed']} of {swap['pairs']}")
seconds, mib = speed["seconds"], speed["mib"]
print(
    f"a step at 512 × 384: {seconds['compact']:.3f} s against {seconds['vgg19']:.3f} s; {mib['compact']} MiB against {mib['vgg19']}"
)

# %%
pairs = Image.open(folder / "swap.jpg")
boxes = [(354 * i, y, 354 * i + 346, y + 230) for i in range(5) for y in (0, 264)]
show([pairs.crop(box) for box in boxes], ["VGG-19, three blocks", "compact critic"] * 5, columns=2, height=230)

# %% [markdown]
# Left: painted with VGG-19's first three blocks; right: with the compact critic. Most strokes are in nearly the same places, and there is
# hardly more speckle. Look closely: on the right some black lines between the panes are fainter, and fine lines, such as the foam of the
# woodblock, are a little rougher. The objective is a tenth higher, and nearly all of that is style: the style loss is almost twice as high,
# though still under one per cent of the photograph's. And each critic favours what was painted for itself. Of mixed pairs, the two agree
# on 137 of 200, where a coin would give 100. ("VGG-19" in this section means its first three
# blocks, except in the line about time and memory. The deeper blocks were not compared.)
#
# Do both critics also agree when the way of painting changes? Notebook 04 goes from the paper's way to ours, step by step. Above, the
# painting follows VGG-19's first three blocks, below, the compact critic (painted once by `data/experiments.py`, and stored):

# %%
picture("sheets/paper.jpg", width=1220)

# %% [markdown]
# Compare the two pictures of each column. Another start (noise or photograph) or a pyramid changes the painting more than another critic
# does. Another optimiser changes it about as much. In both pictures of the last column the moon is in the upper right corner; the bands
# across the sky differ most.
#
# ## Make your own
#
# With any VGG-19 and any folder of photographs; it resumes when interrupted:
#
# ```
# python -m nstlib.training.distil --photos DIR --teacher vgg19 --output mine.safetensors
# nst stylize cat --style swirl --backbone compact --weights mine.safetensors
# ```
#
# ## Exercises
#
# **1.** Guess first: how many channels of `relu3_4` of our own critic are needed to rebuild the rest to within 5 % on the coffee?
#
# <details><summary>Solution</summary>
#
# 44, half of them.
#
# ```python
# deep = nst.FeatureExtractor("compact", ("relu3_4",))
# flat = deep.activations(nst.load_image("coffee"))["relu3_4"].transpose(0, 1).flatten(1).double()
# moment = flat @ flat.T / flat.shape[1]
# for keep in range(4, 60, 4):
#     kept = choose_channels(moment, keep)
#     w = torch.linalg.solve(moment[kept][:, kept], moment[kept]).T
#     print(keep, f"{(flat - w @ flat[kept]).square().sum() / flat.square().sum():.3f}")
# ```
# </details>
#
# **2.** Prove the QR line for content distances: $\lVert W(s-s^*)\rVert=\lVert R(s-s^*)\rVert$.
#
# <details><summary>Solution</summary>
#
# $\lVert QR(s-s^*)\rVert^2=(s-s^*)^\top R^\top Q^\top Q R(s-s^*)=\lVert R(s-s^*)\rVert^2$, since $Q^\top Q=1$.
# </details>
#
# ## References
#
# - K. Simonyan, A. Zisserman: *Very Deep Convolutional Networks for Large-Scale Image Recognition*, 2014; weights CC BY 4.0.
# - Y. He, X. Zhang, J. Sun: *Channel Pruning for Accelerating Very Deep Neural Networks*, ICCV 2017.
# - G. Hinton, O. Vinyals, J. Dean: *Distilling the Knowledge in a Neural Network*, 2015.
#
# ---
#
# **So far we painted single pictures. What happens if you paint the 25 pictures of each second of a film, each on its own?** The film
# flickers. The next notebook shows why, and what helps.
#
# Previous: [09 · Experiments](09_experiments.ipynb) · Next: [11 · Moving pictures](11_video.ipynb)
