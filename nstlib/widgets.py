"""The slider desks of the notebooks: change a weight and watch the picture follow."""

import asyncio
import html
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated

import torch
from IPython.display import display
from ipywidgets import (
    HTML,
    Button,
    Dropdown,
    FileUpload,
    FloatLogSlider,
    FloatSlider,
    HBox,
    Image,
    Layout,
    Play,
    SelectMultiple,
    Text,
    VBox,
)
from torch import Tensor

from .arguments import Side, between, checked
from .colour import METHODS
from .errors import NstError
from .gatys import GatysConfig, GatysPainter, best_device
from .images import fit, frame, jpeg_bytes, resize, save_image, unframe
from .losses import PerceptualLoss
from .plots import quick_curves
from .samples import load_image, sample_names
from .transformer import TransformerNet, load_transformer, paint

SIZES = (96, 128, 192, 256, 384, 512)
WEIGHTS = {"content_weight": (-2, 3), "style_weight": (-1, 5), "tv_weight": (-3, 3), "step_size": (-3, -0.5)}  # log10
LABEL = {"description_width": "105px"}
ENDS = {0: "from", -1: "to"}  # of the walk between two styles, and which they are at first
WIDTH = 480  # of the picture and the curves on the screen, pixels


class _Desk:
    """What the desks share: a photograph, the picture made of it, a file to save it in, a line for messages.

    A desk has besides `view`, `image`, `_new_photo(photo, name)`, and `_record()`, the settings saved with the picture.
    """

    open_desk: "_Desk | None" = None  # of each kind of desk, the one that a new one closes

    def __init__(self, content: str):
        self.closed = self._quiet = False
        names = _with(sample_names()["photographs"], content)
        self.content = Dropdown(options=names, value=content, description="photograph", style=LABEL)
        self.upload = FileUpload(accept="image/*", multiple=False, description="your own")
        self.picture = Image(format="jpeg", layout=Layout(width=f"{WIDTH}px", object_fit="contain"))
        self.file = Text("painting.png", layout=Layout(width="180px"))
        self.save_button = _button("save", self.save)
        self.status, self.message = HTML(), HTML()
        self.content.observe(lambda change: self._new_photo(load_image(change["new"]), change["new"]), "value")
        self.upload.observe(self._uploaded, "value")

    def _open(self) -> None:
        """Close the desk before; last of all, for a desk that cannot be made takes none away."""
        if self.open_desk:
            self.open_desk.close()
        type(self).open_desk = self

    def _ipython_display_(self) -> None:
        display(self.view)

    def _say(self, text: str, wrong: bool = False) -> None:
        colour = "#b00020" if wrong else "inherit"
        self.message.value = f'<pre style="color:{colour};white-space:pre-wrap">{html.escape(text)}</pre>'

    def _uploaded(self, change) -> None:
        """A picture from the reader's disk."""
        if not change["new"]:
            return
        name, content = _uploaded_file(change["new"])
        try:
            photo = load_image(content)
            self._new_photo(photo, name)
            self._say(f"{name}: {photo.shape[-1]}×{photo.shape[-2]}")
        except NstError as error:
            self._say(f"{name}: {error}", wrong=True)

    def save(self, _=None) -> None:
        """Save the picture with its settings, under the name in the text field."""
        try:
            path = save_image(self.image, self.file.value.strip(), {"content": self._content_name, **self._record()})
            self._say(f"saved as {path.resolve()}")
        except (NstError, ValueError) as error:
            self._say(str(error), wrong=True)

    def close(self) -> None:
        """Stop, and take the desk away."""
        self.closed = True
        self.view.close()


class ControlDesk(_Desk):
    """Gatys' painting under your hands: show it as the last line of a cell.

    `Play` is the metronome: each of its ticks advances the running `GatysPainter` by a few steps and draws.
    Moving a slider gives the painter new weights and restarts nothing. A new desk closes the one before.

    Args:
        content: a sample's name or a file.
        styles: one or more samples' names, chosen at first.
        config: where the sliders stand at first, and the critic; of it `steps`, `smallest`, `init`, `seed`, `mask`,
            `preserve_colour` and `fit` are not used.
        seconds: how long one tick may take; sliders answer between ticks.
    """

    @checked
    def __init__(
        self,
        content: str = "cat",
        styles: tuple[str, ...] = ("swirl",),
        config: GatysConfig | None = None,
        seconds: Annotated[float, between(0, 10)] = 0.08,
    ):
        self.config = config or GatysConfig(size=192, tv_weight=0.1)
        if self.config.size == "full":
            raise ValueError("config: of a desk needs a size in pixels, not 'full'")
        super().__init__(content)
        self.seconds, self._changed = seconds, 0.0
        self._past: list[tuple[dict, Tensor]] = []
        self._build(styles)
        self.loss = PerceptualLoss(self.config).to(best_device(self.config.device))
        self._new_photo(load_image(content), content)
        self._open()

    # ── what one sees ───────────────────────────────────────────────────────────────────────────

    def _build(self, styles: tuple[str, ...]) -> None:
        paintings = _with(sample_names()["paintings"], *styles)
        self.styles = SelectMultiple(options=paintings, value=styles, rows=6, description="styles", style=LABEL)
        self.size = Dropdown(
            options=_with(SIZES, self.config.size), value=self.config.size, description="long side", style=LABEL
        )
        self.sliders = {
            name: _log_slider(name.replace("_", " "), getattr(self.config, name), *WEIGHTS[name]) for name in WEIGHTS
        }
        names = self.config.layers()[1]
        weights = self.config.style_layer_weights or (1.0,) * len(names)
        self.layers = {name: _slider(name, w, max(2.0, w)) for name, w in zip(names, weights, strict=True)}
        self.blend: dict[str, FloatSlider] = {}
        self.blend_box = VBox()
        self.play = Play(min=0, max=10**6, interval=150, show_repeat=False)
        drive = {"step": self.tick, "reset": self.reset, "undo": self.undo}
        self.buttons = {name: _button(name, action, width="72px") for name, action in drive.items()}
        self.train_button = _button("to training", self.to_training)
        self.curves = Image(format="png", layout=self.picture.layout)
        self._mix(styles)
        self._connect()
        self.view = self._arrange()

    def _arrange(self) -> VBox:
        drive = HBox([self.play, *self.buttons.values()])
        keep = HBox([self.file, self.save_button, self.train_button])
        left = VBox([self.picture, drive, self.status, self.curves, keep])
        sources = [self.content, self.upload, self.size, self.styles, self.blend_box]
        right = VBox([*sources, *self.sliders.values(), HTML("<b>style layers</b>"), *self.layers.values()])
        return VBox([HBox([left, right]), self.message])

    def _connect(self) -> None:
        self.play.observe(self.tick, "value")
        for slider in (*self.sliders.values(), *self.layers.values()):
            slider.observe(self._reweigh, "value")
        self.styles.observe(self._new_styles, "value")
        self.size.observe(lambda _: self._start(self.image), "value")

    # ── the painter behind it ───────────────────────────────────────────────────────────────────

    def settings(self) -> GatysConfig:
        """The settings that the sliders show."""
        return replace(self.config, size=self.size.value, **self._weights())

    def _weights(self) -> dict:
        """Of them, those that can change while a painter runs."""
        weights = {name: slider.value for name, slider in self.sliders.items()}
        for name, sliders in {"style_layer_weights": self.layers, "style_blend": self.blend}.items():
            values = tuple(slider.value for slider in sliders.values())
            weights[name] = values if sum(values) > 0 else None
        return weights

    def _start(self, image: Tensor | None) -> None:
        """A painter for the chosen photograph, styles and size, going on from `image`."""
        config = self.settings()
        self.shape = fit(self._photo.shape[-2:], config.size)
        content = frame(resize(self._photo, self.shape))
        image = content if image is None else frame(resize(image, self.shape))
        styles = [load_image(name, max(16, round(config.size * config.style_scale))) for name in self.styles.value]
        self.painter = GatysPainter(content, styles, config, image=image, loss=self.loss)
        self.history: dict[str, list[float]] = {"content": [], "style": []}
        self._draw(0.0)

    @property
    def image(self) -> Tensor:
        """The picture as it is now, `(1, 3, H, W)`."""
        return unframe(self.painter.state().image, self.shape)

    def tick(self, _=None) -> None:
        """Advance for as long as a tick may take, at least one step, and draw."""
        if self.closed:
            return
        start, steps = time.perf_counter(), 0
        while steps == 0 or time.perf_counter() - start < self.seconds:
            losses = self.painter.step().losses
            steps += 1
            for name, values in self.history.items():
                values.append(losses[name])
        self._draw(steps / (time.perf_counter() - start))

    def _draw(self, steps_per_second: float) -> None:
        self.picture.value = jpeg_bytes(self.image)
        self.curves.value = quick_curves(self.history, (WIDTH, 110))
        losses = " · ".join(f"{name} {values[-1]:.4f}" for name, values in self.history.items() if values)
        speed = f" · {steps_per_second:.0f} steps/s" if steps_per_second else ""
        self.status.value = (
            f"step {self.painter.count} · {self.shape[1]}×{self.shape[0]}{speed}<br>{losses or 'press play'}"
        )

    # ── what hands do ───────────────────────────────────────────────────────────────────────────

    def _reweigh(self, _=None) -> None:
        """A slider moved: new weights for the running painter."""
        if self._quiet or self.closed:
            return
        self._remember()
        changes = self._weights()
        if changes["step_size"] == self.painter.config.step_size:
            changes.pop("step_size")  # a new step size makes a new optimiser
        self.painter.configure(**changes)

    def _remember(self) -> None:
        """For undo: the sliders and the picture before this change; one that follows at once belongs to it."""
        now = time.monotonic()
        if now - self._changed > 1:
            self._past = [*self._past[-19:], (self._values, self.image)]
        self._changed, self._values = now, self._read()

    def _controls(self) -> dict[str, FloatSlider | FloatLogSlider]:
        return {**self.sliders, **self.layers, **{f"blend {n}": s for n, s in self.blend.items()}}

    def _read(self) -> dict:
        return {name: control.value for name, control in self._controls().items()} | {"styles": self.styles.value}

    def undo(self, _=None) -> None:
        """Back to the sliders and the picture before the last change."""
        if not self._past:
            return self._say("nothing to undo")
        values, image = self._past.pop()
        self._quiet = True
        self.styles.value = values["styles"]
        self._mix(values["styles"])
        for name, control in self._controls().items():
            control.value = values[name]
        self._quiet, self._values, self._changed = False, self._read(), 0.0
        self._start(image)

    def reset(self, _=None) -> None:
        """Start again from the photograph, with the sliders where they are."""
        self._changed = 0.0
        self._remember()
        self._start(None)

    def _new_photo(self, photo: Tensor, name: str) -> None:
        self._photo, self._content_name = photo, name
        self._past.clear()
        self._start(None)

    def _new_styles(self, change) -> None:
        if self._quiet:
            return
        if not change["new"]:
            self._quiet = True
            self.styles.value = change["old"]
            self._quiet = False
            return self._say("choose at least one style", wrong=True)
        self._remember()
        self._mix(change["new"])
        self._start(self.image)

    def _mix(self, styles: tuple[str, ...]) -> None:
        """One slider for the share of each style."""
        first = dict(zip(styles, self.config.style_blend or (), strict=False))
        old = {name: slider.value for name, slider in self.blend.items()} or first
        self.blend = {name: _slider(name, old.get(name, 1.0), max(1.0, old.get(name, 1.0))) for name in styles}
        for slider in self.blend.values():
            slider.observe(self._reweigh, "value")
        self.blend_box.children = tuple(self.blend.values()) if len(styles) > 1 else ()
        self._values = self._read()

    def _record(self) -> dict:
        return {"style": list(self.styles.value), "steps": self.painter.count, **self._weights()}

    def to_training(self, _=None) -> None:
        """Print these weights as the settings of a training (notebook 07)."""
        config = self.settings()
        lines = [f"    {n}={getattr(config, n):.4g}," for n in ("content_weight", "style_weight", "tv_weight")]
        if config.style_layer_weights:
            lines.append(f"    style_layer_weights={tuple(round(w, 3) for w in config.style_layer_weights)},")
        names = ", ".join(f'"{name}"' for name in self.styles.value)
        style = names if len(self.styles.value) == 1 else f"({names})"  # of several styles it is an adjustable one
        first = f'    dataset="photos", style={style}, save_model="my_style.safetensors",'
        self._say("\n".join(["config = nst.TrainConfig(", first, *lines, ")"]))

    def close(self) -> None:
        """Stop, and take the desk away."""
        super().close()
        self.play.close()


class Playground(_Desk):
    """An adjustable network under your hands: styles, their mix, and strength; the picture follows at once.

    While a slider moves the picture is painted small; when it has rested, at full size. A new desk closes the
    one before.

    Args:
        model: an adjustable network, or the name or file of one.
        content: a sample's name or a file.
        quick: long side in pixels while a slider moves.
        size: long side in pixels when it rests.

    Raises:
        ImageError, CheckpointError: a picture or a network that cannot be read.
        ValueError: a network of one style.
    """

    rest = 0.4  # seconds

    @checked
    def __init__(
        self, model: str | TransformerNet = "studio", content: str = "cat", quick: Side = 256, size: Side = 512
    ):
        self.net = model if isinstance(model, TransformerNet) else load_transformer(model).to(best_device())
        self.model = model if isinstance(model, str) else "a network in memory"
        self.net.mix()  # says what is wrong with a network of one style
        super().__init__(content)
        self.quick, self.size, self._timer = quick, size, None
        self._build()
        self._new_photo(load_image(content), content)
        self._open()

    # ── what one sees ───────────────────────────────────────────────────────────────────────────

    def _build(self) -> None:
        names = self.net.config.styles
        self.strength = _slider("strength", 1.0, 1.0)
        self.colours = Dropdown(options=METHODS, description="keep colours", style=LABEL)
        self.wipe = _slider("before | after", 0.0, 1.0)
        self.ends = [Dropdown(options=names, value=names[i], description=end, style=LABEL) for i, end in ENDS.items()]
        self.between = _slider("on the way", 0.0, 1.0)
        self.shares = {name: _slider(name, float(name == names[0]), 1.0) for name in names}
        self._connect()
        left = [self.picture, self.status, self.wipe, self.content, self.upload, HBox([self.file, self.save_button])]
        mixing = [HTML("<b>styles</b>"), *self.shares.values(), HTML("<b>from one to another</b>"), *self.ends]
        right = [self.strength, self.colours, *mixing, self.between]
        self.view = VBox([HBox([VBox(left), VBox(right)]), self.message])

    def _connect(self) -> None:
        for control in (self.strength, self.colours, *self.shares.values()):
            control.observe(self._moved, "value")
        for control in (self.between, *self.ends):
            control.observe(self._walk, "value")
        self.wipe.observe(lambda _: self._show(), "value")

    # ── the network behind it ───────────────────────────────────────────────────────────────────

    def settings(self) -> dict:
        """What the sliders say, as arguments of `paint`; with no style at all, the photograph."""
        styles = {name: slider.value for name, slider in self.shares.items() if slider.value}
        strength = self.strength.value if styles else 0.0
        return {"styles": styles or None, "strength": strength, "preserve_colour": self.colours.value}

    def paint(self, size: int) -> None:
        """Paint the photograph at a size and show it."""
        start = time.perf_counter()
        self.photo = self._photos[size]
        passes = 2 if size == self.size else 1
        self.image = paint(self.photo, self.net, **self.settings(), passes=passes)
        self._show()
        height, width = self.image.shape[-2:]
        self.status.value = f"{width}×{height} · {1000 * (time.perf_counter() - start):.0f} ms"

    def _show(self) -> None:
        """The painting, left of the wipe the photograph."""
        column = round(self.wipe.value * self.image.shape[-1])
        self.picture.value = jpeg_bytes(torch.cat([self.photo[..., :column], self.image[..., column:]], dim=-1))

    # ── what hands do ───────────────────────────────────────────────────────────────────────────

    def _moved(self, _=None) -> None:
        """A slider moved: paint small now, and full when it has rested, if the kernel has a clock to wait on."""
        if self.closed or self._quiet:
            return
        self.paint(self.quick)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # outside of a notebook
            return
        if self._timer:
            self._timer.cancel()
        self._timer = loop.call_later(self.rest, self._rested)

    def _rested(self) -> None:
        if not self.closed:
            self.paint(self.size)

    def _walk(self, _=None) -> None:
        """From one style to another: all other shares are 0."""
        (start, end), way = (choice.value for choice in self.ends), self.between.value
        self._quiet = True
        for name, slider in self.shares.items():
            slider.value = round((name == start) * (1 - way) + (name == end) * way, 2)
        self._quiet = False
        self._moved()

    def _new_photo(self, photo: Tensor, name: str) -> None:
        self._photos = {size: resize(photo, min(size, max(photo.shape[-2:]))) for size in (self.quick, self.size)}
        self._content_name = name
        self.paint(self.size)

    def _record(self) -> dict:
        return {"model": self.model, **self.settings()}

    def save(self, _=None) -> None:
        """Save the picture at full size with its settings, under the name in the text field."""
        self.paint(self.size)
        super().save()

    def close(self) -> None:
        """Stop, and take the desk away."""
        super().close()
        if self._timer:
            self._timer.cancel()


def _with(options: Sequence, *chosen) -> list:
    """The options, and what was chosen besides, such as a file."""
    return [*options, *(value for value in chosen if value not in options)]


def _uploaded_file(value) -> tuple[str, bytes]:
    """Name and bytes of what FileUpload holds: a dictionary in ipywidgets 7, a tuple in 8."""
    file = next(iter(value.values())) if isinstance(value, dict) else value[0]
    return file.get("name") or file["metadata"]["name"], bytes(file["content"])


def _button(label: str, pressed: Callable, **layout) -> Button:
    button = Button(description=label, layout=Layout(**layout))
    button.on_click(pressed)
    return button


def _log_slider(label: str, value: float, low: float, high: float) -> FloatLogSlider:
    value = max(value, 10**low)  # it cannot show 0
    high = max(high, math.log10(value))
    return FloatLogSlider(value, min=low, max=high, step=0.05, description=label, readout_format=".3g", style=LABEL)


def _slider(label: str, value: float, high: float) -> FloatSlider:
    return FloatSlider(value, min=0, max=high, step=0.05, description=label, style=LABEL)
