"""Prompts and tensors equal those of transformers' own processors, which run in a process with torchvision."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from transformers import AutoTokenizer
from transformers.models.glm4v.image_processing_pil_glm4v import Glm4vImageProcessorPil

from engine import ModelInputs, Video
from engine.inputs.processor import InputProcessor
from families import FAMILIES, Family, FrameClock
from testing.inputs.videos import shades, write
from worker.prepare.media.videos.video import extract_frames

ROOT = Path(__file__).parents[3]
POCKET, GLM_4_1V, GLM_4_6V = (FAMILIES[name] for name in ("pocket", "glm-4.1v-thinking", "glm-4.6v-flash"))
POCKET_VIDEO = {"max_duration": 16, "size": {"shortest_edge": 112 * 112, "longest_edge": POCKET.videos.max_pixels}}
RESIZE_TOLERANCE = 0.035
"""PIL and torchvision round the colours of a resized image differently: by 2 of 255, divided by the colours' std."""


Call = Callable[..., Any]


@pytest.fixture(scope="module")
def oracle_process(torchvision: None) -> Iterator[Call]:
    """One process for all calls: it takes seconds to start."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.oracle.processor"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None
    assert stdout is not None

    def call(**arguments: Any) -> Any:
        print(json.dumps(arguments), file=stdin, flush=True)
        line = stdout.readline()
        assert line, f"the reference process exited with {process.wait(10)}"
        return json.loads(line)

    yield call
    stdin.close()
    process.wait(20)
    stdout.close()


@pytest.mark.parametrize(
    ("kind", "family", "options"),
    [("glm4v", GLM_4_1V, {}), ("glm4v", POCKET, {"max_duration": 16}), ("glm46v", GLM_4_6V, {})],
    ids=["glm-4.1v", "pocket", "glm-4.6v"],
)
@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.slow)], ids=["sample", "all"])
def test_the_sampled_frames_are_those_of_transformers(
    oracle_process: Call, kind: str, family: Family, options: dict[str, Any], step: int
) -> None:
    random = np.random.default_rng(3)
    rates = [1, 2, 3, 7.5, 10, 12, 15, 23.976, 24, 25, 29.97, float(Fraction(30_000, 1_001)), 30, 48, 50, 59.94, 60]
    lengths = [1, 2, 3, 4, 5, 29, 30, 31, 60, 61, 480, 481, 599, 600, 601, 899, 900, 901, 9_000, 18_001, 72_500]
    videos = [(count, rate) for rate in rates for count in lengths]
    videos += [(int(random.integers(1, 20_000)), float(random.uniform(0.5, 120))) for _ in range(200)]
    videos = videos[::step]
    expected = oracle_process(call="indices", kind=kind, options=options, videos=videos)
    for (count, rate), indices in zip(videos, expected, strict=True):
        # transformers' Glm46V takes no frame of a video that is too short for one pair, and fails.
        assert family.videos.sampler(FrameClock(count, rate)) == (indices or [0, 0]), (count, rate)


class Oracle:
    """Tensors of a conversation from transformers and from the engine."""

    def __init__(self, call: Call, model: Path, folder: Path) -> None:
        self._call = call
        self._model = str(model)
        self._folder = folder
        self._tokenizer = AutoTokenizer.from_pretrained(self._model)
        self._template: str | None = None
        self._images = Glm4vImageProcessorPil.from_pretrained(self._model)

    def use_template(self, template: str) -> None:
        """Replace the model's own chat template."""
        self._template = self._tokenizer.chat_template = template

    def by_transformers(
        self,
        messages: list[dict[str, Any]],
        *,
        kind: str = "glm4v",
        images: Any = (),
        videos: Any = (),
        fps: float = 25,
    ) -> dict[str, Any]:
        def saved(name: str, arrays: Any) -> list[str]:
            paths = [self._folder / f"{name}-{number}.npy" for number in range(len(arrays))]
            for path, array in zip(paths, arrays, strict=True):
                np.save(path, array)
            return [str(path) for path in paths]

        into = self._folder / "answer.npz"
        answer = self._call(
            call="prompt",
            kind=kind,
            options=POCKET_VIDEO if kind == "glm4v" else {},
            model=self._model,
            template=self._template,
            messages=messages,
            images=saved("image", images),
            videos=saved("video", videos),
            fps=fps,
            into=str(into),
        )
        with np.load(into) as arrays:
            return {**answer, **{name: arrays[name] for name in arrays.files}}

    def by_engine(
        self, messages: list[dict[str, Any]], *, family: Family = POCKET, images: Any = (), videos: Any = ()
    ) -> ModelInputs:
        processor = InputProcessor(self._tokenizer, self._images, family)
        listed = [
            {**message, "content": [{"type": "text", "text": message["content"]}]}
            if isinstance(message["content"], str)
            else message
            for message in messages
        ]
        return processor.process(listed, [Image.fromarray(pixels) for pixels in images], videos)


@pytest.fixture
def oracle(oracle_process: Call, pocket_folder: Path, tmp_path: Path) -> Oracle:
    return Oracle(oracle_process, pocket_folder, tmp_path)


def assert_equal(ours: ModelInputs, theirs: dict[str, Any], *, tolerance: float) -> None:
    assert ours.input_ids.tolist() == theirs["input_ids"]
    assert ours.mm_token_type_ids.tolist() == theirs["mm_token_type_ids"]
    names = ("pixel_values", "image_grid_thw", "pixel_values_videos", "video_grid_thw")
    assert {name for name in names if getattr(ours, name) is not None} == theirs.keys() & set(names)
    for name in theirs.keys() & set(names):
        difference = np.abs(getattr(ours, name).numpy() - theirs[name])
        assert difference.max() <= (tolerance if name.startswith("pixel") else 0), name


IMAGE, VIDEO = {"type": "image"}, {"type": "video"}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


CONVERSATIONS = {
    "text": ([user(text("How many?"))], []),
    "an image": ([user(IMAGE, text("How many?"))], [(100, 70)]),
    "images": ([user(text("one"), IMAGE, text(" two"), IMAGE, IMAGE)], [(100, 70), (300, 40), (500, 400)]),
    "turns": (
        [
            {"role": "system", "content": "Be brief."},
            user(IMAGE, text("How many red ones?")),
            {"role": "assistant", "content": "Two, at <|begin_of_box|>[[1,2,3,4]]<|end_of_box|>."},
            user(text("And here?"), IMAGE),
        ],
        [(100, 70), (56, 84)],
    ),
    "odd texts": (
        [
            {"role": "system", "content": " Be\u2003brief.\n"},
            user(text("  How many?\n\n"), IMAGE, text(" \n"), text("{{ 1 + 1 }} \U0001f408\u200d 图 e\u0301")),
            {"role": "assistant", "content": "\n <b>Two</b> <|begin_of_box|> 2 <|end_of_box|> \n"},
            user(text("\t")),
            {"role": "assistant", "content": "  "},
            user(text("And here?"), IMAGE),
        ],
        [(100, 70), (56, 84)],
    ),
}
GLM_4_6V_TURNS = """[gMASK]<sop>
{%- for message in messages -%}
<|{{ message.role }}|>
{%- if message.role == 'assistant' -%}
{{ '\n<think></think>' }}{% if message.content.strip() %}{{ '\n' + message.content.strip() }}{% endif %}
{%- elif message.content is string -%}
{{ '\n' + message.content }}
{%- else -%}
{{ '\n' }}
{%- for part in message.content -%}
{%- if part.type == 'image' -%}<|begin_of_image|><|image|><|end_of_image|>
{%- elif part.type == 'video' -%}<|begin_of_video|><|video|><|end_of_video|>
{%- else -%}{{ part.text }}{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- endfor -%}
<|assistant|>{{ '\n' }}"""
"""GLM-4.6V's format of turns: an earlier answer follows closed thinking, without white space around it."""


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_images_and_turns_give_the_tensors_of_transformers(oracle: Oracle, name: str) -> None:
    messages, sizes = CONVERSATIONS[name]
    images = [shades(1, size, seed)[0] for seed, size in enumerate(sizes)]
    theirs = oracle.by_transformers(messages, images=images)
    assert_equal(oracle.by_engine(messages, images=images), theirs, tolerance=RESIZE_TOLERANCE)


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_turns_of_the_other_family_give_the_tensors_of_transformers(oracle: Oracle, name: str) -> None:
    messages, sizes = CONVERSATIONS[name]
    images = [shades(1, size, seed)[0] for seed, size in enumerate(sizes)]
    oracle.use_template(GLM_4_6V_TURNS)
    theirs = oracle.by_transformers(messages, kind="glm46v", images=images)
    assert_equal(oracle.by_engine(messages, family=GLM_4_6V, images=images), theirs, tolerance=RESIZE_TOLERANCE)


@pytest.mark.parametrize(
    ("family", "kind", "count", "rate", "size"),
    [
        (POCKET, "glm4v", 50, 25, (168, 112)),
        (POCKET, "glm4v", 45, 10, (200, 120)),
        (POCKET, "glm4v", 70, 4, (64, 48)),
        (GLM_4_6V, "glm46v", 50, 25, (168, 112)),
        (GLM_4_6V, "glm46v", 45, 10, (90, 60)),
    ],
)
def test_a_video_file_gives_the_tensors_of_transformers(
    oracle: Oracle, tmp_path: Path, family: Family, kind: str, count: int, rate: int, size: tuple[int, int]
) -> None:
    """The engine's side takes the full path: a lossless file, the prepare worker's and the generate worker's code."""
    frames = shades(count, size)
    messages = [user(text("At which second"), VIDEO, text("does it turn?"))]
    theirs = oracle.by_transformers(messages, kind=kind, videos=[frames], fps=rate)

    path = write(tmp_path / "a.mov", list(frames), rate=rate, codec="png")
    prepared = extract_frames(path, family.videos, frames=tmp_path / "frames.zip", sheet=tmp_path / "sheet.png")
    with zipfile.ZipFile(tmp_path / "frames.zip") as archive:
        images = [Image.open(archive.open(name)) for name in archive.namelist()]
        ours = oracle.by_engine(messages, family=family, videos=[Video(images, prepared.seconds)])
    assert_equal(ours, theirs, tolerance=RESIZE_TOLERANCE)
    # The same size on both sides: nothing is resized, so nothing may differ.
    if (prepared.width, prepared.height) == size:
        assert_equal(ours, theirs, tolerance=1e-5)
