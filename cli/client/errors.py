"""Why a command cannot do its work; each message says what is wrong and what to do."""


class CannotStart(Exception):
    """Nothing runs: a setting, a port, a missing part."""


class Broken(Exception):
    """A program that should run has ended; the message has the end of its log."""


class AlreadyRunning(Exception):
    """Another `thinkqueue up` has this folder."""

    def __init__(self, pid: int, url: str) -> None:
        super().__init__(f"thinkqueue is running already: {url} (pid {pid})")
        self.pid = pid
        self.url = url


class Unreachable(CannotStart):
    """A server does not answer; later it may."""
