"""HDR and wide gamuts, described by code points, are shown in sRGB, as the formulas of the standards say."""

import io
import struct
from pathlib import Path
from typing import Any

import av
import numpy as np
import pillow_heif
import pytest
from PIL import Image

from testing.inputs.images import encoded, with_png_chunk
from tests.unit.media.test_image import normalized, pixels
from tests.unit.media.test_video import frames_of
from worker.prepare.media.containers.png import strip_png

BT2020, P3 = 9, 12
SRGB, PQ, HLG, LINEAR = 13, 16, 18, 8
TO_SRGB = {
    1: np.eye(3),
    BT2020: np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]),
    P3: np.array([[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]]),
}
"""Linear light to that of sRGB: ITU-R BT.2087, and Display P3."""
MEAN_TOLERANCE, TOLERANCE = 0.5, 6
"""Of 255: the mean difference, and that of 99 % of the values. Larger ones are dark values at the edge of the gamut."""


def pq_to_nits(value: Any) -> Any:
    """SMPTE ST 2084, equation 4.1."""
    power = np.power(value, 32 / 2523)
    return 10_000 * np.power(np.maximum(power - 3424 / 4096, 0) / (2413 / 128 - 2392 / 128 * power), 16384 / 2610)


def nits_to_pq(nits: Any) -> Any:
    """SMPTE ST 2084, equation 5.1."""
    power = np.power(np.asarray(nits) / 10_000, 2610 / 16384)
    return np.power((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power), 2523 / 32)


def hlg_to_nits(value: Any) -> Any:
    """BT.2100, table 5, for a display of 1,000 cd/m²."""
    scene = np.where(value <= 0.5, value**2 / 3, (np.exp((value - 0.55991073) / 0.17883277) + 0.28466892) / 12)
    luminance = scene @ np.array([0.2627, 0.6780, 0.0593])
    return 1_000 * np.power(luminance, 0.2)[..., None] * scene


def tone_mapped(nits: Any) -> Any:
    """BT.2390-11, 5.4.1: from 1,000 to 203 cd/m², applied to the largest of red, green and blue."""
    largest = nits.max(axis=-1, keepdims=True)
    peak = nits_to_pq(1_000.0)
    signal, target = np.minimum(nits_to_pq(largest) / peak, 1), nits_to_pq(203.0) / peak
    start = 1.5 * target - 0.5
    t = (signal - start) / (1 - start)
    spline = (2 * t**3 - 3 * t**2 + 1) * start + (t**3 - 2 * t**2 + t) * (1 - start) + (-2 * t**3 + 3 * t**2) * target
    mapped = pq_to_nits(np.where(signal < start, signal, spline) * peak)
    return nits * mapped / np.maximum(largest, 1e-9) / 203


def shown(stored: Any, primaries: int, transfer: int) -> Any:
    """Return the sRGB values, 0 to 255, of stored values from 0 to 1."""
    if transfer == PQ:
        light = tone_mapped(pq_to_nits(stored))
    elif transfer == HLG:
        light = tone_mapped(hlg_to_nits(stored))
    elif transfer == LINEAR:
        light = stored
    else:
        light = np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4)
    light = np.clip(light @ TO_SRGB[primaries].T, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.power(light, 1 / 2.4) - 0.055)


def colors(count: int = 100) -> Any:
    """Random colors of all saturations and brightnesses."""
    return np.random.default_rng(3).integers(0, 256, (count, count, 3), np.uint8)


def difference(data: bytes, stored: Any, primaries: int, transfer: int) -> Any:
    return np.abs(pixels(normalized(data)).astype(float) - shown(stored / 255, primaries, transfer))


@pytest.mark.parametrize("primaries", [1, BT2020, P3])
@pytest.mark.parametrize("transfer", [SRGB, PQ, HLG, LINEAR])
def test_cicp_of_a_png(primaries: int, transfer: int) -> None:
    stored = colors()
    data = with_png_chunk(encoded(Image.fromarray(stored)), b"cICP", bytes((primaries, transfer, 0, 1)))
    found = difference(data, stored, primaries, transfer)
    assert np.quantile(found, 0.99) <= TOLERANCE
    assert found.mean() <= MEAN_TOLERANCE


def test_cicp_comes_before_a_color_profile_and_gamma() -> None:
    stored = colors()
    data = with_png_chunk(encoded(Image.fromarray(stored)), b"cICP", bytes((BT2020, PQ, 0, 1)))
    data = with_png_chunk(data, b"gAMA", struct.pack(">I", 100_000))
    data = with_png_chunk(data, b"sRGB", b"\0")
    assert difference(data, stored, BT2020, PQ).mean() <= MEAN_TOLERANCE


def test_chromaticities_of_a_png_without_a_profile() -> None:
    """cHRM of BT.2020, with the gamma of sRGB."""
    stored = colors()
    chromaticities = struct.pack(">8I", 31270, 32900, 70800, 29200, 17000, 79700, 13100, 4600)
    data = with_png_chunk(encoded(Image.fromarray(stored)), b"cHRM", chromaticities)
    data = with_png_chunk(data, b"gAMA", struct.pack(">I", 45_455))
    assert difference(data, stored, BT2020, SRGB).mean() <= MEAN_TOLERANCE
    srgb = with_png_chunk(data, b"sRGB", b"\0")
    assert np.abs(pixels(normalized(srgb)).astype(int) - stored).max() == 0, "sRGB comes first"


@pytest.mark.parametrize(
    "content", [bytes(32), bytes(3), struct.pack(">8I", *[30_000] * 8), struct.pack(">8I", *[4_000_000_000] * 8)]
)
def test_impossible_chromaticities_are_ignored(content: bytes) -> None:
    stored = colors()
    data = with_png_chunk(encoded(Image.fromarray(stored)), b"cHRM", content)
    assert strip_png(data).coding is None
    assert np.abs(pixels(normalized(data)).astype(int) - stored).max() == 0


@pytest.mark.parametrize(("primaries", "transfer"), [(BT2020, PQ), (BT2020, HLG), (P3, SRGB), (1, SRGB)])
def test_nclx_of_a_heif(primaries: int, transfer: int) -> None:
    stored = np.kron(colors(8), np.ones((16, 16, 1), np.uint8))
    out = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(stored)).save(
        out, quality=-1, chroma=444, color_primaries=primaries, transfer_characteristics=transfer,
        matrix_coefficients=0, full_range_flag=1,
    )  # fmt: skip
    assert difference(out.getvalue(), stored, primaries, transfer).mean() <= 2


@pytest.mark.parametrize(("primaries", "transfer"), [(BT2020, PQ), (P3, SRGB)])
def test_nclx_of_an_avif(primaries: int, transfer: int) -> None:
    stored = np.kron(colors(8), np.ones((16, 16, 1), np.uint8))
    data = bytearray(encoded(Image.fromarray(stored), "AVIF", quality=100, subsampling="4:4:4"))
    at = data.index(b"colrnclx") + 8
    assert struct.unpack_from(">HH", data, at) == (1, 13)
    struct.pack_into(">HH", data, at, primaries, transfer)
    assert difference(bytes(data), stored, primaries, transfer).mean() <= 2


@pytest.mark.parametrize(("primaries", "transfer"), [(BT2020, PQ), (BT2020, HLG), (P3, SRGB), (1, 1)])
@pytest.mark.parametrize("full_range", [False, True])
def test_a_video_is_shown_in_srgb(tmp_path: Path, primaries: int, transfer: int, full_range: bool) -> None:
    """10 bits, HEVC, with the matrix of BT.2020 or BT.709, in the colors of a wall of 16 fields."""
    stored = np.kron(colors(4), np.ones((32, 32, 1), np.uint8))
    matrix = 9 if primaries == BT2020 else 1
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as out:
        options = f"log-level=none:colorprim={primaries}:transfer={transfer}:colormatrix={matrix}:qp=6"
        options += f":range={'full' if full_range else 'limited'}"
        stream: Any = out.add_stream("libx265", rate=10, options={"x265-params": options, "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 128, 128, "yuv444p10le"
        for index in range(4):
            frame = yuv_frame(stored, matrix, full_range)
            frame.pts = index
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    image = Image.fromarray(frames_of(path, tmp_path)[1][0]).resize((128, 128))
    curve = SRGB if transfer == 1 else transfer
    expected = shown(stored / 255, primaries, curve)
    inner = np.s_[8::32, 8::32]
    assert np.abs(np.asarray(image)[inner].astype(float) - expected[inner]).mean() <= 3


def yuv_frame(rgb: Any, matrix: int, full_range: bool) -> Any:
    """Return a frame of 10 bits by the formulas of BT.709 and BT.2020, tables 3 to 5."""
    kr, kb = {1: (0.2126, 0.0722), 9: (0.2627, 0.0593)}[matrix]
    red, green, blue = (rgb[..., index] / 255 for index in range(3))
    y = kr * red + (1 - kr - kb) * green + kb * blue
    cb, cr = (blue - y) / (2 - 2 * kb), (red - y) / (2 - 2 * kr)
    if full_range:
        planes = [y * 1023, cb * 1023 + 512, cr * 1023 + 512]
    else:
        planes = [y * 876 + 64, cb * 896 + 512, cr * 896 + 512]
    frame = av.VideoFrame(128, 128, "yuv444p10le")
    for plane, values in zip(frame.planes, planes, strict=True):
        plane.update(np.clip(np.rint(values), 0, 1023).astype("<u2").tobytes())
    frame.colorspace, frame.color_range = matrix, 2 if full_range else 1
    return frame
