"""Errors that end a command with one line on stderr. Each message says what is wrong and what to do."""


class CommandError(Exception):
    """The command cannot run: a setting, a port, a file or a package is missing or wrong."""


class Unreachable(CommandError):
    """A server does not answer. A later attempt may succeed."""


class ApiError(Exception):
    """The service answered with an error; code and message are the service's."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code


class ProcessExited(Exception):
    """A process that `thinkqueue up` manages has exited. The message includes the end of its log."""


class AlreadyRunning(Exception):
    """Another `thinkqueue up` runs from the same state folder."""

    def __init__(self, pid: int, url: str) -> None:
        super().__init__(f"thinkqueue is already running: {url} (pid {pid})")
        self.pid = pid
        self.url = url
