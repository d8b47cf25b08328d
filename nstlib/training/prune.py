"""The first weights of a small critic: prune a large one by reconstruction (He, Zhang & Sun, ICCV 2017)."""

import torch
from torch import Tensor

from ..critic.extractor import FeatureExtractor, layer_names

STUDENT_STD = 0.25  # of the student's input: it reads (picture − teacher's mean) / 0.25, about unit scale
TAPS = ("relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1", "relu3_2", "relu3_3", "relu3_4")


def second_moments(features: dict[str, Tensor]) -> dict[str, Tensor]:
    """E[f fᵀ] over batch and pixels, `(C, C)` for each layer of `(B, C, H, W)`."""
    flat = {name: f.transpose(0, 1).flatten(1).double() for name, f in features.items()}  # (C, B*H*W)
    return {name: f @ f.T / f.shape[1] for name, f in flat.items()}


def choose_channels(moment: Tensor, keep: int) -> list[int]:
    """Greedy pivoted Cholesky: each time the channel that explains most of what is left unexplained."""
    residual, chosen = moment.clone(), []
    for _ in range(keep):
        explained = residual.square().sum(0) / residual.diagonal().clamp_min(1e-12)
        explained[chosen] = -1
        pivot = int(explained.argmax())
        chosen.append(pivot)
        column = residual[:, pivot].clone()
        residual -= torch.outer(column, column) / column[pivot].clamp_min(1e-12)
    return sorted(chosen)


def reconstruction(moment: Tensor, kept: list[int]) -> Tensor:
    """Least squares: the matrix W `(C, K)` that minimises E‖f − W f[kept]‖²."""
    inner = moment[kept][:, kept]
    ridge = 1e-6 * inner.diagonal().mean() * torch.eye(len(kept), dtype=inner.dtype)
    return torch.linalg.solve(inner + ridge, moment[kept]).T


def prune(teacher: FeatureExtractor, moments: dict[str, Tensor], widths: tuple[int, ...]) -> dict[str, Tensor]:
    """The student's first weights: the kept filters, each reconstruction folded into the next layer.

    Since conv(W f[kept]) = (conv ∘ W) f[kept], a layer that reads all the teacher's channels can read
    the kept ones instead. Each student channel is scaled to a mean square of 1, so that one learning
    rate suits all; the ReLU lets a positive scale through.
    """
    index, state = {n: i for i, n in enumerate(layer_names("vgg19"))}, {}
    fold = torch.diag((STUDENT_STD / teacher.std).flatten().double())
    for name, width in zip(TAPS, widths, strict=True):
        conv = teacher.convs[name.replace("relu", "conv")]
        kept = choose_channels(moments[name], width)
        scale = moments[name].diagonal()[kept].clamp_min(1e-12).sqrt()
        weight = torch.einsum("ochw,ck->okhw", conv.weight[kept].double(), fold) / scale.view(-1, 1, 1, 1)
        prefix = f"features.{index[name.replace('relu', 'conv')]}"
        state[f"{prefix}.weight"] = weight.float()
        state[f"{prefix}.bias"] = (conv.bias[kept].double() / scale).float()
        fold = reconstruction(moments[name], kept) * scale  # (C, K): reads scaled channels
        state[f"heads.{name}.weight"] = fold.float()[:, :, None, None]
    return state


# ── the teacher's metric in the student's few channels ──


def metric_head(head: Tensor) -> Tensor:
    """R of W = QR, `(K, K)` from a head W `(C, K)`, with a positive diagonal.

    Q has orthonormal columns, so ‖Q(R(G − G*)Rᵀ)Qᵀ‖_F = ‖R(G − G*)Rᵀ‖_F: Gram and feature distances
    measured after R equal those of the reconstructed teacher features W s. (The heads have no bias:
    ReLU features are not negative, and their means are reconstructed with them.)
    """
    r = torch.linalg.qr(head.double()).R
    signs = torch.where(r.diagonal() < 0, -1.0, 1.0)  # sign() would wipe out the row of a dead channel
    return (r * signs.unsqueeze(1)).float()
