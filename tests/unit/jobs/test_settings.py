from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from jobs.objects.store import ObjectStore
from runtime.networks.address_policy import is_allowed
from runtime.settings import Settings
from runtime.settings.read import describe_problems

SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"
GIVEN: dict[str, Any] = {
    "redis_url": "redis://127.0.0.1:6379/0",
    "s3_endpoint": "http://127.0.0.1:8333",
    "s3_access_key": "key",
    "s3_secret_key": "very-secret",
    "webhook_secret": SECRET,
}


def test_the_model_family_follows_from_the_model() -> None:
    assert Settings(**GIVEN).family.name == "pocket"
    assert Settings(**GIVEN, model="/models/glm").family.name == "glm-4.1v-thinking"
    assert Settings(**GIVEN, model="zai-org/GLM-4.6V-Flash").family.name == "glm-4.6v-flash"


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("webhook_secret", "whsec_not base64", "padded base64"),
        ("webhook_secret", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz", "whsec_"),
        ("webhook_secret", "whsec_c2hvcnQ=", "24 to 64"),
        ("model_family", "llava", "known: glm-4.1v-thinking, glm-4.6v-flash, pocket"),
        ("api_host", "0.0.0.0", "Set AUTH=keys"),
        ("egress_allow", "10.0.0.0/8,nonsense", "not a valid IPv4"),
        ("api_port", "70000", "65535"),
        ("heartbeat_s", "5.1", "HEARTBEAT_S=5.1 must be at most a third of LEASE_S=15"),
        ("lease_s", "0", "greater than 0"),
    ],
)
def test_an_invalid_setting_is_refused_with_the_reason(field: str, value: str, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Settings(**{**GIVEN, field: value})


def test_networks_are_read_from_a_comma_separated_list() -> None:
    settings = Settings(**GIVEN, egress_allow="127.0.0.0/8, ::1/128")
    assert [str(network) for network in settings.egress_allow] == ["127.0.0.0/8", "::1/128"]


def test_secrets_are_not_in_the_repr() -> None:
    assert "very-secret" not in repr(Settings(**GIVEN))
    assert SECRET not in repr(Settings(**GIVEN))


def test_every_setting_is_documented() -> None:
    page = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text("utf-8")
    missing = [name for name in Settings.model_fields if f"`{name.upper()}`" not in page]
    assert missing == []


@pytest.mark.parametrize(
    ("networks", "address"),
    [("127.0.0.0/8", "127.0.0.1"), ("::1/128", "::1"), ("0.0.0.0/0", "127.9.9.9"), ("0.0.0.0/0", "0.0.0.0"),
     ("::/0", "::1"), ("::/0", "::"), ("0.0.0.0/0", "::ffff:127.0.0.1"), ("0.0.0.0/0,::/0", "64:ff9b::7f00:1"),
     ("127.0.0.1/32", "127.0.0.1"), ("0.0.0.0/0,::/0", "2002:7f00:1::"), ("126.0.0.0/7", "127.0.0.1")],
)  # fmt: skip
def test_tenants_with_keys_reach_loopback_only_if_a_setting_says_so(networks: str, address: str) -> None:
    given = {**GIVEN, "egress_allow": networks}
    with_keys = Settings(**given, auth="keys")
    assert not is_allowed(address, with_keys.egress_networks)
    assert is_allowed(address, Settings(**given).egress_networks)
    assert is_allowed(address, Settings(**given, auth="keys", egress_loopback_with_keys=True).egress_networks)


def test_other_networks_are_allowed_with_and_without_keys() -> None:
    for auth in ("none", "keys"):
        settings = Settings(**GIVEN, auth=auth, egress_allow="10.0.0.0/8,126.0.0.0/7,::/0")
        assert all(is_allowed(address, settings.egress_networks) for address in ("10.1.2.3", "126.1.1.1", "fd00::1"))


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("s3_endpoint", "http://user:hidden@store:9000", "S3_ENDPOINT contains a user name or password"),
        ("s3_endpoint", "https://store.example/s3", "S3_ENDPOINT has a path or a query"),
        ("s3_endpoint", "https://store.example?x=hidden", "S3_ENDPOINT has a path or a query"),
        ("s3_public_endpoint", "https://store.example/s3/", "S3_PUBLIC_ENDPOINT has a path or a query"),
        ("s3_endpoint", "store:9000", "S3_ENDPOINT must be http(s)://host:port"),
        ("s3_endpoint", "http://:9000", "S3_ENDPOINT must be http(s)://host:port"),
        ("s3_endpoint", "http://store:99999", "a port from 1 to 65535"),
        ("s3_endpoint", "http://[::1", "S3_ENDPOINT is not a URL"),
        ("s3_endpoint", "http://store host", "S3_ENDPOINT must be"),
        ("s3_bucket", "Odd_Bucket", "S3_BUCKET is not the name of a bucket"),
        ("s3_bucket", "ab", "S3_BUCKET is not the name of a bucket"),
        ("s3_bucket", "a..b", "S3_BUCKET is not the name of a bucket"),
        ("s3_bucket", "bucket/folder", "S3_BUCKET is not the name of a bucket"),
        ("s3_bucket", "10.0.0.1", "S3_BUCKET must not be an IP address"),
        ("s3_region", "eu west", "S3_REGION may contain letters"),
        ("s3_region", "-eu", "S3_REGION may contain letters"),
        ("s3_region", "e" * 64, "S3_REGION may contain letters"),
        ("s3_endpoint", "https://jobs.s3.us-east-1.amazonaws.com", "S3_ENDPOINT is not a host of S3 at AWS"),
        ("s3_endpoint", "https://amazonaws.com.amazonaws.com", "S3_ENDPOINT is not a host of S3 at AWS"),
        ("s3_endpoint", "https://s3.eu-west-1.amazonaws.com", "S3_ENDPOINT is in the region eu-west-1, but S3_REGION"),
        ("s3_public_endpoint", "https://s3-eu-west-1.amazonaws.com", "S3_PUBLIC_ENDPOINT is in the region eu-west-1"),
        ("redis_url", "http://:hidden@redis", "REDIS_URL must be redis://"),
        ("redis_url", "redis://:hid/den@redis:6379/0", "REDIS_URL is not a URL"),
        ("redis_url", "redis://:hid#den@redis:6379/0", "REDIS_URL is not a URL"),
        ("redis_url", "redis://redis:6379/jobs", "REDIS_URL must end with the number of the database"),
        ("redis_url", "unix:///tmp/hidden.sock", "REDIS_URL has the scheme unix://"),
        ("max_open_upload_bytes", "5", "MAX_OPEN_UPLOAD_BYTES=5 must be at least MAX_UPLOAD_BYTES"),
        ("api_port", "hidden", "API_PORT: Input should be a valid integer"),
    ],
)
def test_a_process_names_a_wrong_setting_in_one_line_without_its_value(field: str, value: str, says: str) -> None:
    with pytest.raises(ValidationError) as error:
        Settings(**{**GIVEN, field: value})
    head, *lines = describe_problems(error.value).splitlines()
    assert head == "Wrong settings:"
    assert [line for line in lines if says in line] == lines
    assert len(lines) == 1
    for text in (*lines, str(error.value)):
        assert "hidden" not in text
        assert "hid" not in text.replace("hidden", "")


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("http://127.0.0.1:8333", "http://127.0.0.1:8333"),
        ("https://s3.eu-central-1.amazonaws.com/", "https://s3.eu-central-1.amazonaws.com"),
        ("https://s3.dualstack.eu-central-1.amazonaws.com", "https://s3.dualstack.eu-central-1.amazonaws.com"),
        ("https://s3.amazonaws.com", "https://s3.amazonaws.com"),
        ("http://ec2-1-2-3-4.compute-1.amazonaws.com:9000", "http://ec2-1-2-3-4.compute-1.amazonaws.com:9000"),
        ("https://lb-1.eu-central-1.elb.amazonaws.com", "https://lb-1.eu-central-1.elb.amazonaws.com"),
        ("http://[::1]:8333", "http://[::1]:8333"),
    ],
)
def test_usual_endpoints_are_accepted(url: str, kept: str) -> None:
    settings = Settings(**{**GIVEN, "s3_endpoint": url, "s3_public_endpoint": url, "s3_region": "eu-central-1"})
    assert settings.s3_endpoint == settings.s3_public_endpoint == kept
    ObjectStore(settings).presigned_url("x")  # sends no request


@pytest.mark.parametrize(
    "url",
    ["redis://:p%40ss%2Fw%23rd%25%3A%3F%5B%C3%A9%26%3D@h:1/0", "rediss://u:p@h/5", "redis://h"],
)
def test_usual_redis_urls_are_accepted(url: str) -> None:
    assert Settings(**{**GIVEN, "redis_url": url}).redis_url.get_secret_value() == url
