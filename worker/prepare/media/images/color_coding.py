"""Converts images whose colors a video, AVIF, HEIF or PNG describes by code points (ITU-T H.273) to sRGB.

HDR (PQ and HLG) is mapped to standard range as ITU-R BT.2390 describes, with diffuse white at 203 cd/m² (BT.2408). The
conversion is a table of colors between which Pillow interpolates: an image of any size takes as long as a resize.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageFilter

Vector = tuple[float, float, float]
Matrix = tuple[Vector, Vector, Vector]

SRGB_PRIMARIES = (0.3127, 0.3290, 0.640, 0.330, 0.300, 0.600, 0.150, 0.060)
"""x and y of white, red, green and blue; the order of PNG's cHRM."""
WIDE_PRIMARIES = {
    9: (0.3127, 0.3290, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
"""BT.2020, DCI-P3 and Display P3 by code point. The others are close to sRGB; videos of standard definition have them,
and players and the model's training show their values as they are."""
GAMMAS = {4: 1 / 2.2, 5: 1 / 2.8, 8: 1.0}
"""As in ``apply_gamma``, by the code point of a transfer: BT.470 M and B/G, linear. Others count as sRGB's curve."""
LINEAR, PQ, HLG = 8, 16, 18
WHITE_NITS, PEAK_NITS = 203.0, 1_000.0
"""Diffuse white, and the brightest that HDR content usually is: the nominal peak of HLG, and of most masters in PQ."""
SIDE = 33
"""Colors of the table along each axis. The mean difference from the exact conversion is below 0.5 of 255, and 99 % of
the values differ by at most 6 (tests/unit/media/test_color_coding.py)."""
MAX_ENTRY = 1.9
"""Pillow's tables hold values from -2 to 2, and the result is clipped to 0 to 1."""
BRADFORD: Matrix = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))
PRIMARIES_TOLERANCE = 0.01


@dataclass(frozen=True, slots=True)
class ColorCoding:
    """What the values of an image mean, apart from a tone curve that was applied already."""

    primaries: tuple[float, ...]
    """Chromaticities in the order of ``SRGB_PRIMARIES``."""
    transfer: int = 13

    @classmethod
    def of_code_points(cls, primaries: int, transfer: int) -> "ColorCoding":
        return cls(WIDE_PRIMARIES.get(primaries, SRGB_PRIMARIES), transfer)

    @property
    def is_hdr(self) -> bool:
        return self.transfer in (PQ, HLG)

    @property
    def gamma(self) -> float | None:
        """The light is a stored value to the power of the inverse of this. None: sRGB's curve, or HDR."""
        return GAMMAS.get(self.transfer)

    @property
    def is_srgb(self) -> bool:
        """Whether the values, after ``gamma``, are sRGB or nearly so."""
        differences = (abs(own - srgb) for own, srgb in zip(self.primaries, SRGB_PRIMARIES, strict=True))
        return not self.is_hdr and max(differences) < PRIMARIES_TOLERANCE


def convert_coded_colors(image: Image.Image, coding: ColorCoding | None) -> Image.Image:
    """Return an image in sRGB; the same one if it is. Its ``gamma`` must have been applied.

    Args:
        image: of mode L or RGB.
    """
    if coding is None or coding.is_srgb or image.mode not in ("L", "RGB"):
        return image
    return image.convert("RGB").filter(_table(coding))


@lru_cache(maxsize=4)
def _table(coding: ColorCoding) -> ImageFilter.Color3DLUT:
    """Return the sRGB colors of a grid of stored colors."""
    matrix = _to_srgb_primaries(coding.primaries)
    levels = [_light(index / (SIDE - 1), coding.transfer) for index in range(SIDE)]
    table: list[float] = []
    for blue in levels:
        for green in levels:
            for red in levels:
                light: Vector = (red, green, blue)
                if coding.is_hdr:
                    light = _mapped(_displayed(light, coding.transfer))
                table += [_encoded(value) for value in _product(matrix, light)]
    return ImageFilter.Color3DLUT(SIDE, table)


def _light(value: float, transfer: int) -> float:
    """Return the light of a stored value: cd/m² for PQ (SMPTE ST 2084), of the scene for HLG (BT.2100), else 0 to 1."""
    if transfer == PQ:
        power = value ** (1 / 78.84375)
        power = max(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)
        return float(10_000 * power ** (1 / 0.1593017578125))
    if transfer == HLG:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        return value**2 / 3 if value <= 0.5 else float((2.718281828459045 ** ((value - c) / a) + b) / 12)
    return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)


def _displayed(light: Vector, transfer: int) -> Vector:
    """Return the light of the display in cd/m²; for HLG with the system gamma of a display of ``PEAK_NITS``."""
    if transfer == PQ:
        return light
    luminance = 0.2627 * light[0] + 0.6780 * light[1] + 0.0593 * light[2]
    factor = PEAK_NITS * luminance**0.2
    return (light[0] * factor, light[1] * factor, light[2] * factor)


def _mapped(nits: Vector) -> Vector:
    """Return light from 0 to 1 (``WHITE_NITS``). The brightest is mapped (BT.2390-11, 5.4.1), and the hue stays."""
    brightest = max(nits)
    if brightest <= 0:
        return (0.0, 0.0, 0.0)
    factor = _compressed(brightest) / brightest / WHITE_NITS
    return (nits[0] * factor, nits[1] * factor, nits[2] * factor)


def _compressed(nits: float) -> float:
    peak = _pq(PEAK_NITS)
    value, limit = min(_pq(nits) / peak, 1.0), _pq(WHITE_NITS) / peak
    knee = 1.5 * limit - 0.5
    if value > knee:
        t = (value - knee) / (1 - knee)
        value = (
            (2 * t**3 - 3 * t**2 + 1) * knee
            + (t**3 - 2 * t**2 + t) * (1 - knee)
            + (3 * t**2 - 2 * t**3) * limit
        )  # fmt: skip
    return _light(value * peak, PQ)


def _pq(nits: float) -> float:
    power = (nits / 10_000) ** 0.1593017578125
    return float(((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375)


def _encoded(light: float) -> float:
    """Return sRGB's value, also outside of its gamut: if clipped before, its edge would be interpolated badly."""
    size = abs(light)
    value = 12.92 * size if size <= 0.0031308 else float(1.055 * size ** (1 / 2.4) - 0.055)
    return min(value, MAX_ENTRY) if light > 0 else -min(value, MAX_ENTRY)


def _to_srgb_primaries(primaries: Sequence[float]) -> Matrix:
    """Return the matrix from linear light of some primaries to that of sRGB, adapted to its white (Bradford)."""
    own_white, srgb_white = _xyz(*primaries[:2]), _xyz(*SRGB_PRIMARIES[:2])
    own, wanted = _product(BRADFORD, own_white), _product(BRADFORD, srgb_white)
    scale: Matrix = ((wanted[0] / own[0], 0.0, 0.0), (0.0, wanted[1] / own[1], 0.0), (0.0, 0.0, wanted[2] / own[2]))
    adapted = _times(_times(_inverse(BRADFORD), scale), _times(BRADFORD, _to_xyz(primaries)))
    return _times(_inverse(_to_xyz(SRGB_PRIMARIES)), adapted)


def _to_xyz(primaries: Sequence[float]) -> Matrix:
    """Return the matrix from linear light of some primaries to CIE XYZ. Raises ZeroDivisionError."""
    red, green, blue = (_xyz(*primaries[at : at + 2]) for at in (2, 4, 6))
    columns: Matrix = ((red[0], green[0], blue[0]), (red[1], green[1], blue[1]), (red[2], green[2], blue[2]))
    amounts = _product(_inverse(columns), _xyz(*primaries[:2]))
    rows = [(row[0] * amounts[0], row[1] * amounts[1], row[2] * amounts[2]) for row in columns]
    return (rows[0], rows[1], rows[2])


def _xyz(x: float, y: float) -> Vector:
    return (x / y, 1.0, (1 - x - y) / y)


def _product(matrix: Matrix, vector: Vector) -> Vector:
    x, y, z = vector
    first, second, third = (row[0] * x + row[1] * y + row[2] * z for row in matrix)
    return (first, second, third)


def _times(first: Matrix, second: Matrix) -> Matrix:
    columns = [_product(first, column) for column in zip(*second, strict=True)]
    rows = list(zip(*columns, strict=True))
    return (rows[0], rows[1], rows[2])


def _inverse(matrix: Matrix) -> Matrix:
    (a, b, c), (d, e, f), (g, h, i) = matrix
    determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    cofactors = (
        (e * i - f * h, c * h - b * i, b * f - c * e),
        (f * g - d * i, a * i - c * g, c * d - a * f),
        (d * h - e * g, b * g - a * h, a * e - b * d),
    )
    rows = [(row[0] / determinant, row[1] / determinant, row[2] / determinant) for row in cofactors]
    return (rows[0], rows[1], rows[2])
