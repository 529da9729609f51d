"""Commands and health checks of docker-compose.yml, run on the installed wheel, as the images run them. No Docker."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from cli.local.servers import valkey_binary
from testing.processes.servers import Servers, free_ports, stop
from testing.table import Table

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES = ("api", "prepare", "keeper", "generate-on-cpu")
LIMIT_S = 60
PASSWORD = "a-password_0"


class Container:
    """An image's programs: the installed wheel, an empty working directory, and the image's environment."""

    def __init__(self, programs: Path, folder: Path, environment: dict[str, str]) -> None:
        self.app = folder / "app"
        self.app.mkdir()
        self.path = f"{programs}:{os.environ['PATH']}"
        self.environment = {
            "PATH": self.path,
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            **environment,
        }

    def resolve(self, command: list[str]) -> list[str]:
        """Return the command with the path of its program; Popen would search this process's PATH."""
        program = shutil.which(command[0], path=self.path)
        assert program is not None, command
        return [program, *command[1:]]

    def start(self, command: list[str], log: Path) -> "subprocess.Popen[bytes]":
        with log.open("wb") as output:
            return subprocess.Popen(
                self.resolve(command), cwd=self.app, env=self.environment, stdout=output, stderr=output
            )

    def run(self, command: list[str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.resolve(command),
            cwd=self.app,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )


@pytest.fixture
def container(installed: Path, table: Table, servers: Servers, tmp_path: Path) -> Container:
    secret = table.settings.webhook_secret.get_secret_value()
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    image = dict(re.findall(r"\b(API_HOST|AUTH|LOG_FORMAT|MONITOR_HOST)=(\S+)", dockerfile))
    ports = {"API_PORT": str(free_ports()), "MONITOR_PORT": str(free_ports())}
    return Container(installed, tmp_path, {**image, **servers.environment(), **ports, "WEBHOOK_SECRET": secret})


def test_init_can_run_twice(container: Container) -> None:
    for _ in range(2):
        done = container.run(COMPOSE["services"]["init"]["command"])
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", SERVICES)
def test_each_service_becomes_healthy_and_ends_on_term(container: Container, name: str, tmp_path: Path) -> None:
    service = COMPOSE["services"][name]
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    words = re.findall(r"HEALTHCHECK .*?CMD (\[.+?\])", dockerfile, re.DOTALL)[0]
    check: list[str] = json.loads(words)
    if name == "generate-on-cpu":
        check = service["healthcheck"]["test"][1:]
    assert container.run(check).returncode == 1, "nothing answers before the service runs"
    log = tmp_path / "log"
    process = container.start(service["command"], log)
    try:
        give_up = time.monotonic() + LIMIT_S
        while container.run(check).returncode:
            assert process.poll() is None, log.read_text("utf-8")
            assert time.monotonic() < give_up, log.read_text("utf-8")
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(float(service["stop_grace_period"].rstrip("s"))) == 0, log.read_text("utf-8")
    finally:
        process.kill()
        process.wait(10)


@pytest.fixture
def compose_valkey(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """Valkey as compose starts it, on another port and in another folder."""
    port = free_ports()
    shell, flag, script = COMPOSE["services"]["valkey"]["command"]
    script = script.replace("$$", "$").replace("dir /data", f"dir {tmp_path}\nport {port}\nbind 127.0.0.1")
    environment = {"PATH": f"{valkey_binary().parent}:{os.environ['PATH']}", "REDIS_PASSWORD": PASSWORD}
    environment["REDIS_MAXMEMORY"] = "64mb"
    process = subprocess.Popen([shell, flag, script], env=environment, stdout=subprocess.DEVNULL)
    yield port, process.pid
    stop(process)


def test_valkey_appends_to_a_file_evicts_nothing_and_hides_its_password(compose_valkey: tuple[int, int]) -> None:
    port, pid = compose_valkey
    client = redis.Redis(port=port, password=PASSWORD)
    give_up = time.monotonic() + 10
    while True:
        try:
            client.ping()
            break
        except redis.ConnectionError:
            assert time.monotonic() < give_up
            time.sleep(0.05)
    for name, value in (("appendonly", "yes"), ("maxmemory-policy", "noeviction"), ("maxmemory", str(64 * 2**20))):
        assert client.config_get(name)[name] == value
    assert PASSWORD not in Path(f"/proc/{pid}/cmdline").read_text("utf-8")
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=port).ping()
