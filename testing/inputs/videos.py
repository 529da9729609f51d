"""Generated videos, encoded by PyAV."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream

RED, BLUE = (220, 20, 30), (20, 30, 220)
MILLISECOND = Fraction(1, 1000)


def scene(index: int, frames: int, size: tuple[int, int] = (160, 96)) -> np.ndarray:
    """Return a frame: left half red, right half blue, and a white bar that moves from left to right."""
    width, height = size
    picture = np.empty((height, width, 3), np.uint8)
    picture[:, : width // 2], picture[:, width // 2 :] = RED, BLUE
    left = index * (width - 8) // max(frames - 1, 1)
    picture[:16, left : left + 8] = 255
    return picture


def shades(frames: int, size: tuple[int, int], seed: int = 7) -> np.ndarray:
    """Return ``[frames, height, width, 3]``: moving gradients, in which no two frames are equal."""
    width, height = size
    random = np.random.default_rng(seed)
    time, y, x = np.meshgrid(np.arange(frames), np.arange(height), np.arange(width), indexing="ij")
    layers = [
        np.sin(x * along + y * down + time * pace + phase)
        for along, down, pace, phase in random.uniform((0.02, 0.02, 0.1, 0), (0.1, 0.1, 0.4, 6), (3, 4))
    ]
    return ((np.stack(layers, axis=-1) + 1) * 127.5).astype(np.uint8)


def write(
    path: Path,
    frames: Sequence[np.ndarray],
    *,
    rate: int | Fraction = 25,
    codec: str = "libx264",
    shown_ms: Sequence[int] | None = None,
    rotation: int = 0,
    is_live: bool = False,
    pixel_aspect: Fraction | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Encode frames; the extension of the name chooses the container.

    Args:
        shown_ms: the time of each frame in milliseconds, for a variable frame rate.
        rotation: degrees, counter-clockwise, by which players rotate it.
        is_live: write neither a duration nor an index, as the recorder of a browser does.
        pixel_aspect: width of a pixel by its height.
        options: for libav's muxer.
    """
    options = {"live": "1"} if is_live else options or {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=rate)
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "rgb24" if codec == "png" else "yuv420p"
        if codec.startswith("libvpx"):
            stream.options = {"deadline": "realtime", "cpu-used": "8"}
        if pixel_aspect:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        if rotation:
            stream.set_display_rotation(rotation)
        if shown_ms:
            stream.codec_context.time_base = MILLISECOND
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            if shown_ms:
                frame.pts, frame.time_base = shown_ms[number], MILLISECOND
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def clip(path: Path, count: int = 50, *, size: tuple[int, int] = (160, 96), **options: object) -> Path:
    """Write a video of ``scene``."""
    return write(path, [scene(index, count, size) for index in range(count)], **options)  # type: ignore[arg-type]


def retimed(path: Path, source: Path, change: Callable[[list[int]], list[int]]) -> Path:
    """Copy a video with other presentation timestamps, without encoding it again.

    Args:
        path: the copy; the extension of the name chooses the container.
        source: the video; its codec must not reorder frames.
        change: gets the timestamps in milliseconds, in the order of the file, and returns others.
    """
    with av.open(str(source)) as container, av.open(str(path), "w") as copy:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        out = copy.add_stream_from_template(stream)
        times = change([round(packet.pts * packet.time_base * 1000) for packet in packets])  # type: ignore[operator]
        # Muxers want decoding times that increase and do not exceed the presentation times.
        earliest = [min(times[index:]) - (len(times) - index) for index in range(len(times))]
        for packet, time, decoded in zip(packets, times, earliest, strict=True):
            packet.stream, packet.time_base = out, MILLISECOND
            packet.pts, packet.dts = time, decoded
            copy.mux(packet)
    return path
