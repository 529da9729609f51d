"""One conditional PUT: writes an object unless it exists.

minio's ``put_object`` drops the ``If-None-Match`` header; a PUT to a presigned URL carries it.
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

LARGE_BYTES = 2**16
"""A store that refuses a conditional PUT of more than this may close the connection before it has read the body."""


def try_put(http: urllib3.PoolManager, url: str, data: bytes, content_type: str) -> bool | None:
    """Send a conditional PUT to a presigned URL.

    Returns:
        Whether it wrote the object; None: the outcome is unknown, or the store asks for another try.

    Raises:
        PresignedUrlExpired, ObjectStoreUnsuitable
        ObjectStoreNotCalled
        ObjectStoreUnavailable: the store refuses the PUT for another reason.
    """
    headers = {"If-None-Match": "*", "Content-Type": content_type}
    try:
        reply = http.request("PUT", url, body=data, headers=headers, retries=False)
    except (NotCalled, NewConnectionError, ConnectTimeoutError) as error:
        raise ObjectStoreNotCalled from error
    except HTTPError:
        return None
    if reply.status in (200, 412):
        return reply.status == 200
    if reply.status == 501:
        raise ObjectStoreUnsuitable("The object store does not implement If-None-Match on PUT; use another one.")
    if reply.status == 403 and b"expired" in reply.data.lower():
        raise PresignedUrlExpired
    if reply.status not in (409, 429) and reply.status < 500:
        raise ObjectStoreUnavailable(f"The object store refused a conditional PUT with status {reply.status}.")
    return None
