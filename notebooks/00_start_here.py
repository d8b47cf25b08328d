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
# # 00 · Start here
#
# ![a photograph of a cat turns into a painting, step by step](../data/openings/growing.webp)
#
# This is a photograph of a cat. After two hundred small steps it is painted in the manner of *The Starry Night*. No person drew
# a line of it. **Who tells each pixel what to do?**
#
# **You will learn** what neural style transfer does, and paint your first picture with it.
#
# One to two minutes on two CPU cores · nothing is downloaded · Next: [01 · Pictures as tensors](01_pictures_as_tensors.ipynb)

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
# ## A photograph, a painting, and a critic
#
# Take a photograph. Take a painting. *Neural style transfer* looks for a third picture that shows what the
# photograph shows, painted the way the painting is painted.
#
# Nobody tells the computer what a brush stroke is. A neural network that was once trained to recognise things
# in photographs acts as a **critic**: it looks at a picture and reports what it notices, from edges and colours
# up to textures and parts of things. We then change the picture until the critic notices the same *things* as in
# the photograph and the same *textures* as in the painting. That is the whole idea (Gatys, Ecker & Bethge, 2016).
#
# This series brings its own critic. It is a file of less than a megabyte, smaller than most photographs on your phone, so all of
# it runs right here.

# %%
import nstlib as nst
import torch
from nstlib import show

# %% [markdown]
# First a quick painting. It comes from a network that was trained beforehand for this one style, *The Starry Night*, and needs
# about a second:

# %%
show(nst.paint("cat", "starry_night"), height=341)

# %% [markdown]
# The method of Gatys needs no training. It takes any painting as the style, but it needs half a minute or more for one picture. The
# only setting that we choose is `size`, the long side of the picture in pixels.

# %%
gpu = torch.cuda.is_available()
config = nst.GatysConfig(size=768 if gpu else 512)
print("on a GPU:" if gpu else "on the CPU:", f"pictures of {config.size} pixels")

# %%
photograph = nst.load_image("cat", size=384)
painting = nst.load_image("stained_glass", size=384)
show([photograph, painting], ["the photograph", "the painting"])

# %% [markdown]
# One line paints. While it runs, a bar shows two numbers that we will meet again and again: how far the picture is from the
# *content* of the photograph, and how far from the *style* of the painting. `Film` keeps every 25th picture on the way.

# %%
film = nst.Film(every=25)
painted = nst.stylize("cat", "stained_glass", config, film)

# %%
show(painted, height=341)

# %% [markdown]
# It did not appear all at once. The painter begins with a tiny picture, where a stroke is as large as an eye. Then it works on
# larger and larger ones, 50 steps at each size, as an artist goes from a sketch to detail. The first picture below is still
# nearly the photograph: it has had a single step.

# %%
show(film.frames, columns=6, height=105)

# %% [markdown]
# ## Your turn
#
# These are the names that `stylize` knows. The photographs come with scikit-image. Six of the paintings are our own, four are
# famous; `composition_vii` is Kandinsky's. In the cell after this one, change `"coffee"` and `"composition_vii"` to other names
# and run it again. The path of a picture of yours, such as `"holiday.jpg"`, is a name too.

# %%
names = nst.sample_names()
print("photographs:", *names["photographs"])
print("paintings:  ", *names["paintings"])
print("downloaded on first use:", *names["masterpieces"])

# %%
mine = nst.stylize("coffee", "composition_vii", config)
nst.save_image(mine, "my_first_painting.png", settings={"content": "coffee", "style": "composition_vii"})
show(mine, height=341)

# %% [markdown]
# ### Your own photograph in three clicks
#
# On Colab, run the next cell, press the button, and choose a photograph. At home, write its path instead of `None`. (It paints with
# the quick network of the first picture. Notebook 07 trains such a network.)

# %%
photo = None  # or "holiday.jpg"
if "google.colab" in sys.modules:
    from google.colab import files

    photo = next(iter(files.upload()), None)
if photo:
    show(
        [nst.load_image(photo, 512), nst.paint(photo, "starry_night", 512)],
        ["yours", "in the style of The Starry Night"],
    )

# %% [markdown]
# The painted coffee was saved beside this notebook as `my_first_painting.png`. The file also keeps what we handed it as `settings`:

# %%
nst.settings_of("my_first_painting.png")

# %% [markdown]
# ## The series
#
# | | | |
# |---|---|---|
# | 01 | [Pictures as tensors](01_pictures_as_tensors.ipynb) | what a picture is to a network, and why comparing pixels fails |
# | 02 | [What the critic sees](02_what_the_critic_sees.ipynb) | feature maps, and photographs rebuilt from them |
# | 03 | [Style is a Gram matrix](03_style_is_a_gram_matrix.ipynb) | textures from pure noise |
# | 04 | [Gatys: painting by optimisation](04_gatys_painting_by_optimisation.ipynb) | the loop you have just run, line by line |
# | 05 | [The control desk](05_control_desk.ipynb) | every weight on a slider, while the picture is painted |
# | 06 | [Perceptual losses](06_perceptual_losses.ipynb) | why networks that compare pixels blur; the critic as a teacher |
# | 07 | [Training a fast network](07_training_a_fast_network.ipynb) | a network that paints any photograph in one pass |
# | 08 | [The playground](08_playground.ipynb) | nine styles in one network, and how they mix |
# | 09 | [Experiments](09_experiments.ipynb) | which settings matter, and which do not |
# | 10 | [The compact critic](10_the_compact_critic.ipynb) | how VGG-19, the paper's critic, was packed into less than a megabyte |
# | 11 | [Moving pictures](11_video.ipynb) | video that does not flicker |
# | 12 | [Super-resolution](12_super_resolution.ipynb) | pixels or features: what a network does when it is asked for one or the other |
# | 13 | [Large pictures](13_large_pictures.ipynb) | as large as a poster, in tiles without seams |
# | 14 | [Where next](14_where_next.ipynb) | where all this came from, where it went, and five failures with their remedies |
#
# The same from a terminal:
#
# ```
# nst stylize cat --style stained_glass
# nst stylize holiday.jpg --style swirl woodblock --size full \
#     --preserve-colour luminance --output out.png
# ```
#
# ## Exercises
#
# **1.** Paint the cat with *half* stained glass and *half* woodblock print. Predict first: is one side of the picture glass and
# the other wood, or are they mixed?
#
# <details><summary>Solution</summary>
#
# Mixed. The painter is told how much of each there should be, and not where.
#
# ```python
# show(nst.stylize("cat", ["stained_glass", "woodblock"], config))
# ```
# </details>
#
# **2.** Paint the astronaut as a woodblock print, but keep the photograph's colours. Predict first: can one still tell that it is a
# woodblock, when its colours are gone?
#
# <details><summary>Solution</summary>
#
# Yes, by its lines and its grain: they are made of light and dark, and that comes from the painting.
#
# ```python
# from dataclasses import replace
#
# show(nst.stylize("astronaut", "woodblock", replace(config, preserve_colour="luminance")))
# ```
# </details>
#
# **3.** How timid can the style be? Lower `style_weight` from 80 to 2, then to 0.2. Predict first: what goes
# first, the colours or the strokes?
#
# <details><summary>Solution</summary>
#
# The strokes go first. At 2 the cat is still blue and yellow, but the swirls have become a fine grain. At 0.2 the colours are gone
# too, and what you see is the photograph.
#
# ```python
# from dataclasses import replace
#
# weights = [80, 2, 0.2]
# cats = [nst.stylize("cat", "swirl", replace(config, size=256, style_weight=w)) for w in weights]
# show(cats, [str(w) for w in weights])
# ```
# </details>
#
# ## Reference
#
# L. A. Gatys, A. S. Ecker, M. Bethge: *Image Style Transfer Using Convolutional Neural Networks*, CVPR 2016.
#
# ---
#
# **To a network, a picture is a table of numbers. How wrong may these numbers be before you notice?** The next notebook shows six
# pictures that are equally wrong, to four decimals, and do not look so.
#
# Next: [01 · Pictures as tensors](01_pictures_as_tensors.ipynb)
