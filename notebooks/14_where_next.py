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
# # 14 · Where next
#
# ![a cup of coffee painted in three ways](../data/openings/14.jpg)
#
# The same photograph in the same style: by optimisation, by a network, and by a network whose painting was finished by a few steps of
# optimisation. **Which would you take?**
#
# **You will learn** where all this came from and where it went, what usually goes wrong and how to mend it, and what to try now.
#
# About three minutes on two CPU cores · Previous: [13 · Large pictures](13_large_pictures.ipynb)

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
from dataclasses import replace

import nstlib as nst
import torch
from nstlib import show

gpu = torch.cuda.is_available()
size = 512 if gpu else 320
base = nst.GatysConfig(size=size, backbone="compact")

# %% [markdown]
# ## Three ways to the same picture
#
# You have met two methods: painting by optimisation (notebook 04), and painting by a network (07). They can be combined: a few steps of
# optimisation finish the network's painting. Here are all three, side by side:

# %%
slow = nst.stylize("coffee", "starry_night", base)
fast = nst.paint("coffee", "starry_night", size)
both = nst.paint("coffee", "starry_night", size, polish=20)
show([slow, fast, both], ["by optimisation", "by a network", "network, then 20 steps"], height=240)

# %% [markdown]
# By optimisation, strokes cover everything, the saucer too. The network keeps the edges clean, but leaves the saucer almost plain.
# Twenty steps later there are strokes on the saucer, and more yellow patches on the table. In the code these steps are called `polish`.
#
# ## Before it
#
# **Image analogies** (Hertzmann et al. 2001) learned a filter from a pair, a picture before and after. **Texture synthesis** grew
# more of a texture from a sample: by copying pixels whose neighbourhoods fit (Efros & Leung 1999), or by statistics that must agree.
# As early as 1962, Julesz asked which statistics make two textures look alike to us. Portilla and Simoncelli (2000) answered with
# correlations between the responses of wavelets. Put a network's channels in the place of the wavelets, and you have the Gram matrix
# of notebook 03 (Gatys et al. 2015). Add the content of a photograph, and you have the paper with which neural style transfer began
# (on arXiv in 2015, at CVPR in 2016).
#
# ## After it
#
# - **One network for each style** (Johnson et al.; Ulyanov et al. 2016): notebook 07. By their count up to a thousand times
#   faster than optimisation.
# - **Many styles in one network** (Dumoulin et al. 2017): notebook 08. Only the scales and shifts of its norms differ.
# - **Any style at once.** If a style is nothing but scales and shifts, they can be *computed* from the painting. AdaIN (Huang &
#   Belongie 2017) takes the standard deviation and the mean of the painting's features. Ghiasi et al. (2017) let a second network
#   predict them. Whitening (Li et al. 2017) takes more than that, the whole covariance: the Gram matrix of features less their mean.
# - **Matching instead of statistics.** Each patch of the features (Li & Wand 2016), or each single place (Kolkin et al. 2019), is
#   compared with one of the painting that resembles it. This keeps larger structures together.
# - **Diffusion models** paint from words, and can be given a style by examples. They need gigabytes, and they easily invent
#   content too. Where the photograph must stay the photograph, a critic with a content loss is still a simple tool.
#
# And Gram losses are still used where texture matters: in super-resolution, in filling holes, in games' textures, and in
# experiments that test models of human vision.
#
# ## Five failures, and their remedies
#
# Each of these is made on purpose. On the left what goes wrong, on the right the remedy.

# %%
grain = replace(base, size=256, smallest=256, steps=80, init="noise", style_scales=(1.0,))
failures = [nst.stylize("cat", "swirl", grain), nst.stylize("cat", "swirl", replace(grain, tv_weight=5.0))]
show(failures, ["1. speckle", "total variation"], height=230)

# %% [markdown]
# **1. Speckle.** The painting began as noise, and the critic hardly sees the noise that its pooling averages away. A larger weight of
# total variation (`tv_weight`) removes it.

# %%
heavy = replace(base, size=256, style_weight=2000)
failures = [nst.stylize("astronaut", "ink", heavy), nst.stylize("astronaut", "ink", replace(heavy, style_weight=10))]
show(failures, ["2. the face is gone", "a lighter style weight"], height=230)

# %% [markdown]
# **2. The face is gone.** The style outweighs the content. Lower `style_weight`, or raise `content_weight`, which has the same effect.

# %%
one = replace(base, style_scales=(1.0,), smallest=base.size)
failures = [nst.stylize("rocket", "starry_night", one), nst.stylize("rocket", "starry_night", base)]
show(failures, ["3. only the surface is painted", "all sizes, three scales"], height=230)

# %% [markdown]
# **3. Only the surface is painted.** The critic sees only a small patch at once, so there are only small strokes. Begin with a small
# picture (the pyramid), and take the Gram matrices at several scales: then large swirls appear.

# %%
colours = [nst.stylize("cat", "woodblock", replace(base, size=256, preserve_colour=c)) for c in ("none", "luminance")]
show(colours, ["4. the colours are lost", "preserve_colour='luminance'"], height=230)

# %% [markdown]
# **4. The colours are lost.** The style brings its palette. `preserve_colour` keeps the photograph's.

# %%
sky = [nst.paint("rocket", "starry_night", base.size), nst.paint("rocket", "starry_night", base.size, polish=20)]
show(sky, ["5. the sky stays empty", "polish=20"], height=230)

# %% [markdown]
# **5. The sky stays empty.** A network paints its strokes where the photograph has something; where it is flat, it paints little:
# here only thin, even lines. A few steps of optimisation, begun from the network's painting, fill the sky.
#
# ## Two for the wall
#
# The Hubble telescope's farthest view, thousands of galaxies, seems made for Van Gogh. Beside it is a photograph by Lav Varshney, painted
# as Hokusai's *Great Wave*: the grass becomes small waves. The photograph is grey, so all colours come from the print. Both are a
# network's painting with thirty steps of optimisation.

# %%
wall = [
    nst.paint("galaxies", "starry_night", 2 * size, polish=30),
    nst.paint("photographer", "great_wave", 2 * size, polish=30),
]
show(wall, ["Hubble and Van Gogh", "Varshney and Hokusai"], height=420)

# %% [markdown]
# ## What to try next
#
# - Photograph a wall, a carpet, the bark of a tree, and use it as the style. It need not be a painting.
# - Train a network on your own drawing (notebook 07), and give it to somebody as one file of less than a megabyte.
# - Add your drawing to `studio` as its tenth style (notebook 08), and make a walk from Van Gogh's style to yours.
# - Paint a film of a walk (notebook 11), or a poster for your wall (notebook 13).
# - Give `style_weight` and `content_weight` to a friend on two sliders (notebook 05), and let the friend stop when it is right. Compare
#   with the value that you would have chosen.
#
# ## Exercises
#
# **1.** Which of the five failures would you still get with VGG-19 as the critic? Predict, then try, if you have a GPU.
#
# <details><summary>Solution</summary>
#
# All five, but the third becomes weaker: at `relu5_1` VGG-19 sees 156 pixels at once, and our critic at most 48. So the strokes are
# larger, even at one size. The speckle comes from the pooling, the lost face from the weights, the colours from the painting, and the
# empty sky from the network.
# </details>
#
# **2.** A photograph can be the style, too. Paint the coffee in the style of the cat. Predict first: what of the cat will be in the
# picture, and what not?
#
# <details><summary>Solution</summary>
#
# Its colours are everywhere, its fur almost everywhere, and an eye looks out of the table. Gram matrices know what there is, and not where.
#
# ```python
# show(nst.stylize("coffee", "cat", base))
# ```
# </details>
#
# ## References
#
# - B. Julesz: *Visual Pattern Discrimination*, IRE Transactions on Information Theory, 1962.
# - A. A. Efros, T. K. Leung: *Texture Synthesis by Non-parametric Sampling*, ICCV 1999.
# - J. Portilla, E. P. Simoncelli: *A Parametric Texture Model Based on Joint Statistics of Complex Wavelet Coefficients*, IJCV 2000.
# - A. Hertzmann et al.: *Image Analogies*, SIGGRAPH 2001.
# - C. Li, M. Wand: *Combining Markov Random Fields and Convolutional Neural Networks for Image Synthesis*, CVPR 2016.
# - X. Huang, S. Belongie: *Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization*, ICCV 2017.
# - G. Ghiasi et al.: *Exploring the Structure of a Real-time, Arbitrary Neural Artistic Stylization Network*, BMVC 2017.
# - Y. Li et al.: *Universal Style Transfer via Feature Transforms*, NIPS 2017.
# - N. Kolkin, J. Salavon, G. Shakhnarovich: *Style Transfer by Relaxed Optimal Transport and Self-Similarity*, CVPR 2019.
#
# ---
#
# This is the end of the series. If you have not yet painted a picture of your own: [00 · Start here](00_start_here.ipynb) does it in three
# clicks.
#
# Previous: [13 · Large pictures](13_large_pictures.ipynb)
