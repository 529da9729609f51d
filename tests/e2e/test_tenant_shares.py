"""One tenant's long jobs fill every slot of a generate worker: another tenant's job runs all the same."""

import httpx

from jobs.table.scripts import connect
from jobs.tenants.api_key import ApiKey
from jobs.tenants.api_keys import ApiKeyStore
from testing.inputs.request_bodies import question
from testing.processes.service import ALL, Service


def client_of(service: Service, tenant: str) -> httpx.Client:
    _, token = ApiKeyStore(connect(service.table.settings), service.table.object_store).create(ApiKey("", tenant))
    return httpx.Client(base_url=service.url, headers={"authorization": f"Bearer {token}"}, timeout=30)


def submit(client: httpx.Client, thinking: int) -> str:
    body = {
        "messages": question("Count."),
        "thinking": {"budget_tokens": thinking},
        "max_answer_tokens": 4,
        "sampling": {"seed": 1},
    }
    reply = client.post("/v1/jobs", json=body)
    assert reply.status_code == 202, reply.text
    return str(reply.json()["id"])


def test_a_short_job_does_not_wait_for_another_tenants_long_jobs(isolated_service: Service) -> None:
    isolated_service.start(*ALL, AUTH="keys", ENGINE_SLOTS="2")
    isolated_service.wait_for_workers(prepare=1, generate=1, keeper=1)
    with client_of(isolated_service, "long") as long, client_of(isolated_service, "short") as short:
        many = [submit(long, thinking=1_800) for _ in range(3)]

        def statuses() -> list[str]:
            return [long.get(f"/v1/jobs/{job_id}").json()["status"] for job_id in many]

        isolated_service.wait_until(lambda: statuses().count("running") >= 2, "both slots are taken")
        job_id = submit(short, thinking=0)
        isolated_service.wait_until(
            lambda: short.get(f"/v1/jobs/{job_id}").json()["status"] == "completed", "the short job has ended"
        )
        assert "completed" not in statuses(), "it did not wait for a slot to become free"
