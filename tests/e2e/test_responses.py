"""``/v1/responses`` through the whole service, as a plain HTTP client sees it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from testing.inputs.request_bodies import FAR_FROM_TIES, SHAPES_URL
from testing.processes.servers import Servers
from testing.processes.service import Service, started_service
from testing.sse import Sent, events_of

PATH = "/v1/responses"
SHORT = {"model": "m", "input": "Hi.", "thinking": {"budget_tokens": 4}, "max_output_tokens": 24, "seed": 3}
PICTURE = [{"type": "input_text", "text": "Describe the picture."}, {"type": "input_image", "image_url": SHAPES_URL}]
LONG = {
    "input": [{"role": "user", "content": PICTURE}],
    "thinking": {"budget_tokens": 100},
    "repetition_penalty": 1.1,
    "seed": 8,
    **FAR_FROM_TIES,
}
ENDLESS = {"input": "Describe everything that you see.", "reasoning": {"effort": "max"}, "top_k": 40, "seed": 1}
IMAGE_FIELD = "input[0].content[0].image_url"
ENDED_WELL = ("completed", "incomplete")
PADDING = "x" * 400_000
"""Makes a body large, so that another process reads it."""


@pytest.fixture(scope="module")
def openai(servers: Servers, tmp_path_factory: pytest.TempPathFactory, pocket_folder: Path) -> Iterator[Service]:
    """A service whose model thinks for long, and that cancels the jobs of clients that left after a second."""
    logs = tmp_path_factory.mktemp("responses-service")
    settings = {"DISCONNECT_GRACE_S": "1", "MODEL_ALIASES": "m"}
    with started_service(servers, "responses", logs, pocket_folder, **settings) as service:
        yield service


def create(service: Service, **body: Any) -> dict[str, Any]:
    reply = service.http.post(PATH, json=body)
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


def get(service: Service, response_id: str, path: str = "", **query: Any) -> httpx.Response:
    return service.http.get(f"{PATH}/{response_id}{path}", params=query)


def wait(service: Service, response: dict[str, Any]) -> dict[str, Any]:
    """Wait until a response has ended, and return it."""
    service.wait_for_end(job_of(response))
    return dict(get(service, response["id"]).raise_for_status().json())


def job_of(response: dict[str, Any]) -> str:
    return str(response["id"]).replace("resp_", "job_")


def text_of(response: dict[str, Any]) -> str:
    return "".join(item["content"][0]["text"] for item in response["output"] if item["type"] == "message")


def stream(service: Service, response_id: str, *, after: int | None = None) -> bytes:
    query: dict[str, Any] = {"stream": "true", **({} if after is None else {"starting_after": after})}
    return bytes(get(service, response_id, **query).raise_for_status().content)


def frames(stream_of_events: bytes) -> list[bytes]:
    return re.sub(rb": [^\n]*\r\n\r\n", b"", stream_of_events).split(b"\n\n")[:-1]


def test_a_response_is_what_the_native_job_gives(openai: Service) -> None:
    response = create(openai, **LONG, user="ann", made_up=1)
    job = openai.job(job_of(response))
    output, usage = job["output"], job["usage"]
    reasoning, message = response["output"]
    assert reasoning["content"][0]["text"] == reasoning["summary"][0]["text"] == output["thinking"]
    assert message["content"][0]["text"] == output["answer"]
    assert response["usage"]["input_tokens"] == usage["input_tokens"]
    assert response["usage"]["output_tokens_details"] == {"reasoning_tokens": usage["thinking_tokens"]}
    assert response["thinkqueue"]["ignored"] == ["made_up"]
    assert get(openai, response["id"]).json() == response
    assert (reasoning["status"], job["thinking_truncated"]) == ("incomplete", True)


def test_a_total_that_is_reached_makes_the_response_incomplete(openai: Service) -> None:
    response = create(openai, **{**LONG, "thinking": {"budget_tokens": 8}, "max_output_tokens": 24})
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert response["usage"]["output_tokens"] <= 24 + 3


def test_a_stream_of_a_large_body_has_the_same_events(openai: Service) -> None:
    # The first large body starts a process, which takes long while other tests run.
    reply = openai.http.post(PATH, json={**SHORT, "stream": True, "padding": PADDING}, timeout=120)
    events = frames(reply.content)
    response_id = reply.headers["x-thinkqueue-job"].replace("job_", "resp_")
    assert frames(stream(openai, response_id)) == events
    assert reply.headers["x-thinkqueue-ignored"] == "padding"


def test_a_stream_resumes_after_every_event(openai: Service) -> None:
    response = create(openai, **SHORT)
    events = frames(stream(openai, response["id"]))
    assert len(events) > 10
    for number in range(len(events) + 1):
        assert frames(stream(openai, response["id"], after=number)) == events[number + 1 :]


def test_background_returns_at_once(openai: Service) -> None:
    response = create(openai, **SHORT, background=True)
    assert (response["status"], response["output"], response["background"]) == ("queued", [], True)
    ended = wait(openai, response)
    assert ended["status"] in ENDED_WELL
    assert ended["output"]


def test_a_background_stream_goes_on_without_its_client(openai: Service) -> None:
    body = {**LONG, "background": True, "stream": True}
    with openai.http.stream("POST", PATH, json=body) as reply:
        first = next(events_of(reply))
    response = wait(openai, first.data["response"])
    assert response["status"] in ENDED_WELL


@pytest.mark.parametrize("background", [True, False])
def test_cancel_ends_a_response(openai: Service, background: bool) -> None:
    with openai.http.stream("POST", PATH, json={**ENDLESS, "stream": True, "background": background}) as reply:
        events = events_of(reply)
        response_id = next(events).data["response"]["id"]
        wait_for(events, "response.output_item.added")
        cancelled = openai.http.post(f"{PATH}/{response_id}/cancel").json()
        last = list(events)[-1]
    assert (last.event, last.data["response"]["status"]) == ("response.incomplete", "cancelled")
    assert cancelled["status"] == "cancelled"
    assert cancelled["output"] == last.data["response"]["output"]
    assert openai.http.post(f"{PATH}/{response_id}/cancel").json() == cancelled


def wait_for(events: Iterator[Sent], kind: str) -> None:
    assert any(event.event == kind for event in events)


def test_a_deleted_response_is_gone(openai: Service) -> None:
    response = create(openai, **SHORT)
    deleted = openai.http.delete(f"{PATH}/{response['id']}")
    assert deleted.json() == {"id": response["id"], "object": "response", "deleted": True}
    for path in ("", "/input_items"):
        reply = get(openai, response["id"], path)
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "response_not_found")
    assert get(openai, response["id"], stream="true").status_code == 404
    assert openai.http.post(f"{PATH}/{response['id']}/cancel").status_code == 404


def test_a_response_that_is_not_stored_cannot_be_retrieved(openai: Service) -> None:
    response = create(openai, **SHORT, store=False)
    assert (response["store"], get(openai, response["id"]).status_code) == (False, 404)
    refused = openai.http.post(PATH, json={**SHORT, "previous_response_id": response["id"]})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "previous_response_not_found")


def test_a_job_of_another_surface_is_no_response(openai: Service) -> None:
    job_id = openai.submit(messages=[{"role": "user", "content": "Hi."}], max_answer_tokens=4)
    openai.wait_for_end(job_id)
    assert get(openai, job_id.replace("job_", "resp_")).status_code == 404


def test_a_response_continues_another_one_without_its_instructions(openai: Service) -> None:
    developer = {"role": "developer", "content": "Use metric units."}
    user = {"role": "user", "content": "Hi."}
    first = create(openai, **{**SHORT, "input": [developer, user]}, instructions="Be brief.")
    second = create(openai, **SHORT, instructions="Be kind.", previous_response_id=first["id"])
    third = create(openai, **SHORT, previous_response_id=second["id"])
    items = get(openai, third["id"], "/input_items", order="asc").json()["data"]
    said = [(item["role"], item["content"][0]["text"]) for item in items]
    assert said == [
        ("system", "Use metric units."),
        ("user", "Hi."),
        ("assistant", text_of(first)),
        ("user", "Hi."),
        ("assistant", text_of(second)),
        ("user", "Hi."),
    ]
    stored = openai.table.object_store.get(f"requests/{job_of(second)}.json").decode()
    assert "Be kind." in stored
    assert "Be brief." not in stored


def test_items_of_earlier_responses_can_be_referred_to(openai: Service) -> None:
    first = create(openai, **SHORT)
    references = [{"type": "item_reference", "id": item["id"]} for item in first["output"]]
    again = {"role": "user", "content": "Again."}
    second = create(openai, **{**SHORT, "input": [{"role": "user", "content": "Hi."}, *references, again]})
    items = get(openai, second["id"], "/input_items", order="asc").json()["data"]
    assert [(item["role"], item["content"][0]["text"]) for item in items] == [
        ("user", "Hi."),
        ("assistant", text_of(first)),
        ("user", "Again."),
    ]
    unknown = openai.http.post(PATH, json={**SHORT, "input": [{"type": "item_reference", "id": "msg_1_0"}, again]})
    assert unknown.status_code == 404


def test_input_items_have_pages(openai: Service) -> None:
    turns = [{"role": "user" if index % 2 == 0 else "assistant", "content": f"{index}"} for index in range(5)]
    response = create(openai, **{**SHORT, "input": turns})
    found, after = [], None
    while True:
        query: dict[str, Any] = {"limit": 2, **({"after": after} if after else {})}
        page = get(openai, response["id"], "/input_items", **query).json()
        found += [item["content"][0]["text"] for item in page["data"]]
        after = page["last_id"]
        if not page["has_more"]:
            break
    assert found == ["4", "3", "2", "1", "0"]


def test_the_urls_of_images_are_sent_on_request(openai: Service) -> None:
    response = create(openai, **LONG)
    plain, included = (
        get(openai, response["id"], "/input_items", **query).json()["data"][0]["content"][1]
        for query in ({}, {"include[]": "message.input_image.image_url"})
    )
    assert (plain["type"], plain["detail"], plain["image_url"]) == ("input_image", "auto", None)
    assert httpx.get(included["image_url"]).content.startswith(b"\x89PNG")


def test_a_failed_job_is_a_failed_response(openai: Service) -> None:
    broken = [{"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]
    response = create(openai, input=[{"role": "user", "content": broken}])
    assert (response["status"], response["error"]["code"]) == ("failed", "unsupported_image_media_type")
    assert response["thinkqueue"]["error_code"] == "image_unsupported"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": "Hi.", "truncation": "auto"}, "truncation"),
        ({"input": "Hi.", "background": True, "store": False}, "store"),
        ({"input": "Hi.", "tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"input": "Hi.", "reasoning": {"summary": "long"}}, "reasoning.summary"),
        ({"input": "Hi.", "include": ["message.output_text.logprobs"]}, "include"),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": ""}]}, "input[0].type"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": 7}]}]},
            "input[0].content[0].image_url",
        ),
        ({"input": "Hi.", "previous_response_id": "job_1"}, "previous_response_id"),
        ({"instructions": "Be brief."}, "input"),
    ],
)
def test_an_error_names_the_clients_field(openai: Service, body: dict[str, Any], param: str) -> None:
    reply = openai.http.post(PATH, json=body)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param), reply.text


@pytest.mark.parametrize("padding", ["", PADDING], ids=["small", "large"])
def test_the_response_of_a_client_that_left_is_cancelled(openai: Service, padding: str) -> None:
    label = f"left-{len(padding)}"
    body = {**ENDLESS, "metadata": {"test": label}, "padding": padding}
    with pytest.raises(httpx.ReadTimeout):
        openai.http.post(PATH, json=body, timeout=0.5)

    def job_id() -> str | None:
        jobs = openai.http.get("/v1/jobs", params={"metadata[test]": label}).json()["data"]
        return jobs[0]["id"] if jobs else None

    found = openai.wait_until(job_id, "the job is accepted")
    assert openai.wait_for_end(found)["status"] == "cancelled"


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_repeated_call_finds_its_response(openai: Service, is_stream: bool) -> None:
    body = {**LONG, "thinking": {"budget_tokens": 500}, "metadata": {"test": f"repeat-{is_stream}"}}
    headers = {"x-stainless-retry-count": "0", "x-stainless-read-timeout": "0.6"}
    first = openai.http.post(PATH, json=body, headers=headers)
    assert (first.status_code, first.headers["x-should-retry"]) == (504, "true")
    again = {"x-stainless-retry-count": "1"}
    second = openai.http.post(PATH, json={**body, "stream": is_stream}, headers=again, timeout=120)
    assert (second.status_code, second.headers["x-thinkqueue-job"]) == (200, first.headers["x-thinkqueue-job"])
    assert openai.job(second.headers["x-thinkqueue-job"])["status"] == "completed"
