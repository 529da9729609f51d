"""From examples to token ids, positions and what of them is to be learned.

Prompts go the way of the service: its template and tokenizer (``ChatPrompt``), its placeholders, M-RoPE. Done here
once more, and kept, because thousands a second are needed; a test compares with ``InputProcessor``.
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
CUT = 0.22
"""Share of examples whose thought is closed for the model, as a budget does, at any token; of these …"""
AT_ONCE = 0.4
"""… so many before it has begun."""


@dataclass(frozen=True)
class Encoded:
    ids: np.ndarray
    """``[length]``, int64: prompt, thought and answer."""
    positions: np.ndarray
    """``[3, length]``, int64."""
    learned: np.ndarray
    """``[length]``, bool: is the token at this place to be foretold?"""
    answer_from: int
    """Where the answer begins."""


@dataclass(frozen=True)
class _Prompt:
    ids: np.ndarray
    positions: np.ndarray


class Encoder:
    """Args: tokenizer and config of the model; safe in one thread."""

    def __init__(self, tokenizer: Any, config: Glm4vConfig) -> None:
        self._chat_prompt = ChatPrompt(tokenizer, FAMILY.special_tokens)
        with torch.device("meta"):
            # Only for get_rope_index, which looks at the config and not at weights.
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
        """The whole of an example; with ``rng``, now and then with its thought cut short."""
        prompt = self._prompt(example)
        thought = self._plain(example.thought)
        is_cut, opening = False, [self._think]
        if rng and rng.random() < CUT:
            is_cut = True
            if rng.random() < AT_ONCE:
                thought, opening = [], []
            else:
                thought = thought[: rng.randint(1, max(1, len(thought) - 1))]
        answer = self._answer(example.answer)
        said = [*opening, *thought, *self._closing, *answer, self._end]
        learned = np.zeros(len(prompt.ids) + len(said), dtype=bool)
        learned[len(prompt.ids) :] = True
        answer_from = len(learned) - len(answer) - 1
        if is_cut:
            learned[answer_from - len(self._closing) : answer_from] = False
        start = int(prompt.positions.max()) + 1
        tail = np.broadcast_to(np.arange(start, start + len(said)), (3, len(said)))
        return Encoded(
            np.concatenate([prompt.ids, said]),
            np.concatenate([prompt.positions, tail], axis=1),
            learned,
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
        """Kept: most questions come again."""
        grids = [_tokens(*picture.size) for picture in example.pictures]
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
                    said = self._plain(stamp)
                    ids += [self._image_begin, *[self.image_id] * (width * height), self._image_end, *said]
                    types += [0, *[2] * (width * height), 0, *[0] * len(said)]
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
    """Of a picture that has a size which the model takes as it is."""
    side = FAMILY.images.factor
    if width % side or height % side:
        raise ValueError(f"a picture for learning has sides of multiples of {side} pixels, not {width}×{height}")
    return width // side, height // side


def pairs_of(example: Example) -> Sequence[tuple[Any, Any]]:
    """All that the vision tower looks at, in order, as two frames each; a picture is its own second frame."""
    if example.videos:
        frames = [frame for video in example.videos for frame in video.frames]
        return list(zip(frames[::2], frames[1::2], strict=True))
    return [(picture, picture) for picture in example.pictures]
