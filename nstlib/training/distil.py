"""Distil a large critic into a compact one: prune by reconstruction, fine-tune, keep the teacher's metric.

Run it with `python -m nstlib.training.distil --photos DIR --teacher FILE --output compact.safetensors`; run the
same command again and it goes on where it stopped.
"""

import json
import math
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
import tyro
from safetensors.torch import save as to_bytes
from torch import Tensor
from tqdm.auto import tqdm

from ..critic.extractor import FeatureExtractor, Preprocessing
from ..critic.losses import gram, relative
from ..errors import ImageError, NstError, say
from ..limits import Count, Natural, Positive, Weight, between, check_fields
from ..pictures.files import endings, read_image, to_tensor
from ..storage import write_aside
from .prune import STUDENT_STD, TAPS, metric_head, prune, second_moments
from .runs import read_checkpoint, save_checkpoint, settings

UNTOLD = {"photos", "styles", "output", "provenance"}  # settings that the student's file does not tell
MAY_CHANGE = {"steps", "save_every"}  # settings that a resumed run may have other values of
Batch = Annotated[int, between(1, 4096)]


@dataclass(frozen=True)
class DistilConfig:
    photos: Path  # folder of photographs to learn from
    teacher: str = "vgg19"  # a VGG-19 weights file, at least its first three blocks; "vgg19" downloads torchvision's
    preprocessing: Literal["oxford", "torchvision"] = "oxford"  # that a teacher file expects
    output: Path = Path("compact.safetensors")  # the student; its checkpoint lies beside it
    styles: Path | None = None  # folder of paintings for the half-stylised pictures; none: the photographs
    widths: tuple[Count, ...] = (16, 32, 64, 72, 128, 112, 88, 88)  # channels kept at each of the eight layers
    steps: Count = 12000  # optimiser steps
    batch_size: Batch = 8  # photographs a step; half as many half-stylised pictures are added
    crop: Annotated[int, between(16, 4096)] = 96  # side of the square crops, pixels
    lr: Positive = 1e-3  # Adam's rate at the start, falling to 0 along a cosine
    gram_weight: Weight = 0.5  # weight of the Gram error against the feature error
    save_every: Count = 200  # steps between checkpoints
    seed: Natural = 0  # of crops, noise and styles
    provenance: str = ""  # stored in the file: where teacher and photographs come from, and their licences
    bfloat16: bool = False  # compute in bfloat16: twice as fast where the processor has it

    def __post_init__(self):
        check_fields(self)
        if len(self.widths) != len(TAPS):
            raise ValueError(
                f"widths={self.widths}: must be {len(TAPS)} whole numbers, one for each of {', '.join(TAPS)}"
            )


class Crops:
    """Random square crops of a folder's pictures, with flips, other sizes, shifted colours and noise."""

    def __init__(self, folder: Path, side: int, rng: random.Random):
        self.files = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in endings())
        if not self.files:
            raise ValueError(f"{folder}: no pictures in this folder")
        self.side, self.rng = side, rng

    def crop(self) -> Tensor:
        """One crop `(1, 3, side, side)`; damaged pictures are skipped, and said."""
        image, rng = None, self.rng
        while image is None:
            if not self.files:
                raise ImageError("no picture left that can be read")
            path = rng.choice(self.files)
            try:
                image = read_image(path).convert("RGB")
            except ImageError as error:
                say(f"{error} Skipped.")
                self.files.remove(path)
        zoom = max(rng.uniform(0.4, 1.0), self.side / min(image.size))
        image = image.resize([max(self.side, round(s * zoom)) for s in image.size], reducing_gap=2)
        x, y = (rng.randint(0, s - self.side) for s in image.size)
        tensor = to_tensor(image.crop((x, y, x + self.side, y + self.side)))
        return tensor.flip(-1) if rng.random() < 0.5 else tensor

    def batch(self, size: int) -> Tensor:
        """`(size, 3, side, side)` in [0, 1], some of them altered."""
        return torch.cat([self.alter(self.crop()) for _ in range(size)])

    def alter(self, x: Tensor) -> Tensor:
        rng = self.rng
        if rng.random() < 0.3:  # colours
            x = x * torch.tensor([rng.uniform(0.6, 1.4) for _ in range(3)]).view(1, 3, 1, 1)
            x = x + torch.tensor([rng.uniform(-0.2, 0.2) for _ in range(3)]).view(1, 3, 1, 1)
        if rng.random() < 0.3:  # noise, fine or coarse
            side = self.side // rng.choice([1, 1, 2, 4])
            noise = torch.randn(1, 3, side, side) * rng.uniform(0.01, 0.25)
            x = x + F.interpolate(noise, size=x.shape[-2:], mode="bilinear")
        return x.clamp(0, 1)


class HalfFinished:
    """A pool of pictures on their way from photograph to style, painted against the student itself.

    An optimiser that follows the student walks into whatever the student does not see; showing the
    teacher's verdict on those very pictures closes the blind spots.
    """

    def __init__(self, photos: Crops, styles: Crops, size: int = 48, life: int = 120):
        self.photos, self.styles, self.life = photos, styles, life
        self.pictures = photos.batch(size)
        self.targets = torch.cat([styles.crop() for _ in range(size)])
        self.ages = [photos.rng.randint(0, life) for _ in range(size)]

    def advance(self, student: FeatureExtractor, count: int) -> Tensor:
        """Move `count` pictures one signed-gradient step towards their styles; returns them."""
        rng = self.photos.rng
        chosen = rng.sample(range(len(self.ages)), count)
        for i in chosen:
            self.ages[i] += 1
            if self.ages[i] > self.life:
                self.pictures[i], self.targets[i] = self.photos.crop()[0], self.styles.crop()[0]
                self.ages[i] = 0
        x = self.pictures[chosen].requires_grad_()
        with torch.no_grad():
            wanted = student(self.targets[chosen])
        loss = sum(gram_error(f, wanted[name]) for name, f in student(x).items())
        (gradient,) = torch.autograd.grad(loss, x)
        with torch.no_grad():
            self.pictures[chosen] = (x - rng.uniform(0.002, 0.03) * gradient.sign()).clamp(0, 1)
        return self.pictures[chosen]


def feature_error(predicted: Tensor, target: Tensor) -> Tensor:
    """1 − R²: squared error over the variance about each channel's mean; both `(B, C, H, W)`."""
    centred = target - target.mean((0, 2, 3), keepdim=True)
    return (predicted - target).square().sum() / centred.square().sum()


def gram_error(predicted: Tensor, target: Tensor) -> Tensor:
    """‖G − A‖² / ‖A‖² of the Gram matrices, mean over the batch."""
    return relative(gram(predicted), gram(target))


def student_of(state: dict[str, Tensor], teacher: FeatureExtractor) -> FeatureExtractor:
    """A student with the given weights, reading pictures by the teacher's mean."""
    return FeatureExtractor.from_state(state, TAPS, Preprocessing(teacher.scaling.mean, (STUDENT_STD,) * 3))


class Distiller:
    """Teaches a pruned student all taps at once; `step(n)` advances, checkpoints make it resumable."""

    def __init__(self, config: DistilConfig):
        self.config, self.rng = config, random.Random(config.seed)
        torch.manual_seed(config.seed)
        self.teacher = FeatureExtractor(
            "vgg19",
            TAPS,
            weights="default" if config.teacher == "vgg19" else config.teacher,
            preprocessing=None if config.teacher == "vgg19" else config.preprocessing,
        )
        self.photos = Crops(config.photos, config.crop, self.rng)
        self.styles = Crops(config.styles or config.photos, config.crop, self.rng)
        self.checkpoint = config.output.with_suffix(".checkpoint.pth")
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        self.count, self.log = 0, []
        saved = self._saved()
        self.student = student_of(saved["student"] if saved else self._first_weights(), self.teacher)
        self.optimiser = torch.optim.Adam(self.student.parameters(), lr=config.lr)
        if saved:
            self._resume(saved)
        self.pool = HalfFinished(self.photos, self.styles)

    @torch.no_grad()
    def _first_weights(self) -> dict[str, Tensor]:
        batches = [second_moments(self.teacher(self.photos.batch(8))) for _ in range(24)]
        moments = {name: torch.stack([b[name] for b in batches]).mean(0) for name in TAPS}
        return prune(self.teacher, moments, self.config.widths)

    def rate(self) -> float:
        """Adam's rate now: 200 steps of warm-up, then a cosine down to 0."""
        progress = min(1.0, self.count / self.config.steps)
        return self.config.lr * min(1.0, (self.count + 1) / 200) * 0.5 * (1 + math.cos(math.pi * progress))

    def step(self, n: int = 1) -> dict[str, float]:
        """Advance `n` steps; returns each tap's 1 − R² on the last batch, before the step."""
        errors: dict[str, Tensor] = {}
        for _ in range(n):
            config = self.config
            for group in self.optimiser.param_groups:
                group["lr"] = self.rate()
            with torch.autocast("cpu", torch.bfloat16, enabled=config.bfloat16):
                half = self.pool.advance(self.student, config.batch_size // 2)
                x = torch.cat([self.photos.batch(config.batch_size), half])
                with torch.no_grad():
                    targets = self.teacher(x)
                predictions = self.student(x)
            pairs = {name: (predictions[name].float(), targets[name].float()) for name in TAPS}
            errors = {name: feature_error(*pair) for name, pair in pairs.items()}
            loss = sum(errors.values()) + config.gram_weight * sum(gram_error(*pair) for pair in pairs.values())
            self.optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
            self.optimiser.step()
            self.count += 1
        return {name: round(error.item(), 4) for name, error in errors.items()}

    def save(self) -> None:
        """Write the checkpoint and the student, each aside and then renamed."""
        state = {"student": self.student.state(), "optimiser": self.optimiser.state_dict()}
        save_checkpoint(self.checkpoint, state | {"count": self.count, "log": self.log}, self._settings())
        export(self.student, self.config.output, self._metadata())

    def _metadata(self) -> dict[str, str]:
        """What a reader of the file should know of its making, without folders of this machine."""
        told = json.dumps(self._settings())
        return {"steps": str(self.count), "settings": told, "provenance": self.config.provenance}

    def _settings(self) -> dict:
        told = {k: v for k, v in settings(self.config).items() if k not in UNTOLD}
        return told | {"teacher": Path(self.config.teacher).name}

    def _saved(self) -> dict | None:
        """The checkpoint, if there is one."""
        if not self.checkpoint.exists():
            return None
        return read_checkpoint(self.checkpoint, self._settings(), MAY_CHANGE, "--output")

    def _resume(self, saved: dict) -> None:
        self.optimiser.load_state_dict(saved["optimiser"])
        self.count, self.log = saved["count"], saved["log"]
        self.rng.seed(f"{self.config.seed} {self.count}")
        torch.manual_seed(self.config.seed + self.count)


def export(student: FeatureExtractor, path: Path, metadata: dict[str, str]) -> None:
    """Save the student in float16 with heads reduced to R, atomically, settings in the metadata."""
    state = student.state()
    for name in TAPS:
        key = f"heads.{name}.weight"
        state[key] = metric_head(state[key].flatten(1))[:, :, None, None]
    mean, std = (",".join(map(str, values)) for values in (student.scaling.mean, student.scaling.std))
    tensors = {name: t.half().contiguous() for name, t in state.items()}
    with write_aside(path) as aside:
        aside.write_bytes(to_bytes(tensors, {"architecture": "vgg19", "mean": mean, "std": std, **metadata}))


def distil(config: DistilConfig) -> Path:
    """Distil to `config.output`, going on from its checkpoint if there is one."""
    run = Distiller(config)
    bar = tqdm(total=config.steps, initial=run.count, desc="distilling", mininterval=2)
    try:
        while run.count < config.steps:
            n = min(20, config.steps - run.count)
            errors = run.step(n)
            run.log.append({"step": run.count, **errors})
            bar.update(n)
            bar.set_postfix(mean_error=sum(errors.values()) / len(errors))
            if run.count % config.save_every < n:
                run.save()
    finally:  # Ctrl-C too leaves a usable student
        run.save()
        bar.close()
    return config.output


if __name__ == "__main__":
    try:
        print(distil(tyro.cli(DistilConfig)))
    except (NstError, ValueError) as problem:
        sys.exit(f"nstlib.training.distil: {problem}")
