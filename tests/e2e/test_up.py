"""``thinkqueue up``, and the commands that use the service it runs."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from testing.processes.servers import free_ports
from testing.processes.waiting import wait_until

PROGRAMS = ("valkey-server", "weed", "worker.generate", "worker.prepare", "worker.keeper", "supervisord")
SERVER_SETTINGS = ("REDIS_URL", "S3_ENDPOINT", "S3_ACCESS_KEY", "S3_SECRET_KEY", "WEBHOOK_SECRET")


class Up:
    """An installation in its own folder, and its processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.api_port = free_ports()
        self.environment = {name: value for name, value in os.environ.items() if name not in SERVER_SETTINGS} | {
            "THINKQUEUE_STATE": str(folder / "state"),
            "API_PORT": str(self.api_port),
            "EMBEDDED_REDIS_PORT": str(free_ports()),
            "EMBEDDED_S3_PORT": str(free_ports(5)),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, command: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{command}.out").open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "cli.main", command], env=self.environment, stdout=output, stderr=output
            )

    def output(self, command: str) -> str:
        return (self.folder / f"{command}.out").read_text("utf-8")

    def start(self) -> None:
        self.process = self.run("up")
        self.await_text("up", "thinkqueue is ready", 90)

    def run_elsewhere(self, *words: str) -> str:
        """Run a command as from another terminal: it knows the folder, but not the ports."""
        ports = ("API_PORT", "EMBEDDED_REDIS_PORT", "EMBEDDED_S3_PORT")
        environment = {name: value for name, value in self.environment.items() if name not in ports}
        command = [sys.executable, "-m", "cli.main", *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def await_text(self, command: str, text: str, limit_s: float) -> None:
        give_up = time.monotonic() + limit_s
        while text not in self.output(command):
            assert time.monotonic() < give_up, self.output(command)
            time.sleep(0.05)

    def processes(self) -> list[psutil.Process]:
        """Return this installation's processes, by the folder in their environment or, for Valkey, by their cwd."""
        folder = self.environment["THINKQUEUE_STATE"]
        found = []
        for process in psutil.process_iter():
            try:
                ours = process.environ().get("THINKQUEUE_STATE") == folder or process.cwd().startswith(folder)
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def end(self, name: str, number: int) -> None:
        """Send a signal to one of the supervised programs, and wait until `up` reports that it runs again."""
        log = (self.folder / "state" / "logs" / "supervisord.log").read_text("utf-8")
        os.kill(int(re.findall(rf"spawned: '{name}' with pid (\d+)", log)[-1]), number)
        self.await_text("up", f"{name} exited and was started again", 60)

    def await_ready(self) -> None:
        def is_ready() -> bool:
            try:
                reply = httpx.get(f"http://127.0.0.1:{self.api_port}/healthz", timeout=5)
            except httpx.HTTPError:
                return False
            workers = reply.json().get("workers", {})
            return reply.status_code == 200 and all(workers.get(name) for name in ("prepare", "generate", "keeper"))

        wait_until(is_ready, "the service is ready again", limit_s=60)

    def await_nothing(self) -> None:
        give_up = time.monotonic() + 20
        while left := self.processes():
            assert time.monotonic() < give_up, [" ".join(process.cmdline()) for process in left]
            time.sleep(0.05)

    def commands(self) -> str:
        lines = []
        for process in self.processes():
            try:
                lines.append(" ".join(process.cmdline()))
            except psutil.Error:
                continue
        return "\n".join(lines)


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Up]:
    installation = Up(tmp_path)
    yield installation
    for process in installation.processes():
        with suppress(psutil.NoSuchProcess):
            process.kill()
    if installation.process:
        installation.process.wait(10)


def test_up_runs_everything_and_ctrl_c_stops_it(installation: Up) -> None:
    installation.start()
    for program in PROGRAMS:
        assert program in installation.commands()
    secrets = (installation.folder / "state" / "env").read_text("utf-8")
    for value in re.findall(r"=(.{8,})", secrets):
        assert value not in installation.commands(), "a command line can be read by every user"

    second = installation.run("up")
    assert second.wait(30) == 0
    assert f"already running: http://127.0.0.1:{installation.api_port}" in installation.output("up")

    status = json.loads(installation.run_elsewhere("status", "--json"))
    assert (status["intake"], status["keepers"]) == ("open", 1)
    assert f"running: http://127.0.0.1:{installation.api_port}" in installation.run_elsewhere("doctor")
    created = installation.run_elsewhere("keys", "create", "--tenant", "acme")
    assert created.split()[0] in installation.run_elsewhere("keys", "list")
    assert installation.run_elsewhere("jobs").startswith("id ")

    for name, number in (("valkey", signal.SIGKILL), ("seaweedfs", signal.SIGKILL), ("generate", signal.SIGKILL)):
        installation.end(name, number)
    installation.end("keeper", signal.SIGTERM)
    installation.end("prepare", signal.SIGTERM)
    installation.end("api", signal.SIGTERM)
    installation.await_ready()
    assert installation.process is not None
    assert installation.process.poll() is None, installation.output("up")
    assert installation.run("demo").wait(100) == 0, installation.output("demo")
    assert "webhook verified" in installation.output("demo")

    installation.process.send_signal(signal.SIGINT)
    assert installation.process.wait(60) == 0
    installation.await_nothing()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{installation.api_port}/livez", timeout=5)


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["cli.main", "supervisord"])
def test_a_killed_manager_leaves_no_process_and_the_next_start_has_all_jobs(installation: Up, victim: str) -> None:
    installation.start()
    url = f"http://127.0.0.1:{installation.api_port}/v1/jobs"
    body = {"messages": [{"role": "user", "content": "Hi."}], "thinking": {"budget_tokens": 0}, "max_answer_tokens": 2}
    location = httpx.post(url, json=body, timeout=15).headers["location"]
    time.sleep(1.2)  # Redis writes its log to the disk once a second
    killed = [process for process in installation.processes() if victim in " ".join(process.cmdline())]
    assert killed
    for process in killed:
        process.kill()
    assert installation.process is not None
    installation.process.wait(30)
    installation.await_nothing()
    if victim == "supervisord":
        return  # one restart is enough: the data is the same

    (installation.folder / "up.out").unlink()
    installation.start()
    give_up = time.monotonic() + 60
    while (job := httpx.get(url.removesuffix("/v1/jobs") + location, timeout=5).json())["status"] != "completed":
        assert time.monotonic() < give_up, job
        time.sleep(0.1)


def test_a_taken_port_is_reported_and_no_process_is_left(installation: Up) -> None:
    installation.environment["API_PORT"] = installation.environment["EMBEDDED_REDIS_PORT"]
    holder = subprocess.Popen([sys.executable, "-m", "http.server", installation.environment["API_PORT"]])
    try:
        give_up = time.monotonic() + 10
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{installation.environment['API_PORT']}", timeout=1)
                break
            except httpx.HTTPError:
                assert time.monotonic() < give_up
                time.sleep(0.05)
        assert installation.run("up").wait(60) == 1
    finally:
        holder.kill()
        holder.wait(10)
    assert "API_PORT" in installation.output("up")
    assert "Traceback" not in installation.output("up")
    installation.await_nothing()
