"""Measure the compact critic against its teacher on pictures neither was fitted to; writes nstlib/figures/critic/.

    python tests/benchmarks/critic_quality.py --teacher vgg19.safetensors --student compact.checkpoint.pth \\
        --pictures DIR [DIR ...] --photos DIR

Each measurement is a function below: errors of features and Gram matrices, the spectrum of the teacher's layers,
the trade-off between width, error and time (its short trainings resume), the swap test (Gatys run on one critic,
judged by the other) with the agreement on which of two pictures has the lower style loss, and the speed. With
`--only tradeoff` the rest stays as it was measured before.
"""

import json
import random
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
import tyro
from measure import in_own_process, machine
from safetensors.torch import save_file

from nstlib import FeatureExtractor, GatysConfig, GatysPainter, PerceptualLoss, load_image, resize
from nstlib.critic.extractor import BUNDLED
from nstlib.painting.stylize import pyramid
from nstlib.pictures.files import endings
from nstlib.pictures.pixels import scale_to_long_side
from nstlib.screen.plots import sheet
from nstlib.storage import read_weights, write_aside
from nstlib.training.distil import Crops, DistilConfig, Distiller, distil, feature_error, gram_error, student_of
from nstlib.training.prune import TAPS, choose_channels, prune, reconstruction, second_moments

CONTENTS = ("astronaut", "cat", "coffee", "rocket", "motorcycle")
STYLES = ("swirl", "stained_glass", "woodblock", "watercolour")
LAYERS = {"content_layers": ("relu3_2",), "style_layers": ("relu1_1", "relu2_1", "relu3_1", "relu3_4")}
DATA = Path(__file__).parents[2] / "nstlib" / "figures" / "critic"


@dataclass(frozen=True)
class Settings:
    teacher: Path  # VGG-19's first three blocks, Oxford preprocessing
    pictures: tuple[Path, ...]  # folders of test pictures
    photos: Path  # training photographs, for the trade-off curve
    student: Path | None = None  # the checkpoint that nstlib.distil leaves beside its output, for its errors
    styles: Path | None = None  # paintings for its half-finished pictures, as in `nstlib.distil`
    work: Path = Path("runs/tradeoff")  # folder of its students and their checkpoints
    distil_steps: int = 600  # that each of them learns
    only: tuple[Literal["errors", "spectrum", "speed", "tradeoff", "swap"], ...] = ()  # none: all of it
    size: int = 224  # long side of the swap test's paintings
    steps: int = 60  # at each of its sizes
    output: Path = DATA  # folder of the results


def critic(settings: Settings | None, layers=TAPS) -> FeatureExtractor:
    """The teacher, or without settings the compact critic."""
    if settings:
        return FeatureExtractor("vgg19", layers, weights=settings.teacher, preprocessing="oxford")
    return FeatureExtractor("compact", layers, weights="default")


def test_pictures(settings: Settings) -> list[torch.Tensor]:
    files = sorted(f for folder in settings.pictures for f in folder.iterdir() if f.suffix in endings())
    return [load_image(f, 384) for f in files if not f.name.startswith("hard_")]


@torch.no_grad()
def errors(settings: Settings) -> dict:
    """1 − R² of the teacher's features W s, and ‖G − A‖²/‖A‖² of their Gram matrices, at each tap.

    W is the full head of the distilled network, from its checkpoint: the shipped file holds R of W = QR, which
    measures the same distances. Mean over the pictures.
    """
    teacher, pictures = critic(settings), test_pictures(settings)
    saved = torch.load(settings.student, weights_only=True)
    student = student_of(saved["student"], teacher)
    rows = []
    for picture in pictures:
        wanted, found = teacher(picture), student(picture)
        rows.append(
            {n: (feature_error(found[n], wanted[n]).item(), gram_error(found[n], wanted[n]).item()) for n in TAPS}
        )
    log = json.loads(saved["log"])[::10]
    return {
        "pictures": len(pictures),
        "feature": {name: round(statistics.mean(row[name][0] for row in rows), 4) for name in TAPS},
        "gram": {name: round(statistics.mean(row[name][1] for row in rows), 4) for name in TAPS},
        "log": [[entry["step"], round(statistics.mean(entry[name] for name in TAPS), 4)] for entry in log],
    }


@torch.no_grad()
def spectrum(settings: Settings) -> dict:
    """Share of a layer's energy that K channels leave unexplained: the best K directions, the greedy choice, chance."""
    teacher, result, rng = critic(settings), {}, random.Random(0)
    moments = [second_moments(teacher(picture)) for picture in test_pictures(settings)]
    for name in ("relu1_1", "relu2_2", "relu3_4"):
        moment = torch.stack([m[name] for m in moments]).mean(0)
        total, values = moment.trace(), torch.linalg.eigvalsh(moment).flip(0)
        counts = [
            round(len(moment) * share) for share in (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.375, 0.5, 0.625, 0.75, 0.9)
        ]
        curves = {"best": [(values[k:].sum() / total).item() for k in counts]}
        curves["greedy"] = [unexplained(moment, choose_channels(moment, k)) for k in counts]
        curves["random"] = [unexplained(moment, rng.sample(range(len(moment)), k)) for k in counts]
        result[name] = {"counts": counts} | {who: [round(v, 5) for v in values] for who, values in curves.items()}
    return result


def unexplained(moment, kept) -> float:
    """Energy that a least-squares reconstruction from the kept channels leaves over."""
    return ((moment - reconstruction(moment, kept) @ moment[kept]).trace() / moment.trace()).item()


def paint(loss: PerceptualLoss, content: str, style: str, config: GatysConfig) -> dict:
    """A painting coarse to fine; the pictures of the last size on the way, the last one being the result."""
    photo, model = load_image(content, config.size), load_image(style)
    image, snapshots = photo, []
    for side in pyramid(max(photo.shape[-2:])):
        shape = scale_to_long_side(tuple(photo.shape[-2:]), side)
        painter = GatysPainter(
            resize(photo, shape), [resize(model, side)], config, image=resize(image, shape), loss=loss
        )
        image = painter.step(config.steps // 8).image
        snapshots = [image]
        for _ in range(3):
            image = painter.step((config.steps - config.steps // 8) // 3).image
            snapshots.append(image)
    return {"image": image, "snapshots": snapshots, "photo": photo, "style": resize(model, max(photo.shape[-2:]))}


@torch.no_grad()
def judge(loss: PerceptualLoss, config: GatysConfig, run: dict, image) -> dict[str, float]:
    """What a critic says of a picture, at the usual weights."""
    loss.configure(config)
    loss.set_content(run["photo"])
    loss.set_styles([run["style"]])
    return {name: value.item() for name, value in loss(image).items()}


def swap(settings: Settings) -> dict:
    """Gatys on the compact critic and on the teacher, both judged by the teacher; and the rank agreement."""
    config = GatysConfig(size=settings.size, device="cpu", backbone="compact", **LAYERS)
    names = tuple(dict.fromkeys((*LAYERS["style_layers"], *LAYERS["content_layers"])))
    losses = {
        "teacher": PerceptualLoss(config, critic(settings, names)),
        "compact": PerceptualLoss(config, critic(None, names)),
    }
    rng, rows, tiles, agreed = random.Random(0), [], [], {False: [], True: []}  # pairs of one painter, of two
    for content in CONTENTS:
        for style in STYLES:
            runs = {
                who: paint(loss, content, style, replace(config, steps=settings.steps)) for who, loss in losses.items()
            }
            light = replace(config, steps=settings.steps // 2, style_weight=20.0)
            losses["compact"].configure(light)
            paintings = (*runs.values(), paint(losses["compact"], content, style, light))
            pool = [picture for painting in paintings for picture in painting["snapshots"]]
            run = runs["teacher"]
            verdicts = {who: [judge(loss, config, run, x)["style"] for x in pool] for who, loss in losses.items()}
            painter = [0] * 4 + [1] * 8  # who painted: the teacher, the compact critic (at two weights)
            pairs = [(a, b) for a in range(12) for b in range(a)]
            for mixed, tally in agreed.items():
                for a, b in rng.sample([p for p in pairs if (painter[p[0]] != painter[p[1]]) == mixed], 10):
                    first = {who: verdict[a] < verdict[b] for who, verdict in verdicts.items()}
                    tally.append(first["teacher"] == first["compact"])
            own, swapped = (judge(losses["teacher"], config, run, runs[who]["image"]) for who in ("teacher", "compact"))
            start = judge(losses["teacher"], config, run, run["photo"])
            rows.append({"content": content, "style": style, "start": start, "teacher": own, "compact": swapped})
            print(
                json.dumps(rows[-1]),
                f"agree {sum(agreed[False])}, {sum(agreed[True])} of {len(agreed[False])}",
                flush=True,
            )
            if CONTENTS.index(content) % 4 == STYLES.index(style):
                tiles.append((f"{content} × {style}", runs["teacher"]["image"], runs["compact"]["image"]))
    pictures = [x for column in (1, 2) for x in [tile[column] for tile in tiles]]
    titles = [f"{tile[0]}: {who}" for who in ("VGG-19", "compact") for tile in tiles]
    sheet(pictures, titles, len(tiles), 230).save(settings.output / "swap.jpg", quality=88)
    ratios = [row["compact"]["total"] / row["teacher"]["total"] for row in rows]
    return {
        "size": settings.size, "steps": settings.steps, "pairs": len(agreed[False]),
        "agreed": sum(agreed[False]), "agreed_mixed": sum(agreed[True]),
        "ratio_median": round(statistics.median(ratios), 3), "ratio_mean": round(statistics.mean(ratios), 3),
        "ratio_max": round(max(ratios), 3), "rows": rows,
    }  # fmt: skip


def tradeoff(settings: Settings) -> list[dict]:
    """Width against error and time: after pruning alone, and after the same short distillation at each width."""
    teacher, rng = critic(settings), random.Random(0)
    crops = Crops(settings.photos, 128, rng)
    with torch.no_grad():
        batches = [second_moments(teacher(crops.batch(8))) for _ in range(12)]
        moments = {name: torch.stack([b[name] for b in batches]).mean(0) for name in TAPS}
        unseen = torch.cat(
            [load_image(f, 256)[..., :160, :160] for f in sorted(settings.pictures[-1].glob("*.png"))[:8]]
        )
        wanted = teacher(unseen)
    full, rows = (64, 64, 128, 128, 256, 256, 256, 256), []
    shipped = tuple(conv.weight.shape[0] for conv in critic(None).convs.values())
    for label, widths in [(f"{w:.0%}", tuple(round(w * c) for c in full)) for w in (0.25, 0.375, 0.5)] + [
        ("shipped", shipped)
    ]:
        pruned, learned = student_of(prune(teacher, moments, widths), teacher), student(settings, label, widths)
        with torch.no_grad():
            before, after = (
                statistics.mean(feature_error(found[n], wanted[n]).item() for n in TAPS)
                for found in (pruned(unseen), learned(unseen))
            )
        rows.append({
            "width": label, "parameters": sum(c.weight.numel() + c.bias.numel() for c in pruned.convs.values()),
            "error": round(before, 4), "distilled": round(after, 4), "seconds": step_seconds(without_heads(pruned)),
        })  # fmt: skip
        print(rows[-1], flush=True)
    rows.append({
        "width": "teacher", "parameters": 2325568, "error": 0.0, "distilled": 0.0, "seconds": step_seconds(teacher)
    })  # fmt: skip
    return rows


def student(settings: Settings, label: str, widths: tuple[int, ...]) -> FeatureExtractor:
    """A student of these widths after `distil_steps`, with its full heads; goes on from its checkpoint."""
    config = DistilConfig(
        settings.photos, str(settings.teacher), output=settings.work / f"{label.strip('%')}.safetensors",
        styles=settings.styles, widths=widths, steps=settings.distil_steps, bfloat16=True,
    )  # fmt: skip
    distil(config)
    return Distiller(config).student


def without_heads(student: FeatureExtractor) -> FeatureExtractor:
    """The convolutions alone: heads act on Gram matrices, which costs next to nothing."""
    convolutions = {name: tensor for name, tensor in student.state().items() if not name.startswith("heads")}
    return FeatureExtractor.from_state(convolutions, TAPS, student.scaling).requires_grad_(False)


def step_seconds(extractor: FeatureExtractor) -> float:
    """Median seconds of forward and backward through the convolutions at 512×384."""
    image, times = torch.rand(1, 3, 384, 512, requires_grad=True), []
    for _ in range(5):
        start = time.perf_counter()
        sum(f.square().mean() for f in extractor(image).values()).backward()
        times.append(time.perf_counter() - start)
    return round(statistics.median(times), 4)


def record(result: dict) -> None:
    """Write the measured errors into the metadata of the bundled critic."""
    path = BUNDLED / "compact.safetensors"
    tensors, metadata = read_weights(path)
    with write_aside(path) as aside:
        save_file(
            tensors, aside, metadata | {"errors": json.dumps({k: result["errors"][k] for k in ("feature", "gram")})}
        )


def speed(_: Settings) -> dict:
    """Seconds and memory of a step of painting on either critic."""
    code = str(Path(__file__).with_name("test_critic_speed.py"))
    memory = {who: round(in_own_process(code, "memory", 512, who)) for who in ("compact", "vgg19")}
    return {"seconds": in_own_process(code, "times", 512), "mib": memory}


def main(settings: Settings) -> None:
    """Measure; write `results.json`, the contact sheet, and the errors into the critic's metadata."""
    measures = [
        m for m in (errors, spectrum, speed, tradeoff, swap) if not settings.only or m.__name__ in settings.only
    ]
    if errors in measures and settings.student is None:
        raise SystemExit("--student: the errors need the checkpoint with the full heads; or say --only tradeoff …")
    settings.output.mkdir(parents=True, exist_ok=True)
    path = settings.output / "results.json"
    sizes = {"machine": machine(), "bytes": (BUNDLED / "compact.safetensors").stat().st_size}
    result = json.loads(path.read_text()) if settings.only else sizes
    for measure in measures:
        torch.manual_seed(0)
        result[measure.__name__] = measure(settings)
        print(f"{measure.__name__}: done", flush=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    if errors in measures:
        record(result)


if __name__ == "__main__":
    main(tyro.cli(Settings))
