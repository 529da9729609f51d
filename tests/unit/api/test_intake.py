import re

import pytest

from api.intake.media import decode_data_url
from api.intake.service import keyed_job_id
from jobs.errors import Invalid


def test_an_idempotency_key_gives_the_same_job_id_within_its_tenant_only() -> None:
    job_id = keyed_job_id("a", "order-17")
    assert job_id == keyed_job_id("a", "order-17")
    assert len({job_id, keyed_job_id("b", "order-17"), keyed_job_id("a", "order-18")}) == 3
    assert re.fullmatch(r"job_[0-7][0-9A-HJKMNP-TV-Z]{25}", job_id)


@pytest.mark.parametrize(
    ("url", "data"),
    [
        ("data:image/png;base64,aGk=", b"hi"),
        ("DATA:;BASE64,aGk=", b"hi"),
        ("data:text/plain,a%20b", b"a b"),
        ("data:image/png;base64,aGk%3D", b"hi"),
    ],
)
def test_data_urls_are_decoded(url: str, data: bytes) -> None:
    assert decode_data_url(url, "/x") == data


@pytest.mark.parametrize(
    ("url", "message"),
    [("data:image/png;base64", "comma"), ("data:;base64,a*k=", "base64"), ("data:;base64,aGk", "padding")],
)
def test_broken_data_urls_are_refused_with_their_location(url: str, message: str) -> None:
    with pytest.raises(Invalid, match=message) as refusal:
        decode_data_url(url, "/messages/0/content/1/image_url/url")
    assert refusal.value.problems[0].pointer == "/messages/0/content/1/image_url/url"
