"""Opens the images and frames that the prepare stage stored.

They were written by decoders of clients' files (worker/prepare/decoding/outputs.py), so only what such a decoder must
write is accepted: PNGs of the recorded size.
"""

import io
import zipfile

from PIL import Image

from jobs.errors import JobFailed
from jobs.model.documents.prepared import PreparedImage, PreparedVideo

FORMATS = ("PNG",)
INVALID = "The job's prepared inputs are invalid; submit the job again."


def open_image(data: bytes, prepared: PreparedImage) -> Image.Image:
    """Open an image or a page. Raises JobFailed."""
    return _open_png(data, prepared.width, prepared.height)


def open_frames(archive: bytes, prepared: PreparedVideo) -> list[Image.Image]:
    """Open the frames of a video. Raises JobFailed."""
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as frames:
            members = frames.infolist()
            # Frames are stored without compression, so the archive cannot unpack to more than it has.
            if len(members) != len(prepared.seconds) or any(m.compress_type != zipfile.ZIP_STORED for m in members):
                raise JobFailed("internal_error", INVALID)
            return [_open_png(frames.read(member), prepared.width, prepared.height) for member in members]
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError) as error:
        raise JobFailed("internal_error", INVALID) from error


def _open_png(data: bytes, width: int, height: int) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (OSError, SyntaxError, ValueError) as error:
        raise JobFailed("internal_error", INVALID) from error
    if image.size != (width, height):
        raise JobFailed("internal_error", INVALID)
    return image
