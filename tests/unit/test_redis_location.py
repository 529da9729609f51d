"""What ``REDIS_URL`` may be, and what its parts are."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from runtime.redis.location import RedisLocation, parse_redis_url
from testing.certificates import CertificateAuthority
from testing.processes.servers import settings_of

GIVEN = {
    "s3_endpoint": "http://127.0.0.1:8333",
    "s3_access_key": "key",
    "s3_secret_key": "secret",
    "webhook_secret": "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz",
}
PASSWORD = "p%40ss%2Fw%23rd%25%3A%3F%5B%C3%A9%26%3D"
DECODED = "p@ss/w#rd%:?[é&="


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("redis://h", RedisLocation((("h", 6379),), has_tls=False)),
        ("redis://h:1/5", RedisLocation((("h", 1),), has_tls=False, database=5)),
        (f"redis://:{PASSWORD}@h", RedisLocation((("h", 6379),), has_tls=False, password=DECODED)),
        (f"rediss://u%40x:{PASSWORD}@h", RedisLocation((("h", 6379),), True, 0, "u@x", DECODED)),
        ("redis://[::1]:7/0", RedisLocation((("::1", 7),), has_tls=False)),
        (
            "redis+sentinel://u:p@a,b:1,[::1]:2/3?master=m",
            RedisLocation((("a", 26379), ("b", 1), ("::1", 2)), False, 3, "u", "p", master="m"),
        ),
        (
            "rediss+sentinel://:p@a?master=m%26n&sentinel_username=su&sentinel_password=s%40p",
            RedisLocation((("a", 26379),), True, 0, None, "p", "m&n", "su", "s@p"),
        ),
    ],
)
def test_a_url_has_these_parts(url: str, location: RedisLocation) -> None:
    assert parse_redis_url(url) == location


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("unix:///tmp/hidden.sock", "the scheme unix://: Unix sockets are not supported"),
        ("valkey://:hidden@h/0", "write redis:// for Valkey"),
        ("sentinel://:hidden@h/0", "write redis+sentinel://"),
        ("hidden@h:6379", "must be redis://"),
        ("redis://u:12?hidden@h/0", "unknown parameter"),
        ("redis://:hidden@a,b/0", "several hosts"),
        ("redis://:hidden@h/0?db=3", "unknown parameter"),
        ("redis://:hidden@h/0?master=m", "unknown parameter"),
        ("redis+sentinel://:hidden@h/0", "?master=mymaster"),
        ("redis+sentinel://:hidden@h:1,h:0/0?master=m", "port 0"),
        ("redis+sentinel://:hidden@h:1,/0?master=m", "names no host"),
        ("redis://hidden@h/0", "a user name without a password"),
        ("rediss://:hidden@h/0?ssl_cert_reqs=none", "always verified"),
        ("rediss://:hidden@h/0?ssl_ca_certs=/ca.pem", "set CA_FILE"),
        ("redis://:hidden@h:99999/0", "ports from 1 to 65535"),
    ],
)
def test_another_url_is_refused_without_showing_its_password(url: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)) as error:
        parse_redis_url(url)
    assert "hid" not in str(error.value)


def test_no_text_about_a_location_has_a_password() -> None:
    location = parse_redis_url("redis+sentinel://u:hidden@a,[::1]:2/3?master=m&sentinel_password=hidden")
    assert location.address == "m/3 (Sentinels a:26379,[::1]:2)"
    assert "hidden" not in repr(location)


def test_a_client_certificate_needs_tls_and_its_key(tmp_path: Path) -> None:
    certificate, key = CertificateAuthority(tmp_path / "ca").issue("client")
    other = CertificateAuthority(tmp_path / "other").issue("client")[1]
    tls, plain = {"redis_url": "rediss://h"}, {"redis_url": "redis://h"}
    pair = {"redis_cert_file": certificate, "redis_key_file": key}
    assert settings_of(GIVEN | tls | pair).redis_server.options()["ssl_keyfile"] == key
    for wrong, says in (
        ({**plain, **pair}, "needs TLS"),
        ({**tls, "redis_key_file": key}, "needs REDIS_CERT_FILE"),
        ({**tls, "redis_cert_file": certificate}, "no PEM certificate and its key"),
        ({**tls, **pair, "redis_key_file": other}, "no PEM certificate and its key"),
        ({**tls, **pair, "redis_cert_file": str(tmp_path / "nowhere")}, "No such file"),
    ):
        with pytest.raises(ValidationError, match=says):
            settings_of(GIVEN | wrong)
