"""Clips in and out: colours, times, sound, rotation, odd sizes, animations and folders."""

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from nstlib.errors import ImageError
from nstlib.pictures.animations import save_animation
from nstlib.pictures.clips import is_clip, open_clip
from nstlib.pictures.reel import VIDEOS, Reel, encode, join

SIZE = 48, 64


def picture(i: int, size=SIZE) -> np.ndarray:
    """A picture of strong colours, another for every i; with noise, or rounding goes all one way."""
    y, x = np.mgrid[0 : size[0], 0 : size[1]] / max(size)
    waves = [np.sin(5 * x + i), np.cos(4 * y - i), np.sin(3 * (x + y) + 2 * i)]
    noise = np.random.default_rng(i).uniform(-20, 20, (*size, 1))
    return (127.5 + 80 * np.stack(waves, -1) + noise).round().astype(np.uint8)


def write_video(path, times, size=SIZE, sound=True, time_base=Fraction(1, 90_000)):
    """A video of these times, seconds, with a tone; made by PyAV alone."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.height, stream.width, stream.pix_fmt = *size, "yuv444p"
        stream.codec_context.time_base = time_base
        tone = out.add_stream("aac", rate=16_000, layout="mono") if sound else None
        for i, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(i, size), format="rgb24")
            frame.pts, frame.time_base = round(time / time_base), time_base
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
        if sound:
            wave = np.sin(np.arange(int(16_000 * max(times)) + 16_000) / 10).astype(np.float32)
            for i in range(0, len(wave) - 1024, 1024):
                frame = av.AudioFrame.from_ndarray(wave[None, i : i + 1024], format="fltp", layout="mono")
                frame.rate, frame.pts = 16_000, i
                out.mux(tone.encode(frame))
            out.mux(tone.encode())
    return path


def packets(path) -> list[tuple]:
    """The sound of a film: every packet and its time."""
    import av

    with av.open(str(path)) as film:
        return [(p.pts * p.time_base, bytes(p)) for p in film.demux(audio=0) if p.size]


def copy(clip, output, parts=1):
    """Every frame of a clip through `encode` and `join`, in so many parts."""
    frames, pieces = list(clip), []
    bounds = np.linspace(0, len(frames), parts + 1).astype(int)
    pixels = [frame.pixels() for frame in frames]
    for i in range(parts):
        pieces.append(output.with_name(f"{i}.mkv"))
        encode(pixels[bounds[i] : bounds[i + 1]], pieces[-1], clip, output.suffix)
    join(pieces, [(frame.time, frame.duration) for frame in frames], output, clip, None, {})
    return pixels


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".webm"])
def test_colours_arrive(tmp_path, ending, monkeypatch):
    codec, options = VIDEOS[ending]
    monkeypatch.setitem(VIDEOS, ending, (codec, options | {"crf": "0"}))  # without loss
    clip = open_clip(write_video(tmp_path / "in.mp4", [Fraction(i, 25) for i in range(5)], sound=False))
    painted = copy(clip, tmp_path / f"out{ending}", parts=2)
    film = open_clip(tmp_path / f"out{ending}")
    shown = [frame.pixels() for frame in film]
    assert len(shown) == len(painted)
    for a, b in zip(painted, shown, strict=True):  # rounded twice to 8 bits
        assert np.abs(a.mean((0, 1)) - b.mean((0, 1))).max() <= 0.5
        assert abs(a.std() / b.std() - 1) < 0.03


def test_range_and_matrix_are_written(tmp_path):
    clip = open_clip(write_video(tmp_path / "in.mp4", [Fraction(0), Fraction(1, 25)], sound=False))
    copy(clip, tmp_path / "out.mp4")
    import av

    with av.open(str(tmp_path / "out.mp4")) as film:
        frame = next(film.decode(video=0))
    assert (int(frame.colorspace), int(frame.color_range), frame.format.name) == (1, 1, "yuv420p")


def test_uneven_times_and_sound_are_kept(tmp_path):
    times = [Fraction(n, 90_000) for n in (0, 3000, 6100, 12_000, 12_500, 30_000)]
    source = write_video(tmp_path / "in.mp4", times)
    copy(open_clip(source), tmp_path / "out.mp4", parts=3)
    assert [frame.time for frame in open_clip(tmp_path / "out.mp4")] == times
    assert packets(tmp_path / "out.mp4") == packets(source) != []


def test_a_stretch(tmp_path):
    source = write_video(tmp_path / "in.mp4", [Fraction(i, 25) for i in range(50)])
    clip = open_clip(source, 0.4, 1.2)
    copy(clip, tmp_path / "out.mp4")
    frames = list(open_clip(tmp_path / "out.mp4"))
    assert len(frames) == clip.count == 20 and frames[0].time == 0
    assert np.abs(frames[0].pixels().astype(int) - picture(10)).mean() < 15  # a codec's loss; picture(9) is 50 away
    times = [time for time, _ in packets(tmp_path / "out.mp4")]
    assert 0 <= times[0] < Fraction(1024, 16_000)
    assert len(list(open_clip(source, fps=5))) == 10
    with pytest.raises(ValueError, match="nothing is left"):
        open_clip(source, 3.0)


def test_odd_sizes(tmp_path):
    clip = open_clip(write_video(tmp_path / "in.mp4", [Fraction(0), Fraction(1, 25)], (47, 63), sound=False))
    assert clip.size == (47, 63)
    copy(clip, tmp_path / "out.mp4")
    assert open_clip(tmp_path / "out.mp4").size == (48, 64)


def test_a_turned_video_is_upright(tmp_path):
    source = write_video(tmp_path / "in.mp4", [Fraction(0), Fraction(1, 25)], sound=False)
    data, one = source.read_bytes(), 1 << 16
    at = data.index(b"tkhd") + 4 + 40  # its matrix: nine numbers, of 16.16 and 2.30 bits
    turned = np.array([0, one, 0, -one, 0, 0, 0, 0, 1 << 30], ">i4").tobytes()  # a quarter clockwise
    source.write_bytes(data[:at] + turned + data[at + 36 :])
    clip = open_clip(source)
    assert clip.size == (64, 48)
    seen = next(iter(clip)).pixels()
    assert np.abs(seen.astype(int) - np.rot90(picture(0), -1)).mean() < 15  # other turns are 80 away


@pytest.mark.parametrize("ending", [".gif", ".webp", ".png"])
def test_animations(tmp_path, ending):
    path = tmp_path / f"film{ending}"
    spans = [Fraction(1, 10), Fraction(1, 5), Fraction(1, 10)]
    save_animation((Image.fromarray(picture(i)) for i in range(3)), [100, 200, 100], path)
    assert is_clip(path)
    frames = [(frame.time, frame.duration, frame.pixels()) for frame in open_clip(path)]
    assert [span for _, span, _ in frames] == spans
    assert frames[2][0] == Fraction(3, 10)
    assert np.abs(frames[2][2].astype(int) - picture(2)).mean() < 15  # a palette, a codec


def test_with_fewer_frames_a_film_lasts_as_long(tmp_path):
    save_animation((Image.fromarray(picture(i)) for i in range(20)), [40] * 20, tmp_path / "in.gif")
    clip = open_clip(tmp_path / "in.gif", fps=10)
    reel = Reel(tmp_path / "out.gif", clip, "twelveletter")
    for i, frame in enumerate(clip):
        reel.times.append((frame.time, frame.duration))
        reel.add(i, frame.pixels())
    spans = [frame.duration for frame in open_clip(reel.save({}, whole=True))]
    assert len(spans) == 8 and sum(spans) == pytest.approx(0.8, abs=0.06)


def test_a_folder_of_frames(tmp_path):
    for i in (1, 2, 10):
        Image.fromarray(picture(i)).save(tmp_path / f"frame_{i}.png")
    clip = open_clip(tmp_path, fps=10)
    frames = list(clip)
    assert (clip.count, clip.size) == (3, SIZE) and frames[2].time == Fraction(1, 5)
    assert (frames[2].pixels() == picture(10)).all()
    Image.fromarray(picture(0, (32, 32))).save(tmp_path / "frame_11.png")
    with pytest.raises(ImageError, match=r"frame_11\.png"):
        list(clip)


def test_what_is_no_clip(tmp_path):
    pytest.importorskip("av")
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video" * 100)
    with pytest.raises(ImageError, match=r"broken\.mp4: damaged"):
        open_clip(broken)
    whole = write_video(tmp_path / "whole.mp4", [Fraction(i, 25) for i in range(9)]).read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])  # its index was at the end
    with pytest.raises(ImageError, match=r"broken\.mp4: damaged"):
        open_clip(broken)
    with pytest.raises(ImageError, match="no such clip"):
        open_clip(tmp_path / "none.mp4")
    Image.fromarray(picture(0)).save(tmp_path / "still.png")
    assert not is_clip(tmp_path / "still.png")
