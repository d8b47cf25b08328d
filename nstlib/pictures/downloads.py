"""Downloads: over https, checked by SHA-256, gone on with where they broke off; COCO."""

import os
import threading
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

from tqdm.auto import tqdm

from ..errors import ImageError, reason
from ..limits import checked
from ..storage import hold, let_go


def cache_folder() -> Path:
    """Where downloads are kept: `$NSTLIB_CACHE`, or the system's cache folder."""
    import pooch  # only here and in fetch: training runs on machines without it

    return Path(os.environ.get("NSTLIB_CACHE") or pooch.os_cache("nstlib"))


def stay_https(answer, **options) -> None:
    """For `requests`, a hook: a host that sends us on to plain http, or to a file, is not followed."""
    if urlsplit(answer.headers.get("Location", "")).scheme not in ("", "https"):
        answer.close()
        raise OSError(f"{answer.url} sends us on to an address without https")


COCO = "https://s3.amazonaws.com/images.cocodataset.org/zips/"  # the official bucket, by its https name
COCO_SPLITS = {  # SHA-256, as in TensorFlow Datasets; 5,000, 82,783 (what Johnson et al. used), 118,287 photographs
    "val2017": "4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
    "train2014": "ede4087e640bddba550e090eae701092534b554b42b05ac33f0300b984b31775",
    "train2017": "69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929",
}


@checked
def fetch_coco(split: str, folder: str | Path = "photos") -> Path:
    """Download and unpack the photographs of COCO (Lin et al. 2014), going on with a broken download.

    Args:
        split: `"val2017"` (0.8 GB), `"train2014"` (13 GB) or `"train2017"` (18 GB).
        folder: the photographs come into a folder of the split's name in it.

    Returns:
        The folder with the photographs.

    Raises:
        ValueError: an unknown split.
        ImageError: it cannot be downloaded, or what came is not what was published: run again to go on; or another
            process is at it.
    """
    if split not in COCO_SPLITS:
        raise ValueError(f"split={split!r}: choose {', '.join(COCO_SPLITS)}")
    folder = Path(folder)
    if (folder / split).is_dir():
        return folder / split
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not hold(folder, threading.current_thread()):
            raise ImageError(f"{folder}: another process is getting photographs into it. Wait for its end.")
        if not (folder / split).is_dir():  # another process may have been quicker
            archive = _download(f"{COCO}{split}.zip", folder / f"{split}.zip", COCO_SPLITS[split])
            _unpack(archive, folder, split)
            archive.unlink()
    except OSError as error:
        raise ImageError(f"{folder}: cannot be written into ({reason(error)}). Choose another folder.") from error
    finally:
        let_go(folder, threading.current_thread())
    return folder / split


def _download(address: str, path: Path, sha256: str) -> Path:
    """Fetch to `path`.part, from where it ends if it is there; renamed once its checksum is right."""
    import pooch  # only here: training runs on machines without it
    import requests  # comes with pooch

    part = path.with_name(path.name + ".part")
    have = part.stat().st_size if part.exists() else 0
    if path.exists() and pooch.file_hash(path) == sha256:
        return path
    headers = {"Range": f"bytes={have}-", "Accept-Encoding": "identity"}
    try:
        with requests.get(address, headers=headers, stream=True, timeout=30, hooks={"response": stay_https}) as answer:
            if answer.status_code != 416:  # 416: there is no more, the part is whole
                answer.raise_for_status()
                _append(answer, part, have if answer.status_code == 206 else 0)
    except (requests.RequestException, OSError, ValueError) as error:
        raise ImageError(
            f"{address}: the download broke off ({reason(error)}). Run the same command again: it goes on from there."
        ) from error
    if not part.exists() or pooch.file_hash(part) != sha256:
        part.unlink(missing_ok=True)
        raise ImageError(f"{address}: what came has a wrong checksum and was removed. Run the same command again.")
    return part.replace(path)


def _append(answer, part: Path, have: int) -> None:
    total = have + int(answer.headers.get("Content-Length", 0))
    with (
        open(part, "ab" if have else "wb") as file,
        tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=part.stem) as bar,
    ):
        for chunk in answer.iter_content(1 << 16):  # what a broken connection costs at most
            file.write(chunk)
            bar.update(len(chunk))
    if total and part.stat().st_size < total:
        raise OSError(f"{part.stat().st_size:,} of {total:,} bytes came")


def _unpack(archive: Path, folder: Path, split: str) -> None:
    """Unpack aside and rename, so that a folder of the split's name is always whole."""
    aside = folder / f".{split}.part"
    try:
        with zipfile.ZipFile(archive) as pictures:
            names = [n for n in pictures.namelist() if n.startswith(f"{split}/") and Path(n).suffix == ".jpg"]
            for name in tqdm(names, desc=f"unpacking {split}", delay=1):
                pictures.extract(name, aside)  # zipfile takes `..` and leading slashes out of names
        (aside / split).replace(folder / split)
        aside.rmdir()
    except (zipfile.BadZipFile, OSError) as error:
        raise ImageError(f"{archive}: cannot be unpacked ({reason(error)}). Is there room on the disk?") from error
