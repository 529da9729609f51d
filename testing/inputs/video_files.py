"""Changes the bytes of video files: edit lists, display matrices, repeated frames, several tracks."""

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream

FIXED = 65_536
"""MP4's fixed-point numbers have 16 bits behind the point."""
Matrix = tuple[int, int, int, int]
"""a, b, c and d of a display matrix."""


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    while start < end:
        size, kind = struct.unpack_from(">I4s", data, start)
        yield kind, start, start + size
        start += size


def _find(data: bytes, *path: bytes) -> int:
    """Return where a box's content starts."""
    start, end = 0, len(data)
    for name in path:
        start, end = next((at + 8, stop) for kind, at, stop in _boxes(data, start, end) if kind == name)
    return start


def with_edit(mp4: bytes, *, start_s: float, duration_s: float) -> bytes:
    """Show only a part of a video, as a cut without encoding again does. The file contains all its frames."""
    data = bytearray(mp4)
    (movie_scale,) = struct.unpack_from(">I", data, _find(mp4, b"moov", b"mvhd") + 12)
    (track_scale,) = struct.unpack_from(">I", data, _find(mp4, b"moov", b"trak", b"mdia", b"mdhd") + 12)
    edits = _find(mp4, b"moov", b"trak", b"edts", b"elst")
    (media_time,) = struct.unpack_from(">i", data, edits + 12)
    shown = round(duration_s * movie_scale)
    struct.pack_into(">Ii", data, edits + 8, shown, media_time + round(start_s * track_scale))
    struct.pack_into(">I", data, _find(mp4, b"moov", b"trak", b"tkhd") + 20, shown)
    struct.pack_into(">I", data, _find(mp4, b"moov", b"mvhd") + 16, shown)
    return bytes(data)


def with_display_matrix(mp4: bytes, matrix: Matrix) -> bytes:
    """Turn or mirror a video for display."""
    data = bytearray(mp4)
    a, b, c, d = (value * FIXED for value in matrix)
    struct.pack_into(">9i", data, _find(mp4, b"moov", b"trak", b"tkhd") + 40, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    return bytes(data)


def with_repeated_frames(avi: bytes, every: int) -> bytes:
    """Keep one frame of ``every`` and replace the others by empty chunks: an AVI then repeats the frame before."""
    place = avi.index(b"movi")
    (length,) = struct.unpack_from("<I", avi, place - 4)
    frames, index, at, number = b"movi", b"", place + 4, 0
    while at < place - 4 + length:
        kind, size = struct.unpack_from("<4sI", avi, at)
        content = avi[at + 8 : at + 8 + size] if number % every == 0 else b""
        index += kind + struct.pack("<III", 0x10 if number == 0 else 0, len(frames), len(content))
        frames += kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
        at, number = at + 8 + size + size % 2, number + 1
    body = avi[12 : place - 8]
    for kind, content in ((b"LIST", frames), (b"idx1", index)):
        body += kind + struct.pack("<I", len(content)) + content
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"AVI " + body


def write_tracks(path: Path, tracks: Sequence[tuple[str, np.ndarray, int, int]]) -> Path:
    """Write a file of several video tracks, each of one color.

    Args:
        path: the extension of the name chooses the container.
        tracks: of each the codec, one frame, the number of frames and the disposition.
    """
    with av.open(str(path), "w") as container:
        streams = []
        for codec, pixels, _, disposition in tracks:
            stream = container.add_stream(codec, rate=25)
            assert isinstance(stream, VideoStream)
            stream.height, stream.width = pixels.shape[:2]
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.disposition = disposition  # type: ignore[assignment]
            streams.append(stream)
        for stream, (_, pixels, frames, _) in zip(streams, tracks, strict=True):
            for _ in range(frames):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode())
    return path
