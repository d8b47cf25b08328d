"""Painting by optimisation: the pixels are the parameters (Gatys, Ecker & Bethge, CVPR 2016)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..critic.losses import LossConfig, PerceptualLoss
from ..critic.tiled import TiledLoss
from ..devices import best_device
from ..errors import say
from ..limits import ImageBatch, Limit, Natural, Positive, Side, Weight, checked
from ..pictures.colour import ColourMethod

CHANGEABLE = {"style_weight", "content_weight", "tv_weight", "style_layer_weights", "style_blend", "formula"}
CHANGEABLE |= {"optimiser", "lr"}  # while a painter runs
Scale = Annotated[Positive, Limit(lambda value: value <= 8, "up to 8")]


@dataclass(frozen=True)
class GatysConfig(LossConfig):
    """All settings of a painting; the same names are the command line's flags."""

    size: Side | Literal["full"] = 512  # long side of the result in pixels, or the content's own size
    steps: Natural = 50  # optimiser steps at each size of the pyramid
    smallest: Side = 96  # long side at which the painting begins; from there it grows by at most 1.6
    optimiser: Literal["adam", "lbfgs"] = "adam"  # L-BFGS is the paper's; Adam needs less memory and never stalls
    lr: Positive = 0.03  # Adam's rate, in units of the pixel range [0, 1]
    init: str | Path = "content"  # start from content, noise, style, network, or a picture
    style_scale: Scale = 1.0  # size of the style picture relative to the result: long sides, and never more pixels
    style_blend: tuple[Weight, ...] | None = None  # how much of each style; None: equal parts
    mask: tuple[Path, ...] | None = None  # one picture a style: white or opaque where it goes; what none has stays
    preserve_colour: ColourMethod = "none"  # keep the content's colours
    seed: Natural = 0  # of the noise start
    device: str | None = None  # cpu, cuda, mps; None: the best there is
    fit: bool = False  # where the memory does not suffice, paint at the largest size that fits


@dataclass(frozen=True)
class PaintState:
    """What a stepper reports: where it is and what it has painted."""

    step: int  # optimiser steps done at this size
    losses: dict[str, float]  # content, style, tv and total: with Adam before the last step, with L-BFGS after it
    image: Tensor  # (1, 3, H, W) in [0, 1], on the CPU


class GatysPainter:
    """Paints at one size, step by step; weights and blend can be changed between steps.

    Args:
        content: `(1, 3, H, W)` in [0, 1]; the painting has its size.
        styles: one or more pictures `(1, 3, h, w)` of any sizes.
        config: of it `steps`, `size` and `init` are the caller's business (see `stylize`).
        image: where to start, `(1, 3, H, W)`; `None` for the content.
        masks: one `(1, 1, H, W)` a style, in [0, 1]; where all are 0, the content stays as it is.
        loss: a critic to use again; `None` builds the one that `config` asks for.

    A non-finite loss brings back the last good picture and halves the step; a stalled L-BFGS hands over
    to Adam. Both are said in `notes` and printed.
    """

    @checked
    def __init__(
        self,
        content: ImageBatch,
        styles: Sequence[ImageBatch],
        config: GatysConfig | None = None,
        *,
        image: ImageBatch | None = None,
        masks: Sequence[ImageBatch] | None = None,
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
        self.kept = (content.to(self.device), sum(masks).clamp(max=1)) if masks else None
        start = (content if image is None else image).to(self.device).clone()
        self.image = start.contiguous().requires_grad_()  # L-BFGS flattens the gradient with view()
        self.count, self.notes, self.losses = 0, [], {}
        self._stuck, self._best, self._since_best = 0, math.inf, 0
        good = torch.float16 if isinstance(self.loss, TiledLoss) else self.image.dtype  # half the room, for it is large
        self._good = self.image.detach().to(good, copy=True)
        self._make_optimiser(self.config.optimiser, self.config.lr)

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
        if self._stuck or changes.get("optimiser", self.optimiser_name) != self.optimiser_name:
            self._make_optimiser(config.optimiser, config.lr)
        elif config.lr != self.config.lr:
            self.lr = config.lr
            if self.optimiser_name == "adam":  # which keeps its moments; L-BFGS has no rate
                self.optimiser.param_groups[0]["lr"] = config.lr
        self.config, self._best, self._stuck = config, math.inf, 0
        self.loss.configure(config)

    @checked
    def step(self, n: Natural = 1) -> PaintState:
        """Advance n optimiser steps."""
        self.advance(n)
        return self.state()

    def advance(self, n: int = 1) -> None:
        """Advance n optimiser steps, without a copy of the picture."""
        done = 0
        while done < n and self._stuck < 10:
            done += self._lbfgs_steps(n - done) if self.optimiser_name == "lbfgs" else self._adam_step()
        self.count += done

    def state(self) -> PaintState:
        """The picture as it is now, without a step."""
        return PaintState(self.count, dict(self.losses), self._shown().detach().cpu().clone())

    def _shown(self) -> Tensor:
        """The picture, with the content where no mask is."""
        return self.image if self.kept is None else torch.lerp(self.kept[0], self.image, self.kept[1])

    def moments(self) -> dict[str, Tensor]:
        """Adam's moments and number of steps; empty where there are none."""
        state = self.optimiser.state.get(self.image, {})
        return dict(state) if "exp_avg" in state else {}

    def carry_on(self, moments: dict[str, Tensor]) -> None:
        """Begin with Adam's `moments` of a smaller painting of the same picture; they are taken out of the dict.

        The loss is a mean over pixels, so its gradient in one of them shrinks as their number grows.
        """
        if self.optimiser_name != "adam" or not moments:
            return
        size, shrink = self.image.shape[-2:], moments["exp_avg"].numel() / self.image.numel()
        state = self.optimiser.state[self.image]
        state["step"] = moments.pop("step").clone()
        for name, power in (("exp_avg", 1), ("exp_avg_sq", 2)):
            larger = F.interpolate(moments.pop(name), size=size, mode="bilinear", align_corners=False)
            state[name] = larger.mul_(shrink**power)

    def _make_optimiser(self, name: str, lr: float) -> None:
        self.optimiser_name, self.lr = name, lr
        if name == "adam":
            fused = isinstance(self.loss, TiledLoss)  # Adam's step in place, for a picture that is large
            self.optimiser = torch.optim.Adam([self.image], lr=lr, betas=(0.9, 0.99), fused=fused)
        else:
            self.optimiser = torch.optim.LBFGS(
                [self.image], history_size=20, tolerance_grad=0, tolerance_change=0, line_search_fn="strong_wolfe"
            )

    def _evaluate(self) -> Tensor:
        """The total loss, its gradient in `image.grad`."""
        self.optimiser.zero_grad()
        losses = self.loss(self._shown())
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
            self.losses = {name: value.item() for name, value in self.loss(self._shown()).items()}  # of what is shown
        if self._accepted():
            self._watch_for_stall(n)
        return n

    def _accepted(self) -> bool:
        """Whether the step may stand; else go back to the last good picture with half the step size."""
        sums = self.losses["total"], self.image.grad.sum(), self.image.detach().sum()  # not finite if one number is not
        if all(map(math.isfinite, sums)):
            self._good.copy_(self.image.detach())
            self._stuck = 0
            return True
        with torch.no_grad():
            self.image.copy_(self._good)
        self._stuck += 1
        self._make_optimiser("adam", self.lr / 2)
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
            self._make_optimiser("adam", self.config.lr)

    def _say(self, note: str) -> None:
        self.notes.append(note)
        say(note)
