"""Networks for other programs: an ONNX file paints what the network paints, and what is missing is said.

Not numeric: of the two engines only torch looks at the processor, and its networks are compared in test_transformer.
"""

import itertools
import re
import sys
from types import SimpleNamespace

import pytest
import torch

from nstlib.errors import CheckpointError
from nstlib.painting.export import export_onnx


@pytest.mark.parametrize("kind", ["net", "studio"])
def test_onnx_paints_alike(kind, request, tmp_path):
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    net, blends = request.getfixturevalue(kind), [None]
    session = onnxruntime.InferenceSession(export_onnx(net, tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    assert [file.name for file in tmp_path.iterdir()] == ["net.onnx"]
    if kind == "studio":
        assert session.get_modelmeta().custom_metadata_map["styles"] == "swirl,ink,woodblock"
        blends = [net.blend("ink"), net.blend({"ink": 1, "swirl": 2}, 0.4), net.blend(strength=0)]
    for size, blend in itertools.product([(16, 16), (37, 101), (128, 90)], blends):
        picture = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(2))
        given = {"picture": picture.numpy()} | ({} if blend is None else {"blend": blend.numpy()})
        with torch.inference_mode():
            expected = net(picture, blend)
        (painted,) = session.run(["painting"], given)
        torch.testing.assert_close(torch.from_numpy(painted), expected, rtol=0, atol=1e-3)  # float32, two engines


def test_onnx_ending(net, tmp_path):
    with pytest.raises(CheckpointError, match=r"net\.pth: is written as \.onnx"):
        export_onnx(net, tmp_path / "net.pth")


def test_onnx_needs_more_packages(net, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(CheckpointError, match=re.escape("pip install 'nstlib[export]'")):
        export_onnx(net, tmp_path / "net.onnx")


def test_onnx_into_no_folder(net, tmp_path, monkeypatch):
    pytest.importorskip("onnxscript")
    program = SimpleNamespace(save=lambda path: path.write_bytes(b"onnx"))
    monkeypatch.setattr(torch.onnx, "export", lambda *args, **options: program)  # which takes seconds
    with pytest.raises(CheckpointError, match=r"net\.onnx: cannot be written"):
        export_onnx(net, tmp_path / "no" / "net.onnx")
