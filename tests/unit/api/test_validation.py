"""What a client reads about an invalid body: the place in its own body, a reason, and what to write instead."""

import random
import re
from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from api.errors.validation import validation_problems
from api.schemas import webhooks
from api.schemas.jobs import JobBody
from api.schemas.uploads import UploadBody, UploadParts
from jobs.errors import Problem

PART = "/messages/0/content/0"
URL = "https://x.example/a.png"
PNG = "iVBORw0KGgoAAAANSUhEUgAAAB4AAAAUCAIAAAAVyRqTAAAAMElEQVR4nO3NQQEAAAQEMPqnFsPPLcA66cysVQA"
TEXT = {"type": "text", "text": "What is it?"}
PYDANTIC = re.compile(r"Input should|valid (?:list|dictionary|string|integer|number)|instance of|Value error|pydantic")


def problems_of(body: Any, model: Any = JobBody) -> list[Problem]:
    """Return the problems of a body as the API reports them; empty for a valid one."""
    try:
        model.model_validate(body)
    except ValidationError as error:
        details = [{**detail, "loc": ("body", *detail["loc"])} for detail in error.errors()]
        return validation_problems(RequestValidationError(details, body=body), model)
    return []


def user(*parts: Any, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}], **more}


def hello(**more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "Hello."}], **more}


def image(url: Any, **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def resolve(body: Any, pointer: str) -> Any:
    """Return the value at a JSON pointer. Raises if there is none."""
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        body = body[int(name)] if isinstance(body, list) else body[name]
    return body


@pytest.mark.parametrize(
    ("body", "pointer", "says"),
    [
        (hello(max_tokens=5), "/max_tokens", "max_answer_tokens"),
        (hello(max_completion_tokens=5), "/max_completion_tokens", "max_answer_tokens"),
        (hello(maxTokens=5), "/maxTokens", "max_answer_tokens"),
        (hello(stream=False), "/stream", "/events"),
        (hello(temperature=0.1), "/temperature", '"sampling": {"temperature"'),
        (hello(top_p=0.1), "/top_p", '"sampling": {"top_p"'),
        (hello(model="glm"), "/model", "GET /v1/models"),
        (hello(reasoning_effort="low"), "/reasoning_effort", "budget_tokens"),
        (hello(webhook="https://example.com/h"), "/webhook", '"callback": {"url"'),
        (hello(guided_regex="a"), "/guided_regex", "prompt"),
        (hello(json_schema={}), "/json_schema", "response_format"),
        (hello(tools=[]), "/tools", "no tools"),
        (hello(maxAnswerTokens=5), "/maxAnswerTokens", "max_answer_tokens"),
        ({"input": {"prompt": "Hi."}}, "/input", '"messages": [{'),
        ({"input": "Hi."}, "/messages", "is missing"),
        ({"messages": "Hi."}, "/messages", 'a list such as [{"role"'),
        ({"messages": ["Hi."]}, "/messages/0", "must be an object, not a string"),
        ({"messages": [{"role": "user", "content": None}]}, "/messages/0/content", "a string, or a list of parts"),
        ({"messages": [{"role": "user", "content": ""}]}, "/messages/0/content", "must not be empty"),
        ({"messages": [{"role": "user", "content": "a", "name": "joe"}]}, "/messages/0/name", "remove it"),
        ({"messages": [{"role": "developer", "content": "a"}]}, "/messages/0/role", 'use "system"'),
        ({"messages": [{"role": "system", "content": "a"}]}, "/messages", "end with a user message"),
        (user({"type": "input_image", "image_url": "x"}), PART, '{"type": "image_url"'),
        (user({"type": "input_text", "text": "x"}), PART, '{"type": "text"'),
        (user({"type": "input_file", "file_id": "x"}), PART, '{"type": "file"'),
        (user({"type": "image", "source": {}}), PART, '{"type": "image_url"'),
        (user({"text": "x"}), PART, 'add "type": "text"'),
        (user("Hi."), PART, "a part is an object"),
        (user({"type": "image_url", "image_url": URL}), f"{PART}/image_url", '{"url"'),
        (user(image(URL, detail="original")), f"{PART}/image_url/detail", '"high"'),
        (user(image(URL, detail=None)), f"{PART}/image_url/detail", "leave the field"),
        (user(image(PNG)), f"{PART}/image_url/url", "write data:image/png;base64, before it"),
        (user(image("x" * 400)), f"{PART}/image_url/url", "base64, before it"),
        (user(image("image/png;base64," + PNG)), f"{PART}/image_url/url", "write data: before"),
        (user(image("upload_01K9ZXV4T8Q2M6R0C5B7N3D1FG")), f"{PART}/image_url/url", "upload:upload_01K9"),
        (user(image("file-abc123")), f"{PART}/image_url/url", "POST /v1/uploads"),
        (user(image("/tmp/a.png")), f"{PART}/image_url/url", "cannot read your files"),
        (user(image("file:///tmp/a.png")), f"{PART}/image_url/url", "cannot read your files"),
        (user(image("s3://bucket/a.png")), f"{PART}/image_url/url", "presigned"),
        (user(image("example.com/a.png")), f"{PART}/image_url/url", "https:// before"),
        (user({"type": "file", "file": {"file_id": "file-abc"}}), f"{PART}/file/file_id", "POST /v1/uploads"),
        (user({"type": "file", "file": {"file_data": "https://x.example/"}}), f"{PART}/file/file_data", "file_url"),
        (user({"type": "file", "file": {"url": "https://x.example/"}}), f"{PART}/file/url", "use file_url"),
        (hello(callback="https://example.com/h"), "/callback", 'an object such as {"url"'),
        (
            hello(callback={"url": "https://e.example", "events": ["completed"]}),
            "/callback/events/0",
            "write job. before",
        ),
        (hello(thinking=True), "/thinking", '{"budget_tokens"'),
        (hello(thinking={"budget_tokens": "5"}), "/thinking/budget_tokens", 'a whole number, not "5"'),
        (hello(thinking={"budget_tokens": 1.5}), "/thinking/budget_tokens", "a whole number, not 1.5"),
        (hello(priority="urgent"), "/priority", 'use "high"'),
        (hello(priority=None), "/priority", "not null; leave the field out"),
        (hello(mesages=[]), "/mesages", "did you mean messages?"),
        (hello(Priorty="low"), "/Priorty", "did you mean priority?"),
        (hello(maxAnswerToken=5), "/maxAnswerToken", "did you mean max_answer_tokens?"),
        (hello(sampling={"temprature": 0}), "/sampling/temprature", "did you mean temperature?"),
        (hello(thinking={"budget_token": 0}), "/thinking/budget_token", "did you mean budget_tokens?"),
        (hello(callback={"url": "https://e.example", "evnts": []}), "/callback/evnts", "did you mean events?"),
        (user(image(URL, max_pixel=5)), f"{PART}/image_url/max_pixel", "did you mean max_pixels?"),
        (user({"type": "file", "file": {"file_urll": URL}}), f"{PART}/file/file_urll", "did you mean file_url?"),
        (hello(zzz=1), "/zzz", "remove it"),
        (hello(**{"x" * 9_000: 1}), "/" + "x" * 9_000, "remove it"),
        (hello(metadata=[]), "/metadata", 'an object such as {"order"'),
        (hello(metadata={"k" * 65: "v"}), "/metadata/" + "k" * 65, "the name must have at most 64"),
        (hello(metadata={"a/b~c": 1}), "/metadata/a~1b~0c", "must be a string, not a number"),
        (hello(result_urls="https://x.example"), "/result_urls", 'a list such as ["https'),
        (hello(**{"<b>": 1}), "/<b>", "not a field"),
        ({"messages": [{"role": "user", "content": [{**TEXT, "<text>": 1}]}]}, f"{PART}/<text>", "not a field"),
        ([], "", "must be an object, not a list"),
        ("x", "", "must be an object"),
    ],
)
def test_a_problem_says_where_what_and_what_to_write(body: Any, pointer: str, says: str) -> None:
    found = {problem.pointer: problem.message for problem in problems_of(body)}
    assert pointer in found, found
    assert says in found[pointer], found


VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1.5,
    1e300,
    "",
    "x",
    "x" * 600,
    [],
    {},
    [[]],
    [{}],
    {"a": 1},
    {"a~/b": None},
)


def mutate(value: Any, random_: random.Random) -> Any:
    """Replace or add a value somewhere in a document."""
    if isinstance(value, dict) and value and random_.random() < 0.8:
        name = random_.choice([*value, "max_tokens", "a~/b", "<text>", "[key]"])
        return {**value, name: mutate(value.get(name), random_)}
    if isinstance(value, list) and value and random_.random() < 0.8:
        index = random_.randrange(len(value))
        return [*value[:index], mutate(value[index], random_), *value[index + 1 :]]
    return random_.choice(VALUES)


COMPLETE = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [TEXT, image(URL, detail="low", max_pixels=5000)]},
        {"role": "assistant", "content": [TEXT]},
        {
            "role": "user",
            "content": [{"type": "file", "file": {"file_url": "https://x.example/a.pdf", "pages": "1-2"}}],
        },
        {
            "role": "user",
            "content": [{"type": "video_url", "video_url": {"url": "https://x.example", "max_frames": 8}}],
        },
    ],
    "thinking": {"budget_tokens": 5},
    "sampling": {"temperature": 0.5, "top_k": 4, "seed": 1},
    "callback": {"url": "https://example.com/h", "events": ["job.completed"]},
    "metadata": {"a": "b"},
    "result_urls": ["https://example.com/put"],
    "priority": "low",
    "expires_in": 60,
}


@pytest.mark.parametrize(
    ("model", "valid"),
    [
        (JobBody, COMPLETE),
        (UploadBody, {"bytes": 1}),
        (UploadParts, {"etags": ["a"]}),
        (webhooks.RotateBody, {"keep_old_secret_active_for_24_hours": True}),
        (webhooks.TestEventBody, {"url": "https://example.com", "event_type": "job.failed"}),
    ],
)
def test_no_sentence_of_the_validator_reaches_a_client_and_pointers_exist_in_its_body(model: Any, valid: Any) -> None:
    random_, seen = random.Random(7), 0
    assert problems_of(valid, model) == []
    for _ in range(600):
        body = mutate(valid, random_)
        for problem in problems_of(body, model):
            seen += 1
            assert not PYDANTIC.search(problem.message), (problem.message, body)
            assert problem.message[0].islower(), problem.message
            if problem.code != "missing":
                resolve(body, problem.pointer)
    assert seen > 400
