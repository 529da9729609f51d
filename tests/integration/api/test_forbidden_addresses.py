"""URLs that name an address the service may not reach are refused when they are submitted."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from testing.api import HELLO, client_of
from testing.table import Table


@pytest.fixture
def strict_client(table: Table) -> Iterator[TestClient]:
    """The API of a service that may reach public addresses only."""
    with client_of(table.settings.model_copy(update={"egress_allow": ()})) as client:
        yield client


FORBIDDEN = [
    "http://127.0.0.1:9/x",
    "http://2130706433/x",
    "http://0x7f.1/x",
    "https://localhost/x",
    "http://[::1]:9/x",
    "http://[::ffff:10.0.0.1]/x",
    "http://169.254.169.254/latest/meta-data",
    "http://10.1.2.3/x",
    "http://\uff11\uff12\uff17.0.0.1/x",
]


@pytest.mark.parametrize("url", FORBIDDEN)
def test_forbidden_addresses_are_refused_at_submit(strict_client: TestClient, url: str) -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "file", "file": {"file_url": url}},
        {"type": "text", "text": "?"},
    ]
    body = {"messages": [{"role": "user", "content": parts}], "callback": {"url": url}, "result_urls": [url]}
    reply = strict_client.post("/v1/jobs", json=body)
    assert reply.status_code == 422, reply.text
    assert [problem["pointer"] for problem in reply.json()["errors"]] == [
        "/callback/url",
        "/result_urls/0",
        "/messages/0/content/0/image_url/url",
        "/messages/0/content/1/file/file_url",
    ]
    test = strict_client.post("/v1/webhook_secret/test", json={"url": url})
    assert (test.status_code, test.json()["errors"][0]["pointer"]) == (422, "/url")
    for problem in (*reply.json()["errors"], *test.json()["errors"]):
        assert "not public" in problem["message"] or "neither a name" in problem["message"]


def test_an_allowed_network_and_host_names_are_accepted(client: TestClient, strict_client: TestClient) -> None:
    assert client.post("/v1/jobs", json={**HELLO, "callback": {"url": "http://localhost:9/"}}).status_code == 202
    assert client.post("/v1/jobs", json={**HELLO, "callback": {"url": "http://127.0.0.1:9/"}}).status_code == 202
    named = {**HELLO, "callback": {"url": "https://127.0.0.1.nip.io/"}}
    assert strict_client.post("/v1/jobs", json=named).status_code == 202, "names are checked when they are resolved"


@pytest.mark.parametrize("url", ["http://1.2.3.4.5/", "http://256.1.1.1/", "http://8.8.8.8:0/"])
def test_a_host_that_cannot_exist_is_refused(strict_client: TestClient, url: str) -> None:
    reply = strict_client.post("/v1/jobs", json={**HELLO, "callback": {"url": url}})
    assert (reply.status_code, reply.json()["errors"][0]["pointer"]) == (422, "/callback/url")
