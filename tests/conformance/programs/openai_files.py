"""Files with OpenAI's SDK for Python."""

import io
import struct
import sys
import zlib
from typing import Any

import openai
from run_features import run

URL, MODE = sys.argv[1:]
client = openai.OpenAI(base_url=URL, api_key="unused", _strict_response_validation=MODE == "strict")
LARGE = bytes(range(256)) * 2**16  # 16 MiB


def picture() -> bytes:
    """A red PNG of 56 × 56 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + b"\xff\0\0" * 56) * 56
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 56, 56, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def files() -> None:
    made = client.files.create(file=("notes.txt", b"hello"), purpose="user_data")
    assert (made.filename, made.bytes, made.purpose, made.status) == ("notes.txt", 5, "user_data", "processed")
    assert client.files.retrieve(made.id) == made
    assert client.files.content(made.id).read() == b"hello"
    assert client.files.delete(made.id).deleted
    try:
        client.files.retrieve(made.id)
    except openai.NotFoundError as error:
        assert error.code == "file_not_found", error.code
    else:
        raise AssertionError("the file is still there")


def large_file() -> None:
    made = client.files.create(
        file=io.BytesIO(LARGE),
        purpose="assistants",
        extra_body={"expires_after": {"anchor": "created_at", "seconds": 3600}},
    )
    assert made.bytes == len(LARGE)
    found: Any = made
    assert found.expires_at == made.created_at + 3600
    assert client.files.content(made.id).read() == LARGE
    client.files.delete(made.id)


def pages() -> None:
    made = [client.files.create(file=(f"{number}", b"1"), purpose="fine-tune").id for number in range(5)]
    listed = [file.id for file in client.files.list(purpose="fine-tune", limit=2, order="asc")]
    assert listed == made, listed
    assert [file.id for file in client.files.list(purpose="fine-tune", limit=3)] == made[::-1]
    for one in made:
        client.files.delete(one)


def image_by_id() -> None:
    made = client.files.create(file=("red.png", picture()), purpose="vision")
    content: list[Any] = [{"type": "input_image", "file_id": made.id}, {"type": "input_text", "text": "Which color?"}]
    reply = client.responses.create(model="pocket", input=[{"role": "user", "content": content}], temperature=0)
    assert reply.status == "completed", reply
    client.files.delete(made.id)
    try:
        client.responses.create(model="pocket", input=[{"role": "user", "content": content}])
    except openai.BadRequestError as error:
        assert error.param == "input[0].content[0].file_id", error.param
    else:
        raise AssertionError("a deleted file was accepted")


def errors() -> None:
    try:
        client.files.create(file=("a", b"1"), purpose="made-up")  # type: ignore[arg-type]
    except openai.BadRequestError as error:
        assert error.param == "purpose", error.param
    else:
        raise AssertionError("a made-up purpose was accepted")


run(
    {
        "file: create, retrieve, content, delete": files,
        "file of 16 MiB with expires_after": large_file,
        "files, listed in pages": pages,
        "image by file_id": image_by_id,
        "files, errors": errors,
    }
)
