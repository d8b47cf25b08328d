"""The control desk: Gatys' painting under your hands."""

import time
from dataclasses import replace
from typing import Annotated

from ipywidgets import HTML, Dropdown, FloatLogSlider, FloatSlider, HBox, Image, Play, SelectMultiple, VBox
from torch import Tensor

from ..critic.losses import PerceptualLoss
from ..devices import best_device
from ..limits import between, checked
from ..painting.gatys import GatysConfig, GatysPainter
from ..pictures.files import jpeg_bytes
from ..pictures.pixels import crop, reflect_pad, resize, scale_to_long_side
from ..pictures.samples import load_image, load_style, sample_names
from .desk import LABEL, WIDTH, _button, _Desk, _log_slider, _slider, _with
from .plots import quick_curves

SIZES = (96, 128, 192, 256, 384, 512)
WEIGHTS = {"content_weight": (-2, 3), "style_weight": (-1, 5), "tv_weight": (-3, 3), "lr": (-3, -0.5)}  # log10
LABELS = {name: name.replace("_", " ") for name in WEIGHTS} | {"lr": "step size"}


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
        rows = len(paintings)  # without a scroll bar
        self.styles = SelectMultiple(options=paintings, value=styles, rows=rows, description="styles", style=LABEL)
        self.size = Dropdown(
            options=_with(SIZES, self.config.size), value=self.config.size, description="long side", style=LABEL
        )
        self.sliders = {name: _log_slider(LABELS[name], getattr(self.config, name), *WEIGHTS[name]) for name in WEIGHTS}
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
            if not sum(values):  # no layer, or nothing of any style: the photograph alone is left
                weights["style_weight"] = 0.0
        return weights

    def _start(self, image: Tensor | None) -> None:
        """A painter for the chosen photograph, styles and size, going on from `image`."""
        config = self.settings()
        self.shape = scale_to_long_side(self._photo.shape[-2:], config.size)
        content = reflect_pad(resize(self._photo, self.shape))
        image = content if image is None else reflect_pad(resize(image, self.shape))
        styles = [load_style(name, max(16, round(config.size * config.style_scale))) for name in self.styles.value]
        self.painter = GatysPainter(content, styles, config, image=image, loss=self.loss)
        self.history: dict[str, list[float]] = {"content": [], "style": []}
        self._draw(0.0)

    @property
    def image(self) -> Tensor:
        """The picture as it is now, `(1, 3, H, W)`."""
        return crop(self.painter.state().image, self.shape)

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
        self.painter.configure(**self._weights())

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
