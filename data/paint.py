"""Paint the six style pictures of the tutorial, each from its own seed, with no photograph or painting as source."""

import argparse
import io
import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.interpolate import CubicSpline

SUPERSAMPLE = 2
BYTE_LIMIT = 200_000


def colour(code):
    """Turn 'f4d45a' into an array of three numbers from 0 to 1."""
    return np.array([int(code[i : i + 2], 16) for i in (0, 2, 4)]) / 255


def ramp(codes, position):
    """Look `position` (0 to 1, any shape) up in an even ramp of the space-separated colour codes."""
    stops = np.array([colour(code) for code in codes.split()])
    places = np.clip(position, 0, 1) * (len(stops) - 1)
    return np.stack([np.interp(places, np.arange(len(stops)), channel) for channel in stops.T], axis=-1)


def noise(rng, shape, cell, octaves=4):
    """Return fractal noise (mean 0, deviation 1) with largest features of `cell` = (rows, columns) pixels."""
    total, features = np.zeros(shape), np.array(shape) / cell
    for octave in range(octaves):
        sides = np.maximum(features * 2**octave, 1).astype(int) + 3
        grid = Image.fromarray(rng.standard_normal(sides).astype(np.float32))
        grid = grid.resize(shape[::-1], Image.BICUBIC, box=(1, 1, sides[1] - 1, sides[0] - 1))
        total += np.asarray(grid) * 0.5**octave
    return (total - total.mean()) / total.std()


def blur(field, radius):
    """Blur the two image axes of a field and leave its colour axis alone."""
    return ndimage.gaussian_filter(np.asarray(field, float), radius, mode="nearest", axes=(0, 1))


def smoothstep(low, high, field):
    """Rise smoothly from 0 at `low` to 1 at `high`."""
    t = np.clip((field - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def mix(first, second, amount):
    """Blend two pictures by a mask without a colour axis."""
    return first + (second - first) * amount[..., None]


def canvas_grid(width, height):
    """Return the x and y of every supersampled pixel, in units of the finished picture's pixels."""
    rows, columns = np.mgrid[0 : height * SUPERSAMPLE, 0 : width * SUPERSAMPLE]
    return (columns + 0.5) / SUPERSAMPLE, (rows + 0.5) / SUPERSAMPLE


def ridge(x, y, base, swell, wavelength, phase):
    """Return how far each spot lies below the brow of a rolling hill."""
    return y - base - swell * (np.sin(x / wavelength + phase) + 0.3 * np.sin(x / wavelength * 2.6))


def curve(points, count, closed=False):
    """Return `count` points of the smooth curve through the given points."""
    points = np.asarray([*points, points[0]] if closed else points, float)
    smooth = CubicSpline(np.arange(len(points)), points, bc_type="periodic" if closed else "not-a-knot")
    return smooth(np.linspace(0, len(points) - 1, count))


def disc(rng, cx, cy, radius, tilt=1.0, uneven=0.18):
    """Return the outline of a slightly uneven disc."""
    turn, reach = np.linspace(0, 2 * np.pi, 9)[:-1], radius * rng.uniform(1 - uneven, 1 + uneven, 8)
    return curve(np.stack([cx + reach * np.cos(turn), cy + tilt * reach * np.sin(turn)], axis=1), 40, closed=True)


def band(upper, lower):
    """Close two lines that run side by side into one outline."""
    return np.concatenate([upper, lower[::-1]])


def across(path, width):
    """Return the sideways steps of `width` along a path (..., s, 2)."""
    along = np.gradient(path, axis=-2)
    along /= np.maximum(np.linalg.norm(along, axis=-1, keepdims=True), 1e-6)
    return np.stack([-along[..., 1], along[..., 0]], axis=-1) * np.asarray(width)[..., None]


def at(field, points):
    """Read a field at (..., 2) supersampled pixel positions, clamped to the canvas."""
    limit = np.array(field.shape[1::-1]) - 1
    columns, rows = np.moveaxis(np.clip(points, 0, limit).astype(int), -1, 0)
    return field[rows, columns]


def follow(angle, starts, steps, pace):
    """Walk from every start along the angle field and return the paths as (starts, steps, 2)."""
    path = [np.array(starts, float)]
    for _ in range(steps - 1):
        heading = at(angle, path[-1])
        path.append(path[-1] + pace * np.stack([np.cos(heading), np.sin(heading)], axis=-1))
    return np.stack(path, axis=1)


def stamp(layers, points, values, keep):
    """Write values onto layers at the kept points; where points meet, the last one stays, as paint does."""
    keep = keep & ((points >= 0) & (points < layers[0].shape[1::-1])).all(axis=-1)
    columns, rows = points[keep].astype(int).T
    for layer, value in zip(layers, values, strict=True):
        layer[rows, columns] = value[keep]


def along_levels(field):
    """Return the angle of a field's level lines."""
    dy, dx = np.gradient(field)
    return np.arctan2(-dx, dy)


def edge_distance(labels):
    """Return how far, in finished pixels, every pixel lies from the nearest change of label."""
    change = np.zeros(labels.shape, bool)
    change[1:] |= labels[1:] != labels[:-1]
    change[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    return ndimage.distance_transform_edt(~change) / SUPERSAMPLE


# ---------------------------------------------------------------- swirl: oil strokes along a stream function

NIGHT = "0a1033 12226a 1b3f98 1f6fb3 2aa0b4 7cc9b8 d8dca0 f3c84b f9dd86 fff6d6"
EARTH = "0d1238 1b2a6e 17556b 2a8a6c 86a945 d9a93c f6d98a"
WHIRLS = ((160, 150, 120, 1), (430, 100, 85, -1), (620, 225, 105, 1), (330, 300, 62, 0.9), (60, 345, 60, -0.8),
          (553, 35, 45, 0.8), (484, 320, 46, -0.8), (300, 16, 40, -0.7))  # fmt: skip
SWIRL_HILLS = ((420, 26, 120, 0.4), (462, 24, 90, 2.2), (512, 26, 150, 4.0))


def swirl_scene(rng, x, y):
    """Return the colours to be painted, and the angle that the brush follows, of hills under a whirling night."""
    stream, light = y * 0.006 + 0.25 * np.sin(x / 95 + y / 160) + 0.22 * noise(rng, x.shape, (260, 380), 3), 0 * x
    for cx, cy, radius, spin in WHIRLS:
        reach = np.hypot(x - cx, (y - cy) * 1.08) / radius
        stream += 2.1 * spin * (radius / 100) ** 0.8 * np.exp(-(reach**2))
        light = np.maximum(light, np.exp(-((reach / 0.62) ** 2)) * (0.72 + 0.28 * np.cos(reach * 17)))
    bands = np.sin(stream * 15) * 0.13 + np.sin(stream * 41) * 0.05 + 0.05 * noise(rng, x.shape, (60, 90), 3)
    picture = ramp(NIGHT, 0.22 + bands + 0.74 * light + 0.2 * np.exp((y - 430) / 38))
    angle = along_levels(stream)
    for hill in SWIRL_HILLS:
        depth = ridge(x, y, *hill)
        fold = depth + 0.25 * (x - 360) * np.sin(x / 210 + hill[3]) + 7 * noise(rng, x.shape, (120, 200), 3)
        lit = 0.4 + 0.27 * np.sin(fold / 6.5) + 0.45 * np.exp(-depth / 6) + 0.13 * noise(rng, x.shape, (90, 200), 3)
        picture = np.where((depth > 0)[..., None], ramp(EARTH, lit), picture)
        angle = np.where(depth > 0, along_levels(fold), angle)
    dusk = smoothstep(0.7, 1.9, noise(rng, x.shape, (130, 220), 3))
    return mix(picture, picture * 0.55 + colour("8a4f9e") * 0.45, dusk * 0.8), angle


def brush_layer(rng, oil, relief, scene, count, half_width, length):
    """Lay `count` bristly strokes of one brush, 400 at a time, over the oil colours and their relief."""
    picture, angle = scene
    sides, steps = np.linspace(-1, 1, int(half_width * 2.6)), int(length / 1.1)
    taper = np.sin(np.linspace(0.12, np.pi * 0.97, steps)) ** 0.45
    for _ in range(0, count, 400):
        starts = rng.uniform((-length / 2, -9), (relief.shape[1], relief.shape[0] + 9), (400, 2))
        paths = follow(angle, starts, steps, 1.1)
        size = rng.uniform(0.6, 1.15, (400, 1)) * half_width * taper
        bristle = ndimage.gaussian_filter1d(rng.standard_normal((400, 1, len(sides))), 0.8, axis=2)
        dry = np.linspace(-1.6, 0.75, steps)[None, :, None] + rng.uniform(-0.4, 0.4, (400, 1, 1))
        tint = at(picture, paths[:, steps // 2]) * rng.uniform(0.82, 1.16, (400, 1)) + rng.normal(0, 0.035, (400, 3))
        paint = tint[:, None, None] * (1 + 0.13 * bristle)[..., None] + np.zeros((400, steps, 1, 1))
        height = 0.9 * np.abs(sides) ** 5 + 0.55 * bristle + 0.2 * dry + taper[:, None]
        points = paths[:, :, None] + across(paths, size)[:, :, None] * sides[:, None]
        stamp((oil, relief), points, (paint, height * half_width * 0.12), bristle > dry - 0.9)


def swirl(rng):
    """Paint whirls of golden light over night hills with thick oil strokes."""
    x, y = canvas_grid(720, 576)
    scene = swirl_scene(rng, x, y)
    oil, relief = scene[0] * 0.55, np.zeros(x.shape)
    for count, half_width, length in ((2400, 17, 150), (6000, 10, 105), (9200, 6, 74), (5200, 3.6, 46)):
        brush_layer(rng, oil, relief, scene, count, half_width, length)
    slope = np.clip(sum(np.gradient(blur(relief, 0.9))), -1.2, 1.2)
    return oil * (1 + 0.6 * slope)[..., None] + 0.3 * np.clip(slope - 0.2, 0, 1)[..., None]


# ---------------------------------------------------------------- stained_glass: panes cut from a landscape, leaded

SUN = (232, 218)
PANES = {  # one ramp of jewel colours for each part of the window
    "sun": "fff3b0 ffe169 ffc02e ff9a1f",
    "sky": "ffd84f ffab30 f4702a d63a3a a82c66 6a2f95 38399f 1f55b0 1b80bd 12459a 0d2a70",
    "hills": "1a3f8c 14639a 0d7f8a 12936a 3fa548 8cc030 d9d030 f2b233",
    "river": "d8fbf4 7fe3e6 2bb6da 1480c4 1257a8",
    "crown": "ffd23c f08a1d d9431f a81c38 6f1440",
    "trunk": "7a3d18 4d2412 93531f",
    "leaf": "d6e04a 5fb53c 14804a",
    "rose": "ffd9d0 ff8f7a f0303c b30f2f",
    "iris": "e6d4ff a98bf0 6a43d6 3a1f9e",
}
LOBES = ((470, 300, 62), (545, 250, 74), (615, 312, 66), (520, 352, 44), (590, 205, 58), (640, 240, 50))
BLOSSOMS = ((34, 462, 40, 5, "iris"), (140, 500, 42, 5, "rose"), (62, 572, 68, 7, "rose"), (186, 604, 52, 6, "iris"),
            (408, 596, 52, 6, "rose"), (470, 520, 36, 5, "iris"), (610, 586, 62, 7, "rose"),
            (598, 478, 34, 5, "iris"))  # fmt: skip


def cuts(rng, low, high, count):
    """Cut the stretch from `low` to `high` into `count` uneven pieces and return where they begin and end."""
    ends = np.cumsum(np.concatenate([[0], rng.uniform(0.6, 1.4, count)]))
    return low + (high - low) * ends / ends[-1]


def courses(rng, course, place, counts, low, high):
    """Number the panes of a part: each of its courses is cut along `place` into its own uneven pieces."""
    cells = np.zeros(course.shape, int)
    for index, count in enumerate(counts):
        pane = np.searchsorted(cuts(rng, low, high, count), place)
        cells = np.where(course == index, index * 100 + pane, cells)
    return cells


def flower(rng, x, y, cx, cy, radius, petals):
    """Return a mask of uneven lobed petals, the pane number in it, and the mask of its eye."""
    dx, dy = x - cx, (y - cy) * 1.2 + 0.25 * (x - cx)
    turn = (np.arctan2(dy, dx) + rng.uniform(0, 6)) % (2 * np.pi)
    edges = cuts(rng, 0, 2 * np.pi, petals)
    petal = np.clip(np.searchsorted(edges, turn) - 1, 0, petals - 1)
    lobe = np.clip(np.sin(np.pi * (turn - edges[petal]) / np.diff(edges)[petal]), 0, 1)
    reach = np.hypot(dx, dy) / radius / rng.uniform(0.8, 1.15, petals)[petal]
    return reach < 0.66 + 0.34 * lobe**0.6, petal + 20 * (reach < 0.5 + 0.12 * lobe), np.hypot(dx, dy) < 0.22 * radius


def tree(rng, x, y):
    """Return the masks of a tree's branches and crown, and the number of the leaf-shaped pane at each spot."""
    branches, crown = np.full(x.shape, False), 5 * noise(rng, x.shape, 50, 2)
    for branch in (((528, 640), (536, 520), (520, 420), (560, 300)), ((532, 520), (500, 420), (440, 330)),
                   ((534, 470), (570, 400), (622, 340))):  # fmt: skip
        for (px, py), width in zip(curve(branch, 60), np.linspace(17, 6, 60), strict=True):
            branches |= (x - px) ** 2 + (y - py) ** 2 < width**2
    crown += np.min([np.hypot(x - cx, y - cy) - radius for cx, cy, radius in LOBES], axis=0)
    seeds, turn = rng.uniform((400, 130), (700, 400), (330, 2)), rng.uniform(0, np.pi, 330)
    dx, dy = x[crown < 0][:, None] - seeds[:, 0], y[crown < 0][:, None] - seeds[:, 1]
    aside = dy * np.cos(turn) - dx * np.sin(turn)
    leaves = np.zeros(x.shape, int)
    leaves[crown < 0] = np.argmin(dx**2 + dy**2 + 1.4 * aside**2, axis=1)
    return branches, crown < 0, leaves


def window(rng, x, y):
    """Number every pane of the window, ten thousand to a shape, and name the part that each belongs to."""
    reach = np.hypot(x - SUN[0], y - SUN[1]) + 7 * noise(rng, x.shape, 420, 2)
    ring = np.searchsorted([34, 66, 98, 140, 184, 236, 292, 352, 424, 510], reach)
    turn = np.arctan2(y - SUN[1], x - SUN[0]) + 0.0009 * reach
    counts = (1, 10, 14, 15, 16, 19, 21, 25, 27, 29, 31)
    cells = courses(rng, ring, (turn + 1.7 * ring) % (2 * np.pi), counts, 0, 2 * np.pi)
    parts = np.where(ring < 2, "sun", "sky").astype("U5")

    def put(inside, part, numbers):
        """Set one shape of numbered panes in front of all that is there."""
        cells[inside] = (numbers + 10_000 * (cells.max() // 10_000 + 1))[inside]
        parts[inside] = part

    for hill in ((388, 26, 110, 0.6), (446, 34, 120, 3.4), (530, 30, 100, 5)):
        depth, lean = ridge(x, y, *hill), rng.uniform(-2.2, 2.2, 10)
        course = np.searchsorted(np.cumsum(rng.uniform(20, 46, 9)), depth)
        slanted = x + depth * lean[course] + 7 * np.sin(depth / 13)
        put(depth > 0, "hills", courses(rng, course, slanted, [13] * 10, -90, 730))
    aside = x - 300 - 70 * np.sin(y / 46) - (y - 420) * 0.2
    bars = np.searchsorted(np.cumsum(rng.uniform(10, 30, 16)), y - 405 - 16 * np.cos(aside / 40))
    put((np.abs(aside) < 3 + (y - 405) * 0.23) & (y > 408), "river", 2 * bars + (aside > 7 * np.sin(y / 9)))
    branches, crown, leaves = tree(rng, x, y)
    put(branches, "trunk", ((y + 0.4 * x) / 47).astype(int))
    put(crown, "crown", leaves)
    for cx, cy, radius, petals, part in BLOSSOMS:
        put(flower(rng, x, y, cx, cy + 6, radius * 1.35, 5)[0], "leaf", (x > cx) + 2 * (y > cy))
        inside, numbers, eye = flower(rng, x, y, cx, cy, radius, petals)
        put(inside, part, numbers)
        put(eye, "sun", 0 * numbers)
    return np.unique(cells, return_inverse=True)[1].reshape(x.shape), parts, cells // 10_000


def glass_light(rng, cells, parts, x, y):
    """Return the light that the panes let through, each with its own tint, slope, streaks and ripples."""
    count = cells.max() + 1
    mx, my = (np.asarray(ndimage.mean(axis, cells, np.arange(count)))[cells] for axis in (x, y))
    turn, chance = rng.uniform(0, 2 * np.pi, count)[cells], rng.uniform(0, 1, count)[cells]
    slope = ((x - mx) * np.cos(turn) + (y - my) * np.sin(turn)) / 150
    far = (np.hypot(mx - SUN[0], my - SUN[1]) - 66) / 463
    sky, hills = far + 0.24 * (chance - 0.5) + 0.4 * slope, 0.7 * my / 250 + 0.45 * (chance + slope) - 1.2
    position = np.where(parts == "sky", sky, np.where(parts == "hills", hills, chance + slope))
    streaks = np.stack([noise(rng, cells.shape, cell, 4) for cell in ((30, 300), (300, 30), (110, 110))])
    streak = np.take_along_axis(streaks, rng.integers(0, 3, count)[cells][None], axis=0)[0]
    light, ripple = np.zeros((*cells.shape, 3)), noise(rng, cells.shape, 14, 3)
    for name, codes in PANES.items():
        light[parts == name] = ramp(codes, (position + 0.06 * streak)[parts == name])
    bright = rng.uniform(0.72, 1.12, count)[cells] * (1 + 0.13 * streak)
    return light * (bright + 0.1 * np.clip(ripple - np.roll(ripple, (2, 2), (0, 1)), -2, 2))[..., None]


def stained_glass(rng):
    """Glaze a window of a low sun, hills, a river, a tree and flowers, and let its light bleed over the leads."""
    x, y = canvas_grid(640, 640)
    cells, parts, shapes = window(rng, x, y)
    width, inner = np.maximum(1.7 + 0.45 * noise(rng, x.shape, 160, 2), 1), edge_distance(cells)
    inside = np.minimum(inner / width, edge_distance(shapes) / (width + 1.7))
    light = glass_light(rng, cells, parts, x, y) * (0.62 + 0.38 * smoothstep(0, 9, inner))[..., None]
    height = blur(np.sqrt(np.clip(1 - inside**2, 0, 1)), 1.2)
    metal = 0.1 + 0.05 * noise(rng, x.shape, 16, 3) - 0.9 * sum(np.gradient(height))
    lead = np.clip(metal, 0.01, 0.6)[..., None] * np.array([0.9, 0.95, 1.05])
    picture = mix(light, lead, 1 - smoothstep(0.85, 1.1, inside))
    return picture + 0.22 * blur(picture, 7) + 0.2 * blur(picture, 26) - 0.06


# ---------------------------------------------------------------- halftone: three dotted inks and a black key plate

SCREENS = {  # ink, its screen's angle, the pitch of its dots, how far its plate misses the register
    "cyan": ("00a3df", 0.26, 6.4, (1.5, -1.0)),
    "red": ("ee1c58", 1.31, 7.4, (-1.5, 1.0)),
    "yellow": ("ffdc10", 0.79, 5.6, (0.5, 2.0)),
}
PUFFS = ((330, 610, 74), (20, 470, 66), (240, 640, 92), (410, 655, 62), (60, 560, 84), (140, 510, 56), (275, 545, 50),
         (150, 610, 76), (345, 668, 60), (30, 660, 84), (210, 560, 46), (235, 668, 58), (120, 672, 50))  # fmt: skip
STARS = ((516, 350, 26), (612, 300, 34), (604, 402, 16), (300, 40, 26), (470, 596, 20), (30, 300, 34))


class Plates:
    """The coverage of every ink, the choice of coarse dots, and the black key, as shapes are laid on one another."""

    def __init__(self, shape):
        """Begin with empty plates."""
        self.cover = {ink: np.zeros(shape) for ink in SCREENS}
        self.coarse, self.key = np.zeros(shape, bool), np.zeros(shape)

    def lay(self, depth, line=3.0, cyan=0.0, red=0.0, yellow=0.0, coarse=False):
        """Cover the part where `depth` is positive with inks (0 to 1 each), and draw its contour thick and thin."""
        dy, dx = np.gradient(depth)
        slope, inside = np.maximum(np.hypot(dx, dy), 1e-6), depth > 0
        for ink, amount in (("cyan", cyan), ("red", red), ("yellow", yellow)):
            self.cover[ink][inside] = np.broadcast_to(amount, depth.shape)[inside]
        self.coarse[inside] = coarse
        width = line * (0.75 - 0.5 * (dx + dy) / slope)
        contour = 1 - smoothstep(-0.5, 0.5, np.abs(depth / slope / SUPERSAMPLE + width * 0.4) - width)
        self.key = np.maximum(np.where(inside, 0, self.key), contour if line else 0)


def zigzag(turn, points, phase=0.0):
    """Rise and fall between 0 and 1 in straight flanks, `points` times in a turn."""
    return np.abs((turn * points / (2 * np.pi) + phase) % 1 * 2 - 1)


def lay_blast(plates, x, y):
    """Lay bursting rays, the jagged fireball that they come from, and stars."""
    reach, turn = np.hypot(x - 214, y - 436), np.arctan2(y - 436, x - 214)
    plates.lay(np.ones(x.shape), 0, 0.25 + reach / 620, 0.1 + (reach - 260) / 560, 0, True)
    bent = turn + 0.05 * np.sin(reach / 120)
    rays = (np.sin(bent * 15) + 0.35 * np.sin(bent * 8 + 1)) * reach / 15
    plates.lay(rays, 2, 0, (reach - 150) / 420, 1, True)
    star = 120 + 170 * zigzag(turn, 17) * (0.7 + 0.3 * np.sin(turn * 5)) - reach
    plates.lay(star, 4, 0.45 * smoothstep(190, 280, reach), 1, 1)
    star = 96 + 120 * zigzag(turn + 0.1, 15) * (0.75 + 0.25 * np.sin(turn * 4 + 1)) - reach
    plates.lay(star, 3.2, 0, np.minimum((reach - 70) / 190, 0.8), 1)
    plates.lay(66 + 80 * zigzag(turn, 13, 0.4) - reach, 2.4, 0, 0, np.minimum((reach - 30) / 110, 0.7), True)
    plates.lay(24 - reach, 0)
    for cx, cy, radius in STARS:
        plates.lay(radius - (np.sqrt(np.abs(x - cx)) + np.sqrt(np.abs(y - cy))) ** 2, 2.2, yellow=0.15)


def lay_rocket(plates, x, y):
    """Lay a rocket that climbs to the upper right on its flame."""
    u, v = (x - 418) * 0.598 - (y - 196) * 0.802, (y - 196) * 0.598 + (x - 418) * 0.802
    side, tail, dark = np.abs(v), -112 - u, np.clip((v + 12) / 52, 0, 1)
    for size, red, yellow in ((1.0, 1, 1), (0.7, 0.35, 1), (0.38, 0, 0.2)):
        edge = size * (46 + 8 * np.sin(tail / 13 + np.sign(v))) - tail * 0.24
        plates.lay(np.minimum(edge - side, tail + 14), 2.8, 0, red, yellow)
    fin = np.minimum(48 + (-34 - u) * 0.7 - side, u + 116 + (side - 40) * 0.5)
    plates.lay(np.minimum(fin, 96 - side), 3.6, dark * 0.8, 1, 1)
    body = np.minimum(54 * (1 - np.abs((u + 16) / 168) ** 2.3) - side, u + 112)
    plates.lay(body, 4.2, dark * 0.75, dark * 0.25)
    plates.lay(np.minimum(body, u - 76 + v * v / 160), 3, dark * 0.7, 1, 0.9)
    plates.lay(np.minimum(body, 13 - np.abs(u + 78 - v * v / 160)), 2.4, 1, 0.55 + 0.4 * dark)
    plates.lay(30 - np.hypot(u - 26, v), 3.2, 0, dark * 0.6, 1)
    plates.lay(21 - np.hypot(u - 26, v), 2.6, 0.35 + 0.5 * zigzag(u + v, 0.16), 0.2)
    plates.lay(np.minimum(9 - side, u + 150) - np.maximum(u + 58, 0), 2.4, 0, 1, 1)


def lay_planets(plates, x, y):
    """Lay a banded planet with its ring, and a dotted moon."""
    dx, dy = x - 556, y - 520
    tilt, globe, shadow = dy + 0.35 * dx, 84 - np.hypot(dx, dy), np.clip((dx + dy + 30) / 140, 0, 1)
    plates.lay(globe, 4, shadow, 0.5, 0.15)
    bands = np.sin(tilt / 11 + 0.5 * np.sin(dx / 30)) * 9
    plates.lay(np.minimum(globe, bands), 1.6, 0.3 * shadow, 0.2 + 0.8 * shadow, 1)
    ring = 17 - np.abs(np.hypot(dx * 0.94 - 0.33 * dy, tilt * 3.1) - 125)
    plates.lay(np.minimum(ring, np.maximum(tilt, -globe)), 2.8, 0.9 * (ring < 12), 0, 0.3)
    for cx, cy, radius in ((594, 96, 46), (583, 84, 11), (612, 108, 8), (592, 116, 6)):
        plates.lay(radius - np.hypot(x - cx, y - cy), 1.6 + radius / 26, 0, (x + y - 640) / 130, 1)


def lay_puffs(plates, x, y):
    """Lay the puffs of smoke, dotted on their shaded side and marked with a curl."""
    for index, (cx, cy, radius) in enumerate(PUFFS):
        dx, dy = x - cx, y - cy
        shade = np.clip((dx + 1.4 * dy + 0.9 * radius) / (2.4 * radius), 0, 1)
        inks = ((shade,), (0, shade * 0.85, 0.15), (0, shade**2, 0.25 + shade))[index % 3]
        plates.lay(radius - np.hypot(dx, dy), 4.4, *inks, coarse=index % 2 == 1)
        arc = 2.4 - np.abs(np.hypot(dx, dy) - 0.72 * radius)
        curl = np.minimum(arc, np.minimum(-dy, dx + 0.4 * radius) - 0.2 * radius)
        plates.key = np.maximum(plates.key, smoothstep(-0.4, 0.4, curl))


def lay_shout(plates, x, y):
    """Lay a shouting speech shape, with its shadow and three exclamation marks."""
    dx, dy = x - 142, y - 132
    turn, reach = np.arctan2(dy * 1.25, dx), np.hypot(dx, dy * 1.25)
    tail = 66 * np.clip(1 - np.abs(turn - 1.02) / 0.16, 0, 1)
    edge = 112 + 42 * zigzag(turn, 14, 0.2) * (0.8 + 0.2 * np.sin(3 * turn)) + tail
    plates.lay(edge + 12 - np.hypot(dx - 9, (dy - 9) * 1.25), 0, 1, 0.75)
    plates.lay(edge - reach, 4.6, 0, np.minimum((reach - 40) / 170, 0.7), 0.08)
    for cx, height in ((82, 64), (138, 84), (196, 70)):
        px, py = x - cx + (y - 130) * 0.2, y - 112
        bar = np.minimum(10 - py * 0.12 - np.abs(px), height * 0.62 - np.abs(py + 4))
        mark = np.maximum(bar, 11 - np.hypot(px, py - height * 0.62 - 16))
        plates.lay(mark, 3.4, 0.35 * smoothstep(-2, 8, px), 1, 1)


def halftone(rng):
    """Print a rocket, a fireball, smoke, a planet and a shout with coarse dots that miss the register a little."""
    x, y = canvas_grid(640, 640)
    plates = Plates(x.shape)
    for lay in (lay_blast, lay_planets, lay_puffs, lay_rocket, lay_shout):
        lay(plates, x, y)
    picture = colour("fbf1da") * (1 + 0.018 * noise(rng, x.shape, 9, 3))[..., None]
    for ink, (code, turn, pitch, offset) in SCREENS.items():
        pace = 2 * np.pi / np.where(plates.coarse, pitch * 1.7, pitch)
        u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
        dots = 0.5 + 0.25 * (np.cos(u * pace) + np.cos(v * pace))
        printed = smoothstep(-0.08, 0.08, np.clip(plates.cover[ink], 0, 1) * 1.2 - 1.1 + dots)
        printed *= np.clip(0.95 + 0.04 * noise(rng, x.shape, 26), 0, 1)
        printed = ndimage.shift(printed, np.multiply(offset, SUPERSAMPLE), order=0, mode="nearest")
        picture = picture * mix(np.ones(3), colour(code), printed)
    return mix(picture, colour("17131f"), plates.key * np.clip(0.97 + 0.05 * noise(rng, x.shape, 8, 3), 0, 1))


# ---------------------------------------------------------------- woodblock: one plate for every ink, printed in turn

BLOCK_INKS = {  # ink, and how far its block misses the register
    "sky": ("dfae5c", (0.0, 0.0)), "blush": ("d98a5f", (-1.2, 0.8)), "pale": ("a9c6c4", (0.9, -0.6)),
    "middle": ("4f86a6", (-0.8, 1.1)), "deep": ("1d4a7c", (1.2, 0.7)), "night": ("14284f", (0.5, -1.0)),
    "sun": ("cf4a34", (1.4, 0.4)),
}  # fmt: skip
BACK = ((-2.1, 0.1), (-1.5, 0.1), (-0.95, 0.32), (-0.5, 0.72), (-0.08, 1.02), (0.34, 1.08), (0.66, 0.9), (0.74, 0.68))
FACE = ((1.9, 0.02), (1.2, 0.02), (0.7, 0.08), (0.33, 0.24), (0.16, 0.46), (0.2, 0.68), (0.42, 0.8), (0.74, 0.68))
WAVES = (  # x and y of the foot, height, direction, from the farthest to the nearest
    (560, 412, 80, -1), (400, 415, 70, 1), (690, 440, 110, -1), (60, 420, 120, 1), (520, 455, 110, 1),
    (175, 500, 330, 1), (655, 520, 175, -1), (430, 540, 120, 1), (30, 570, 150, 1), (560, 590, 150, -1),
    (300, 600, 135, 1), (740, 600, 120, -1),
)  # fmt: skip
MIST = ((70, 380, 800), (96, 430, 640), (150, 470, 800), (176, 560, 760), (215, 330, 520), (40, 90, 330),
        (250, 610, 800), (66, -60, 150), (108, 30, 170), (186, -60, 70))  # fmt: skip


class Blocks:
    """The design as cut: which ink each spot gets, and where the key block's line runs."""

    def __init__(self, shape):
        """Begin with bare paper and an uncut key block."""
        self.ink, self.key = Image.new("L", shape[::-1]), Image.new("L", shape[::-1])
        self.cut_ink, self.cut_key = ImageDraw.Draw(self.ink), ImageDraw.Draw(self.key)

    def fill(self, points, ink, thin=0.0, thick=0.0):
        """Cut a shape for one ink, clear the key block behind it, and outline it if a line width is given."""
        outline = [tuple(point) for point in points * SUPERSAMPLE]
        self.cut_ink.polygon(outline, fill=["paper", *BLOCK_INKS].index(ink))
        self.cut_key.polygon(outline, fill=0)
        if thick:
            self.line(points, thin, thick)

    def line(self, points, thin, thick):
        """Cut a line into the key block that swells from thin to thick and thins again."""
        way = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
        places = np.linspace(0, way[-1], int(way[-1] * 2.5) + 2)
        widths = (thin + (thick - thin) * np.sin(np.pi * places / way[-1])) * SUPERSAMPLE / 2
        for x, y, width in zip(*(np.interp(places, way, side) * SUPERSAMPLE for side in points.T), widths, strict=True):
            self.cut_key.ellipse((x - width, y - width, x + width, y + width), fill=255)


def claw(rng, blocks, base, heading, length, bend, depth):
    """Cut one hooked finger of foam, with smaller fingers growing from its outer side."""
    share = np.linspace(0, 1, 26)
    turn = heading + 2.4 * bend * share**1.4
    spine = base + np.cumsum(np.stack([np.cos(turn), np.sin(turn)], axis=1), axis=0) * length / 26
    width = across(spine, length * (0.21 * (1 - share) ** 0.7 * smoothstep(-0.05, 0.3, share) + 0.02))
    for step in (5, 10, 15, 19) if depth else ():
        size = length * rng.uniform(0.3, 0.5) * (1 - step / 40)
        claw(rng, blocks, spine[step], turn[step] - bend * rng.uniform(0.5, 1.0), size, bend, depth - 1)
    blocks.fill(band(spine + width, spine - width), "paper")
    line = min(0.7 + length / 90, 1.5)
    blocks.line(band(spine + width, spine - width)[4:-4], line, line)


def foam(rng, blocks, back, face, scale, side):
    """Cut the foam of a crest: spikes behind it, its band, and rows of fingers reaching into the hollow."""
    depth, hollow = 2 if scale > 130 else 1, face - back
    crest, tip = np.linspace(150, 394, int(13 + scale / 14)).astype(int), np.full(9 if scale > 130 else 6, 396)
    edge = back + hollow * (0.01 + 0.19 * np.sin(np.pi * np.clip(np.arange(400) / 280 - 120 / 280, 0, 1)))[:, None]
    for row, (spots, inset, low, high) in enumerate(
        ((crest[-14:], 0, -0.6, -0.1), (crest, 0.16, 0.2, 0.8), (tip, 0, -0.9, 1.2), (crest, 0.05, 0.3, 0.9))
    ):
        if row == 1:
            blocks.fill(band(back[120:], edge[120:]), "paper")
            blocks.line(back[120:], 1.2, 2.4)
        for spot in spots:
            heading = np.arctan2(*(back[spot + 3] - back[spot - 3])[::-1]) + side * rng.uniform(low, high)
            size = scale * (0.07 + 0.2 * (spot - 130) / 270) * rng.uniform(0.7, 1.25) * (0.6 if row == 3 else 1)
            claw(rng, blocks, back[spot] + inset * hollow[spot], heading, size, side, depth)


def wave(rng, blocks, x, y, scale, side):
    """Cut one breaking wave: rippled water at its foot, a striped body, foam, and flying drops."""
    back, face = (curve(points, 400) * (scale * side, -scale) + (x, y) for points in (BACK, FACE))
    blocks.fill(np.array([*back, *face[::-1], (x + 1.9 * scale * side, 700), (x - 2.1 * scale * side, 700)]), "deep")
    for row in np.repeat(np.arange(y - 0.02 * scale, 550, 9), 3):
        path = rng.uniform(x - 2 * scale, x + 1.7 * scale) + np.linspace(0, rng.uniform(0.3, 0.9) * scale, 40)
        crest = np.stack([path, row + 3 * np.sin(path / 13 + row)], axis=1)
        swell = np.sin(np.linspace(0, np.pi, 40))[:, None] * (0, 2.6)
        blocks.fill(band(crest - swell, crest + swell), ("middle", "pale", "night")[rng.integers(3)])
    shares = (0, 0.12, 0.2, 0.33, 0.4, 0.52, 0.6, 0.7, 0.78, 0.9, 1.0)
    inks = ("middle", "deep", "pale", "deep", "paper", "night", "middle", "deep", "pale", "night")
    for low, high, ink in zip(shares, shares[1:], inks, strict=False):
        blocks.fill(band(back + (face - back) * low, back + (face - back) * high), ink)
        for inner in (0.3, 0.65):
            blocks.line((back + (face - back) * (low + (high - low) * inner))[30:330], 0.1, 0.8)
        blocks.line(back + (face - back) * high, 0.8, 1.5 if high < 1 else 2.6)
    foam(rng, blocks, back, face, scale, side)
    for spot in rng.integers(250, 399, int(scale / 7)):
        place = back[spot] + rng.normal(0, 0.2, 2) * scale - (0, 0.16 * scale)
        blocks.fill(disc(rng, *place, rng.uniform(0.8, 1.2 + scale / 130)), "paper", 0.9, 0.9)


def sky_and_mountain(rng, blocks):
    """Cut the sky, its sun and bands of mist, and a far mountain capped with snow."""
    blocks.fill(np.array([(-9, -9), (740, -9), (740, 600), (-9, 600)]), "sky")
    blocks.fill(disc(rng, 560, 118, 62, uneven=0.01), "sun", 1, 1.4)
    for y, left, right in MIST:
        turn, path = np.linspace(0, np.pi, 90), np.linspace(left, right, 90)
        puffs = (8 + 4 * np.abs(np.sin(turn * rng.integers(3, 6)))) * np.sin(turn) ** 0.35
        cloud = band(np.stack([path, y - puffs], axis=1), np.stack([path, y + 5 * np.sin(turn) ** 0.35], axis=1))
        blocks.fill(cloud, "blush" if y % 4 else "paper", 0.8, 0.8)
    slope = curve(((250, 420), (370, 350), (440, 285), (462, 276), (484, 287), (560, 352), (690, 420)), 200)
    blocks.fill(slope, "middle", 0.8, 2.2)
    snow = np.stack([np.linspace(515, 415, 40), 318 + 12 * zigzag(np.linspace(0, 40, 40), 0.9)], axis=1)
    blocks.fill(band(slope[58:138], snow[::-1]), "paper", 0.8, 1.2)


def woodblock(rng):
    """Print breaking waves before a far mountain from seven colour blocks, which show their grain, and a key block."""
    x, y = canvas_grid(720, 540)
    blocks = Blocks(x.shape)
    sky_and_mountain(rng, blocks)
    for place in WAVES:
        wave(rng, blocks, *place)
    bend = y + 26 * noise(rng, x.shape, (300, 900), 2)
    for cx, cy in ((110, 120), (640, 250), (380, 470)):
        bend += 40 * np.exp(-np.hypot((x - cx) / 90, (y - cy) / 32)) * np.sign(y - cy)
    grain = 0.5 * np.sin(bend / 2.3) + 0.3 * np.sin(bend / 0.97 + 1) + 0.6 * noise(rng, x.shape, (5, 240), 2)
    fibre = noise(rng, x.shape, 9, 3) - 2 * (np.abs(noise(rng, x.shape, 60)) < 0.012)
    picture, ink = colour("f3e6c8") * (1 + 0.018 * fibre)[..., None], np.asarray(blocks.ink)
    for number, (name, (code, offset)) in enumerate(BLOCK_INKS.items(), 1):
        mask = ndimage.shift((ink == number).astype(float), np.multiply(offset, SUPERSAMPLE), order=0, mode="nearest")
        strength = blur(mask, 0.7) * (0.86 + 0.1 * grain + 0.06 * noise(rng, x.shape, 150, 5))
        strength += 0.25 * np.clip(mask - blur(mask, 3), 0, 1)
        if name == "sky":
            strength *= smoothstep(-20, 110, y) * (1.05 - 0.5 * smoothstep(120, 330, y)) * (1 + 0.12 * grain)
        picture = picture * mix(np.ones(3), colour(code), np.clip(strength, 0, 1))
    dusk = 0.85 * np.isin(ink, (1, 2)) * np.exp(-(((y + 6 * grain) / 62) ** 2))
    picture = picture * mix(np.ones(3), colour("3b5f86"), dusk)
    key = blur(np.asarray(blocks.key) / 255, 0.6) * np.clip(0.92 + 0.06 * grain, 0, 1)
    return mix(picture, colour("16203c"), key)


# ---------------------------------------------------------------- ink: hatching that follows the forms

CLOUDS = ((120, 92, 62), (180, 70, 70), (248, 98, 54), (66, 118, 46), (300, 122, 34), (470, 60, 44), (530, 46, 56),
          (596, 74, 48), (652, 62, 40), (420, 84, 28), (690, 100, 34))  # fmt: skip
INK_HILLS = {  # every hill with the trees that stand on it, from the farthest to the nearest
    (212, 34, 70, 0.3): (), (252, 26, 105, 2.0): ((585, 268, 34), (632, 284, 44), (668, 300, 30)),
    (300, 34, 130, 4.4): ((92, 300, 40), (140, 318, 27), (330, 300, 20), (356, 304, 16), (390, 296, 13)),
    (362, 30, 150, 0.9): ((442, 402, 30), (236, 378, 24), (480, 414, 20), (-6, 400, 70)),
    (440, 34, 190, 3.4): ((60, 440, 92), (654, 452, 68), (708, 420, 56)),
}  # fmt: skip


class Scene:
    """What the pen sees: how dark each spot is, which way its form runs, its wash, and which form it belongs to."""

    def __init__(self, shape):
        """Begin with an empty bright scene."""
        self.tone, self.angle, self.tint = (np.zeros(shape) for _ in range(3))
        self.form = np.zeros(shape, int)

    def add(self, inside, tone, angle, tint, pieces=0):
        """Put a form, perhaps of numbered pieces, in front of all that is there."""
        pieces = self.form.max() + 1 + pieces
        for layer, value in ((self.tone, tone), (self.angle, angle), (self.tint, tint), (self.form, pieces)):
            layer[inside] = np.broadcast_to(value, inside.shape)[inside]


def add_sky(rng, scene, x, y):
    """Add a sky ruled in long waves around the sun, and clouds modelled as heaped balls."""
    drift = y + 14 * np.sin(x / 110) + 8 * noise(rng, x.shape, (160, 320), 2)
    sun, ragged = np.hypot(x - 392, y - 168), 4 * noise(rng, x.shape, 40)
    scene.add(y > -1, 0.62 - 0.0016 * y - 0.6 * np.exp(-sun / 85), along_levels(drift + 2600 / (sun + 30)), 0.25)
    for cx, cy, radius in CLOUDS:
        dx, dy = x - cx, y - cy
        reach = np.hypot(dx, dy)
        tone = np.clip(0.24 + (dx + 1.8 * dy) / (2.2 * radius), 0.02, 0.85) * smoothstep(0.2, 0.8, reach / radius)
        inside = (reach + ragged < radius) & (dy < radius * 0.45 + ragged)
        scene.add(inside, tone, along_levels(reach + 0.35 * dy), 0.06 + 0.3 * tone)


def add_hill(rng, scene, x, y, hill):
    """Add one hill with fields whose furrows run in different directions, and its stretch of the road."""
    base, phase, depth = hill[0], hill[3], ridge(x, y, *hill)
    fields = np.floor((x + 1.3 * depth * np.sin(phase * 7) + 30 * np.sin(depth / 22)) / 92).astype(int) % 40
    lean, dark = rng.uniform(-0.9, 0.9, 40)[fields], rng.uniform(0.16, 0.6, 40)[fields]
    fold = depth + lean * (x - 360) * 0.5 + 7 * noise(rng, x.shape, (200, 300), 2)
    tone = dark + 0.13 * noise(rng, x.shape, (60, 110), 3) + 0.3 * np.exp(-depth / 6)
    tone += 0.14 * np.sin(depth / 11 + x / 60)
    inside = depth + 1.3 * noise(rng, x.shape, 20, 3) > 0
    scene.add(inside, np.clip(tone * (0.6 + base / 800), 0.06, 0.95), along_levels(fold), 0.1 + 0.7 * dark, fields)
    aside = x - 380 - 190 * np.sin(base / 37) - (50 + depth * 0.4) * np.sin(depth / 38 + phase)
    share = aside / (1 + np.maximum(y - 190, 0) * 0.055)
    scene.add(inside & (np.abs(share) < 1), 0.06 + 0.5 * smoothstep(0.3, 1, share), along_levels(aside), 0.02)


def add_tree(rng, scene, x, y, cx, cy, radius):
    """Add one tree: a cast shadow, a trunk, and clumps of leaves, each lit from the upper left."""
    shadow = np.hypot((x - cx - radius * 0.7) / 1.5, (y - cy - radius * 1.5) * 3.4) < radius * 0.8
    scene.add(shadow, 0.8, 0.1, 0.8)
    trunk = np.abs(x - cx - 2 * np.sin(y / 9)) < radius * 0.1 + 0.02 * (y - cy)
    trunk &= np.abs(y - cy - 0.8 * radius) < 0.75 * radius
    scene.add(trunk, 0.55 + 0.06 * (x - cx), np.pi / 2, 0.9)
    ragged = noise(rng, x.shape, radius * 0.5)
    for turn in np.append(np.linspace(0.4, 5.6, 7) + rng.uniform(-0.4, 0.4, 7), 0):
        dx, dy = x - cx - (turn > 0) * 0.55 * radius * np.cos(turn), y - cy - 0.47 * radius * np.sin(turn)
        distance, size = np.hypot(dx, dy) + 0.09 * radius * ragged, radius * rng.uniform(0.42, 0.6)
        tone = np.clip(0.56 + (dx + 1.3 * dy) / (2.4 * size) + 0.16 * ragged + (y - cy) / (4 * radius), 0.1, 1)
        scene.add(distance < size, tone, along_levels(distance + 0.2 * radius * ragged), 0.35 + 0.4 * tone)


def hatch(rng, scene, sheet, count, turn, floor, gap):
    """Rule strokes that follow the forms, turned by `turn`, where the tone passes `floor` and room is left."""
    starts = rng.uniform(0, 1, (count, 2)) * sheet.shape[::-1]
    starts, taken = starts[at(scene.tone, starts) > floor], np.zeros(sheet.shape)
    paths = follow(scene.angle + turn, starts, 110, 1.6)
    tones = at(scene.tone, paths)
    inside = (at(scene.form, paths) == at(scene.form, starts)[:, None]) & (tones > floor * 0.85)
    ways, rooms = np.logical_and.accumulate(inside, axis=1), across(paths, gap * (1.75 - 1.15 * tones))
    spread, ones = np.linspace(-1, 1, 11)[:, None], np.ones((110, 11))
    for path, way, tone, room in zip(paths, ways, tones, rooms, strict=True):
        length = np.argmin(np.append(way & (at(taken, path) == 0), False))
        if length >= 12:
            stamp((taken,), (path[:, None] + room[:, None] * spread)[: length - 3], (ones[: length - 3],), True)
            line = path[:length] + np.cumsum(rng.normal(0, 0.09, (length, 2)), axis=0)
            pressure = np.sin(np.linspace(0.15, np.pi - 0.1, length)) ** 0.5 * (0.4 + 1.2 * tone[:length] ** 1.3)
            stamp((sheet,), line[:, None] + across(line, pressure)[:, None] * spread, (ones[:length],), True)


def ink(rng):
    """Draw hills, trees and clouds with a pen, hatched and cross-hatched over a sepia wash that dried in pools."""
    x, y = canvas_grid(720, 540)
    scene, sheet = Scene(x.shape), np.zeros(x.shape)
    add_sky(rng, scene, x, y)
    for hill, trees in INK_HILLS.items():
        add_hill(rng, scene, x, y, hill)
        for tree in trees:
            add_tree(rng, scene, x, y, *tree)
    for count, turn, floor, gap in ((50000, 0, 0.05, 2.7), (26000, 0.8, 0.4, 2.8), (22000, -0.75, 0.56, 2.5)):
        hatch(rng, scene, sheet, count, turn, floor, gap)
    width = 0.3 + 0.35 * noise(rng, x.shape, 50, 2) + 0.55 * blur(scene.tone, 3)
    contour = 1 - smoothstep(-0.3, 0.3, edge_distance(scene.form) - width)
    line = np.maximum(blur(sheet, 0.6), contour) * np.clip(0.9 + 0.09 * noise(rng, x.shape, 60, 5), 0, 1)
    wet = blur(scene.tint, 4) + 0.07 * noise(rng, x.shape, 160, 5)
    pools = 0.12 * sum(smoothstep(level, level + 0.02, wet) for level in (0.12, 0.3, 0.48, 0.66))
    wash = np.clip(0.45 * wet + pools + 1.2 * np.clip(blur(pools, 1) - blur(pools, 5), 0, 1), 0, 1)
    grain = noise(rng, x.shape, 7, 3) + noise(rng, x.shape, 200)
    paper = colour("f2e3c2") * (1 + 0.015 * grain)[..., None] * mix(np.ones(3), colour("a96f3a"), wash)
    return mix(paper, colour("20140f"), line)


# ---------------------------------------------------------------- watercolour: washes that take light away from paper

PIGMENTS = {
    "ultramarine": "3a56b0", "violet": "7a5aa8", "rose": "d8456f", "crimson": "b3203f", "ochre": "dba544",
    "orange": "ea7a3a", "sap": "6d8f35", "olive": "4f6a2c", "viridian": "3f8f80", "indigo": "2b3a62", "umber": "6b4630",
}  # fmt: skip
HEADS = (  # x, y, radius, petals, tilt, outer and inner pigment, from the back to the front
    (64, 330, 40, 6, 0.6, "violet", "ultramarine"), (590, 318, 44, 6, 0.7, "orange", "ochre"),
    (322, 338, 40, 5, 0.6, "ochre", "orange"), (470, 300, 46, 6, 0.7, "violet", "rose"),
    (180, 300, 50, 6, 0.65, "orange", "rose"), (575, 452, 74, 6, 0.8, "rose", "violet"),
    (84, 470, 78, 6, 0.82, "crimson", "rose"), (392, 420, 70, 6, 0.78, "rose", "crimson"),
    (232, 450, 72, 7, 0.85, "ultramarine", "violet"), (490, 570, 66, 6, 0.8, "ochre", "orange"),
    (318, 560, 84, 7, 0.86, "rose", "crimson"), (150, 600, 58, 6, 0.8, "orange", "crimson"),
    (620, 590, 54, 6, 0.8, "ultramarine", "violet"),
)  # fmt: skip
FIELDS = (  # top, swell, wavelength, phase, pigments, strength
    (148, 26, 80, 0.5, "violet", "ultramarine", 0.6), (184, 18, 60, 2.5, "ultramarine", "viridian", 0.75),
    (222, 16, 110, 4.0, "viridian", "sap", 0.7), (262, 14, 140, 1.0, "ochre", "orange", 0.7),
    (318, 20, 90, 2.0, "sap", "ochre", 0.8), (416, 26, 70, 0.3, "sap", "viridian", 0.85),
    (520, 26, 90, 3.3, "olive", "sap", 0.95),
)  # fmt: skip
LIGHTS = ((140, 62, 60), (240, 84, 40), (470, 46, 56), (560, 74, 60), (340, 30, 34), (30, 110, 40))
SPIRES = ((22, 400, 80), (138, 400, 96), (262, 372, 84), (300, 470, 60), (420, 350, 76), (536, 392, 84), (626, 420, 96),
          (366, 380, 66), (478, 480, 70), (10, 600, 84), (236, 640, 90), (556, 640, 84), (404, 640, 84))  # fmt: skip
GREENS = (("sap", "olive"), ("olive", "viridian"), ("ochre", "sap"), ("viridian", "sap"))
BLOOMS = (("rose", "crimson"), ("ochre", "orange"), ("violet", "ultramarine"), ("orange", "rose"))


class Sheet:
    """A sheet of cold-pressed paper and the pigment film that has dried on it."""

    def __init__(self, rng, shape):
        """Take a sheet with its own tooth, where hollows are positive."""
        self.rng, self.tooth, self.film = rng, noise(rng, shape, 7, 2), np.zeros((*shape, 3))

    def crop(self, outline, margin):
        """Return the slices around an outline and the filled mask within them."""
        edge = np.array(self.tooth.shape[::-1])
        left, top = start = np.clip((outline.min(axis=0) - margin) * SUPERSAMPLE, 0, edge - 8).astype(int)
        right, bottom = np.clip((outline.max(axis=0) + margin) * SUPERSAMPLE, start + 8, edge).astype(int)
        mask = Image.new("1", (int(right - left), int(bottom - top)))
        ImageDraw.Draw(mask).polygon([tuple(point) for point in outline * SUPERSAMPLE - start], fill=1)
        return (slice(top, bottom), slice(left, right)), np.asarray(mask)

    def wash(self, outline, pigments, strength=0.8, ragged=2.0, soft=0.7, rim=0.8, heart=None):
        """Lay one wash of two pigments that mingle: dark at its rim, blotched, bloomed and granulated."""
        place, mask = self.crop(outline, 6 + 2 * soft + 4 * ragged)
        y, x = np.mgrid[place] / SUPERSAMPLE
        depth = (ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)) / SUPERSAMPLE
        depth += ragged * noise(self.rng, mask.shape, 44)
        density = 0.6 + rim * np.exp(-np.maximum(depth, 0) / 1.6) + 0.15 * noise(self.rng, mask.shape, 240, 3)
        density *= self.bloom(x, y) * np.clip(1 + 0.17 * self.tooth[place], 0.3, 1.8)
        if heart:
            density *= 0.72 + np.exp(-np.hypot(x - heart[0], y - heart[1]) / heart[2] / 0.42)
        density *= smoothstep(-soft, soft, depth) * strength
        share = smoothstep(-1.3, 1.3, noise(self.rng, mask.shape, 200, 3))
        first, second = (-np.log(colour(PIGMENTS[name])) for name in pigments)
        self.film[place] += np.clip(density, 0, 3)[..., None] * mix(first, second, share)

    def bloom(self, x, y):
        """Return how water that ran back into a wash has thinned it, with a dark cauliflower rim."""
        factor, size = np.ones(x.shape), max(x.shape) / SUPERSAMPLE
        for _ in range(6 if size > 200 else 1):
            radius, spot = self.rng.uniform(0.12, 0.26) * min(size, 300), self.rng.uniform(0.1, 0.9, 2) * x.shape
            reach = np.hypot(x - x[0, int(spot[1])], y - y[int(spot[0]), 0])
            reach += 0.16 * radius * noise(self.rng, x.shape, radius, 5)
            front = np.exp(-np.abs(reach - radius) / 1.5) * (reach < radius + 1.5)
            factor *= 1 - 0.32 * smoothstep(radius, radius * 0.4, reach) + 0.3 * front
        return factor

    def lift(self, outline, left_over=0.1, soft=0.6):
        """Take most of the film away again, as masking fluid or a damp brush would."""
        place, mask = self.crop(outline, 5 * soft + 2)
        self.film[place] *= (1 - (1 - left_over) * blur(mask, soft * SUPERSAMPLE))[..., None]

    def dab(self, x, y, size, pigments, strength):
        """Set one small drop on a spot that was kept fairly clean."""
        outline = disc(self.rng, x, y, size, 0.8)
        self.lift(outline, 0.35)
        self.wash(outline, pigments, strength, 0.1 * size)


def landscape(rng, sheet):
    """Paint the sky with its lifted clouds, and far hills and meadows, each as a broad wash."""
    xs = np.linspace(-40, 680, 90)

    def strip(bottom, *hill):
        """Outline what lies between a hill's brow and a level below it."""
        return band(np.stack([xs, -ridge(xs, 0, *hill)], axis=1), np.stack([xs, 0 * xs + bottom], axis=1))

    sheet.wash(strip(700, -40, 0, 9, 0), ("ochre", "rose"), 0.3, 3, 9, 0)
    for top, swell, bottom, strength in ((-60, 0, 70, 0.9), (-60, 0, 120, 0.45), (96, 10, 140, 0.3)):
        sheet.wash(strip(bottom, top, swell, 90, top), ("ultramarine", "violet"), strength, 13, 6, 0.15)
    for cx, cy, radius in LIGHTS:
        for dx, dy, more in rng.normal(0, 1, (9, 3)) * (0.6 * radius, 0.16 * radius, 0.12 * radius):
            sheet.lift(disc(rng, cx + dx, cy + dy, 0.45 * radius + more, 0.7), 0.62, 2.2)
    for *hill, first, second, strength in FIELDS:
        sheet.lift(strip(700, *hill), 0.2)
        sheet.wash(strip(700, *hill), (first, second), strength, 2.5, 0.8, 0.7)


def meadow(rng, sheet):
    """Paint grass blades, loose dabs of blossom and spires of small flowers behind the large ones."""
    for _ in range(170):
        foot = rng.uniform((-10, 330), (650, 690))
        tip = foot + rng.uniform((-40, -120), (40, -40))
        blade = curve((foot, (foot + tip) / 2 + (rng.uniform(-8, 8), 0), tip), 30)
        width = np.linspace(1.7, 0.2, 30)[:, None] * (1, 0)
        sheet.wash(band(blade + width, blade - width), GREENS[rng.integers(4)], rng.uniform(0.4, 0.9), 0.3)
    for near in rng.random(80) ** 1.3:
        place = rng.uniform(0, 640), 270 + 360 * near, rng.uniform(2, 5) + 6 * near
        sheet.dab(*place, BLOOMS[rng.integers(4)], rng.uniform(0.5, 1))
    for x, foot, height in SPIRES:
        bend = rng.uniform(-26, 26)
        for share in np.linspace(0, 1, int(height / 4)):
            size = (1.15 - share) * height / 17
            place = x + bend * share**2 + rng.normal(0, 0.8) * size, foot - height * share
            sheet.dab(*place, size, BLOOMS[2], rng.uniform(0.6, 1.2))


def stem(rng, sheet, cx, cy):
    """Paint a stem from a flower down to the ground, with three leaves whose halves leave the midrib bare."""
    foot = cx + rng.uniform(-50, 50)
    path = curve(((foot, 660), ((foot + cx) / 2 + rng.uniform(-20, 20), (660 + cy) / 2), (cx, cy)), 60)
    width = np.linspace(3.2, 1.4, 60)[:, None] * (1, 0)
    sheet.wash(band(path + width, path - width), GREENS[0], 0.9, 0.4)
    for start in path[rng.integers(8, 46, 3)]:
        share, length = np.linspace(0, 1, 40), rng.uniform(50, 105)
        turn = -np.pi / 2 + rng.choice([-1, 1]) * rng.uniform(0.3, 1.2) + rng.uniform(-0.9, 0.9) * share
        spine = start + np.cumsum(np.stack([np.cos(turn), np.sin(turn)], axis=1), axis=0) * length / 40
        breadth = across(spine, length * rng.uniform(0.12, 0.2) * np.sin(np.pi * share**0.8) + 0.5)
        sheet.lift(band(spine + breadth, spine - breadth), 0.15)
        greens, bare = GREENS[rng.integers(1, 4)], across(spine, 0 * share + 0.5)
        for side, strength in ((1, 1.25), (-1, 0.85)):
            sheet.wash(band(spine + side * bare, spine + side * breadth), greens, strength, 0.6)


def flower_head(rng, sheet, cx, cy, radius, petals, tilt, outer, inner):
    """Paint one flower: two rings of wavy petals, kept clean beforehand, around a dark eye with stamens."""
    start, outlines = rng.uniform(0, 6), []
    for index in range(2 * petals):
        ring, size = index // petals, radius * rng.uniform(0.88, 1.1) * (1, 0.64)[index // petals]
        along = np.array([0.06, 0.35, 0.75, 1.0, 0.93, 1.0, 0.72, 0.32]) * rng.uniform(0.92, 1.08, 8) * size
        aside = np.array([0, -0.42, -1, -0.7, 0, 0.68, 1, 0.4]) * rng.uniform(0.88, 1.1, 8) * size * (0.43, 0.34)[ring]
        turn = start + (index + ring * 0.5 + rng.uniform(-0.15, 0.15)) * 2 * np.pi / petals
        x, y = along * np.cos(turn) - aside * np.sin(turn), along * np.sin(turn) + aside * np.cos(turn)
        outlines.append(curve(np.stack([cx + x, cy + y * tilt], axis=1), 90, closed=True))
        sheet.lift(outlines[-1])
    for index, outline in enumerate(outlines):
        names = (outer, inner) if index < petals else (inner, outer)
        sheet.wash(outline, names, 0.68, radius / 45, rim=1.1, heart=(cx, cy, radius))
    sheet.wash(disc(rng, cx, cy, radius * 0.15, tilt), ("indigo", "olive"), 1.3, 1.0)
    for turn in rng.uniform(0, 2 * np.pi, 22):
        reach, size = radius * rng.uniform(0.2, 0.36), radius * rng.uniform(0.018, 0.035)
        stamen = disc(rng, cx + reach * np.cos(turn), cy + reach * np.sin(turn) * tilt, size)
        sheet.wash(stamen, ("indigo", "umber"), 1.2, 0.1)


def watercolour(rng):
    """Paint a flowering meadow before blue hills in transparent washes, and flick drops off the brush."""
    sheet = Sheet(rng, (640 * SUPERSAMPLE, 640 * SUPERSAMPLE))
    landscape(rng, sheet)
    meadow(rng, sheet)
    for head in HEADS:
        stem(rng, sheet, *head[:2])
    for head in HEADS:
        flower_head(rng, sheet, *head)
    for _ in range(150):
        drop = disc(rng, *rng.uniform(0, 640, 2), 0.7 + 3.2 * rng.random() ** 4)
        sheet.wash(drop, rng.choice(list(PIGMENTS), 2), rng.uniform(0.3, 0.8), 0.2)
    relief = blur(sheet.tooth, 1.0)
    light = 1 + 0.028 * np.clip(relief - np.roll(relief, (3, 3), (0, 1)), -2, 2)
    return colour("fbf6ea") * np.exp(-sheet.film) * light[..., None]


# ---------------------------------------------------------------- the command


PAINTINGS = {
    "swirl": (swirl, 11), "stained_glass": (stained_glass, 23), "woodblock": (woodblock, 37), "ink": (ink, 53),
    "halftone": (halftone, 41), "watercolour": (watercolour, 61),
}  # fmt: skip


def save_jpeg(picture, path):
    """Shrink the supersampled picture and save it at the best quality that fits the size limit."""
    image = Image.fromarray((np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8))
    image = image.resize([side // SUPERSAMPLE for side in image.size], Image.LANCZOS)
    for quality in range(90, 50, -2):
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= BYTE_LIMIT:
            break
    aside = path.with_suffix(".part")
    aside.write_bytes(buffer.getvalue())
    os.replace(aside, path)
    print(f"{path.name}: {image.width}x{image.height}, {buffer.tell() // 1000} kB at quality {quality}")


def main():
    """Paint the pictures that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"from {', '.join(PAINTINGS)}; all if left out")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parents[1] / "nstlib" / "paintings", metavar="DIR"
    )
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(PAINTINGS)
    if unknown:
        parser.error(f"no painting is called {', '.join(sorted(unknown))}")
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name in arguments.names or PAINTINGS:
        paint, seed = PAINTINGS[name]
        save_jpeg(paint(np.random.default_rng(seed)), arguments.output / f"{name}.jpg")


if __name__ == "__main__":
    main()
