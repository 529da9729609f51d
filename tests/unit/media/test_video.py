"""Videos of many kinds: each gives frames with their times or is refused with an error code."""

import io
import struct
import zipfile
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image

from families import FAMILIES
from testing.inputs.images import encoded, two_colored
from testing.inputs.video_files import Matrix, with_display_matrix, with_edit, with_repeated_frames, write_tracks
from testing.inputs.videos import BLUE, RED, clip, retimed, write
from worker.prepare.media.errors import MediaError
from worker.prepare.media.videos.video import ExtractedFrames, extract_frames

BOUNDS = FAMILIES["pocket"].videos
EVERY_HALF = [0, 0.52, 1, 1.52]
"""Frame times of a 2 s video with 25 frames per second, at 2 frames per second. No frame is shown at 0.5 s
exactly, so the next one is used."""


def frames_of(path: Path, folder: Path) -> tuple[ExtractedFrames, list[np.ndarray]]:
    video = extract_frames(path, BOUNDS, frames=folder / "frames.zip", sheet=folder / "sheet.png")
    with zipfile.ZipFile(folder / "frames.zip") as archive:
        return video, [np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name in archive.namelist()]


def bar(frame: np.ndarray) -> float:
    """Return the position of the white bar, as a share of the width."""
    return int(np.argmax(frame[2].sum(axis=-1))) / int(frame.shape[1])


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "libx264"),
        ("a.mov", "mpeg4"),
        ("a.mkv", "libx264"),
        ("a.webm", "libvpx"),
        ("a.webm", "libvpx-vp9"),
        ("a.avi", "mpeg4"),
    ],
)
def test_every_container_is_decoded(tmp_path: Path, name: str, codec: str) -> None:
    video, frames = frames_of(clip(tmp_path / name, codec=codec), tmp_path)
    assert video.seconds == EVERY_HALF
    assert (video.source_width, video.source_height) == (160, 96)
    assert (video.width, video.height) == BOUNDS.fit(4, 160, 96)
    assert np.abs(frames[0][-10, 10].astype(int) - RED).max() < 25
    assert np.abs(frames[0][-10, -10].astype(int) - BLUE).max() < 25
    assert [bar(frame) for frame in frames] == pytest.approx([second / 2 * 0.95 for second in video.seconds], abs=0.07)


def test_a_recording_without_a_duration_is_decoded(tmp_path: Path) -> None:
    video, _ = frames_of(clip(tmp_path / "live.webm", codec="libvpx", is_live=True), tmp_path)
    assert video.seconds == EVERY_HALF


def test_a_variable_frame_rate_uses_the_real_times(tmp_path: Path) -> None:
    """Twenty frames in the first second, then one per second."""
    shown = [50 * index for index in range(20)] + [1_000 + 1_000 * index for index in range(5)]
    path = clip(tmp_path / "a.mp4", 25, shown_ms=shown)
    video, frames = frames_of(path, tmp_path)
    assert video.seconds[:5] == pytest.approx([0, 0.5, 1, 2, 3])
    assert bar(frames[2]) == pytest.approx(20 / 24 * 0.95, abs=0.05)


@pytest.mark.parametrize(("degrees", "red_side"), [(90, "bottom"), (180, "right"), (270, "top")])
def test_the_rotation_of_a_video_is_applied(tmp_path: Path, degrees: int, red_side: str) -> None:
    video, frames = frames_of(clip(tmp_path / "a.mp4", rotation=degrees), tmp_path)
    size = (160, 96) if degrees == 180 else (96, 160)
    assert (video.source_width, video.source_height) == size
    middle = (frames[0].shape[0] // 2, frames[0].shape[1] // 2)
    spot = {"bottom": (-20, middle[1]), "top": (20, middle[1]), "right": (middle[0], -20)}[red_side]
    assert np.abs(frames[0][spot].astype(int) - RED).max() < 25


def test_a_fractional_frame_rate_is_accepted(tmp_path: Path) -> None:
    video, _ = frames_of(clip(tmp_path / "a.mkv", 60, rate=Fraction(30_000, 1_001)), tmp_path)
    assert [int(second) for second in video.seconds] == [0, 0, 1, 1]


def test_a_video_may_have_a_single_frame(tmp_path: Path) -> None:
    video, frames = frames_of(clip(tmp_path / "a.mp4", 1), tmp_path)
    assert video.seconds == [0, 0]
    first, second = frames
    assert np.array_equal(first, second)


def test_the_frames_of_a_long_video_are_spread_evenly(tmp_path: Path) -> None:
    video, frames = frames_of(clip(tmp_path / "a.mp4", 500), tmp_path)
    assert len(frames) == 32
    assert video.seconds[-1] == pytest.approx(19.96)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 1_000


@pytest.mark.parametrize(("asked", "given"), [(2, 2), (7, 6), (8, 8), (100, 32)])
def test_a_client_may_limit_the_number_of_frames(tmp_path: Path, asked: int, given: int) -> None:
    bounds = BOUNDS.narrow(max_frames=asked, max_pixels=None)
    path = clip(tmp_path / "a.mp4", 500)
    video = extract_frames(path, bounds, frames=tmp_path / "frames.zip", sheet=tmp_path / "sheet.png")
    assert len(video.seconds) == given
    assert (video.seconds[0], video.seconds[-1]) == pytest.approx((0, 19.96))


def test_a_client_may_limit_the_size_of_the_frames(tmp_path: Path) -> None:
    bounds = BOUNDS.narrow(max_frames=None, max_pixels=4 * 60 * 60)
    path = clip(tmp_path / "a.mp4")
    video = extract_frames(path, bounds, frames=tmp_path / "frames.zip", sheet=tmp_path / "sheet.png")
    assert (video.width, video.height) == (56, 28)
    assert BOUNDS.narrow(max_frames=None, max_pixels=1).max_pixels == BOUNDS.min_pixels
    assert BOUNDS.narrow(max_frames=None, max_pixels=10**12).max_pixels == BOUNDS.max_pixels


def refused(path: Path, folder: Path) -> str:
    with pytest.raises(MediaError) as error:
        frames_of(path, folder)
    return error.value.code


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_a_file_that_is_not_a_video_is_refused_with_a_code(tmp_path: Path) -> None:
    whole = clip(tmp_path / "whole.mp4").read_bytes()
    cut = clip(tmp_path / "cut.avi", 200, codec="mpeg4").read_bytes()
    cases = {
        "empty": (b"", "video_unsupported"),
        "text": (b"no video", "video_unsupported"),
        "without its index": (whole[: len(whole) // 2], "video_truncated"),
        "cut off": (cut[: len(cut) // 3], "video_truncated"),
        "playlist": (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "video_unsupported"),
        "concat": (b"ffconcat version 1.0\nfile /etc/passwd\n", "video_unsupported"),
        "image": (b"\x89PNG\r\n\x1a\n" + bytes(100), "video_unsupported"),
    }
    found = {name: refused(written(tmp_path / "x.mp4", content), tmp_path) for name, (content, _) in cases.items()}
    assert found == {name: code for name, (_, code) in cases.items()}


def test_a_file_with_only_sound_is_refused(tmp_path: Path) -> None:
    import av

    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44_100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1_024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44_100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert refused(path, tmp_path) == "video_unsupported"


def test_a_video_that_is_too_narrow_is_refused(tmp_path: Path) -> None:
    strip = np.zeros((2, 6_000, 3), np.uint8)
    assert refused(write(tmp_path / "a.mov", [strip], codec="png"), tmp_path) == "video_aspect"


DISPLAYED: dict[Matrix, tuple[str, str]] = {
    # The red half and the white bar, which is at the top left of the stored frame.
    (1, 0, 0, 1): ("left", "top"),
    (-1, 0, 0, 1): ("right", "top"),
    (-1, 0, 0, -1): ("right", "bottom"),
    (1, 0, 0, -1): ("left", "bottom"),
    (0, 1, 1, 0): ("top", "left"),
    (0, 1, -1, 0): ("top", "right"),
    (0, -1, -1, 0): ("bottom", "right"),
    (0, -1, 1, 0): ("bottom", "left"),
}


@pytest.mark.parametrize("matrix", DISPLAYED)
def test_a_video_is_turned_and_mirrored_as_players_do(tmp_path: Path, matrix: Matrix) -> None:
    content = with_display_matrix(clip(tmp_path / "a.mp4").read_bytes(), matrix)
    video, frames = frames_of(written(tmp_path / "b.mp4", content), tmp_path)
    assert (video.source_width, video.source_height) == ((160, 96) if matrix[0] else (96, 160))
    height, width = frames[0].shape[:2]
    spots = {
        "left": (slice(height // 4, -height // 4), slice(0, width // 3)),
        "right": (slice(height // 4, -height // 4), slice(-width // 3, None)),
        "top": (slice(0, height // 3), slice(width // 4, -width // 4)),
        "bottom": (slice(-height // 3, None), slice(width // 4, -width // 4)),
    }
    red_side, bar_side = DISPLAYED[matrix]
    assert frames[0][spots[red_side]].mean(axis=(0, 1))[0] > 150, "the red half"
    edges = {"left": frames[1][:, :4], "right": frames[1][:, -4:], "top": frames[1][:4], "bottom": frames[1][-4:]}
    brightest = max(edges, key=lambda side: int((edges[side].min(axis=-1) > 200).sum()))
    assert brightest == bar_side


@pytest.mark.parametrize(("start_s", "duration_s", "first_bar"), [(3.0, 1.0, 0.75), (0.0, 1.0, 0.0), (1.0, 2.5, 0.25)])
def test_a_video_that_was_cut_without_encoding_is_complete(
    tmp_path: Path, start_s: float, duration_s: float, first_bar: float
) -> None:
    whole = clip(tmp_path / "whole.mp4", 100).read_bytes()
    cut = written(tmp_path / "cut.mp4", with_edit(whole, start_s=start_s, duration_s=duration_s))
    video, frames = frames_of(cut, tmp_path)
    assert len(video.seconds) == pytest.approx(2 * duration_s, abs=1)
    assert bar(frames[0]) == pytest.approx(first_bar * 0.95, abs=0.05)


def test_an_edit_list_that_hides_all_frames_is_ignored(tmp_path: Path) -> None:
    whole = clip(tmp_path / "whole.mp4", 50).read_bytes()
    hidden = written(tmp_path / "hidden.mp4", with_edit(whole, start_s=500, duration_s=1))
    assert len(frames_of(hidden, tmp_path)[1]) == 4


@pytest.mark.parametrize("every", [2, 5, 25])
def test_the_repeated_frames_of_an_avi_are_not_missing(tmp_path: Path, every: int) -> None:
    whole = clip(tmp_path / "whole.avi", 100, codec="mpeg4").read_bytes()
    video, _ = frames_of(written(tmp_path / "repeated.avi", with_repeated_frames(whole, every)), tmp_path)
    assert video.seconds[-1] == pytest.approx(3.5, abs=0.6)


NOISE = list(np.random.default_rng(7).integers(0, 255, (40, 96, 160, 3), np.uint8))


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.webm", "a.avi"])
def test_a_video_that_was_cut_off_is_refused(tmp_path: Path, name: str) -> None:
    codec = {"a.webm": "libvpx", "a.avi": "mpeg4"}.get(name, "libx264")
    content = write(tmp_path / name, NOISE, codec=codec).read_bytes()
    for share in (0.3, 0.6, 0.85):
        with pytest.raises(MediaError, match=r"cut off.*send the complete file") as error:
            frames_of(written(tmp_path / f"cut-{name}", content[: int(len(content) * share)]), tmp_path)
        assert error.value.code == "video_truncated"


def test_a_part_that_would_end_behind_the_last_possible_byte_is_missing(tmp_path: Path) -> None:
    content = write(tmp_path / "a.mp4", NOISE).read_bytes()
    endless = struct.pack(">I4sQ", 1, b"free", 2**64 - 40)
    after_first = struct.unpack_from(">I", content)[0]
    with pytest.raises(MediaError, match="cut off"):
        frames_of(written(tmp_path / "endless.mp4", content[:after_first] + endless + content[after_first:]), tmp_path)


def test_a_cut_off_video_with_its_index_at_the_start_is_refused(tmp_path: Path) -> None:
    """Its header is complete, so players show the first part."""
    content = write(tmp_path / "a.mp4", NOISE, options={"movflags": "faststart"}).read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    with pytest.raises(MediaError, match=r"cut off: it ends after \d+ of 40 frames"):
        frames_of(written(tmp_path / "cut.mp4", content[: len(content) // 2]), tmp_path)


def test_a_video_whose_rest_is_empty_is_refused(tmp_path: Path) -> None:
    """An interrupted download into a file of the final size: its header and its size say that it is complete."""
    content = write(tmp_path / "a.mp4", NOISE, options={"movflags": "faststart"}).read_bytes()
    half = len(content) * 6 // 10
    with pytest.raises(MediaError, match=r"only its first \d+ of 40 frames can be decoded") as error:
        frames_of(written(tmp_path / "half.mp4", content[:half] + bytes(len(content) - half)), tmp_path)
    assert error.value.code == "video_truncated"


RED_PREVIEW, BLUE_FILM = np.full((40, 64, 3), (220, 0, 0), np.uint8), np.full((96, 160, 3), (0, 0, 220), np.uint8)
DEFAULT, ATTACHED = int(Disposition.default), int(Disposition.attached_pic)
TRACKS = {
    "preview.mov": [("mjpeg", RED_PREVIEW, 1, DEFAULT), ("libx264", BLUE_FILM, 48, DEFAULT)],
    "preview.mp4": [("libx264", RED_PREVIEW, 1, DEFAULT), ("libx264", BLUE_FILM, 48, DEFAULT)],
    "marked.mkv": [("mjpeg", RED_PREVIEW, 1, 0), ("libx264", BLUE_FILM, 48, DEFAULT)],
    "unmarked.mkv": [("mjpeg", RED_PREVIEW, 1, 0), ("libx264", BLUE_FILM, 48, 0)],
    "film-first.mkv": [("libx264", BLUE_FILM, 48, 0), ("libx264", RED_PREVIEW, 48, 0)],
    "small-first.mkv": [("libx264", RED_PREVIEW, 49, 0), ("libx264", BLUE_FILM, 48, 0)],
    "default-last.mkv": [("libx264", RED_PREVIEW, 90, 0), ("libx264", BLUE_FILM, 48, DEFAULT)],
    "cover.mp4": [("mjpeg", RED_PREVIEW, 1, ATTACHED), ("libx264", BLUE_FILM, 48, DEFAULT)],
}


@pytest.mark.parametrize("name", TRACKS)
def test_the_film_is_chosen_among_several_tracks(tmp_path: Path, name: str) -> None:
    video, frames = frames_of(write_tracks(tmp_path / name, TRACKS[name]), tmp_path)
    assert len(video.seconds) > 2
    assert frames[0][40, 80, 2] > 150 > frames[0][40, 80, 0]


@pytest.mark.parametrize(
    ("pixel_aspect", "size"),
    [((4, 3), (213, 96)), ((16, 11), (233, 96)), ((3, 4), (160, 128)), ((1, 1), (160, 96)), ((90, 1), (160, 96))],
)
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_pixels_that_are_not_square_are_stretched(
    tmp_path: Path, name: str, pixel_aspect: tuple[int, int], size: tuple[int, int]
) -> None:
    video, _ = frames_of(clip(tmp_path / name, pixel_aspect=Fraction(*pixel_aspect)), tmp_path)
    assert (video.source_width, video.source_height) == size


WRONG_TIMES: dict[str, Callable[[list[int]], list[int]]] = {
    "far ahead": lambda times: [*times[:50], times[50] + 10**9, *times[51:]],
    "three seconds ahead": lambda times: [*times[:10], times[10] + 3_000, *times[11:]],
    "far back": lambda times: [*times[:50], 0, *times[51:]],
    "at the end": lambda times: [*times[:-1], 10**9],
    "all but the first": lambda times: [0, *(time + 10**9 for time in times[1:])],
    "backwards": lambda times: times[::-1],
    "equal": lambda times: [0] * len(times),
}


@pytest.mark.parametrize("change", WRONG_TIMES)
def test_wrong_timestamps_do_not_hide_frames(tmp_path: Path, change: str) -> None:
    source = clip(tmp_path / "source.mkv", 100, codec="mpeg4")
    video, frames = frames_of(retimed(tmp_path / "a.mkv", source, WRONG_TIMES[change]), tmp_path)
    assert len(video.seconds) >= 7
    assert video.seconds[-1] < 5
    bars = [bar(frame) for frame in frames[:7]]
    assert bars == pytest.approx([second / 4 * 0.95 for second in video.seconds[:7]], abs=0.07)


def test_the_message_names_a_file_that_is_no_video(tmp_path: Path) -> None:
    picture = encoded(two_colored(), "JPEG")
    for content, kind in ((picture, "a JPEG image"), (b"#EXTM3U\n", "a playlist"), (b"<html>", "a web page")):
        with pytest.raises(MediaError, match=f"the file is {kind}.*send a complete MP4, MOV, WebM, MKV or AVI"):
            frames_of(written(tmp_path / "x", content), tmp_path)


@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_video_raises_a_media_error_or_is_decoded(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    name, codec = [("a.mp4", "libx264"), ("a.webm", "libvpx"), ("a.avi", "mpeg4")][seed % 3]
    data = bytearray(clip(tmp_path / name, codec=codec).read_bytes())
    for position in random.integers(0, len(data), 30):
        data[position] = random.integers(0, 256)
    with suppress(MediaError):
        frames_of(written(tmp_path / f"damaged-{name}", bytes(data)), tmp_path)
