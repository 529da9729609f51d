"""One conditional PUT: writes an object unless it exists, or only while it has the ETag that was read.

minio's ``put_object`` drops the headers of a condition; a PUT to a presigned URL carries them.
"""

import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError

from jobs.errors import (
    ObjectStoreNotCalled,
    ObjectStoreUnavailable,
    ObjectStoreUnsuitable,
    PresignedUrlExpired,
)
from jobs.objects.client import NotCalled

IF_ABSENT = {"If-None-Match": "*"}

LARGE_BYTES = 2**16
"""A store that refuses a conditional PUT of more than this may close the connection before it has read the body."""


def if_match(etag: str) -> dict[str, str]:
    """Return the condition that the object has this ETag, which comes without quotes."""
    return {"If-Match": f'"{etag}"'}


def try_put(
    http: urllib3.PoolManager, url: str, data: bytes, content_type: str, condition: dict[str, str]
) -> bool | None:
    """Send a conditional PUT to a presigned URL.

    Args:
        condition: ``IF_ABSENT`` or ``if_match(etag)``.

    Returns:
        Whether it wrote the object; None: the outcome is unknown, or the store asks for another try.

    Raises:
        PresignedUrlExpired, ObjectStoreUnsuitable
        ObjectStoreNotCalled
        ObjectStoreUnavailable: the store refuses the PUT for another reason.
    """
    headers = {**condition, "Content-Type": content_type}
    try:
        reply = http.request("PUT", url, body=data, headers=headers, retries=False)
    except (NotCalled, NewConnectionError, ConnectTimeoutError) as error:
        raise ObjectStoreNotCalled from error
    except HTTPError:
        return None
    if reply.status in (200, 412):
        return reply.status == 200
    if reply.status == 404 and "If-Match" in condition and b"NoSuchBucket" not in reply.data:
        return False  # AWS: the object was deleted
    if reply.status == 501:
        header = next(iter(condition))
        raise ObjectStoreUnsuitable(f"The object store does not implement {header} on PUT; use another one.")
    if reply.status == 403 and b"expired" in reply.data.lower():
        raise PresignedUrlExpired
    if reply.status not in (409, 429) and reply.status < 500:
        raise ObjectStoreUnavailable(f"The object store refused a conditional PUT with status {reply.status}.")
    return None
