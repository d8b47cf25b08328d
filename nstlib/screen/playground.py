"""The playground: an adjustable network under your hands."""

import asyncio
import time

import torch
from ipywidgets import HTML, Dropdown, FloatSlider, HBox, VBox
from torch import Tensor

from ..devices import best_device
from ..errors import NstError
from ..limits import Side, checked
from ..painting.fast import paint
from ..painting.models import load_transformer
from ..painting.network import TransformerNet
from ..pictures.colour import METHODS
from ..pictures.files import jpeg_bytes
from ..pictures.pixels import resize
from ..pictures.samples import load_image
from .desk import LABEL, _button, _Desk, _slider

POLISH = 30  # steps of Gatys' method
ENDS = {0: "from", -1: "to"}  # of the walk between two styles, and which they are at first


class Playground(_Desk):
    """An adjustable network under your hands: styles, their mix, and strength; the picture follows at once.

    While a slider moves the picture is painted small; when it has rested, at full size. The button `polish` finishes
    that by a few steps of Gatys' method. A new desk closes the one before.

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
        self.net.blend()  # says what is wrong with a network of one style
        super().__init__(content)
        self.quick, self.size, self._timer = quick, size, None
        self._build()
        self._new_photo(load_image(content), content)
        self._open()

    # ── what one sees ───────────────────────────────────────────────────────────────────────────

    def _build(self) -> None:
        names = self.net.config.styles
        self.strength = _slider("strength", 1.0, 1.0)
        self.strokes = FloatSlider(1, min=1, max=4, step=0.25, description="stroke size", style=LABEL)
        self.polish_button = _button("polish", self.polish)
        self.colours = Dropdown(options=METHODS, description="keep colours", style=LABEL)
        self.wipe = _slider("before | after", 0.0, 1.0)
        self.ends = [Dropdown(options=names, value=names[i], description=end, style=LABEL) for i, end in ENDS.items()]
        self.between = _slider("on the way", 0.0, 1.0)
        self.shares = {name: _slider(name, float(name == names[0]), 1.0) for name in names}
        self._connect()
        keep = HBox([self.file, self.save_button, self.polish_button])
        left = [self.picture, self.status, self.wipe, self.content, self.upload, keep]
        mixing = [HTML("<b>styles</b>"), *self.shares.values(), HTML("<b>from one to another</b>"), *self.ends]
        right = [self.strength, self.strokes, self.colours, *mixing, self.between]
        self.view = VBox([HBox([VBox(left), VBox(right)]), self.message])

    def _connect(self) -> None:
        for control in (self.strength, self.strokes, self.colours, *self.shares.values()):
            control.observe(self._moved, "value")
        for control in (self.between, *self.ends):
            control.observe(self._walk, "value")
        self.wipe.observe(lambda _: self._show(), "value")

    # ── the network behind it ───────────────────────────────────────────────────────────────────

    def settings(self) -> dict:
        """What the sliders say, as arguments of `paint`; with no style at all, the photograph."""
        styles = {name: slider.value for name, slider in self.shares.items() if slider.value}
        strength = self.strength.value if styles else 0.0
        look = {"preserve_colour": self.colours.value, "stroke_size": self.strokes.value}
        return {"styles": styles or None, "strength": strength, **look}

    def paint(self, size: int, polish: int = 0) -> None:
        """Paint the photograph at a size, polish it by so many steps, and show it."""
        start = time.perf_counter()
        self.photo = self._photos[size]
        passes = 2 if size == self.size else 1
        self.image = paint(self.photo, self.net, **self.settings(), passes=passes, polish=polish)
        self.polished = polish
        self._show()
        height, width = self.image.shape[-2:]
        self.status.value = f"{width}×{height} · {1000 * (time.perf_counter() - start):.0f} ms"

    def _show(self) -> None:
        """The painting, left of the wipe the photograph."""
        column = round(self.wipe.value * self.image.shape[-1])
        self.picture.value = jpeg_bytes(torch.cat([self.photo[..., :column], self.image[..., column:]], dim=-1))

    def polish(self, _=None) -> None:
        """Finish the picture at full size by a few steps of Gatys' method."""
        if self._timer:
            self._timer.cancel()
        self._say(f"polishing, {POLISH} steps …")
        try:
            self.paint(self.size, POLISH)
            self._say("")
        except NstError as error:
            self._say(str(error), wrong=True)

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
        return {"model": self.model, **self.settings(), "polish": self.polished}

    def save(self, _=None) -> None:
        """Save the picture at full size with its settings, under the name in the text field."""
        if not self.polished:
            self.paint(self.size)
        super().save()

    def close(self) -> None:
        """Stop, and take the desk away."""
        super().close()
        if self._timer:
            self._timer.cancel()
