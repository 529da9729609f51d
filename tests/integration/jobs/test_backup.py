"""A bucket is restored from a copy that was made while it was in use; docs/recovery.md has the order."""

from fastapi.testclient import TestClient

from jobs.lifecycle.recovery.reconcile import recover
from jobs.model.job import JobStatus, Stage
from jobs.objects.keys import RESULTS
from jobs.table.scripts import connect
from jobs.tenants.api_key import ApiKey
from jobs.tenants.api_keys import ApiKeyStore
from jobs.tenants.webhook_secrets import WebhookSecrets
from testing.api import HELLO
from testing.table import Table, completed, empty_bucket


def copy_of_bucket(table: Table) -> dict[str, bytes]:
    """Return every object by its key; results last, as docs/recovery.md says."""
    names = sorted(table.object_store.list_keys(""), key=lambda name: (name.startswith(RESULTS), name))
    return {name: table.object_store.get(name) for name in names}


def submit(client: TestClient, **headers: str) -> str:
    return str(client.post("/v1/jobs", json=HELLO, headers=headers).raise_for_status().json()["id"])


def finish_next(table: Table, job_id: str) -> None:
    claimed = table.claim(Stage.PREPARE)
    assert claimed is not None
    assert claimed.job.id == job_id
    table.finalizer.finalize(completed(claimed.job), expect="owner")


def test_a_restored_bucket_has_its_jobs_keys_and_secrets(client: TestClient, table: Table) -> None:
    api_keys = ApiKeyStore(connect(table.settings), table.object_store)
    secrets = WebhookSecrets(table.object_store, table.settings)
    kept, token = api_keys.create(ApiKey("", "acme"))
    revoked, revoked_token = api_keys.create(ApiKey("", "acme"))
    api_keys.revoke(revoked.id)
    secret = secrets.rotate("acme", keep_old=True).secret
    ended = submit(client)
    finish_next(table, ended)
    waiting, cancelled = submit(client, **{"Idempotency-Key": "k"}), submit(client)
    client.post(f"/v1/jobs/{cancelled}/cancel").raise_for_status()
    before = {job_id: client.get(f"/v1/jobs/{job_id}").json() for job_id in (ended, waiting, cancelled)}

    backup = copy_of_bucket(table)
    newer = submit(client)
    empty_bucket(table.settings)
    connect(table.settings).flushdb()
    for name, data in backup.items():
        table.object_store.put(name, data)
    report = recover(table.settings)

    assert (report.waiting, report.ended) == (1, 2)
    assert {job_id: client.get(f"/v1/jobs/{job_id}").json()["status"] for job_id in before} == {
        job_id: job["status"] for job_id, job in before.items()
    }
    assert client.get(f"/v1/jobs/{ended}").json()["output"] == before[ended]["output"]
    assert submit(client, **{"Idempotency-Key": "k"}) == waiting
    assert client.get(f"/v1/jobs/{newer}").status_code == 404, "it is newer than the backup"
    finish_next(table, waiting)
    assert table.status(waiting) == JobStatus.COMPLETED
    assert api_keys.find(token) == kept
    assert api_keys.find(revoked_token) is None
    assert secrets.current("acme") == secret
