"""Documents of many kinds: each is rendered as pages or refused with an error code."""

import hashlib
import io
import os
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from families import FAMILIES
from testing.inputs.documents import deck, page_color, pdf, scanned_pdf, zip_bomb
from testing.processes.http_server import HttpServer
from worker.prepare.media.documents.document import open_document, render_page
from worker.prepare.media.documents.document_kind import detect_document_kind
from worker.prepare.media.documents.libreoffice import find_libreoffice
from worker.prepare.media.errors import MediaError
from worker.prepare.media.images.image import NormalizedImage
from worker.prepare.sandbox.client import Sandbox

BOUNDS = FAMILIES["glm-4.1v-thinking"].images
SANDBOX = Sandbox()


@pytest.fixture(autouse=True, scope="module")
def sandbox() -> Iterator[None]:
    yield
    SANDBOX.close()


def opened(content: bytes, folder: Path) -> tuple[Path, int]:
    source = folder / "source"
    source.write_bytes(content)
    scratch = folder / "scratch"
    scratch.mkdir()

    path, pages = SANDBOX.run(
        open_as_text, source, scratch, readable=(source,), writable=scratch, timeout_s=100, memory_bytes=2**32,
        starts_programs=True,
    )  # fmt: skip
    return Path(path), pages


def open_as_text(source: Path, folder: Path) -> list[Any]:
    path, pages = open_document(source, folder)
    return [str(path), pages]


def pixels(page: NormalizedImage) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(page.png)).convert("RGB"))


def test_each_page_becomes_an_image(tmp_path: Path) -> None:
    path, pages = opened(pdf(3), tmp_path)
    assert pages == 3
    for number in (1, 3):
        page = render_page(path, number, BOUNDS)
        assert (page.width, page.height) == (750, 1_000), "300 × 400 points at 180 dpi"
        assert np.abs(pixels(page)[500, 300].astype(int) - page_color(number)).max() <= 1


def test_a_page_is_rendered_within_its_pixel_limit(tmp_path: Path) -> None:
    path, _ = opened(pdf(1), tmp_path)
    page = render_page(path, 1, BOUNDS.narrow(100_000))
    assert 90_000 < page.width * page.height <= 100_000


def test_a_scanned_page_is_rendered(tmp_path: Path) -> None:
    path, pages = opened(scanned_pdf(), tmp_path)
    assert pages == 2
    assert pixels(render_page(path, 2, BOUNDS)).min() < 50, "there is ink"


@pytest.mark.parametrize(("width", "height"), [(200_000, 200_000), (1, 1), (5_000, 100)])
def test_pages_of_extreme_sizes_are_rendered(tmp_path: Path, width: int, height: int) -> None:
    path, _ = opened(pdf(1, width=width, height=height), tmp_path)
    page = render_page(path, 1, BOUNDS)
    assert page.width * page.height <= BOUNDS.max_pixels


def test_a_page_that_is_too_narrow_is_refused_with_its_number(tmp_path: Path) -> None:
    path, _ = opened(pdf(2, width=14_400, height=20), tmp_path)
    with pytest.raises(MediaError, match=r"^page 2: .*200 times"):
        render_page(path, 2, BOUNDS)


def test_a_page_is_rotated_and_cropped_as_in_pdf_readers(tmp_path: Path) -> None:
    content = pdf(1).replace(b"/Type /Page ", b"/Type /Page /Rotate 90 /CropBox [50 100 250 200] ")
    path, _ = opened(content, tmp_path)
    page = render_page(path, 1, BOUNDS)
    assert (page.width, page.height) == (250, 500), "100 × 200 points at 180 dpi"


def test_ten_thousand_pages_are_counted(tmp_path: Path) -> None:
    assert opened(pdf(10_000, color=False), tmp_path)[1] == 10_000


def archive_of(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return out.getvalue()


OLE2 = bytes.fromhex("d0cf11e0a1b11ae1")
REFUSED = {
    "empty": (b"", "document_unreadable"),
    "text": (b"Dear Sir,", "document_unsupported"),
    "image": (b"\x89PNG\r\n\x1a\n" + bytes(50), "document_unsupported"),
    "encrypted pdf": (pdf(1, encrypt=True), "document_encrypted"),
    "pdf without pages": (pdf(0), "document_empty"),
    "pdf with a wrong page count": (pdf(2).replace(b"/Count 2", b"/Count 999999"), "document_too_long"),
    "encrypted odp": (deck(encrypt=True), "document_encrypted"),
    "cut off pdf": (pdf(3)[:300], "document_unreadable"),
    "pdf that is only a header": (b"%PDF-1.7\nnothing more", "document_unreadable"),
    "word": (archive_of("[Content_Types].xml", "word/document.xml"), "document_unsupported"),
    "jar": (archive_of("META-INF/MANIFEST.MF"), "document_unsupported"),
    "cut off deck": (deck()[:400], "document_unreadable"),
    "bomb": (zip_bomb(), "document_too_large"),
    "encrypted deck": (OLE2 + bytes(504) + "EncryptedPackage".encode("utf-16-le"), "document_encrypted"),
    "old word": (OLE2 + bytes(504) + "WordDocument".encode("utf-16-le"), "document_unsupported"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_is_not_a_document_is_refused_with_a_code(tmp_path: Path, name: str) -> None:
    content, code = REFUSED[name]
    with pytest.raises(MediaError) as error:
        opened(content, tmp_path)
    assert error.value.code == code, error.value.message


def convert_deck(content: bytes, kind: str, folder: Path) -> bytes:
    """Convert an ODP deck to another format with LibreOffice."""
    source = folder / "source.odp"
    source.write_bytes(content)
    program = find_libreoffice()
    assert program is not None
    profile = f"-env:UserInstallation={(folder / 'profile').as_uri()}"
    command = [
        str(program.with_name("soffice")),
        profile,
        "--headless",
        "--convert-to",
        kind,
        "--outdir",
        str(folder),
        str(source),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=100)
    return (folder / f"source.{kind}").read_bytes()


@pytest.mark.usefixtures("office")
@pytest.mark.parametrize("kind", ["odp", "pptx", "ppt"])
def test_slides_become_pages_without_their_notes(tmp_path: Path, kind: str) -> None:
    content = deck(3) if kind == "odp" else convert_deck(deck(3), kind, tmp_path)
    (tmp_path / "deck").write_bytes(content)
    assert detect_document_kind(tmp_path / "deck") == kind
    path, pages = opened(content, tmp_path)
    assert pages == 3
    page = render_page(path, 1, BOUNDS)
    assert page.width > page.height
    assert pixels(page).min() < 50, "there is text"


@pytest.mark.usefixtures("office")
def test_libreoffice_uses_no_folder_but_its_own(tmp_path: Path) -> None:
    """Its socket is in /tmp by default. The name has the MD5 of the profile's URL, each byte in hexadecimal."""
    profile = tmp_path / "scratch" / "profile"
    digest = hashlib.md5(profile.as_uri().encode("utf-16-le"), usedforsecurity=False).digest()
    default = Path(f"/tmp/OSL_PIPE_{os.getuid()}_SingleOfficeIPC_{''.join(f'{byte:x}' for byte in digest)}")
    default.write_text("a file of another job")
    try:
        assert opened(deck(1), tmp_path)[1] == 1
        assert default.read_text() == "a file of another job"
    finally:
        default.unlink(missing_ok=True)


@pytest.mark.usefixtures("office")
def test_a_deck_cannot_link_to_the_network_or_to_local_files(tmp_path: Path, http_server: HttpServer) -> None:
    Image.new("RGB", (40, 40), (255, 255, 0)).save(tmp_path / "secret.png")
    http_server.answer("/x.png", body=(tmp_path / "secret.png").read_bytes())
    for link in (http_server.url("/x.png"), (tmp_path / "secret.png").as_uri()):
        folder = tmp_path / link.partition(":")[0]
        folder.mkdir()
        path, _ = opened(deck(1, linked_picture=link), folder)
        page = pixels(render_page(path, 1, BOUNDS)).astype(int)
        assert not ((page[..., 0] > 200) & (page[..., 1] > 200) & (page[..., 2] < 60)).any(), (
            "the linked image was rendered"
        )
    assert http_server.received == []


@pytest.mark.usefixtures("office")
def test_a_deck_that_libreoffice_cannot_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError) as error:
        opened(archive_of("ppt/presentation.xml", "[Content_Types].xml"), tmp_path)
    assert error.value.code == "document_unreadable"


def test_without_libreoffice_the_error_names_the_package_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "deck").write_bytes(deck())
    with pytest.raises(MediaError, match=r"send a PDF.*apt install libreoffice-impress-nogui") as error:
        open_document(tmp_path / "deck", tmp_path)
    assert error.value.code == "office_unavailable"
