"""What ``REDIS_URL`` may be, and what its parts are."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from runtime.redis.location import RedisLocation, UrlTls, parse_redis_url
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
        ("redis://:hidden@h/0?ssl_cert_reqs=none", "without TLS; write rediss://"),
        ("rediss://:hidden@h/0?ssl_cert_reqs=hidden", "another ssl_cert_reqs than none, optional, required"),
        ("rediss://:hidden@h/0?ssl_check_hostname=hidden", "another ssl_check_hostname than true or false"),
        ("redis://:hidden@h:99999/0", "ports from 1 to 65535"),
    ],
)
def test_another_url_is_refused_without_showing_its_password(url: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)) as error:
        parse_redis_url(url)
    assert "hid" not in str(error.value)


@pytest.mark.parametrize(
    ("query", "tls"),
    [
        ("ssl_ca_certs=/a%20b/ca.pem", UrlTls(ca_file=Path("/a b/ca.pem"))),
        ("ssl_certfile=/c.pem&ssl_keyfile=/k.pem", UrlTls(cert_file=Path("/c.pem"), key_file=Path("/k.pem"))),
        ("ssl_cert_reqs=none", UrlTls(verifies_certificate=False, verifies_host=False)),
        ("ssl_cert_reqs=CERT_NONE", UrlTls(verifies_certificate=False, verifies_host=False)),
        ("ssl_cert_reqs=CERT_REQUIRED&ssl_check_hostname=False", UrlTls(verifies_host=False)),
        ("ssl_cert_reqs=optional", UrlTls()),
    ],
)
def test_a_url_says_what_hosters_write_about_tls(query: str, tls: UrlTls) -> None:
    assert parse_redis_url(f"rediss://:p@h/0?{query}").tls == tls
    assert parse_redis_url(f"rediss+sentinel://:p@h/0?master=m&{query}").tls == tls


def test_files_that_a_url_names_are_checked(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path / "ca")
    certificate, key = authority.issue("client")
    found = settings_of(GIVEN | {"redis_url": f"rediss://h?ssl_certfile={certificate}&ssl_keyfile={key}"})
    assert found.redis_server.options()["ssl_certfile"] == str(certificate)
    for query in (f"ssl_ca_certs={tmp_path}/no", f"ssl_ca_certs={key}", f"ssl_certfile={certificate}"):
        with pytest.raises(ValidationError, match="PEM"):
            settings_of(GIVEN | {"redis_url": f"rediss://h?{query}"})


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
