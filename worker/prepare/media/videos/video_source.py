"""Opens a client's video, chooses its video track and reads when its frames are shown, whatever the header says."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from av.stream import Disposition

from worker.prepare.media.errors import MediaError
from worker.prepare.media.file_kind import HEAD_BYTES, describe_file
from worker.prepare.media.videos.video_container import measure_container
from worker.prepare.media.videos.video_timing import FrameTimes, frame_times

CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi"
"""libav's names of the allowed formats. Others may refer to further files and URLs: playlists, image sequences."""
OPTIONS = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
SEND_SUPPORTED = "send a complete MP4, MOV, WebM, MKV or AVI file"
MAX_FRAMES = 500_000
MAX_TRACKS = 16
MAX_FRAME_PIXELS = 8192 * 8192
MIN_COMPLETE_SHARE = 0.9
"""Share of the declared frames or bytes that a file must contain; with less it was cut off."""
SAME_LENGTH_SHARE = 0.9
"""Tracks of nearly as many frames, such as two cameras, are of the same length; of those the larger picture is used."""
DEFAULT_RATE = 24.0
PLAUSIBLE_RATES = (0.01, 250.0)
"""A header with another rate means something else, such as the unit of its timestamps."""
WITHOUT_EDITS = {"ignore_editlist": "1"}
"""libav's option for all frames of an MP4, those that its edit list hides included."""
PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
"""Tracks that are no video: covers and previews."""


@dataclass(frozen=True)
class VideoScan:
    """What the pass over the packets found."""

    track: int
    """Index of the chosen stream."""
    num_frames: int
    rate: float
    """Frames per second: by the header, or the average."""
    time_base_s: float
    times: FrameTimes | None
    """None: they follow from the rate."""
    pixel_aspect: float
    """Width of a pixel, as a multiple of its height."""
    options: dict[str, str]
    """Used for opening the file."""


@contextmanager
def open_video(path: Path, **options: str) -> Iterator[Any]:
    """Open the container.

    Args:
        path: the client's video.
        options: for libav's demuxer.

    Raises:
        MediaError: also for libav's errors within the block.
    """
    try:
        with av.open(str(path), options={**OPTIONS, **options}) as container:
            yield container
    except (av.error.InvalidDataError, av.error.ArgumentError, ValueError) as error:
        raise _not_a_video(path) from error
    except av.error.FFmpegError as error:
        message = f"the video cannot be read ({error.strerror}); save it again with another program."
        raise MediaError("video_unreadable", message) from error


def scan_video(path: Path) -> VideoScan:
    """Choose the track and read its packets.

    Raises:
        MediaError
    """
    scan = _scan(path, {}) or _scan(path, WITHOUT_EDITS)
    if scan is None:
        error = _cut_off_error(path)
        raise error or MediaError("video_empty", "it has no frames; send a video with frames.")
    return scan


def _scan(path: Path, options: dict[str, str]) -> VideoScan | None:
    """Return None if the file shows no frame: damaged edit lists hide all."""
    with open_video(path, **options) as container:
        tracks = _video_tracks(container)
        timestamps = _read_timestamps(container, tracks)
        stream = _choose(tracks, timestamps)
        found = timestamps[stream.index]
        _check_size(stream)
        if not found:
            return None
        _check_completeness(path, container, stream, len(found))
        time_base_s = float(stream.time_base or 0)
        times = frame_times(found, time_base_s)
        return VideoScan(
            track=stream.index,
            num_frames=len(found),
            rate=_rate(stream, times),
            time_base_s=time_base_s,
            times=times,
            pixel_aspect=float(stream.sample_aspect_ratio or 1),
            options=options,
        )


def _video_tracks(container: Any) -> list[Any]:
    """Return the tracks that can be decoded, without covers and previews."""
    tracks = [stream for stream in container.streams.video if not stream.disposition & PICTURES]
    if not tracks:
        raise MediaError("video_unsupported", "the file contains no video stream; send a video.")
    decodable = [stream for stream in tracks if stream.codec_context is not None]
    if not decodable:
        message = "its video codec is not supported; convert it, for example to H.264 in MP4."
        raise MediaError("video_unsupported", message)
    return decodable[:MAX_TRACKS]


def _read_timestamps(container: Any, tracks: list[Any]) -> dict[int, list[int | None]]:
    """Return the display timestamp of each frame's packet, in the order of the file, by track."""
    found: dict[int, list[int | None]] = {track.index: [] for track in tracks}
    for packet in container.demux(*tracks):
        if packet.size and not packet.is_discard:
            timestamps = found[packet.stream_index]
            timestamps.append(packet.pts)
            if len(timestamps) > MAX_FRAMES:
                raise MediaError("video_too_long", f"it has more than {MAX_FRAMES} frames; send a shorter part of it.")
    return found


def _choose(tracks: list[Any], timestamps: dict[int, list[int | None]]) -> Any:
    """Return the track that players show by default; else the longest, of several the one with the most pixels."""
    defaults = [track for track in tracks if track.disposition & Disposition.default]
    candidates = [track for track in defaults if timestamps[track.index]] or tracks
    most = max(len(timestamps[track.index]) for track in candidates)
    longest = [track for track in candidates if len(timestamps[track.index]) >= SAME_LENGTH_SHARE * most]
    return max(longest, key=lambda track: track.codec_context.width * track.codec_context.height)


def _check_size(stream: Any) -> None:
    width, height = stream.codec_context.width, stream.codec_context.height
    if not 0 < width * height <= MAX_FRAME_PIXELS:
        message = f"its frames have {width}×{height} pixels; the limit is 8192×8192. Scale it down."
        raise MediaError("video_unreadable", message)


def _check_completeness(path: Path, container: Any, stream: Any, num_frames: int) -> None:
    """Refuse a file that was cut off.

    Fewer frames than declared are no proof: an edit list hides some, and an AVI declares those that repeat the one
    before, too.
    """
    size = measure_container(path)
    declared = stream.frames
    if num_frames >= MIN_COMPLETE_SHARE * declared > 0 or size is None:
        return
    if container.format.name.startswith("mov") and declared:
        contained = _count_packets(path, stream.index)
        if contained < MIN_COMPLETE_SHARE * declared:
            message = f"the file is cut off: it ends after {contained} of {declared} frames; send the complete file."
            raise MediaError("video_truncated", message)
    elif size.share < MIN_COMPLETE_SHARE and (error := _cut_off_error(path)):
        raise error


def _count_packets(path: Path, track: int) -> int:
    """Return how many frames of a track the file contains, those that its edit list hides included."""
    with open_video(path, **WITHOUT_EDITS) as container:
        return sum(1 for packet in container.demux(container.streams[track]) if packet.size)


def _rate(stream: Any, times: FrameTimes | None) -> float:
    lowest, highest = PLAUSIBLE_RATES
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate and lowest <= rate <= highest:
            return float(rate)
    if times and times.seconds[-1]:
        return (len(times.seconds) - 1) / times.seconds[-1]
    return DEFAULT_RATE


def _not_a_video(path: Path) -> MediaError:
    """Return the error for a file that libav does not open."""
    if error := _cut_off_error(path):
        return error
    with path.open("rb") as file:
        kind = describe_file(file.read(HEAD_BYTES))
    what = f"the file is {kind}, not a readable video" if kind else "the file is not a readable video"
    return MediaError("video_unsupported", f"{what}; {SEND_SUPPORTED}.")


def _cut_off_error(path: Path) -> MediaError | None:
    """Return the error for a file that is shorter than its headers say. None: it is not."""
    size = measure_container(path)
    if size is None or (size.has_index and not size.is_cut_off):
        return None
    missing = "the description of its frames, which recorders write last, is missing"
    if size.is_cut_off:
        missing = f"it ends after {size.actual_bytes} of {size.declared_bytes} bytes"
    return MediaError("video_truncated", f"the file is cut off: {missing}; send the complete file.")
