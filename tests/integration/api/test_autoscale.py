"""``GET /v1/autoscale`` on a real job table."""

from fastapi.testclient import TestClient

from jobs.table.types import WorkerStatus
from testing.api import HELLO, client_of
from testing.table import Table


def test_waiting_jobs_want_workers_and_an_empty_queue_wants_none(client: TestClient, table: Table) -> None:
    assert client.get("/v1/autoscale").json()["generate"]["wanted"] == 0
    client.post("/v1/jobs", json=HELLO)
    reply = client.get("/v1/autoscale").json()
    assert (reply["generate"]["wanted"], reply["prepare"]["wanted"]) == (1, 1), (
        "a job in the prepare stage will need a generate worker"
    )
    assert reply["generate"]["backlog_seconds"] == -1
    table.store.heartbeat(WorkerStatus("w1", "generate", "starting", 8, 8), {})
    reply = client.get("/v1/autoscale").json()["generate"]
    assert (reply["wanted"], reply["workers"]) == (1, {"starting": 1})


def test_with_keys_the_route_needs_a_key(table: Table) -> None:
    with client_of(table.settings.model_copy(update={"auth": "keys"})) as client:
        assert client.get("/v1/autoscale").status_code == 401
