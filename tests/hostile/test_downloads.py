"""Downloads from hosts that break off, lie or mean harm: whole and right, or nothing that could be taken for it."""

import gc
import gzip
import hashlib
import io
import random
import re
import socket
import stat
import subprocess
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nstlib import ImageError, fetch_coco, load_image
from nstlib.critic.extractor import vgg_weights
from nstlib.pictures import downloads, samples
from nstlib.pictures.samples import Masterpiece

# what requests and pooch raise on a bad answer keeps its socket until the garbage is collected
pytestmark = pytest.mark.filterwarnings(r"ignore:(?s).*unclosed <socket:pytest.PytestUnraisableExceptionWarning")


ROOT = Path(__file__).parents[2]
PIXELS = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
PICTURES = {f"val2017/{i}.jpg": random.Random(i).randbytes(300_000) for i in range(4)}


@pytest.fixture(scope="module", autouse=True)
def collected():
    """That garbage is collected here, where it is expected."""
    yield
    gc.collect()


def painting() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "PNG")
    return buffer.getvalue()


def archive(names: dict[str, bytes] = PICTURES) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in names.items():
            file.writestr(zipfile.ZipInfo(name), content)  # of 1980: one made a second later is the same
    return buffer.getvalue()


class Handler(BaseHTTPRequestHandler):
    """Sends the pieces that the server's `reply` gives for a path and the first byte asked for, and hangs up."""

    def do_GET(self):
        begin = int(re.findall(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-"))[0])
        self.server.asked.append((self.path, begin))
        try:
            for piece in self.server.reply(self.path, begin):
                self.wfile.write(piece)
                self.wfile.flush()
        except OSError:
            pass  # who asked has gone, as is its right
        self.close_connection = True

    def log_message(self, *args):
        pass


def response(body: bytes, status: str = "200 OK", length: object = None, *headers: str) -> bytes:
    length = len(body) if length is None else length
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {length}", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def honest(body: bytes):
    """As a good host replies, with the rest from where it is asked."""

    def reply(path: str, begin: int) -> list[bytes]:
        if begin >= len(body):
            return [response(b"", "416 Range Not Satisfiable")]
        return [response(body[begin:], "206 Partial Content" if begin else "200 OK")]

    return reply


@pytest.fixture
def server(tmp_path, monkeypatch, serve):
    """A host on this machine with one painting, `sketch`, and the smallest split of COCO."""
    server = serve(Handler)
    server.asked, server.reply = [], None
    host = f"http://127.0.0.1:{server.server_port}/"
    piece = Masterpiece("A", "Sketch", "1900", "o/r/c/sketch.png", hashlib.sha256(painting()).hexdigest())
    monkeypatch.setattr(samples, "MASTERPIECES", {"sketch": piece})
    monkeypatch.setattr(samples, "HOST", host)
    monkeypatch.setattr(downloads, "COCO", host)
    monkeypatch.setattr(downloads, "COCO_SPLITS", {"val2017": hashlib.sha256(archive()).hexdigest()})
    monkeypatch.setenv("NSTLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("requests.sessions.DEFAULT_REDIRECT_LIMIT", 3)  # of 30: to go in a circle takes seconds
    return server


def left(folder: Path) -> list[str]:
    """All files and links, but the lock, which stays."""
    files = (path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink())
    return sorted(path.relative_to(folder).as_posix() for path in files if path.name != ".lock")


def is_whole(folder: Path) -> bool:
    good = all((folder / name).read_bytes() == content for name, content in PICTURES.items())
    return good and left(folder) == sorted(PICTURES)


# ── a good host ─────────────────────────────────────────────────────────────────────────────────────


def test_what_was_downloaded_is_not_asked_for_again(server, tmp_path):
    folder = tmp_path / "new" / "photos"
    server.reply = honest(archive())
    assert fetch_coco("val2017", folder) == fetch_coco("val2017", folder) == folder / "val2017"
    server.reply = honest(painting())
    assert load_image("sketch").equal(load_image("sketch"))
    assert server.asked == [("/val2017.zip", 0), ("/o/r/c/sketch.png", 0)]
    assert is_whole(folder) and left(tmp_path / "cache") == ["sketch.png"]


def test_a_host_without_ranges_starts_anew(server, tmp_path):
    whole = response(archive())
    server.reply = lambda path, begin: [whole[: len(whole) // 2]]
    with pytest.raises(ImageError, match="broke off"):
        fetch_coco("val2017", tmp_path / "photos")
    assert (tmp_path / "photos" / "val2017.zip.part").stat().st_size > 0
    server.reply = lambda path, begin: [whole]
    fetch_coco("val2017", tmp_path / "photos")
    assert is_whole(tmp_path / "photos")


def test_a_part_that_is_whole_needs_nothing_more(server, tmp_path):
    """As after a power cut before the last rename; the host says 416, for there is no more."""
    (tmp_path / "val2017.zip.part").write_bytes(archive())
    server.reply = honest(archive())
    fetch_coco("val2017", tmp_path)
    assert is_whole(tmp_path)


def test_a_full_disk_while_unpacking(server, tmp_path, monkeypatch):
    extract = zipfile.ZipFile.extract

    def full(self, name, *args):
        if name.endswith("1.jpg"):
            raise OSError("no space left")
        return extract(self, name, *args)

    server.reply = honest(archive())
    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "extract", full)
        with pytest.raises(ImageError, match=r"val2017\.zip: cannot be unpacked \(no space left\)"):
            fetch_coco("val2017", tmp_path)
    assert not (tmp_path / "val2017").exists()
    fetch_coco("val2017", tmp_path)
    assert is_whole(tmp_path) and len(server.asked) == 1


def test_a_cache_that_is_no_folder(server, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(ImageError, match="sketch: cannot be downloaded"):
        load_image("sketch")


def test_an_error_without_words(server, monkeypatch):
    def fail(*args, **options):
        raise TimeoutError

    monkeypatch.setattr("pooch.retrieve", fail)
    with pytest.raises(ImageError, match=r"sketch: cannot be downloaded \(TimeoutError\)"):
        load_image("sketch")


# ── hosts that lie ──────────────────────────────────────────────────────────────────────────────────


def lies(body: bytes) -> dict[str, bytes]:
    """What a host may send in a file's place."""
    packed = gzip.compress(body)
    other = bytes(len(body))
    gzipped = "Content-Encoding: gzip"
    return {
        "another file": response(other),
        "nothing": response(b""),
        "a page": response(b"<html>Please log in</html>"),
        "one bit": response(bytes([body[0] ^ 1]) + body[1:]),
        "a byte more": response(body + b"\0"),
        "a byte less": response(body[:-1]),
        "half": response(body[: len(body) // 2], length=len(body)),
        "the end only": response(body[len(body) // 2 :], "206 Partial Content"),
        "a length that is none": response(other, length="abc"),
        "a negative length": response(other, length=-5),
        "a length without end": response(other, length="9" * 5000),
        "more than was said": response(other, length=10),
        "packed, cut short": response(packed[: len(packed) // 2], "200 OK", None, gzipped),
        "packed, and is not": response(other, "200 OK", None, gzipped),
        "packed zeros": response(gzip.compress(bytes(20_000_000)), "200 OK", None, gzipped),
        "chunks, cut short": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n" + body[:100],
        "chunks that are none": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" + body,
        "no HTTP": b"220 ftp ready\r\n",
        "hangs up": b"",
        "a header without end": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
        "headers without end": b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 1000 + b"\r\n",
        "404": response(body, "404 Not Found"),
        "503": response(body, "503 Service Unavailable"),
        "in a circle": response(b"", "302 Found", None, "Location: /again"),
        "to a file": response(b"", "302 Found", None, "Location: file:///etc/passwd"),
        "to nowhere": response(b"", "302 Found", None, "Location: http://"),
        "to an address that is none": response(b"", "302 Found", None, "Location: https://["),
        "to another protocol": response(b"", "301 Moved", None, "Location: gopher://127.0.0.1/"),
    }


@pytest.mark.parametrize("lie", lies(painting()))
def test_a_lie_leaves_nothing_of_a_painting(lie, server, tmp_path, survived):
    server.reply = lambda path, begin: [lies(painting())[lie]]
    with pytest.raises(ImageError, match=r"^sketch: cannot be downloaded .*try again; without one these work: .*swirl"):
        load_image("sketch")
    assert left(tmp_path / "cache") == []
    server.reply = honest(painting())
    assert load_image("sketch").shape == (1, 3, 16, 16)
    assert left(tmp_path / "cache") == ["sketch.png"]
    survived("downloads", "host that sends something else than it should", 1)


@pytest.mark.parametrize("lie", lies(archive()))
@pytest.mark.parametrize("begun", [0, 1000])
def test_a_lie_leaves_nothing_whole_of_coco(lie, begun, server, tmp_path, survived):
    """What is there and may be right stays, to go on from; a lie that was taken for it is found out at the end."""
    folder, body = tmp_path / "photos", archive()
    folder.mkdir()
    if begun:
        (folder / "val2017.zip.part").write_bytes(body[:begun])
    server.reply = lambda path, begin: [lies(body)[lie]]
    with pytest.raises(ImageError, match=r"val2017\.zip: .*Run the same command again") as caught:
        fetch_coco("val2017", folder)
    assert "\n" not in str(caught.value)
    assert set(left(folder)) <= {"val2017.zip.part"}
    if lie in ("404", "503") and begun:
        assert (folder / "val2017.zip.part").read_bytes() == body[:begun]
    server.reply = honest(body)
    try:
        fetch_coco("val2017", folder)
    except ImageError as error:  # what the lie had left is no beginning of the file
        assert "wrong checksum and was removed" in str(error)
        assert left(folder) == []
        fetch_coco("val2017", folder)
    assert is_whole(folder)
    survived("downloads", "host that sends something else than it should", 1)


def test_a_host_may_not_send_us_on_to_plain_http(server, tmp_path, survived):
    elsewhere = f"http://127.0.0.1:{server.server_port}/elsewhere"
    ways = [f"Location: {elsewhere}", f"location:   HTTP{elsewhere[4:]}"]
    for way in ways:
        server.reply = lambda path, begin, way=way: (
            [response(b"", "302 Found", None, way)] if path != "/elsewhere" else honest(painting())(path, begin)
        )
        for fetch in (lambda: load_image("sketch"), lambda: fetch_coco("val2017", tmp_path / "photos")):
            with pytest.raises(ImageError, match="an address without https"):
                fetch()
    assert "/elsewhere" not in [path for path, _ in server.asked]
    assert left(tmp_path / "cache") == left(tmp_path / "photos") == []
    survived("downloads", "host that sends us on to an address without https", 2 * len(ways))


def test_a_host_may_send_us_on_to_another_of_its_addresses(server):
    server.reply = lambda path, begin: (
        [response(b"", "302 Found", None, "Location: /elsewhere") if path != "/elsewhere" else response(painting())]
    )
    assert load_image("sketch").shape == (1, 3, 16, 16)


def test_all_addresses_are_https_and_archives_have_checksums():
    assert set(downloads.COCO_SPLITS) == {"val2017", "train2014", "train2017"}
    assert all(re.fullmatch("[0-9a-f]{64}", sha256) for sha256 in downloads.COCO_SPLITS.values())
    addresses = [samples.HOST, downloads.COCO, vgg_weights("vgg16").url, vgg_weights("vgg19").url]
    assert all(address.startswith("https://") for address in addresses)
    assert not [path.name for path in (ROOT / "nstlib").glob("*.py") if "http://" in path.read_text(encoding="utf-8")]


# ── connections that break ──────────────────────────────────────────────────────────────────────────


def test_a_painting_that_breaks_off_anywhere(server, times, tmp_path, survived):
    rng, whole, count = random.Random(1), response(painting()), 50 * times
    for _ in range(count):
        cut = whole[: rng.randrange(len(whole))]
        server.reply = lambda path, begin, cut=cut: [cut]
        with pytest.raises(ImageError, match="sketch: cannot be downloaded"):
            load_image("sketch")
        assert left(tmp_path / "cache") == []
    assert len(server.asked) == count, "asked once each time"
    survived("downloads", "connection that broke off at a random byte", count)


def test_coco_breaks_off_again_and_again(server, times, tmp_path, survived):
    """Each time it goes on from there, or from 64 KB before, until it is whole."""
    rng, body, count = random.Random(2), archive(), 0
    for run in range(3 * times):
        folder, cuts = tmp_path / f"photos{run}", sorted(rng.sample(range(1, len(body)), 12))
        ends = iter(cuts)
        server.asked.clear()

        def reply(path, begin, ends=ends):
            (whole,) = honest(body)(path, begin)
            head, rest = whole.split(b"\r\n\r\n", 1)
            return [head + b"\r\n\r\n" + rest[: next(ends, len(body)) - begin]]

        server.reply = reply
        for _ in range(12):
            with pytest.raises(ImageError, match=r"the download broke off .*it goes on from there"):
                fetch_coco("val2017", folder)
            assert left(folder) == ["val2017.zip.part"]
            assert body.startswith((folder / "val2017.zip.part").read_bytes())
            count += 1
        fetch_coco("val2017", folder)
        assert is_whole(folder)
        begins = [begin for _, begin in server.asked]
        assert all(begin > end - 2**16 for begin, end in zip(begins[1:], cuts, strict=True))
    survived("downloads", "connection that broke off at a random byte", count)


def test_what_another_program_left_is_not_trusted(server, times, tmp_path, survived):
    """An archive or the beginning of one, damaged at random: the checksum is of all of it."""
    rng, body, count = random.Random(3), archive(), 20 * times
    server.reply = honest(body)
    for run in range(count):
        folder = tmp_path / f"photos{run}"
        folder.mkdir()
        damaged = bytearray(body[: rng.randrange(1, len(body))] + rng.randbytes(rng.choice((0, len(body)))))
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        (folder / rng.choice(("val2017.zip", "val2017.zip.part"))).write_bytes(damaged)
        try:
            fetch_coco("val2017", folder)
        except ImageError as error:
            assert "wrong checksum and was removed" in str(error)
            assert left(folder) == []
            fetch_coco("val2017", folder)
        assert is_whole(folder)
    survived("downloads", "damaged file in the place of a download", count)


def test_a_spoiled_cache_is_never_used(server, times, tmp_path, survived):
    rng, count = random.Random(4), 20 * times
    server.reply = honest(painting())
    load_image("sketch")
    for _ in range(count):
        damaged = bytearray(painting())
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        (tmp_path / "cache" / "sketch.png").write_bytes(damaged[: rng.choice((len(damaged), rng.randrange(100)))])
        assert np.array_equal(load_image("sketch")[0].mul(255).permute(1, 2, 0).round().numpy(), PIXELS)
    survived("downloads", "damaged file in the place of a download", count)


def test_nobody_there(server, tmp_path, monkeypatch, survived):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # taken, but nobody listens
        address = f"http://127.0.0.1:{free.getsockname()[1]}/"
        monkeypatch.setattr(downloads, "COCO", address)
        monkeypatch.setattr(samples, "HOST", address)
        with pytest.raises(ImageError, match=r"broke off .*Run the same command again"):
            fetch_coco("val2017", tmp_path / "photos")
        with pytest.raises(ImageError, match=r"Check the connection .*without one these work: astronaut"):
            load_image("sketch")
    assert left(tmp_path / "photos") == left(tmp_path / "cache") == []
    survived("downloads", "no network", 2)


# ── names ───────────────────────────────────────────────────────────────────────────────────────────

ASTRAY = [
    "../evil.jpg",
    "../../evil.jpg",
    "val2017/../../../evil.jpg",
    "val2017/../../evil/../evil.jpg",
    "/evil.jpg",
    "//evil/share/evil.jpg",
    "C:\\evil.jpg",
    "val2017/..\\..\\evil.jpg",
    "val2017/C:/evil.jpg",
    "val2017/./.././../evil.jpg",
    "val2017/../val2017.zip.jpg",
    "val2017/" + "deep/" * 60 + "../" * 70 + "evil.jpg",
    "val2017/evil\0.jpg",
    "val2017/" + "x" * 300 + ".jpg",
    "val2017/evil.jpg/",
    "val2017/0.jpg/evil.jpg",
    "val2017/~/evil.jpg",
    "evil.jpg",
    "VAL2017/evil.jpg",
    "val2017/evil.exe",
    "val2017/evil.jpg.exe",
]


@pytest.mark.parametrize("link", [False, True], ids=["file", "link"])
@pytest.mark.parametrize("name", ASTRAY, ids=lambda name: name[:30].replace("\0", "0"))
def test_nothing_is_unpacked_outside_its_folder(name, link, server, tmp_path, monkeypatch, survived):
    """Even if the archive had the right checksum: names that lead away, and links that do."""
    buffer, elsewhere = io.BytesIO(), tmp_path / "elsewhere"
    elsewhere.mkdir()
    with zipfile.ZipFile(buffer, "w") as file:
        for good, content in PICTURES.items():
            file.writestr(good, content)
        if link:
            for to in ("val2017/link.jpg", name):
                info = zipfile.ZipInfo(to)
                info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
                file.writestr(info, str(elsewhere))
            file.writestr("val2017/link.jpg/evil.jpg", b"evil")
        else:
            file.writestr(name, b"evil")
    server.reply = honest(buffer.getvalue())
    monkeypatch.setattr(downloads, "COCO_SPLITS", {"val2017": hashlib.sha256(buffer.getvalue()).hexdigest()})
    folder = tmp_path / "a" / "b" / "photos"
    try:
        fetch_coco("val2017", folder)
    except ImageError as error:
        assert "val2017.zip: cannot be unpacked" in str(error) and "\n" not in str(error)
        assert not (folder / "val2017").exists()
    else:
        assert all((folder / good).read_bytes() == content for good, content in PICTURES.items())
        assert all(path.startswith("val2017/") and path.endswith(".jpg") for path in left(folder))
    assert not [path for path in tmp_path.rglob("*") if path.is_symlink()]
    assert all(path.startswith("a/b/photos/") for path in left(tmp_path))
    assert not Path("/evil.jpg").exists()
    survived("downloads", "name or link in an archive that leads out of its folder", 1)


@pytest.mark.parametrize(
    "name", ["../sketch", "sketch/../../evil", "/sketch", "..", "sketch\0", "sketch.png", "~", "a\nb"]
)
def test_a_name_is_a_samples_or_a_files_and_never_an_address(name, server, tmp_path, survived):
    with pytest.raises(ImageError):
        load_image(name)
    assert server.asked == [] and left(tmp_path) == []
    survived("downloads", "sample's name that leads out of the cache", 1)


# ── two at once ─────────────────────────────────────────────────────────────────────────────────────

PROGRAM = """
import sys
from nstlib.pictures import downloads
from nstlib.pictures import samples
from nstlib import ImageError, fetch_coco, load_image
what, host, sha256, folder = sys.argv[1:]
downloads.COCO = samples.HOST = host
downloads.COCO_SPLITS = {"val2017": sha256}
samples.MASTERPIECES = {"sketch": samples.Masterpiece("A", "Sketch", "1900", "sketch.png", sha256)}
try:
    print("done", load_image("sketch").sum().item() if what == "painting" else fetch_coco("val2017", folder))
except ImageError as error:
    print(error)
"""


def start(what: str, server, body: bytes, folder: Path) -> subprocess.Popen:
    """A process of its own that downloads."""
    host, sha256 = f"http://127.0.0.1:{server.server_port}/", hashlib.sha256(body).hexdigest()
    command = [sys.executable, "-c", PROGRAM, what, host, sha256, str(folder)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_two_processes_and_one_painting(server, tmp_path, survived):
    """Both ask before either has it; each writes aside, and what is renamed is whole."""
    both = threading.Barrier(2, timeout=300)

    def reply(path, begin):
        both.wait()
        return [response(painting())]

    server.reply = reply
    runs = [start("painting", server, painting(), tmp_path) for _ in range(2)]
    said = [run.communicate()[0] for run in runs]
    assert said[0].startswith("done") and said[0] == said[1]
    assert left(tmp_path / "cache") == ["sketch.png"]
    assert (tmp_path / "cache" / "sketch.png").read_bytes() == painting()
    survived("downloads", "two processes that download the same at once", 2)


def test_two_processes_and_one_archive_and_a_kill(server, tmp_path, survived):
    """The second is refused while the first is at it; the first is killed, and the third goes on from there."""
    body, folder = archive(), tmp_path / "photos"
    sent, go = threading.Event(), threading.Event()

    def halfway(path, begin):
        yield response(body, length=len(body))[: len(body) // 2]
        sent.set()
        go.wait(300)

    server.reply = halfway
    try:
        first = start("coco", server, body, folder)
        assert sent.wait(300)
        second = start("coco", server, body, folder).communicate()[0]
        assert re.search(r"photos: another process is getting photographs into it\. Wait for its end\.", second)
        assert len(server.asked) == 1
        first.kill()
        first.communicate()
    finally:
        go.set()
    server.reply = honest(body)
    had = (folder / "val2017.zip.part").stat().st_size if left(folder) else 0
    third = start("coco", server, body, folder).communicate()[0]
    assert third.startswith("done") and is_whole(folder)
    assert server.asked[-1][1] == had
    survived("downloads", "two processes that download the same at once", 2)
    survived("downloads", "download killed (kill -9) and gone on with", 1)
