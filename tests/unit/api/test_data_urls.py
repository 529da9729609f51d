"""``data:`` URLs are decoded as browsers decode them; what cannot be a file is refused with a reason."""

import base64

import pytest

from api.intake.data_urls import decode_data_url
from api.schemas.checks.media_kind import media_type_of, wrong_part
from jobs.errors import Invalid

FILE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 2 + b"\xfb\xff\xfe"
PLAIN = base64.b64encode(FILE).decode()


@pytest.mark.parametrize(
    "url",
    [
        f"data:image/png;base64,{PLAIN}",
        f"DATA:IMAGE/PNG;BASE64,{PLAIN}",
        f"data:;base64,{PLAIN}",
        f"data:image/png; base64,{PLAIN}",
        f"data:image/png;   base64 ,{PLAIN}",
        f"data:image/png;charset=utf-8;base64,{PLAIN}",
        f"data:image/png;name=a.png;base64, {PLAIN}",
        "data:image/png;base64," + base64.encodebytes(FILE).decode(),
        "data:image/png;base64," + base64.encodebytes(FILE).decode().replace("\n", "\r\n\t"),
        "data:image/png;base64," + PLAIN.rstrip("="),
        "data:image/png;base64," + base64.urlsafe_b64encode(FILE).decode(),
        "data:image/png;base64," + base64.urlsafe_b64encode(FILE).decode().rstrip("="),
        "data:image/png;base64," + PLAIN.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D"),
        "data:image/png;base64," + base64.encodebytes(FILE).decode().replace("\n", "%0A"),
        "data:image/png," + "".join(f"%{byte:02x}" for byte in FILE),
    ],
)
def test_what_browsers_decode_is_decoded(url: str) -> None:
    assert decode_data_url(url, "/x") == FILE


@pytest.mark.parametrize(
    ("text", "data"), [("aGk=", b"hi"), ("aGk", b"hi"), ("aGl", b"hi"), ("YQ==", b"a"), ("YR", b"a")]
)
def test_padding_may_be_missing_and_unused_bits_are_ignored(text: str, data: bytes) -> None:
    assert decode_data_url(f"data:;base64,{text}", "/x") == data


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("data:image/png;base64", "comma"),
        ("data:;base64,a*k=", r"character 2 .*'\*'"),
        ("data:;base64,aGk=aGk=", "'='"),
        ("data:;base64,aGk==", "'='"),
        ("data:;base64,a===", "'='"),
        ("data:;base64,=", "'='"),
        ("data:;base64,aGkaa", "length"),
        ("data:;base64,", "without data"),
        ("data:,", "without data"),
        (f"data:image/png,{PLAIN}", ";base64 directly before the comma"),
        (f"data:image/png;base64;charset=utf-8,{PLAIN}", ";base64 directly before the comma"),
        (f'data:image/png;name="a,b.png";base64,{PLAIN}', "comma before ;base64"),
    ],
)
def test_what_cannot_be_a_file_is_refused_with_its_location(url: str, message: str) -> None:
    with pytest.raises(Invalid, match=message) as refusal:
        decode_data_url(url, "/messages/0/content/1/image_url/url")
    assert refusal.value.problems[0].pointer == "/messages/0/content/1/image_url/url"


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (b"%PDF-1.7", "application/pdf"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"RIFF\x00\x00\x00\x00AVI LIST", "video/x-msvideo"),
        (b"\x00\x00\x00\x18ftypheic", "image/heic"),
        (b"\x00\x00\x00\x18ftypisom", "video/mp4"),
        (b"  <svg xmlns=", "image/svg+xml"),
        (b"anything else", None),
    ],
)
def test_files_are_recognized_by_their_first_bytes(data: bytes, media_type: str | None) -> None:
    assert media_type_of(data) == media_type


def test_a_file_in_a_part_of_the_wrong_type_is_named() -> None:
    assert '"type": "file"' in wrong_part(b"%PDF-1.7", "image")
    assert '"type": "image_url"' in wrong_part(FILE, "document")
    assert '"type": "video_url"' in wrong_part(b"\x1aE\xdf\xa3", "image")
    assert [wrong_part(FILE, "image"), wrong_part(b"GIF89a", "video"), wrong_part(b"?", "image")] == ["", "", ""]
