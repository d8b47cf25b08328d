"""Runs that are killed, doubled, or have no room to write: nothing is half written, nothing is lost."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from PIL import Image

from nstlib.painting.models import load_transformer
from nstlib.pictures.samples import open_image
from nstlib.screen import cli
from nstlib.training import runs
from nstlib.training.trainer import Trainer

REPOSITORY = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
ENVIRONMENT["PYTHONPATH"] = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
resource = pytest.importorskip("resource", reason="signals and limits of POSIX")


def training(photos: Path, folder: Path) -> list[str]:
    """A run of a dozen steps, with four checkpoints, into a folder."""
    flags = {"dataset": photos, "style": photos / "0.png", "save-model": folder / "net.safetensors", "steps": 12}
    flags |= {"batch-size": 1, "image-size": 32, "style-size": 32, "style-scales": 1.0, "width": 4}
    flags |= {"residual-blocks": 1, "log-every": 2, "checkpoint-every": 3, "precision": "no", "workers": 0}
    flags |= {"backbone": "compact", "device": "cpu"}
    return ["train", *(part for name, value in flags.items() for part in (f"--{name}", str(value)))]


def painting(photos: Path, output: Path) -> list[str]:
    """A painting of 2 × 20 steps."""
    flags = ["--size", "32", "--smallest", "20", "--steps", "20", "--backbone", "compact", "--device", "cpu"]
    flags += ["--style-scales", "1.0"]
    return ["stylize", str(photos / "1.png"), "--style", str(photos / "0.png"), *flags, "--output", str(output)]


class Victims:
    """Starts runs of `nst` within milliseconds, and has them killed; see warm.py."""

    def __init__(self, photos: Path, folder: Path):
        runs = [training(photos, folder / "warm"), painting(photos, folder / "warm.png")]
        command = [sys.executable, str(Path(__file__).with_name("warm.py")), json.dumps(runs)]
        pipe, self.output = subprocess.PIPE, folder / "output.txt"
        self.process = subprocess.Popen(
            command, env=ENVIRONMENT, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
        )
        self.run(["samples"])  # answered when it is warm

    def run(self, arguments: list[str], **when) -> int:
        """The exit status of a run, killed at the moment given; negative where it was."""
        order = {"arguments": arguments, "output": str(self.output)} | when
        print(json.dumps(order), file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def finish(self, arguments: list[str]) -> None:
        """A run that nobody kills; it must end well."""
        assert self.run(arguments) == 0, self.output.read_text()


@pytest.fixture(scope="module")
def victims(photos, tmp_path_factory):
    victims = Victims(photos, tmp_path_factory.mktemp("victims"))
    yield victims
    victims.process.communicate()


def check_training(folder: Path) -> None:
    """Whatever is there under its final name is whole."""
    state, model = folder / "net" / "state.pth", folder / "net.safetensors"
    step = torch.load(state, weights_only=True)["count"] if state.exists() else 0
    if model.exists() or step:
        assert load_transformer(model).card["steps"] >= step  # it is written before the checkpoint
    for sheet in folder.glob("net/samples/[!.]*"):
        open_image(sheet)
    log = folder / "net" / "log.jsonl"
    for line in log.read_text().split("\n")[:-1] if log.exists() else ():  # the last may be cut short
        json.loads(line)


def result(folder: Path) -> dict:
    """All that a finished run leaves, without what its hours on the clock are."""
    state = torch.load(folder / "net" / "state.pth", weights_only=True)
    lines = map(json.loads, (folder / "net" / "log.jsonl").read_text().splitlines())
    tensors = {name: tensor.tolist() for name, tensor in state["net"].items()}
    moments = {key: [t.tolist() for t in value.values()] for key, value in state["optimiser"]["state"].items()}
    log = [{name: value for name, value in line.items() if name != "pictures_per_second"} for line in lines]
    files = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    sheets = {path.name: path.read_bytes() for path in folder.glob("net/samples/*")}
    model = {name: t.tolist() for name, t in load_transformer(folder / "net.safetensors").state_dict().items()}
    return {"net": tensors, "optimiser": moments, "log": log, "files": files, "sheets": sheets, "model": model}


@dataclass
class Extent:
    """How long a run is in each of the three ways in which the moment to kill it is drawn."""

    seconds: float
    operations: int  # on files
    bytes: int  # of its largest file

    def moment(self, what: str, rng: random.Random, folder: Path) -> dict:
        """When to kill it, as warm.py wants to be told."""
        if what == "at a random moment":
            return {"seconds": rng.uniform(0, self.seconds)}
        if what == "between two operations on files":
            return {"operation": (rng.randint(1, self.operations), str(folder))}
        return {"bytes": rng.randint(1, self.bytes)}


KILLS = ["at a random moment", "in the middle of a write", "at a random moment", "between two operations on files"] * 15
KILLED = (-signal.SIGKILL, -signal.SIGXFSZ)


def timed(victims: Victims, arguments: list[str]) -> float:
    """Seconds that a run takes, with all of Python's and torch's caches warm."""
    start = time.perf_counter()
    victims.finish(arguments)
    return time.perf_counter() - start


def test_a_training_killed_again_and_again_ends_as_if_it_had_not(photos, victims, tmp_path, survived, times):
    rng, left, counts, resumed = random.Random(6), KILLS * times, Counter(), 0
    victims.finish(training(photos, tmp_path / "whole"))
    expected, seconds = result(tmp_path / "whole"), timed(victims, training(photos, tmp_path / "again"))
    extent = Extent(seconds, 90, (tmp_path / "whole" / "net" / "state.pth").stat().st_size)
    status, folder = 0, tmp_path / "0"
    while left or status:
        when = extent.moment(left[-1], rng, folder) if left else {}
        status = victims.run(training(photos, folder), **when)
        check_training(folder)
        if status:
            assert status in KILLED, victims.output.read_text()
            counts[left.pop()] += 1
        else:
            assert result(folder) == expected
            resumed, folder = resumed + 1, tmp_path / str(resumed + 1)
    for what, count in counts.items():
        survived("interrupted work", f"a training killed {what}", count)
    survived("interrupted work", "a killed training that went on and ended bit for bit as one left alone", resumed)


def test_a_painting_killed_leaves_the_picture_before_it_or_a_whole_one(photos, victims, tmp_path, survived, times):
    rng, output, counts = random.Random(7), tmp_path / "out" / "painted.png", Counter()
    output.parent.mkdir()
    seconds = timed(victims, painting(photos, output))
    whole, extent = open_image(output).tobytes(), Extent(seconds, 7, output.stat().st_size)
    left = KILLS * times
    while left:
        what, older = left[-1], rng.random() < 0.5
        output.unlink(missing_ok=True)
        if older:
            Image.new("RGB", (32, 29), "red").save(output)
        before = output.read_bytes() if older else None
        status = victims.run(painting(photos, output), **extent.moment(what, rng, output.parent))
        if output.exists() and output.read_bytes() != before:
            assert open_image(output).tobytes() == whole
        else:
            assert output.exists() == older
        if status:
            assert status in KILLED, victims.output.read_text()
            counts[left.pop()] += 1
    for what, count in counts.items():
        survived("interrupted work", f"a painting killed {what}", count)


def test_leftovers_of_killed_paintings_go_after_an_hour(photos, victims, tmp_path):
    output = tmp_path / "out" / "painted.png"
    output.parent.mkdir()
    while not list(output.parent.glob(".*")):
        victims.run(painting(photos, output), bytes=500)
    victims.finish(painting(photos, output))
    (part,) = output.parent.glob(".*")  # it might be another one's, at work right now
    os.utime(part, (0, 0))
    (output.parent / ".painted-notes.part.txt").touch()
    victims.finish(painting(photos, output))
    assert {path.name for path in output.parent.iterdir()} == {"painted.png", ".painted-notes.part.txt"}


def test_a_killed_film_goes_on(photos, victims, tmp_path, survived, times):
    pytest.importorskip("cv2")
    rng, count = random.Random(10), 0
    (tmp_path / "frames").mkdir()
    for i in range(5):
        Image.open(photos / f"{i}.png").resize((48, 40)).save(tmp_path / "frames" / f"{i}.png")
    arguments = ["paint", str(tmp_path / "frames"), "--model", "woodblock", "--device", "cpu", "--output"]
    victims.finish([*arguments, str(tmp_path / "whole.gif")])
    while count < 10 * times:
        film = tmp_path / f"film{count}.gif"
        while status := victims.run([*arguments, str(film)], operation=(rng.randint(1, 40), str(tmp_path / ".film"))):
            assert status in KILLED, victims.output.read_text()
            count += 1
        assert film.read_bytes() == (tmp_path / "whole.gif").read_bytes()
        film.unlink()
        assert not list(tmp_path.glob(".film*"))
    survived("interrupted work", "a film killed between two operations on files, and gone on with", count)


# ── two runs, one folder ────────────────────────────────────────────────────────────────────────────


def logged(folder: Path) -> int:
    """How many lines a training's log has."""
    path = folder / "net" / "log.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def say(arguments: list[str], capsys) -> tuple[int, str]:
    """The exit status of `nst` in this process, and what it says on stderr but for progress bars."""
    capsys.readouterr()
    try:
        cli.main(arguments)
        status = 0
    except SystemExit as end:
        status = end.code
    lines = re.split("[\r\n]", capsys.readouterr().err)
    return status, "\n".join(line for line in lines if line.strip() and not re.match(r"\w+: +\d+%", line))


def test_a_second_training_is_refused_until_the_first_is_killed(photos, victims, tmp_path, capsys, survived):
    """By the installed command, with readers of photographs that outlive their run for a while."""
    ever = [*training(photos, tmp_path), "--steps", "100000", "--workers", "2"]
    command = [sys.executable, "-m", "nstlib.screen.cli", *ever]
    first = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while first.poll() is None and logged(tmp_path) < 3:
        time.sleep(0.01)
    for _ in range(3):
        lines = logged(tmp_path)
        status, said = say(ever, capsys)
        assert status == 2 and re.fullmatch(r"nst: \S+net: another process trains in this folder\. Wait .*", said)
        assert logged(tmp_path) >= lines  # the first one's log is not cut to its last checkpoint
    first.kill()
    first.wait()
    check_training(tmp_path)
    step = torch.load(tmp_path / "net" / "state.pth", weights_only=True)["count"]
    victims.finish([*ever, "--steps", str(step + 3)])
    survived("interrupted work", "a second training in the same folder", 3)


@pytest.mark.parametrize("end", ["interrupted", "refused", "finished"])
def test_a_notebook_lets_go_of_the_folder_when_its_training_ends(photos, victims, tmp_path, monkeypatch, end, survived):
    arguments, count = training(photos, tmp_path), 0
    advance = Trainer.advance

    def watched(self):
        nonlocal count
        count += 1
        if count == 5:
            assert victims.run(arguments) == 2 and "another process" in victims.output.read_text()
            if end == "interrupted":
                raise KeyboardInterrupt
        advance(self)

    monkeypatch.setattr(Trainer, "advance", watched)
    try:
        cli.main(arguments)
        cli.main([*arguments, *(["--lr", "1"] if end == "refused" else [])])
    except SystemExit as stop:
        assert stop.code == {"interrupted": 130, "refused": 2}[end]
    victims.finish(arguments)
    cli.main(arguments)
    assert count >= 5
    survived("interrupted work", "a second training in the same folder", 1)


# ── no room, no permission ──────────────────────────────────────────────────────────────────────────


class Limit:
    """No file may grow beyond some bytes; for all who run POSIX."""

    def __init__(self, folder: Path):
        self.folder = folder

    def fill(self, left: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (left, resource.RLIM_INFINITY))

    def empty(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def lock(self, how: str) -> None:
        if os.geteuid() == 0:
            pytest.skip("root may write where it is forbidden")
        for folder in (self.folder, *(path for path in self.folder.rglob("*") if path.is_dir())):
            folder.chmod({"ro": 0o555, "rw": 0o755}[how])


class Disk:
    """A disk of 4 MB that can be filled; for root, who may mount one."""

    def __init__(self, folder: Path):
        self.folder = folder
        mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", folder], capture_output=True)
        if mount.returncode:
            pytest.skip("only root may mount a disk")

    def fill(self, left: int) -> None:
        with open(self.folder / "ballast", "wb") as file:
            file.write(bytes(max(0, shutil.disk_usage(self.folder).free - left)))

    def empty(self) -> None:
        (self.folder / "ballast").unlink(missing_ok=True)

    def lock(self, how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", self.folder], check=True)


@pytest.fixture(params=[Limit, Disk])
def disk(request, tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    disk = request.param(folder)
    yield disk
    disk.empty()
    if request.param is Disk:
        subprocess.run(["umount", folder], check=True)


def test_a_training_on_a_full_disk_stops_with_a_line_and_goes_on_later(
    photos, victims, disk, tmp_path, capsys, monkeypatch, survived, times
):
    rng, write_log, stopped = random.Random(8), runs.write_log, 0
    victims.finish(training(photos, tmp_path / "whole"))
    expected = result(tmp_path / "whole")
    monkeypatch.setattr(runs, "VALIDATION", ("cat",))
    monkeypatch.setattr(runs, "HEIGHT", 64)  # as in warm.py
    for _ in range(8 * times):
        folder, at, left = disk.folder / "run", rng.choice([2, 3, 6, 8, 9, 12]), rng.randint(1, 150_000)

        def fill(folder, state, lr, at=at, left=left):
            if state.step == at:
                disk.fill(left)
            write_log(folder, state, lr)

        with monkeypatch.context() as patch:
            patch.setattr(runs, "write_log", fill)
            status, said = say(training(photos, folder), capsys)
        disk.empty()
        check_training(folder)
        assert not [path for path in folder.rglob(".*") if path.name != ".lock"]
        if status:
            assert status == 2 and re.fullmatch(
                r"nst: \S+: cannot be written \(.*\)\. Is the folder .* not full\?", said
            )
            stopped += 1
        victims.finish(training(photos, folder))
        assert result(folder) == expected
        shutil.rmtree(folder)
    assert stopped > 4
    survived("interrupted work", "a full disk while a training writes", stopped)


def test_a_painting_on_a_full_disk(photos, disk, tmp_path, capsys, survived, times):
    rng, output = random.Random(9), disk.folder / "painted.png"
    Image.new("RGB", (32, 29), "red").save(output)
    before = output.read_bytes()
    for _ in range(5 * times):
        disk.fill(rng.randint(1, 2000))  # on a disk, that is less than a block
        status, said = say(painting(photos, output), capsys)
        disk.empty()
        assert (status, said.count("\n")) == (2, 0) and said.startswith(f"nst: {output}: cannot be written (")
        assert output.read_bytes() == before and len(list(disk.folder.iterdir())) == 1
    survived("interrupted work", "a full disk while a painting is written", 5 * times)


def test_a_read_only_folder(photos, victims, disk, tmp_path, capsys, monkeypatch, survived):
    """Refused before any work; what is there can still be read."""
    run, picture, other = disk.folder / "run", disk.folder / "painted.png", tmp_path / "elsewhere"
    victims.finish([*training(photos, run), "--steps", "6"])
    victims.finish(painting(photos, picture))
    whole = picture.read_bytes()
    disk.lock("ro")
    monkeypatch.setattr(Trainer, "advance", None)
    monkeypatch.setattr(cli, "stylize", None)
    refused = [
        (painting(photos, picture), picture),
        ([*training(photos, run), "--steps", "6"], run / "net"),
        (training(photos, disk.folder / "new"), disk.folder / "new" / "net"),
        ([*training(photos, run), "--checkpoint-dir", str(other)], run / "net.safetensors"),
        ([*training(photos, other), "--checkpoint-dir", str(run / "net")], run / "net"),
    ]
    said = [say(arguments, capsys) for arguments, _ in refused]
    check_training(run)
    disk.lock("rw")
    for (status, line), (_, path) in zip(said, refused, strict=True):
        assert (status, line.count("\n")) == (2, 0) and line.startswith(f"nst: {path}: cannot be written"), line
    assert picture.read_bytes() == whole
    victims.finish([*training(photos, run), "--steps", "6"])
    survived("interrupted work", "an output folder that is read-only", len(refused))
