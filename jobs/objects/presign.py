"""Presigned PUT URLs whose signature covers the size of the body.

minio signs only the host, and a PUT URL that signs nothing else accepts any size. AWS Signature Version 4 in its query
form: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html

Other headers of the client are not signed, because a signed header must be sent. Stores refuse those with ``x-amz-``
that are not signed. They keep the others, such as ``Content-Encoding``, so objects are read as they are stored (raw.py)
and copied without them.
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode, urlsplit

from minio.credentials.credentials import Credentials

from runtime.settings import Settings

ALGORITHM = "AWS4-HMAC-SHA256"


def presigned_put(
    settings: Settings,
    credentials: Credentials,
    key: str,
    *,
    size: int,
    lifetime: timedelta,
    part: Mapping[str, str] | None = None,
    now: datetime | None = None,
) -> str:
    """Return a URL for one PUT of exactly ``size`` bytes, on the host that clients use.

    Args:
        credentials: valid keys; the URL ends with their session.
        part: ``uploadId`` and ``partNumber``, for a part of a multipart upload.
    """
    endpoint = (settings.s3_public_endpoint or settings.s3_endpoint).rstrip("/")
    at = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{at[:8]}/{settings.s3_region}/s3/aws4_request"
    path = quote(f"/{settings.s3_bucket}/{key}")
    parameters = {
        "X-Amz-Algorithm": ALGORITHM,
        "X-Amz-Credential": f"{credentials.access_key}/{scope}",
        "X-Amz-Date": at,
        "X-Amz-Expires": str(int(lifetime.total_seconds())),
        "X-Amz-SignedHeaders": "content-length;host",
        **(part or {}),
    }
    if credentials.session_token:
        parameters["X-Amz-Security-Token"] = credentials.session_token
    query = urlencode(sorted(parameters.items()), quote_via=quote, safe="")
    headers = f"content-length:{size}\nhost:{urlsplit(endpoint).netloc}\n"
    canonical_request = f"PUT\n{path}\n{query}\n{headers}\ncontent-length;host\nUNSIGNED-PAYLOAD"
    string_to_sign = f"{ALGORITHM}\n{at}\n{scope}\n{hashlib.sha256(canonical_request.encode()).hexdigest()}"
    signing_key = f"AWS4{credentials.secret_key}".encode()
    for name in (at[:8], settings.s3_region, "s3", "aws4_request"):
        signing_key = hmac.digest(signing_key, name.encode(), "sha256")
    signature = hmac.digest(signing_key, string_to_sign.encode(), "sha256").hex()
    return f"{endpoint}{path}?{query}&X-Amz-Signature={signature}"
