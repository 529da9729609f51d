"""Which job belongs to an Idempotency-Key, as stored in ``idempotency/<digest>/<n>.json``. The object never changes."""

import hashlib
import hmac
import json
from dataclasses import asdict, dataclass

from jobs.model.documents.document_format import read_document

KEYED_JOB_FORMAT = 1


@dataclass(frozen=True, slots=True)
class KeyedJob:
    """The job of an Idempotency-Key."""

    job_id: str
    fingerprint: str
    """SHA-256 of the body; see ``JobRequest.fingerprint``."""

    def to_json(self) -> bytes:
        return json.dumps({"v": KEYED_JOB_FORMAT, **asdict(self)}).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "KeyedJob":
        """Parse it. Raises NewerDocument."""
        fields = read_document(data, known=KEYED_JOB_FORMAT)
        return cls(fields["job_id"], fields["fingerprint"])


def key_digest(tenant: str, key: str) -> str:
    """Return 64 hexadecimal digits that are the same for the same key of the same tenant."""
    return hmac.digest(tenant.encode(), key.encode(), hashlib.sha256).hex()
