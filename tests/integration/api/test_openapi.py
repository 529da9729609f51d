"""The OpenAPI document and the API agree: schemathesis checks the reply to every generated request."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from jobs.model.job import PRIORITIES
from jobs.table.scripts import connect
from jobs.tenants.api_key import ApiKey
from jobs.tenants.api_keys import ApiKeyStore
from testing.processes.service import Service
from testing.table import Table

CONFIG = Path(__file__).with_name("schemathesis.toml")
EXAMPLES = 12
"""Examples per operation and phase, some hundred requests in all. Run 1,000 by hand; they take some minutes."""


@pytest.mark.slow
def test_every_reply_to_a_generated_request_conforms_to_the_document(isolated_service: Service, table: Table) -> None:
    key = ApiKey("", "tenant", priorities=PRIORITIES, requests_per_minute=1_000_000)
    _, token = ApiKeyStore(connect(table.settings), table.object_store).create(key)
    isolated_service.start("api", AUTH="keys", PROMPT_REFUSALS="1000000")
    isolated_service.wait_for_workers()
    command = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(CONFIG)]
    command += ["run", f"{isolated_service.url}/openapi.json", "-H", f"Authorization: Bearer {token}"]
    command += [
        "--max-examples",
        str(EXAMPLES),
        "--request-timeout",
        "20",
        "--no-color",
        "--generation-database",
        "none",
        # Whether a dozen random names match a pattern is luck, not a fault of the API.
        "--suppress-health-check",
        "filter_too_much",
    ]
    # An event stream ends only with its job; test_event_stream.py reads them.
    command += ["--exclude-path-regex", "events$", "--continue-on-failure"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=170, check=False)
    assert result.returncode == 0, result.stdout[-6_000:] + result.stderr[-2_000:]
    assert "crashed" not in isolated_service.log("api")


@pytest.fixture
def document(client: TestClient) -> dict[str, Any]:
    return dict(client.get("/openapi.json").json())


def operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method.upper()} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def test_every_route_has_a_description_and_its_error_responses(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        assert operation.get("description"), name
        if "/v1/" in name:
            assert {"401", "422", "429", "503"} <= operation["responses"].keys(), name


def test_every_request_and_reply_body_has_an_example(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]

    def has_example(content: dict[str, Any]) -> bool:
        schema = content.get("schema", {})
        named = schema.get("$ref") or next((one["$ref"] for one in schema.get("anyOf", []) if "$ref" in one), "")
        model = schemas.get(named.rpartition("/")[2], {})
        return bool(content.get("example") or content.get("examples") or model.get("examples"))

    missing = []
    for name, operation in operations(document):
        bodies = [("body", operation["requestBody"])] if "requestBody" in operation else []
        for kind, body in [*bodies, *operation["responses"].items()]:
            if "$ref" in body:
                body = document["components"]["responses"][body["$ref"].rpartition("/")[2]]
                assert body["content"], name
            missing += [f"{name} {kind}" for content in body.get("content", {}).values() if not has_example(content)]
    assert missing == []


def test_a_service_without_keys_has_no_security_scheme(document: dict[str, Any]) -> None:
    assert "securitySchemes" not in document["components"]
    assert not any("security" in operation for _, operation in operations(document))


def test_the_document_contains_no_secret_and_no_server_address(document: dict[str, Any], table: Table) -> None:
    text = json.dumps(document)
    assert table.settings.webhook_secret.get_secret_value() not in text
    assert table.settings.s3_endpoint not in text


def test_the_reference_page_is_served_with_a_policy_that_forbids_other_hosts(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.url.path == "/docs/"
    assert page.headers["content-type"].startswith("text/html")
    for reply in (page, client.get("/docs/swagger-ui-bundle.js"), client.get("/docs/init.js")):
        assert reply.status_code == 200
        policy = dict(rule.strip().split(" ", 1) for rule in reply.headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["connect-src"] == "'self'"
        assert "//" not in reply.headers["content-security-policy"]
    assert client.get("/docs/nothing").json()["code"] == "not_found"
    assert client.get("/docs/../app.py").status_code == 404
