"""Weights files that are damaged, absurd or meant to harm: no code runs, nothing large is made, one line says why."""

import json
import math
import os
import pickle
import random
import resource
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from nstlib import (
    CheckpointError,
    FeatureExtractor,
    NstError,
    TrainConfig,
    TransformerConfig,
    TransformerNet,
    WeightsError,
    load_transformer,
)
from nstlib.painting.models import save_transformer
from nstlib.storage import read_weights
from nstlib.training.trainer import Trainer

CRITIC = FeatureExtractor("compact", ("relu1_2",), weights=None).state()
ADJUSTABLE = TransformerConfig(width=2, residual_blocks=0, styles=("ink", "wave"))


def critic_of(path) -> torch.nn.Module:
    return FeatureExtractor("vgg19", ("relu1_2",), weights=path)


def foreign_state() -> dict[str, torch.Tensor]:
    """A state dict that is read by the order of its layers: convolutions, then norms."""
    state = TransformerNet(TransformerConfig(width=2, residual_blocks=1)).state_dict()
    names = list(state)
    return {name: state[name] for name in sorted(names, key=lambda name: ("norm" in name, names.index(name)))}


def memory() -> int:
    """The most memory that this process has held so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def refusal(read, path, kind: type[NstError] = NstError) -> str:
    """The line in which a file is refused: with its name, in print, and short."""
    with pytest.raises(kind) as caught:
        read(path)
    said = str(caught.value)
    assert Path(path).name in said and said.isprintable() and len(said) < 800, said
    return said


@pytest.fixture
def config(config) -> TrainConfig:
    """Three steps of a tiny network."""
    tiny = TransformerConfig(width=2, residual_blocks=0)
    return replace(config, steps=3, batch_size=1, style_size=32, network=tiny)


@pytest.fixture
def checkpoint(config) -> Path:
    """The checkpoint of a run that stopped after two of its steps."""
    run = Trainer(config)
    run.step(2)
    run.save()
    return config.folder / "state.pth"


def readers(config: TrainConfig) -> dict:
    """Every way in which a weights file comes in."""

    def resume(path):
        (config.folder / "state.pth").parent.mkdir(exist_ok=True)
        (config.folder / "state.pth").write_bytes(Path(path).read_bytes())
        Trainer(config)

    def settings(**changes):
        return lambda path: Trainer(TrainConfig(**{**vars(config), **{k: f(path) for k, f in changes.items()}}))

    return {
        "critic": critic_of,
        "network": load_transformer,
        "init_model": settings(init_model=str),
        "extend": settings(extend=str),
        "weights": settings(weights=str, backbone=lambda path: "vgg19"),
        "resume": resume,
    }


# ── code ────────────────────────────────────────────────────────────────────────────────────────────


class Evil:
    """Pickled, it is an order to call something with a path."""

    def __init__(self, call, path):
        self.order = call, (str(path),)

    def __reduce__(self):
        return self.order


def evil_files(folder: Path, target: Path) -> list[Path]:
    """Files that would make `target` if what they say were done, in every container that torch reads."""
    paths = []
    words = {eval: f"__import__('os').mkdir({str(target)!r})", os.system: f"mkdir '{target}'"}
    for i, call in enumerate((os.mkdir, eval, os.system)):
        thing = Evil(call, words.get(call, target))
        for j, wrapped in enumerate((thing, {"features.0.weight": thing}, {"config": thing, "net": {}})):
            new, old, plain, tar, script = (folder / f"{kind}{i}{j}.pth" for kind in ("new", "old", "raw", "tar", "ts"))
            torch.save(wrapped, new)
            torch.save(wrapped, old, _use_new_zipfile_serialization=False)
            plain.write_bytes(pickle.dumps(wrapped, protocol=2))
            with tarfile.open(tar, "w") as archive:
                for name in ("sys_info", "pickle", "storages", "tensors"):
                    plain.with_suffix(f".{name}").write_bytes(plain.read_bytes())
                    archive.add(plain.with_suffix(f".{name}"), name)
            with zipfile.ZipFile(script, "w") as archive:
                for name in ("constants.pkl", "data.pkl", "version"):
                    archive.writestr(f"model/{name}", plain.read_bytes())
            renamed = folder / f"renamed{i}{j}.safetensors"
            renamed.write_bytes(new.read_bytes())
            paths += [new, old, plain, tar, script, renamed]
    return paths


def test_no_code_runs_from_a_weights_file(config, tmp_path, survived):
    target, count = tmp_path / "pwned", 0
    (tmp_path / "evil").mkdir()
    files = evil_files(tmp_path / "evil", target)
    whole = torch.load(tmp_path / "evil" / "new01.pth", weights_only=False)  # and that torch would do it
    assert target.is_dir() and list(whole) == ["features.0.weight"]
    target.rmdir()
    for i in range(3):  # that they are evil
        pickle.loads((tmp_path / "evil" / f"raw{i}1.pth").read_bytes())
        target.rmdir()
    for name, read in readers(config).items():
        for path in files if name in ("critic", "network", "resume") else files[:6]:
            with pytest.raises(NstError, match="state.pth" if name == "resume" else path.name):
                read(path)
            assert not target.exists()
            count += 1
    survived("weights", "weights file that holds code", count)


def test_no_code_runs_from_torchs_own_cache(tmp_path, monkeypatch, survived):
    """torchvision's weights are read from a folder that any program may have written to."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    cached = tmp_path / "hub" / "checkpoints" / "vgg19-dcbb9e9d.pth"
    cached.parent.mkdir(parents=True)
    (tmp_path / "evil").mkdir()
    files = [path for path in evil_files(tmp_path / "evil", tmp_path / "pwned") if path.suffix == ".pth"]
    for path in files:
        cached.write_bytes(path.read_bytes())
        with pytest.raises(WeightsError, match=r"vgg19.*Use backbone='compact'"):
            FeatureExtractor("vgg19", ("relu1_1",))
        assert not (tmp_path / "pwned").exists()
    survived("weights", "weights file that holds code", len(files))


# ── what is in it ───────────────────────────────────────────────────────────────────────────────────

ABSURD_METADATA = [
    {"config": json.dumps({"width": 10**9})},
    {"config": json.dumps({"width": 2, "residual_blocks": 10**9})},
    {"config": json.dumps({"width": 512, "residual_blocks": 512})},
    {"config": json.dumps({"width": 10**4000})},
    {"config": '{"width": ' + "9" * 5000 + "}"},
    {"config": '{"width": NaN}'},
    {"config": '{"width": -1}'},
    {"config": '{"width": 2.0, "residual_blocks": 0}'},
    {"config": '{"width": true, "residual_blocks": 0}'},
    {"config": '{"width": 2, "residual_blocks": 0, "norm": ["instance"]}'},
    {"config": '{"width": 2, "residual_blocks": 0, "norm": {}}'},
    {"config": '{"width": 2, "residual_blocks": 0, "__class__": 1}'},
    {"config": "null"},
    {"config": "7"},
    {"config": '"width"'},
    {"config": ""},
    {"config": "[" * 100_000},
    {"config": '{"a":' * 100_000},
    {"config": json.dumps({"width": 2, "residual_blocks": 0, "styles": "ab"})},
    {"config": json.dumps({"width": 2, "residual_blocks": 0, "styles": {"a": 1, "b": 2}})},
    {"config": json.dumps({"width": 2, "residual_blocks": 0, "styles": [["a"], ["b"]]})},
    {"config": json.dumps({"width": 2, "residual_blocks": 0, "styles": [1, 2]})},
    {"config": json.dumps({"width": 2, "residual_blocks": 0, "styles": ["a", "a"]})},
    {"config": json.dumps({"width": 2, "residual_blocks": 0, "styles": 10**9})},
    {"config": json.dumps({"width": 2, "residual_blocks": 0, "styles": [f"{i}" for i in range(50_000)]})},
    {"config": json.dumps({"width": 2, "residual_blocks": 0, "styles": [f"{i}" for i in range(300_000)]})},
    {"card": json.dumps({"style": "x" * 50_000_000})},
    {"card": "[" * 100_000},
    {"card": '{"a":' * 100_000 + "1" + "}" * 100_000},
    {"card": "[1]"},
    {"card": "null"},
    {"card": '"ink"'},
    {"card": "1e999"},
    {"card": "{'style': 'ink'}"},
    {"format": "2"},
    {"format": "99999999999999999999"},
    {"format": ""},
    {"format": "1\n"},
]


@pytest.mark.parametrize("changes", ABSURD_METADATA, ids=lambda c: "{}: {:.40}".format(*next(iter(c.items()))))
def test_absurd_metadata_is_refused_before_anything_is_made(changes, tmp_path, survived):
    path = save_transformer(TransformerNet(ADJUSTABLE), tmp_path / "net.safetensors")
    state, metadata = read_weights(path)
    save_file(state, path, metadata | changes)
    before = memory()
    said = refusal(load_transformer, path, CheckpointError)
    assert memory() - before < 200e6
    if "format" in changes:
        assert "Update nstlib" in said
    survived("weights", "network with absurd or newer settings in its metadata", 1)


@pytest.mark.parametrize(
    "metadata",
    [
        {"mean": "a,b,c", "std": "1,1,1"},
        {"mean": "0,0", "std": "1,1"},
        {"mean": "0,0,0", "std": "1,1,0"},
        {"mean": "0,0,0", "std": "1,1,-1"},
        {"mean": "nan,0,0", "std": "1,1,1"},
        {"mean": "0,0,0", "std": "inf,1,1"},
        {"mean": "", "std": ""},
        {"mean": "0," * 100_000, "std": "1,1,1"},
        {"preprocessing": "x" * 900_000},
        {"preprocessing": "\x1b[2J\n"},
    ],
    ids=lambda metadata: f"{next(iter(metadata.values())):.20}",
)
def test_a_critics_absurd_metadata_is_refused(metadata, tmp_path, survived):
    save_file(CRITIC, tmp_path / "critic.safetensors", metadata)
    refusal(critic_of, tmp_path / "critic.safetensors", WeightsError)
    survived("weights", "critic with absurd settings in its metadata", 1)


def spoiled(state: dict, name: str) -> dict[str, dict]:
    """A good state dict made bad in every way, by what was done."""
    good = state[name]
    shape = tuple(good.shape)
    one = torch.ones(1)
    bad = {
        "nan": torch.full(shape, math.nan),
        "infinite": torch.full(shape, -math.inf),
        "infinite in float32": torch.full(shape, 1e300, dtype=torch.float64),
        "one nan": good.index_put((torch.tensor(0),), torch.tensor(math.nan)),
        "empty": torch.ones(0, *shape[1:]),
        "scalar": torch.tensor(1.0),
        "one number too many": torch.ones(shape[0] + 1, *shape[1:]),
        "another rank": torch.ones(*shape, 1),
        "twice the inputs": torch.cat([good] * 2, dim=-3 if good.ndim == 4 else 0),
        "complex": good.to(torch.complex64),
        "bool": good.bool(),
        "bytes": good.byte(),
        "float8": good.to(torch.float8_e4m3fn),
    }
    only_pickled = {
        "sparse": good.to_sparse(),
        "without numbers": torch.empty(shape, device="meta"),
        "one number for 40 GB": one.expand(10**10),
        "one number for all": one.expand(shape),
        "one number for 40 GB of kernels": one.expand(10**9, *shape[1:]),
        "list": good.tolist(),
        "nothing": None,
        "dictionary": {"weight": good},
    }
    states = {what: state | {name: tensor} for what, tensor in (bad | only_pickled).items()}
    states |= {"a number's name": state | {7: good}, "a long name": state | {"x" * 10**6: good.clone()}}
    states |= {"a name that clears the screen": state | {"\x1b[2J.weight": good.clone()}}
    states |= {"missing": {key: t for key, t in state.items() if key != name}, "none": {}}
    return states


def written(state: dict, path: Path, metadata: dict[str, str] | None = None) -> bool:
    """Whether a file of this kind can hold it."""
    try:
        torch.save(state, path) if path.suffix == ".pth" else save_file(state, path, metadata)
    except Exception:  # safetensors takes dense tensors only, each with its own memory
        return False
    return True


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_a_critic_of_absurd_tensors_is_refused(ending, tmp_path, survived):
    count, before = 0, memory()
    for name in ("features.0.weight", "features.2.bias"):
        for what, state in spoiled(CRITIC, name).items():
            optional = what == "missing" and name.endswith("bias")
            if not optional and written(state, tmp_path / f"critic{ending}"):
                refusal(critic_of, tmp_path / f"critic{ending}", WeightsError)
                count += 1
    assert memory() - before < 200e6
    survived("weights", "weights of a wrong shape, kind or name, missing, or not finite", count)


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_a_network_of_absurd_tensors_is_refused(ending, tmp_path, survived):
    path, count, before = save_transformer(TransformerNet(ADJUSTABLE), tmp_path / "net.safetensors"), 0, memory()
    state, metadata = read_weights(path)
    if ending == ".pth":
        state, metadata = foreign_state(), None
    state = {name: t.float() for name, t in state.items()}
    for name in ("down.1.conv.weight", "to_rgb.bias", "up.0.norm.weight"):
        for bad in spoiled(state, name).values():
            if written(bad, tmp_path / f"net{ending}", metadata):
                refusal(load_transformer, tmp_path / f"net{ending}", CheckpointError)
                count += 1
    assert memory() - before < 200e6
    survived("weights", "weights of a wrong shape, kind or name, missing, or not finite", count)


def test_another_architecture_is_refused(tmp_path, survived):
    network = save_transformer(TransformerNet(ADJUSTABLE), tmp_path / "net.safetensors")
    save_file(CRITIC, tmp_path / "critic.safetensors")
    torch.save(CRITIC, tmp_path / "critic.pth")
    torch.save(foreign_state(), tmp_path / "net.pth")
    linear = {"fc.weight": torch.ones(10, 10), "fc.bias": torch.ones(10)}
    torch.save(linear, tmp_path / "linear.pth")
    save_file(linear, tmp_path / "linear.safetensors", {"architecture": "TransformerNet"})
    for name in ("critic.safetensors", "critic.pth", "linear.pth", "linear.safetensors"):
        refusal(load_transformer, tmp_path / name, CheckpointError)
    for name in (network, tmp_path / "net.pth", tmp_path / "linear.pth", tmp_path / "linear.safetensors"):
        refusal(critic_of, name, WeightsError)
    survived("weights", "weights of another architecture", 8)


def test_a_packed_file_is_not_unpacked(tmp_path, survived):
    """A zip of 1 MB may hold 1 GB of zeros; torch packs nothing, so such a file is not from torch."""
    torch.save(CRITIC | {"zeros": torch.zeros(1000)}, tmp_path / "plain.pth")
    with zipfile.ZipFile(tmp_path / "plain.pth") as plain:
        with zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as packed:
            for name in plain.namelist():
                packed.writestr(name, plain.read(name))
            with packed.open("plain/bomb", "w", force_zip64=True) as bomb:
                for _ in range(1024):
                    bomb.write(bytes(2**20))
    assert (tmp_path / "packed.pth").stat().st_size < 2e6
    before = memory()
    for read in (critic_of, load_transformer):
        assert "it is packed" in refusal(read, tmp_path / "packed.pth")
    assert memory() - before < 100e6
    survived("weights", "bomb: a small weights file that would unpack to a gigabyte", 2)


@pytest.mark.parametrize("header", [2**63, 10**12, 99_999_999, 1_000_001])
def test_a_header_of_absurd_size_is_refused(header, tmp_path, survived):
    path = tmp_path / "net.safetensors"
    path.write_bytes(header.to_bytes(8, "little") + b'{"a":' * 1000)
    for read in (critic_of, load_transformer):
        assert f"{header:,}" in refusal(read, path)
    survived("weights", "weights file whose header is said to be enormous", 2)


def test_names_that_are_no_files(tmp_path, survived):
    (tmp_path / "folder.pth").mkdir()
    os.mkfifo(tmp_path / "pipe.pth")
    (tmp_path / "empty.pth").touch()
    (tmp_path / "loop.pth").symlink_to("loop.pth")
    names = ["folder.pth", "pipe.pth", "empty.pth", "loop.pth", "no/such.pth", "n" * 5000, "nul\0.pth"]
    for name in names:
        for read in (critic_of, load_transformer):
            with pytest.raises(NstError, match=r"no such|holds more than tensors|cannot be read"):
                read(str(tmp_path / name))
    survived("weights", "pipe, folder, empty file or endless link in the place of weights", 2 * len(names))


# ── damage ──────────────────────────────────────────────────────────────────────────────────────────


def mutated(body: bytes, rng: random.Random) -> bytes:
    """A bit flipped, bytes set, a piece cut out, exchanged or repeated; half of it in the first or last kilobyte."""
    where = rng.choice((range(min(1024, len(body))), range(max(0, len(body) - 1024), len(body)), range(len(body))))
    at, other = rng.choice(where), rng.choice(where)
    start, end = min(at, other), max(at, other)
    flipped, noisy = bytearray(body), bytearray(body)
    flipped[at] ^= 1 << rng.randrange(8)
    for _ in range(rng.choice((1, 2, 5))):
        noisy[rng.choice(where)] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
    noise = rng.randbytes(rng.randrange(1, 20))
    kinds = [bytes(flipped), bytes(noisy), body[:start] + body[end:], body[:start] + noise + body[end:]]
    return rng.choice([*kinds, body[:end] + body[start:], body[:end]])


def files(folder: Path) -> dict[str, tuple]:
    """Good files of each kind: how each is read, and its bytes."""
    network = save_transformer(TransformerNet(ADJUSTABLE), folder / "own.safetensors")
    torch.save(foreign_state(), folder / "foreign.pth")
    torch.save(foreign_state(), folder / "old.pth", _use_new_zipfile_serialization=False)
    save_file(CRITIC, folder / "critic.safetensors", {"mean": "0,0,0", "std": "1,1,1"})
    torch.save(CRITIC, folder / "critic.pth")
    reads = {network.name: load_transformer, "foreign.pth": load_transformer, "old.pth": load_transformer}
    reads |= {"critic.safetensors": critic_of, "critic.pth": critic_of}
    for name, read in reads.items():
        read(folder / name)
    return {name: (read, (folder / name).read_bytes()) for name, read in reads.items()}


def comes_to_nothing_bad(read, path: Path) -> bool:
    """Whether it is refused; if not, then all that was read is finite."""
    try:
        net = read(path)
    except (CheckpointError, WeightsError) as error:
        assert path.name in str(error) and "\n" not in str(error), error
        return True
    assert all(tensor.isfinite().all() for tensor in net.state_dict().values())
    return False


def test_cut_short_anywhere(times, tmp_path, survived):
    rng, count = random.Random(1), 0
    for name, (read, body) in files(tmp_path).items():
        for _ in range(50 * times):
            (tmp_path / name).write_bytes(body[: rng.randrange(len(body))])
            assert comes_to_nothing_bad(read, tmp_path / name)
            count += 1
    survived("weights", "weights file cut short at a random byte", count)


def test_changed_at_random(times, tmp_path, survived):
    rng, before, count = random.Random(2), memory(), 0
    for name, (read, body) in files(tmp_path).items():
        refused = 0
        for _ in range(200 * times):
            (tmp_path / name).write_bytes(mutated(body, rng))
            refused += comes_to_nothing_bad(read, tmp_path / name)
            count += 1
        assert refused > 50
    assert memory() - before < 500e6
    survived("weights", "weights file changed at random", count)


# ── checkpoints ─────────────────────────────────────────────────────────────────────────────────────


def test_a_checkpoint_of_absurd_contents_is_refused(config, checkpoint, survived):
    good = torch.load(checkpoint, weights_only=True)
    name, tensor = next(iter(good["net"].items()))
    moments = good["optimiser"]["state"]

    def with_net(**changes):
        return good | {"net": good["net"] | changes}

    def with_moment(value):
        return good | {"optimiser": good["optimiser"] | {"state": moments | {0: moments[0] | {"exp_avg": value}}}}

    bad = [good | {key: value} for key in ("net", "optimiser", "count", "config") for value in (None, "x", [])]
    bad += [good | {key: {}} for key in ("net", "optimiser", "count")]
    bad += [good | {"count": value} for value in (-1, 1.5, math.nan, torch.ones(3))]
    bad += [good | {"rate_scale": value} for value in (math.nan, math.inf, -1.0, 0.0, "1")]
    bad += [good | {"seconds": value} for value in (math.nan, -1.0, "1")]
    bad += [with_net(**{name: value}) for value in (tensor * math.nan, tensor[:0], tensor[..., None], None, "x")]
    bad += [with_net(surplus=tensor), with_moment(torch.ones(2)), with_moment(moments[0]["exp_avg"] * math.inf)]
    bad += [{key: value for key, value in good.items() if key != left_out} for left_out in ("net", "count", "config")]
    bad += [None, [], 7, "state", tensor]
    for state in bad:
        torch.save(state, checkpoint)
        before = checkpoint.read_bytes()
        with pytest.raises(CheckpointError, match=r"state\.pth: (cannot be read|was made with) .*--checkpoint-dir"):
            Trainer(config)
        assert checkpoint.read_bytes() == before
    torch.save(good, checkpoint)
    assert Trainer(config).count == 2
    survived("checkpoints", "checkpoint with absurd contents", len(bad))


def test_a_checkpoint_changed_at_random(config, checkpoint, times, survived):
    """Refused, or its weights are finite and the run goes on; what it had written stays in any case."""
    rng, body, count, refused = random.Random(3), checkpoint.read_bytes(), 60 * times, 0
    for i in range(count):
        damaged = body[: rng.randrange(len(body))] if i % 3 == 0 else mutated(body, rng)
        checkpoint.write_bytes(damaged)
        try:
            run = Trainer(config)
        except CheckpointError as error:
            assert "state.pth" in str(error) and "\n" not in str(error)
            refused += 1
        else:
            assert all(tensor.isfinite().all() for tensor in run.net.state_dict().values())
        assert checkpoint.read_bytes() == damaged
    assert refused >= count // 3
    survived("checkpoints", "checkpoint cut short or changed at random", count)
