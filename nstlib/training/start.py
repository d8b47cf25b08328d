"""What a training begins with: the network, the device, the precision."""

from dataclasses import replace

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState

from ..devices import best_device, best_precision
from ..painting.models import adjustable, load_transformer
from ..painting.network import TransformerNet
from ..painting.upscale import UpscaleNet, load_upscaler
from .config import TrainConfig


def first_network(config: TrainConfig) -> TransformerNet | UpscaleNet:
    """The network that a training begins with."""
    if config.objective != "style":
        return load_upscaler(config.init_model) if config.init_model else UpscaleNet()
    if config.extend:
        old = load_transformer(config.extend)
        if not old.config.styles or set(old.config.styles) & set(config.names):
            raise ValueError(
                f"extend={config.extend!r}: must be an adjustable network without {', '.join(config.names)}"
            )
        return adjustable(old, (*old.config.styles, *config.names))
    init = load_transformer(config.init_model) if config.init_model else None
    if len(config.names) == 1 and not (init and init.config.styles):
        return init or TransformerNet(config.network)
    return adjustable(init, config.names) if init else TransformerNet(replace(config.network, styles=config.names))


def train_only_rows(net: TransformerNet, names: tuple[str, ...]) -> None:
    """Leave nothing to train but the γ, β and share of the last styles (Dumoulin et al. 2017, section 3.4)."""
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(name == "skip_share" or ".norm." in name)
        if parameter.requires_grad:
            parameter.register_hook(lambda g: torch.cat([torch.zeros_like(g[: -len(names)]), g[-len(names) :]]))


def make_accelerator(config: TrainConfig) -> Accelerator:
    """Device, precision and processes; a second run in one notebook may ask for others."""
    if not torch.distributed.is_initialized():
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
    device = best_device(config.device)
    if device.type == "cpu" and config.precision == "fp16":  # accelerate would compute in float32 and not say so
        raise ValueError("precision='fp16': not on a CPU; choose no or bf16")
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # accelerate takes the current one; of several processes each its own
    return Accelerator(
        cpu=device.type == "cpu",
        mixed_precision=config.precision or best_precision(device),
        gradient_accumulation_steps=config.accumulate,
    )
