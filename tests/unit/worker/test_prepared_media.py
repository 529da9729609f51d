"""The generate worker opens PNGs of the recorded size, and nothing else that a decoder may have written."""

import io
import zipfile

import pytest
from PIL import Image

from jobs.errors import JobFailed
from jobs.model.documents.prepared import PreparedImage, PreparedVideo
from worker.generate.prepared_media import open_frames, open_image

IMAGE = PreparedImage("a.png", 40, 30, 80, 60)
VIDEO = PreparedVideo("a.zip", 40, 30, (0.0, 1.0), 80, 60, sheet_key="a-sheet.png")


def encoded(kind: str = "PNG", size: tuple[int, int] = (40, 30)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size).save(stream, kind)
    return stream.getvalue()


def archive(*frames: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as file:
        for number, frame in enumerate(frames):
            file.writestr(f"{number:04}.png", frame)
    return stream.getvalue()


def test_pngs_of_the_recorded_size_are_opened() -> None:
    assert open_image(encoded(), IMAGE).size == (40, 30)
    assert len(open_frames(archive(encoded(), encoded()), VIDEO)) == 2


@pytest.mark.parametrize("data", [encoded("TIFF"), encoded("JPEG"), encoded("GIF"), encoded(size=(41, 30)), b"", b"x"])
def test_other_images_are_refused(data: bytes) -> None:
    with pytest.raises(JobFailed):
        open_image(data, IMAGE)


@pytest.mark.parametrize(
    "data",
    [
        archive(encoded()),
        archive(*[encoded()] * 3),
        archive(encoded(), encoded("TIFF")),
        archive(encoded(), encoded(), compression=zipfile.ZIP_DEFLATED),
        b"PK",
    ],
)
def test_other_archives_are_refused(data: bytes) -> None:
    with pytest.raises(JobFailed):
        open_frames(data, VIDEO)
