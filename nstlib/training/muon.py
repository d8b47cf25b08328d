"""Muon: the steps of convolutions made orthogonal; all other weights learn by Adam."""

import torch
from torch import Tensor, nn

FACTOR = 10  # times the learning rate: an orthogonal step has another size than Adam's


class Muon(torch.optim.Adam):
    """Muon (Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024), and Adam for what it leaves.

    Adam scales the step of each weight alone. Muon takes a convolution's weights `(outputs, inputs, h, w)` as a matrix
    `(outputs, inputs·h·w)`, M ← 0.95·M + G, and steps along the nearest orthogonal matrix to G + 0.95·M, so that weak
    directions are learned as fast as strong ones. First and last convolution, norms and biases are Adam's.
    (`torch.optim.Muon` takes matrices only.)

    Args:
        net: the network; of it what requires a gradient is trained.
        lr: Adam's learning rate; Muon's is ten times as high.
    """

    def __init__(self, net: nn.Module, lr: float):
        inner = [m.weight for m in net.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)][1:-1]
        inner = [weight for weight in inner if weight.requires_grad]
        known = set(map(id, inner))
        others = [p for p in net.parameters() if p.requires_grad and id(p) not in known]
        groups = ({"params": others, "orthogonal": False}, {"params": inner, "orthogonal": True})
        super().__init__([group for group in groups if group["params"]], lr=lr)

    @torch.no_grad()
    def step(self, closure=None):
        """One step of all weights."""
        groups = self.param_groups
        self.param_groups = [group for group in groups if not group["orthogonal"]]
        loss = super().step(closure)
        self.param_groups = groups
        for group in groups:
            for weight in group["params"] if group["orthogonal"] else ():
                if weight.grad is not None:
                    self._orthogonal_step(weight, FACTOR * group["lr"])
        return loss

    def _orthogonal_step(self, weight: Tensor, rate: float) -> None:
        state = self.state[weight]
        if not state:  # Adam wants a step in each, when it reads a checkpoint
            state |= {"step": torch.zeros(()), "momentum": torch.zeros_like(weight)}
        momentum = state["momentum"].mul_(0.95).add_(weight.grad)
        update = orthogonal(weight.grad.add(momentum, alpha=0.95).flatten(1))
        weight.sub_(update.view_as(weight), alpha=rate * max(1, update.shape[0] / update.shape[1]) ** 0.5)


def orthogonal(matrix: Tensor) -> Tensor:
    """The nearest matrix with singular values of 1, roughly (0.7 to 1.2): five Newton-Schulz steps of fifth order."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).float()
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return (x.T if tall else x).to(matrix)
