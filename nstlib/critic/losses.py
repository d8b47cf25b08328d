"""What the critic says of a picture: content, style and total variation, and their weighted sum."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..limits import ImageBatch, UnitFloat, Weight, check_fields, checked
from ..pictures.pixels import at_scale
from .extractor import Backbone, Expected, FeatureExtractor, Pooling, default_backbone
from .guides import guides, normalised

Formula = Literal["scale_free", "gatys2016", "johnson2016"]
CONTENT_LAYERS = {"compact": ("relu3_2",), "vgg16": ("relu2_2",), "vgg19": ("relu4_2",)}
STYLE_LAYERS = {
    "compact": ("relu1_1", "relu2_1", "relu3_1", "relu3_4"),
    "vgg16": ("relu1_2", "relu2_2", "relu3_3", "relu4_3"),  # Johnson et al.
    "vgg19": ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"),  # Gatys et al.
}


@dataclass(frozen=True)
class LossConfig:
    """Which critic, which of its layers, and the weights of the losses; for painting and for training."""

    style_weight: Weight = 80.0  # weight of the style loss
    content_weight: Weight = 1.0  # weight of the content loss
    tv_weight: Weight = 0.0  # weight of the total variation; raise it against speckle
    style_layers: tuple[str, ...] | None = None  # None: the backbone's usual ones
    content_layers: tuple[str, ...] | None = None  # None: the backbone's usual ones
    style_layer_weights: tuple[Weight, ...] | None = None  # one a style layer; None: all equal
    style_scales: tuple[UnitFloat, ...] = (1.0, 0.5, 0.25)  # the Gram losses are taken at these scales of the picture
    formula: Formula = "scale_free"  # how distances are measured; see PRESETS for the papers' own
    backbone: Backbone | None = None  # None: vgg19 on CUDA if downloaded, else compact; decided when this is made
    weights: Path | None = None  # a state dict to use instead of the backbone's own
    preprocessing: Expected | None = None  # of that state dict; None: as it says itself
    pooling: Pooling = "avg"  # Gatys et al. prefer average pooling

    def __post_init__(self):
        check_fields(self)
        object.__setattr__(self, "backbone", self.backbone or default_backbone())
        scales = self.style_scales
        if len(set(scales)) < len(scales) or 0 in scales:
            raise ValueError(f"style_scales={scales}: must be different numbers above 0, up to 1")
        for name in ("content_layers", "style_layers"):
            if len(set(getattr(self, name) or ())) < len(getattr(self, name) or ()):
                raise ValueError(f"{name}={getattr(self, name)}: must be different layers")
        layers, weights = self.layers()[1], self.style_layer_weights
        if weights is not None and (len(weights) != len(layers) or not 0 < sum(weights) < float("inf")):
            raise ValueError(
                f"style_layer_weights={weights}: must be {len(layers)} numbers ≥ 0, one for each of {layers}"
            )

    def layers(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The content layers and the style layers."""
        return self.content_layers or CONTENT_LAYERS[self.backbone], self.style_layers or STYLE_LAYERS[self.backbone]

    def extractor(self) -> FeatureExtractor:
        """The critic that these settings ask for."""
        content, style = self.layers()
        return FeatureExtractor(
            self.backbone,
            tuple(dict.fromkeys((*style, *content))),
            weights=self.weights or "default",
            preprocessing=self.preprocessing,
            pooling=self.pooling,
        )


class _Gram(torch.autograd.Function):
    """xᵀx with the one matrix product in its gradient, x(g + gᵀ), where autograd would take two."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.transpose(1, 2) @ x

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        with torch.autocast(x.device.type, enabled=False):
            return x @ (gradient + gradient.transpose(1, 2))


@checked
def gram(features: ImageBatch) -> Tensor:
    """Gram matrices `(B, C, C)` of features `(B, C, H, W)`: which channels fire together, wherever that is.

    G_ij = Σ_hw F_ihw F_jhw / (C·H·W) (Johnson et al. 2016, equation 3), so that pictures of different
    sizes can be compared. In float32 even under autocast: sums over H·W overflow float16.
    """
    return _gram(features)


def _gram(features: Tensor) -> Tensor:
    with torch.autocast(features.device.type, enabled=False):
        features = features if features.dtype == torch.float64 else features.float()
        flat = features.permute(0, 2, 3, 1).flatten(1, 2)  # (B, H*W, C), no copy in channels_last
        return _Gram.apply(flat) / (flat.shape[1] * flat.shape[2])


def masked_gram(features: ImageBatch, mask: ImageBatch) -> Tensor:
    """Gram matrix of the features under a soft mask `(1, 1, H, W)` in [0, 1].

    Guided Gram matrices of Gatys et al. (Controlling Perceptual Factors, 2017, section 4): the features
    are multiplied by T, scaled to ΣT² = H·W, so that masks of any area weigh the same.
    """
    guide = F.adaptive_avg_pool2d(mask.to(features), features.shape[-2:])
    return _gram(features * normalised(guide))


@checked
def total_variation(image: ImageBatch) -> Tensor:
    """Mean absolute difference of neighbours, down plus across, of `(B, C, H, W)`; 0 for a flat picture.

    Johnson et al. (2016, section 3.3) sum squares instead; the absolute value (Rudin, Osher & Fatemi
    1992) spares edges, and the mean makes the weight independent of size.
    """
    differences = (image.diff(dim=dim).abs() for dim in (-2, -1))
    return sum(d.mean() if d.numel() else image.new_zeros(()) for d in differences)


def squared_variation(image: Tensor) -> Tensor:
    """Σ of squared differences of neighbours (Johnson et al. 2016, section 3.3), mean over the batch."""
    return sum(image.diff(dim=dim).square().sum() for dim in (-2, -1)) / image.shape[0]


def _squared_norm(x: Tensor) -> Tensor:
    """‖x‖² of each sample `(B,)`, summed in float32."""
    dims, dtype = tuple(range(1, x.ndim)), torch.promote_types(x.dtype, torch.float32)
    # the norm's gradient keeps x's memory layout; that of .square().sum() is made in planes, and copied
    return torch.linalg.vector_norm(x, dim=dims, dtype=dtype).square()


def relative(x: Tensor, target: Tensor) -> Tensor:
    """‖x − target‖² / ‖target‖², mean over the batch: 0 is equal, 1 nothing; unrelated pictures have 0.8 to 3."""
    return (_squared_norm(x - target) / _squared_norm(target).clamp_min(1e-12)).mean()


def half_sum(x: Tensor, target: Tensor) -> Tensor:
    """½ Σ (x − target)², mean over the batch (Gatys et al. 2016, equation 1)."""
    return _squared_norm(x - target).mean() / 2


def quarter_sum(g: Tensor, target: Tensor) -> Tensor:
    """Gatys et al. 2016, equation 4. Their 1/(4N²M²) Σ (G − A)² is ¼ Σ of ours, which has 1/(NM) inside."""
    return _squared_norm(g - target).mean() / 4


def per_element(x: Tensor, target: Tensor) -> Tensor:
    """Σ (x − target)² / (C·H·W), mean over the batch (Johnson et al. 2016, equation 2).

    Of Gram matrices too, over C², where their equation 4 has the plain sum: so does the authors' code, whose
    weights are known, and pytorch/examples.
    """
    return _squared_norm(x - target).mean() / x[0].numel()


# formula: content distance, style distance, total variation, and whether layers are averaged or summed
DISTANCES = {
    "scale_free": (relative, relative, total_variation, True),
    "gatys2016": (half_sum, quarter_sum, squared_variation, True),  # the paper's w_l = 1/5
    "johnson2016": (per_element, per_element, squared_variation, False),
}
Targets = Mapping[str, Tensor]


class PerceptualLoss(nn.Module):
    """Content, style and total variation of a picture, weighted: what Gatys minimises and networks learn.

    L = content_weight · L_content + style_weight · L_style + tv_weight · L_tv (Gatys et al. 2016,
    equation 7; Johnson et al. 2016, equation 5). Call `set_content` and `set_styles` first; after that
    the weights can be changed at any time by `configure`.
    """

    @checked
    def __init__(self, config: LossConfig, extractor: FeatureExtractor | None = None):
        super().__init__()
        self.extractor = extractor or config.extractor()
        self.configure(config)
        self.content: Targets = {}
        self.styles: list[dict[tuple[float, str], Tensor]] = []
        self.masks: list[Tensor] | None = None
        self.blend: tuple[float, ...] = ()

    def configure(self, config: LossConfig) -> None:
        """Take new weights; the layers stay those of the critic that was built."""
        self.config = config
        self.content_layers, self.style_layers = config.layers()
        weights = config.style_layer_weights or (1.0,) * len(self.style_layers)
        total = sum(weights) / len(weights)
        self.layer_weights = dict(zip(self.style_layers, (w / total for w in weights), strict=True))

    @torch.no_grad()
    @checked
    def set_content(self, image: ImageBatch) -> None:
        """Take the content features of `image (B, 3, H, W)` as the target."""
        features = self.extractor.activations(image, self.content_layers)
        self.content = {name: self.extractor.head(name, x) for name, x in features.items()}

    @torch.no_grad()
    @checked
    def set_styles(
        self,
        images: Sequence[ImageBatch],
        blend: Sequence[Weight] | None = None,
        masks: Sequence[ImageBatch] | None = None,
    ) -> None:
        """Take the Gram matrices of one or more style pictures `(1, 3, h, w)` as the target.

        Args:
            images: of any sizes; where one is `(1, 4, h, w)`, the last channel says how much each pixel counts.
            blend: how much of each; scaled to a sum of 1, `None` for equal parts.
            masks: where each style goes, `(1, 1, H, W)` in [0, 1]; `None` for everywhere.
        """
        if masks is not None and len(masks) != len(images):
            raise ValueError(f"{len(masks)} masks for {len(images)} styles: give one mask for each style")
        self.styles = [self._grams(image) for image in images]
        self.masks = list(masks) if masks is not None else None
        self.set_blend(blend or (1.0,) * len(self.styles))

    def set_blend(self, blend: Sequence[float]) -> None:
        """Change how much of each style goes into the target."""
        if len(blend) != len(self.styles) or min(blend) < 0 or not 0 < sum(blend) < float("inf"):
            raise ValueError(f"style_blend={tuple(blend)}: give {len(self.styles)} numbers ≥ 0, one for each style")
        self.blend = tuple(share / sum(blend) for share in blend)

    def _grams(self, image: Tensor) -> dict[tuple[float, str], Tensor]:
        image, opacity = image[:, :3], image[:, 3:] if image.shape[1] > 3 else None
        pyramid = self._pyramid(image, self.extractor.activations(image))
        return {(s, name): self._gram(name, f[name], opacity) for s, f in pyramid.items() for name in self.style_layers}

    def _gram(self, name: str, activation: Tensor, mask: Tensor | None = None) -> Tensor:
        """The Gram matrix of a layer's feature: the head acts on the matrix, not on every pixel."""
        return self.extractor.gram_head(name, _gram(activation) if mask is None else masked_gram(activation, mask))

    def _pyramid(self, image: Tensor, features: Targets) -> dict[float, Targets]:
        """Features at every style scale."""
        scales = self.config.style_scales
        return {s: features if s == 1 else self.extractor.activations(at_scale(image, s)) for s in scales}

    def forward(self, image: Tensor, blends: Tensor | None = None, factors: Tensor | None = None) -> dict[str, Tensor]:
        """The losses of `image (B, 3, H, W)`: scalars `content`, `style`, `tv` and their sum `total`.

        Args:
            blends: for networks of several styles: each picture's own blend of them, `(B, styles)`.
            factors: with it: what each picture's style loss is multiplied by, `(B,)`.
        """
        features = self.extractor.activations(image)
        distance, _, variation, _ = DISTANCES[self.config.formula]
        found = {name: self.extractor.head(name, features[name]) for name in self.content_layers}
        contents = [distance(found[name], self.content[name]) for name in self.content_layers]
        style = self._style(image, features, blends, factors)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.config.tv_weight > 0):
            tv = variation(image)
        return self._weighed(contents, style, tv)

    def _weighed(self, contents: list[Tensor], style: Tensor, tv: Tensor) -> dict[str, Tensor]:
        """All losses, from the content's of each layer."""
        config, averaged = self.config, DISTANCES[self.config.formula][-1]
        content = sum(contents) / (len(contents) if averaged else 1)
        total = config.content_weight * content + config.style_weight * style
        if config.tv_weight:
            total = total + config.tv_weight * tv
        return {"content": content, "style": style, "tv": tv, "total": total}

    def _style(self, image: Tensor, features: Targets, blends: Tensor | None, factors: Tensor | None) -> Tensor:
        _, distance, _, averaged = DISTANCES[self.config.formula]
        loss = image.new_zeros(())
        for scale, scaled in self._pyramid(image, features).items():
            for name, weight in self.layer_weights.items():
                targets = [grams[scale, name] for grams in self.styles]
                if blends is None:
                    found = self._style_distance(distance, name, scaled[name], targets)
                else:
                    found = self._own_distances(distance, name, scaled[name], targets, blends, factors)
                loss = loss + weight * found
        return loss / len(self.config.style_scales) / (len(self.style_layers) if averaged else 1)

    def _style_distance(self, distance, name: str, activation: Tensor, targets: list[Tensor]) -> Tensor:
        if self.masks is None:
            target = sum(share * a for share, a in zip(self.blend, targets, strict=True))
            return distance(self._gram(name, activation), target.expand(activation.shape[0], -1, -1))
        parts = zip(self.blend, self._guided_grams(name, activation), targets, strict=True)
        return sum(share * distance(g, a) for share, g, a in parts)

    def _guided_grams(self, name: str, activation: Tensor) -> list[Tensor]:
        """The Gram matrix under each mask."""
        return [self._gram(name, activation, mask) for mask in guides(self.masks, name, activation.shape[-2:])]

    def _own_distances(self, distance, name, activation, targets, blends, factors) -> Tensor:
        """The mean over a batch whose pictures have each a blend and a factor of its own."""
        wanted = torch.einsum("bs,sij->bij", blends, torch.cat(targets))
        pairs = zip(factors, self._gram(name, activation).split(1), wanted.split(1), strict=True)
        return sum(factor * distance(g, a) for factor, g, a in pairs) / len(wanted)
