"""Files: any order of the form, limits, tenants, pages, expiry, and their use in requests."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from jobs.lifecycle.file_writer import PART_BYTES
from jobs.lifecycle.upload_cleanup import UploadCleanup
from jobs.objects.documents import load_request
from jobs.objects.files import load_file, save_file
from jobs.table import keys
from jobs.table.scripts import connect
from jobs.table.uploads import UploadLedger
from jobs.tenants.api_key import ApiKey
from jobs.tenants.api_keys import ApiKeyStore
from testing.api import client_of
from testing.inputs.images import encoded, two_colored
from testing.table import Table

PICTURE = encoded(two_colored())
BOUNDARY = "x7"
PURPOSE = '--x7\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
FILE = (
    '--x7\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n'
    "Content-Type: application/octet-stream\r\n\r\nhello\r\n--x\r\n--x8\r\n\r\n"
)
END = "--x7--\r\n"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def create(client: TestClient, content: bytes, *, name: str = "a.bin", **fields: str) -> dict[str, Any]:
    reply = client.post("/v1/files", files={"file": (name, content)}, data={"purpose": "user_data", **fields})
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def error_of(reply: Any) -> tuple[int, str | None, str]:
    error = reply.json()["error"]
    return reply.status_code, error["param"], error["message"]


@pytest.mark.parametrize("parts", [(PURPOSE, FILE), (FILE, PURPOSE)], ids=["purpose first", "file first"])
def test_the_parts_of_the_form_may_come_in_any_order(client: TestClient, parts: tuple[str, str]) -> None:
    body = "".join((*parts, END)).encode()
    made = client.post("/v1/files", content=body, headers=FORM).json()
    assert (made["filename"], made["purpose"], made["bytes"]) == ("a.txt", "user_data", 18)
    assert client.get(f"/v1/files/{made['id']}/content").content == b"hello\r\n--x\r\n--x8\r\n"


def test_a_form_that_arrives_byte_by_byte_is_read(client: TestClient) -> None:
    def pieces() -> Iterator[bytes]:
        for byte in (FILE + PURPOSE + END).encode():
            yield bytes([byte])

    made = client.post("/v1/files", content=pieces(), headers=FORM).json()
    assert client.get(f"/v1/files/{made['id']}").json() == made


def test_a_file_of_several_parts_is_stored_as_it_was_sent(client: TestClient, table: Table) -> None:
    content = bytes(range(256)) * (PART_BYTES // 256) * 2 + b"end"
    made = create(client, content)
    assert made["bytes"] == len(content)
    assert client.get(f"/v1/files/{made['id']}/content").content == content
    assert client.delete(f"/v1/files/{made['id']}").json() == {"id": made["id"], "object": "file", "deleted": True}
    assert client.get(f"/v1/files/{made['id']}/content").status_code == 404
    assert table.object_store.list_keys("file") == []


def test_an_empty_file_has_an_empty_content(client: TestClient) -> None:
    made = create(client, b"")
    assert client.get(f"/v1/files/{made['id']}/content").content == b""


def test_a_file_beyond_the_limit_is_refused_and_leaves_nothing(table: Table) -> None:
    with client_of(table.settings.model_copy(update={"max_file_bytes": 1_000})) as client:
        reply = client.post("/v1/files", files={"file": ("a", b"x" * 1_001)}, data={"purpose": "batch"})
        assert error_of(reply)[:2] == (400, "file")
        assert create(client, b"x" * 1_000)["bytes"] == 1_000
        assert len(table.object_store.list_keys("file_contents/")) == 1
        large = client.post("/v1/files", files={"file": ("a", b"x" * 100_000)}, data={"purpose": "batch"})
        assert large.status_code == 413


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "purpose"),
        ({"purpose": "fun"}, "purpose"),
        ({"purpose": "batch", "expires_after[anchor]": "now"}, "expires_after.anchor"),
        (
            {"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": "60"},
            "expires_after.seconds",
        ),
    ],
)
def test_a_wrong_field_is_named(client: TestClient, table: Table, fields: dict[str, str], param: str) -> None:
    reply = client.post("/v1/files", files={"file": ("a", b"1")}, data=fields)
    assert error_of(reply)[:2] == (400, param)
    assert table.object_store.list_keys("file") == []


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (PURPOSE + END, "file"),
        (PURPOSE + FILE + FILE + END, "file"),
        (PURPOSE + PURPOSE + FILE + END, "purpose"),
        (PURPOSE + FILE, None),
        ("nonsense", None),
    ],
    ids=["no file", "two files", "two purposes", "cut off", "no form"],
)
def test_a_wrong_form_is_refused(client: TestClient, body: str, param: str | None) -> None:
    assert error_of(client.post("/v1/files", content=body.encode(), headers=FORM))[:2] == (400, param)


def test_another_content_type_and_another_site_are_refused(client: TestClient) -> None:
    assert client.post("/v1/files", json={"purpose": "batch"}).status_code == 415
    evil = client.post("/v1/files", files={"file": ("a", b"1")}, headers={"Origin": "http://evil.example"})
    assert (evil.status_code, evil.json()["code"]) == (403, "cross_site_request")


def test_the_list_has_pages_in_both_orders_and_a_filter(client: TestClient) -> None:
    made = [create(client, b"1", purpose=purpose)["id"] for purpose in ("batch", "vision", "batch")]
    first = client.get("/v1/files", params={"limit": 2}).json()
    assert ([one["id"] for one in first["data"]], first["has_more"]) == ([made[2], made[1]], True)
    rest = client.get("/v1/files", params={"limit": 2, "after": first["last_id"]}).json()
    assert ([one["id"] for one in rest["data"]], rest["has_more"]) == ([made[0]], False)
    listed = client.get("/v1/files", params={"order": "asc", "purpose": "batch"}).json()
    assert [one["id"] for one in listed["data"]] == [made[0], made[2]]


def test_files_of_another_tenant_do_not_exist(table: Table) -> None:
    store = ApiKeyStore(connect(table.settings), table.object_store)
    mine, theirs = ({"Authorization": f"Bearer {store.create(ApiKey('', tenant))[1]}"} for tenant in ("a", "b"))
    with client_of(table.settings.model_copy(update={"auth": "keys"})) as client:
        client.headers.update(mine)
        made = create(client, b"secret")
        for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
            reply = client.request(method, f"/v1/files/{made['id']}{path}", headers=theirs)
            assert (reply.status_code, reply.json()["error"]["code"]) == (404, "file_not_found")
        assert client.get("/v1/files", headers=theirs).json()["data"] == []
        asked = client.post("/v1/responses", json=with_file(made["id"]), headers=theirs)
        assert error_of(asked)[1] == "input[0].content[0].file_id"
        assert client.get(f"/v1/files/{made['id']}").json() == made


def test_files_count_for_the_limit_of_uploads_until_they_are_deleted(table: Table) -> None:
    with client_of(table.settings.model_copy(update={"max_open_uploads": 2})) as client:
        made = [create(client, b"1")["id"] for _ in range(2)]
        reply = client.post("/v1/files", files={"file": ("a", b"1")}, data={"purpose": "batch"})
        assert (reply.status_code, reply.json()["error"]["code"]) == (429, "too_many_uploads")
        client.delete(f"/v1/files/{made[0]}")
        create(client, b"1")


def test_an_expired_file_is_gone_and_the_keeper_deletes_it(client: TestClient, table: Table) -> None:
    lifetime = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    made, kept = create(client, b"1", **lifetime), create(client, b"2")
    assert made["expires_at"] == made["created_at"] + 3600
    record = load_file(table.object_store, "default", made["id"])
    save_file(table.object_store, replace(record, expires_ms=int(time.time() * 1000) - 1))
    assert client.get(f"/v1/files/{made['id']}").status_code == 404
    assert [one["id"] for one in client.get("/v1/files").json()["data"]] == [kept["id"]]
    redis = connect(table.settings)
    for file in (made, kept):
        redis.zadd(keys.UPLOADS_DUE, {f"default/{file['id']}": 1})
    UploadCleanup(UploadLedger(redis), table.object_store).run()
    assert {key.rpartition("/")[2].removesuffix(".json") for key in table.object_store.list_keys("file")} == {
        kept["id"]
    }


def with_file(file_id: str, **part: str) -> dict[str, Any]:
    content = [{"type": "input_file", "file_id": file_id, **part}, {"type": "input_text", "text": "What?"}]
    return {"model": "pocket", "background": True, "input": [{"role": "user", "content": content}]}


def test_an_image_is_used_by_its_file_id(client: TestClient, table: Table) -> None:
    made = create(client, PICTURE, name="a.png")
    body = with_file(made["id"], type="input_image")
    reply = client.post("/v1/responses", json=body)
    assert reply.status_code == 200, reply.text
    job_id = reply.json()["thinkqueue"]["job_id"]
    (part, _) = load_request(table.object_store, job_id).messages[0]["content"]
    assert (part["type"], part["upload"]) == ("image", made["id"])
    client.delete(f"/v1/files/{made['id']}")
    assert table.object_store.get(part["key"]) == PICTURE


def test_a_file_of_the_wrong_kind_or_without_existence_is_named(client: TestClient) -> None:
    made = create(client, PICTURE, name="a.png")
    wrong = client.post("/v1/responses", json=with_file(made["id"]))
    assert error_of(wrong)[:2] == (400, "input[0].content[0].file_id")
    assert "is an image" in error_of(wrong)[2]
    gone = "file-01K9ZXV4T8Q2M6R0C5B7N3D1FG"
    chat: dict[str, Any] = {"model": "pocket", "messages": [{"role": "user"}]}
    chat["messages"][0]["content"] = [{"type": "file", "file": {"file_id": gone}}]
    reply = client.post("/v1/chat/completions", json=chat)
    assert error_of(reply)[:2] == (400, "messages[0].content[0].file.file_id")
    assert "does not exist" in error_of(reply)[2]
