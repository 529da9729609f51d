"""Jobs with several messages, and jobs that continue other jobs."""

import base64
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from jobs.model.documents.result import JobResult
from jobs.model.job import Job, JobStatus, Stage
from jobs.objects.documents import load_request
from testing.api import inline_picture
from testing.table import Table, completed


def user(*parts: str | dict[str, Any]) -> dict[str, Any]:
    content = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
    return {"role": "user", "content": content}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def picture(**more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": inline_picture(), **more}}


def claim(table: Table, job_id: str) -> Job:
    while claimed := table.claim(Stage.PREPARE):
        if claimed.job.id == job_id:
            return claimed.job
    raise AssertionError("the job is not in the queue")


def post(client: TestClient, *messages: dict[str, Any], **more: Any) -> str:
    reply = client.post("/v1/jobs", json={"messages": list(messages), **more})
    assert reply.status_code == 202, reply.text
    return str(reply.json()["id"])


def roles(table: Table, job_id: str) -> list[str]:
    return [message["role"] for message in load_request(table.object_store, job_id).messages]


def test_a_job_continues_another_with_copies_of_its_media(client: TestClient, table: Table) -> None:
    system = {"role": "system", "content": "Be brief."}
    first = post(client, system, user(picture(), "How many?"))
    table.finalizer.finalize(completed(claim(table, first), answer="four"), expect="owner")
    second = post(client, user("And red ones?"), previous_job_id=first)
    assert roles(table, second) == ["system", "user", "assistant", "user"]
    messages = load_request(table.object_store, second).messages
    assert messages[2]["content"] == [{"type": "text", "text": "four"}]
    assert messages[1]["content"][0]["key"].startswith(f"jobs/{second}/media/")
    assert client.delete(f"/v1/jobs/{first}").status_code == 204
    assert table.object_store.size(messages[1]["content"][0]["key"]) > 0

    table.finalizer.finalize(completed(claim(table, second), answer="one"), expect="owner")
    third = post(client, {"role": "system", "content": "Rhyme."}, user("And now?"), previous_job_id=second)
    assert roles(table, third) == ["system", "user", "assistant", "user", "assistant", "user"]
    assert load_request(table.object_store, third).messages[0]["content"][0]["text"] == "Rhyme."


def test_a_job_that_cannot_be_continued_is_refused_with_the_reason(client: TestClient, table: Table) -> None:
    failed = post(client, user("x"))
    job = claim(table, failed)
    table.finalizer.finalize(JobResult.without_output(job, JobStatus.FAILED, "x", "x", claim=job.claim), expect="owner")
    running = post(client, user("x"))
    for job_id, says in (("job_none", "does not exist"), (running, "has not ended"), (failed, "ended as failed")):
        reply = client.post("/v1/jobs", json={"messages": [user("y")], "previous_job_id": job_id})
        assert reply.status_code == 422
        assert reply.json()["errors"][0]["pointer"] == "/previous_job_id"
        assert says in reply.json()["detail"]


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([assistant("x")], "must start"),
        ([user("x"), assistant("y")], "end with a user message"),
        ([{"role": "system", "content": "x"}], "end with a user message"),
        ([user("x"), {"role": "system", "content": "y"}, user("z")], "one system message"),
        ([{"role": "system", "content": [picture()]}, user("z")], "takes text only"),
        ([user("x"), {"role": "assistant", "content": [picture()]}, user("z")], "takes text only"),
        ([user(*[picture()] * 5), assistant("y"), user(*[picture()] * 4)], "has 9 images; the limit of pocket is 8"),
    ],
)
def test_messages_that_are_not_a_conversation_are_refused(
    client: TestClient, messages: list[dict[str, Any]], says: str
) -> None:
    reply = client.post("/v1/jobs", json={"messages": messages})
    assert reply.status_code == 422
    assert says in reply.json()["detail"]


def test_a_string_and_a_list_of_parts_give_the_same_message(client: TestClient, table: Table) -> None:
    ids = [
        post(client, {"role": "user", "content": "Hi."}, assistant("Ho."), user("x")),
        post(client, user("Hi."), {"role": "assistant", "content": [{"type": "text", "text": "Ho."}]}, user("x")),
    ]
    assert len({str(load_request(table.object_store, job_id).messages) for job_id in ids}) == 1


def test_detail_and_max_pixels_set_the_size_of_an_image(client: TestClient, table: Table) -> None:
    parts = [picture(), picture(detail="low"), picture(detail="high"), picture(max_pixels=5_000, detail="low")]
    job_id = post(client, user(*parts))
    content = load_request(table.object_store, job_id).messages[0]["content"]
    assert [part.get("max_pixels") for part in content] == [None, 168 * 168, None, 5_000]


def test_max_frames_and_max_pixels_of_a_video_are_stored(client: TestClient, table: Table) -> None:
    source = {"url": "https://example.com/a.mp4", "max_frames": 16, "max_pixels": 500_000}
    job_id = post(client, user({"type": "video_url", "video_url": source}, "What moves?"))
    assert load_request(table.object_store, job_id).messages[0]["content"][0] == {"type": "video", **source}


VIDEO = {"type": "video_url", "video_url": {"url": "https://example.com/a.mp4"}}


def document(**source: str) -> dict[str, Any]:
    return {"type": "file", "file": source}


def test_each_kind_of_document_source_is_stored(client: TestClient, table: Table) -> None:
    data = base64.b64encode(b"%PDF-1.7").decode()
    upload = client.post("/v1/uploads", json={"bytes": 8}).json()
    assert httpx.put(upload["url"], content=b"%PDF-1.7", timeout=10).status_code == 200
    job_id = post(
        client,
        user(
            document(file_url="https://example.com/a.pdf", pages="1-3"),
            document(file_data=data, filename="a.pdf"),
            document(file_data=f"data:application/pdf;base64,{data}"),
            document(file_id=upload["id"]),
            "Compare.",
        ),
    )
    parts = load_request(table.object_store, job_id).messages[0]["content"]
    assert [part["type"] for part in parts] == ["document"] * 4 + ["text"]
    assert parts[0] == {"type": "document", "url": "https://example.com/a.pdf", "pages": "1-3"}
    assert [table.object_store.get(part["key"]) for part in parts[1:4]] == [b"%PDF-1.7"] * 3


@pytest.mark.parametrize(
    ("content", "pointer", "says"),
    [
        ([document()], "/messages/0/content/0/file", "exactly one of"),
        ([document(file_url="https://a.b/c", file_id="upload_x")], "/messages/0/content/0/file", "exactly one of"),
        ([document(file_url="https://a.b/c", pages="x")], "/messages/0/content/0/file/pages", "such as '1-5,9'"),
        ([document(file_data="%%%")], "/messages/0/content/0/file/file_data", "base64"),
        ([document(file_id="upload_x")], "/messages/0/content/0/file/file_id", "does not exist or has expired"),
        ([VIDEO, VIDEO], "/messages", "2 videos; the limit of pocket is 1"),
        ([VIDEO, picture()], "/messages", "not trained on both"),
        ([VIDEO, document(file_url="https://a.b/c")], "/messages", "not trained on both"),
        ([document(file_url="https://a.b/c")] * 11, "/messages", "11 documents"),
        ([{"type": "input_audio"}], "/messages/0/content/0", "type must be"),
    ],
)
def test_media_that_the_model_cannot_process_are_refused_by_name(
    client: TestClient, content: list[dict[str, Any]], pointer: str, says: str
) -> None:
    reply = client.post("/v1/jobs", json={"messages": [{"role": "user", "content": content}]})
    assert reply.status_code == 422, reply.text
    assert reply.json()["errors"][0]["pointer"] == pointer, reply.text
    assert says in reply.json()["errors"][0]["message"]


def test_a_video_of_an_earlier_job_counts_towards_the_limits(client: TestClient, table: Table) -> None:
    first = post(client, user(VIDEO, "What moves?"))
    table.finalizer.finalize(completed(claim(table, first), answer="a bar"), expect="owner")
    reply = client.post("/v1/jobs", json={"messages": [user(picture(), "And here?")], "previous_job_id": first})
    assert reply.status_code == 422
    assert "not trained on both" in reply.json()["detail"]
