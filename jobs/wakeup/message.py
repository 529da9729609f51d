"""What a wake-up message looks like, and which messages in a queue are none.

Other programs may use the same Redis database, and a message can be damaged. Celery ends the worker, or loses its
connection, on many of them. A worker therefore passes no message on as it is: a wake-up is replaced by a new one,
anything else is dropped. Nothing is lost by that, because a wake-up carries no information.
"""

import json
import uuid
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

from jobs.wakeup.app import TASKS, WAKEUP_VERSION

MAX_BODY_BYTES = 4096
"""A wake-up has 81 bytes. A larger body is not decoded."""
PROBE_PREFIX = "wakeup_probe:"
"""Prefix of the queues that check the broker. The rest of the name is random, so no other process uses the queue."""
EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


def read_wakeup(message: object, queue: str) -> dict[str, Any] | None:
    """Return a new wake-up for the stage of a queue; None: the message is not a wake-up.

    Args:
        message: parsed JSON, of any type.
        queue: Celery's name of the queue, which is that of the stage.
    """
    task = {stage.value: name for stage, name in TASKS.items()}.get(queue)
    if task is None or not isinstance(message, Mapping):
        return None
    headers, properties = message.get("headers"), message.get("properties")
    if not isinstance(headers, Mapping) or headers.get("task") != task or not isinstance(properties, Mapping):
        return None
    if message.get("content-type") != "application/json" or not _is_wakeup_body(message.get("body"), properties):
        return None
    return new_wakeup(task, queue)


def new_wakeup(task: str, queue: str) -> dict[str, Any]:
    """Build a message of Celery's protocol 2 as kombu's Redis transport stores it."""
    task_id = str(uuid.uuid4())
    body = json.dumps([[WAKEUP_VERSION], {}, EMBED]).encode()
    return {
        "body": b64encode(body).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py",
            "task": task,
            "id": task_id,
            "root_id": task_id,
            "parent_id": None,
            "group": None,
            "retries": 0,
            "eta": None,
            "expires": None,
            "timelimit": [None, None],
            "ignore_result": True,
            "origin": "",
            "argsrepr": "",
            "kwargsrepr": "",
        },
        "properties": {
            "correlation_id": task_id,
            "reply_to": "",
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid.uuid4()),
        },
    }


def _is_wakeup_body(body: object, properties: Mapping[Any, Any]) -> bool:
    """Return whether a body has the arguments of a wake-up: one version number."""
    if not isinstance(body, str) or len(body) > MAX_BODY_BYTES:
        return False
    try:
        text = b64decode(body, validate=True) if properties.get("body_encoding") == "base64" else body
        found = json.loads(text)
    except (ValueError, RecursionError):
        return False
    if not isinstance(found, list) or len(found) != 3:
        return False
    args, kwargs, _ = found
    return isinstance(args, list) and len(args) == 1 and isinstance(args[0], int) and kwargs == {}
