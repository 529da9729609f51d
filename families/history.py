"""The answers of earlier turns: the models are trained on conversations whose history has no thinking."""

from families.family import SpecialTokens


def history_answer(text: str, special_tokens: SpecialTokens) -> str:
    """Return the answer in an assistant turn that a client sent, as the model should see it.

    Clients send the answer alone, or the complete output with its special tokens. Only special tokens at the ends are
    removed; everything inside the answer (HTML, code, boxes, even the text ``</think>``) is part of it.
    """
    answer = text.strip()
    if answer.startswith(special_tokens.think_open) and special_tokens.think_close in answer:
        answer = answer.partition(special_tokens.think_close)[2].lstrip()
        if special_tokens.answer_open and answer.startswith(special_tokens.answer_open):
            return _unwrap(answer, special_tokens)
        return answer
    if special_tokens.answer_open and answer.startswith(special_tokens.answer_open):
        return _unwrap(answer, special_tokens)
    return text


def extract_answer(raw: str, special_tokens: SpecialTokens) -> str:
    """Return the answer in a model's complete output, without the thinking and the special tokens around the answer."""
    thinking, close, rest = raw.partition(special_tokens.think_close)
    answer = (rest if close else thinking).strip()
    if special_tokens.answer_open and answer.startswith(special_tokens.answer_open):
        return _unwrap(answer, special_tokens)
    return answer


def _unwrap(answer: str, special_tokens: SpecialTokens) -> str:
    inner = answer.removeprefix(special_tokens.answer_open or "")
    return inner.removesuffix(special_tokens.answer_close or "").strip()
