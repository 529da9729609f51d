"""Which certificates the egress client accepts, and how it names what is wrong with one."""

import ssl
from pathlib import Path

import pytest

from runtime.settings import Settings
from runtime.tls import client_context
from testing.certificates import EXPIRED, FUTURE, CertificateAuthority
from testing.egress import download, post, resolve_to
from testing.processes.raw_server import raw_server, send
from worker.egress.errors import TimedOut, Unreachable

HOST = "files.example.com"
REPLY = send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return CertificateAuthority(tmp_path_factory.mktemp("tls") / "ca")


@pytest.fixture(scope="module")
def trusting(authority: CertificateAuthority) -> ssl.SSLContext:
    """The context of a service whose CA_FILE names the authority."""
    servers = {"redis_url": "redis://x", "s3_endpoint": "http://x", "s3_access_key": "x", "s3_secret_key": "x"}
    secret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"
    return client_context(Settings.model_validate({**servers, "webhook_secret": secret, "ca_file": authority.path}))


@pytest.mark.parametrize("host", [HOST, HOST.upper(), f"{HOST}."])
def test_a_host_is_trusted_in_every_form_of_its_name(
    authority: CertificateAuthority, trusting: ssl.SSLContext, host: str
) -> None:
    """The dot at the end of an absolute name is in neither the certificate nor the server name of TLS."""
    names: list[str | None] = []
    context = authority.server_context(HOST)
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    with raw_server(REPLY, context) as (port, requests):
        url = f"https://{host}:{port}/a"
        assert download(url, resolve=resolve_to("127.0.0.1"), tls_context=lambda: trusting) == b"ok"
        assert post(url, resolve=resolve_to("127.0.0.1"), tls_context=lambda: trusting).status == 200
    assert names == [HOST, HOST]
    assert f"host: {host.lower()}:{port}".encode() in requests[0].lower()


def context_of(kind: str, authority: CertificateAuthority) -> ssl.SSLContext | None:
    match kind:
        case "expired":
            return authority.server_context(HOST, EXPIRED)
        case "not valid yet":
            return authority.server_context(HOST, FUTURE)
        case "another host name":
            return authority.server_context("another.example.com")
        case "self-signed":
            return authority.self_signed_context(HOST)
        case _:
            return None


@pytest.mark.parametrize("kind", ["expired", "not valid yet", "another host name", "self-signed"])
def test_the_message_says_what_is_wrong_with_a_certificate(
    authority: CertificateAuthority, trusting: ssl.SSLContext, kind: str
) -> None:
    with raw_server(REPLY, context_of(kind, authority)) as (port, requests):
        with pytest.raises(Unreachable, match=kind) as error:
            download(f"https://{HOST}:{port}/a", resolve=resolve_to("127.0.0.1"), tls_context=lambda: trusting)
        assert requests == []
    assert not error.value.retryable, "a retry gets the same certificate"
    assert "certificate" in error.value.message


def test_an_unknown_authority_is_named_with_the_setting(authority: CertificateAuthority) -> None:
    with raw_server(REPLY, authority.server_context(HOST)) as (port, _), pytest.raises(Unreachable, match="CA_FILE"):
        download(f"https://{HOST}:{port}/a", resolve=resolve_to("127.0.0.1"))


def test_a_certificate_problem_of_one_address_is_reported_before_a_refusal_of_another(
    authority: CertificateAuthority, trusting: ssl.SSLContext
) -> None:
    with raw_server(REPLY, authority.server_context(HOST, EXPIRED)) as (port, _):
        for addresses in (("127.0.0.1", "127.0.0.2"), ("127.0.0.2", "127.0.0.1")):
            with pytest.raises(Unreachable, match="expired"):
                download(f"https://{HOST}:{port}/a", resolve=resolve_to(*addresses), tls_context=lambda: trusting)


def test_a_port_without_tls_is_named() -> None:
    with raw_server(REPLY, reads=False) as (port, _), pytest.raises(Unreachable, match="does not speak TLS"):
        download(f"https://{HOST}:{port}/a", resolve=resolve_to("127.0.0.1"))


def test_a_handshake_that_stalls_ends_with_the_request() -> None:
    """pytest reports a socket that is left open."""
    with raw_server(REPLY) as (port, _), pytest.raises(TimedOut):
        download(f"https://{HOST}:{port}/a", resolve=resolve_to("127.0.0.1"), timeout_s=0.3)


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_a_ca_file_that_holds_no_certificate_prevents_the_start(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content, "utf-8")
    with pytest.raises(ValueError, match="PEM file of certificates"):
        Settings.model_validate({"ca_file": path})
