"""What a decoder returns and writes is as untrusted as the file that it opened."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from worker.prepare.decoding import outputs
from worker.prepare.media.errors import MediaError


def picture(path: Path, kind: str = "PNG") -> None:
    Image.new("RGB", (40, 30)).save(path, kind)


def test_a_png_of_the_announced_size_is_accepted(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    outputs.check_png(tmp_path / "a.png", 40, 30)
    with pytest.raises(MediaError, match="not a PNG of the size"):
        outputs.check_png(tmp_path / "a.png", 41, 30)


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.symlink_to(path.with_name("secret.png")),
        lambda path: os.link(path.with_name("secret.png"), path),
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: os.mkfifo(path),
        lambda path: path.mkdir(),
        lambda path: picture(path, "TIFF"),
        lambda path: picture(path, "JPEG"),
        lambda path: path.write_bytes(b"\x89PNG"),
        lambda _path: None,
    ],
    ids=["symlink", "hard link", "device", "pipe", "folder", "TIFF", "JPEG", "cut off", "missing"],
)
def test_any_other_output_is_refused(tmp_path: Path, write: Callable[[Path], Any]) -> None:
    """A symlink or a hard link would upload another file; any format but PNG would be opened by another decoder."""
    picture(tmp_path / "secret.png")
    write(tmp_path / "output.png")
    with pytest.raises(MediaError) as error:
        outputs.check_png(tmp_path / "output.png", 40, 30)
    assert error.value.code == "decode_crashed"


def test_a_large_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(MediaError, match="the limit is"):
        outputs.check_file(tmp_path / "a", max_bytes=2**32)


@pytest.mark.parametrize(
    "reply", [None, "1234", [1, 2, 3], [1, 2, 3, 4, 5], [1, 2, 3, 0], [1, 2, 3, True], [1, 2, 3, 2**40], [1, 2, 3, "4"]]
)
def test_a_forged_reply_is_refused(reply: Any) -> None:
    with pytest.raises(MediaError):
        outputs.parse_sizes(reply, 4)


@pytest.mark.parametrize("reply", [None, [], ["1"], [float("nan")], [float("inf")], [True], [0.0] * 5, {"0": 1}])
def test_forged_times_are_refused(reply: Any) -> None:
    with pytest.raises(MediaError):
        outputs.parse_seconds(reply, 4)
