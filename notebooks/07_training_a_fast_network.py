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
# # 07 · Training a fast network
#
# ![a cup of coffee in six styles](../data/openings/07.jpg)
#
# By optimisation each of these takes half a minute or more. Here six networks, one for each style, painted each in less than a second.
# **What did they have to learn beforehand?**
#
# **You will learn** how to build, train and use such a network; what its training loop looks like, written out once; and how to train
# for hours on a Colab or Kaggle GPU without losing anything.
#
# About 5 minutes on one CPU core · Previous: [06 · Perceptual losses](06_perceptual_losses.ipynb) · Next: [08 · The playground](08_playground.ipynb)

# %% cellView="form" jupyter={"source_hidden": true}
# @title At home this cell does nothing. On Colab or Kaggle it installs the library from a zip.
import os
import sys

if "google.colab" in sys.modules or "KAGGLE_KERNEL_RUN_TYPE" in os.environ:
    if not os.path.exists("nstlib.zip"):
        sys.exit("Upload a zip of the repository as nstlib.zip beside this notebook, and run this cell again.")
    # %pip install -q nstlib.zip
    print("nstlib is installed")

# %% [markdown]
# All sizes and steps of this notebook are chosen here. On a GPU it trains a wider network, on larger crops and for longer.

# %%
import signal
import tempfile
from pathlib import Path

import nstlib as nst
import torch
import torch.nn.functional as F
from nstlib import show
from nstlib.screen.plots import LivePlot
from torch import nn

gpu = torch.cuda.is_available()
width, side, steps = (32, 256, 3000) if gpu else (16, 128, 500)
work = Path(tempfile.mkdtemp())  # for a training that must not be lost, see the last part

# %% [markdown]
# ## From one picture to all pictures
#
# In notebook 04 every photograph was a new problem. Johnson et al. (2016, equation 1) solve it once for all photographs: they look
# for the *weights* $W$ of a network $f_W$ whose paintings $y$ make the same loss small, on average ($\mathbb E_x$) over all
# photographs $x$:
#
# $$W^*=\arg\min_W\;\mathbb E_x\big[\alpha\,\mathcal L_\text{content}(y,x)+\beta\,\mathcal L_\text{style}(y,a)+\gamma\,\mathrm{TV}(y)\big],\quad y=f_W(x)$$
#
# The style picture $a$ is fixed: one network, one style. Once it is trained, there is nothing left to optimise.
#
# ## The network
#
# It is narrow in the middle, like an hourglass. Two *strided* convolutions, which answer only at every second place, make the picture
# a quarter as wide and as high. There, computing is cheap and each filter sees far. *Residual blocks*, each of which adds a correction
# to what it is given, do the work. Two enlargements bring the picture back to its size. Here is all of it:


# %%
def block(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    """A convolution with a mirrored border, and instance norm."""
    conv = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, padding_mode="reflect")
    return nn.Sequential(conv, nn.InstanceNorm2d(outputs, affine=True))


class Residual(nn.Module):
    """x + f(x): a correction to what comes in."""

    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(block(channels, channels), nn.ReLU(), block(channels, channels))

    def forward(self, x):
        return x + self.body(x)


class Net(nn.Module):
    """(B, 3, H, W) in [0, 1] to the same; H and W are multiples of 4."""

    def __init__(self, w: int):
        super().__init__()
        down = [
            block(3, w, 9),
            nn.ReLU(),
            block(w, 2 * w, stride=2),
            nn.ReLU(),
            block(2 * w, 4 * w, stride=2),
            nn.ReLU(),
        ]
        middle = [Residual(4 * w) for _ in range(5)]
        up = [nn.Upsample(scale_factor=2), block(4 * w, 2 * w), nn.ReLU()]
        up += [nn.Upsample(scale_factor=2), block(2 * w, w), nn.ReLU()]
        to_rgb = nn.Conv2d(w, 3, 9, padding=4, padding_mode="reflect")
        self.layers = nn.Sequential(*down, *middle, *up, to_rgb)

    def forward(self, image):
        return self.layers(image).sigmoid()


# %% [markdown]
# Is that really the network that comes with nstlib? Its parts have the same order, so we can pour the weights of a shipped network
# into ours, one tensor after the other, and let both paint:

# %%
shipped = nst.load_transformer("starry_night")
mine = Net(shipped.config.width)
mine.load_state_dict(dict(zip(mine.state_dict(), shipped.state_dict().values(), strict=True)))
photo = nst.resize(nst.load_image("coffee"), (256, 384))
with torch.no_grad():
    ours, theirs = mine(photo), shipped(photo)
print(f"{sum(p.numel() for p in mine.parameters()):,} parameters; largest difference {(ours - theirs).abs().max():.1e}")
assert (ours - theirs).abs().max() < 1e-3
show([photo, ours], ["photograph", "painted by our own class"], height=256)

# %%
x = photo
for layer in mine.layers:
    with torch.no_grad():
        x = layer(x)
    if not isinstance(layer, nn.ReLU):
        print(f"{type(layer).__name__:12} {x.shape[1]:3} channels of {x.shape[2]} × {x.shape[3]}")

# %% [markdown]
# Three of its choices are worth knowing. Without them, such networks show the faults that are named here:
#
# - **Reflection padding.** Convolutions that pad with zeros see a black frame around every picture, and learn to paint one.
# - **Instance norm** (Ulyanov et al. 2016). Each picture's own contrast is taken out before the style's is put in. Batch norm
#   takes out the mean contrast of a whole batch, so a pale photograph stays pale.
# - **Resize, then convolve** (Odena et al. 2016). The next cells show why.
#
# ## Checkerboards
#
# The usual way to enlarge is a *transposed* convolution (often called deconvolution): every input pixel stamps its kernel into
# the output, two pixels apart. Stamps of 3×3 pixels overlap. How many does each output pixel get?

# %%
ones = torch.ones(1, 1, 4, 4)
F.conv_transpose2d(ones, torch.ones(1, 1, 3, 3), stride=2, padding=1, output_padding=1)[0, 0].int()

# %% [markdown]
# One, two or four: a checkerboard, before anything was learned. There are two enlargements, and training has to remove it in
# both. If we double every pixel instead, and then use an ordinary convolution, all pixels are treated alike. Here are two
# untrained networks that differ in nothing else:

# %%
photo = nst.load_image("coffee", 256)
untrained = []
for upsample in ("deconv", "resize"):
    torch.manual_seed(3)
    net = nst.TransformerNet(nst.TransformerConfig(width=width, upsample=upsample))
    with torch.no_grad():
        untrained.append(net(photo)[..., 20:84, 80:176])
show(untrained, ["transposed convolution", "resize + convolution"], height=200)

# %% [markdown]
# ## The loop
#
# Photographs in, losses out, one step of Adam, and again. Compare it with `paint` of notebook 04: what has changed is who gets
# the gradient.


# %%
def train(net: nst.TransformerNet, loss: nst.PerceptualLoss, photos, steps: int, lr: float) -> list[dict[str, float]]:
    """Train on batches (B, 3, H, W) of photographs; the style is in the loss. Returns the losses on the way."""
    optimiser, history = torch.optim.Adam(net.parameters(), lr=lr), []
    for _ in range(steps):
        batch = next(photos)
        loss.set_content(batch)  # features of the photographs, without gradient
        losses = loss(net(batch))
        optimiser.zero_grad()
        losses["total"].backward()  # through the critic into the network
        optimiser.step()
        history.append({name: value.item() for name, value in losses.items()})
    return history


# %% [markdown]
# The training set is a folder of photographs. Ours holds four that come with scikit-image: far too few for a network that should
# paint any photograph, but enough to watch one learn. We keep the astronaut for the test at the end. `PhotoFolder` takes only the
# pictures of a folder, and deals out random crops.

# %%
(work / "photos").mkdir()
for name in ("cat", "coffee", "rocket", "motorcycle"):
    nst.save_image(nst.load_image(name, 480), work / "photos" / f"{name}.jpg")
(work / "photos" / "notes.txt").write_text("not a photograph")
folder = nst.PhotoFolder(work / "photos", side=side)
print(folder.report())
show([folder[i][0][None] for i in range(8)], height=110)

# %% [markdown]
# Ten steps of our own loop, to see that the loss moves:


# %%
def batches(folder: nst.PhotoFolder, size: int):
    """Endless batches (size, 3, side, side)."""
    draw = 0
    while True:
        yield torch.stack([folder[draw + i][0] for i in range(size)])
        draw += size


torch.manual_seed(0)
net = nst.TransformerNet(nst.TransformerConfig(width=width))
loss = nst.PerceptualLoss(nst.LossConfig(backbone="compact", style_weight=12))
loss.set_styles([nst.load_image("stained_glass", 256)])
history = train(net, loss, batches(folder, 4), steps=10, lr=2e-3)
print("total:", *[f"{h['total']:.2f}" for h in history])

# %% [markdown]
# ## A real training
#
# `nst.train` is this loop with all that a long run needs: 16-bit numbers where the machine computes in them, a learning rate
# that falls along a cosine, a log, sample pictures, and a checkpoint from which it goes on *exactly* where it stopped. Its settings
# are one dataclass, and the same names are the flags of `nst train` in a terminal.
#
# Its losses have other defaults than ours: two content layers (`relu2_2` keeps faces, `relu3_2` the rest), Gram matrices at full
# size, a half, a quarter and an eighth, and a little total variation. And it adds one loss of its own. A network that halves and
# doubles twice works in cells of four pixels, and tends to paint a regular pattern into them, a *weave*, that the critic takes for
# brushwork. A brush would not do that: if the photograph moves a little, the painting should move with it. `stability_weight` asks for
# that: it counts the mean square of $S f_W(x)-f_W(Sx)$. Here $S$ shifts a picture by 6 to 18 pixels each way, and often bends it a
# little. ($Sx$ gets some noise too, for a camera's noise is no brushwork either.)

# %%
config = nst.TrainConfig(
    dataset=work / "photos",
    style="stained_glass",
    save_model=work / "stained_glass.safetensors",
    steps=steps,
    image_size=side,
    network=nst.TransformerConfig(width=width),
    checkpoint_every=steps // 4,
    workers=0,
)

# %% [markdown]
# What if it is interrupted? We stop it after a quarter of the steps. (The cell raises the same signal as Ctrl-C or the stop button.)


# %%
def stop_early(state) -> None:
    if state.step == steps // 4:
        signal.raise_signal(signal.SIGINT)


stopped = nst.train(config, callback=stop_early)
print(*sorted(path.name for path in config.folder.iterdir()), config.save_model.name)

# %% [markdown]
# Nothing is lost. The network so far can be used, and the same line, without any "resume" switch, goes on from the checkpoint. On
# a CPU the network ends up the same, to the last bit, as if it had never stopped (a test of nstlib compares the two). There is a notch
# in the curves at the stop: the point there is the loss of a single step.

# %%
net = nst.train(config, callback=LivePlot(config.folder))

# %% [markdown]
# ## At once
#
# That took a few minutes of one core, from random weights. Now a photograph that the network has never seen goes
# in, and a painting comes out in a fraction of a second. It is blurred and has few details. The next pictures show what
# more training gives.

# %%
first = nst.paint("astronaut", net, 384)
show(
    [nst.load_image("astronaut", 384), first, nst.load_image("stained_glass", 384)],
    ["photograph", "painted by the network", "style"],
    height=300,
)

# %% [markdown]
# ## What some hours buy
#
# The networks that come with nstlib were trained on about 2,500 photographs, in several stages, about 9,000 to 14,000 steps in all.
# Each has a card that says how it was made. The lines below are only the last stage, which was short; `nst models` in a terminal lists
# the earlier ones.

# %%
singles = [name for name in nst.model_files() if name != "studio"]  # which has nine styles: notebook 08
for name in singles:
    card = nst.load_transformer(name).card
    print(f"{name:14} {card['steps']:,} steps, {card['minutes']:.0f} minutes on {card['machine']}")

# %%
pictures = [nst.paint(photo, name, 448) for photo in ("astronaut", "coffee") for name in singles]
show(pictures, 2 * singles, columns=3, height=190)

# %% [markdown]
# Even these networks have kept a little of the weave. `nst.paint` weakens it by *cycle spinning* (Coifman & Donoho 1995): it paints
# twice, the second time with the photograph moved by half a cell. It moves that painting back and takes the mean. The brushwork is
# in the same place in both and stays. The weave has moved by half a period, and most of it cancels. Here is a piece of the
# rocket's sky, as *The Scream*, seven times enlarged, so that you see single pixels. The weave is faint, so contrast and colours are
# stretched five times. Look for level and upright lines in the left picture. The third picture is the first minus the second, ten times
# stretched: it is what the second pass has taken away.

# %%
rocket = nst.load_image("rocket", 640)
one, two = (nst.paint(rocket, "the_scream", passes=n)[..., 45:87, 115:165] for n in (1, 2))
mean = two.mean((2, 3), keepdim=True)
skies = [0.5 + 5 * (one - mean), 0.5 + 5 * (two - mean), 0.5 + 10 * (one - two)]
enlarged = [F.interpolate(sky.clamp(0, 1), scale_factor=7) for sky in skies]  # each pixel a square of 7 × 7
show(enlarged, ["one pass", "two passes", "the difference"], height=294)

# %% [markdown]
# ## A long training, on a GPU
#
# 1. **Photographs.** `nst photos val2017` fetches 5,000 pictures of COCO (0.8 GB), and goes on if the download breaks. A folder of
#    your own does as well. Johnson et al. used 80,000 photographs, each twice.
# 2. **A place that stays.** A Colab session forgets its disk. So mount Google Drive, and keep the *model and checkpoints* there (but
#    not the photographs, for Drive is slow with small files).
# 3. **Run it, lose it, run it again.** After a disconnect, open the notebook and run the same cells, and the training goes on.
#
# On Kaggle, choose "GPU T4 ×2", restart the kernel, and run only the cell that installs, the imports, and this one: accelerate's
# `notebook_launcher` starts the same function on both GPUs, and has to be the first to touch them.

# %%
if "google.colab" in sys.modules:
    from google.colab import drive

    drive.mount("/content/drive")
    keep = Path("/content/drive/MyDrive/nstlib")
else:
    keep = Path("nstlib_models")

full = dict(style="great_wave", save_model=keep / "my_style.safetensors", network=nst.TransformerConfig(width=32))
long_training = False  # change to True on a GPU
if long_training:
    config = nst.TrainConfig(dataset=nst.fetch_coco("val2017"), epochs=8, batch_size=8, **full)
    if "KAGGLE_KERNEL_RUN_TYPE" in os.environ and torch.cuda.device_count() > 1:
        from accelerate import notebook_launcher

        notebook_launcher(nst.train, (config,), num_processes=torch.cuda.device_count())
    else:
        nst.train(config, callback=LivePlot(config.folder))

# %% [markdown]
# In a terminal that is
#
# ```
# nst photos val2017
# nst train --dataset photos/val2017 --style great_wave \
#     --save-model my_style.safetensors --width 32 --epochs 8 --batch-size 8
# accelerate launch -m nstlib.screen.cli train …   # on several GPUs or machines
# nst paint holiday/ --model my_style.safetensors
# ```
#
# To try a new style quickly, start from a trained network with `--init-model starry_night`. Its filters can already paint, and
# learn the new style in a fraction of the steps.
#
# ## If it does not look right
#
# | you see | try |
# |---|---|
# | the photograph, only in other colours | a larger `style_weight` |
# | style everywhere, content gone | a larger `content_weight`; only the finer of the content layers, `("relu2_2",)` |
# | a fine weave in flat areas | more steps, a larger `stability_weight` |
# | strokes too small or too large | a larger or smaller `style_size` |
# | white blobs | `norm="instance"` (the default) instead of `"batch"` |
#
# ## Exercises
#
# **1.** Train with `network=nst.TransformerConfig(width=width, upsample="deconv")`. Predict first what you will see in the flat areas.
#
# <details><summary>Solution</summary>
#
# A grid of dots. (Each network needs a name of its own: where another one's checkpoint is found, other settings are refused.)
#
# ```python
# from dataclasses import replace
#
#
# def quick(name: str, **changes):
#     settings = replace(config, steps=steps // 8, save_model=work / f"{name}.safetensors", **changes)
#     return nst.paint("coffee", nst.train(settings), 256)
#
#
# deconv = quick("deconv", network=nst.TransformerConfig(width=width, upsample="deconv"))
# show([quick("resize"), deconv], ["resize + convolution", "transposed convolution"], height=300)
# ```
# </details>
#
# **2.** With how few residual blocks can a network still paint? Predict first: what will a network with a single one be unable to do?
#
# <details><summary>Solution</summary>
#
# One is enough to paint, but it changes shapes less: each block widens what a pixel sees by 16 pixels.
#
# ```python
# show(quick("one_block", network=nst.TransformerConfig(width=width, residual_blocks=1)))
# ```
# </details>
#
# **3.** Start the training above from `init_model="starry_night"`. Guess first: how many steps does it take to forget the stars?
#
# <details><summary>Solution</summary>
#
# After some 60 steps the colours are those of the glass; the strokes take longer.
#
# ```python
# show(quick("again", init_model="starry_night"))
# ```
# </details>
#
# ## References
#
# - J. Johnson, A. Alahi, L. Fei-Fei: *Perceptual Losses for Real-Time Style Transfer and Super-Resolution*, ECCV 2016, section 3, and
#   the supplementary material for the architecture.
# - D. Ulyanov, A. Vedaldi, V. Lempitsky: *Instance Normalization: The Missing Ingredient for Fast Stylization*, 2016.
# - A. Odena, V. Dumoulin, C. Olah: *Deconvolution and Checkerboard Artifacts*, Distill 2016.
# - R. R. Coifman, D. L. Donoho: *Translation-Invariant De-Noising*, Wavelets and Statistics, 1995.
#
# ---
#
# **Six styles are six networks so far. Does each of them have to learn everything anew?** In the next notebook nine styles share one
# network, and they can be mixed.
#
# Previous: [06 · Perceptual losses](06_perceptual_losses.ipynb) · Next: [08 · The playground](08_playground.ipynb)
