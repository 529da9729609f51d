"""Examples as files, in the form that LLaMA-Factory fine-tunes GLM-V from: ``finetune.json`` and pictures beside it.

    python -m pocket.tasks.data FOLDER [COUNT] [SEED]

A list of ``{"messages": [{"role", "content"}], "images": [paths]}``. ``<image>`` stands where a picture goes; the last
turn is ``<think>…</think><answer>…</answer>``, earlier answers stand without their thoughts. ``<video>`` and ``videos``
likewise: a folder of frames each, named by their milliseconds.
"""

import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from engine.inputs.processor import Video
from pocket.tasks.example import IMAGE, VIDEO, Example, text
from pocket.tasks.pages import Fonts
from pocket.tasks.synthetic_dataset import Course, Lessons
from pocket.world.lexicon import Language

FILE = "finetune.json"
MARKS = {"image": "<image>", "video": "<video>"}
LAST = re.compile(r"\s*<think>(.*?)</think>\s*<answer>(.*?)</answer>\s*", re.DOTALL)


class BadExample(ValueError):
    """Says which example of which file, and what is wrong with it."""


def write(folder: Path, examples: Iterable[Example]) -> int:
    """Returns how many."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = [_entry(folder, number, example) for number, example in enumerate(examples)]
    (folder / FILE).write_text(json.dumps(entries, ensure_ascii=False, indent=1), "utf-8")
    return len(entries)


def read(file: Path) -> Iterator[Example]:
    """Paths are taken from the file's folder.

    Raises:
        BadExample
    """
    try:
        entries = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise BadExample(f"{file} is not JSON: {error}") from error
    if not isinstance(entries, list):
        raise BadExample(f"{file} must hold a list of examples")
    for number, entry in enumerate(entries):
        try:
            yield _example(file.parent, entry)
        except (KeyError, TypeError, OSError, ValueError) as error:
            problem = f"it has no {error}" if isinstance(error, KeyError) else error
            raise BadExample(f"{file}, example {number + 1}: {problem}") from error


def _entry(folder: Path, number: int, example: Example) -> dict[str, Any]:
    images, videos = [], []
    for place, picture in enumerate(example.pictures):
        images.append(f"{number:05}-{place}.png")
        picture.save(folder / images[-1])
    for place, video in enumerate(example.videos):
        videos.append(f"{number:05}-{place}-video")
        (folder / videos[-1]).mkdir(exist_ok=True)
        for frame, second in zip(video.frames, video.seconds, strict=True):
            frame.save(folder / videos[-1] / f"{round(1000 * second):07}.png")
    messages = [{"role": turn["role"], "content": "".join(map(_written, turn["content"]))} for turn in example.messages]
    said = f"<think>{example.thought}</think>\n<answer>{example.answer}</answer>"
    entry: dict[str, Any] = {"messages": [*messages, {"role": "assistant", "content": said}], "images": images}
    if videos:
        entry["videos"] = videos
    return {**entry, "skill": example.skill, "language": example.language}


def _written(part: dict[str, Any]) -> str:
    return part["text"] if part["type"] == "text" else MARKS[part["type"]]


def _example(folder: Path, entry: dict[str, Any]) -> Example:
    *turns, last = entry["messages"]
    told = LAST.fullmatch(last["content"])
    if last["role"] != "assistant" or not told:
        raise ValueError("its last message must be the assistant's: <think>…</think><answer>…</answer>")
    messages = [{"role": turn["role"], "content": _parts(turn["role"], turn["content"])} for turn in turns]
    named = {"image": entry.get("images", []), "video": entry.get("videos", [])}
    for kind, paths in named.items():
        asked = sum(part["type"] == kind for turn in messages for part in turn["content"])
        if asked != len(paths):
            raise ValueError(f"its messages name {asked} {kind}s with {MARKS[kind]}, and {len(paths)} are listed")
    language: Language = "zh" if entry.get("language") == "zh" else "en"
    return Example(
        entry.get("skill", "given"),
        language,
        messages,
        told[1],
        told[2],
        [_opened(folder / path) for path in named["image"]],
        [_film(folder / path) for path in named["video"]],
    )


def _parts(role: str, content: str) -> list[dict[str, Any]]:
    if role != "user":
        return [text(content)]
    pieces = re.split("(<image>|<video>)", content)
    kinds = {MARKS["image"]: IMAGE, MARKS["video"]: VIDEO}
    return [kinds.get(piece) or text(piece) for piece in pieces if piece]


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return picture.convert("RGB")


def _film(folder: Path) -> Video:
    files: Sequence[Path] = sorted(folder.glob("*.png"))
    return Video([_opened(file) for file in files], tuple(int(file.stem) / 1000 for file in files))


def main(folder: Path, count: int = 1_000, seed: int = 1) -> None:
    lessons = Lessons(seed, Fonts())
    examples: list[Example] = []
    while len(examples) < count:
        examples += lessons.next(Course(), min(16, count))
    print(f"{folder / FILE}: {write(folder, examples[:count])} examples")  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
