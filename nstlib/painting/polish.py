"""Polish: a few steps of Gatys' method finish what a network has painted."""

from dataclasses import replace

from torch import Tensor
from tqdm.auto import tqdm

from ..critic.losses import PerceptualLoss
from ..errors import ImageError
from ..pictures.files import Source
from ..pictures.pixels import crop, reflect_pad, resize, scale_to_long_side
from ..pictures.samples import load_image, sample_names
from .gatys import GatysConfig, GatysPainter
from .network import TransformerNet

Targets = tuple[list[Tensor], list[float]]


def style_pictures(net: TransformerNet, blend: Tensor | None, picture: Source | None = None) -> Targets:
    """The pictures `(1, 3, h, w)` of a network's styles, and how much of each its painting has.

    Args:
        blend: of an adjustable network: `(1, rows)`, see `TransformerNet.blend`; what the weights lack to 1 is the
            photograph's.
        picture: a picture of the style to take instead of the network's own.
    """
    weights = [1.0] if blend is None else blend[0, 1:].tolist()
    if picture is not None:
        return [load_image(picture)], [sum(weights)]
    names = net.config.styles or (str(net.card.get("style", "a network without a card")),)
    wanted = {name: weight for name, weight in zip(names, weights, strict=True) if weight > 0}
    known, pictures = sample_names(), []
    for name in wanted:
        try:
            if name not in known["paintings"] + known["masterpieces"]:
                raise ImageError(f"{name}: is no sample")
            pictures.append(load_image(name))
        except ImageError as error:
            raise ImageError(f"polish needs the picture of the style. {error} Or give --polish-style FILE.") from error
    return pictures, list(wanted.values())


def polish_config(net: TransformerNet) -> GatysConfig:
    """The settings of a polish: those of `stylize`, on the network's device."""
    return GatysConfig(device=str(next(net.parameters()).device))


def polish(painting: Tensor, photo: Tensor, targets: Targets, steps: int, loss: PerceptualLoss) -> Tensor:
    """Finish a painting by Gatys' method: two thirds of the steps at half the size, a third at full size.

    At half the size a step takes a quarter of the time, and paints the larger forms.

    Args:
        painting, photo: `(1, 3, H, W)` in [0, 1], as the result, which is on the CPU.
        targets: see `style_pictures`.
        loss: of `polish_config`, on its device.
    """
    pictures, weights = targets
    if sum(weights) < 1:  # the photograph's own Gram matrices at the network's strength 0
        pictures, weights = [*pictures, photo], [*weights, 1 - sum(weights)]
    config = replace(loss.config, style_blend=tuple(weights))
    painting, whole, long_side, first = painting.cpu(), tuple(photo.shape[-2:]), max(photo.shape[-2:]), 2 * steps // 3
    with tqdm(total=steps, desc="polishing", mininterval=0.5, delay=0.1) as bar:
        for size, count in ((max(1, long_side // 2), first), (long_side, steps - first)):
            shape = scale_to_long_side(photo.shape[-2:], size)
            start = resize(painting, shape)
            painter = GatysPainter(
                reflect_pad(resize(photo, shape)),
                [resize(picture, max(16, size)) for picture in pictures],
                config,
                image=reflect_pad(start),
                loss=loss,
            )
            for _ in range(count):
                painter.step()
                bar.update()
            painting = painting + resize(crop(painter.state().image, shape), whole) - resize(start, whole)
    return painting.clamp(0, 1)  # only what changed is enlarged: the painting's own detail stays
