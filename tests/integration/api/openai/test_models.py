from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from runtime.settings import Settings
from testing.api import client_of
from testing.table import Table

NAME = "zai-org/GLM-4.1V-9B-Thinking"


def with_names(settings: Settings) -> Settings:
    return settings.model_copy(
        update={"model": NAME, "model_family": "glm-4.1v-thinking", "model_aliases": ("gpt-5", "local/vlm")}
    )


@pytest.fixture
def client(table: Table) -> Iterator[TestClient]:
    with client_of(with_names(table.settings)) as client:
        yield client


def test_the_model_is_listed_under_each_of_its_names(client: TestClient) -> None:
    listed = client.get("/v1/models").json()["data"]
    assert [(one["id"], one["root"], one["max_model_len"]) for one in listed] == [
        (name, NAME, 65_536) for name in (NAME, "gpt-5", "local/vlm")
    ]


@pytest.mark.parametrize("path", [NAME, NAME.replace("/", "%2F"), "gpt-5", "local%2Fvlm"])
def test_a_model_is_read_by_any_name(client: TestClient, path: str) -> None:
    reply = client.get(f"/v1/models/{path}")
    assert (reply.status_code, reply.json()["id"]) == (200, path.replace("%2F", "/"))


def test_an_unknown_model_is_named_in_the_error(client: TestClient) -> None:
    reply = client.get("/v1/models/gpt-4o")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")
    assert reply.json()["error"]["param"] == "model"
