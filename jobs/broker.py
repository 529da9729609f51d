"""kombu's Redis transport, for a Redis that refuses writes for a while: a full disk ends no worker."""

import time
from typing import Any

import redis
from kombu.transport.redis import Transport

PAUSE_S = 1.0


class PatientTransport(Transport):  # type: ignore[misc]
    """Takes every error that Redis answers with for a lost connection: Celery connects anew, and its jobs go on.

    By itself Celery ends the process at the first ``MISCONF`` (Redis cannot write its log), and a gpu worker loads its
    model again, for minutes, to end at the next one.
    """

    connection_errors: tuple[type[BaseException], ...]
    _connected_at = 0.0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.connection_errors = (*self.connection_errors, redis.ResponseError)

    def establish_connection(self) -> Any:
        if time.monotonic() - PatientTransport._connected_at < PAUSE_S:
            time.sleep(PAUSE_S)
        PatientTransport._connected_at = time.monotonic()
        return super().establish_connection()
