"""Runs programs under supervisord, which restarts them. No program survives it or this process, even after kill -9."""

import shutil
import subprocess
import sys
import tempfile
import xmlrpc.client
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from supervisor.xmlrpc import SupervisorTransport

from cli.errors import CommandError, ProcessExited

MAX_SOCKET_PATH = 100
"""Bytes; the kernel accepts 107."""
STOP_TIMEOUT_S = 60.0
START_RETRIES = 10
"""Starts that may fail in a row, each after a longer pause, before supervisord gives up: after about a minute."""
KILLS_AT_START = 3
"""Times that a program may be killed before the service is ready; the kernel's OOM killer would do it at each start."""

HEAD = """\
[supervisord]
nodaemon=true
logfile={folder}/logs/supervisord.log
logfile_maxbytes=5MB
logfile_backups=1
pidfile={folder}/supervisord.pid
childlogdir={folder}/logs

[unix_http_server]
file={socket}
chmod=0600

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""

PROGRAM = """
[program:{name}]
command=setpriv --pdeathsig KILL -- {command}
priority={order}
autorestart=true
startsecs=1
startretries={start_retries}
stopwaitsecs={stop_s}
killasgroup=true
redirect_stderr=true
stdout_logfile={folder}/logs/{name}.log
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=2
environment=MONITOR_PORT="{monitor_port}"
"""


@dataclass(frozen=True)
class Program:
    name: str
    command: Sequence[str]
    order: int
    """Programs start in this order and stop in the opposite one."""
    stop_s: int
    """Seconds that it may take to stop, before it is killed."""
    monitor_port: int = 0


class Supervisor:
    """Context manager: supervisord runs inside the block."""

    def __init__(self, folder: Path, programs: Sequence[Program], environment: Mapping[str, str]) -> None:
        self._folder = folder.resolve()
        self._programs = programs
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._pids: dict[str, int] = {}
        self._exits: Counter[str] = Counter()

    def __enter__(self) -> Self:
        socket = self._folder / "supervisor.sock"
        if len(str(socket)) > MAX_SOCKET_PATH:
            self._scratch = tempfile.TemporaryDirectory(prefix="thinkqueue-")
            socket = Path(self._scratch.name) / "supervisor.sock"
        config = self._folder / "supervisord.conf"
        config.write_text(self._configuration(socket), "utf-8")
        self._socket = socket
        # The kernel kills the programs when supervisord dies, and supervisord when this process dies, even by kill -9.
        # supervisord has its own session: Ctrl-C reaches only this process, which then stops everything in order.
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", sys.executable, "-m", "supervisor.supervisord", "-c", str(config)],
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        if self._scratch:
            self._scratch.cleanup()

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def check_start(self) -> None:
        """Check the programs until all are ready.

        Raises:
            ProcessExited: a program exited with an error, or was killed several times, or supervisord has exited.
        """
        self.check()
        for info in self._infos():
            if info["statename"] in ("BACKOFF", "EXITED") and info["exitstatus"] > 0:
                raise self._exited(info)
        for name, exits in self._exits.items():
            if exits > KILLS_AT_START:
                raise ProcessExited(f"{name} was killed {exits} times while it started.\n{self.log_tail(name)}")

    def check(self) -> list[str]:
        """Return the programs that supervisord has started again since the last call.

        Raises:
            ProcessExited: a program could not be started again, or supervisord has exited.
        """
        if not self.is_running:
            raise ProcessExited(f"supervisord has exited.\n{self.log_tail('supervisord')}")
        restarted = []
        for info in self._infos():
            name, pid = info["name"], info["pid"]
            if info["statename"] == "FATAL":
                raise self._exited(info)
            # Between an exit and the next start, the pid is 0.
            if pid and pid != self._pids.setdefault(name, pid):
                self._pids[name] = pid
                self._exits[name] += 1
                restarted.append(name)
        return restarted

    def _exited(self, info: dict[str, Any]) -> ProcessExited:
        return ProcessExited(f"{info['name']} has exited ({info['description']}).\n{self.log_tail(info['name'])}")

    def log_tail(self, name: str, lines: int = 15) -> str:
        path = self._folder / "logs" / f"{name}.log"
        if not path.exists():
            return f"{path} does not exist."
        text = path.read_text("utf-8", "replace").splitlines()[-lines:]
        return "\n".join([f"The end of {path}:", *text])

    def _infos(self) -> list[dict[str, Any]]:
        # A new transport for each call: one whose first connection failed never recovers.
        transport = SupervisorTransport(None, None, f"unix://{self._socket}")
        try:
            infos: Any = xmlrpc.client.ServerProxy("http://127.0.0.1", transport).supervisor.getAllProcessInfo()
        except (OSError, HTTPException, xmlrpc.client.Error):
            return []  # supervisord is still starting
        finally:
            transport.close()
        return list(infos)

    def _configuration(self, socket: Path) -> str:
        sections = [HEAD.format(folder=_escaped(self._folder), socket=_escaped(socket))]
        sections += [
            PROGRAM.format(
                name=program.name,
                command=" ".join(f'"{_escaped(word)}"' for word in program.command),
                order=program.order,
                start_retries=START_RETRIES,
                stop_s=program.stop_s,
                folder=_escaped(self._folder),
                monitor_port=program.monitor_port,
            )
            for program in self._programs
        ]
        return "".join(sections)


def require_setpriv() -> None:
    if shutil.which("setpriv") is None:
        raise CommandError("setpriv is missing. Install util-linux: apt install util-linux")


def _escaped(value: object) -> str:
    """Escape %: supervisord expands %(…)s in every value."""
    return str(value).replace("%", "%%")
