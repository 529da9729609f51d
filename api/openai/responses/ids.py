"""The ids of responses and their items."""

from api.openai.ids import JOB_PREFIX

RESPONSE_PREFIX = "resp_"
MESSAGE_PREFIX = "msg_"
REASONING_PREFIX = "rs_"
FUNCTION_CALL_PREFIX = "fc_"
CALL_PREFIX = "call_"
"""Of the id of a call, to which its result would refer."""


def response_id(job_id: str) -> str:
    """Return the id of a response."""
    return RESPONSE_PREFIX + job_id.removeprefix(JOB_PREFIX)


def job_id_of_response(response: str) -> str | None:
    """Return the id of a response's job; None: it is not the id of a response."""
    return JOB_PREFIX + response.removeprefix(RESPONSE_PREFIX) if response.startswith(RESPONSE_PREFIX) else None


def item_id(prefix: str, job_id: str, number: int | str) -> str:
    """Return the id of an item of a response.

    Args:
        prefix: ``MESSAGE_PREFIX``, ``REASONING_PREFIX``, ``FUNCTION_CALL_PREFIX`` or ``CALL_PREFIX``.
        number: the item's index in the output, or another name that is unique within the response.
    """
    return f"{prefix}{job_id.removeprefix(JOB_PREFIX)}_{number}"


def job_id_of_item(item: str) -> str | None:
    """Return the id of the job that an item belongs to; None: it is not the id of an item."""
    for prefix in (MESSAGE_PREFIX, REASONING_PREFIX, FUNCTION_CALL_PREFIX):
        ulid, separator, number = item.removeprefix(prefix).partition("_")
        if item.startswith(prefix) and ulid and separator and number:
            return JOB_PREFIX + ulid
    return None
