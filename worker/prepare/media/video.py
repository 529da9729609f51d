"""Extracts the frames of a client's video that the model sees. Runs in the sandbox.

The file is read twice, with at most one decoded frame in memory. The first pass reads when each frame is shown from the
packets, whatever the header says or omits. The second pass decodes, and keeps the frames that the family selects.
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
"""libav's names of the allowed formats. Others may refer to further files and URLs: playlists, image sequences."""
MAX_FRAMES = 500_000
MAX_FRAME_PIXELS = 8192 * 8192
CONSTANT_RATE_TOLERANCE_S = 0.002
"""Matroska rounds times to milliseconds, so the times of a constant frame rate vary by this much."""
MIN_COMPLETE_SHARE = 0.9
"""Share of the header's number of frames that the file must contain; with fewer it was cut off."""
ROTATIONS = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}
"""Counter-clockwise degrees by which a frame is to be rotated for display."""
DEFAULT_RATE = 24.0


@dataclass(frozen=True, slots=True)
class ExtractedFrames:
    width: int
    height: int
    seconds: list[float]
    """When each frame is shown."""
    source_width: int
    """Size of the client's video in pixels, upright."""
    source_height: int


def extract_frames(path: Path, bounds: VideoBounds, *, frames: Path, sheet: Path) -> ExtractedFrames:
    """Select, decode and resize the frames that the model sees.

    Args:
        path: the client's video.
        bounds: selects the frames and their size.
        frames: receives a ZIP of one PNG per frame.
        sheet: receives a PNG with all frames and their times.

    Raises:
        MediaError
    """
    scan = _scan_packets(path)
    clock = _frame_clock(scan)
    indices = bounds.select_frames(clock)
    seconds = [clock.time_of(index) for index in indices]
    contact_sheet = ContactSheet(len(indices))
    size = source = (0, 0)
    with zipfile.ZipFile(frames, "w", zipfile.ZIP_STORED) as archive:
        for number, frame in enumerate(_frames_at(path, scan, indices)):
            image = _to_upright_image(frame)
            if number == 0:
                source, size = image.size, _fitted_size(bounds, len(indices), image.size)
            image = image.resize(size, Image.Resampling.BICUBIC)
            contact_sheet.add(image, seconds[number])
            png = io.BytesIO()
            image.save(png, "PNG", compress_level=1)
            archive.writestr(f"{number:04}.png", png.getvalue())
    contact_sheet.save(sheet)
    return ExtractedFrames(*size, seconds, *source)


@dataclass(frozen=True)
class _PacketScan:
    """What the pass over the packets found."""

    timestamps: list[int]
    """Of the frames in display order, in units of ``time_base_s``; empty when packets have none."""
    num_frames: int
    rate: float
    """Frames per second: by the header, or the average."""
    time_base_s: float


@contextmanager
def _open_video(path: Path) -> Iterator[tuple[Any, Any]]:
    """Open the container; yields it and its first video stream."""
    try:
        with av.open(str(path), options={"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}) as container:
            streams: list[Any] = [stream for stream in container.streams.video if not _is_cover_art(stream)]
            if not streams:
                raise MediaError("video_unsupported", "the file contains no video stream; send a video.")
            if streams[0].codec_context is None:
                message = "its video codec is not supported; convert it, for example to H.264 in MP4."
                raise MediaError("video_unsupported", message)
            yield container, streams[0]
    except (av.error.InvalidDataError, av.error.ArgumentError, ValueError) as error:
        message = "the file is not a readable video; send a complete MP4, MOV, WebM, MKV or AVI file."
        raise MediaError("video_unsupported", message) from error
    except av.error.FFmpegError as error:
        message = f"the video cannot be read ({error.strerror}); save it again with another program."
        raise MediaError("video_unreadable", message) from error


def _is_cover_art(stream: Any) -> bool:
    """Whether a video stream is only the cover image of an audio file."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _scan_packets(path: Path) -> _PacketScan:
    with _open_video(path) as (container, stream):
        timestamps = _read_timestamps(container, stream)
        known = sorted(timestamp for timestamp in timestamps if timestamp is not None)
        time_base_s = float(stream.time_base or 0)
        rate = float(stream.average_rate or stream.guessed_rate or 0)
        if len(known) < len(timestamps) or not time_base_s:
            return _PacketScan([], len(timestamps), rate or DEFAULT_RATE, 0.0)
        span_s = (known[-1] - known[0]) * time_base_s
        average_rate = (len(known) - 1) / span_s if span_s else DEFAULT_RATE
        return _PacketScan(known, len(known), rate or average_rate, time_base_s)


def _read_timestamps(container: Any, stream: Any) -> list[int | None]:
    """Return the display timestamp of each frame's packet, in the order of the file; check the stream's limits."""
    width, height = stream.codec_context.width, stream.codec_context.height
    if not 0 < width * height <= MAX_FRAME_PIXELS:
        message = f"its frames have {width}×{height} pixels; the limit is 8192×8192. Scale it down."
        raise MediaError("video_unreadable", message)
    timestamps: list[int | None] = []
    for packet in container.demux(stream):
        if packet.size and not packet.is_discard:
            timestamps.append(packet.pts)
        if len(timestamps) > MAX_FRAMES:
            raise MediaError("video_too_long", f"it has more than {MAX_FRAMES} frames; send a shorter part of it.")
    if not timestamps:
        raise MediaError("video_empty", "it has no frames; send a video with frames.")
    if len(timestamps) < MIN_COMPLETE_SHARE * stream.frames:
        message = f"the file ends after {len(timestamps)} of {stream.frames} frames; send the complete file."
        raise MediaError("video_truncated", message)
    return timestamps


def _frame_clock(scan: _PacketScan) -> FrameClock:
    """Use the real times of a video with a variable frame rate; of others the rate, as transformers does."""
    seconds = tuple((timestamp - scan.timestamps[0]) * scan.time_base_s for timestamp in scan.timestamps)
    tolerance_s = max(CONSTANT_RATE_TOLERANCE_S, 2 * scan.time_base_s)
    if all(abs(second - index / scan.rate) <= tolerance_s for index, second in enumerate(seconds)):
        return FrameClock(scan.num_frames, scan.rate)
    return FrameClock(scan.num_frames, scan.num_frames / (seconds[-1] or 1 / scan.rate), seconds)


def _frames_at(path: Path, scan: _PacketScan, indices: list[int]) -> Iterator[Any]:
    """Decode the frames at ``indices``, in order. The next frame replaces one that cannot be decoded."""
    wanted = [scan.timestamps[index] for index in indices] if scan.timestamps else indices
    num_yielded, frame = 0, None
    for count, frame in enumerate(_decode(path)):
        position = frame.pts if scan.timestamps else count
        while num_yielded < len(wanted) and position is not None and wanted[num_yielded] <= position:
            yield frame
            num_yielded += 1
        if num_yielded == len(wanted):
            return
    if frame is None:
        message = "none of its frames can be decoded; save it again with another program."
        raise MediaError("video_unreadable", message)
    for _ in wanted[num_yielded:]:
        yield frame


def _decode(path: Path) -> Iterator[Any]:
    with _open_video(path) as (container, stream):
        stream.thread_type = "AUTO"
        for packet in container.demux(stream):
            try:
                yield from packet.decode()
            except av.error.InvalidDataError:
                continue  # a damaged frame; players continue as well


def _to_upright_image(frame: Any) -> Image.Image:
    image: Image.Image = frame.to_image()
    rotation = ROTATIONS.get(round(frame.rotation) % 360)
    return image.transpose(rotation) if rotation is not None else image


def _fitted_size(bounds: VideoBounds, frames: int, size: tuple[int, int]) -> tuple[int, int]:
    try:
        return bounds.fit(frames, *size)
    except ValueError as error:
        raise MediaError("video_aspect", f"{error}; crop it.") from error
