"""What an earlier answer looks like in a conversation: the models are trained on history without thinking."""

from families.family import Marks


def answer_of(text: str, marks: Marks) -> str:
    """An assistant turn as the model shall see it: its answer, as it was.

    Clients send back what they have: the answer alone, or the whole output with its marks. Only marks at the ends go;
    what stands inside the answer (HTML, code, boxes, even the word ``</think>``) is the answer's.
    """
    answer = text.strip()
    if answer.startswith(marks.think_open) and marks.think_close in answer:
        answer = answer.partition(marks.think_close)[2].lstrip()
        if marks.answer_open and answer.startswith(marks.answer_open):
            return _unwrapped(answer, marks)
        return answer
    if marks.answer_open and answer.startswith(marks.answer_open):
        return _unwrapped(answer, marks)
    return text


def answer_in(raw: str, marks: Marks) -> str:
    """The answer of a model's whole output, as it was: without the thinking, and without the marks round the answer."""
    thinking, closed, rest = raw.partition(marks.think_close)
    answer = (rest if closed else thinking).strip()
    return _unwrapped(answer, marks) if marks.answer_open and answer.startswith(marks.answer_open) else answer


def _unwrapped(answer: str, marks: Marks) -> str:
    inner = answer.removeprefix(marks.answer_open or "")
    return inner.removesuffix(marks.answer_close or "").strip()
