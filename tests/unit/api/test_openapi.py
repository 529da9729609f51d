"""The OpenAPI document: committed, complete, and shown without other hosts."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.print_openapi import render_document
from api.routes.docs import PAGE
from api.schemas.openapi.webhook_events import duration, render_page
from jobs.model.job import JobStatus
from jobs.model.public.public_job import PublicJob, ResultCopy, WebhookEvent
from jobs.model.retry_schedule import RETRY_DELAYS_S

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return dict(json.loads(render_document()))


def test_the_committed_document_is_up_to_date() -> None:
    assert (ROOT / "docs" / "openapi.json").read_text("utf-8") == render_document(), "run `make docs`"


def test_the_committed_webhook_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "webhooks.md").read_text("utf-8") == render_page(), "run `make docs`"


def test_every_model_and_every_field_has_a_description(document: dict[str, Any]) -> None:
    schemas = {name: schema for name, schema in document["components"]["schemas"].items() if "properties" in schema}
    assert len(schemas) > 30
    assert [name for name, schema in schemas.items() if not schema.get("description")] == []
    fields = [
        f"{name}.{field}"
        for name, schema in schemas.items()
        for field, definition in schema["properties"].items()
        if not definition.get("description") and field != "type"
    ]
    assert fields == []


def test_every_parameter_has_a_description(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        for parameter in operation.get("parameters", []):
            assert parameter.get("description"), (name, parameter["name"])


def test_every_route_under_v1_needs_the_api_key(document: dict[str, Any]) -> None:
    (scheme,) = document["components"]["securitySchemes"].items()
    assert (scheme[1]["type"], scheme[1]["scheme"]) == ("http", "bearer")
    for name, operation in operations(document):
        assert operation.get("security", []) == ([{scheme[0]: []}] if "/v1/" in name else []), name


def test_each_terminal_status_has_a_webhook_with_a_complete_event_and_a_test_event(document: dict[str, Any]) -> None:
    statuses = {f"job.{status}" for status in JobStatus if status.is_terminal}
    assert document["webhooks"].keys() == {*statuses, "result.copy"}
    for name in statuses:
        webhook = document["webhooks"][name]["post"]
        content = webhook["requestBody"]["content"]["application/json"]
        event = content["examples"][name]["value"]
        assert event["type"] == name
        assert WebhookEvent.model_validate(event).model_dump(mode="json") == event
        sample = content["examples"]["test event"]["value"]
        assert (sample["type"], sample["data"]["test"]) == (name, True)
        for delay in RETRY_DELAYS_S:
            assert duration(delay) in webhook["description"]


def test_the_examples_of_jobs_have_all_fields(document: dict[str, Any]) -> None:
    (job,) = document["components"]["schemas"]["JobReply"]["examples"]
    assert PublicJob.model_validate(job).model_dump(mode="json") == job
    copy = document["webhooks"]["result.copy"]["put"]["requestBody"]["content"]["application/json"]
    example = copy["examples"]["result copy"]["value"]
    assert ResultCopy.model_validate(example).model_dump(mode="json") == {"stop_string": None, **example}


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "5 s"), (300, "5 min"), (86_400, "24 h"), (15.0, "15 s"), (90, "90 s")]
)
def test_durations_are_written_in_the_largest_whole_unit(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_page_and_its_style_load_nothing_from_another_host() -> None:
    """The scripts are checked by the page's Content-Security-Policy, see tests/integration/api/test_openapi.py."""
    sources = re.findall(r'(?:src|href)="([^"]+)"', (PAGE / "index.html").read_text("utf-8"))
    assert len(sources) == 4
    for source in sources:
        assert source == "data:," or (PAGE / source).is_file(), source
    style = (PAGE / "swagger-ui.css").read_text("utf-8")
    assert "@import" not in style
    assert all(url.strip("'\"").startswith("data:") for url in re.findall(r"url\(([^)]*)\)", style))
    assert "validatorUrl: null" in (PAGE / "init.js").read_text("utf-8")
    assert sum(path.stat().st_size for path in PAGE.iterdir()) < 2 * 10**6


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_every_time_of_a_reply_is_described_as_rfc_3339(document: dict[str, Any]) -> None:
    fields = {
        f"{model}.{name}": field
        for model, schema in document["components"]["schemas"].items()
        for name, field in schema.get("properties", {}).items()
        if name.endswith("_at") or name in ("at", "timestamp")
    }
    assert len(fields) > 10
    for name, field in fields.items():
        types = field.get("anyOf", [field])
        assert {"type": "string", "format": "date-time"} in [
            {key: kind[key] for key in ("type", "format") if key in kind} for kind in types
        ], name


def test_every_time_of_an_example_has_the_same_format(document: dict[str, Any]) -> None:
    times = re.findall(r'"(?:\w+_at|at|timestamp)": ("[^"]*"|[0-9.]+)', json.dumps(document))
    assert len(times) > 20
    assert [time for time in times if not re.fullmatch(r'"[0-9-]{10}T[0-9:]{8}\.[0-9]{3}Z"', time)] == []
