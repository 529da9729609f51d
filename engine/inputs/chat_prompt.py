"""Prompt ids from the model's own chat template; text from a client never becomes a special token."""

import re
import threading
from collections.abc import Sequence
from typing import Any

from families import SpecialTokens

TEXT_MARKER = re.compile("\ue000(\\d+)\ue001")
"""Two private-use code points around a number: where a client's text is inserted into the rendered template."""
PLACEHOLDER_TOKENS = {"image": "<|image|>", "video": "<|video|>"}


class ChatPrompt:
    """Renders and tokenizes conversations. Safe to share between threads."""

    def __init__(self, tokenizer: Any, special_tokens: SpecialTokens) -> None:
        self._tokenizer = tokenizer
        box_tokens = f"({re.escape(special_tokens.box_open)}|{re.escape(special_tokens.box_close)})"
        self._box_tokens = re.compile(box_tokens)
        self._special_ids: dict[str, int] = tokenizer.get_added_vocab()
        longest_first = sorted(self._special_ids, key=len, reverse=True)
        self._special_tokens = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")")
        # A fast tokenizer stores split_special_tokens as state and refuses a second thread meanwhile.
        self._lock = threading.Lock()

    def encode(self, messages: Sequence[dict[str, Any]], *, enable_thinking: bool = True) -> list[int]:
        """Return the ids of a conversation with the generation prompt. Each image or video is one placeholder token.

        The template is rendered with markers instead of texts and split at its special tokens. The text between two of
        them is tokenized as one piece, so ordinary text gives the ids of a plain tokenizer run.

        Raises:
            ValueError: the template does not print every image and video once.
        """
        texts: list[str] = []
        marked = [self._with_markers(message, texts) for message in messages]
        # Templates without this variable ignore it.
        options = {} if enable_thinking else {"enable_thinking": False}
        rendered = self._tokenizer.apply_chat_template(marked, tokenize=False, add_generation_prompt=True, **options)
        ids: list[int] = []
        for piece in self._special_tokens.split(rendered):
            if piece in self._special_ids:
                ids.append(self._special_ids[piece])
            elif piece:
                ids.extend(self.encode_text(TEXT_MARKER.sub(lambda marker: texts[int(marker[1])], piece)))
        for kind, token in PLACEHOLDER_TOKENS.items():
            media = sum(part["type"] == kind for message in messages for part in message["content"])
            if (printed := ids.count(self._special_ids[token])) != media:
                raise ValueError(f"the chat template printed {printed} {token} tokens for {media} {kind} parts")
        return ids

    def encode_text(self, text: str) -> list[int]:
        """Return the ids of text; special tokens in it are encoded as ordinary text."""
        with self._lock:
            return list(self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))

    def _with_markers(self, message: dict[str, Any], texts: list[str]) -> dict[str, Any]:
        """Return the message with each text replaced by a marker and appended to ``texts``.

        Only a user's content may be a list: GLM's template prints a system or assistant list as Python would.
        Box tokens of an earlier answer stay special tokens.
        """

        def mark(text: str) -> str:
            # White space at the ends stays in the template: some templates strip it from answers.
            core = text.strip()
            if not core:
                return text
            texts.append(core)
            before, after = text.split(core, 1)
            return f"{before}\ue000{len(texts) - 1}\ue001{after}"

        if message["role"] == "user":
            parts = [
                {"type": "text", "text": mark(part["text"])} if part["type"] == "text" else part
                for part in message["content"]
            ]
            return {"role": "user", "content": parts}
        text = "".join(part["text"] for part in message["content"])
        if message["role"] == "system":
            return {"role": "system", "content": mark(text)}
        pieces = [piece if self._box_tokens.fullmatch(piece) else mark(piece) for piece in self._box_tokens.split(text)]
        return {"role": "assistant", "content": "".join(pieces)}
