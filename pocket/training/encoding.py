"""Encodes examples as token ids, M-RoPE positions and prediction targets.

Prompts use the service's chat template and tokenizer. Expanding placeholders and positions is implemented again here,
with a cache, because training needs thousands of prompts per second; a test compares it with the engine's input
processor.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from transformers import Glm4vConfig
from transformers.models.glm4v.modeling_glm4v import Glm4vModel

from engine.inputs.chat_prompt import ChatPrompt
from families import FAMILIES
from pocket.tasks.example import Example

FAMILY = FAMILIES["pocket"]
CUT_SHARE = 0.22
"""Share of examples whose thought is closed at a random token, as a budget does."""
NO_THOUGHT_SHARE = 0.4
"""Share of those in which no thought is begun."""


@dataclass(frozen=True)
class Encoded:
    ids: np.ndarray
    """``[length]``, int64: prompt, thought and answer."""
    positions: np.ndarray
    """``[3, length]``, int64."""
    is_target: np.ndarray
    """``[length]``, bool: whether the token is a prediction target."""
    answer_from: int
    """Index of the answer's first token."""


@dataclass(frozen=True)
class _Prompt:
    ids: np.ndarray
    positions: np.ndarray


class Encoder:
    """Encodes examples. Not thread-safe."""

    def __init__(self, tokenizer: Any, config: Glm4vConfig) -> None:
        self._chat_prompt = ChatPrompt(tokenizer, FAMILY.special_tokens)
        with torch.device("meta"):
            # Only for get_rope_index, which reads the config and no weights.
            self._model = Glm4vModel(config)
        self._prompts: dict[tuple[str, tuple[int, ...]], _Prompt] = {}

        def token(mark: str) -> int:
            return int(tokenizer.convert_tokens_to_ids(mark))

        special_tokens = FAMILY.special_tokens
        assert special_tokens.answer_open
        assert special_tokens.answer_close
        self.image_id, self._video_id = config.image_token_id, config.video_token_id
        self.filler = config.text_config.pad_token_id
        self._image_begin, self._image_end = token("<|begin_of_image|>"), token("<|end_of_image|>")
        self._think = token(special_tokens.think_open)
        self._end = token(special_tokens.answer_close)
        self._boxes = {mark: token(mark) for mark in (special_tokens.box_open, special_tokens.box_close)}
        self._closing = [token(special_tokens.think_close), *self._plain("\n"), token(special_tokens.answer_open)]
        self._answer = lru_cache(4096)(self._answer_ids)

    def encode(self, example: Example, rng: random.Random | None = None) -> Encoded:
        """Encode an example.

        Args:
            rng: truncates the thought of some examples; None truncates none.
        """
        prompt = self._prompt(example)
        thought = self._plain(example.thought)
        is_cut, opening = False, [self._think]
        if rng and rng.random() < CUT_SHARE:
            is_cut = True
            if rng.random() < NO_THOUGHT_SHARE:
                thought, opening = [], []
            else:
                thought = thought[: rng.randint(1, max(1, len(thought) - 1))]
        answer = self._answer(example.answer)
        completion = [*opening, *thought, *self._closing, *answer, self._end]
        is_target = np.zeros(len(prompt.ids) + len(completion), dtype=bool)
        is_target[len(prompt.ids) :] = True
        answer_from = len(is_target) - len(answer) - 1
        if is_cut:
            is_target[answer_from - len(self._closing) : answer_from] = False
        start = int(prompt.positions.max()) + 1
        tail = np.broadcast_to(np.arange(start, start + len(completion)), (3, len(completion)))
        return Encoded(
            np.concatenate([prompt.ids, completion]),
            np.concatenate([prompt.positions, tail], axis=1),
            is_target,
            answer_from,
        )

    def _plain(self, text: str) -> list[int]:
        return self._chat_prompt.encode_text(text) if text else []

    def _answer_ids(self, answer: str) -> list[int]:
        ids: list[int] = []
        rest = answer
        while rest:
            cuts = [at for mark in self._boxes if (at := rest.find(mark)) >= 0]
            ids += self._plain(rest[: min(cuts, default=len(rest))])
            rest = rest[min(cuts, default=len(rest)) :]
            for mark, token in self._boxes.items():
                if rest.startswith(mark):
                    ids.append(token)
                    rest = rest[len(mark) :]
                    break
        return ids

    def _prompt(self, example: Example) -> _Prompt:
        """Return the encoded prompt, from the cache if possible: most questions repeat."""
        grids = [_tokens(*image.size) for image in example.images]
        seconds = [second for video in example.videos for second in video.seconds]
        frames = [_tokens(*video.frames[0].size) for video in example.videos]
        key = (
            json.dumps(example.messages),
            (*(side for grid in grids + frames for side in grid), *(round(100 * second) for second in seconds)),
        )
        if key not in self._prompts:
            if len(self._prompts) > 20_000:
                self._prompts.clear()
            self._prompts[key] = self._new_prompt(example, grids, frames)
        return self._prompts[key]

    def _new_prompt(self, example: Example, grids: list[tuple[int, int]], frames: list[tuple[int, int]]) -> _Prompt:
        ids: list[int] = []
        types: list[int] = []
        places, spans = iter(grids), iter(zip(frames, example.videos, strict=True))
        for token in self._chat_prompt.encode(example.messages):
            if token == self.image_id:
                width, height = next(places)
                ids += [self.image_id] * (width * height)
                types += [1] * (width * height)
            elif token == self._video_id:
                (width, height), video = next(spans)
                for stamp in FAMILY.videos.timestamps(video.seconds):
                    completion = self._plain(stamp)
                    ids += [self._image_begin, *[self.image_id] * (width * height), self._image_end, *completion]
                    types += [0, *[2] * (width * height), 0, *[0] * len(completion)]
            else:
                ids.append(token)
                types.append(0)
        image_grids = torch.tensor([[1, 2 * height, 2 * width] for width, height in grids])
        video_grids = torch.tensor(
            [
                [len(video.frames) // 2, 2 * height, 2 * width]
                for (width, height), video in zip(frames, example.videos, strict=True)
            ]
        )
        positions, _ = self._model.get_rope_index(
            torch.tensor([ids]),
            mm_token_type_ids=torch.tensor([types], dtype=torch.int32),
            image_grid_thw=image_grids if grids else None,
            video_grid_thw=video_grids if frames else None,
        )
        return _Prompt(np.array(ids), positions[:, 0].numpy())


def _tokens(width: int, height: int) -> tuple[int, int]:
    """Return width and height in tokens of an image that needs no resizing.

    Raises:
        ValueError: a side is no multiple of the token size.
    """
    side = FAMILY.images.factor
    if width % side or height % side:
        raise ValueError(f"a training image must have sides that are multiples of {side} pixels, not {width}×{height}")
    return width // side, height // side


def frame_pairs(example: Example) -> Sequence[tuple[Any, Any]]:
    """Return the inputs of the vision encoder in order, as pairs of frames. An image is paired with itself."""
    if example.videos:
        frames = [frame for video in example.videos for frame in video.frames]
        return list(zip(frames[::2], frames[1::2], strict=True))
    return [(image, image) for image in example.images]
