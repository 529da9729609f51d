"""Reads and writes examples in LLaMA-Factory's format for GLM-V: ``finetune.json`` and image files.

    python -m pocket.tasks.data FOLDER [COUNT] [SEED]

A list of ``{"messages": [{"role", "content"}], "images": [paths]}``. ``<image>`` marks the
position of an image. The last message is ``<think>…</think><answer>…</answer>``; earlier answers have no thoughts.
``<video>`` and ``videos`` work alike: each path is a folder of frames, named by their time in milliseconds.
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
from pocket.tasks.synthetic_dataset import Curriculum, SyntheticDataset
from pocket.world.lexicon import Language

FILE = "finetune.json"
MEDIA_TAGS = {"image": "<image>", "video": "<video>"}
LAST = re.compile(r"\s*<think>(.*?)</think>\s*<answer>(.*?)</answer>\s*", re.DOTALL)


class BadExample(ValueError):
    """An example is invalid. The message names the file, the example and the problem."""


def write(folder: Path, examples: Iterable[Example]) -> int:
    """Write the examples and return their number."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = [_entry(folder, number, example) for number, example in enumerate(examples)]
    (folder / FILE).write_text(json.dumps(entries, ensure_ascii=False, indent=1), "utf-8")
    return len(entries)


def read(file: Path) -> Iterator[Example]:
    """Yield the examples of a file. Paths are relative to its folder.

    Raises:
        BadExample
    """
    try:
        entries = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise BadExample(f"{file} is not JSON: {error}") from error
    if not isinstance(entries, list):
        raise BadExample(f"{file} must contain a list of examples")
    for number, entry in enumerate(entries):
        try:
            yield _example(file.parent, entry)
        except (KeyError, TypeError, OSError, ValueError) as error:
            problem = f"it has no {error}" if isinstance(error, KeyError) else error
            raise BadExample(f"{file}, example {number + 1}: {problem}") from error


def _entry(folder: Path, number: int, example: Example) -> dict[str, Any]:
    images, videos = [], []
    for place, image in enumerate(example.images):
        images.append(f"{number:05}-{place}.png")
        image.save(folder / images[-1])
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
    return part["text"] if part["type"] == "text" else MEDIA_TAGS[part["type"]]


def _example(folder: Path, entry: dict[str, Any]) -> Example:
    *turns, last = entry["messages"]
    match = LAST.fullmatch(last["content"])
    if last["role"] != "assistant" or not match:
        raise ValueError("its last message must be the assistant's: <think>…</think><answer>…</answer>")
    messages = [{"role": turn["role"], "content": _parts(turn["role"], turn["content"])} for turn in turns]
    named = {"image": entry.get("images", []), "video": entry.get("videos", [])}
    for kind, paths in named.items():
        asked = sum(part["type"] == kind for turn in messages for part in turn["content"])
        if asked != len(paths):
            raise ValueError(
                f"its messages contain {MEDIA_TAGS[kind]} {asked} times, but {len(paths)} {kind}s are listed"
            )
    language: Language = "zh" if entry.get("language") == "zh" else "en"
    return Example(
        entry.get("skill", "given"),
        language,
        messages,
        match[1],
        match[2],
        [_opened(folder / path) for path in named["image"]],
        [_film(folder / path) for path in named["video"]],
    )


def _parts(role: str, content: str) -> list[dict[str, Any]]:
    if role != "user":
        return [text(content)]
    pieces = re.split("(<image>|<video>)", content)
    kinds = {MEDIA_TAGS["image"]: IMAGE, MEDIA_TAGS["video"]: VIDEO}
    return [kinds.get(piece) or text(piece) for piece in pieces if piece]


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def _film(folder: Path) -> Video:
    files: Sequence[Path] = sorted(folder.glob("*.png"))
    return Video([_opened(file) for file in files], tuple(int(file.stem) / 1000 for file in files))


def main(folder: Path, count: int = 1_000, seed: int = 1) -> None:
    dataset = SyntheticDataset(seed, Fonts())
    examples: list[Example] = []
    while len(examples) < count:
        examples += dataset.next_examples(Curriculum(), min(16, count))
    print(f"{folder / FILE}: {write(folder, examples[:count])} examples")  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
