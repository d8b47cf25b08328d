"""Painting by optimisation: the pixels are the parameters (Gatys, Ecker & Bethge, CVPR 2016)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import torch
from torch import Tensor
from tqdm.auto import tqdm

from .arguments import Count, Limit, Maps, Natural, Pixels, Positive, Side, Weight, checked
from .colour import Method, recolour
from .images import Source, fit, frame, resize, resize_pil, save_film, to_tensor, unframe
from .losses import LossConfig, PerceptualLoss
from .memory import Need, available, measured, within_memory
from .samples import find_image, load_image

CHANGEABLE = {"style_weight", "content_weight", "tv_weight", "style_layer_weights", "style_blend", "formula"}
CHANGEABLE |= {"optimiser", "step_size"}  # while a painter runs
Scale = Annotated[Positive, Limit(lambda value: value <= 8, "up to 8")]


@dataclass(frozen=True)
class GatysConfig(LossConfig):
    """All settings of a painting; the same names are the command line's flags."""

    size: Side | Literal["full"] = 512  # long side of the result in pixels, or the content's own size
    steps: Natural = 150  # optimiser steps at each size of the pyramid
    smallest: Side = 96  # long side at which the painting begins; from there it grows by at most 1.6
    optimiser: Literal["adam", "lbfgs"] = "adam"  # L-BFGS is the paper's; Adam needs less memory and never stalls
    step_size: Positive = 0.03  # Adam's rate, in units of the pixel range [0, 1]
    init: str | Path = "content"  # start from content, noise, style, or a picture
    style_scale: Scale = 1.0  # size of the style picture's long side relative to the result's
    style_blend: tuple[Weight, ...] | None = None  # how much of each style; None: equal parts
    mask: tuple[Path, ...] | None = None  # one picture a style: white where it goes, black where not
    preserve_colour: Method = "none"  # keep the content's colours
    seed: Natural = 0  # of the noise start
    device: str | None = None  # cpu, cuda, mps; None: the best there is
    fit: bool = False  # where the memory does not suffice, paint at the largest size that fits


@dataclass(frozen=True)
class PaintState:
    """What a stepper reports: where it is and what it has painted."""

    step: int  # optimiser steps done at this size
    losses: dict[str, float]  # content, style, tv and their weighted total, before the last step
    image: Tensor  # (1, 3, H, W) in [0, 1], on the CPU


@checked
def best_device(name: str | None = None) -> torch.device:
    """The named device, or CUDA, MPS or the CPU, whichever is there first."""
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
        return torch.device(name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device={name!r}: not available on this machine; leave it out or say cpu") from error


class GatysPainter:
    """Paints at one size, step by step; weights and blend can be changed between steps.

    Args:
        content: `(1, 3, H, W)` in [0, 1]; the painting has its size.
        styles: one or more pictures `(1, 3, h, w)` of any sizes.
        config: of it `steps`, `size` and `init` are the caller's business (see `stylize`).
        image: where to start, `(1, 3, H, W)`; `None` for the content.
        masks: one `(1, 1, H, W)` a style, in [0, 1].
        loss: a critic to use again; `None` builds the one that `config` asks for.

    A non-finite loss brings back the last good picture and halves the step; a stalled L-BFGS hands over
    to Adam. Both are said in `notes` and printed.
    """

    @checked
    def __init__(
        self,
        content: Maps,
        styles: Sequence[Maps],
        config: GatysConfig | None = None,
        *,
        image: Maps | None = None,
        masks: Sequence[Maps] | None = None,
        loss: PerceptualLoss | None = None,
    ):
        self.config = config or GatysConfig()
        if image is not None and image.shape != content.shape:
            raise ValueError(f"image: has shape {tuple(image.shape)}, must have the content's, {tuple(content.shape)}")
        self.device = best_device(self.config.device)
        self.loss = loss or PerceptualLoss(self.config).to(self.device)
        self.loss.configure(self.config)  # a critic that is used again takes this painting's weights
        self.loss.set_content(content.to(self.device))
        masks = [mask.to(self.device) for mask in masks] if masks is not None else None
        self.loss.set_styles([style.to(self.device) for style in styles], self.config.style_blend, masks)
        start = (content if image is None else image).to(self.device).clone()
        self.image = start.contiguous().requires_grad_()  # L-BFGS flattens the gradient with view()
        self.count, self.notes, self.losses = 0, [], {}
        self._stuck, self._best, self._since_best = 0, math.inf, 0
        self._good = self.image.detach().clone()
        self._make_optimiser(self.config.optimiser, self.config.step_size)

    def configure(self, **changes) -> None:
        """Change settings of the running painting, such as `style_weight=200` or `style_blend=(1, 0)`.

        Raises:
            ValueError: a setting that needs a new painter (the critic, its layers, the scales), or is `stylize`'s.
        """
        if fixed := sorted(changes.keys() - CHANGEABLE):
            raise ValueError(f"{', '.join(fixed)}: make a new GatysPainter to change this")
        config = replace(self.config, **changes)
        if "style_blend" in changes:
            self.loss.set_blend(config.style_blend or (1.0,) * len(self.loss.styles))
        if {"optimiser", "step_size"} & changes.keys() or self._stuck:
            self._make_optimiser(config.optimiser, config.step_size)
        self.config, self._best, self._stuck = config, math.inf, 0
        self.loss.configure(config)

    @checked
    def step(self, n: Natural = 1) -> PaintState:
        """Advance n optimiser steps."""
        done = 0
        while done < n and self._stuck < 10:
            done += self._lbfgs_steps(n - done) if self.optimiser_name == "lbfgs" else self._adam_step()
        self.count += done
        return self.state()

    def state(self) -> PaintState:
        """The picture as it is now, without a step."""
        return PaintState(self.count, dict(self.losses), self.image.detach().cpu().clone())

    def _make_optimiser(self, name: str, step_size: float) -> None:
        self.optimiser_name, self.step_size = name, step_size
        if name == "adam":
            self.optimiser = torch.optim.Adam([self.image], lr=step_size, betas=(0.9, 0.99))
        else:
            self.optimiser = torch.optim.LBFGS(
                [self.image], history_size=20, tolerance_grad=0, tolerance_change=0, line_search_fn="strong_wolfe"
            )

    def _evaluate(self) -> Tensor:
        """The total loss, its gradient in `image.grad`."""
        self.optimiser.zero_grad()
        losses = self.loss(self.image)
        losses["total"].backward()
        self.losses = {name: value.item() for name, value in losses.items()}
        return losses["total"]

    def _adam_step(self) -> int:
        self._evaluate()
        if self._accepted():
            self.optimiser.step()
            with torch.no_grad():
                self.image.clamp_(0, 1)
        return 1

    def _lbfgs_steps(self, n: int) -> int:
        """Up to 10 steps in one call of torch's L-BFGS; clamped after it, for its line search must not see that."""
        n = min(n, 10)
        self.optimiser.param_groups[0]["max_iter"] = n
        self.optimiser.param_groups[0]["max_eval"] = 2 * n + 5
        self.optimiser.step(self._evaluate)
        with torch.no_grad():
            self.image.clamp_(0, 1)
            self.losses = {name: value.item() for name, value in self.loss(self.image).items()}  # of what is shown
        if self._accepted():
            self._watch_for_stall(n)
        return n

    def _accepted(self) -> bool:
        """Whether the step may stand; else go back to the last good picture with half the step size."""
        gradient = self.image.grad
        if math.isfinite(self.losses["total"]) and torch.isfinite(gradient).all() and torch.isfinite(self.image).all():
            self._good.copy_(self.image.detach())
            self._stuck = 0
            return True
        with torch.no_grad():
            self.image.copy_(self._good)
        self._stuck += 1
        self._make_optimiser("adam", self.step_size / 2)
        if self._stuck == 1:
            self._say(f"step {self.count}: the loss is not finite; back to the last good picture, half the step size")
        elif self._stuck == 10:
            self._say("the loss stays non-finite; stopped at the last good picture. Lower the weights.")
        return False

    def _watch_for_stall(self, n: int) -> None:
        """Hand over to Adam when L-BFGS has not gained a thousandth in 30 steps."""
        gained = self.losses["total"] < self._best * 0.999
        self._since_best = 0 if gained else self._since_best + n
        self._best = min(self._best, self.losses["total"])
        if self._since_best >= 30:
            self._say(f"step {self.count}: L-BFGS has stalled; going on with Adam")
            self._make_optimiser("adam", self.config.step_size)

    def _say(self, note: str) -> None:
        self.notes.append(note)
        tqdm.write(note)


@checked
def pyramid(long_side: Count, smallest: Count = 96) -> list[int]:
    """Sizes from coarse to fine, each at most 1.6 times the one before: 512 → 96, 146, 222, 337, 512."""
    if long_side <= smallest:
        return [long_side]
    levels = math.ceil(math.log(long_side / smallest) / math.log(1.6))
    return [round(smallest * (long_side / smallest) ** (i / levels)) for i in range(levels + 1)]


@checked
def stylize(
    content: Source,
    style: Source | Sequence[Source],
    config: GatysConfig | None = None,
    callback: Callable[[PaintState], None] | None = None,
) -> Tensor:
    """Paint the content in the style, coarse to fine: large strokes first, detail last.

    Args:
        content, style: sample names, files, PIL images, arrays or tensors; several styles in a list.
            Transparency is flattened on white.
        config: see `GatysConfig`.
        callback: is given every state.

    Returns:
        `(1, 3, H, W)` in [0, 1], of exactly the size asked for (with `fit`, or smaller). Ctrl-C ends early with
        the picture so far.

    Raises:
        ImageError, WeightsError, ValueError: before any work is done; an ImageError too where memory for the
            size does not suffice.

    Deviation from Gatys et al. (2016): a pyramid of sizes and Adam instead of L-BFGS at one size; at the
    same cost the large shapes of the style arrive, which a shallow critic could not see at full size.
    """
    config = config or GatysConfig()
    device = best_device(config.device)
    free = available(device)  # now: what is loaded from here on is part of the need
    picture = find_image(content)
    sources = list(style) if isinstance(style, list | tuple) else [style]
    styles = [load_image(source) for source in sources]
    masks = [load_image(mask).mean(1, keepdim=True) for mask in config.mask] if config.mask else None
    if masks and len(masks) != len(styles):
        raise ValueError(f"{len(masks)} masks for {len(styles)} styles: give one mask for each style")
    loss = PerceptualLoss(config).to(device)

    def work(side: int) -> Tensor:
        return _stylized(to_tensor(resize_pil(picture, side)), styles, masks, loss, config, callback)

    side = max(picture.size) if config.size == "full" else config.size
    need = stylize_need(loss, config, len(styles))
    return within_memory(picture.size[::-1], side, need, free, config.fit, work)


def stylize_need(loss: PerceptualLoss, config: GatysConfig, styles: int = 1) -> Need:
    """The memory that `stylize` takes with these settings and this many styles."""
    weights = {"style_weight": 1.0, "content_weight": 1.0, "style_blend": None}  # any; these stay finite

    def paint(side: int) -> None:
        image = frame(torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)))
        style = resize(image, max(16, round(side * config.style_scale)))
        guides = [image[:, :1]] * styles if config.mask else None
        GatysPainter(image, [style] * styles, replace(config, **weights), masks=guides, loss=loss).step(2)

    need = measured(paint, fixed=230e6)  # torch's optimisers import half of torch
    history = 2 * 20 * 12 if config.optimiser == "lbfgs" else 0  # pictures and gradients, float32
    return replace(need, per_pixel=need.per_pixel + history)


def _stylized(photo, styles, masks, loss, config, callback) -> Tensor:
    """The painting at the photograph's size, in the colours that were asked for."""
    if config.preserve_colour in ("mean", "histogram"):
        styles = [recolour(picture, photo, config.preserve_colour) for picture in styles]
    painted = _paint(photo, styles, masks, loss, config, callback)
    return recolour(painted, photo, "luminance") if config.preserve_colour == "luminance" else painted


def _paint(photo, styles, masks, loss, config, callback) -> Tensor:
    """The pyramid: each size starts from the last one's picture."""
    image = _start(photo, styles, config)
    sizes = pyramid(max(photo.shape[-2:]), config.smallest)
    with tqdm(total=config.steps * len(sizes), desc="painting", mininterval=0.5, delay=0.1) as bar:
        try:
            for size in sizes:
                shape = fit(photo.shape[-2:], size)
                style_size = max(16, round(size * config.style_scale))
                painter = GatysPainter(
                    frame(resize(photo, shape)),
                    [resize(style, style_size) for style in styles],
                    config,
                    image=frame(resize(image, shape)),
                    masks=[frame(resize(mask, shape)) for mask in masks] if masks else None,
                    loss=loss,
                )
                for state in _states(painter, config.steps):
                    state = replace(state, image=unframe(state.image, shape))
                    image = state.image
                    losses = {name: state.losses[name] for name in ("content", "style")}
                    bar.set_postfix(size=size, **losses, refresh=False)  # drawn before its delay it is not closed
                    bar.update(state.step - (bar.n - config.steps * sizes.index(size)))
                    if callback:
                        callback(state)
        except KeyboardInterrupt:
            tqdm.write("stopped; here is the picture so far")
    return resize(image, photo.shape[-2:])


def _states(painter: GatysPainter, steps: int):
    """The states of `steps` steps; ends early when the painter can go no further."""
    before = -1
    while before < painter.count < steps:
        before = painter.count
        yield painter.step(min(steps - before, 10 if painter.optimiser_name == "lbfgs" else 1))


def _start(photo: Tensor, styles: Sequence[Tensor], config: GatysConfig) -> Tensor:
    """The picture that the painting starts from; any size."""
    if config.init == "content":
        return photo
    if config.init == "noise":
        return torch.rand(photo.shape, generator=torch.Generator().manual_seed(config.seed))
    return styles[0] if config.init == "style" else load_image(config.init)


class Film:
    """A callback that keeps every n-th picture and the last, small, to be saved as an animated GIF or WebP."""

    @checked
    def __init__(self, every: Count = 10, size: Pixels = 320):
        self.every, self.size, self.count = every, size, 0
        self.kept: list[Tensor] = []
        self.latest: Tensor | None = None  # where it is not among the kept

    def __call__(self, state: PaintState) -> None:
        self.latest = resize(state.image, self.size)
        if self.count % self.every == 0:
            self.kept.append(self.latest)
            self.latest = None
        self.count += 1

    @property
    def frames(self) -> list[Tensor]:
        """The pictures `(1, 3, h, w)` so far, the newest last."""
        return self.kept if self.latest is None else [*self.kept, self.latest]

    def save(self, path: str | Path) -> Path:
        """Write the film; see `save_film`."""
        return save_film(self.frames, path)
