"""The input items of a response, from the stored messages of its job."""

from collections.abc import Callable
from typing import Any

from api.openai.responses.ids import MESSAGE_PREFIX, item_id
from api.openai.responses.objects.items import Item, text_part
from jobs.model.documents.request import JobRequest

INCLUDED_IMAGES = "message.input_image.image_url"
MAX_PAGE = 100

Presign = Callable[[str], str]
"""Returns a GET URL for an object's key."""


def input_items(request: JobRequest, presign: Presign | None) -> list[Item]:
    """Return the messages that the model was sent, oldest first, without the instructions.

    With ``previous_response_id`` they begin with those of the earlier responses.

    Args:
        presign: makes URLs of images that the service stores; None: they have none.
    """
    items = []
    for number, message in enumerate(request.messages_without_instructions()):
        content = [_content_part(part, message["role"], presign) for part in message["content"]]
        fields = {"type": "message", "status": "completed", "role": message["role"], "content": content}
        items.append({"id": item_id(MESSAGE_PREFIX, request.id, f"in{number}"), **fields})
    return items


def page(items: list[Item], *, after: str | None, limit: int, is_ascending: bool) -> dict[str, Any]:
    """Return a page of items.

    Args:
        after: the id of the last item of the page before; an unknown id gives the first page.
    """
    ordered = items if is_ascending else items[::-1]
    ids = [item["id"] for item in ordered]
    start = ids.index(after) + 1 if after in ids else 0
    data = ordered[start : start + limit]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else "",
        "last_id": data[-1]["id"] if data else "",
        "has_more": start + limit < len(ordered),
    }


def _content_part(part: dict[str, Any], role: str, presign: Presign | None) -> Item:
    if part["type"] == "text":
        return text_part(part["text"]) if role == "assistant" else {"type": "input_text", "text": part["text"]}
    url = part.get("url") or (presign(part["key"]) if presign and part.get("key") else None)
    if part["type"] == "image":
        detail = "low" if "max_pixels" in part else "auto"
        return {"type": "input_image", "detail": detail, "file_id": part.get("upload"), "image_url": url}
    return {"type": "input_file", "file_id": part.get("upload"), "file_url": url, "filename": None}
