"""The key of every object in the bucket.

requests/<job>.json                     what the client asked for; written once
results/<job>.json                      how the job ended; written once
cancels/<job>.json                      the job was cancelled
events/<job>.jsonl                      the event stream of an ended job
jobs/<job>/…                            the job's media and prepared inputs
deliveries/<delivery>.json              a settled delivery, or a test event
idempotency/<key>/<n>.json              the job or rotation of an Idempotency-Key; written once
decisions/<job>.json                    whether a job that was repeated or withdrawn is accepted; written once
uploads/<tenant>/<upload>/…             files that clients upload for later jobs
files/<tenant>/<file>.json              the record of a file of `/v1/files`; written once
file_contents/<tenant>/<file>           its content
batches/requests/<tenant>/<batch>.json  what the client asked for in a batch; written once
batches/states/<batch>/<n>.json         a state of a batch; written once; the one with the highest number counts
batches/parts/<batch>/<name>            lines of the output of a batch that is not complete
batches/cancels/<batch>.json            the batch was cancelled
keys/<SHA-256 of the API key>.json      an API key
revoked_keys/<SHA-256>.json             that API key was revoked; never deleted
tenants/<tenant>/webhook_secret.json    the version of the tenant's webhook secret
probes/…                                written and deleted when a process starts; probes/canary stays
"""

REQUESTS = "requests/"
RESULTS = "results/"
CANCELS = "cancels/"
EVENTS = "events/"
JOBS = "jobs/"
DELIVERIES = "deliveries/"
IDEMPOTENCY = "idempotency/"
DECISIONS = "decisions/"
UPLOADS = "uploads/"
FILES = "files/"
FILE_CONTENTS = "file_contents/"
BATCHES = "batches/"
API_KEYS = "keys/"
REVOKED_KEYS = "revoked_keys/"
CANARY = "probes/canary"
"""Written and read to learn whether the store answers."""

JOB_PREFIXES = (REQUESTS, RESULTS, CANCELS, EVENTS, JOBS, DELIVERIES, IDEMPOTENCY, DECISIONS)
"""All that belongs to jobs; the bucket's lifecycle rules expire it."""

PREPARED = "prepared.json"


def request_key(job_id: str) -> str:
    return f"{REQUESTS}{job_id}.json"


def result_key(job_id: str) -> str:
    return f"{RESULTS}{job_id}.json"


def cancel_key(job_id: str) -> str:
    """The object exists if a client cancelled the job, even after Redis lost that."""
    return f"{CANCELS}{job_id}.json"


def events_key(job_id: str) -> str:
    return f"{EVENTS}{job_id}.jsonl"


def decision_key(job_id: str) -> str:
    """The object exists if a repeat found the job before it ended, or if it was withdrawn (lifecycle/acceptance.py)."""
    return f"{DECISIONS}{job_id}.json"


def idempotency_key(digest: str, number: int) -> str:
    """Return the key of the ``number``-th job of an Idempotency-Key; there is a next one if that job was withdrawn."""
    return f"{IDEMPOTENCY}{digest}/{number}.json"


def delivery_prefixes(job_id: str) -> tuple[str, str]:
    """Return what the keys of a job's settled deliveries begin with."""
    return f"{DELIVERIES}evt_{job_id}_", f"{DELIVERIES}copy_{job_id}_"


def job_id_of(key: str) -> str:
    """Return the job id in a request, result, cancel or events key."""
    return key.partition("/")[2].partition(".")[0]


def job_folder(job_id: str) -> str:
    """Return the folder of a job's objects, without a slash at the end."""
    return f"{JOBS}{job_id}"


def damaged_result_key(job_id: str) -> str:
    """Return the key of the bytes that were found in place of the job's result."""
    return f"{job_folder(job_id)}/damaged/result.json"


def replacement_key(job_id: str) -> str:
    """Return the key of the result that takes the place of the damaged one; written once."""
    return f"{job_folder(job_id)}/damaged/replacement.json"


def prepared_key(job_id: str, folder: str) -> str:
    """``folder`` is ``Job.prepared``: one folder for each attempt."""
    return f"{job_folder(job_id)}/{folder}/{PREPARED}"


def event_test_key(delivery: str) -> str:
    """Return the key of a test event's ``url``, ``tenant`` and ``created_at`` (seconds since 1970)."""
    return f"{DELIVERIES}{delivery}.json"


def tombstone_key(delivery: str) -> str:
    """Return the key of a settled delivery's state and attempts. ``recover`` does not send such a delivery again."""
    return f"{DELIVERIES}{delivery}.json"


def delivery_id_of(key: str) -> str:
    return key.removeprefix(DELIVERIES).removesuffix(".json")


def job_id_of_delivery(delivery: str) -> str | None:
    """Return the job in ``evt_<job>_<status>`` and ``copy_<job>_<number>``; None for a test event."""
    kind, _, rest = delivery.partition("_")
    job_id, _, _ = rest.rpartition("_")
    return job_id if kind in ("evt", "copy") and job_id.startswith("job_") else None


def upload_meta_key(tenant: str, upload_id: str) -> str:
    """Return the key of what the client announced about an upload."""
    return f"{UPLOADS}{tenant}/{upload_id}/meta.json"


def upload_data_key(tenant: str, upload_id: str) -> str:
    """Return the key of the file that the client uploaded."""
    return f"{UPLOADS}{tenant}/{upload_id}/data"


def file_record_prefix(tenant: str) -> str:
    """Return what the keys of a tenant's file records begin with."""
    return f"{FILES}{tenant}/"


def file_record_key(tenant: str, file_id: str) -> str:
    """Return the key of a file's record; the file exists if this object does."""
    return f"{file_record_prefix(tenant)}{file_id}.json"


def file_id_of(key: str) -> str:
    """Return the file id in the key of a record."""
    return key.rpartition("/")[2].removesuffix(".json")


def file_content_key(tenant: str, file_id: str) -> str:
    return f"{FILE_CONTENTS}{tenant}/{file_id}"


def batch_prefix(tenant: str) -> str:
    """Return what the keys of a tenant's batches begin with."""
    return f"{BATCHES}requests/{tenant}/"


def batch_key(tenant: str, batch_id: str) -> str:
    return f"{batch_prefix(tenant)}{batch_id}.json"


def batch_state_prefix(batch_id: str) -> str:
    return f"{BATCHES}states/{batch_id}/"


def batch_state_key(batch_id: str, number: int) -> str:
    """Return the key of a batch's state; keys sort as their numbers do."""
    return f"{batch_state_prefix(batch_id)}{number:08}.json"


def batch_part_prefix(batch_id: str) -> str:
    return f"{BATCHES}parts/{batch_id}/"


def batch_cancel_key(batch_id: str) -> str:
    return f"{BATCHES}cancels/{batch_id}.json"


def api_key_key(digest: str) -> str:
    return f"{API_KEYS}{digest}.json"


def revoked_key_key(digest: str) -> str:
    """The object exists if the API key was revoked: a file or another process may still know the key."""
    return f"{REVOKED_KEYS}{digest}.json"


def webhook_secret_key(tenant: str) -> str:
    return f"tenants/{tenant}/webhook_secret.json"
