"""How tests compare what processors round differently."""

from contextlib import contextmanager

import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook


def apart(found, expected) -> float:
    """‖found − expected‖ / ‖expected‖ over lists of tensors, for what must be computed in float32.

    A sum of n float32 terms is rounded by about √n · 2⁻²⁴. Of our networks n is under 10⁴, and a dozen layers follow
    each other: under 1e-4 in all. What a mistake changes is above 1e-2, so tests ask for less than 1e-3.
    """
    found, expected = (torch.cat([t.detach().double().flatten() for t in tensors]) for tensors in (found, expected))
    return ((found - expected).norm() / expected.norm()).item()


@contextmanager
def gradients():
    """Collects, of every optimiser step, the optimiser's settings and the gradients that it is given."""
    seen = []

    def note(optimiser, given, named):
        (group,) = optimiser.param_groups
        settings = {name: value for name, value in group.items() if isinstance(value, float | tuple)}
        seen.append((settings, [p.grad.clone() for p in group["params"]]))

    handle = register_optimizer_step_pre_hook(note)
    yield seen
    handle.remove()
