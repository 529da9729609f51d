"""The embedded servers: whom they let in, and what they keep."""

import io
import socket
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from minio import Minio
from minio.error import MinioException
from urllib3 import PoolManager
from urllib3.exceptions import HTTPError

from cli.errors import CommandError
from cli.local.servers import GRPC_OFFSET, SeaweedFS, Valkey
from cli.local.service import check_ports
from jobs.objects.store import ObjectStore
from jobs.table.scripts import connect
from runtime.settings import Settings
from testing.processes.servers import Servers, free_ports, launch, settings_of, start, stop
from testing.processes.waiting import wait_until


def test_wrong_credentials_are_not_let_in(servers: Servers) -> None:
    assert servers.valkey.is_ready()
    assert not replace(servers.valkey, password="wrong").is_ready()
    assert servers.seaweedfs.is_ready()
    assert not replace(servers.seaweedfs, secret_key="wrong").is_ready()


def test_no_port_of_the_object_store_serves_without_a_key(servers: Servers) -> None:
    """Its filer would read and write every object: the JWT keys are what keeps it shut."""
    seaweedfs = servers.seaweedfs
    for port in range(seaweedfs.port, seaweedfs.port + 5):
        for path in ("/buckets/thinkqueue/", "/thinkqueue/?list-type=2"):
            try:
                reply = httpx.get(f"http://127.0.0.1:{port}{path}", timeout=5)
            except httpx.HTTPError:
                continue  # it is not HTTP, or shut
            assert reply.status_code >= 400, f"port {port} answers {path}"


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_no_port_of_the_object_store_is_managed_without_a_key(
    method: str, servers: Servers, settings: Settings
) -> None:
    """A web page in the user's browser can send these requests, and so can a callback to a loopback address."""
    object_store = ObjectStore(settings)
    object_store.create_bucket()
    object_store.put("requests/kept", b"yes")
    management = (
        f"/col/delete?collection={settings.s3_bucket}",
        "/dir/assign",
        "/vol/grow?count=1",
        "/vol/vacuum?garbageThreshold=0",
        "/submit",
        f"/buckets/{settings.s3_bucket}/?recursive=true",
        "/1,000000000000",
    )
    for port in range(servers.seaweedfs.port, servers.seaweedfs.port + 5):
        for path in management:
            reply = httpx.request(method, f"http://127.0.0.1:{port}{path}", timeout=5)
            assert reply.status_code >= 400, f"port {port} answers {path}"
    assert object_store.get("requests/kept") == b"yes"


def test_servers_keep_their_data_over_a_restart(tmp_path: Path) -> None:
    found = Servers(
        Valkey(tmp_path / "valkey", free_ports(), "password"),
        SeaweedFS(tmp_path / "seaweedfs", free_ports(5), "key", "secret-0123456789", ("a", "b", "c", "d")),
    )
    settings = settings_of(found.environment())
    for life in range(2):
        processes = [start(server, tmp_path / f"{server.name}.log") for server in (found.valkey, found.seaweedfs)]
        try:
            redis, object_store = connect(settings), ObjectStore(settings)
            if life == 0:
                object_store.create_bucket()
                found.seaweedfs.configure_fsync(settings.s3_bucket)
                redis.set("kept", "yes")
                object_store.put("requests/kept", b"yes")
            assert redis.get("kept") == "yes"
            assert object_store.get("requests/kept") == b"yes"
        finally:
            redis.close()
            for process in processes:
                stop(process)
    found.seaweedfs.remove_sockets()


def test_a_store_that_cannot_read_its_objects_is_not_ready(tmp_path: Path) -> None:
    """It lists its buckets and takes new objects, but has no volume with the old one, as shortly after a restart."""
    server = SeaweedFS(tmp_path / "seaweedfs", free_ports(5), "key", "secret-0123456789", ("a", "b", "c", "d"))
    http = PoolManager(timeout=2, retries=False)
    client = Minio(
        f"127.0.0.1:{server.port}", "key", "secret-0123456789", secure=False, region="us-east-1", http_client=http
    )

    def can_write(bucket: str) -> bool:
        try:
            if not client.bucket_exists(bucket):
                client.make_bucket(bucket)
            client.put_object(bucket, "requests/1", io.BytesIO(b"yes"), 3)
        except (MinioException, HTTPError):
            return False
        return True

    log = tmp_path / "seaweedfs.log"
    process = start(server, log)
    try:
        assert can_write("old")
        stop(process)
        for file in (tmp_path / "seaweedfs").rglob("old_*"):
            file.unlink()
        process = launch(server, log)
        wait_until(lambda: can_write("new"), "a write to another bucket")
        assert not server.is_ready()
    finally:
        stop(process)
        server.remove_sockets()


@pytest.mark.parametrize("shift", [0, GRPC_OFFSET])
def test_a_taken_port_is_named_with_its_setting(shift: int, tmp_path: Path) -> None:
    port = free_ports(5)
    server = SeaweedFS(tmp_path, port, "key", "secret", ("a", "b", "c", "d"))
    check_ports(server.ports())
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", port + shift))
        holder.listen()
        with pytest.raises(CommandError, match=rf"Port {port + shift} is taken .* EMBEDDED_S3_PORT"):
            check_ports(server.ports())


def test_without_keys_the_object_store_is_not_started(tmp_path: Path) -> None:
    """It would let everybody in, on data that is there already too."""
    with pytest.raises(ValueError, match="keys"):
        SeaweedFS(tmp_path, 8802, "", "", ("", "", "", "")).environment()
