"""Arguments that cannot be meant: each is refused by name, before any work is done."""

import math
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch
from PIL import Image

import nstlib
from nstlib import NstError
from nstlib.devices import best_device
from nstlib.painting import gatys, network
from nstlib.screen import cli
from nstlib.screen.control_desk import ControlDesk
from nstlib.screen.playground import Playground
from nstlib.training import trainer
from nstlib.training.distil import DistilConfig

BAD = {
    "None": None,
    "True": True,
    "-1": -1,
    "0": 0,
    "0.0": 0.0,
    "1.5": 1.5,
    "-0.5": -0.5,
    "NaN": math.nan,
    "infinity": math.inf,
    "-infinity": -math.inf,
    "10^400": 10**400,
    "2^63": 2**63,
    "1e308": 1e308,
    "''": "",
    "a word": "banana",
    "0 byte": "\0",
    "b''": b"",
    "[]": [],
    "()": (),
    "{}": {},
    "[None]": [None],
    "('',)": ("",),
    "(NaN,)": (math.nan,),
    "(-1,)": (-1,),
    "a set": {1, 2},
    "an object": object(),
    "a class": int,
    "a tensor": torch.ones(2, 3, 4, 4),
    "an empty tensor": torch.ones(1, 3, 0, 4),
    "whole numbers": torch.ones(1, 3, 4, 4, dtype=torch.int64),
    "an array": np.ones(3),
}
NUMBERS = {"1.5", "2^63", "1e308"}  # of any size: an absurd weight is met by the painter's guard
TEXTS = {"a word", "0 byte"}  # a name or file that may exist is looked for where it is used
ABSENT = {"None"}
ZERO = {"0", "0.0"}


def fail(*_, **__):
    pytest.fail("went to work")


def refused(call, *names: str) -> str | None:
    """Why a call did not refuse as it should; `None` if it did."""
    try:
        call()
    except ValueError as error:
        said = str(error)
        return (
            None if any(name in said for name in names) and "\n" not in said and len(said) < 400 else f"says {said!r}"
        )
    except NstError as error:  # a file or a picture that is not there, or is none
        return None if "\n" not in str(error) else f"says {error!r}"
    except Exception as error:
        return f"raises {error!r}"
    return "is accepted"


# ── configs ─────────────────────────────────────────────────────────────────────────────────────────

CONFIGS = {
    nstlib.GatysConfig: {"backbone": "compact"},
    nstlib.TrainConfig: {"dataset": Path("photos"), "style": "ink", "backbone": "compact"},
    nstlib.LossConfig: {"backbone": "compact"},
    nstlib.TransformerConfig: {},
    nstlib.VideoConfig: {},
    DistilConfig: {"photos": Path("photos")},
}
WEIGHTS = dict.fromkeys(("style_weight", "content_weight", "tv_weight"), NUMBERS | ZERO)
LOSSES = WEIGHTS | dict.fromkeys(("style_layers", "content_layers", "style_layer_weights", "preprocessing"), ABSENT)
LOSSES |= {"backbone": ABSENT, "weights": ABSENT | TEXTS}
GOOD = {  # what is meant, after all
    nstlib.LossConfig: LOSSES,
    nstlib.GatysConfig: LOSSES
    | {"steps": {"0"}, "seed": {"0"}, "lr": NUMBERS, "style_scale": {"1.5"}, "style_blend": ABSENT | {"(1,)"}}
    | {"mask": ABSENT, "init": TEXTS, "device": ABSENT | TEXTS, "fit": {"True"}},
    nstlib.TrainConfig: LOSSES
    | {"stability_weight": NUMBERS | ZERO, "lr": NUMBERS, "epochs": NUMBERS, "workers": {"0"}, "seed": {"0"}}
    | dict.fromkeys(("steps", "max_photos", "precision"), ABSENT)
    | dict.fromkeys(("extend", "init_model", "checkpoint_dir", "device"), ABSENT | TEXTS)
    | {"compile": {"True"}, "dataset": TEXTS, "style": TEXTS, "provenance": TEXTS | {"''"}},
    nstlib.TransformerConfig: {"residual_blocks": {"0"}, "legacy_range": {"True"}, "styles": {"()"}},
    nstlib.VideoConfig: {name: {"True"} for name in ("sharp", "mask", "cuts", "fit")}
    | {"size": ABSENT, "fps": NUMBERS | ABSENT, "start": NUMBERS | ZERO, "end": NUMBERS | ABSENT, "carry": ZERO},
    DistilConfig: dict.fromkeys(("photos", "teacher", "output"), TEXTS)
    | {"gram_weight": NUMBERS | ZERO, "seed": {"0"}, "lr": NUMBERS, "bfloat16": {"True"}, "styles": ABSENT | TEXTS}
    | {"provenance": TEXTS | {"''"}},
}


def test_no_field_of_a_config_takes_nonsense(survived):
    wrong, count = [], 0
    for config, needed in CONFIGS.items():
        config(**needed)
        for field in fields(config):
            for said, value in BAD.items():
                why = refused(lambda: config(**{**needed, field.name: value}), f"{field.name}=")  # noqa: B023
                good = said in GOOD[config].get(field.name, ())
                if good is not (why == "is accepted"):
                    wrong.append(f"{config.__name__}({field.name}={said}) {why}")
                count += not good
    assert not wrong, "\n".join(wrong)
    survived("arguments", "a field of a config of the wrong type, negative, NaN, infinite, huge or empty", count)


def test_a_running_painting_takes_no_nonsense(survived):
    picture, count = torch.rand(1, 3, 16, 16), 0
    config = nstlib.GatysConfig(size=16, backbone="compact", device="cpu")
    painter = nstlib.GatysPainter(picture, [picture], config)
    for name in ("style_weight", "tv_weight", "lr", "style_blend", "optimiser", "style_layer_weights"):
        for said in ("-1", "NaN", "infinity", "10^400", "a word", "''", "[]", "an object", "a tensor"):
            assert refused(lambda: painter.configure(**{name: BAD[said]}), name) is None, (name, said)  # noqa: B023
            count += 1
    assert painter.config == config and math.isfinite(painter.step().losses["total"])
    survived("arguments", "nonsense for a painting that runs, which goes on as it was", count)


# ── functions ───────────────────────────────────────────────────────────────────────────────────────

PICTURE = torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(0))
STRIP = Image.new("RGB", (32, 24))
CONFIG = nstlib.GatysConfig(size=16, steps=1, backbone="compact", device="cpu")
NET = nstlib.TransformerNet(nstlib.TransformerConfig(width=4, residual_blocks=1, styles=("a", "b"))).eval()
CRITIC = nstlib.FeatureExtractor("compact", weights=None)
PICTURES = {"a tensor", "an array"}  # refused as pictures by ImageError, which says their shape
CALLS = [  # each with arguments that are good; each argument is then replaced by every bad value
    (best_device, {"name": "cpu"}, {"name": ABSENT}),
    (nstlib.export_onnx, {"net": NET, "path": "net.onnx"}, {}),
    (nstlib.FeatureExtractor, {"backbone": "compact", "layers": ("relu1_1",)}, {"backbone": ABSENT}),
    (
        nstlib.FeatureExtractor,
        {"layers": ("relu1_1",), "weights": None, "preprocessing": "oxford", "pooling": "max"},
        {"weights": ABSENT, "preprocessing": ABSENT},
    ),
    (nstlib.fetch_coco, {"split": "val2017", "folder": "."}, {"folder": TEXTS}),
    (nstlib.Film, {"every": 1, "size": 32}, {}),
    (nstlib.open_image, {"source": "cat"}, {}),
    (
        nstlib.GatysPainter,
        {"content": PICTURE, "styles": [PICTURE], "config": CONFIG, "image": PICTURE, "masks": [PICTURE[:, :1]]},
        {"config": ABSENT, "image": ABSENT, "masks": ABSENT, "content": {"a tensor"}},
    ),
    (nstlib.gram, {"features": PICTURE}, {"features": {"a tensor"}}),
    (nstlib.load_image, {"source": "cat", "size": 32}, {"size": ABSENT}),
    (nstlib.load_transformer, {"model": "watercolour", "norm": "batch"}, {"norm": ABSENT}),
    (nstlib.open_image, {"source": PICTURE}, {}),
    (
        nstlib.paint,
        {"content": PICTURE, "model": NET, "size": 32, "preserve_colour": "none", "styles": "a", "strength": 0.5},
        {"size": ABSENT, "styles": ABSENT, "strength": ABSENT | {"0", "0.0"}},
    ),
    (
        nstlib.paint,
        {"content": PICTURE, "model": NET, "styles": {"a": 0.5}, "fit": True},
        {"styles": ABSENT, "fit": {"True"}},
    ),
    (nstlib.paint_video, {"clip": "photo.png", "model": NET, "output": "out.gif"}, {"output": TEXTS}),
    (nstlib.stylize_video, {"clip": "photo.png", "style": "swirl", "output": "out.gif"}, {"output": TEXTS}),
    (nstlib.enlarge, {"content": PICTURE, "scale": 4}, {}),
    (nstlib.PerceptualLoss, {"config": CONFIG, "extractor": CRITIC}, {"extractor": ABSENT}),
    (
        nstlib.PhotoFolder,
        {"folder": ".", "side": 32, "max_photos": 1, "seed": 0},
        {"max_photos": ABSENT, "seed": {"0"}},
    ),
    (
        nstlib.recolour,
        {"image": PICTURE, "reference": PICTURE, "method": "mean"},
        {"image": {"a tensor"}, "reference": {"a tensor"}},
    ),
    (nstlib.resize, {"image": PICTURE, "size": 8}, {"image": {"a tensor"}}),
    (nstlib.resize, {"image": PICTURE, "size": (8, 9)}, {"image": {"a tensor"}}),
    (
        nstlib.save_image,
        {"image": PICTURE, "path": "out.jpg", "settings": {}, "alpha": STRIP.convert("L"), "quality": 90},
        {"settings": ABSENT | {"{}"}, "alpha": ABSENT},
    ),
    (nstlib.save_transformer, {"net": NET, "path": "net.safetensors"}, {}),
    (nstlib.settings_of, {"path": "photo.png"}, {}),
    (
        nstlib.stylize,
        {"content": PICTURE, "style": PICTURE, "config": CONFIG, "callback": print},
        {"config": ABSENT, "callback": ABSENT | {"a class"}},
    ),
    (nstlib.stylize, {"content": PICTURE, "style": [PICTURE]}, {}),
    (nstlib.to_pil, {"image": PICTURE}, {}),
    (nstlib.to_tensor, {"image": STRIP}, {}),
    (nstlib.total_variation, {"image": PICTURE}, {"image": {"a tensor"}}),
    (
        nstlib.train,
        {"config": nstlib.TrainConfig(dataset="photos", style="ink"), "callback": print},
        {"callback": ABSENT | {"a class"}},
    ),
    (
        nstlib.TransformerNet,
        {"config": nstlib.TransformerConfig(), "card": {}},
        {"config": ABSENT, "card": ABSENT | {"{}"}},
    ),
    (NET.blend, {"styles": "a", "strength": 0.5}, {"styles": ABSENT, "strength": ZERO}),
    (
        ControlDesk,
        {"content": "cat", "styles": ("swirl",), "config": CONFIG, "seconds": 0.1},
        {"config": ABSENT, "seconds": ZERO | {"1.5"}},
    ),
    (Playground, {"model": NET, "content": "cat", "quick": 64, "size": 96}, {}),
]
NAMED = {  # in words that the command has too
    ("best_device", "name"): "device",
    ("paint", "styles"): "style",
    ("blend", "styles"): "style",
}
WITHOUT_ARGUMENTS = {"model_files", "sample_names"}
FIGURES = {"show"}  # draws what the library gives


@pytest.fixture
def no_work(tmp_path, monkeypatch):
    """An empty folder but for a picture, where every network and every download is out of order."""
    monkeypatch.chdir(tmp_path)
    STRIP.save("photo.png")
    for target, name in [
        (gatys.GatysPainter, "step"),
        (network.TransformerNet, "forward"),
        (trainer.Trainer, "advance"),
        (torch.onnx, "export"),
    ]:
        monkeypatch.setattr(target, name, fail)
    monkeypatch.setattr("nstlib.pictures.downloads._download", fail)
    yield tmp_path
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


def test_every_public_function_is_in_the_table():
    public = {name for name in nstlib.__all__ if callable(getattr(nstlib, name))}
    public -= {
        name
        for name in public
        if isinstance(getattr(nstlib, name), type) and issubclass(getattr(nstlib, name), NstError)
    }
    tried = {call.__name__ for call, _, _ in CALLS} | {config.__name__ for config in CONFIGS}
    assert public - tried == WITHOUT_ARGUMENTS | FIGURES


def test_no_function_takes_nonsense(no_work, survived):
    wrong, count = [], 0
    for call, arguments, good in CALLS:
        for name in arguments:
            for said, value in BAD.items():
                if said not in good.get(name, ()):
                    names = (name, NAMED.get((call.__name__, name), name))
                    why = refused(lambda: call(**{**arguments, name: value}), *names)  # noqa: B023
                    wrong += [f"{call.__name__}({name}={said}) {why}"] * (why is not None)
                    count += 1
    assert not wrong, "\n".join(wrong)
    survived("arguments", "an argument of a function of the wrong type, negative, NaN, infinite, huge or empty", count)


def test_what_python_says_itself():
    for call, arguments, _ in CALLS:
        with pytest.raises(TypeError, match="nonsense"):
            call(**arguments, nonsense=1)


# ── the command ─────────────────────────────────────────────────────────────────────────────────────

WORDS = ("", "banana", "-1", "0", "1.5", "nan", "inf", "-inf", "1e999", "9" * 20, "9" * 400)
COMMANDS = {  # with what they need
    "stylize": (cli.stylize_command, "cat --style swirl --backbone compact --device cpu --output out.png"),
    "paint": (cli.paint_command, "cat --model watercolour --device cpu --output out.png"),
    "train": (cli.train_command, "--dataset photos --style ink --backbone compact --device cpu"),
    "photos": (cli.photos_command, "val2017"),
    "export": (cli.export_command, "--model watercolour --onnx out.onnx"),
}
ANY_NUMBER = {"0", "1.5", "9" * 20}
MEANT = dict.fromkeys(("style_weight", "content_weight", "tv_weight", "stability_weight"), ANY_NUMBER)
MEANT |= dict.fromkeys(("lr", "lr", "epochs"), ANY_NUMBER - {"0"})
MEANT |= {name: {"0"} for name in ("workers", "seed", "residual_blocks", "strength")}
MEANT |= {"style_scale": {"1.5"}, "content_scale": {"1.5"}, "stroke_size": {"1.5"}, "stylize steps": {"0"}}
MEANT |= {"polish": {"0"}, "carry": {"0"}, "fps": ANY_NUMBER - {"0"}}
MEANT |= {"style_blend": ANY_NUMBER}  # a blend of 0 is refused where the styles are counted; see test_cli


def flags(command: str) -> dict[str, object]:
    """The flags of a command and their types, from its signature and its settings."""
    function, _ = COMMANDS[command]
    found = {}
    for name, kind in get_type_hints(function).items():
        if is_dataclass(kind):
            found |= {field.name: field.type for field in fields(kind) if not is_dataclass(field.type)}
            found |= {field.name: field.type for field in fields(nstlib.TransformerConfig) if command == "train"}
        elif name not in ("content", "split", "return"):
            found[name] = kind
    return found


def takes_text(kind) -> bool:
    """Whether a flag is a name or a file, which every word can be."""
    return kind in (str, Path) or any(map(takes_text, get_args(kind)))


@pytest.mark.parametrize("command", COMMANDS)
def test_no_flag_takes_nonsense(command, no_work, monkeypatch, capsys, survived):
    for name in ("stylize", "paint", "train", "fetch_coco", "export_onnx"):
        monkeypatch.setattr(cli, name, fail)
    wrong, count = [], 0
    for name, kind in flags(command).items():
        flag = "--" + name.replace("_", "-")
        for word in WORDS:
            good = MEANT.get(f"{command} {name}", MEANT.get(name, ()))
            if word in good or takes_text(kind) or kind is bool:
                continue
            with pytest.raises(SystemExit) as end:
                cli.main([command, *COMMANDS[command][1].split(), flag, word])
            said = capsys.readouterr().err.splitlines()
            if end.value.code != 2 or len(said) != 1 or not said[0].startswith("nst: ") or flag not in said[0]:
                wrong.append(f"{command} {flag} {word!r}: {end.value.code} {said}")
            count += 1
    assert not wrong, "\n".join(wrong)
    survived("arguments", "a flag with a word, a negative, infinite or huge number, or nothing", count)
