"""A client's video as the frames that the model looks at. Runs in the sandbox.

Twice through the file, never more than a frame in memory: the packets tell when each frame is shown, whatever the
header says or leaves out; then the frames are decoded, and those that the family chooses are kept.
"""

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from PIL import Image

from families import FrameClock, VideoBounds
from worker.prepare.media.contact_sheet import ContactSheet
from worker.prepare.media.errors import MediaError

CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi"
"""libav's names. Others can name further files and addresses to read: playlists, lists of pictures."""
MAX_FRAMES = 500_000
MAX_FRAME_PIXELS = 8192 * 8192
STEADY_S = 0.002
"""Matroska keeps milliseconds: a steady rate looks so unsteady there."""
COMPLETE = 0.9
"""Of the frames that the header promises; below it, the file was cut off."""
UPRIGHT = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}
"""By the degrees, counter-clockwise, that a frame asks to be turned by."""


@dataclass(frozen=True, slots=True)
class ExtractedFrames:
    width: int
    height: int
    seconds: list[float]
    """When each of the frames is shown."""
    source_width: int
    """Of the client's video, upright."""
    source_height: int


def extract_frames(path: Path, bounds: VideoBounds, *, frames: Path, sheet: Path) -> ExtractedFrames:
    """Write the frames to look at into a ZIP of PNGs, and all of them, with their times, into one picture.

    Raises:
        MediaError
    """
    shown = _scan(path)
    clock = _clock(shown)
    indices = bounds.select_frames(clock)
    seconds = [clock.time_of(index) for index in indices]
    contact_sheet = ContactSheet(len(indices))
    size = source = (0, 0)
    with zipfile.ZipFile(frames, "w", zipfile.ZIP_STORED) as archive:
        for number, frame in enumerate(_chosen(path, shown, indices)):
            picture = _upright(frame)
            if number == 0:
                source, size = picture.size, _fitted(bounds, len(indices), picture.size)
            picture = picture.resize(size, Image.Resampling.BICUBIC)
            contact_sheet.add(picture, seconds[number])
            png = io.BytesIO()
            picture.save(png, "PNG", compress_level=1)
            archive.writestr(f"{number:04}.png", png.getvalue())
    contact_sheet.save(sheet)
    return ExtractedFrames(*size, seconds, *source)


@dataclass(frozen=True)
class _Shown:
    """What a pass over the packets has found."""

    stamps: list[int]
    """Of each frame, in the order of showing; empty when the packets carry none."""
    frames: int
    rate: float
    """ConvertedVideo a second, by the header or on average."""
    tick: float
    """Seconds of one unit of a stamp."""


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """The container and its first video stream."""
    try:
        with av.open(str(path), options={"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}) as container:
            streams = [stream for stream in container.streams.video if not _is_cover(stream)]
            if not streams:
                raise MediaError("video_unsupported", "the file has no moving pictures.")
            if streams[0].codec_context is None:
                raise MediaError("video_unsupported", "its pictures are coded in a way that nobody here knows.")
            yield container, streams[0]
    except (av.error.InvalidDataError, av.error.ArgumentError, ValueError) as error:
        message = "the file is no video that can be read; send MP4, MOV, WebM, MKV or AVI, whole."
        raise MediaError("video_unsupported", message) from error
    except av.error.FFmpegError as error:
        raise MediaError("video_unreadable", f"the video cannot be read ({error.strerror}).") from error


def _is_cover(stream: Any) -> bool:
    """A picture that a music file carries."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _scan(path: Path) -> _Shown:
    with _opened(path) as (container, stream):
        width, height = stream.codec_context.width, stream.codec_context.height
        if not 0 < width * height <= MAX_FRAME_PIXELS:
            raise MediaError("video_unreadable", f"its frames are {width}×{height}; at most 8192×8192 are read.")
        stamps: list[int | None] = []
        for packet in container.demux(stream):
            if packet.size and not packet.is_discard:
                stamps.append(packet.pts)
            if len(stamps) > MAX_FRAMES:
                raise MediaError("video_too_long", f"it has more than {MAX_FRAMES} frames; cut it.")
        if not stamps:
            raise MediaError("video_empty", "it has no frames.")
        if len(stamps) < COMPLETE * stream.frames:
            message = f"the file ends after {len(stamps)} of {stream.frames} frames; send it whole."
            raise MediaError("video_truncated", message)
        told = sorted(stamp for stamp in stamps if stamp is not None)
        tick = float(stream.time_base or 0)
        rate = float(stream.average_rate or stream.guessed_rate or 0)
        if len(told) < len(stamps) or not tick:
            return _Shown([], len(stamps), rate or 24.0, 0.0)
        span = (told[-1] - told[0]) * tick
        return _Shown(told, len(told), rate or ((len(told) - 1) / span if span else 24.0), tick)


def _clock(shown: _Shown) -> FrameClock:
    """Real times for a video whose rate varies; for the others the rate, as transformers reckons."""
    seconds = tuple((stamp - shown.stamps[0]) * shown.tick for stamp in shown.stamps)
    limit = max(STEADY_S, 2 * shown.tick)
    if all(abs(second - index / shown.rate) <= limit for index, second in enumerate(seconds)):
        return FrameClock(shown.frames, shown.rate)
    return FrameClock(shown.frames, shown.frames / (seconds[-1] or 1 / shown.rate), seconds)


def _chosen(path: Path, shown: _Shown, indices: list[int]) -> Iterator[Any]:
    """The frames at these indices, in order; for one that cannot be decoded, the next one that can."""
    wanted = [shown.stamps[index] for index in indices] if shown.stamps else indices
    given, last = 0, None
    for count, last in enumerate(_decoded(path)):
        place = last.pts if shown.stamps else count
        while given < len(wanted) and place is not None and wanted[given] <= place:
            yield last
            given += 1
        if given == len(wanted):
            return
    if last is None:
        raise MediaError("video_unreadable", "none of its frames can be decoded; save it anew with another program.")
    for _ in wanted[given:]:
        yield last


def _decoded(path: Path) -> Iterator[Any]:
    with _opened(path) as (container, stream):
        stream.thread_type = "AUTO"
        for packet in container.demux(stream):
            try:
                yield from packet.decode()
            except av.error.InvalidDataError:
                continue  # a damaged frame; players go on, too


def _upright(frame: Any) -> Image.Image:
    picture: Image.Image = frame.to_image()
    turn = UPRIGHT.get(round(frame.rotation) % 360)
    return picture.transpose(turn) if turn is not None else picture


def _fitted(bounds: VideoBounds, frames: int, size: tuple[int, int]) -> tuple[int, int]:
    try:
        return bounds.fit(frames, *size)
    except ValueError as error:
        raise MediaError("video_aspect", f"{error}; crop it.") from error
