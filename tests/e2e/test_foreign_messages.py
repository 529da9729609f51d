"""Messages of other programs in the stages' queues: the workers drop them and go on."""

import json
from functools import partial

import redis

from jobs.model.job import Stage
from jobs.wakeup.app import TASKS
from jobs.wakeup.message import new_wakeup
from testing.inputs.request_bodies import SHORT_JOB
from testing.processes.service import Service


def foreign_messages(stage: Stage) -> list[bytes]:
    """Damaged messages, those of another Celery application, and wake-ups with odd contents."""
    wakeup = new_wakeup(TASKS[stage], stage.value)
    changed: tuple[dict[str, object], ...] = (
        {"headers": {**wakeup["headers"], "task": "shop.tasks.send_mail"}},
        {"content-type": "application/x-python-serialize"},
        {"body": "bm90IGpzb24="},
        {"body": "W1tdLCB7fSwge31d"},
        {"headers": {}},
        {"properties": {}},
    )
    return [b"", b"hello", b"\xff\xfe\x00", b"[1, 2, 3]", b'{"body": "x"}', b'{"method": "shutdown"}'] + [
        json.dumps({**wakeup, **change}).encode() for change in changed
    ]


def logs_a_drop(service: Service, name: str) -> bool:
    return "wakeup.message_dropped" in service.log(name)


def test_workers_drop_foreign_messages_and_run_the_next_job(service: Service) -> None:
    processes = dict(service.processes)
    with redis.Redis.from_url(service.environment["REDIS_URL"]) as client:
        for stage in Stage:
            client.lpush(stage.value, *foreign_messages(stage))
        service.wait_until(lambda: not client.exists(*(stage.value for stage in Stage)), "the queues are empty")
    assert service.wait_for_end(service.submit(**SHORT_JOB))["status"] == "completed"
    assert {name for name, process in processes.items() if process.poll() is not None} == set()
    for name in ("prepare", "generate"):
        service.wait_until(partial(logs_a_drop, service, name), f"{name} logs it")
