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
# # 09 · Experiments
#
# ![nine paintings of a cat, with three content weights and three style weights](../data/openings/09.jpg)
#
# The same photograph, the same painting, nine settings. **Which of them look alike, and why?**
#
# **You will learn** which settings matter and which do not, by looking at grids of pictures: weights, critics, pooling, layers,
# optimisers, batch sizes and epochs; how to run such grids without running anything twice; and how good your own eye is as a judge.
#
# About 10 minutes on one CPU core · Previous: [08 · The playground](08_playground.ipynb) · Next: [10 · The compact critic](10_the_compact_critic.ipynb)

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
import random
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import nstlib as nst
import torch
from nstlib import show
from matplotlib import pyplot as plt
from nstlib.critic.losses import relative
from nstlib.screen.experiments import run_grid
from nstlib.screen.plots import curves, picture
from PIL import Image

gpu = torch.cuda.is_available()
size, steps = (512, 150) if gpu else (192, 60)
base = nst.GatysConfig(backbone="compact", size=size, steps=steps)
large = base if gpu else replace(base, size=384, steps=40)  # where one has to look at details
work = Path(tempfile.mkdtemp())  # on Colab, take a folder of your Drive, and nothing is lost with the session

# %% [markdown]
# ## Run a grid, keep every cell
#
# Whoever plays with style transfer makes such grids, often with a loop that runs overnight and is lost at cell 37. `run_grid` takes
# an experiment, which is a function from a config to a picture and some numbers, and the configs to try. It runs each of them once
# and keeps the result as a PNG, with settings and numbers inside.


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
show([cell.image for cell in cells.values()], list(cells), columns=3, height=128)

# %% [markdown]
# To the right the content counts more, downwards the style. Here is the same with four weights of each, painted larger and
# for longer (`python data/experiments.py`, run once):

# %%
picture("sheets/weights.jpg", width=800)

# %% [markdown]
# Look along the diagonals from top left to bottom right, where both weights grow together: it is nearly the same picture all the
# way. **Only the ratio matters**: ten times the whole loss has the same minimum. Adam divides the gradient by its own size, so that
# it reaches the same losses within a per cent. (The pictures are not equal, though: rounding sends the painter on other paths, and
# single pixels differ.) One slider would do for both weights; we keep two, so that total variation, the third in the sum, keeps
# its place.
#
# ## How a default is chosen
#
# A default is a point on a **frontier**: how good, for how many seconds? `nstlib` once took its Gram matrices at one scale, 150 steps at
# each size. Here is what other settings give (`python data/frontier.py`, seconds of one busy core; style and content as relative
# losses, smaller is nearer; style is measured at full, half, quarter and eighth size of the picture):
#
# | astronaut, *The Starry Night*, 320 pixels | s | content | style 1 | ½ | ¼ | ⅛ |
# |---|---:|---:|---:|---:|---:|---:|
# | one scale, 150 steps, style weight 100 | 84 | .359 | .0025 | .0117 | .0493 | .144 |
# | three scales, 60 steps, 100 | 47 | .460 | .0033 | .0021 | .0053 | .028 |
# | three scales, 50 steps, 80 (the default) | 40 | .448 | .0034 | .0022 | .0054 | .029 |
# | three scales, 50 steps, 40 | 39 | .368 | .0044 | .0025 | .0060 | .033 |
# | three scales, 40 steps, 60 | 33 | .434 | .0038 | .0023 | .0058 | .029 |
#
# The three scales are worth more than all else: the large forms of the style arrive, in half the time. Is that so for this picture
# only? Here are the first setting and the default on five photographs in each of six styles, 60 paintings of 256 pixels. The first two
# rows are means. For the last two, the default's number was divided by the other's in each of the 30 cases:
#
# | 30 paintings each | s | content | style 1 | ½ | ¼ | ⅛ |
# |---|---:|---:|---:|---:|---:|---:|
# | one scale, 150 steps, style weight 100: mean | 39 | 1.07 | .0048 | .0218 | .0654 | .133 |
# | three scales, 50 steps, 80: mean | 19 | 1.02 | .0076 | .0060 | .0113 | .044 |
# | the second divided by the first: median | 0.49 | 1.08 | 1.56 | 0.25 | 0.18 | 0.32 |
# | least … greatest | .46 … .58 | .80 … 1.47 | .86 … 2.9 | .15 … .75 | .07 … .46 | .15 … .77 |
#
# Numbers do not decide alone. With weight 40 the cat in stained glass lost its leads (the dark lines between the panes); with 40 steps
# and weight 60 the astronaut had a moustache. So the default became 80. It is not right for every picture: the content is most often
# further away, and a face shows it first. Here *The Great Wave* lays a dark cloud over one eye, the nose and the cheeks at 80. At 20 only
# the nose is still dark, and the sea stays in the hair:

# %%
picture("sheets/faces.jpg", width=800)

# %% [markdown]
# ## Which critic, which pooling?
#
# Here are the compact critic and its teacher, the first three blocks of VGG-19, with the same settings and the same style layers,
# each with average and with max pooling (`python data/experiments.py --teacher FILE`):

# %%
picture("sheets/critics.jpg", width=640)

# %% [markdown]
# One sees the family likeness. Gatys et al. found that average pooling gives slightly more appealing pictures than max pooling: the
# gradient of an average reaches every pixel, that of a maximum one in four. (With internet, add
# `replace(base, backbone="vgg19")` to the configs of a grid of yours.)
#
# ## Which layers?
#
# First the style of the first layer alone, then of one more at a time. Look at the cheek and at the background. With `relu1_1` the colours
# are those of the glass, and the fur is still fur. With `relu2_1` it turns into small dabs. With `relu3_1` dark lines appear, and with
# `relu3_4` they close around whole panes of glass:

# %%
layers = ("relu1_1", "relu2_1", "relu3_1", "relu3_4")
configs = {f"… {layers[n - 1]}": replace(large, style_layers=layers[:n]) for n in range(1, len(layers) + 1)}
cells = run_grid(painting, configs, work / "layers")
show([cell.image for cell in cells.values()], ["relu1_1", *list(cells)[1:]], columns=2, height=255)

# %% [markdown]
# And now the content layer, with a content weight of 20, so that it shows. Look at the whiskers. A shallow layer holds on to pixels: with
# `relu1_1` and `relu2_2` the whiskers stay as sharp lines, and with `relu2_2` every hair stays. With `relu1_1` the colours stay pale too. A
# deep layer holds on to what is where: with `relu3_2` and `relu3_4` the eyes are in their place, but the hairs are dabs of colour and the
# whiskers are lost among them:

# %%
configs = {
    n: replace(large, content_layers=(n,), content_weight=20) for n in ("relu1_1", "relu2_2", "relu3_2", "relu3_4")
}
cells = run_grid(painting, configs, work / "layers")
show([cell.image for cell in cells.values()], list(cells), columns=2, height=255)

# %% [markdown]
# The picture from `relu2_2` has a fault: a fine weave in the flat places. Here is a corner of it, eight times enlarged. It is a
# **checkerboard** of single pixels, one lighter, the next one darker. Why does the critic let it pass? Let us change the photograph in
# three ways, each by a twentieth of the range, up or down. Then we ask each layer how large the content loss is:

# %%
show(cells["relu2_2"].image.crop((300, 0, 364, 48)).resize((512, 384), Image.Resampling.NEAREST), height=384)

# %%
cat = 0.1 + 0.8 * nst.load_image("cat", 256)  # away from black and white, so that nothing is cut off
down, right = torch.arange(cat.shape[-2])[:, None], torch.arange(cat.shape[-1])
patterns = {"all brighter": 1, "stripes": 1 - 2 * (right % 2), "checkerboard": 1 - 2 * ((down + right) % 2)}
critic = nst.FeatureExtractor("compact", list(configs))
print(" " * 12, *[f"{name:>8}" for name in configs])
for title, pattern in patterns.items():
    found, wanted = critic(cat + 0.05 * pattern), critic(cat)
    print(f"{title:12}", *[f"{relative(found[name], wanted[name]).item():8.4f}" for name in configs])

# %% [markdown]
# To all layers the checkerboard is the least of the three, and from `relu2_2` on they hardly notice it. The first layer finds edges:
# stripes are edges, and it answers them strongly. Its answer to the checkerboard is weak, and alternates from pixel to pixel. The next
# layers and the pooling add up neighbouring pixels, and there lighter and darker cancel: at `relu1_2` the loss is only 0.0006 (for the
# stripes 0.08). But the style's `relu1_1` sees the checkerboard, and gains by it: if one takes it out of the painting, the style loss of
# `relu1_1` becomes a seventh larger, and the content loss only 1 % smaller (measured at 192 pixels). So the checkerboard gives the
# painting contrast, and costs almost no content. Total variation (notebook 01) weakens it.

# %% [markdown]
# ## Which optimiser, and how fast?
#
# The paper's L-BFGS against Adam with three step sizes. We paint at a single size, without the pyramid, so that the curves can be
# compared:

# %%
flat = replace(large, smallest=large.size, steps=2 * large.steps)
configs = {f"Adam {lr}": replace(flat, lr=lr) for lr in (0.01, 0.03, 0.1)}
configs["L-BFGS"] = replace(flat, optimiser="lbfgs")
cells = run_grid(painting, configs, work / "optimisers")
curves({name: (cell.numbers["steps"], cell.numbers["total"]) for name, cell in cells.items()})

# %%
show(
    [cell.image for cell in cells.values()],
    [f"{name} ({c.numbers['seconds']} s)" for name, c in cells.items()],
    columns=2,
    height=255,
)

# %% [markdown]
# L-BFGS falls fastest, but its steps take longer: look at the seconds. (They were measured on a busy machine; compare them only with each
# other.) Adam with steps of 0.1 of the pixel range arrives at the same loss. With 0.03 its loss is 16 % higher at the end, and with 0.01 it
# has not arrived: look at the glass on the right, which is pale there and deep in the two lower pictures. Our default is Adam with 0.03.
# With the pyramid each size begins near its goal, and there the smaller steps win: at 192 pixels and 50 steps a size, 0.03 ended at a loss
# of 2.60 and 0.1 at 2.67, and the first steps of 0.1 at the last size made the loss a third larger. Unlike L-BFGS, Adam needs no memory of
# the last twenty steps and never stalls. The weights may change between two steps, as they do on the control desk.
#
# ## Batch size and epochs of the fast network
#
# Johnson et al. trained with batches of 4 for two epochs. Is that a law? Here are nine networks, all of them trained on the same 600
# photographs (`python data/experiments.py --photos DIR`), and the loss of those that saw each photograph four times:

# %%
picture("sheets/fast.jpg", width=780)

# %%
picture("sheets/fast_curves.jpg", width=770)

# %% [markdown]
# From the same number of photographs a small batch makes more steps, and at first steps are what is lacking. Batches of 1 and of 4
# meet after 500 photographs; those of 16 stay behind to the end, and four epochs of them look like two of the others. (They had a
# second handicap: the learning rate warmed up over 50 steps, which is a large part of so few. Today a run as short as these warms up
# over a tenth of its steps.)
#
# Here is a small version, live: one style, and 240 crops for each network.


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
    return nst.paint("coffee", net, 384), {"seen": seen, "total": [state.losses["total"] for state in states]}


configs = {f"batches of {n}": {"batch_size": n} for n in (1, 4, 12)}
cells = run_grid(training, configs, work / "batches")
curves({name: (cell.numbers["seen"], cell.numbers["total"]) for name, cell in cells.items()}, xlabel="crops")

# %%
coffee = nst.load_image("coffee", 384)
show([coffee, *(cell.image for cell in cells.values())], ["the photograph", *cells], columns=2, height=256)

# %% [markdown]
# Look for dark lines between the colours: they are the leads of the glass. The network with batches of 1 draws them around cup and saucer;
# the one with batches of 12 has bright colours, but few lines. Twenty steps of twelve crops have taught it less than 240 steps of one.
#
# ## What pays in training?
#
# Here are eleven networks for *The Starry Night*, each trained from random weights for five minutes of one core. The first is trained as
# always, and each of the others has one thing changed (`python data/trials.py --photos DIR`). They are judged on seven photographs that
# they have not seen, at 320 pixels. "Weave" says how strong a pattern that repeats every four pixels is in the rocket's sky, painted in
# one pass; "noise" is what noise of 2/255 becomes; both in 1/255. Smaller is better in all columns but the first:
#
# | | steps | content | style 1 | ½ | ¼ | ⅛ | weave | noise |
# |---|---:|---:|---:|---:|---:|---:|---:|---:|
# | as nstlib trains | 189 | 0.89 | .154 | .106 | .136 | .220 | 0.60 | 1.8 |
# | style at full scale only | 201 | 0.91 | .104 | .115 | .153 | .232 | 0.81 | 2.3 |
# | crops of 384 px, two a step | 165 | 0.90 | .205 | .095 | .127 | .197 | 0.62 | 1.5 |
# | 24 channels instead of 16 | 117 | 0.87 | .200 | .106 | .129 | .204 | 0.32 | 1.5 |
# | float32 instead of bfloat16 | 105 | 0.95 | .237 | .136 | .157 | .236 | 0.50 | 1.1 |
# | transposed convolutions | 202 | 0.97 | .223 | .116 | .135 | .218 | 2.96 | 1.7 |
# | no stability loss | 230 | 0.91 | .169 | .093 | .101 | .170 | 3.55 | 2.5 |
# | a stage at ⅛ | 228 | 1.07 | .237 | .102 | .105 | .184 | 0.42 | 0.9 |
# | pixel shuffle | 186 | 1.00 | .260 | .118 | .133 | .210 | 3.19 | 1.2 |
# | mean of the weights (EMA) | 197 | 0.87 | .164 | .105 | .138 | .217 | 0.53 | 1.8 |
# | Muon instead of Adam | 195 | 0.84 | .122 | .085 | .117 | .190 | 0.18 | 1.8 |
#
# - **Muon** (Jordan et al. 2024) gains in every column but noise. Adam scales the step of each weight alone. Muon takes the weights of a
#   convolution as one matrix, and makes its step orthogonal: no direction is left out because others are stronger. (The first and the
#   last convolution, and the γ and β of the instance norms, stay with Adam.) It is a setting, `nst train --optimiser muon`.
# - **bfloat16** gives nearly twice as many steps in the same time.
# - Without the **stability loss** (notebook 07) there is time for more steps, and the larger forms of the style are nearer. But the
#   network weaves six times as strongly, and enlarges noise more.
# - **Transposed convolutions** and **pixel shuffle** weave five times as strongly as resize and convolution, and gain little:
#   pixel shuffle has a third less noise.
# - **Larger crops** and **the stage at ⅛** bring the large forms nearer. With the stage, noise is halved too, but the content is a
#   fifth further away: after five minutes the face is lost. Whether it comes back in hours has not been tried.
# - **24 channels** take longer. In the same time they weave half as strongly, and the finest strokes are further away.
# - The **mean of the weights** changes little: the learning rate falls to 0 at the end, which is a mean of its own kind.
#
# Each is one run. Differences of a few per cent say nothing.
#
# ## Who is the judge?
#
# Content loss and style loss are two numbers, so every painting of the same photograph in the same style is a point on a plane: the
# further left, the more of the photograph is there; the further down, the more of the style. Here are four ways to paint the coffee
# like *The Starry Night*, all measured by the critic at the same size: by optimisation, with four style weights; by the network of
# notebook 07; by the same, with twenty steps of optimisation after it; and by the network of notebook 08, at four strengths.

# %%
photo, style = nst.load_image("coffee", large.size), nst.load_image("starry_night", large.size)
gatys = replace(large, steps=50)
ways = {
    "optimised": [nst.stylize(photo, style, replace(gatys, style_weight=w)) for w in (0.8, 8, 80, 800)],
    "one network": [nst.paint(photo, "starry_night")],
    "network, then 20 steps": [nst.paint(photo, "starry_night", polish=20)],
    "nine styles": [nst.paint(photo, "studio", styles="starry_night", strength=s) for s in (0.25, 0.5, 0.75, 1)],
}

# %%
loss = nst.PerceptualLoss(gatys)
loss.set_content(photo)
loss.set_styles([style])
figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
with torch.no_grad():
    for name, pictures in ways.items():
        points = [(losses["content"].item(), losses["style"].item()) for losses in map(loss, pictures)]
        axes.plot(*zip(*points, strict=True), "o-", label=name)
axes.set(xlabel="content loss", ylabel="style loss", yscale="log")
axes.yaxis.set_major_formatter("{x:g}")
axes.grid(alpha=0.3)
axes.legend(frameon=False)
plt.close(figure)
figure

# %% [markdown]
# Compare with the third blue point (style weight 80): both networks, at full strength (the lowest red point, and the orange one), keep a
# little more of the photograph, but are about twenty times as far from the style. Twenty steps after the network (the green point) divide
# its style loss by about nine, and cost content. Now go along the red line: to the left the strength falls from 1 to 0.25. Wherever the
# two lines keep equally much of the photograph, the blue one is five to twenty times nearer to the style. That is the price of painting
# at once.
#
# But is the critic a fair judge? The optimised paintings were made to please *it*, number by number. So ask somebody else: yourself.
#
# ### A blind test
#
# Here are the photograph and three of these paintings, in an order that was drawn by lot. One is optimised (style weight 80), one is by
# the network for a single style, one by the network for nine. **Which is which? And which would you hang up?** Look at the large forms
# first, then at the single strokes. Decide before you unfold the answer.

# %%
hidden = [ways["optimised"][2], ways["one network"][0], ways["nine styles"][3]]
random.Random(7).shuffle(hidden)
show([photo, *hidden], ["the photograph", "A", "B", "C"], columns=2, height=256)

# %% [markdown]
# <details><summary>The answer</summary>
#
# A is the network for nine styles, B is optimised, C is the network for one. B gives itself away by its large forms: the table is made of
# whole strokes, and a moon has risen in the corner. It was compared with *The Starry Night* at three sizes, in many steps. A and C
# keep cup, spoon and shadow just where the photograph has them, and hatch them. If you would rather hang up A or C, you weigh content more
# than the style weight of 80 does.
# </details>
#
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
# | batch size | much, while photographs are few | small batches make more steps of them |
#
# ## Exercises
#
# **1.** Which is worth more, twice the steps or one more size in the pyramid? Compare `steps=2 * steps` with `smallest=48`.
#
# <details><summary>Solution</summary>
#
# Twice the steps lower the loss by some 4 %, and one has to look for the difference. A size more lowers it by 2 %, but it costs next to
# nothing (it is small), and it makes the panes larger: that is what the pyramid is for.
#
# ```python
# more, smaller = replace(base, steps=2 * steps), replace(base, smallest=48)
# configs = {"as it is": base, "twice the steps": more, "a smaller start": smaller}
# cells = run_grid(painting, configs, work / "worth")
# show([cell.image for cell in cells.values()], [f"{n} ({c.numbers['seconds']} s)" for n, c in cells.items()])
# ```
# </details>
#
# **2.** `run_grid` knows a cell by its config alone. What goes wrong if you change `painting` and run again, and what is the remedy?
#
# <details><summary>Solution</summary>
#
# The old pictures are shown, for the configs are the same. Give the new experiment a folder of its own:
#
# ```python
# cells = run_grid(painting, {"as it is": base}, work / "painting_2")
# ```
# </details>
#
# **3.** Repeat the grid of weights with `tv_weight=1`. Are the diagonals still equal?
#
# <details><summary>Solution</summary>
#
# Nearly. Only the speckle differs. With weights of 1 and 10 the total variation still counts, and the painting's is 0.13. With 100 and 1000
# it hardly counts, and the painting's is 0.21.
#
# ```python
# pairs = ((1, 10), (10, 100), (100, 1000))
# configs = {f"{c} : {s}": replace(base, content_weight=c, style_weight=s, tv_weight=1) for c, s in pairs}
# cells = run_grid(painting, configs, work / "tv")
# show([cell.image for cell in cells.values()], list(cells))
# ```
# </details>
#
# ## References
#
# - L. A. Gatys, A. S. Ecker, M. Bethge: *Image Style Transfer Using Convolutional Neural Networks*, CVPR 2016, figures 3 to 6.
# - J. Johnson, A. Alahi, L. Fei-Fei: *Perceptual Losses for Real-Time Style Transfer and Super-Resolution*, ECCV 2016, section 4.1.
#
# ---
#
# **Nearly all these pictures were judged by a critic of less than a megabyte. The paper's own is a download of 550. How can so small a
# network see nearly the same?**
#
# Previous: [08 · The playground](08_playground.ipynb) · Next: [10 · The compact critic](10_the_compact_critic.ipynb)
