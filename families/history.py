"""What an earlier answer looks like in a conversation: the models are trained on history without thinking."""

from families.family import SpecialTokens


def answer_of(text: str, special_tokens: SpecialTokens) -> str:
    """An assistant turn as the model shall see it: its answer, as it was.

    Clients send back what they have: the answer alone, or the whole output with its special_tokens. Only
    special_tokens at the ends go;
    what stands inside the answer (HTML, code, boxes, even the word ``</think>``) is the answer's.
    """
    answer = text.strip()
    if answer.startswith(special_tokens.think_open) and special_tokens.think_close in answer:
        answer = answer.partition(special_tokens.think_close)[2].lstrip()
        if special_tokens.answer_open and answer.startswith(special_tokens.answer_open):
            return _unwrapped(answer, special_tokens)
        return answer
    if special_tokens.answer_open and answer.startswith(special_tokens.answer_open):
        return _unwrapped(answer, special_tokens)
    return text


def answer_in(raw: str, special_tokens: SpecialTokens) -> str:
    """The answer of a model's whole output, as it was: without the thinking and the answer's special tokens."""
    thinking, closed, rest = raw.partition(special_tokens.think_close)
    answer = (rest if closed else thinking).strip()
    return (
        _unwrapped(answer, special_tokens)
        if special_tokens.answer_open and answer.startswith(special_tokens.answer_open)
        else answer
    )


def _unwrapped(answer: str, special_tokens: SpecialTokens) -> str:
    inner = answer.removeprefix(special_tokens.answer_open or "")
    return inner.removesuffix(special_tokens.answer_close or "").strip()
