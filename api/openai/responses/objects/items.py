"""The items of a response's output: the model's reasoning, and its message or function call."""

from typing import Any, Literal

ItemStatus = Literal["in_progress", "completed", "incomplete"]
Item = dict[str, Any]


def reasoning_item(item_id: str, text: str, status: ItemStatus, *, has_summary: bool) -> Item:
    """Return a reasoning item; without text one that has just begun.

    Args:
        has_summary: the summary repeats the text, because many clients show only the summary.
    """
    summary = [summary_part(text)] if text and has_summary else []
    content = [reasoning_part(text)] if text else []
    return {"id": item_id, "type": "reasoning", "summary": summary, "content": content, "status": status}


def message_item(item_id: str, text: str | None, status: ItemStatus) -> Item:
    """Return a message item; with None one that has just begun."""
    content = [] if text is None else [text_part(text)]
    return {"id": item_id, "type": "message", "status": status, "role": "assistant", "content": content}


def function_call_item(item_id: str, call_id: str, name: str, arguments: str, status: ItemStatus) -> Item:
    """Return the item of a call. ``arguments``: JSON; empty in one that has just begun."""
    fields = {"call_id": call_id, "name": name, "arguments": arguments, "status": status}
    return {"id": item_id, "type": "function_call", **fields}


def reasoning_part(text: str) -> Item:
    return {"type": "reasoning_text", "text": text}


def summary_part(text: str) -> Item:
    return {"type": "summary_text", "text": text}


def text_part(text: str) -> Item:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
