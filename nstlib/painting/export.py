"""The fast network for other programs, as ONNX."""

import copy
from pathlib import Path

import torch

from ..errors import CheckpointError
from ..limits import checked
from ..storage import write_aside, writing
from .network import TransformerNet


@checked
def export_onnx(net: TransformerNet, path: str | Path) -> Path:
    """Write the network as ONNX: `picture` to `painting`, both `(1, 3, height, width)` in [0, 1], any size from 16.

    An adjustable network has a second input, `blend (1, rows)`, as `net.blend` makes it. The file's metadata names its
    styles, in the order of the rows that follow the photograph's: `styles`, with commas between.

    Raises:
        CheckpointError: another ending, the extra `export` is not installed, or the folder cannot be written.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise CheckpointError(f"{path}: is written as .onnx; change the ending")
    try:
        import onnxscript  # noqa: F401  (torch's exporter needs it)
    except ImportError as error:
        raise CheckpointError("export to ONNX needs more packages: pip install 'nstlib[export]'") from error
    inputs = {"picture": torch.rand(1, 3, 66, 79)} | ({"blend": net.blend().cpu()} if net.config.styles else {})
    sides = {2: torch.export.Dim("height", min=16), 3: torch.export.Dim("width", min=16)}
    with torch.no_grad():
        program = torch.onnx.export(
            copy.deepcopy(net).cpu().eval(),
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=["painting"],
            dynamic_shapes=(sides, None)[: len(inputs)],
            dynamo=True,
            verbose=False,
        )
    if net.config.styles:
        program.model.metadata_props["styles"] = ",".join(net.config.styles)
    with writing(path), write_aside(path) as aside:
        program.save(aside)
    return path
