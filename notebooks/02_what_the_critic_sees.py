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
# # 02 · What the critic sees
#
# ![a photograph of a cat, two grey maps of it, and two coloured patterns that filters want to see](../data/openings/02.jpg)
#
# A photograph, what two of the critic's filters report about it, and what two others would most like to see. **What does a network
# learn about a picture, and what does it forget?**
#
# **You will learn** what a convolutional network reports, layer by layer; how to measure whether two pictures show the same thing;
# and what is left of a photograph when it is rebuilt from a layer's report alone.
#
# 40 seconds on two CPU cores · Previous: [01 · Pictures as tensors](01_pictures_as_tensors.ipynb) · Next: [03 · Style is a Gram matrix](03_style_is_a_gram_matrix.ipynb)

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
import torch.nn.functional as F
from nstlib import show
from nstlib.screen.plots import curves, feature_maps
from torch import Tensor

gpu = torch.cuda.is_available()
size, steps = (320, 400) if gpu else (192, 150)
cat = nst.load_image("cat", size=384)

# %% [markdown]
# ## A network as a critic
#
# VGG-19 (Simonyan & Zisserman, 2014) learned to name a thousand kinds of things in photographs. It is a pile of 3×3
# **convolutions**: small filters that slide over the picture and answer strongly wherever their pattern occurs. After each
# comes a **ReLU**, which sets negative answers to zero, and now and then **pooling**, which halves the picture. So deeper
# layers look at larger and larger patches, in terms of what the layers before have found.
#
# The layers have names: `relu3_1` is the ReLU after the first convolution of the third block. We never use the network's
# final answer, only these intermediate reports, its *features* `(B, C, H, W)`: C filters' answers at H × W places.
#
# Our critic is a slimmed-down copy of VGG-19's first three blocks ([notebook 10](10_the_compact_critic.ipynb) tells how it
# was made). With internet, `FeatureExtractor("vgg19", …)` is the original. One difference shows: after the ReLU ours mixes the
# channels once more (its *head*, a 1×1 convolution), so that distances come out as VGG's would. Its answers may therefore be
# negative, and the numbers of channels are its own.

# %%
layers = ("relu1_1", "relu2_1", "relu3_1", "relu3_4")
critic = nst.FeatureExtractor("compact", layers)
with torch.no_grad():
    features = critic(cat)
for name, f in features.items():
    print(f"{name}  {f.shape[1]:4} channels of {f.shape[2]} × {f.shape[3]}")

# %% [markdown]
# Inside there is only a loop over the layers. It stops at the deepest layer that we asked for:


# %%
def look(critic: nst.FeatureExtractor, image: Tensor) -> dict[str, Tensor]:
    """The features of a picture (1, 3, H, W) by layer name, as `critic(image)` gives them."""
    x, features = (image - critic.mean) / critic.std, {}
    for name in critic.names:  # conv1_1, relu1_1, conv1_2, relu1_2, pool1, …
        if name.startswith("conv"):
            x = critic.convs[name](x)  # 3×3 filters
        elif name.startswith("relu"):
            x = x.relu()
        else:
            x = F.avg_pool2d(x, 2)  # half the height and width
        if name in critic.layers:
            features[name] = critic.head(name, x)
    return features


with torch.no_grad():
    ours = look(critic, cat)
for name, f in features.items():
    assert torch.allclose(ours[name], f, atol=1e-4)
print("the loop and the library agree at", *features)

# %% [markdown]
# Here are the six channels of each layer that vary most. White is a strong answer. The first layer finds light, dark and edges. In
# the deeper layers the places become coarser and the answers more special: lines of one direction, the rims of the eyes, and at
# `relu3_4` whole regions, such as the eyes or one side of the face.

# %%
maps = [m for f in features.values() for m in feature_maps(f, 6)]
titles = [name if i == 0 else "" for name in layers for i in range(6)]
show(maps, titles, columns=6, height=105)

# %% [markdown]
# Which picture makes one channel answer most strongly? Start from grey, and change the pixels so that its answer grows. (A little
# total variation keeps the picture smooth.) There are three channels for each layer, and each line of pictures shows two
# layers. In the first layer each channel asks for one colour; the third of them gives no answer to grey, so nothing changes and the
# picture stays grey. The second block asks for stripes and ridges, the third for folds, lattices and knots.


# %%
def dream(critic: nst.FeatureExtractor, layer: str, channel: int, steps: int = 60) -> Tensor:
    """A picture (1, 3, 96, 96) at which one channel of a layer answers loudly."""
    noise = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(channel))
    image = (0.5 + 0.05 * noise).requires_grad_()
    optimiser = torch.optim.Adam([image], lr=0.03)
    for _ in range(steps):
        optimiser.zero_grad()
        answer = critic.activations(image)[layer][0, channel].mean()
        (-answer / answer.detach().abs().clamp_min(1e-3) + 5 * nst.total_variation(image)).backward()
        optimiser.step()
        with torch.no_grad():
            image.clamp_(0, 1)
    return image.detach()


dreams = [dream(critic, name, channel) for name in layers for channel in (3, 9, 14)]
show(dreams, [name if i == 0 else "" for name in layers for i in range(3)], columns=6, height=150)

# %% [markdown]
# ## Does it show the same thing?
#
# The **content** of a picture $x$ is what the critic reports at some layer $l$. With $F^l_{ij}$ for the answer of its filter $i$
# at place $j$, and $P^l_{ij}$ for the photograph's, Gatys et al. (2016, equation 1) compare
#
# $$\mathcal L_\text{content}=\tfrac12\sum_{ij}\left(F^l_{ij}-P^l_{ij}\right)^2$$
#
# That number depends on the size of the picture and on the network. Instead of halving we divide by $\lVert P\rVert^2$, the
# sum of the squares of the photograph's own features, so that 0 means the same, and 1 is as far off as no report at all ($F=0$), at
# any size and with any network:


# %%
def content_loss(features: Tensor, target: Tensor) -> Tensor:
    """‖F − P‖² / ‖P‖² of features (B, C, H, W), mean over the batch."""
    difference = (features - target).square().sum((1, 2, 3))
    return (difference / target.square().sum((1, 2, 3))).mean()


# %% [markdown]
# In the last notebook a shift that nobody notices was as bad to the pixels as a strong blur. Here are a shift by 3 pixels, a lighter
# blur, noise and a darker cat. Each row is a change, each column a judge:

# %%
torch.manual_seed(0)
versions = {
    "shifted": cat.roll(3, dims=-1),
    "blurred": torch.nn.functional.avg_pool2d(cat, 9, stride=1, padding=4, count_include_pad=False),
    "noisy": (cat + 0.15 * torch.randn_like(cat)).clamp(0, 1),
    "darker": cat * 0.85,
}
print(f"{'':10}{'pixels':>9}", *[f"{name:>9}" for name in layers])
for label, version in versions.items():
    with torch.no_grad():
        losses = [content_loss(version, cat)] + [content_loss(critic(version)[n], features[n]) for n in layers]
    print(f"{label:10}", *[f"{loss:9.3f}" for loss in losses])

# %% [markdown]
# Compare the first two rows. To the pixels, the shift is three times as bad as the blur. At `relu3_4` it is the other way round:
# the shift costs half of what the blur costs. Deep features are about *what* is there, and less about exactly *where*. (They forgive
# only small shifts, for at `relu3_4` one place covers 4 × 4 pixels. Shift the cat by 6 pixels, and `relu3_4` too finds the shift worse
# than the blur.) To the pixels, darkening is as bad as the shift. At `relu3_4` it costs only a sixth of the shift. The noise is the
# worst in every column.
#
# ## Rebuilding a photograph from what the critic saw
#
# What does a layer know? Start from noise, and change the *pixels* until the critic's report at that layer is the
# photograph's. `GatysPainter` does this. With a style weight of 0 only the content counts, and a little total variation,
# which keeps speckle away. Where the layer has forgotten something, the result may be wrong.

# %%
small = nst.load_image("cat", size=size)
noise = torch.rand(small.shape, generator=torch.Generator().manual_seed(0))
rebuilt, histories = [], {}
for layer in ("relu1_1", "relu2_2", "relu3_2", "relu3_4"):
    config = nst.GatysConfig(backbone="compact", content_layers=(layer,), style_weight=0, tv_weight=0.1, lr=0.05)
    painter = nst.GatysPainter(small, [small], config, image=noise)
    histories[layer] = [painter.step().losses["content"] for _ in range(steps)]
    rebuilt.append(painter.state().image)
show([noise, *rebuilt, small], ["start", *histories, "the photograph"], columns=3, height=190)

# %% [markdown]
# From afar all four look like the photograph. Come closer: one eye, four times enlarged.

# %%
scale = small.shape[-1] / 451  # the eye's place in the photograph of 451 pixels
top, left, side = (round(value * scale) for value in (90, 160, 75))
eyes = [picture[..., top : top + side, left : left + side] for picture in (*rebuilt, small)]
show([F.interpolate(eye, scale_factor=4) for eye in eyes], [*histories, "the photograph"], columns=5, height=190)

# %%
curves(histories, "content loss")

# %% [markdown]
# The deeper the layer, the more slowly its loss falls. And three blocks forget little: the photograph comes back
# almost pixel for pixel from the first block, and from `relu3_2` it still looks whole. From `relu3_4` it comes back with small
# errors: the rim of the eye is uneven, some pixels have a wrong colour, and whiskers and fur are only roughly where they were. This
# freedom is what a painting needs: the strokes may go where they like, and the cat stays a cat. (Our paintings compare content at
# `relu3_2`, a little before that.)
#
# ## Exercises
#
# **1.** Guess first: which of the other sample photographs is closest to the cat at `relu3_4`? (All at 256 × 256 pixels.)
#
# <details><summary>Solution</summary>
#
# The photographer (1.25), just before the rocket (1.28) and the galaxies (1.50); the others are above 2. These three have large
# even areas, such as a grey or a black sky, where there is little to be different.
#
# ```python
# square = {n: nst.resize(nst.load_image(n), (256, 256)) for n in nst.sample_names()["photographs"]}
# with torch.no_grad():
#     deep = {n: critic(x)["relu3_4"] for n, x in square.items()}
# print({n: round(content_loss(f, deep["cat"]).item(), 3) for n, f in deep.items()})
# ```
# </details>
#
# **2.** Rebuild the cat from `relu3_4` without total variation (`tv_weight=0`). Predict first: what can the pixels do that this layer
# will not notice?
#
# <details><summary>Solution</summary>
#
# They can make speckle. Pooling averages neighbours, so a fine checkerboard hardly changes the answers of a deep layer. Only a rule
# about pictures in general (a *prior*), such as total variation, removes it.
#
# ```python
# config = nst.GatysConfig(backbone="compact", content_layers=("relu3_4",), style_weight=0, lr=0.05)
# show(nst.GatysPainter(small, [small], config, image=noise).step(steps).image, height=300)
# ```
# </details>
#
# ## References
#
# - K. Simonyan, A. Zisserman: *Very Deep Convolutional Networks for Large-Scale Image Recognition*, 2014.
# - L. A. Gatys, A. S. Ecker, M. Bethge: *Image Style Transfer Using Convolutional Neural Networks*, CVPR 2016, section 2.1, equation 1.
# - A. Mahendran, A. Vedaldi: *Understanding Deep Image Representations by Inverting Them*, CVPR 2015.
#
# ---
#
# **Features say what is where. But you recognise a Van Gogh by any corner of it, so a style does not depend on places. How do you
# take the places out of the features?** One matrix product does it.
#
# Previous: [01 · Pictures as tensors](01_pictures_as_tensors.ipynb) · Next: [03 · Style is a Gram matrix](03_style_is_a_gram_matrix.ipynb)
