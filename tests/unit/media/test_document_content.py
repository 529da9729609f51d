"""Documents without content of their own, packages with unusual parts, and what the messages say."""

import io
import zipfile
from pathlib import Path

import pytest

from testing.inputs.documents import deck, line_drawing, pdf_with, pptx
from tests.unit.media.test_document import BOUNDS, opened, pixels
from worker.prepare.media.documents.document import render_page
from worker.prepare.media.documents.document_kind import detect_document_kind
from worker.prepare.media.errors import MediaError

WIDGET = "<< /Type /Annot /Subtype /Widget /FT /Tx /T (a) /V (hello) /DA (/F 12 Tf) /Rect [9 9 90 30] /P 3 0 R >>"
XFA = "<< /Length 5 >>\nstream\n<xdp>\nendstream"
PLEASE_WAIT = "BT /F 12 Tf 10 50 Td (Please wait... If this message is not replaced, upgrade Adobe Reader.) Tj ET"
FILE = "<< /Type /Filespec /F (a.pdf) /EF << /F 5 0 R >> >>"
ATTACHED = "/Names << /EmbeddedFiles << /Names [(a.pdf) 6 0 R] >> >>"
EMBEDDED = ("<< /Type /EmbeddedFile /Length 1 >>\nstream\nx\nendstream", FILE)

PLACEHOLDERS = {
    "dynamic form": pdf_with("/NeedsRendering true /AcroForm << /XFA 5 0 R /Fields [] >>", XFA),
    "form without fields": pdf_with("/AcroForm << /XFA [(template) 5 0 R] /Fields [] >>", XFA),
    "form that asks to wait": pdf_with(
        "/AcroForm << /XFA 5 0 R /Fields [6 0 R] >>", XFA, WIDGET, content=PLEASE_WAIT, page="/Annots [6 0 R]"
    ),
    "portfolio": pdf_with(f"/Collection << /Type /Collection /View /D >> {ATTACHED}", *EMBEDDED),
    "portfolio, as an object": pdf_with(f"/Collection 7 0 R {ATTACHED}", *EMBEDDED, "<< /Type /Collection >>"),
}


@pytest.mark.parametrize("name", PLACEHOLDERS)
def test_a_pdf_whose_page_is_a_placeholder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(MediaError, match=r"portfolio|XFA form") as error:
        opened(PLACEHOLDERS[name], tmp_path)
    assert error.value.code == "document_unsupported"
    assert "send" in error.value.message


CONTENT = {
    "form with its fields": pdf_with("/AcroForm << /XFA 5 0 R /Fields [6 0 R] >>", XFA, WIDGET, page="/Annots [6 0 R]"),
    "invoice with its data attached": pdf_with(ATTACHED, *EMBEDDED),
    "portfolio whose files are hidden": pdf_with(f"/Collection << /View /H >> {ATTACHED}", *EMBEDDED),
    "the word on a page": pdf_with(ATTACHED, *EMBEDDED, content="BT /F 12 Tf 9 9 Td (/Collection <<) Tj ET"),
}


@pytest.mark.parametrize("name", CONTENT)
def test_a_pdf_with_pages_of_its_own_is_accepted(tmp_path: Path, name: str) -> None:
    assert opened(CONTENT[name], tmp_path)[1] == 1


def archive(name: str, content: str) -> bytes:
    """Return an archive of one member."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr(name, content)
    return out.getvalue()


def changed(data: bytes, old: str, new: str | None) -> bytes:
    """Rename a member of an archive, or leave it out."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w") as target:
        for name in source.namelist():
            if name != old:
                target.writestr(name, source.read(name))
            elif new:
                target.writestr(new, source.read(name))
    return out.getvalue()


def refusal(content: bytes, folder: Path) -> MediaError:
    (folder / "file").write_bytes(content)
    with pytest.raises(MediaError) as error:
        detect_document_kind(folder / "file")
    return error.value


SMALL = line_drawing(64, 36)


@pytest.mark.parametrize(
    "content",
    [
        pptx([SMALL]),
        pptx([SMALL], main="deck/main.xml"),
        pptx([SMALL], main="deck/main.xml", root_target="/deck/main.xml"),
        pptx([SMALL], main="deck/main.xml", root_target="./x/../deck/Main.XML"),
        changed(pptx([SMALL]), "_rels/.rels", None),
    ],
)
def test_the_main_part_is_found_by_its_relationship(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert detect_document_kind(tmp_path / "file") == "pptx"


def test_a_presentation_without_its_mime_type_is_recognized(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(changed(deck(1), "mimetype", None))
    assert detect_document_kind(tmp_path / "file") == "odp"


def test_a_presentation_without_slides_is_refused(tmp_path: Path) -> None:
    ole2 = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(504)
    for content in (pptx(), deck(0), ole2 + "PowerPoint Document".encode("utf-16-le")):
        error = refusal(content, tmp_path)
        assert (error.code, error.message) == ("document_empty", "it has no slides; send a presentation with slides.")


ODD_NAMES = [
    {},
    {"slide_name": "Folien/Seite {}.dat"},
    {"slide_name": "../pages/{}.xml"},
    {"main": "main.xml", "slide_name": "s{}"},
    {"slide_name": "slides/Größe {}.xml", "slide_target": "slides/Gr%C3%B6%C3%9Fe%20{}.xml"},
    {"slide_name": "slides/slide{}.xml", "slide_target": "/PPT/Slides/./Slide{}.xml"},
]
"""Names of parts that other programs than PowerPoint write: the relationships tell what a part is."""


@pytest.mark.parametrize("names", ODD_NAMES)
def test_a_presentation_whose_slides_are_all_hidden_is_refused(tmp_path: Path, names: dict[str, str]) -> None:
    hidden = pptx([SMALL, SMALL], hidden=(1, 2), **names)
    assert refusal(hidden, tmp_path).message.startswith("all its slides are hidden")


@pytest.mark.parametrize("names", ODD_NAMES)
def test_a_presentation_with_a_visible_slide_is_accepted(tmp_path: Path, names: dict[str, str]) -> None:
    (tmp_path / "file").write_bytes(pptx([SMALL, SMALL], hidden=(1,), **names))
    assert detect_document_kind(tmp_path / "file") == "pptx"


def test_a_slide_that_the_presentation_does_not_list_does_not_count(tmp_path: Path) -> None:
    """Programs leave the parts of deleted slides in the archive."""
    hidden = pptx([SMALL, SMALL], hidden=(1,))
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(hidden)) as source, zipfile.ZipFile(out, "w") as target:
        for name in source.namelist():
            target.writestr(name, source.read(name).replace(b'<p:sldId id="257" r:id="rId2"/>', b""))
    assert refusal(out.getvalue(), tmp_path).message.startswith("all its slides are hidden")


KINDS = {
    "a Word document": archive("word/document.xml", "x"),
    "an Excel workbook": archive("xl/workbook.xml", "<workbook/>"),
    "an OpenDocument text": archive("mimetype", "application/vnd.oasis.opendocument.text"),
    "an EPUB book": archive("mimetype", "application/epub+zip"),
    "an archive": archive("readme", "x"),
    "an Outlook message": bytes.fromhex("d0cf11e0a1b11ae1") + bytes(504) + "__substg1.0_".encode("utf-16-le"),
    "a PNG image": b"\x89PNG\r\n\x1a\n" + bytes(9),
    "a web page (HTML)": b"<!doctype html><title>Log in</title>",
    "a Rich Text document": b"{\\rtf1 hello}",
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_message_names_the_kind_of_another_document(tmp_path: Path, kind: str) -> None:
    error = refusal(KINDS[kind], tmp_path)
    assert error.code == "document_unsupported"
    assert kind in error.message
    assert "PDF, PPTX, PPT" in error.message


def test_an_archive_with_a_password_is_named(tmp_path: Path) -> None:
    content = pptx([SMALL])
    for signature, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        places = [place for place in range(len(content)) if content.startswith(signature, place)]
        for place in places:
            content = content[: place + flags] + b"\1" + content[place + flags + 1 :]
    assert refusal(content, tmp_path).code == "document_encrypted"


def test_a_damaged_list_of_slides_is_not_called_empty(tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(pptx([SMALL]))) as source:
        parts = {name: source.read(name) for name in source.namelist()}
    parts["ppt/presentation.xml"] = parts["ppt/presentation.xml"].replace(b"<p:sldIdLst>", b"<p:sldIdLst")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as target:
        for name, part in parts.items():
            target.writestr(name, part)
    assert refusal(out.getvalue(), tmp_path).code == "document_unreadable"


def test_a_deck_whose_main_part_is_damaged_is_unreadable(tmp_path: Path) -> None:
    assert refusal(changed(pptx([SMALL]), "ppt/presentation.xml", None), tmp_path).code == "document_unreadable"


def test_well_packed_drawings_are_no_bomb(tmp_path: Path) -> None:
    drawing = line_drawing()
    content = pptx([drawing] * 20)
    assert 20 * len(drawing) > 400 * len(content)
    (tmp_path / "file").write_bytes(content)
    assert detect_document_kind(tmp_path / "file") == "pptx"


@pytest.mark.usefixtures("office")
def test_a_deck_of_a_well_packed_drawing_is_rendered(tmp_path: Path) -> None:
    path, pages = opened(pptx([line_drawing(640, 360)], main="deck/main.xml"), tmp_path)
    assert pages == 1
    assert pixels(render_page(path, 1, BOUNDS)).min() < 100, "there are lines"
