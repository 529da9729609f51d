"""Examples are written to files and read back."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pocket.tasks.data import FILE, BadExample, read, write
from pocket.tasks.example import IMAGE, Example, text, user
from pocket.tasks.file_dataset import FileDataset
from pocket.tasks.pages import Fonts
from pocket.tasks.synthetic_dataset import Curriculum, SyntheticDataset
from pocket.tasks.video import video_example

GOOD = {
    "messages": [
        {"role": "user", "content": "How many?"},
        {"role": "assistant", "content": "<think>\nOne.\n</think>\n<answer>1</answer>"},
    ]
}


def test_written_examples_are_read_back(tmp_path: Path) -> None:
    dataset = SyntheticDataset(1, Fonts())
    examples = [dataset.next_examples(Curriculum(), 4)[0] for _ in range(30)] + [
        video_example(random.Random(1), (112, 112), 2, "zh")
    ]
    assert write(tmp_path, examples) == len(examples)
    for written, found in zip(examples, read(tmp_path / FILE), strict=True):
        assert (found.skill, found.language, found.thought, found.answer) == (
            written.skill, written.language, written.thought, written.answer,
        )  # fmt: skip
        assert found.messages == written.messages
        for first, other in zip(frames(written), frames(found), strict=True):
            assert (first == other).all()
        assert [video.seconds for video in found.videos] == [video.seconds for video in written.videos]


def frames(example: Example) -> list[np.ndarray]:
    images = [*example.images, *(frame for video in example.videos for frame in video.frames)]
    return [np.asarray(image) for image in images]


def test_the_format_of_the_published_data_is_read(tmp_path: Path) -> None:
    """As GLM-V publishes it: line breaks inside the special tokens, no additional fields."""
    (tmp_path / FILE).write_text(json.dumps([GOOD]), "utf-8")
    (example,) = read(tmp_path / FILE)
    assert (example.thought.strip(), example.answer) == ("One.", "1")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, "example 2: it has no 'messages'"),
        ({"messages": [GOOD["messages"][0]]}, "its last message must be the assistant's"),
        ({**GOOD, "images": ["a.png"]}, "its messages contain <image> 0 times, but 1 images are listed"),
        (
            {"messages": [{"role": "user", "content": "<image>?"}, GOOD["messages"][1]], "images": ["gone.png"]},
            "gone.png",
        ),
    ],
)
def test_an_invalid_example_is_named_in_the_error(tmp_path: Path, entry: dict[str, object], message: str) -> None:
    (tmp_path / FILE).write_text(json.dumps([GOOD, entry]), "utf-8")
    with pytest.raises(BadExample, match="example 2"):
        list(read(tmp_path / FILE))
    with pytest.raises(BadExample) as caught:
        list(read(tmp_path / FILE))
    assert message in str(caught.value)


def test_a_file_that_is_not_json_is_named_in_the_error(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("[", "utf-8")
    with pytest.raises(BadExample, match="is not JSON"):
        list(read(tmp_path / FILE))


def test_examples_of_one_batch_have_images_of_one_size(tmp_path: Path) -> None:
    """Photos of any size are resized as the service does it."""
    said = [user(IMAGE, text("What is it?"))]
    sizes = [(640, 480)] * 3 + [(100, 60)] * 2 + [(1200, 900)]
    photos = [Example("given", "en", said, "", "A photo", [Image.new("RGB", size)]) for size in sizes]
    write(tmp_path, [*photos, video_example(random.Random(1), (112, 112), 2, "zh")])
    dataset = FileDataset.of_file(tmp_path / FILE, seed=1)
    seen = set()
    for _ in range(60):
        examples = dataset.next_examples(Curriculum(), 4)
        (shown,) = {tuple(image.size for image in example.images) for example in examples}
        assert all(not side % 28 for size in shown for side in size)
        seen.add((shown, len(examples)))
    assert seen == {(((364, 280),), 4), (((112, 56),), 2), ((), 1)}


def test_a_file_without_examples_is_rejected(tmp_path: Path) -> None:
    write(tmp_path, [])
    with pytest.raises(BadExample, match="contains no example"):
        FileDataset.of_file(tmp_path / FILE, seed=1)
