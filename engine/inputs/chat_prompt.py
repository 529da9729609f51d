"""The prompt's ids: the model's own chat template, with a client's text that can never become a special token."""

import re
import threading
from collections.abc import Sequence
from typing import Any

from families import SpecialTokens

PLACE = re.compile("\ue000(\\d+)\ue001")
"""Two code points of private use round a number: where a client's text goes in the rendered template."""


MEDIA_MARKS = {"image": "<|image|>", "video": "<|video|>"}


class ChatPrompt:
    """Renders and tokenizes; safe to share between threads."""

    def __init__(self, tokenizer: Any, special_tokens: SpecialTokens) -> None:
        self._tokenizer = tokenizer
        self._boxes = re.compile(f"({re.escape(special_tokens.box_open)}|{re.escape(special_tokens.box_close)})")
        specials = sorted(tokenizer.get_added_vocab(), key=len, reverse=True)
        self._specials = re.compile("(" + "|".join(map(re.escape, specials)) + ")")
        self._special_ids: dict[str, int] = tokenizer.get_added_vocab()
        # A fast tokenizer keeps split_special_tokens as state and refuses a second thread meanwhile.
        self._lock = threading.Lock()

    def encode(self, messages: Sequence[dict[str, Any]], *, enable_thinking: bool = True) -> list[int]:
        """The ids of a conversation, ready to be answered; each picture and video is one token.

        The template is rendered with places instead of texts, then split at its special tokens. What stands between
        two of them is tokenized as one piece, so that ordinary text gives the ids that a plain tokenizer run gives.
        """
        texts: list[str] = []
        hidden = [self._with_places(message, texts) for message in messages]
        # Templates without such a switch do not look at it.
        switch = {} if enable_thinking else {"enable_thinking": False}
        rendered = self._tokenizer.apply_chat_template(hidden, tokenize=False, add_generation_prompt=True, **switch)
        ids: list[int] = []
        for piece in self._specials.split(rendered):
            if piece in self._special_ids:
                ids.append(self._special_ids[piece])
            elif piece:
                ids.extend(self.encode_text(PLACE.sub(lambda place: texts[int(place[1])], piece)))
        for kind, mark in MEDIA_MARKS.items():
            media = sum(part["type"] == kind for message in messages for part in message["content"])
            if ids.count(self._special_ids[mark]) != media:
                raise ValueError(f"the chat template does not print each {kind} once")
        return ids

    def encode_text(self, text: str) -> list[int]:
        """Of a text between two special tokens, whatever it looks like."""
        with self._lock:
            return list(self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))

    def _with_places(self, message: dict[str, Any], texts: list[str]) -> dict[str, Any]:
        """The message with each text put aside.

        Only a user's content may be a list: GLM's template prints a system or assistant list as Python would.
        An earlier answer keeps its box special_tokens as the tokens that they were.
        """

        def place(text: str) -> str:
            # Space at the ends stays in sight: some templates strip it from answers.
            core = text.strip()
            if not core:
                return text
            texts.append(core)
            before, after = text.split(core, 1)
            return f"{before}\ue000{len(texts) - 1}\ue001{after}"

        if message["role"] == "user":
            parts = [
                {"type": "text", "text": place(part["text"])} if part["type"] == "text" else part
                for part in message["content"]
            ]
            return {"role": "user", "content": parts}
        text = "".join(part["text"] for part in message["content"])
        if message["role"] == "system":
            return {"role": "system", "content": place(text)}
        pieces = [piece if self._boxes.fullmatch(piece) else place(piece) for piece in self._boxes.split(text)]
        return {"role": "assistant", "content": "".join(pieces)}
