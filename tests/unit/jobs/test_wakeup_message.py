"""Which messages in a stage's queue are wake-ups."""

import json
from base64 import b64encode
from typing import Any

import pytest

from jobs.model.job import Stage
from jobs.wakeup.app import TASKS
from jobs.wakeup.message import new_wakeup, read_wakeup

QUEUE = Stage.PREPARE.value


def message(**changes: Any) -> dict[str, Any]:
    return {**new_wakeup(TASKS[Stage.PREPARE], QUEUE), **changes}


def body(value: object) -> str:
    return b64encode(json.dumps(value).encode()).decode()


def test_a_wakeup_is_replaced_by_a_new_one() -> None:
    """Whatever its other headers ask for: a delay, an expiry, a reply."""
    sent = message()
    sent["headers"] |= {"eta": "2099-01-01T00:00:00", "timelimit": "soon", "stamps": {"x": ["y"] * 1000}, "id": None}
    sent["properties"] |= {"reply_to": 7, "delivery_info": None}
    found = read_wakeup(sent, QUEUE)
    assert found is not None
    assert found["headers"]["id"]
    assert (found["headers"]["eta"], found["headers"]["timelimit"]) == (None, [None, None])
    assert found.keys() == sent.keys()


@pytest.mark.parametrize(
    "foreign",
    [
        None,
        1,
        "text",
        [1, 2, 3],
        {},
        {"body": "x"},
        {"method": "shutdown", "arguments": {}, "destination": None},
        message(headers=None),
        message(headers={}),
        message(headers={"task": "shop.tasks.send_mail"}),
        message(headers={"task": TASKS[Stage.GENERATE]}),
        message(headers={"task": ["prepare.claim"]}),
        message(properties=None),
        message(**{"content-type": "application/x-python-serialize"}),
        message(**{"content-type": None}),
        message(body=None),
        message(body=""),
        message(body="not base64"),
        message(body=b64encode(b"not json").decode()),
        message(body=b64encode(b"\xff\xfe").decode()),
        message(body=b64encode(b"[" * 2000).decode()),
        message(body=body([[], {}, {}])),
        message(body=body([[1, 2], {}, {}])),
        message(body=body([["1"], {}, {}])),
        message(body=body([[1], {"x": 1}, {}])),
        message(body=body({"args": [1]})),
        message(body=body([[1] * 10_000, {}, {}])),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_message_of_another_program_is_no_wakeup(foreign: object) -> None:
    assert read_wakeup(foreign, QUEUE) is None


def test_a_queue_of_no_stage_has_no_wakeups() -> None:
    assert read_wakeup(message(), "celery") is None
