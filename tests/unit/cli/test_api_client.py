"""When the client retries, and when it gives up."""

import socket

import pytest

from cli.client import api_client
from cli.client.api_client import ApiClient
from cli.errors import CommandError, Unreachable


@pytest.fixture
def unused_url() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def fail_on_retry(failures: int) -> float:
    raise AssertionError(f"retry after {failures} failures")


def test_a_service_that_never_answered_is_not_tried_again(unused_url: str) -> None:
    client = ApiClient(unused_url, backoff=fail_on_retry)
    calls = (
        lambda: client.job("job_x"),
        lambda: client.submit({}, idempotency_key="k"),
        lambda: next(client.events("job_x")),
    )
    for call in calls:
        with pytest.raises(Unreachable, match=f"{unused_url} does not answer"):
            call()
    client.close()


def test_a_service_that_answered_before_is_tried_again(unused_url: str) -> None:
    attempts: list[int] = []

    def backoff(failures: int) -> float:
        attempts.append(failures)
        return 0.0

    client = ApiClient(unused_url, backoff=backoff)
    client._has_answered = True
    with pytest.raises(Unreachable, match=f"{unused_url} does not answer"):
        client.job("job_x")
    client.close()
    assert attempts == list(range(1, api_client.ATTEMPTS))


def test_a_connection_takes_less_than_two_seconds() -> None:
    assert api_client.CONNECT_TIMEOUT_S < 2


@pytest.mark.parametrize("url", ["htp://127.0.0.1:8800", "127.0.0.1:8800", "http://", "http://[::1", ""])
def test_an_address_that_is_no_url_is_refused_at_once(url: str) -> None:
    with pytest.raises(CommandError, match="--url"):
        ApiClient(url)
