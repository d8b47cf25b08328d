"""What the two desks share: a photograph, a picture, a file to save it in, a line for messages."""

import html
import math
from collections.abc import Callable, Sequence

from IPython.display import display
from ipywidgets import HTML, Button, Dropdown, FileUpload, FloatLogSlider, FloatSlider, Image, Layout, Text

from ..errors import NstError
from ..pictures.files import save_image
from ..pictures.samples import load_image, sample_names

LABEL = {"description_width": "105px"}
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
        self.content.observe(self._chosen, "value")
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

    def _chosen(self, change) -> None:
        """A photograph from the list; after an upload nothing in it is chosen."""
        if change["new"] is not None:
            self._new_photo(load_image(change["new"]), change["new"])

    def _uploaded(self, change) -> None:
        """A picture from the reader's disk."""
        if not change["new"]:
            return
        name, content = _uploaded_file(change["new"])
        try:
            photo = load_image(content)
            self._new_photo(photo, name)
            self.content.value = None  # so that every photograph in the list can be chosen next
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
