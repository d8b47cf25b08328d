"""The losses of a picture whose activations do not fit the memory: summed over tiles, exact."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..devices import give_back
from ..limits import Count, ImageBatch, checked
from ..pictures.pixels import Box, at_scale, cut, tiles, widened
from .extractor import FeatureExtractor
from .guides import guides, normalised
from .losses import LossConfig, PerceptualLoss, gram

TILE = 256  # pixels: 384 take up to a tenth less time, and twice the memory of a tile


class _Summed(torch.autograd.Function):
    """Σ over boxes of what `measure(i, tile)` returns; for the gradient each tile is computed once more."""

    @staticmethod
    def forward(ctx, image: Tensor, measure, boxes: list[Box]) -> tuple[Tensor, ...]:
        give_back()
        ctx.save_for_backward(image)
        ctx.measure, ctx.boxes = measure, boxes
        each = (measure(i, cut(image, box)) for i, box in enumerate(boxes))
        sums = next(each)
        for found in each:
            sums = [a + b for a, b in zip(sums, found, strict=True)]
        return tuple(sums)

    @staticmethod
    def backward(ctx, *gradients: Tensor) -> tuple[Tensor, None, None]:
        give_back()
        (image,) = ctx.saved_tensors
        total = torch.zeros_like(image)
        for i, box in enumerate(ctx.boxes):
            tile = cut(image, box).detach().clone().requires_grad_()
            with torch.enable_grad():
                found = ctx.measure(i, tile)
            torch.autograd.backward(found, gradients)
            cut(total, box).add_(tile.grad)
        return total, None, None


class TiledLoss(PerceptualLoss):
    """`PerceptualLoss` of one picture of any size, in the memory of one tile.

    All its terms are sums over pixels, Gram matrices too: G = Σ_t G_t over the tiles t. One sweep sums them, the loss
    gives ∂L/∂G once, and a second sweep back-propagates ⟨∂L/∂G, G_t⟩ tile by tile, which is the chain rule. Each tile
    is computed with a halo as wide as the critic's reach, so that losses and gradient are those of the whole picture.

    Args:
        side: of a tile without its halo, pixels.
    """

    @checked
    def __init__(self, config: LossConfig, extractor: FeatureExtractor | None = None, side: Count = TILE):
        super().__init__(config, extractor)
        self.side, self.strides = side, {}
        stride, reach = 1, 0  # pixels of the picture
        for name in self.extractor.names:
            reach += 0 if name.startswith("relu") else stride
            stride *= 2 if name.startswith("pool") else 1
            self.strides[name] = stride
        self.multiple, self.halo = stride, -(-reach // stride) * stride

    @torch.no_grad()
    @checked
    def set_content(self, image: ImageBatch) -> None:
        """Take the content features of `image (1, 3, H, W)` as the target, tile by tile."""
        shape, self.content = image.shape[-2:], {}
        whole, sizes = tuple((0, n) for n in shape), self._sizes(shape)
        for core, box in self._grid(shape):
            for name, x in self._features(cut(image, box), core, box, shape, self.content_layers).items():
                x = self.extractor.head(name, x)
                if name not in self.content:
                    self.content[name] = x.new_empty(1, *sizes[name], x.shape[1]).permute(0, 3, 1, 2)  # channels last
                self._own(self.content[name], name, core, whole, shape).copy_(x)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """The losses of `image (1, 3, H, W)`, as `PerceptualLoss` has them."""
        grams, errors, differences = self._sums(image, 1.0, self._guides, content=True)
        contents = [e * self._content_factor(name) for name, e in zip(self.content_layers, errors, strict=True)]
        return self._weighed(contents, self._style(image, grams, None, None), sum(differences))

    def _grid(self, shape) -> list[tuple[Box, Box]]:
        """Each tile without its halo, and with it."""
        cores = tiles(shape, (self.side, self.side), self.multiple)
        return [(core, widened(core, self.halo, shape)) for core in cores]

    def _own(self, x: Tensor, name: str, core: Box, box: Box, shape) -> Tensor:
        """What belongs to the core, of a layer computed on the box."""
        stride, spans = self.strides[name], zip(core, box, shape, x.shape[-2:], strict=True)
        return cut(x, [((a - c) // stride, size if b == n else (b - c) // stride) for (a, b), (c, _), n, size in spans])

    def _features(self, tile: Tensor, core: Box, box: Box, shape, names) -> dict[str, Tensor]:
        found = self.extractor.activations(tile, tuple(names))
        return {name: self._own(x, name, core, box, shape) for name, x in found.items()}

    def _guides(self, name: str, size: tuple[int, int]) -> list[Tensor]:
        return guides(self.masks, name, size) if self.masks else []

    def _sums(self, image: Tensor, scale: float, guides_at, content: bool = False) -> tuple[dict, list, list]:
        """Over a picture: Gram matrices `(masks, C, C)` by layer, squared errors of content, sizes of differences."""
        shape, style = image.shape[-2:], self.style_layers if scale in self.config.style_scales else ()
        grid, sizes, whole = self._grid(shape), self._sizes(shape), tuple((0, n) for n in shape)
        shares = {name: [normalised(guide) for guide in guides_at(name, sizes[name])] for name in style}

        def measure(i: int, tile: Tensor) -> list[Tensor]:
            core, box = grid[i]
            layers = self._features(tile, core, box, shape, {*style, *(self.content_layers if content else ())})
            found = []
            for name in style:
                x, height, width = layers[name], *sizes[name]
                own = [x * self._own(share.to(x), name, core, whole, shape) for share in shares[name]] or [x]
                found.append(torch.cat([gram(y) for y in own]) * (x.shape[-2] * x.shape[-1] / (height * width)))
            if content:
                for name in self.content_layers:
                    target = self._own(self.content[name], name, core, whole, shape)
                    found.append((self.extractor.head(name, layers[name]) - target).square().sum())
                found += self._differences(tile, core, box, shape)
            return found

        found = list(_Summed.apply(image, measure, [box for _, box in grid]))
        return dict(zip(style, found, strict=False)), found[len(style) : -2], found[-2:]

    def _differences(self, tile: Tensor, core: Box, box: Box, shape) -> list[Tensor]:
        """The tile's share of the total variation, down and across."""
        (a, b), (c, d) = ([edge - start for edge in span] for span, (start, _) in zip(core, box, strict=True))
        down, across = tile[..., a : b + 1, c:d].diff(dim=-2), tile[..., a:b, c : d + 1].diff(dim=-1)
        if self.config.formula != "scale_free":
            return [down.square().sum(), across.square().sum()]
        (height, width), channels = shape, tile.shape[1]
        counts = channels * (height - 1) * width, channels * height * (width - 1)
        return [x.abs().sum() / max(1, count) for x, count in zip((down, across), counts, strict=True)]

    def _sizes(self, shape) -> dict[str, tuple[int, int]]:
        """The size of each layer's map."""
        sizes, size = {}, tuple(shape)
        for name in self.extractor.names:
            size = tuple(n // 2 for n in size) if name.startswith("pool") and min(size) > 1 else size
            sizes[name] = size
        return sizes

    def _content_factor(self, name: str) -> float | Tensor:
        """What the formula multiplies ‖F − P‖² by."""
        target = self.content[name]
        if self.config.formula == "scale_free":
            return 1 / torch.linalg.vector_norm(target).square().clamp_min(1e-12)
        return 0.5 if self.config.formula == "gatys2016" else 1 / target.numel()

    def _pyramid(self, image: Tensor, grams: dict) -> dict[float, dict]:
        """The summed Gram matrices at every style scale, where `PerceptualLoss` has features."""
        return self._all_sums(image, self._guides, {1.0: grams})

    def _all_sums(self, image: Tensor, guides_at, known: dict) -> dict[float, dict]:
        found = {}
        for scale in self.config.style_scales:
            found[scale] = known.get(scale) or self._sums(at_scale(image, scale), scale, guides_at)[0]
        return found

    def _grams(self, image: Tensor) -> dict[tuple[float, str], Tensor]:
        image, opacity = image[:, :3], image[:, 3:].split(1, dim=1)[: image.shape[1] - 3]
        found = self._all_sums(image, lambda _, size: [F.adaptive_avg_pool2d(each, size) for each in opacity], {})
        return {(scale, name): self._gram(name, g) for scale, grams in found.items() for name, g in grams.items()}

    def _gram(self, name: str, grams: Tensor, mask: None = None) -> Tensor:
        return self.extractor.gram_head(name, grams)

    def _guided_grams(self, name: str, grams: Tensor) -> list[Tensor]:
        return [self._gram(name, gram) for gram in grams.split(1)]
