"""Batches: their input, order, takeover, limits and ends. Jobs end when a test says so; there are no workers."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.openai.batches.runner import create_runner
from jobs.batches.batch import ENDED, WINDOW_S, BatchState
from jobs.batches.runner import BatchRunner
from jobs.batches.store import BatchStore
from jobs.model.job import Stage
from jobs.table import keys
from jobs.table.batches import BatchLedger
from jobs.table.scripts import connect
from jobs.tenants.api_key import ApiKey
from jobs.tenants.api_keys import ApiKeyStore
from runtime.settings import Settings
from testing.api import client_of
from testing.table import Table, completed

CHAT = "/v1/chat/completions"
KINDS = ("output", "error")
LIMIT_S = 60.0


def rounds() -> Iterator[int]:
    """Number the rounds of a test until its time is over; replies are stored every two seconds only."""
    give_up = time.monotonic() + LIMIT_S
    for number in count():
        if time.monotonic() >= give_up:
            return
        yield number


def chat(number: int, **body: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"Hello {number}."}]
    return {
        "custom_id": f"request-{number}",
        "method": "POST",
        "url": CHAT,
        "body": {"model": "pocket", "messages": messages, **body},
    }


def upload(client: TestClient, lines: Sequence[Any], **headers: str) -> str:
    data = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    reply = client.post(
        "/v1/files", files={"file": ("input.jsonl", data.encode())}, data={"purpose": "batch"}, headers=headers
    )
    return str(reply.json()["id"])


def body_of(file_id: str) -> dict[str, Any]:
    return {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h"}


def create(client: TestClient, lines: Sequence[Any]) -> str:
    reply = client.post("/v1/batches", json=body_of(upload(client, lines)))
    assert reply.status_code == 200, reply.text
    return str(reply.json()["id"])


def settings_of(table: Table, **changes: Any) -> Settings:
    return table.settings.model_copy(update={"batch_window": 5, **changes})


def read(client: TestClient, file_id: str | None) -> list[dict[str, Any]]:
    if file_id is None:
        return []
    return [json.loads(line) for line in client.get(f"/v1/files/{file_id}/content").text.splitlines()]


def end_jobs(table: Table, most: int = 1_000) -> list[str]:
    """Complete up to that many waiting jobs; return their ids."""
    ended: list[str] = []
    while len(ended) < most and (claimed := table.claim(Stage.PREPARE)) is not None:
        table.finalizer.finalize(completed(claimed.job), expect="owner")
        ended.append(claimed.job.id)
    return ended


def finish(client: TestClient, table: Table, runner: BatchRunner, batch_id: str) -> tuple[dict[str, Any], list[str]]:
    """Run a batch to its end; return it and the ids of the jobs that were completed."""
    jobs: list[str] = []
    for _ in rounds():
        runner.run_once()
        jobs += end_jobs(table)
        batch = client.get(f"/v1/batches/{batch_id}").json()
        if batch["status"] in ENDED:
            return batch, jobs
    raise AssertionError(batch)


def take_lease_away(table: Table, batch_id: str) -> None:
    connect(table.settings).delete(keys.batch_lease(batch_id))


# ── the way of a batch ──


def test_replies_come_in_the_order_of_the_input_and_redis_has_a_window_only(client: TestClient, table: Table) -> None:
    batch_id = create(client, [chat(number) for number in range(23)])
    runner, redis = create_runner(settings_of(table)), connect(table.settings)
    open_jobs = []
    for _ in rounds():
        runner.run_once()
        open_jobs.append(len(list(redis.scan_iter("job:*"))))
        end_jobs(table)
        batch = client.get(f"/v1/batches/{batch_id}").json()
        if batch["status"] in ENDED:
            break
    assert max(open_jobs) == 5
    assert batch["status"] == "completed"
    assert batch["request_counts"] == {"total": 23, "completed": 23, "failed": 0}
    assert [one["custom_id"] for one in read(client, batch["output_file_id"])] == [f"request-{n}" for n in range(23)]
    assert list(redis.scan_iter("*batch*")) == []
    assert table.object_store.list_keys("batches/parts/") == []
    assert client.get("/v1/jobs").json()["data"] == []


def test_jobs_of_a_batch_have_low_priority(client: TestClient, table: Table) -> None:
    create(client, [chat(1, service_tier="priority")])
    runner = create_runner(settings_of(table))
    for _ in range(2):
        runner.run_once()
    assert [job["priority"] for job in client.get("/v1/jobs").json()["data"]] == ["low"]


def test_a_takeover_at_any_moment_runs_nothing_twice_and_loses_nothing(client: TestClient, table: Table) -> None:
    batch_id = create(client, [chat(number) for number in range(12)])
    runners: list[BatchRunner] = []
    jobs: list[str] = []
    for round_ in rounds():
        take_lease_away(table, batch_id)
        runner = create_runner(settings_of(table))
        runner.run_once()
        for frozen in runners:  # they go on as if nothing had happened
            frozen.run_once()
        runners = [*runners[-2:], runner]
        jobs += end_jobs(table, most=round_ % 3)
        batch = client.get(f"/v1/batches/{batch_id}").json()
        if batch["status"] in ENDED:
            break
    assert batch["request_counts"] == {"total": 12, "completed": 12, "failed": 0}
    assert [one["custom_id"] for one in read(client, batch["output_file_id"])] == [f"request-{n}" for n in range(12)]
    assert len(set(jobs)) == len(jobs) == 12


def test_a_frozen_runner_cannot_undo_what_the_next_one_has_done(client: TestClient, table: Table) -> None:
    batch_id = create(client, [chat(number) for number in range(12)])
    frozen = create_runner(settings_of(table))
    for _ in range(3):
        frozen.run_once()
    end_jobs(table)
    take_lease_away(table, batch_id)
    batch, _ = finish(client, table, create_runner(settings_of(table)), batch_id)
    BatchLedger(connect(table.settings)).open("default", batch_id, 1)
    for _ in range(3):
        frozen.run_once()
    assert client.get(f"/v1/batches/{batch_id}").json() == batch
    assert len(read(client, batch["output_file_id"])) == 12


def test_a_state_that_was_stored_and_deleted_cannot_be_stored_again(table: Table) -> None:
    store, first = BatchStore(table.object_store), BatchState().changed(1)
    state = first
    for now_ms in range(2, 6):
        assert store.save_state("batch_a", state)
        state = state.changed(now_ms)
    assert not store.save_state("batch_a", first)
    assert store.state("batch_a").number == 4


def test_a_batch_that_redis_has_lost_goes_on_when_its_client_asks(client: TestClient, table: Table) -> None:
    batch_id = create(client, [chat(1)])
    redis = connect(table.settings)
    redis.delete(keys.BATCHES_OPEN, keys.open_batches("default"))
    assert create_runner(settings_of(table)).run_once() == 0
    client.get(f"/v1/batches/{batch_id}")
    assert finish(client, table, create_runner(settings_of(table)), batch_id)[0]["status"] == "completed"


def test_lines_that_are_refused_are_in_the_error_file(client: TestClient, table: Table) -> None:
    lines = [chat(1), chat(2, temperature="hot"), chat(3, stream=True), "", chat(4)]
    batch, _ = finish(client, table, create_runner(settings_of(table)), create(client, lines))
    assert batch["request_counts"] == {"total": 4, "completed": 2, "failed": 2}
    refused = read(client, batch["error_file_id"])
    found = [(one["custom_id"], one["response"]["status_code"]) for one in refused]
    assert found == [("request-2", 400), ("request-3", 400)]
    assert [one["response"]["body"]["error"]["param"] for one in refused] == ["temperature", "stream"]
    assert [one["id"] for one in refused] == [f"{batch['id'].replace('batch_', 'batch_req_')}_{n}" for n in (2, 3)]


def test_a_batch_whose_lines_all_fail_is_completed_without_an_output(client: TestClient, table: Table) -> None:
    batch, _ = finish(client, table, create_runner(settings_of(table)), create(client, [chat(1, n=2)]))
    assert (batch["status"], batch["output_file_id"]) == ("completed", None)
    assert len(read(client, batch["error_file_id"])) == 1


def test_a_job_that_its_client_deletes_is_an_error_of_its_line(client: TestClient, table: Table) -> None:
    batch_id = create(client, [chat(1), chat(2)])
    runner = create_runner(settings_of(table))
    for _ in range(2):
        runner.run_once()
    (first,) = end_jobs(table, most=1)
    assert client.delete(f"/v1/jobs/{first}").status_code in (200, 204)
    batch, _ = finish(client, table, runner, batch_id)
    assert batch["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
    assert read(client, batch["error_file_id"])[0]["response"]["status_code"] == 404


# ── the ends ──


def test_a_cancelled_batch_has_the_replies_until_then(client: TestClient, table: Table) -> None:
    batch_id = create(client, [chat(number) for number in range(9)])
    runner = create_runner(settings_of(table))
    for _ in range(2):
        runner.run_once()
    end_jobs(table, most=2)
    assert client.post(f"/v1/batches/{batch_id}/cancel").json()["status"] == "cancelling"
    take_lease_away(table, batch_id)
    batch, jobs = finish(client, table, create_runner(settings_of(table)), batch_id)
    assert (batch["status"], jobs) == ("cancelled", [])
    answered, stopped = ([one["custom_id"] for one in read(client, batch[f"{name}_file_id"])] for name in KINDS)
    assert (len(answered), sorted(answered + stopped)) == (2, [f"request-{number}" for number in range(9)])
    assert (answered, stopped) == (sorted(answered), sorted(stopped))
    lines = read(client, batch["error_file_id"])
    assert {(one["response"], one["error"]["code"]) for one in lines} == {(None, "batch_cancelled")}
    assert client.post(f"/v1/batches/{batch_id}/cancel").json() == batch


def test_a_batch_expires_after_a_day(client: TestClient, table: Table) -> None:
    batch_id = create(client, [chat(number) for number in range(9)])
    runner = create_runner(settings_of(table))
    for _ in range(2):
        runner.run_once()
    end_jobs(table, most=2)
    store = BatchStore(table.object_store)
    batch = store.get("default", batch_id)
    store.create(replace(batch, created_ms=batch.created_ms - WINDOW_S * 1000))
    take_lease_away(table, batch_id)
    found, jobs = finish(client, table, create_runner(settings_of(table)), batch_id)
    assert (found["status"], found["request_counts"]["completed"], jobs) == ("expired", 2, [])
    assert {one["error"]["code"] for one in read(client, found["error_file_id"])} == {"batch_expired"}


def test_a_deleted_input_file_ends_the_batch(client: TestClient, table: Table) -> None:
    file_id = upload(client, [chat(number) for number in range(9)])
    batch_id = client.post("/v1/batches", json=body_of(file_id)).json()["id"]
    create_runner(settings_of(table)).run_once()
    client.delete(f"/v1/files/{file_id}")
    take_lease_away(table, batch_id)
    batch, _ = finish(client, table, create_runner(settings_of(table)), batch_id)
    assert batch["status"] == "failed"
    assert [one["code"] for one in batch["errors"]["data"]] == ["file_not_found"]


# ── the input ──


@pytest.mark.parametrize(
    ("lines", "code", "line"),
    [
        ([], "empty_file", None),
        ([chat(1), "{", chat(2)], "invalid_json_line", 2),
        ([chat(1), "[1]"], "invalid_json_line", 2),
        ([chat(1), '{"a":' * 300 + "1" + "}" * 300], "invalid_json_line", 2),
        (["", chat(1), chat(1)], "duplicate_custom_id", 3),
        ([{**chat(1), "custom_id": 7}], "invalid_custom_id", 1),
        ([{**chat(1), "method": "GET"}], "invalid_method", 1),
        ([{**chat(1), "url": "/v1/responses"}], "url_mismatch", 1),
        ([{**chat(1), "body": None}], "invalid_request", 1),
        ([chat(1), chat(2, model="other")], "model_mismatch", 2),
        ([chat(1, model=None)], "missing_required_parameter", 1),
        ([json.dumps(chat(number)) for number in range(50_001)], "too_many_tasks", 50_001),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_input_that_is_not_valid_fails_the_batch(
    client: TestClient, table: Table, lines: list[Any], code: str, line: int | None
) -> None:
    batch, jobs = finish(client, table, create_runner(settings_of(table)), create(client, lines))
    assert (batch["status"], jobs) == ("failed", [])
    assert [(one["code"], one["line"]) for one in batch["errors"]["data"]] == [(code, line)]


def test_a_line_across_the_borders_of_pieces_is_read(client: TestClient, table: Table) -> None:
    padding = "é" * 700_000
    lines = [chat(number, user=padding) for number in range(5)]
    batch, _ = finish(client, table, create_runner(settings_of(table)), create(client, lines))
    assert batch["request_counts"] == {"total": 5, "completed": 5, "failed": 0}


# ── who may create one ──


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"endpoint": "/v1/embeddings"}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"input_file_id": "file-none"}, "input_file_id"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, "output_expires_after.seconds"),
    ],
)
def test_a_wrong_field_of_a_new_batch_is_named(client: TestClient, change: dict[str, Any], param: str) -> None:
    reply = client.post("/v1/batches", json={**body_of(upload(client, [chat(1)])), **change})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)


def test_a_tenant_has_a_limited_number_of_open_batches(table: Table) -> None:
    with client_of(settings_of(table, max_open_batches=1)) as client:
        create(client, [chat(1)])
        reply = client.post("/v1/batches", json=body_of(upload(client, [chat(1)])))
        assert (reply.status_code, reply.json()["error"]["code"]) == (429, "too_many_batches")
        assert len(client.get("/v1/batches").json()["data"]) == 1


def test_batches_of_another_tenant_do_not_exist_and_a_key_needs_the_priority(table: Table) -> None:
    store = ApiKeyStore(connect(table.settings), table.object_store)
    mine, theirs, urgent = (
        {"Authorization": f"Bearer {store.create(key)[1]}"}
        for key in (ApiKey("", "a"), ApiKey("", "b"), ApiKey("", "a", priorities=("default",)))
    )
    with client_of(settings_of(table, auth="keys")) as client:
        file_id = upload(client, [chat(1)], **mine)
        batch_id = client.post("/v1/batches", json=body_of(file_id), headers=mine).json()["id"]
        for method, path in (("GET", ""), ("POST", "/cancel")):
            reply = client.request(method, f"/v1/batches/{batch_id}{path}", headers=theirs)
            assert (reply.status_code, reply.json()["error"]["code"]) == (404, "batch_not_found")
        assert client.get("/v1/batches", headers=theirs).json()["data"] == []
        assert client.post("/v1/batches", json=body_of(file_id), headers=theirs).status_code == 400
        assert client.post("/v1/batches", json=body_of(file_id), headers=urgent).status_code == 403
        assert [one["id"] for one in client.get("/v1/batches", headers=mine).json()["data"]] == [batch_id]
