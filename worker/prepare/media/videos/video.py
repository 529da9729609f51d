"""Extracts the frames of a client's video that the model sees. Runs in the sandbox.

The file is read twice, with at most one decoded frame in memory. The first pass reads when each frame is shown from the
packets, whatever the header says or omits. The second pass decodes, and keeps the frames that the family selects.
"""

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import av
from av.sidedata.sidedata import Type as SideDataType
from PIL import Image

from families import FrameClock, VideoBounds
from worker.prepare.media.contact_sheet import ContactSheet
from worker.prepare.media.errors import MediaError
from worker.prepare.media.images.color_coding import LINEAR, ColorCoding, convert_coded_colors
from worker.prepare.media.images.color_profile import apply_gamma
from worker.prepare.media.images.orientation import SWAPPING, matrix_orientation, transpose
from worker.prepare.media.videos.video_source import MIN_COMPLETE_SHARE, VideoScan, open_video, scan_video

CONSTANT_RATE_TOLERANCE_S = 0.002
"""Matroska rounds times to milliseconds, so the times of a constant frame rate vary by this much."""
PLAUSIBLE_PIXEL_ASPECTS = (0.2, 5.0)
"""Other values are errors of the file."""


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
    scan = scan_video(path)
    clock = _frame_clock(scan)
    indices = bounds.select_frames(clock)
    seconds = [clock.time_of(index) for index in indices]
    contact_sheet = ContactSheet(len(indices))
    size = source = (0, 0)
    with zipfile.ZipFile(frames, "w", zipfile.ZIP_STORED) as archive:
        for number, frame in enumerate(_frames_at(path, scan, indices)):
            orientation = _orientation(frame)
            if number == 0:
                source = _shown_size(frame, scan.pixel_aspect, orientation)
                size = _fitted_size(bounds, len(indices), source)
            image = transpose(frame.to_image(), orientation).resize(size, Image.Resampling.BICUBIC)
            image = _convert_colors(image, frame)
            contact_sheet.add(image, seconds[number])
            png = io.BytesIO()
            image.save(png, "PNG", compress_level=1)
            archive.writestr(f"{number:04}.png", png.getvalue())
    contact_sheet.save(sheet)
    return ExtractedFrames(*size, seconds, *source)


def _frame_clock(scan: VideoScan) -> FrameClock:
    """Use the real times of a video with a variable frame rate; of others the rate, as transformers does."""
    if scan.times is None:
        return FrameClock(scan.num_frames, scan.rate)
    seconds = scan.times.seconds
    tolerance_s = max(CONSTANT_RATE_TOLERANCE_S, 2 * scan.time_base_s)
    if all(abs(second - index / scan.rate) <= tolerance_s for index, second in enumerate(seconds)):
        return FrameClock(scan.num_frames, scan.rate)
    return FrameClock(scan.num_frames, scan.num_frames / (seconds[-1] or 1 / scan.rate), seconds)


def _frames_at(path: Path, scan: VideoScan, indices: list[int]) -> Iterator[Any]:
    """Decode the frames at ``indices``, in order. The next frame replaces one that cannot be decoded.

    Raises:
        MediaError: none can be decoded, or a part at the end cannot.
    """
    num_yielded, rank, frame = 0, -1, None
    for frame, rank in _ranked(_decode(path, scan), scan.times.rank_by_timestamp if scan.times else {}):
        while num_yielded < len(indices) and indices[num_yielded] <= rank:
            yield frame
            num_yielded += 1
        if num_yielded == len(indices):
            return
    if frame is None:
        message = "none of its frames can be decoded; save it again with another program."
        raise MediaError("video_unreadable", message)
    if scan.times and rank + 1 < MIN_COMPLETE_SHARE * scan.num_frames:
        message = (
            f"the file is cut off or damaged: only its first {rank + 1} of {scan.num_frames} frames can be decoded; "
            "send the complete file."
        )
        raise MediaError("video_truncated", message)
    for _ in indices[num_yielded:]:
        yield frame


def _ranked(frames: Iterator[Any], ranks: dict[int, int]) -> Iterator[tuple[Any, int]]:
    """Yield each frame with its position among all frames. Decoders return frames in the order in which they are shown.

    Args:
        frames: decoded frames.
        ranks: positions by timestamp. A frame whose timestamp places it behind the following one takes the next one.
    """
    last, waiting = -1, None
    for frame in chain(frames, [None]):
        if waiting is not None:
            rank = ranks.get(waiting.pts, last + 1)
            if frame is not None and ranks.get(frame.pts, rank) < rank:
                rank = last + 1
            last = max(rank, last)
            yield waiting, last
        waiting = frame


def _decode(path: Path, scan: VideoScan) -> Iterator[Any]:
    with open_video(path, **scan.options) as container:
        stream = container.streams[scan.track]
        stream.thread_type = "AUTO"
        for packet in container.demux(stream):
            try:
                yield from packet.decode()
            except av.error.InvalidDataError:
                continue  # a damaged frame; players continue as well


def _orientation(frame: Any) -> int:
    """Return the EXIF orientation of a frame; ``frame.rotation`` would not say whether it is mirrored."""
    matrix = frame.side_data.get(SideDataType.DISPLAYMATRIX)
    return 1 if matrix is None else matrix_orientation(bytes(matrix))


def _convert_colors(image: Image.Image, frame: Any) -> Image.Image:
    """Return a frame in sRGB. libswscale has applied the matrix and the range, but neither tone curve nor primaries."""
    coding = ColorCoding.of_code_points(int(frame.color_primaries), int(frame.color_trc))
    return convert_coded_colors(apply_gamma(image, coding.gamma if coding.transfer == LINEAR else None), coding)


def _shown_size(frame: Any, pixel_aspect: float, orientation: int) -> tuple[int, int]:
    """Return the size of a frame with square pixels, upright."""
    width, height = frame.width, frame.height
    lowest, highest = PLAUSIBLE_PIXEL_ASPECTS
    if lowest <= pixel_aspect <= highest:
        # Only ever enlarged, so that no detail is lost.
        width, height = round(width * max(pixel_aspect, 1)), round(height / min(pixel_aspect, 1))
    return (height, width) if orientation in SWAPPING else (width, height)


def _fitted_size(bounds: VideoBounds, frames: int, size: tuple[int, int]) -> tuple[int, int]:
    try:
        return bounds.fit(frames, *size)
    except ValueError as error:
        raise MediaError("video_aspect", f"{error}; crop it.") from error
