"""Keys of sessions that expire, and a store with a certificate of a company's own authority.

The sessions are real ones of SeaweedFS's STS, whose shortest lifetime is 15 minutes. A server before it exchanges web
identities for them, says that they end after three seconds, and from then on refuses them.
"""

import base64
import json
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest
import urllib3
from minio import Minio
from minio.credentials.credentials import Credentials
from minio.credentials.providers import AssumeRoleProvider

from cli.local.servers import SeaweedFS
from jobs.errors import ObjectStoreUnavailable
from jobs.objects.credentials import SessionProvider
from jobs.objects.presign import presigned_put
from jobs.objects.store import ObjectStore
from runtime.settings import Settings
from testing.certificates import CertificateAuthority
from testing.processes.servers import SECRET_KEY, free_ports, start, stop

SESSION_S = 3.0
ROLE = "arn:aws:iam::role/thinkqueue"
TOKEN = re.compile(r"X-Amz-Security-Token=([^&]+)", re.IGNORECASE)
IDENTITY = {
    "sts": {
        "tokenDuration": "1h",
        "maxSessionLength": "12h",
        "issuer": "seaweedfs-sts",
        "signingKey": base64.b64encode(b"a signing key for tests, 32 bytes").decode(),
    },
    "policy": {"defaultEffect": "Deny", "storeType": "memory"},
    "policies": [
        {
            "name": "all",
            "document": {
                "Version": "2012-10-17",
                "Statement": [{"Effect": "Allow", "Action": ["s3:*"], "Resource": ["*"]}],
            },
        }
    ],
    "roles": [
        {
            "roleName": "thinkqueue",
            "roleArn": ROLE,
            "trustPolicy": {
                "Version": "2012-10-17",
                "Statement": [{"Effect": "Allow", "Principal": "*", "Action": ["sts:AssumeRole"]}],
            },
            "attachedPolicies": ["all"],
        }
    ],
}
REPLY = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>
<SessionToken>{token}</SessionToken><Expiration>{expiration}</Expiration></Credentials>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""


class SeaweedFSWithRoles(SeaweedFS):
    def command(self) -> list[str]:
        command = super().command()
        path = self.folder / "identity.json"
        path.write_text(json.dumps(IDENTITY), "utf-8")
        return [*command, f"-s3.iam.config={path}"]


@pytest.fixture(scope="module")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    folder = tmp_path_factory.mktemp("seaweedfs-with-roles")
    jwt_keys = ("a1", "b2", "c3", "d4")
    found = SeaweedFSWithRoles(folder / "data", free_ports(5), "test-key", SECRET_KEY, jwt_keys, name="with-roles")
    process = start(found, folder / "log")
    where = f"127.0.0.1:{found.port}"
    Minio(where, found.access_key, found.secret_key, secure=False, region="us-east-1").make_bucket("sessions")
    yield found
    stop(process)
    found.remove_sockets()


class Store:
    """A store, with an STS at its root, that accepts only the sessions which it has issued."""

    def __init__(self, seaweedfs: SeaweedFS) -> None:
        self.sessions: dict[str, float] = {}
        self.refused = 0
        self.is_issuing = True
        pool, lock, store = urllib3.PoolManager(maxsize=32), threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                if self.command == "POST" and self.path.startswith("/?"):
                    status, content = store.issue(seaweedfs) if store.is_issuing else (503, b"")
                    return self.answer(status, content, {})
                found = TOKEN.search(self.path)
                token = unquote(found[1]) if found else self.headers.get("x-amz-security-token", "")
                if store.sessions.get(token, 0) < time.time():
                    with lock:
                        store.refused += 1
                    return self.answer(403, b"<Error><Code>ExpiredToken</Code></Error>", {})
                url = seaweedfs.endpoint + self.path
                reply = pool.request(self.command, url, body=body, headers=dict(self.headers), decode_content=False)
                return self.answer(reply.status, reply.data, dict(reply.headers))

            def answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower() not in ("content-length", "connection", "transfer-encoding", "date", "server"):
                        self.send_header(name, value)
                length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(content))
                self.send_header("content-length", length)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = serve  # noqa: N815

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]

    def issue(self, seaweedfs: SeaweedFS) -> tuple[int, bytes]:
        found = AssumeRoleProvider(
            sts_endpoint=seaweedfs.endpoint,
            access_key=seaweedfs.access_key,
            secret_key=seaweedfs.secret_key,
            region="us-east-1",
            role_arn=ROLE,
            role_session_name="session",
            duration_seconds=3600,
        ).retrieve()
        expires = datetime.now(UTC) + timedelta(seconds=SESSION_S)
        self.sessions[str(found.session_token)] = expires.timestamp()
        expiration = expires.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        fields = {"key": found.access_key, "secret": found.secret_key, "token": found.session_token}
        return 200, REPLY.format(**fields, expiration=expiration).encode()


@pytest.fixture
def store(seaweedfs: SeaweedFS) -> Iterator[Store]:
    found = Store(seaweedfs)
    thread = threading.Thread(target=found.server.serve_forever)
    thread.start()
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()


@pytest.fixture
def with_role(settings: Settings, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of a pod whose service account has a role, without static keys."""
    (tmp_path / "token").write_text("a web identity", "utf-8")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY", "AWS_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    url = f"http://127.0.0.1:{store.port}"
    role = {"s3_credentials": "environment", "s3_endpoint": url, "s3_sts_endpoint": url, "s3_bucket": "sessions"}
    fields = settings.model_dump(exclude={"s3_access_key", "s3_secret_key"})
    return Settings.model_validate({**fields, **role})


def test_no_request_fails_while_sessions_expire(with_role: Settings, store: Store) -> None:
    object_store = ObjectStore(with_role)

    def work(worker: int) -> None:
        for number in range(60):
            key = f"requests/session_{worker}_{number}.json"
            assert object_store.put_if_absent(key, b"{}")
            assert not object_store.put_if_absent(key, b"[]")
            assert object_store.get(key) == b"{}"
            object_store.delete(key)
            time.sleep(0.1)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert store.refused == 0
    assert len(store.sessions) >= 3, "the work outlived several sessions"


def test_a_link_contains_the_token_of_its_session(with_role: Settings, store: Store) -> None:
    object_store = ObjectStore(with_role)
    object_store.put("results/linked.json", b"content")
    url = object_store.presigned_url("results/linked.json")
    assert urllib3.request("GET", url, retries=False).data == b"content"
    store.sessions.clear()
    assert urllib3.request("GET", url, retries=False).status == 403


def test_an_upload_link_contains_the_token_and_allows_one_size(with_role: Settings, store: Store) -> None:
    keys = ObjectStore(with_role).credentials.retrieve()
    url = presigned_put(with_role, keys, "uploads/default/a/data", size=4, lifetime=timedelta(minutes=5))
    assert urllib3.request("PUT", url, body=b"12345", retries=False).status == 403
    assert urllib3.request("PUT", url, body=b"1234", retries=False).status == 200
    assert store.refused == 0


def test_an_sts_that_is_away_does_not_end_a_valid_session(with_role: Settings, store: Store) -> None:
    object_store = ObjectStore(with_role)
    object_store.put("results/a.json", b"content")
    store.is_issuing = False
    time.sleep(SESSION_S * 0.6)
    assert object_store.get("results/a.json") == b"content"
    time.sleep(SESSION_S * 0.6)
    with pytest.raises(ObjectStoreUnavailable, match="No keys for the object store"):
        object_store.get("results/a.json")
    store.is_issuing = True
    assert object_store.get("results/a.json") == b"content"


def test_threads_share_one_session() -> None:
    fetched = []

    def fetch() -> Credentials:
        fetched.append(1)
        time.sleep(0.1)
        return Credentials("key", "secret", "token", datetime.now(UTC) + timedelta(hours=1))

    provider = SessionProvider(fetch)
    with ThreadPoolExecutor(8) as pool:
        tokens = {keys.session_token for keys in pool.map(lambda _: provider.retrieve(), range(32))}
    assert (tokens, len(fetched)) == ({"token"}, 1)


def test_a_company_authority_is_trusted_for_the_store(with_role: Settings, store: Store, tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path / "ca")
    context = authority.server_context("localhost")
    store.server.socket = context.wrap_socket(store.server.socket, server_side=True)
    url = f"https://localhost:{store.port}"
    secured = with_role.model_copy(update={"s3_endpoint": url, "s3_sts_endpoint": url, "ca_file": authority.path})
    trusting = ObjectStore(secured)
    trusting.put("results/a.json", b"content")
    assert trusting.get("results/a.json") == b"content"
    with pytest.raises(ObjectStoreUnavailable):
        ObjectStore(secured.model_copy(update={"ca_file": None}), timeout_s=2, tries=1).get("results/a.json")
